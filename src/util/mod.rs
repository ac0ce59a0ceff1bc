//! Small helpers that several modules use and that depend on none of them.

pub mod cancel;
pub(crate) mod clock;
pub mod compression;
pub mod digest;
pub(crate) mod file_lock;
pub mod heap;
pub(crate) mod parallel;
pub(crate) mod text;
pub mod text_file;
pub(crate) mod threads;
