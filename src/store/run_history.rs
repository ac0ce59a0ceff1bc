//! When cycles ran and how they ended: `status/cycles.json`, the only file that a cycle with nothing new writes.
//!
//! It is not published, and only the status page depends on it. It is replaced as a whole and not synced; after a
//! power cut it may be empty, which is read as an empty history. A record that cannot be written, usually because the disk
//! is full, is kept in memory for this process's own status page, metrics and notifications.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;
use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::durable_fs;
use super::repository::RepositoryStore;

/// The number of runs that are kept.
const MAX_RUNS: usize = 200;

/// The runs of a repository's cycles.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunHistory {
    /// When the running cycle began, or one that was interrupted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Timestamp>,
    /// When the last cycle without a failure began: sources are as they were then, or newer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeded: Option<Timestamp>,
    /// The last runs, oldest first.
    #[serde(default, rename = "past")]
    pub runs: Vec<Run>,
    /// Damaged or missing archives by path, with the reason why each is not repaired.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub damaged: BTreeMap<String, String>,
    /// The report of the last cycle if no snapshot contains it: nothing could be published, or a rollback is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Value>,
}

/// A finished run of a cycle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub began: Timestamp,
    pub ended: Timestamp,
    /// The number of package versions that it published.
    #[serde(default)]
    pub published: usize,
    /// The duration of each stage in milliseconds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stages: BTreeMap<String, u64>,
    /// Nothing failed.
    pub complete: bool,
    /// Why it was aborted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl RunHistory {
    pub fn last(&self) -> Option<&Run> {
        self.runs.last()
    }
}

impl RepositoryStore {
    /// The recorded runs; empty if the file does not exist or cannot be read.
    pub fn run_history(&self) -> RunHistory {
        self.read_history().unwrap_or_else(|error| {
            tracing::warn!("taking the record of cycles for empty: {error:#}");
            RunHistory::default()
        })
    }

    /// Fails if the file cannot be read, because writing it again would lose its contents.
    fn read_history(&self) -> anyhow::Result<RunHistory> {
        let file = self.history_file();
        if let Some(unwritten) = unwritten_history(&file) {
            return Ok(unwritten.history);
        }
        match durable_fs::read(&file) {
            Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(RunHistory::default()),
            Err(error) => Err(error).with_context(|| format!("failed to read `{}`", file.display())),
        }
    }

    /// When the recorded runs last changed.
    pub fn run_history_modified(&self) -> Option<SystemTime> {
        let file = self.history_file();
        unwritten_history(&file).map(|unwritten| unwritten.at).or_else(|| modified(&file))
    }

    /// Records that a cycle begins. Returns when the previous one began, if it did not end.
    pub fn record_run_start(&self, now: Timestamp) -> anyhow::Result<Option<Timestamp>> {
        let mut history = self.read_history()?;
        let interrupted = history.running.replace(now);
        self.write_history(&history)?;
        Ok(interrupted)
    }

    /// Records how a cycle ended, with its `report` if no snapshot contains it.
    pub fn record_run_end(&self, run: Run, report: Option<Value>) -> anyhow::Result<()> {
        let mut history = self.read_history()?;
        history.running = None;
        history.report = report;
        if run.complete {
            history.succeeded = Some(run.began);
        }
        history.runs.push(run);
        let forgotten = history.runs.len().saturating_sub(MAX_RUNS);
        history.runs.drain(..forgotten);
        self.write_history(&history)
    }

    /// Records the report of the last cycle when a rollback publishes a snapshot with another one.
    pub fn record_report(&self, report: Value) -> anyhow::Result<()> {
        let mut history = self.read_history()?;
        history.report = Some(report);
        self.write_history(&history)
    }

    /// Adds to the recorded damage, and removes archives that are intact again.
    pub fn recheck_damaged(&self, found: BTreeMap<String, String>) -> anyhow::Result<()> {
        let mut damaged = found;
        // The reason that a failed repair gave says more.
        damaged.extend(self.read_history()?.damaged);
        if !damaged.is_empty() {
            let served = self.served_releases()?;
            let served: BTreeMap<_, _> = served.iter().map(|release| (release.path(), release)).collect();
            damaged.retain(|path, _| {
                let release = served.get(path);
                release.is_some_and(|release| self.check_archive(release).is_err())
            });
        }
        self.record_damaged(damaged)
    }

    /// Records the damaged archives, if they have changed.
    pub fn record_damaged(&self, damaged: BTreeMap<String, String>) -> anyhow::Result<()> {
        let mut history = self.read_history()?;
        if history.damaged == damaged {
            return Ok(());
        }
        history.damaged = damaged;
        self.write_history(&history)
    }

    /// What this process could not write.
    pub fn unwritten_history(&self) -> Option<RunHistory> {
        unwritten_history(&self.history_file()).map(|unwritten| unwritten.history)
    }

    /// Records what another process could not write.
    pub fn record_history(&self, history: &RunHistory) -> anyhow::Result<()> {
        self.write_history(history)
    }

    fn history_file(&self) -> PathBuf {
        self.root().join("status/cycles.json")
    }

    fn write_history(&self, history: &RunHistory) -> anyhow::Result<()> {
        let file = self.history_file();
        let mut unwritten = unwritten();
        let result = write(&file, &serde_json::to_vec(history)?);
        match &result {
            Ok(()) => unwritten.remove(&file),
            Err(_) => unwritten.insert(file.clone(), Unwritten::new(history, &file)),
        };
        result.with_context(|| format!("failed to write `{}`", file.display()))
    }
}

/// A history that could not be written.
#[derive(Clone)]
struct Unwritten {
    history: RunHistory,
    at: SystemTime,
    /// The modification time of the file on the disk.
    on_disk: Option<SystemTime>,
}

impl Unwritten {
    fn new(history: &RunHistory, file: &Path) -> Self {
        Self { history: history.clone(), at: SystemTime::now(), on_disk: modified(file) }
    }
}

/// By file.
fn unwritten() -> MutexGuard<'static, BTreeMap<PathBuf, Unwritten>> {
    static UNWRITTEN: Mutex<BTreeMap<PathBuf, Unwritten>> = Mutex::new(BTreeMap::new());
    UNWRITTEN.lock()
}

/// The unwritten history of a file, unless another process has written the file since.
fn unwritten_history(file: &Path) -> Option<Unwritten> {
    let unwritten = unwritten().get(file).cloned();
    unwritten.filter(|unwritten| unwritten.on_disk == modified(file))
}

fn modified(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|file| file.modified()).ok()
}

fn write(file: &Path, text: &[u8]) -> io::Result<()> {
    let temporary = file.with_extension("new");
    file.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(&temporary, text)?;
    fs::rename(&temporary, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Volume;

    #[test]
    fn unwritten_history_is_kept_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let volume = Volume::open(&folder.path().join("data")).unwrap();
        let store = volume.repository("acme").unwrap();
        let began = Timestamp::from_second(1).unwrap();
        store.record_run_start(began).unwrap();
        // A folder keeps the new file from being created.
        let temporary = store.history_file().with_extension("new");
        fs::create_dir(&temporary).unwrap();
        let run = Run {
            began,
            ended: began,
            published: 0,
            stages: BTreeMap::new(),
            complete: false,
            error: Some("no room".to_owned()),
        };
        store.record_run_end(run, None).unwrap_err();
        let history = volume.reader("acme").run_history();
        assert_eq!(history.running, None);
        assert_eq!(history.last().and_then(|run| run.error.as_deref()), Some("no room"));
        fs::remove_dir(&temporary).unwrap();
        store.record_run_start(began).unwrap();
        let written: RunHistory = serde_json::from_slice(&fs::read(store.history_file()).unwrap()).unwrap();
        assert_eq!((written.running, written.runs.len()), (Some(began), 1));
        assert!(unwritten().get(&store.history_file()).is_none());
    }
}
