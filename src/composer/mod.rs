//! Composer's vocabulary, pure: names, versions and their order, manifests, and how they are printed.

mod constraint;
mod json;
mod manifest;
mod name;
mod version;

pub use constraint::is_valid_constraint;
pub use json::{array_index, parse_js, to_js_string};
pub use manifest::{InvalidManifest, Manifest};
pub use name::PackageName;
pub use version::{Stability, Version};
