//! Uploads missing objects. Each is created once; an existing one is compared by its digest.

use std::fs::{self, File};
use std::ops::AddAssign;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use memmap2::Mmap;

use super::client::Bucket;
use super::error::BucketErrorKind;
use super::object::{Condition, ObjectInfo, Upload, UploadHeaders};
use super::parallel;
use crate::util::digest::Sha256;

/// In bytes. Before a larger object is sent, the bucket is asked whether it has it: an upload that was interrupted continues.
const ASK_FIRST: u64 = 16 << 10;

/// In bytes. Larger files are mapped instead of read.
const MAX_IN_MEMORY: u64 = 4 << 20;

const ATTEMPTS: u32 = 4;

/// The pause before another attempt; object_store has waited before.
const PAUSE: Duration = Duration::from_secs(1);

/// An object that is to be in the bucket.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) key: String,
    pub(super) sha256: Sha256,
    /// Bytes.
    pub(super) size: u64,
    pub(super) source: Source,
    pub(super) headers: UploadHeaders,
    /// Whether the key has the digest of the bytes. Others are final: an archive is never replaced.
    pub(super) is_named_by_digest: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Source {
    File(PathBuf),
    Bytes(Bytes),
}

/// What was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    pub objects: usize,
    pub bytes: u64,
}

impl AddAssign for Sent {
    fn add_assign(&mut self, more: Self) {
        self.objects += more.objects;
        self.bytes += more.bytes;
    }
}

/// Receives the progress of an upload, from any thread.
pub type UploadObserver<'a> = &'a (dyn Fn(UploadEvent) + Sync);

/// Progress of an upload.
#[derive(Debug, Clone, Copy)]
pub enum UploadEvent {
    /// The state has so many new objects, of which some may be there already.
    Begun { objects: u64 },
    /// One more is there.
    Uploaded,
}

/// How objects are uploaded.
#[derive(Clone, Copy)]
pub(super) struct Uploader<'a> {
    pub(super) bucket: &'a Bucket,
    /// Whether the bucket can create without replacing.
    pub(super) is_conditional: bool,
    /// An object of this age is written again before an upload relies on it: if no root names it yet, another builder removes it
    /// when it is older.
    pub(super) old: SignedDuration,
    pub(super) observer: UploadObserver<'a>,
}

impl Uploader<'_> {
    /// Uploads several objects at a time.
    pub(super) fn upload_all(&self, wanted: &[Wanted]) -> anyhow::Result<Sent> {
        let sent = parallel::map(wanted, |one| {
            let is_sent = self.upload(one)?;
            (self.observer)(UploadEvent::Uploaded);
            Ok(if is_sent { Sent { objects: 1, bytes: one.size } } else { Sent::default() })
        })?;
        Ok(sent.into_iter().fold(Sent::default(), |mut sum, one| {
            sum += one;
            sum
        }))
    }

    /// Returns whether it was sent.
    fn upload(&self, wanted: &Wanted) -> anyhow::Result<bool> {
        let Self { bucket, is_conditional, .. } = *self;
        if (wanted.size > ASK_FIRST || !is_conditional) && self.is_there(wanted)? {
            return Ok(false);
        }
        let upload = Upload { bytes: wanted.read()?, sha256: wanted.sha256, headers: wanted.headers };
        let condition = if is_conditional { Condition::New } else { Condition::Always };
        for attempt in 1.. {
            let error = match bucket.put(&wanted.key, &upload, condition) {
                Ok(_) => return Ok(true),
                Err(error) if error.is_final() => return Err(error.into()),
                Err(error) => error,
            };
            // Another writer has it made, or an attempt whose answer was lost.
            if self.is_there(wanted)? {
                return Ok(error.kind != BucketErrorKind::Exists);
            }
            if attempt >= ATTEMPTS {
                return Err(error.into());
            }
            bucket.pause(PAUSE);
        }
        Ok(true)
    }

    /// Whether the bucket has the object.
    ///
    /// # Errors
    /// It has other bytes under the name of an archive.
    fn is_there(&self, wanted: &Wanted) -> anyhow::Result<bool> {
        let bucket = self.bucket;
        let Some(found) = bucket.head(&wanted.key)? else {
            return Ok(false);
        };
        let is_same = is_same(bucket, wanted, &found)?;
        if wanted.is_named_by_digest {
            if !is_same {
                tracing::warn!("`{}` was damaged, and is uploaded again", bucket.object(&wanted.key));
            }
            if !is_same || Timestamp::now().duration_since(found.modified) >= self.old {
                replace(bucket, wanted)?;
            }
            return Ok(true);
        }
        if is_same {
            return Ok(true);
        }
        bail!(
            "`{}` has other bytes than `{}` on the volume: published bytes never change, so nothing was uploaded\nhint: another mirror publishes to this place, or the volume was replaced: choose another prefix in `bucket.url`, or restore the volume that published it",
            bucket.object(&wanted.key),
            wanted.key
        );
    }
}

/// Whether an object in the bucket has the bytes.
fn is_same(bucket: &Bucket, wanted: &Wanted, found: &ObjectInfo) -> anyhow::Result<bool> {
    if found.size != wanted.size {
        return Ok(false);
    }
    match found.sha256 {
        Some(sha256) => Ok(sha256 == wanted.sha256),
        // Somebody has copied it there by other means.
        None => Ok(Sha256::digest(&bucket.get(&wanted.key)?.bytes) == wanted.sha256),
    }
}

/// Writes an object again whose key has the digest of the bytes.
fn replace(bucket: &Bucket, wanted: &Wanted) -> anyhow::Result<()> {
    let upload = Upload { bytes: wanted.read()?, sha256: wanted.sha256, headers: wanted.headers };
    bucket.put(&wanted.key, &upload, Condition::Always)?;
    Ok(())
}

impl Wanted {
    /// The bytes, compared with their digest: nothing damaged leaves the volume.
    pub(super) fn read(&self) -> anyhow::Result<Bytes> {
        let path = match &self.source {
            Source::Bytes(bytes) => return Ok(bytes.clone()),
            Source::File(path) => path,
        };
        let failed = || format!("failed to read `{}`", path.display());
        let file = File::open(path).with_context(failed)?;
        let size = file.metadata().with_context(failed)?.len();
        let damaged = || {
            format!(
                "`{}` is damaged, so it was not uploaded\nhint: `mirror verify --repair` builds damaged archives again",
                path.display()
            )
        };
        ensure!(size >= self.size, damaged());
        let bytes = match self.size > MAX_IN_MEMORY {
            // SAFETY: what is published is never written to or cut short. Should another program do that, only the process that
            // uploads ends, and the next one reports the damage.
            true => Bytes::from_owner(unsafe { Mmap::map(&file) }.with_context(failed)?),
            false => fs::read(path).with_context(failed)?.into(),
        };
        ensure!(bytes.len() as u64 >= self.size, damaged());
        let bytes = bytes.slice(..usize::try_from(self.size)?);
        ensure!(Sha256::digest(&bytes) == self.sha256, damaged());
        Ok(bytes)
    }
}
