//! The Composer repository as files: releases in, (path, bytes) out. Pure.
//!
//! [`package`] makes the data of one version, [`minify`] shrinks the list of a package's versions; this file puts them
//! into `p2/` and `include/`, [`root`] makes `packages.json`, and [`catalog`] what is asked beside the versions. What all
//! packages share is made from a [`PackageSummary`] of each and from texts that [`PreviousRender`] has of the publication before, so that
//! only what has changed is read and rendered. No
//! `source` and no `dist.reference`: with them a lock file clings to the mirror that it was made against.

mod base_url;
mod composer_hints;
mod minify;
mod missing_dependencies;
mod package_summary;
mod packages_json;
pub mod pages;
pub mod reader;
mod render_cache;
pub mod search_files;
mod version_entry;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use self::packages_json::PackagesJson;
use self::render_cache::Ranges;

pub use base_url::BaseUrl;
pub use minify::expand;
pub use missing_dependencies::{MissingDependency, gaps};
pub use package_summary::{Newest, PackageSummary, Summaries};
pub use packages_json::{RepositoryInfo, is_current};
pub use render_cache::{ByteRanges, CachedPackage, PreviousRender, RenderCache};
pub use version_entry::PackageVersion;

use crate::composer::Stability;
use crate::config::Metadata;
use crate::util::digest::Sha1;

/// Public files by path; `None` where one is as it was published before.
pub type Files = BTreeMap<String, Option<Vec<u8>>>;

/// The files that a package has to itself, and what of it stands in files that all packages share.
struct Part {
    p2: Vec<u8>,
    dev: Vec<u8>,
    include: Vec<u8>,
    inline: Vec<u8>,
}

/// Renders all metadata of a repository: its files by path, `None` where one is as before, and how it was made. `versions`
/// are those of a package, newest first; it may answer `None` for a package that `before` has with the same releases.
///
/// # Errors
/// Of the serialisation.
pub fn render<'v>(
    said: &RepositoryInfo<'_>,
    packages: &Summaries,
    versions: impl Fn(&str) -> Option<&'v [PackageVersion]>,
    before: Option<&PreviousRender>,
) -> serde_json::Result<(Files, ByteRanges)> {
    let mut files = Files::new();
    let (mut include, mut inline) = (Listing::new(), Listing::new());
    let is_inline = said.metadata == Metadata::Inline;
    for name in packages.keys() {
        let [stable, dev] = [format!("p2/{name}.json"), format!("p2/{name}~dev.json")];
        if let Some(versions) = versions(name) {
            let part = Part::of(said, name, versions)?;
            files.insert(stable, Some(part.p2));
            files.insert(dev, Some(part.dev));
            include.add(name, &part.include)?;
            inline.add(name, &part.inline)?;
        } else if let Some((in_include, in_root)) = before.and_then(|before| before.of(name)) {
            files.insert(stable, None);
            files.insert(dev, None);
            include.add(name, in_include)?;
            inline.add(name, in_root)?;
        } else {
            return Err(serde::ser::Error::custom(format_args!(
                "the versions of {name} are not there"
            )));
        }
    }
    let (all, places) = include.end();
    let include = [packages_json::PACKAGES, &all, b"}"].concat();
    let sha1 = Sha1::digest(&include);
    let path = format!("include/all${sha1}.json");
    let (inline, in_root) = inline.end();
    let root = PackagesJson {
        said,
        packages,
        inline: &inline,
        include: (&path, sha1),
    };
    files.insert("packages.json".into(), Some(root.render()?));
    files.insert(path.clone(), Some(include));
    let catalog = search_files::render(said.base, packages)?;
    files.extend(catalog.into_iter().map(|(path, text)| (path, Some(text))));
    let places = ByteRanges {
        include: path,
        in_include: places,
        in_root: if is_inline { in_root } else { Ranges::new() },
    };
    Ok((files, places))
}

impl Part {
    fn of(said: &RepositoryInfo<'_>, name: &str, versions: &[PackageVersion]) -> serde_json::Result<Self> {
        let data: Vec<_> = versions.iter().map(|version| version.data(said.base)).collect();
        let of = |is_dev: bool| {
            let of = versions.iter().zip(&data);
            let of = of.filter(|(version, _)| (version.version.stability() == Stability::Dev) == is_dev);
            p2(name, &of.map(|(_, data)| data).collect::<Vec<_>>())
        };
        let mut part = Self {
            p2: of(false)?,
            dev: of(true)?,
            include: Vec::new(),
            inline: Vec::new(),
        };
        for (version, data) in versions.iter().zip(&data) {
            let key = serde_json::to_string(&version.version.to_string())?;
            let data = serde_json::to_vec(data)?;
            entry(&mut part.include, &key, &data);
            if said.metadata == Metadata::Inline {
                entry(
                    &mut part.inline,
                    &key,
                    &packages_json::with_uid(data, version.number),
                );
            }
        }
        Ok(part)
    }
}

/// Adds an entry to the inside of a JSON object.
fn entry(object: &mut Vec<u8>, key: &str, value: &[u8]) {
    if !object.is_empty() {
        object.push(b',');
    }
    object.extend(key.as_bytes());
    object.push(b':');
    object.extend(value);
}

/// The JSON object of all packages with their versions, written as they come: as values they would take several times
/// the memory and the time.
struct Listing {
    text: Vec<u8>,
    places: Ranges,
}

impl Listing {
    fn new() -> Self {
        Self {
            text: vec![b'{'],
            places: Ranges::new(),
        }
    }

    /// Adds a package; `versions` is the inside of the object of its versions.
    fn add(&mut self, name: &str, versions: &[u8]) -> serde_json::Result<()> {
        if self.text.len() > 1 {
            self.text.push(b',');
        }
        serde_json::to_writer(&mut self.text, name)?;
        self.text.extend(b":{");
        let begin = packages_json::PACKAGES.len() + self.text.len();
        self.text.extend(versions);
        self.places.insert(name.to_owned(), begin..begin + versions.len());
        self.text.push(b'}');
        Ok(())
    }

    /// The object, and where the versions of each package are in a file that has it behind [`packages_json::PACKAGES`].
    fn end(mut self) -> (Vec<u8>, Ranges) {
        self.text.push(b'}');
        (self.text, self.places)
    }
}

/// One package's file; without versions it answers as "not here", so that lower repositories are asked.
fn p2(name: &str, versions: &[&Map<String, Value>]) -> serde_json::Result<Vec<u8>> {
    if versions.is_empty() {
        return serde_json::to_vec(&json!({ "packages": [] }));
    }
    serde_json::to_vec(&json!({ "packages": { name: minify::minify(versions) }, "minified": "composer/2.0" }))
}
