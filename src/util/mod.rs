//! Small helpers that several modules use and that depend on none of them.

pub mod cancel;
pub mod compression;
pub mod digest;
pub(crate) mod error_text;
pub mod heap;
