//! From git trees to archives: what each ref gives ([`planner`]), its manifest (`manifest`) and its bytes ([`build`],
//! [`zip_writer`]).
//!
//! The bytes equal those of the reference generator (mage-os/generate-mirror-repo-js), so that a lock file that was made
//! against any mirror installs from every other. Everything is read from the object database; there is no checkout.

pub mod build;
pub mod checkout_differences;
mod collation;
mod derived_manifest;
mod first_ref_wins;
mod identities;
pub(crate) mod limits;
mod manifest;
mod missing_files;
mod path_checks;
pub mod plan;
pub mod planner;
pub mod prebuilt_archive;
pub mod rebound;
mod resource_files;
pub mod uncovered_manifests;
mod unused_rules;
pub mod zip_writer;
