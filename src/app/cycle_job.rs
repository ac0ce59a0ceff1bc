//! What `mirror run` and the processes of its cycles say to each other, one JSON document on each line: the [`Job`] on the
//! process's standard input, [`Message`]s on its standard output. Both ends are the same program, so the format has no version.
//!
//! The input stays open as long as `mirror run` lives. What a cycle publishes and records is on the volume, not in here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{App, ConfigTexts};
use crate::config::Log;
use crate::status::RunningCycle;
use crate::store::{RepositoryStore, RunHistory};

/// The work of one process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    config_file: Option<PathBuf>,
    config: ConfigTexts,
    /// The volume of the running mirror, which a changed configuration does not move.
    pub(crate) data: PathBuf,
    /// The log of the running mirror.
    pub(crate) log: Log,
    pub(crate) volume_id: String,
    pub(crate) repository: String,
    /// The snapshot whose files the running mirror has compared with their digests.
    pub(crate) intact: Option<u64>,
    /// The memory limit in bytes.
    pub(crate) memory: Option<u64>,
    pub(crate) work: Work,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    Cycle,
    /// Publishes what is published for another base URL for that of the configuration, without fetching.
    Move,
    /// Builds these archives again if they are damaged.
    Repair(BTreeSet<PathBuf>),
    /// Compresses what is published.
    Compress,
    /// Uploads what is published to the bucket; `probes`: after trying what it can do.
    Upload {
        probes: bool,
    },
}

/// What a process reports while it works.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    Progress(RunningCycle),
    /// Memory could not be allocated; if the process ends now, this is why.
    OutOfMemory,
    Ended(JobEnd),
}

/// How a job ended.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct JobEnd {
    pub(crate) result: JobResult,
    /// The history of the repository if it could not be written.
    pub(crate) unwritten: Option<RunHistory>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum JobResult {
    /// The work is done; with the archives that a repair did not make whole, and why.
    Done(BTreeMap<PathBuf, String>),
    /// Something asked the process to end.
    Interrupted,
    /// Another instance writes to this folder.
    Locked(PathBuf),
    /// The repository could not be opened.
    NotStarted(String),
    Failed(String),
    /// Another builder has published to the bucket first.
    Overtaken(String),
}

impl Job {
    /// `store` is that of the repository.
    pub(crate) fn new(
        app: &App,
        volume_id: &str,
        repository: &str,
        store: &RepositoryStore,
        memory: Option<u64>,
        work: Work,
    ) -> Self {
        let newest = store.newest_snapshot().ok().flatten();
        Self {
            config_file: app.file.clone(),
            config: app.texts.clone(),
            data: app.config.data.clone(),
            log: app.config.log,
            volume_id: volume_id.to_owned(),
            repository: repository.to_owned(),
            intact: newest.filter(|newest| newest.is_intact).map(|newest| newest.manifest.number),
            memory,
            work,
        }
    }

    /// The configuration under which the job is done.
    pub(crate) fn load_app(&mut self) -> anyhow::Result<App> {
        let texts = std::mem::take(&mut self.config);
        let mut app = super::load_texts(self.config_file.clone(), texts)?;
        app.config.data.clone_from(&self.data);
        app.config.log = self.log;
        Ok(app)
    }
}
