//! Limits the memory of one fetch through libgit2's allocator.
//!
//! A pack of a few kilobytes may unpack to gigabytes, and libgit2 allocates what the pack says. While a [`MemoryLimit`] exists,
//! allocations of its thread that exceed the limit fail, which libgit2 reports as an error. A fetch runs on one thread.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};

use crate::util::heap;

/// How much memory libgit2 may take on a thread, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    /// For one object: a file, or the result of a delta.
    pub object: usize,
    /// For all that is in memory at the same time.
    pub total: usize,
}

/// A refused allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusedAllocation {
    /// One object of this many bytes.
    Object(usize),
    Total,
    /// The system gave no memory.
    Process,
}

#[derive(Clone, Copy)]
struct Usage {
    allowance: Allowance,
    /// Negative if memory was freed that had been allocated before.
    used: isize,
    refused: Option<RefusedAllocation>,
}

thread_local! {
    static USAGE: Cell<Option<Usage>> = const { Cell::new(None) };
}

/// While it lives, libgit2's allocations on this thread are limited.
pub(super) struct MemoryLimit(());

impl MemoryLimit {
    pub(super) fn new(allowance: Allowance) -> Self {
        USAGE.set(Some(Usage { allowance, used: 0, refused: None }));
        Self(())
    }

    /// The first allocation that was refused since the last call.
    pub(super) fn take_refused(&self) -> Option<RefusedAllocation> {
        let mut usage = USAGE.get()?;
        let refused = usage.refused.take();
        USAGE.set(Some(usage));
        refused
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        USAGE.set(None);
    }
}

/// `git_allocator` of `git2/sys/alloc.h`, which libgit2-sys does not declare.
#[repr(C)]
struct Allocator {
    malloc: unsafe extern "C" fn(usize, *const c_char, c_int) -> *mut c_void,
    realloc: unsafe extern "C" fn(*mut c_void, usize, *const c_char, c_int) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
}

/// Makes libgit2 allocate through this module.
///
/// # Safety
/// No other thread may use libgit2 at the same time.
pub(super) unsafe fn install() -> Result<(), git2::Error> {
    let mut allocator = Allocator { malloc, realloc, free };
    let option = libgit2_sys::GIT_OPT_SET_ALLOCATOR as c_int;
    // SAFETY: libgit2 copies the struct. What it allocated before came from the same functions of libc.
    match unsafe { libgit2_sys::git_libgit2_opts(option, &raw mut allocator) } {
        0 => Ok(()),
        _ => Err(git2::Error::last_error(-1)),
    }
}

unsafe extern "C" fn malloc(size: usize, _: *const c_char, _: c_int) -> *mut c_void {
    if !may_allocate(size, 0) {
        return std::ptr::null_mut();
    }
    // SAFETY: any size is allowed.
    let new = note_failure(unsafe { libc::malloc(size) });
    // SAFETY: `new` comes from malloc.
    add(unsafe { size_of_block(new) });
    new
}

unsafe extern "C" fn realloc(old: *mut c_void, size: usize, _: *const c_char, _: c_int) -> *mut c_void {
    // SAFETY: libgit2 passes what it allocated.
    let before = unsafe { size_of_block(old) };
    if !may_allocate(size, before) {
        return std::ptr::null_mut();
    }
    // SAFETY: as above.
    let new = note_failure(unsafe { libc::realloc(old, size) });
    if !new.is_null() {
        // SAFETY: `new` comes from realloc.
        add(unsafe { size_of_block(new) } - before);
    }
    new
}

unsafe extern "C" fn free(old: *mut c_void) {
    // SAFETY: libgit2 passes what it allocated.
    unsafe {
        add(-size_of_block(old));
        libc::free(old);
    }
}

/// # Safety
/// `block` is null or a live block of malloc.
unsafe fn size_of_block(block: *mut c_void) -> isize {
    // SAFETY: guaranteed by the caller.
    unsafe { libc::malloc_usable_size(block) }.cast_signed()
}

/// Whether a block of `size` bytes, in place of one of `before`, is within the limits.
fn may_allocate(size: usize, before: isize) -> bool {
    let Some(usage) = USAGE.get() else { return true };
    let Allowance { object, total } = usage.allowance;
    let refused = if size > object.saturating_add(1) {
        RefusedAllocation::Object(size)
    } else if usage.used.saturating_add_unsigned(size) - before > total.try_into().unwrap_or(isize::MAX) {
        RefusedAllocation::Total
    } else {
        return true;
    };
    refuse(usage, refused);
    false
}

fn refuse(mut usage: Usage, refused: RefusedAllocation) {
    usage.refused.get_or_insert(refused);
    USAGE.set(Some(usage));
}

fn note_failure(new: *mut c_void) -> *mut c_void {
    if heap::check(new).is_null()
        && let Some(usage) = USAGE.get()
    {
        refuse(usage, RefusedAllocation::Process);
    }
    new
}

fn add(bytes: isize) {
    if let Some(mut usage) = USAGE.get() {
        usage.used += bytes;
        USAGE.set(Some(usage));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocate(size: usize) -> *mut c_void {
        // SAFETY: any size is allowed.
        unsafe { malloc(size, std::ptr::null(), 0) }
    }

    #[test]
    fn allocations_beyond_a_limit_are_refused_on_its_thread_only() {
        let limit = MemoryLimit::new(Allowance { object: 1 << 20, total: 3 << 20 });
        assert!(allocate(2 << 20).is_null());
        assert_eq!(limit.take_refused(), Some(RefusedAllocation::Object(2 << 20)));
        let blocks = [allocate(1 << 20), allocate(1 << 20)];
        assert!(blocks.iter().all(|block| !block.is_null()));
        assert!(allocate(1 << 20).is_null());
        assert_eq!(limit.take_refused(), Some(RefusedAllocation::Total));
        assert_eq!(limit.take_refused(), None);
        // SAFETY: the blocks are live, and not used after this.
        let [first, second] = blocks.map(|block| unsafe { realloc(block, 100, std::ptr::null(), 0) });
        let third = allocate(1 << 20);
        assert!(!third.is_null(), "what was given back can be taken again");
        std::thread::spawn(|| {
            let other = allocate(8 << 20);
            assert!(!other.is_null());
            // SAFETY: as above.
            unsafe { free(other) };
        })
        .join()
        .unwrap();
        drop(limit);
        let unlimited = allocate(8 << 20);
        assert!(!unlimited.is_null());
        // SAFETY: as above.
        [first, second, third, unlimited].iter().for_each(|&block| unsafe { free(block) });
    }
}
