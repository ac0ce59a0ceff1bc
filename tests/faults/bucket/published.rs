//! The oracle: what is published, read from outside.

use mirror::bucket::reader::{Loaded, LoadedState, load};
use mirror::bucket::verify::verify;
use mirror::bucket::{Bucket, BucketErrorKind};
use mirror::util::digest::Sha256;

use crate::fixture::Verdict;

/// Reads all that `root` names. It continues `told`, the ledger that somebody was told is published, and everything is there.
pub fn read(bucket: &Bucket, told: &[u8]) -> Verdict<Option<Box<LoadedState>>> {
    let loaded = load(bucket, "acme", None);
    let loaded = match loaded.map_err(|error| format!("`root` names what is not there: {error:#}"))? {
        Loaded::New(loaded) => loaded,
        Loaded::Nothing if told.is_empty() => return Ok(None),
        other => return Err(format!("lost: {other:?}, although it was published")),
    };
    if !loaded.ledger_text().starts_with(told) {
        return Err("lost: the ledger lacks releases that were reported as published".into());
    }
    let found = verify(bucket, "acme").map_err(|error| format!("{error:#}"))?;
    match &found.problems[..] {
        [] => Ok(Some(loaded)),
        problems => Err(format!("`root` names what is not there: {}", problems.join("\n"))),
    }
}

/// Compares the bytes of all archives and copies with what the ledger says.
pub fn require_archives(bucket: &Bucket, loaded: &LoadedState) -> Verdict {
    let manifest = &loaded.state.snapshot;
    let served = loaded.ledger().archives(|release| manifest.serves(release));
    for object in served.flat_map(|(release, _)| loaded.archive_objects(release)) {
        match bucket.get(&object.key) {
            Ok(found) if Sha256::digest(&found.bytes) == object.sha256 => {}
            Ok(_) => return Err(format!("changed: {}", object.key)),
            Err(error) if error.kind == BucketErrorKind::NotFound => return Err(format!("lost: {error}")),
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}
