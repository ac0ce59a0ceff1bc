//! A cache of blobs. Versions of a package share most of their files, and reading one from a pack is slow.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::object_id::ObjectId;

/// The size of a generation in bytes; there are two.
const GENERATION: usize = 16 << 20;

/// A cache of blobs, shared by several handles of one clone.
#[derive(Clone, Default)]
pub struct BlobCache(Arc<Mutex<Generations>>);

/// Blobs that are not used while the young generation fills up are dropped with the old one.
#[derive(Default)]
struct Generations {
    young: HashMap<ObjectId, Arc<[u8]>>,
    old: HashMap<ObjectId, Arc<[u8]>>,
    /// The size of the young generation.
    bytes: usize,
}

impl BlobCache {
    pub(super) fn get(&self, id: ObjectId) -> Option<Arc<[u8]>> {
        self.0.lock().get(id)
    }

    pub(super) fn put(&self, id: ObjectId, blob: Arc<[u8]>) {
        // A large blob would evict everything else.
        if blob.len() <= GENERATION / 4 {
            self.0.lock().put(id, blob);
        }
    }
}

impl Generations {
    fn get(&mut self, id: ObjectId) -> Option<Arc<[u8]>> {
        if let Some(blob) = self.young.get(&id) {
            return Some(blob.clone());
        }
        let blob = self.old.remove(&id)?;
        self.put(id, blob.clone());
        Some(blob)
    }

    fn put(&mut self, id: ObjectId, blob: Arc<[u8]>) {
        if self.bytes + blob.len() > GENERATION {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        let size = blob.len();
        if self.young.insert(id, blob).is_none() {
            self.bytes += size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_blobs_stay_and_unused_ones_are_evicted() {
        let id = |n: usize| format!("{n:040x}").parse::<ObjectId>().expect("an id");
        let large: Arc<[u8]> = vec![0; GENERATION / 5].into();
        let cache = BlobCache::default();
        for n in 0..30 {
            cache.put(id(n), large.clone());
            assert!(cache.get(id(0)).is_some(), "{n}");
        }
        assert!(cache.get(id(1)).is_none());
        let kept = cache.0.lock();
        let count = kept.young.len() + kept.old.len();
        drop(kept);
        assert!((5..=10).contains(&count), "{count}");
        cache.put(id(99), vec![0; GENERATION].into());
        assert!(cache.get(id(99)).is_none());
    }
}
