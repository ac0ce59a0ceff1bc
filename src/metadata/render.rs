//! Renders `p2/`, `include/`, packages.json and the search files of a repository.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

use super::minify::{MinifiedVersion, minify};
use super::package_summary::Summaries;
use super::packages_json::PackagesJson;
use super::render_cache::{ByteRanges, Files, PreviousRender, Ranges};
use super::repository_info::RepositoryInfo;
use super::search_files;
use super::version_entry::PackageVersion;
use crate::composer::Stability;
use crate::util::digest::{Sha1, Sha256};

/// Renders all metadata; returns the files and the positions of the packages in the include.
///
/// `versions` returns the versions of a package, newest first. It may return `None` for a package that has the same releases
/// in `previous`. `claims` are names without a version that no other repository shall have.
pub fn render(
    info: &RepositoryInfo<'_>,
    packages: &Summaries,
    claims: &BTreeSet<String>,
    versions: impl Fn(&str) -> serde_json::Result<Option<Vec<PackageVersion>>>,
    previous: Option<&PreviousRender>,
) -> serde_json::Result<(Files, ByteRanges)> {
    let mut files = Files::new();
    let mut include = Include::new();
    for name in packages.keys() {
        let [stable, dev] = p2_paths(name);
        if let Some(versions) = versions(name)? {
            let rendered = RenderedPackage::new(info, name, &versions)?;
            files.insert(stable, Some(rendered.p2));
            files.insert(dev, Some(rendered.p2_dev));
            include.add(name, &rendered.in_include)?;
        } else if let Some(in_include) = previous.and_then(|previous| previous.versions(name)) {
            files.insert(stable, None);
            files.insert(dev, None);
            include.add(name, in_include)?;
        } else {
            return Err(serde::ser::Error::custom(format_args!("the versions of {name} are missing")));
        }
    }
    for name in claims {
        let claim = p2_file(name, &[])?;
        files.extend(p2_paths(name).map(|path| (path, Some(claim.clone()))));
    }
    let (include, in_include) = include.finish();
    let sha1 = Sha1::digest(&include);
    let path = format!("include/all${sha1}.json");
    let root = PackagesJson { info, packages, claims, include: (&path, sha1) };
    files.insert("packages.json".into(), Some(root.render()?));
    files.insert(path.clone(), Some(include));
    let search_files = search_files::render(info.base, packages)?;
    files.extend(search_files.into_iter().map(|(path, text)| (path, Some(text))));
    Ok((files, ByteRanges { include: path, in_include }))
}

/// A package's own files, and its versions in the include.
struct RenderedPackage {
    p2: Vec<u8>,
    p2_dev: Vec<u8>,
    in_include: Vec<u8>,
}

impl RenderedPackage {
    fn new(info: &RepositoryInfo<'_>, name: &str, versions: &[PackageVersion]) -> serde_json::Result<Self> {
        let data: Vec<_> = versions.iter().map(|version| version.data(info.base)).collect();
        let p2 = |is_dev: bool| {
            let selected: Vec<_> = versions
                .iter()
                .zip(&data)
                .filter(|(version, _)| (version.version.stability() == Stability::Dev) == is_dev)
                .map(|(_, data)| data)
                .collect();
            p2_file(name, &selected)
        };
        let mut rendered = Self { p2: p2(false)?, p2_dev: p2(true)?, in_include: Vec::new() };
        for (version, data) in versions.iter().zip(&data) {
            let key = serde_json::to_string(&version.version.to_string())?;
            add_member(&mut rendered.in_include, &key, &serde_json::to_vec(data)?);
        }
        Ok(rendered)
    }
}

/// Adds a member to the inside of a JSON object.
fn add_member(object: &mut Vec<u8>, key: &str, value: &[u8]) {
    if !object.is_empty() {
        object.push(b',');
    }
    object.extend(key.as_bytes());
    object.push(b':');
    object.extend(value);
}

/// The include: all packages with their versions. It is written directly: as a [`Value`] it would take several times the memory
/// and the time.
struct Include {
    text: Vec<u8>,
    ranges: Ranges,
}

impl Include {
    fn new() -> Self {
        Self { text: br#"{"packages":{"#.to_vec(), ranges: Ranges::new() }
    }

    /// Adds a package; `versions` is the inside of the object of its versions.
    fn add(&mut self, name: &str, versions: &[u8]) -> serde_json::Result<()> {
        if !self.ranges.is_empty() {
            self.text.push(b',');
        }
        serde_json::to_writer(&mut self.text, name)?;
        self.text.extend(b":{");
        let begin = self.text.len();
        self.text.extend(versions);
        self.ranges.insert(name.to_owned(), begin..begin + versions.len());
        self.text.push(b'}');
        Ok(())
    }

    /// The file, and the positions of the packages in it.
    fn finish(mut self) -> (Vec<u8>, Ranges) {
        self.text.extend(b"}}");
        (self.text, self.ranges)
    }
}

/// The paths of a package's files: of its versions, and of its development versions.
fn p2_paths(name: &str) -> [String; 2] {
    [format!("p2/{name}.json"), format!("p2/{name}~dev.json")]
}

/// A package's file.
#[derive(Serialize)]
struct P2File<'v> {
    packages: BTreeMap<&'v str, Vec<MinifiedVersion<'v>>>,
    minified: &'static str,
}

/// It names the package also without versions, and so claims it.
fn p2_file(name: &str, versions: &[&Map<String, Value>]) -> serde_json::Result<Vec<u8>> {
    let packages = BTreeMap::from([(name, minify(versions))]);
    serde_json::to_vec(&P2File { packages, minified: "composer/2.0" })
}

/// Whether files with these digests claim their names. Before 2026-11-30 the file of a package without versions named nothing.
pub fn claims_names(mut files: impl Iterator<Item = Sha256>) -> bool {
    let unclaimed = Sha256::digest(br#"{"packages":[]}"#);
    files.all(|digest| digest != unclaimed)
}
