//! What is known of the uploads to the bucket: `status/bucket.json`. It is no part of what is published, and may be lost.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::durable_fs;
use super::repository::RepositoryStore;
use crate::util::digest::Sha256;
use crate::util::file_lock;

/// How the uploads of one repository ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketRecord {
    /// The bucket with its prefix, and its server: what is known of another one says nothing.
    pub bucket: String,
    pub server: String,
    /// The last upload that ended well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<BucketUpload>,
    /// Why uploads fail since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<BucketFailure>,
    /// Whether it has conditional writes, if that was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_conditional: Option<bool>,
    /// The digest of the record of cycles that the bucket has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycles: Option<Sha256>,
    /// When unreferenced objects were last removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collected: Option<Timestamp>,
}

/// An upload that ended well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketUpload {
    /// The number of the root.
    pub sequence: u64,
    /// The number of the snapshot.
    pub snapshot: u64,
    /// When the bucket was last found to have what is published here.
    pub at: Timestamp,
}

/// Why uploads fail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketFailure {
    pub since: Timestamp,
    pub error: String,
}

impl RepositoryStore {
    /// What is known of the uploads to this bucket; nothing if the file is missing, damaged, or of another bucket.
    pub fn bucket_record(&self, bucket: &str, server: &str) -> BucketRecord {
        let text = durable_fs::read(&self.bucket_file()).unwrap_or_default();
        let record: Option<BucketRecord> = serde_json::from_slice(&text).ok();
        let record = record.filter(|record| record.bucket == bucket && record.server == server);
        record.unwrap_or_else(|| BucketRecord {
            bucket: bucket.to_owned(),
            server: server.to_owned(),
            ..BucketRecord::default()
        })
    }

    pub fn record_bucket(&self, record: &BucketRecord) -> anyhow::Result<()> {
        let file = self.bucket_file();
        let temporary = file.with_extension("new");
        let write = || -> io::Result<()> {
            file.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::write(&temporary, serde_json::to_vec(record)?)?;
            fs::rename(&temporary, &file)
        };
        write().with_context(|| format!("failed to write `{}`", file.display()))
    }

    /// When the record last changed.
    pub fn bucket_record_modified(&self) -> Option<SystemTime> {
        fs::metadata(self.bucket_file()).and_then(|file| file.modified()).ok()
    }

    /// Keeps other processes of this mirror from uploading as long as the file lives; `None` if one of them does.
    pub fn lock_upload(&self) -> anyhow::Result<Option<fs::File>> {
        let path = self.root().join("status/bucket.lock");
        let lock = || {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            file_lock::try_lock(&path)
        };
        lock().with_context(|| format!("failed to lock `{}`", path.display()))
    }

    fn bucket_file(&self) -> PathBuf {
        self.root().join("status/bucket.json")
    }
}
