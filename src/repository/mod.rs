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

use crate::composer::{Stability, Version};
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
    let (mut include, mut inline) = (Listing::new(), Listing::new());
    for (name, versions) in &mut packages {
        versions.sort_by(|a, b| b.version.precedence(&a.version));
        let data: Vec<_> = versions.iter().map(|version| version.data(base)).collect();
        let of = |is_dev: bool| {
            let of = versions.iter().zip(&data);
            let of = of.filter(|(version, _)| (version.version.stability() == Stability::Dev) == is_dev);
            p2(name, &of.map(|(_, data)| data).collect::<Vec<_>>())
        };
        files.insert(format!("p2/{name}.json"), of(false)?);
        files.insert(format!("p2/{name}~dev.json"), of(true)?);
        include.begin(name)?;
        inline.begin(name)?;
        for (version, data) in versions.iter().zip(&data) {
            let data = serde_json::to_vec(data)?;
            include.add(&version.version, &data)?;
            inline.add(&version.version, &root::with_uid(data, version.number))?;
        }
    }
    let include = [b"{\"packages\":".as_slice(), &include.end(), b"}"].concat();
    let sha1 = Sha1::of(&include);
    let path = format!("include/all${sha1}.json");
    let root = Root {
        said,
        packages: &packages,
        inline: &inline.end(),
        include: (&path, sha1),
    };
    files.insert("packages.json".into(), root.render()?);
    files.insert(path, include);
    files.extend(catalog::render(base, &packages)?);
    Ok(files)
}

/// The JSON object of all packages with their versions, written as they come: as values they would take several times
/// the memory and the time.
struct Listing {
    text: Vec<u8>,
    /// Whether something stands before what comes next, in the object of the packages and in that of the versions.
    follows: (bool, bool),
}

impl Listing {
    fn new() -> Self {
        Self {
            text: vec![b'{'],
            follows: (false, false),
        }
    }

    /// The next versions are of this package.
    fn begin(&mut self, name: &str) -> serde_json::Result<()> {
        if self.follows.0 {
            self.text.extend(b"},");
        }
        self.follows = (true, false);
        serde_json::to_writer(&mut self.text, name)?;
        self.text.extend(b":{");
        Ok(())
    }

    fn add(&mut self, version: &Version, data: &[u8]) -> serde_json::Result<()> {
        if self.follows.1 {
            self.text.push(b',');
        }
        self.follows.1 = true;
        serde_json::to_writer(&mut self.text, &version.to_string())?;
        self.text.push(b':');
        self.text.extend(data);
        Ok(())
    }

    fn end(mut self) -> Vec<u8> {
        if self.follows.0 {
            self.text.push(b'}');
        }
        self.text.push(b'}');
        self.text
    }
}

/// One package's file; without versions it answers as "not here", so that lower repositories are asked.
fn p2(name: &str, versions: &[&Map<String, Value>]) -> serde_json::Result<Vec<u8>> {
    if versions.is_empty() {
        return serde_json::to_vec(&json!({ "packages": [] }));
    }
    serde_json::to_vec(&json!({ "packages": { name: minify::minify(versions) }, "minified": "composer/2.0" }))
}
