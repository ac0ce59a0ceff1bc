//! The heap: reports when memory runs out, and returns freed memory to the system.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::OnceLock;

#[global_allocator]
static ALLOCATOR: ReportingAllocator = ReportingAllocator;

static ON_FAILURE: OnceLock<fn()> = OnceLock::new();

/// Sets a function that is called when memory cannot be allocated, after which the program usually aborts. It must not allocate.
pub(crate) fn on_allocation_failure(report: fn()) {
    let _ = ON_FAILURE.set(report);
}

/// The system's allocator, with reports of failures.
struct ReportingAllocator;

/// Reports a failed allocation, which is null.
pub(crate) fn check<T>(allocated: *mut T) -> *mut T {
    if allocated.is_null()
        && let Some(report) = ON_FAILURE.get()
    {
        report();
    }
    allocated
}

// SAFETY: every call is passed on to the system's allocator.
unsafe impl GlobalAlloc for ReportingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: guaranteed by the caller.
        check(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: guaranteed by the caller.
        check(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, allocated: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: guaranteed by the caller.
        check(unsafe { System.realloc(allocated, layout, size) })
    }

    unsafe fn dealloc(&self, allocated: *mut u8, layout: Layout) {
        // SAFETY: guaranteed by the caller.
        unsafe { System.dealloc(allocated, layout) }
    }
}

/// Lets threads share the arenas of the allocator. Each has its own otherwise, and what one has freed counts against the
/// memory limit of the process although the others cannot use it.
pub(crate) fn share_arenas() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) may be called at any time, from any thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

/// Returns freed memory to the system. A cycle leaves much of it in the arenas of finished threads, where glibc would keep
/// it as long as the process lives.
pub(crate) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) may be called at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
