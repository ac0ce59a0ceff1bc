//! The commit: `root` is replaced by compare-and-swap, so that of several writers one wins, and the others see what won.
//!
//! An answer may be lost after the store has written. So every attempt has a nonce, and after anything but a success `root` is
//! read: if the nonce is in it, or among those that it has replaced, the commit happened.

use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::{SignedDuration, Timestamp};

use super::client::Bucket;
use super::error::BucketErrorKind;
use super::object::{Condition, Upload, UploadHeaders};
use super::random_name;
use super::root::{FORMAT, LedgerEnd, ReplacedRoot, Root, StateObject, root_key};
use crate::util::digest::Sha256;

/// How long what a replaced root names stays in the bucket.
pub const GRACE: SignedDuration = SignedDuration::from_hours(24);

/// More replaced roots are not listed, however young they are.
const MAX_REPLACED: usize = 200;

/// How often a commit is tried.
const ATTEMPTS: u32 = 8;

/// The pause after the first attempt; it doubles, and half of it is random.
const PAUSE: Duration = Duration::from_millis(200);

/// The root as it was read.
#[derive(Debug, Clone)]
pub struct CurrentRoot {
    pub root: Root,
    pub etag: String,
    sha256: Sha256,
}

/// What a commit publishes; all of it is in the bucket.
#[derive(Debug, Clone, Copy)]
pub struct NewRoot<'a> {
    pub repository: &'a str,
    pub snapshot: StateObject,
    pub state: Sha256,
    pub ledger: LedgerEnd,
    /// The id of the volume that it is published from.
    pub volume: &'a str,
}

/// How a commit ended.
#[derive(Debug)]
pub enum Committed {
    Done(Root),
    /// Another writer was first: this is the root now. What was made must be made again, or given up.
    Overtaken(CurrentRoot),
}

/// Reads the root of a repository; `None` before the first commit.
pub fn read_root(bucket: &Bucket, repository: &str) -> anyhow::Result<Option<CurrentRoot>> {
    match bucket.get(&root_key(repository)) {
        Ok(object) => {
            let etag = object.info.etag.clone().unwrap_or_default();
            Ok(Some(CurrentRoot::parse(bucket, repository, &object.bytes, etag)?))
        }
        Err(error) if error.kind == BucketErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl CurrentRoot {
    pub(super) fn parse(
        bucket: &Bucket,
        repository: &str,
        bytes: &[u8],
        etag: String,
    ) -> anyhow::Result<Self> {
        let name = || bucket.object(&root_key(repository));
        let root: Root = serde_json::from_slice(bytes)
            .with_context(|| format!("`{}` is not a root of a mirror", name()))?;
        if root.format > FORMAT {
            bail!(
                "`{}` has format {}, and this program knows {FORMAT} at most\nhint: update this program",
                name(),
                root.format
            );
        }
        if root.repository != repository {
            bail!("`{}` is of the repository `{}`", name(), root.repository);
        }
        Ok(Self { root, etag, sha256: Sha256::digest(bytes) })
    }
}

/// Makes `new` the published state, if `current` still is it. With `is_conditional` false the bucket has no conditional writes,
/// and nobody else may write.
pub fn commit(
    bucket: &Bucket,
    new: &NewRoot<'_>,
    current: Option<&CurrentRoot>,
    is_conditional: bool,
) -> anyhow::Result<Committed> {
    let root = next(new, current)?;
    let key = root_key(new.repository);
    let headers = UploadHeaders {
        content_type: Some("application/json"),
        cache_control: Some("no-cache"),
        ..UploadHeaders::default()
    };
    let upload = Upload::new(serde_json::to_vec(&root)?, headers);
    let condition = match current {
        _ if !is_conditional => Condition::Always,
        None => Condition::New,
        Some(current) => Condition::Unchanged(&current.etag),
    };
    let mut pause = PAUSE;
    let mut attempt = 1;
    loop {
        let error = match bucket.put(&key, &upload, condition) {
            Ok(_) => return Ok(Committed::Done(root)),
            Err(error) => error,
        };
        if error.is_final() {
            return Err(error.into());
        }
        match outcome(bucket, &root, current) {
            Ok(Some(committed)) => return Ok(committed),
            // Not written: another attempt has the same condition.
            Ok(None) if attempt < ATTEMPTS => {}
            Ok(None) => return Err(error.into()),
            Err(unread) if attempt == ATTEMPTS || bucket.is_cancelled() => {
                return Err(unread.context(format!("it is not known whether this worked: {error}")));
            }
            Err(_) => {}
        }
        bucket.pause(pause / 2 + pause.mul_f64(random_share()? / 2.0));
        pause *= 2;
        attempt += 1;
    }
}

/// What became of an attempt whose answer was no success; `None` if nothing has changed.
fn outcome(bucket: &Bucket, root: &Root, before: Option<&CurrentRoot>) -> anyhow::Result<Option<Committed>> {
    let Some(now) = read_root(bucket, &root.repository)? else {
        return Ok(None);
    };
    let is_ours =
        now.root.nonce == root.nonce || now.root.replaced.iter().any(|other| other.nonce == root.nonce);
    Ok(match before {
        _ if is_ours => Some(Committed::Done(root.clone())),
        Some(before) if before.root.nonce == now.root.nonce => None,
        _ => Some(Committed::Overtaken(now)),
    })
}

fn next(new: &NewRoot<'_>, current: Option<&CurrentRoot>) -> anyhow::Result<Root> {
    let now = Timestamp::now();
    let mut replaced = Vec::new();
    if let Some(CurrentRoot { root, .. }) = current {
        replaced.push(ReplacedRoot { nonce: root.nonce.clone(), snapshot: root.snapshot, at: now });
        let is_young = |other: &&ReplacedRoot| now.duration_since(other.at) < GRACE;
        replaced.extend(root.replaced.iter().filter(is_young).take(MAX_REPLACED).cloned());
    }
    Ok(Root {
        format: FORMAT,
        repository: new.repository.to_owned(),
        sequence: current.map_or(0, |current| current.root.sequence) + 1,
        nonce: random_name()?,
        snapshot: new.snapshot,
        state: new.state,
        ledger: new.ledger,
        previous: current.map(|current| current.sha256),
        replaced,
        volume: new.volume.to_owned(),
        writer: concat!("mirror ", env!("CARGO_PKG_VERSION")).to_owned(),
        time: now,
    })
}

/// Between 0 and 1.
fn random_share() -> anyhow::Result<f64> {
    let byte = random_name()?.bytes().next().unwrap_or(b'8');
    Ok(f64::from((byte as char).to_digit(16).unwrap_or(8)) / 16.0)
}
