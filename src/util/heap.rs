//! The memory that this process keeps from the system.

/// Gives freed memory back to the system. A cycle ends with much of it in the arenas of threads that are gone, where glibc
/// would keep it for as long as the process lives; measured with the whole of Magento, that was more than half.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time, from any thread (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}
