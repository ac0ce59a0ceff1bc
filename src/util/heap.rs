//! Freed memory that the allocator keeps.

/// Returns freed memory to the system. A cycle leaves much of it in the arenas of finished threads, where glibc would keep
/// it as long as the process lives.
pub(crate) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) may be called at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
