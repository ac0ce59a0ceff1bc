//! Small pieces that several stages use and that know none of them.

pub mod cancel;
pub mod compression;
pub mod digest;
pub mod heap;
