//! Composer's vocabulary, pure: names, versions and their order, manifests, and how they are printed.

mod constraint;
mod json;
mod manifest;
mod name;
mod version;

pub use constraint::is_readable;
pub use json::{array_index, parse_js, to_js_string};
pub use manifest::{Invalid, Manifest};
pub use name::PackageName;
pub use version::{Stability, Version};
