//! How far the running cycle is, and the words of that for `progress.json`.
//!
//! | key | meaning |
//! |---|---|
//! | `schema` | version of this form |
//! | `running` | `null` while no cycle runs |
//! | `running.began` | when it began |
//! | `running.stage` | `fetch`, `build` or `publish` |
//! | `running.sources` | `done` and `all`: what is up to date, or could not be fetched |
//! | `running.bytes` | received from the sources |
//! | `running.packages` | `done` and `all`: package versions; `all` grows from source to source |
//! | `next` | when the next cycle begins |

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::SCHEMA;
use crate::cycle::ProgressEvent;

/// How far a cycle is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningCycle {
    pub began: Timestamp,
    pub stage: &'static str,
    /// Sources that are fetched, and all of them.
    pub sources: (u64, u64),
    /// Package versions that are built, and those that will be, as far as is known.
    pub packages: (u64, u64),
    /// Received, by source.
    bytes: BTreeMap<String, u64>,
}

impl RunningCycle {
    pub fn new(began: Timestamp) -> Self {
        Self {
            began,
            stage: "fetch",
            sources: (0, 0),
            packages: (0, 0),
            bytes: BTreeMap::new(),
        }
    }

    /// Takes a step.
    pub fn step(&mut self, step: ProgressEvent<'_>) {
        match step {
            ProgressEvent::Started { clones } => self.sources.1 = clones,
            ProgressEvent::Fetching { source, progress } => {
                self.bytes.insert(source.to_owned(), progress.bytes);
            }
            ProgressEvent::Fetched { .. } => self.sources.0 += 1,
            ProgressEvent::Building { packages, .. } => {
                self.stage = "build";
                self.packages.1 += packages;
            }
            ProgressEvent::Built => self.packages.0 += 1,
            ProgressEvent::Publishing => self.stage = "publish",
        }
    }

    /// Received from all sources.
    pub fn bytes(&self) -> u64 {
        self.bytes.values().sum()
    }
}

/// Renders `progress.json`.
pub fn progress_json(running: Option<&RunningCycle>, next: Option<Timestamp>) -> Value {
    let of = |(done, all): (u64, u64)| json!({ "done": done, "all": all });
    json!({
        "schema": SCHEMA,
        "running": running.map(|progress| json!({
            "began": progress.began,
            "stage": progress.stage,
            "sources": of(progress.sources),
            "bytes": progress.bytes(),
            "packages": of(progress.packages),
        })),
        "next": next,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git;

    #[test]
    fn steps_add_up() {
        let mut progress = RunningCycle::new(Timestamp::UNIX_EPOCH);
        let received = |bytes| git::Progress {
            bytes,
            ..git::Progress::default()
        };
        for step in [
            ProgressEvent::Started { clones: 2 },
            ProgressEvent::Fetching {
                source: "a",
                progress: received(10),
            },
            ProgressEvent::Fetching {
                source: "b",
                progress: received(5),
            },
            ProgressEvent::Fetching {
                source: "a",
                progress: received(20),
            },
            ProgressEvent::Fetched { source: "a" },
        ] {
            progress.step(step);
        }
        assert_eq!(
            (progress.stage, progress.sources, progress.bytes()),
            ("fetch", (1, 2), 25)
        );
        progress.step(ProgressEvent::Building {
            source: "a",
            packages: 3,
        });
        progress.step(ProgressEvent::Built);
        progress.step(ProgressEvent::Building {
            source: "b",
            packages: 4,
        });
        assert_eq!((progress.stage, progress.packages), ("build", (1, 7)));
        progress.step(ProgressEvent::Publishing);
        let said = progress_json(Some(&progress), None);
        assert_eq!(said["running"]["stage"], "publish");
        assert_eq!(said["next"], Value::Null);
        assert_eq!(progress_json(None, None)["running"], Value::Null);
    }
}
