//! The Composer repository as files: releases in, (path, bytes) out. Pure.
//!
//! `version_entry` makes the data of one version, `minify` shrinks the list of a package's versions, `render` puts
//! them into `p2/` and `include/`, `packages_json` makes `packages.json`, and [`search_files`] what else Composer
//! requests. The shared files need only a [`PackageSummary`] of each package and texts of the
//! [`PreviousRender`], so only changed packages are read and rendered.
//!
//! There is no `source` and no `dist.reference`: with them, a lock file would be bound to the mirror that it was made
//! against.

mod base_url;
mod composer_hints;
mod minify;
mod missing_dependencies;
mod package_summary;
mod packages_json;
pub mod pages;
pub mod reader;
mod render;
mod render_cache;
mod repository_info;
pub mod search_files;
mod version_entry;

pub use base_url::BaseUrl;
pub use minify::expand;
pub use missing_dependencies::{MissingDependency, missing_dependencies};
pub use package_summary::{Newest, PackageSummary, Summaries};
pub use packages_json::is_current;
pub use render::{claims_names, render};
pub use render_cache::{ByteRanges, CachedPackage, Files, PreviousRender, RenderCache};
pub use repository_info::RepositoryInfo;
pub use version_entry::PackageVersion;
