//! Reads published metadata: the versions that a repository lists, and the URLs of their archives.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A packages.json, of this mirror or another one.
#[derive(Debug, Deserialize)]
pub struct ListedRepository {
    /// The paths of the includes.
    #[serde(default)]
    pub includes: BTreeMap<String, serde::de::IgnoredAny>,
    /// Versions by package name if they are inline, else an empty list.
    #[serde(default)]
    packages: serde_json::Value,
    #[serde(default, rename = "available-packages")]
    pub available_packages: Vec<String>,
}

/// The paths of the includes in a packages.json. Its versions, which may be megabytes, are not kept.
#[derive(Debug, Deserialize)]
pub struct Includes {
    #[serde(default)]
    pub includes: BTreeMap<String, serde::de::IgnoredAny>,
}

/// Versions by package name.
#[derive(Debug, Deserialize)]
struct Include<V = ListedVersion> {
    packages: BTreeMap<String, BTreeMap<String, V>>,
}

/// Reads the metadata of this program, include by include. `receive` gets each package with what `V` has of its versions.
pub fn read_packages<V: DeserializeOwned>(
    read: impl Fn(&str) -> anyhow::Result<Vec<u8>>,
    mut receive: impl FnMut(String, BTreeMap<String, V>),
) -> anyhow::Result<()> {
    let root: Includes = serde_json::from_slice(&read("packages.json")?).context("packages.json")?;
    for path in root.includes.keys() {
        let include: Include<V> = serde_json::from_slice(&read(path)?).with_context(|| path.clone())?;
        include.packages.into_iter().for_each(|(name, versions)| receive(name, versions));
    }
    Ok(())
}

#[derive(Debug, Deserialize)]
struct ListedVersion {
    dist: Option<Dist>,
}

#[derive(Debug, Deserialize)]
struct Dist {
    url: String,
    #[serde(default)]
    shasum: String,
}

/// URL and SHA-1 of each archive, by name and version.
pub type ArchiveUrls = BTreeMap<(String, String), (String, String)>;

impl ListedRepository {
    /// The packages.json of this mirror that `read` reads, and the archives of all versions that it lists.
    pub fn read_own(read: impl Fn(&str) -> anyhow::Result<Vec<u8>>) -> anyhow::Result<(Self, ArchiveUrls)> {
        let root: Self =
            serde_json::from_slice(&read("packages.json")?).context("failed to parse `packages.json`")?;
        let archives = root.list(read)?;
        Ok((root, archives))
    }

    /// The archives of all listed versions of another mirror. Fails if it lists none: one that is queried package by package cannot
    /// be listed.
    pub fn archives(&self, get: impl Fn(&str) -> anyhow::Result<Vec<u8>>) -> anyhow::Result<ArchiveUrls> {
        let archives = self.list(get)?;
        ensure!(!archives.is_empty(), "its packages.json lists no version, neither itself nor in includes");
        Ok(archives)
    }

    /// The archives of all listed versions, in packages.json and in the includes that `get` reads.
    fn list(&self, get: impl Fn(&str) -> anyhow::Result<Vec<u8>>) -> anyhow::Result<ArchiveUrls> {
        let mut archives = ArchiveUrls::new();
        if self.packages.is_object() {
            let packages = serde_json::from_value(self.packages.clone()).context("packages.json")?;
            add_archives(Include { packages }, &mut archives);
        }
        for path in self.includes.keys() {
            let include = serde_json::from_slice(&get(path)?)
                .with_context(|| format!("`{path}` is not a list of packages"))?;
            add_archives(include, &mut archives);
        }
        Ok(archives)
    }
}

fn add_archives(include: Include, archives: &mut ArchiveUrls) {
    for (name, versions) in include.packages {
        for (version, entry) in versions {
            if let Some(dist) = entry.dist {
                archives.insert((name.clone(), version), (dist.url, dist.shasum));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(root: &str) -> Vec<String> {
        let root: ListedRepository = serde_json::from_str(root).unwrap();
        let include = r#"{"packages": {"a/b": {"2": {"dist": {"url": "u2", "shasum": "s2"}}, "3": {}}}}"#;
        match root.archives(|_| Ok(include.into())) {
            Ok(archives) => archives.into_keys().map(|(name, version)| format!("{name} {version}")).collect(),
            Err(error) => vec![format!("{error:#}")],
        }
    }

    #[test]
    fn versions_are_listed_in_packages_json_and_in_its_includes() {
        let inline = r#"{"packages": {"a/b": {"1": {"dist": {"url": "u1"}}}}, "includes": {}}"#;
        assert_eq!(versions(inline), ["a/b 1"]);
        assert_eq!(versions(r#"{"packages": [], "includes": {"include/x.json": {"sha1": "0"}}}"#), ["a/b 2"]);
        let lazy = versions(r#"{"packages": [], "metadata-url": "/p2/%package%.json"}"#);
        assert!(lazy[0].contains("lists no version"), "{lazy:?}");
    }
}
