//! When cycles ran and how they ended: `status/cycles.json`, the one file that a cycle with nothing new writes.
//!
//! It is no part of what is published: no metadata is made from it, and without it only the status page knows less. It is
//! replaced whole and not synced; after a power cut it may be empty, which is read as "nothing known". Readers on other
//! machines tell freshness from it. What cannot be written, most of all to a full disk, this process knows all the same, so that
//! its own status page, metrics and notifications tell of it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RepositoryStore;

/// How many cycles are remembered.
const REMEMBERED: usize = 200;

/// What is known of a repository's cycles.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunHistory {
    /// When the cycle began that has not ended yet, or that was interrupted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Timestamp>,
    /// When the last cycle in which nothing failed began: sources are as they were then, or newer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeded: Option<Timestamp>,
    /// The last cycles, oldest first.
    #[serde(default, rename = "past")]
    pub runs: Vec<Run>,
    /// Archives that are damaged or missing, by their paths, each with the reason why it is not repaired.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub damaged: BTreeMap<String, String>,
    /// The report of the last cycle, where no snapshot holds it: nothing could be published, or a rollback keeps it off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Value>,
}

/// A cycle that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub began: Timestamp,
    pub ended: Timestamp,
    /// Package versions that it published.
    #[serde(default)]
    pub published: usize,
    /// How long each of its stages took, in milliseconds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stages: BTreeMap<String, u64>,
    /// Nothing failed.
    pub complete: bool,
    /// Why it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl RunHistory {
    pub fn last(&self) -> Option<&Run> {
        self.runs.last()
    }
}

impl RepositoryStore {
    /// What is known of the cycles; nothing where the file is not there or cannot be read.
    pub fn run_history(&self) -> RunHistory {
        let file = self.cycles_file();
        if let Some(unwritten) = known_only(&file) {
            return unwritten.cycles;
        }
        let text = fs::read(file).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// When the record of cycles last changed.
    pub fn run_history_modified(&self) -> Option<SystemTime> {
        let file = self.cycles_file();
        known_only(&file)
            .map(|known| known.at)
            .or_else(|| modified(&file))
    }

    /// Records that a cycle begins.
    ///
    /// # Errors
    /// Of the file system.
    pub fn record_run_start(&self, now: Timestamp) -> anyhow::Result<()> {
        let mut cycles = self.run_history();
        cycles.running = Some(now);
        self.write_cycles(&cycles)
    }

    /// Records how a cycle ended, with its `report` where no snapshot holds it.
    ///
    /// # Errors
    /// Of the file system.
    pub fn record_run_end(&self, cycle: Run, report: Option<Value>) -> anyhow::Result<()> {
        let mut cycles = self.run_history();
        cycles.running = None;
        cycles.report = report;
        if cycle.complete {
            cycles.succeeded = Some(cycle.began);
        }
        cycles.runs.push(cycle);
        let forgotten = cycles.runs.len().saturating_sub(REMEMBERED);
        cycles.runs.drain(..forgotten);
        self.write_cycles(&cycles)
    }

    /// Records the report of the last cycle, where a snapshot with another one takes the place of its own.
    ///
    /// # Errors
    /// Of the file system.
    pub fn record_report(&self, report: Value) -> anyhow::Result<()> {
        let mut cycles = self.run_history();
        cycles.report = Some(report);
        self.write_cycles(&cycles)
    }

    /// Adds to the record of damage, and takes out what is whole again.
    ///
    /// # Errors
    /// Of the file system.
    pub fn recheck_damaged(&self, more: BTreeMap<String, String>) -> anyhow::Result<()> {
        let mut damaged = more;
        // What a repair has said of one tells more.
        damaged.extend(self.run_history().damaged);
        if !damaged.is_empty() {
            let standing = self.served_releases()?;
            let standing: BTreeMap<_, _> = standing.iter().map(|release| (release.path(), release)).collect();
            damaged.retain(|path, _| {
                let release = standing.get(path);
                release.is_some_and(|release| self.check_archive(release).is_err())
            });
        }
        self.record_damaged(damaged)
    }

    /// Records which archives are damaged, if that has changed.
    ///
    /// # Errors
    /// Of the file system.
    pub fn record_damaged(&self, damaged: BTreeMap<String, String>) -> anyhow::Result<()> {
        let mut cycles = self.run_history();
        if cycles.damaged == damaged {
            return Ok(());
        }
        cycles.damaged = damaged;
        self.write_cycles(&cycles)
    }

    fn cycles_file(&self) -> PathBuf {
        self.root().join("status/cycles.json")
    }

    fn write_cycles(&self, cycles: &RunHistory) -> anyhow::Result<()> {
        let file = self.cycles_file();
        let mut unwritten = unwritten();
        let written = write(&file, &serde_json::to_vec(cycles)?);
        match &written {
            Ok(()) => unwritten.remove(&file),
            Err(_) => unwritten.insert(file.clone(), Unwritten::of(cycles, &file)),
        };
        written.with_context(|| format!("failed to write `{}`", file.display()))
    }
}

/// A record that could not be written.
#[derive(Clone)]
struct Unwritten {
    cycles: RunHistory,
    at: SystemTime,
    /// When what is on the disk instead was written.
    instead: Option<SystemTime>,
}

impl Unwritten {
    fn of(cycles: &RunHistory, file: &Path) -> Self {
        Self {
            cycles: cycles.clone(),
            at: SystemTime::now(),
            instead: modified(file),
        }
    }
}

/// By file.
fn unwritten() -> MutexGuard<'static, BTreeMap<PathBuf, Unwritten>> {
    static UNWRITTEN: Mutex<BTreeMap<PathBuf, Unwritten>> = Mutex::new(BTreeMap::new());
    UNWRITTEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What of a file only this process knows, unless another one has written it since.
fn known_only(file: &Path) -> Option<Unwritten> {
    let known = unwritten().get(file).cloned();
    known.filter(|known| known.instead == modified(file))
}

fn modified(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|file| file.modified()).ok()
}

fn write(file: &Path, text: &[u8]) -> io::Result<()> {
    let aside = file.with_extension("new");
    file.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(&aside, text)?;
    fs::rename(&aside, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Volume;

    #[test]
    fn what_cannot_be_written_is_known_until_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let volume = Volume::open(&folder.path().join("data")).unwrap();
        let store = volume.repository("acme").unwrap();
        let began = Timestamp::from_second(1).unwrap();
        store.record_run_start(began).unwrap();
        // Where the new file should be made there is a folder.
        let aside = store.cycles_file().with_extension("new");
        fs::create_dir(&aside).unwrap();
        let ended = Run {
            began,
            ended: began,
            published: 0,
            stages: BTreeMap::new(),
            complete: false,
            error: Some("no room".to_owned()),
        };
        store.record_run_end(ended, None).unwrap_err();
        let seen = volume.reader("acme").run_history();
        assert_eq!(seen.running, None);
        assert_eq!(
            seen.last().and_then(|cycle| cycle.error.as_deref()),
            Some("no room")
        );
        fs::remove_dir(&aside).unwrap();
        store.record_run_start(began).unwrap();
        let written: RunHistory = serde_json::from_slice(&fs::read(store.cycles_file()).unwrap()).unwrap();
        assert_eq!((written.running, written.runs.len()), (Some(began), 1));
        assert!(unwritten().get(&store.cycles_file()).is_none());
    }
}
