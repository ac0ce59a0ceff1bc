//! Withdrawn versions: `withdrawn.jsonl`, one line for each withdrawal and each that was undone. The last line of a version counts.
//!
//! A withdrawn version is not in the metadata, and its URL answers 410. Its archive and its line of the ledger stay, so its
//! bytes never become other ones. This file is as durable as the ledger, but not part of it: every line of the ledger is a
//! release, also for other mirrors. A program that does not know this file would publish the version again, so the first
//! withdrawal raises the format of the volume (`volume_marker`).

use std::fmt;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::durable_fs;
use super::json_lines;
use super::repository::RepositoryStore;
use super::snapshot::Snapshot;
use super::volume_marker::Entry;

/// The name of the file in a repository's folder.
pub(super) const FILE: &str = "withdrawn.jsonl";

const HINT: &str = "restore it from a backup; nothing was changed";

/// A version that is no longer published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawal {
    pub name: String,
    pub version: String,
    /// One line for clients and visitors.
    pub reason: String,
    pub time: Timestamp,
}

impl Withdrawal {
    /// Whether it is of this version.
    pub fn is_of(&self, name: &str, version: &str) -> bool {
        self.name == name && self.version == version
    }
}

impl fmt::Display for Withdrawal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, version, reason, time } = self;
        let day = time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d");
        write!(f, "{name} {version} was withdrawn on {day}: {reason}")
    }
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    name: String,
    version: String,
    /// `None` undoes the withdrawal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    time: Timestamp,
    /// Copied from a followed mirror: it is undone there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    followed: bool,
}

/// Reads the file in a repository's folder; there is none before the first withdrawal.
pub(super) fn read(root: &Path) -> anyhow::Result<Vec<Withdrawal>> {
    Ok(read_active(root)?.into_iter().map(|(withdrawal, _)| withdrawal).collect())
}

/// The withdrawals that were not undone, oldest first, each with whether it was copied from a followed mirror.
fn read_active(root: &Path) -> anyhow::Result<Vec<(Withdrawal, bool)>> {
    let lines = json_lines::read(&root.join(FILE), HINT)?;
    let mut withdrawals = Vec::<(Withdrawal, bool)>::new();
    for Line { name, version, reason, time, followed } in lines {
        withdrawals.retain(|(known, _)| !known.is_of(&name, &version));
        withdrawals.extend(reason.map(|reason| (Withdrawal { name, version, reason, time }, followed)));
    }
    Ok(withdrawals)
}

impl RepositoryStore {
    /// The withdrawn versions, oldest first. Only a writer knows them; readers use those of a snapshot.
    pub fn withdrawals(&self) -> Vec<Withdrawal> {
        self.withdrawals.lock().clone()
    }

    pub fn is_withdrawn(&self, name: &str, version: &str) -> bool {
        let withdrawals = self.withdrawals.lock();
        withdrawals.iter().any(|withdrawal| withdrawal.is_of(name, version))
    }

    /// Whether a version is withdrawn only because the followed mirror has withdrawn it.
    pub fn is_withdrawal_followed(&self, name: &str, version: &str) -> anyhow::Result<bool> {
        Ok(read_active(self.root())?.iter().any(|(known, followed)| *followed && known.is_of(name, version)))
    }

    /// Whether a snapshot withdraws what the file on the volume says. It does not if the program ended between the two.
    pub fn follows_withdrawals(&self, snapshot: &Snapshot) -> anyhow::Result<bool> {
        Ok(read(self.root())? == snapshot.manifest.withdrawals)
    }

    /// Records that a version is withdrawn for `reason`, or no longer withdrawn. The next snapshot follows it.
    pub fn record_withdrawal(&self, name: &str, version: &str, reason: Option<&str>) -> anyhow::Result<()> {
        let (name, version, reason) = (name.to_owned(), version.to_owned(), reason.map(str::to_owned));
        self.append_withdrawals(&[Line { name, version, reason, time: Timestamp::now(), followed: false }])
    }

    /// Copies the withdrawals of the followed mirror, and their undoing. What was withdrawn here stays withdrawn.
    pub fn take_over_withdrawals(&self, origin: &[Withdrawal]) -> anyhow::Result<()> {
        let here = read_active(self.root())?;
        let is_new = |wanted: &&Withdrawal| {
            let known = here.iter().find(|(known, _)| known.is_of(&wanted.name, &wanted.version));
            known.is_none_or(|(known, followed)| *followed && known != *wanted)
        };
        let is_undone = |withdrawal: &Withdrawal| {
            !origin.iter().any(|other| other.is_of(&withdrawal.name, &withdrawal.version))
        };
        let new = origin.iter().filter(is_new).map(|withdrawal| (withdrawal, true));
        let undone = here.iter().filter(|(known, followed)| *followed && is_undone(known));
        let lines = new.chain(undone.map(|(withdrawal, _)| (withdrawal, false)));
        let line = |(withdrawal, is_withdrawn): (&Withdrawal, bool)| Line {
            name: withdrawal.name.clone(),
            version: withdrawal.version.clone(),
            reason: is_withdrawn.then(|| withdrawal.reason.clone()),
            time: if is_withdrawn { withdrawal.time } else { Timestamp::now() },
            followed: true,
        };
        let lines: Vec<_> = lines.map(line).collect();
        if lines.is_empty() { Ok(()) } else { self.append_withdrawals(&lines) }
    }

    fn append_withdrawals(&self, lines: &[Line]) -> anyhow::Result<()> {
        let known = durable_fs::read_existing(&self.root().join(FILE))?;
        if known.is_none() {
            self.replace_file(FILE, b"")?;
        }
        // From here on no older program opens the volume, and none opens it without the file.
        self.register(Entry::Withdrawals)?;
        let text = [known.unwrap_or_default(), json_lines::text(lines)?].concat();
        self.replace_file(FILE, &text)?;
        let withdrawals = read(self.root())?;
        *self.withdrawals.lock() = withdrawals;
        Ok(())
    }
}
