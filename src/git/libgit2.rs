//! libgit2's process-wide options.

use std::sync::Once;

use super::memory_limit;

/// How much of the packs libgit2 may keep mapped. Its default is 8 GiB, and mapped pages count against a container's limit.
const MAPPED_LIMIT: usize = 64 << 20;

/// How much of a pack is mapped at once. Its default is 1 GiB, whatever the limit.
const WINDOW: usize = 16 << 20;

/// Sets libgit2's options, once. Whatever opens a repository calls it first.
pub(super) fn initialize() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Packs were verified when they were received, and reading blobs takes half the time without it.
        git2::opts::strict_hash_verification(false);
        // SAFETY: the options are not synchronised; this runs once, before any other use of libgit2.
        let result = unsafe {
            memory_limit::install()
                .and_then(|()| git2::opts::set_mwindow_mapped_limit(MAPPED_LIMIT))
                .and_then(|()| git2::opts::set_mwindow_size(WINDOW))
                // The volume often belongs to another user than the one in the container.
                .and_then(|()| git2::opts::set_verify_owner_validation(false))
                .and_then(|()| ignore_machine_configuration())
        };
        if let Err(error) = result {
            tracing::error!(error = error.message(), "failed to set up libgit2");
        }
    });
}

/// A `url.insteadOf` in a user's `~/.gitconfig` must not change what is mirrored.
///
/// # Safety
/// No other thread may use libgit2 at the same time.
unsafe fn ignore_machine_configuration() -> Result<(), git2::Error> {
    use git2::ConfigLevel::{Global, ProgramData, System, XDG};
    for level in [System, Global, XDG, ProgramData] {
        // SAFETY: guaranteed by the caller.
        unsafe { git2::opts::set_search_path(level, "")? };
    }
    Ok(())
}
