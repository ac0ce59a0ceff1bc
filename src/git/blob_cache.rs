//! Blobs that were read lately. Versions of a package share most of their files, and to read one from a pack took about twice the
//! time of hashing it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::object_id::ObjectId;

/// In bytes; twice as many are kept at most.
const GENERATION: usize = 16 << 20;

/// Blobs that several handles of one clone keep for each other.
#[derive(Clone, Default)]
pub struct BlobCache(Arc<Mutex<Generations>>);

/// What was not used while the younger one filled up goes with the older one.
#[derive(Default)]
struct Generations {
    young: HashMap<ObjectId, Arc<[u8]>>,
    old: HashMap<ObjectId, Arc<[u8]>>,
    /// In the younger one.
    bytes: usize,
}

impl BlobCache {
    pub(super) fn get(&self, id: ObjectId) -> Option<Arc<[u8]>> {
        self.with(|kept| kept.get(id))
    }

    pub(super) fn put(&self, id: ObjectId, blob: Arc<[u8]>) {
        // It would drive everything else out.
        if blob.len() <= GENERATION / 4 {
            self.with(|kept| kept.put(id, blob));
        }
    }

    fn with<T>(&self, look: impl FnOnce(&mut Generations) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
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
    fn what_is_used_stays_and_the_rest_goes() {
        let id = |n: usize| format!("{n:040x}").parse::<ObjectId>().expect("an id");
        let large: Arc<[u8]> = vec![0; GENERATION / 5].into();
        let recent = BlobCache::default();
        for n in 0..30 {
            recent.put(id(n), large.clone());
            assert!(recent.get(id(0)).is_some(), "{n}");
        }
        assert!(recent.get(id(1)).is_none());
        let kept = recent.with(|kept| kept.young.len() + kept.old.len());
        assert!((5..=10).contains(&kept), "{kept}");
        recent.put(id(99), vec![0; GENERATION].into());
        assert!(recent.get(id(99)).is_none());
    }
}
