//! From trees to archives: what each ref would give ([`plan`]), its manifest ([`manifest`]) and its bytes
//! ([`archive`], [`build`]).
//!
//! The bytes equal those of the reference generator (mage-os/generate-mirror-repo-js), so that a lock file made
//! against any mirror installs from every other. Everything is read from the object database; there is no checkout.

pub mod build;
mod collation;
mod derived_manifest;
mod limits;
pub mod manifest;
mod path_checks;
pub mod plan;
pub mod planner;
pub mod prebuilt_archive;
mod unused_rules;
pub mod zip_writer;

pub use limits::Limits;
