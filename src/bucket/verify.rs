//! Compares a bucket with what its root names.

use super::client::Bucket;
use super::parallel;
use super::reader::{ArchiveObject, Loaded, LoadedState, load};
use crate::ledger::Release;

/// What was found.
#[derive(Debug, Default)]
pub struct Verified {
    /// The number of the root, and of its snapshot; `None` if nothing is published.
    pub published: Option<(u64, u64)>,
    /// Archives and copies that were looked up.
    pub objects: usize,
    /// What is missing or different.
    pub problems: Vec<String>,
}

/// Reads all metadata that is published and compares it with its digests, and looks up every archive and every copy: whether it
/// is there, with the size and the digest that were recorded when it was uploaded.
pub fn verify(bucket: &Bucket, repository: &str) -> anyhow::Result<Verified> {
    let loaded = match load(bucket, repository, None)? {
        Loaded::New(loaded) => loaded,
        Loaded::Nothing | Loaded::Unchanged => return Ok(Verified::default()),
    };
    let objects = objects(&loaded);
    let found = parallel::map(&objects, |object| Ok(check(bucket, object)))?;
    let mut problems: Vec<_> = found.into_iter().flatten().collect();
    problems.sort();
    let root = loaded.root();
    Ok(Verified { published: Some((root.sequence, root.snapshot.number)), objects: objects.len(), problems })
}

/// The archives that the state serves, and their copies.
fn objects(loaded: &LoadedState) -> Vec<ArchiveObject> {
    let manifest = &loaded.state.snapshot;
    let is_served = |release: &Release| manifest.serves(release);
    let archives = loaded.ledger().archives(is_served);
    archives.flat_map(|(release, _)| loaded.archive_objects(release)).collect()
}

/// What is wrong with an object.
fn check(bucket: &Bucket, object: &ArchiveObject) -> Option<String> {
    let name = bucket.object(&object.key);
    match bucket.head(&object.key) {
        Err(error) => Some(error.to_string()),
        Ok(None) => Some(format!("`{name}` is missing")),
        Ok(Some(found)) if found.size != object.size => {
            Some(format!("`{name}` has {} bytes, not {}", found.size, object.size))
        }
        Ok(Some(found)) => match found.sha256 {
            Some(sha256) if sha256 != object.sha256 => {
                Some(format!("`{name}` has SHA-256 {sha256}, not {}", object.sha256))
            }
            _ => None,
        },
    }
}
