//! Composer's vocabulary: package names, versions and their order, constraints, manifests, and their JSON.

mod closure;
mod constraint;
mod exact_requirements;
mod json;
mod loader;
mod manifest;
mod name;
mod name_pattern;
mod php;
mod version;

pub use closure::{Choice, Closure, ClosureCandidate, ClosureRoots, Requirements, closure, requirements};
pub use constraint::{Constraint, InvalidConstraint, is_valid_constraint};
pub use json::{array_index, parse_js, to_js_string};
pub use loader::FieldProblem;
pub use manifest::{InvalidManifest, Manifest};
pub use name::PackageName;
pub use name_pattern::NamePattern;
pub use version::{Stability, Version, normalize as normalize_version, stability_of as stability};
