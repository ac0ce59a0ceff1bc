//! When cycles ran and how they ended, for the pages of replicas: `<prefix><repository>/cycles.json`. It changes with every cycle,
//! so it is no part of the published state. The last writer wins.

use super::client::Bucket;
use super::error::BucketErrorKind;
use super::object::{Condition, Upload, UploadHeaders};
use crate::store::RunHistory;
use crate::util::digest::Sha256;

/// A history, and what tells whether it has changed.
#[derive(Debug, Clone, Default)]
pub struct StoredHistory {
    pub history: RunHistory,
    etag: Option<String>,
}

fn key(repository: &str) -> String {
    format!("{repository}/cycles.json")
}

/// Writes the history, unless it has this digest; returns its digest. Whether a cycle is running is not told: nobody would take it
/// back if the builder died.
pub fn write(
    bucket: &Bucket,
    repository: &str,
    history: RunHistory,
    known: Option<Sha256>,
) -> anyhow::Result<Sha256> {
    let bytes = serde_json::to_vec(&RunHistory { running: None, ..history })?;
    let upload = Upload::new(bytes, UploadHeaders::default());
    if known != Some(upload.sha256) {
        bucket.put(&key(repository), &upload, Condition::Always)?;
    }
    Ok(upload.sha256)
}

/// Reads the history; `None` if it is still the known one.
pub fn read(
    bucket: &Bucket,
    repository: &str,
    known: &StoredHistory,
) -> anyhow::Result<Option<StoredHistory>> {
    let key = key(repository);
    let read = match &known.etag {
        Some(etag) => bucket.get_changed(&key, etag),
        None => bucket.get(&key).map(Some),
    };
    let object = match read {
        Ok(object) => object,
        Err(error) if error.kind == BucketErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(object.map(|object| StoredHistory {
        history: serde_json::from_slice(&object.bytes).unwrap_or_default(),
        etag: object.info.etag,
    }))
}
