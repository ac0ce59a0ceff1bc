//! Pages of this documentation: how the parts work together, and why they are as they are.

#[doc = include_str!("commit.md")]
pub mod commit {}

#[doc = include_str!("cycle.md")]
pub mod cycle {}

#[doc = include_str!("connection.md")]
pub mod connection {}

#[doc = include_str!("bucket.md")]
pub mod bucket {}

#[doc = include_str!("decisions.md")]
pub mod decisions {}
