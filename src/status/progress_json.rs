//! `progress.json`: how far the running cycle is, and the upload to the bucket that follows it.
//!
//! | key | meaning |
//! |---|---|
//! | `schema` | version of this format |
//! | `running` | `null` while no cycle runs |
//! | `running.began` | when it began |
//! | `running.stage` | `fetch`, `build` or `publish` |
//! | `running.sources` | `done` and `all`: sources whose fetch has ended, successful or not |
//! | `running.bytes` | bytes received from the sources |
//! | `running.packages` | `done` and `all`: package versions; `all` grows with every source |
//! | `upload` | `null` unless objects are being uploaded to the bucket, after or beside a cycle |
//! | `upload.objects` | `done` and `all`: objects that are new in what is published |
//! | `next` | when the next cycle begins, after a failure its retry, as `next_run` of `mirror.json`; `null` while one is running |

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::mirror_json::SCHEMA;
use crate::bucket::UploadEvent;
use crate::cycle::ProgressEvent;

/// The progress of a running cycle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningCycle {
    pub began: Timestamp,
    pub stage: Stage,
    /// Fetched sources, and all of them.
    pub sources: (u64, u64),
    /// Built package versions, and all that are known so far.
    pub packages: (u64, u64),
    /// Uploaded objects, and all that are to be uploaded.
    pub objects: (u64, u64),
    /// Received bytes by source.
    bytes: BTreeMap<String, u64>,
    /// The source that is being planned and built.
    pub source: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    Fetch,
    Build,
    Publish,
}

impl RunningCycle {
    pub fn new(began: Timestamp) -> Self {
        let bytes = BTreeMap::new();
        let (sources, packages, objects) = ((0, 0), (0, 0), (0, 0));
        Self { began, stage: Stage::Fetch, sources, packages, objects, bytes, source: None }
    }

    pub fn update(&mut self, event: ProgressEvent<'_>) {
        match event {
            ProgressEvent::Started { clones } => self.sources.1 = clones,
            ProgressEvent::Fetching { source, progress } => {
                self.bytes.insert(source.to_owned(), progress.bytes);
            }
            ProgressEvent::Fetched { .. } => self.sources.0 += 1,
            ProgressEvent::Working { source } => self.source = source.map(str::to_owned),
            ProgressEvent::Building { packages, .. } => {
                self.stage = Stage::Build;
                self.packages.1 += packages;
            }
            ProgressEvent::Built => self.packages.0 += 1,
            ProgressEvent::Publishing => self.stage = Stage::Publish,
            ProgressEvent::Uploading(UploadEvent::Begun { objects }) => self.objects = (0, objects),
            ProgressEvent::Uploading(UploadEvent::Uploaded) => self.objects.0 += 1,
        }
    }

    /// Bytes received from all sources.
    pub fn bytes(&self) -> u64 {
        self.bytes.values().sum()
    }
}

/// Renders `progress.json`. `upload` has the uploaded objects, and all that are to be uploaded.
pub fn progress_json(
    running: Option<&RunningCycle>,
    upload: Option<(u64, u64)>,
    next: Option<Timestamp>,
) -> Value {
    let counts = |(done, all): (u64, u64)| json!({ "done": done, "all": all });
    json!({
        "schema": SCHEMA,
        "running": running.map(|progress| json!({
            "began": progress.began,
            "stage": progress.stage,
            "sources": counts(progress.sources),
            "bytes": progress.bytes(),
            "packages": counts(progress.packages),
        })),
        "upload": upload.map(|objects| json!({ "objects": counts(objects) })),
        "next": next,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git;

    #[test]
    fn progress_events_add_up() {
        let mut progress = RunningCycle::new(Timestamp::UNIX_EPOCH);
        let received = |bytes| git::FetchProgress { bytes, ..git::FetchProgress::default() };
        for event in [
            ProgressEvent::Started { clones: 2 },
            ProgressEvent::Fetching { source: "a", progress: received(10) },
            ProgressEvent::Fetching { source: "b", progress: received(5) },
            ProgressEvent::Fetching { source: "a", progress: received(20) },
            ProgressEvent::Fetched { source: "a" },
        ] {
            progress.update(event);
        }
        assert_eq!((progress.stage, progress.sources, progress.bytes()), (Stage::Fetch, (1, 2), 25));
        progress.update(ProgressEvent::Building { source: "a", packages: 3 });
        progress.update(ProgressEvent::Built);
        progress.update(ProgressEvent::Building { source: "b", packages: 4 });
        assert_eq!((progress.stage, progress.packages), (Stage::Build, (1, 7)));
        progress.update(ProgressEvent::Publishing);
        progress.update(ProgressEvent::Uploading(UploadEvent::Begun { objects: 2 }));
        progress.update(ProgressEvent::Uploading(UploadEvent::Uploaded));
        let document = progress_json(Some(&progress), Some(progress.objects), None);
        assert_eq!(document["running"]["stage"], "publish");
        assert_eq!(document["next"], Value::Null);
        assert_eq!(document["upload"], json!({ "objects": { "done": 1, "all": 2 } }));
        assert_eq!(progress_json(None, None, None)["running"], Value::Null);
    }
}
