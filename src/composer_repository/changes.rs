//! The feed of changed packages (`metadata-changes-url`): what has not changed since the last cycle is not asked for.
//!
//! As Packagist documents it, the feed answers with a timestamp, to be sent as `since` the next time, and with actions: `update`
//! and `delete` of a package, whose name may end with `~dev`, or `resync`, after which nothing that is known counts. Timestamps
//! mean nothing to anybody but the server.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use url::Url;

use super::transport::Transport;
use crate::net::{NetworkError, redacted};

/// The file in the folder of what is kept.
const FILE: &str = "changes.json";

/// The oldest timestamp that Packagist accepts (`PackageController::metadataChangesAction`); its answer has the current one.
const OLDEST: i64 = 15_850_612_240_000;

/// How long a timestamp is kept although nothing has changed, and that a file is missing. Packagist's feed goes back a day.
const MAX_AGE: Duration = Duration::from_secs(60 * 60);

/// The files of packages that are known to be current.
#[derive(Debug, Default)]
pub(super) struct Changes {
    kept: Kept,
    now: Mutex<Kept>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    since: i64,
    /// When `since` was new, in seconds since 1970.
    time: u64,
    /// `vendor/name`, or `vendor/name~dev`.
    current: BTreeSet<String>,
    /// Those that were not there, and when that was. It may have been a proxy's word, so it does not count for long.
    #[serde(default)]
    missing: BTreeMap<String, u64>,
    /// Those that were not asked for since they were updated, and when that was: a cache may still have what was there before.
    #[serde(default)]
    awaited: BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize)]
struct Feed {
    timestamp: i64,
    #[serde(default)]
    actions: Vec<Action>,
}

#[derive(Debug, Deserialize)]
struct Action {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    package: String,
    /// In seconds since 1970; the file has this date.
    #[serde(default)]
    time: u64,
}

impl Changes {
    /// Asks the feed at `url`. Without it, every file is asked for; but a server that is busy or cannot be reached is an error.
    pub(super) fn ask(transport: &Transport<'_>, url: &Url) -> anyhow::Result<Self> {
        let kept = transport.cache.read_named(FILE);
        let kept: Kept = kept.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let mut asked = url.clone();
        asked.query_pairs_mut().append_pair("since", &kept.since.max(OLDEST).to_string());
        match transport.get_once(&asked, |body| Ok(serde_json::from_slice::<Feed>(body)?)) {
            Ok(Some(feed)) => {
                let now = Mutex::new(kept.after(&feed));
                Ok(Self { kept, now })
            }
            Ok(None) => Ok(Self::default()),
            Err(error) if is_answered(&error) => {
                let url = redacted(url.as_str());
                tracing::warn!(
                    url,
                    "the feed of changes cannot be used, so each package is asked for: {error:#}"
                );
                Ok(Self::default())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the file that was kept of a package is current.
    pub(super) fn is_current(&self, file: &str) -> bool {
        let is_recent = |since: &u64| seconds().saturating_sub(*since) < MAX_AGE.as_secs();
        self.with(|now| now.current.contains(file) || now.missing.get(file).is_some_and(is_recent))
    }

    /// Notes that a file was received, with its date, in seconds since 1970.
    pub(super) fn set_current(&self, file: &str, date: Option<u64>) {
        self.with(|now| {
            now.missing.remove(file);
            if now.awaited.get(file).is_none_or(|awaited| date.is_some_and(|date| date >= *awaited)) {
                now.awaited.remove(file);
                now.current.insert(file.to_owned());
            }
        });
    }

    pub(super) fn set_missing(&self, file: &str) {
        self.with(|now| now.missing.insert(file.to_owned(), seconds()));
    }

    /// Keeps the timestamp for the next cycle.
    pub(super) fn save(&self, transport: &Transport<'_>) -> anyhow::Result<()> {
        let now = self.with(|now| now.clone());
        let is_recent = now.time.saturating_sub(self.kept.time) < MAX_AGE.as_secs();
        let is_same =
            |a: &Kept, b: &Kept| (&a.current, &a.missing, &a.awaited) == (&b.current, &b.missing, &b.awaited);
        if now.since == 0 || (is_recent && is_same(&now, &self.kept)) {
            return Ok(());
        }
        let text = serde_json::to_vec(&now).context("failed to serialize the changes")?;
        transport.cache.write_named(FILE, &text)
    }

    fn with<T>(&self, access: impl FnOnce(&mut Kept) -> T) -> T {
        access(&mut self.now.lock())
    }
}

impl Kept {
    fn after(&self, feed: &Feed) -> Self {
        let of = |kind| feed.actions.iter().filter(move |action| action.kind == kind);
        let updated: HashSet<_> = of("update").map(|action| action.package.as_str()).collect();
        let deleted: HashSet<_> =
            of("delete").map(|action| action.package.trim_end_matches("~dev")).collect();
        let is_unchanged = |file: &String| {
            !updated.contains(file.as_str()) && !deleted.contains(file.trim_end_matches("~dev"))
        };
        let Self { mut current, mut missing, mut awaited, .. } = self.clone();
        current.retain(is_unchanged);
        missing.retain(|file, _| is_unchanged(file));
        awaited.retain(|file, _| is_unchanged(file));
        awaited.extend(of("update").map(|action| (action.package.clone(), action.time)));
        // `resync`, and what is not known.
        if feed.actions.iter().any(|action| !matches!(action.kind.as_str(), "update" | "delete")) {
            (current, missing, awaited) = Default::default();
        }
        Self { since: feed.timestamp, time: seconds(), current, missing, awaited }
    }
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Whether the server has answered, if only with something else than a feed.
fn is_answered(error: &anyhow::Error) -> bool {
    match error.downcast_ref() {
        Some(NetworkError::Status { status, .. }) => *status < 500,
        Some(_) => false,
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(actions: &str) -> Vec<String> {
        let current = ["a/a", "a/a~dev", "a/b"].map(str::to_owned).into();
        let kept = Kept { since: 5, time: 0, current, ..Kept::default() };
        let feed = serde_json::from_str(&format!(r#"{{"timestamp": 7, "actions": [{actions}]}}"#)).unwrap();
        let next = kept.after(&feed);
        assert_eq!(next.since, 7);
        next.current.into_iter().collect()
    }

    #[test]
    fn changed_packages_are_not_current() {
        assert_eq!(after(""), ["a/a", "a/a~dev", "a/b"]);
        assert_eq!(after(r#"{"type": "update", "package": "a/a", "time": 1}"#), ["a/a~dev", "a/b"]);
        assert_eq!(after(r#"{"type": "update", "package": "a/a~dev"}"#), ["a/a", "a/b"]);
        assert_eq!(after(r#"{"type": "delete", "package": "a/a"}"#), ["a/b"]);
        assert!(after(r#"{"type": "resync", "package": "*"}"#).is_empty());
        assert!(after(r#"{"type": "renamed"}"#).is_empty());
    }

    /// Caches may have an older file for a while.
    #[test]
    fn older_file_than_the_feed_names_is_not_current() {
        let feed = r#"{"timestamp": 7, "actions": [{"type": "update", "package": "a/a", "time": 100}]}"#;
        let kept = Kept::default().after(&serde_json::from_str(feed).unwrap());
        let changes = Changes { now: Mutex::new(kept), ..Changes::default() };
        for (date, is_current) in [(None, false), (Some(99), false), (Some(100), true)] {
            changes.set_current("a/a", date);
            assert_eq!(changes.is_current("a/a"), is_current, "{date:?}");
        }
        changes.set_current("a/b", None);
        assert!(changes.is_current("a/b"), "the feed does not name it");
        changes.set_missing("a/c");
        assert!(changes.is_current("a/c"));
    }
}
