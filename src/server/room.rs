//! How much all downloads together may hold while their readers do not read.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that were copied to be encrypted.
pub(super) static COPIES: Rooms = Rooms::new(16 << 20);

/// Bytes that were copied into frames of HTTP/2, of which one client can have a great many.
pub(super) static FRAMES: Rooms = Rooms::new(16 << 20);

/// Files that stay open with their mappings.
pub(super) static KEPT_FILES: Rooms = Rooms::new(MOST_FILES);

/// Other files, each open for one download.
pub(super) static FILES: Rooms = Rooms::new(MOST_FILES);

const MOST_FILES: usize = 1024;

/// Files that are open at once, at most.
pub const OPEN_FILES: usize = 2 * MOST_FILES;

/// An open file, and the room for it.
pub(super) struct Open {
    pub(super) file: Arc<File>,
    _room: Room,
}

impl Open {
    /// None when there is no room.
    pub(super) fn keep(file: &Arc<File>, rooms: &'static Rooms) -> Option<Self> {
        let room = rooms.take(1)?;
        let file = Arc::clone(file);
        Some(Self { file, _room: room })
    }
}

pub(super) struct Rooms {
    taken: AtomicUsize,
    most: usize,
}

/// A part, given back when it is dropped.
pub(super) struct Room {
    of: &'static Rooms,
    size: usize,
}

impl Rooms {
    const fn new(most: usize) -> Self {
        let taken = AtomicUsize::new(0);
        Self { taken, most }
    }

    /// None when there is not so much left.
    pub(super) fn take(&'static self, size: usize) -> Option<Room> {
        let before = self.taken.fetch_add(size, Ordering::Relaxed);
        let room = Room { of: self, size };
        (before + size <= self.most).then_some(room)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.of.taken.fetch_sub(self.size, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_have_their_limit_and_are_given_back() {
        static ROOMS: Rooms = Rooms::new(10);
        let half = ROOMS.take(5);
        assert!(half.is_some());
        assert!(ROOMS.take(6).is_none());
        let other = ROOMS.take(5);
        assert!(other.is_some());
        assert!(ROOMS.take(1).is_none());
        drop((half, other));
        assert!(ROOMS.take(10).is_some());
    }
}
