//! Removes what nothing refers to: objects of uploads that were interrupted, and what only replaced states name.
//!
//! An object goes when no root of the last day names it and it is itself older than a day, by the clock of the store. Archives
//! never go. An upload of this builder that would rely on such an object is kept away by the lock of its volume; one of another builder
//! writes it again before it is that old (`upload.rs`).

use std::collections::BTreeSet;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};

use super::client::Bucket;
use super::commit::read_root;
use super::object::{Condition, Upload, UploadHeaders};
use super::random_name;
use super::reader::read_state;
use super::root::{Root, pack_key};

/// The folders in which objects may go.
const FOLDERS: [&str; 5] = ["snapshots", "variants", "ledger", "packs", "probe"];

/// Removes the objects of a repository that nothing has referred to for the time of `grace`, a day; returns how many.
pub fn collect(bucket: &Bucket, repository: &str, grace: SignedDuration) -> anyhow::Result<usize> {
    collect_until(bucket, repository, clock(bucket, repository)? - grace)
}

/// Removes those that nothing has referred to since this time of the store's clock; returns how many.
pub fn collect_until(bucket: &Bucket, repository: &str, until: Timestamp) -> anyhow::Result<usize> {
    let Some(current) = read_root(bucket, repository)? else {
        return Ok(0);
    };
    let mut kept = BTreeSet::new();
    add_referenced(bucket, &current.root, &mut kept)?;
    for replaced in &current.root.replaced {
        if replaced.at > until {
            add_referenced(bucket, &Root { snapshot: replaced.snapshot, ..current.root.clone() }, &mut kept)?;
        }
    }
    let mut removed = 0;
    for folder in FOLDERS {
        for object in bucket.list(&format!("{repository}/{folder}/"))? {
            let is_old = |modified| modified <= until;
            if kept.contains(&object.key) || !is_old(object.modified) {
                continue;
            }
            // Another builder may have written it again since it was listed.
            if bucket.head(&object.key)?.is_some_and(|found| is_old(found.modified)) {
                bucket.delete(&object.key)?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

/// Adds the keys that the state of a root names, and its own.
fn add_referenced(bucket: &Bucket, root: &Root, kept: &mut BTreeSet<String>) -> anyhow::Result<()> {
    let repository = &root.repository;
    let key = root.snapshot.key(repository);
    if kept.contains(&key) {
        return Ok(());
    }
    let state = read_state(bucket, root)?;
    kept.insert(key);
    kept.extend(state.ledger.iter().map(|segment| segment.key(repository)));
    kept.extend(state.packs.iter().map(|pack| pack_key(repository, *pack)));
    for (original, variants) in &state.variants {
        kept.extend(variants.iter().map(|variant| variant.key(repository, *original)));
    }
    Ok(())
}

/// What time it is for the store.
fn clock(bucket: &Bucket, repository: &str) -> anyhow::Result<Timestamp> {
    let key = format!("{repository}/probe/{}/clock", random_name()?);
    bucket.put(&key, &Upload::new(&b"now"[..], UploadHeaders::default()), Condition::Always)?;
    let written = bucket.head(&key)?;
    bucket.delete(&key)?;
    Ok(written
        .with_context(|| format!("`{}` was just written, but is not there", bucket.object(&key)))?
        .modified)
}
