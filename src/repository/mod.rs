//! The Composer repository as files: releases in, (path, bytes) out. Pure.
//!
//! [`package`] makes the data of one version, [`minify`] shrinks the list of a package's versions; this file puts them
//! into `p2/` and `include/`, [`root`] makes `packages.json`, and [`catalog`] what is asked beside the versions. No
//! `source` and no `dist.reference`: with them a lock file clings to the mirror that it was made against.

mod base_url;
pub mod catalog;
mod closure;
mod hints;
pub mod listing;
mod minify;
mod package;
pub mod pages;
mod root;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use self::root::Root;

pub use base_url::BaseUrl;
pub use closure::{Gap, gaps};
pub use package::PackageVersion;
pub use root::{Said, is_current};

use crate::composer::Stability;
use crate::digest::Sha1;

/// Renders all metadata of a repository; `packages` by name.
///
/// # Errors
/// Of the serialisation.
pub fn render(
    said: &Said<'_>,
    mut packages: BTreeMap<String, Vec<PackageVersion>>,
) -> serde_json::Result<BTreeMap<String, Vec<u8>>> {
    let base = said.base;
    let mut files = BTreeMap::new();
    let mut all = Map::new();
    for (name, versions) in &mut packages {
        versions.sort_by(|a, b| b.version.precedence(&a.version));
        let (dev, released): (Vec<_>, Vec<_>) = versions
            .iter()
            .partition(|v| v.version.stability() == Stability::Dev);
        files.insert(format!("p2/{name}.json"), p2(name, &released, base)?);
        files.insert(format!("p2/{name}~dev.json"), p2(name, &dev, base)?);
        let entries = versions
            .iter()
            .map(|v| (v.version.to_string(), Value::Object(v.data(base))))
            .collect();
        all.insert(name.clone(), Value::Object(entries));
    }
    let include = serde_json::to_vec(&json!({ "packages": all }))?;
    let sha1 = Sha1::of(&include);
    let path = format!("include/all${sha1}.json");
    let root = Root {
        said,
        packages: &packages,
        include: (&path, sha1),
    };
    files.insert("packages.json".into(), root.render()?);
    files.insert(path, include);
    files.extend(catalog::render(base, &packages)?);
    Ok(files)
}

/// One package's file; without versions it answers as "not here", so that lower repositories are asked.
fn p2(name: &str, versions: &[&PackageVersion], base: &BaseUrl) -> serde_json::Result<Vec<u8>> {
    if versions.is_empty() {
        return serde_json::to_vec(&json!({ "packages": [] }));
    }
    let data: Vec<_> = versions.iter().map(|v| v.data(base)).collect();
    serde_json::to_vec(&json!({ "packages": { name: minify::minify(&data) }, "minified": "composer/2.0" }))
}
