//! What metadata names: read back from an include file, this mirror's or another one's. Pure.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

/// The names of the includes in a packages.json, and what it holds itself.
#[derive(Debug, Deserialize)]
pub struct ListedRepository {
    #[serde(default)]
    pub includes: BTreeMap<String, serde::de::IgnoredAny>,
    /// Versions by package name, where they are not in includes; an empty list where there are none.
    #[serde(default)]
    packages: serde_json::Value,
    #[serde(default, rename = "available-packages")]
    pub available_packages: Vec<String>,
}

/// The names of the includes in a packages.json alone: its versions may be megabytes.
#[derive(Debug, Deserialize)]
pub struct Includes {
    #[serde(default)]
    pub includes: BTreeMap<String, serde::de::IgnoredAny>,
}

/// Versions by package name.
#[derive(Debug, Deserialize)]
pub struct Include {
    pub packages: BTreeMap<String, BTreeMap<String, Version>>,
}

/// A version as far as it says where its archive is.
#[derive(Debug, Deserialize)]
pub struct Version {
    pub dist: Option<Dist>,
}

/// An archive in metadata.
#[derive(Debug, Deserialize)]
pub struct Dist {
    pub url: String,
    #[serde(default)]
    pub shasum: String,
}

/// URL and SHA-1 of the archive, by name and version.
pub type ArchiveUrls = BTreeMap<(String, String), (String, String)>;

impl ListedRepository {
    /// The archives of all versions that a repository lists, in its packages.json and in the includes, which `get` answers.
    ///
    /// # Errors
    /// Of `get`; an include that is none; a repository that lists no version, since one that is asked for each package
    /// by itself cannot be listed.
    pub fn archives(&self, get: impl Fn(&str) -> anyhow::Result<Vec<u8>>) -> anyhow::Result<ArchiveUrls> {
        let mut archives = ArchiveUrls::new();
        if self.packages.is_object() {
            let packages = serde_json::from_value(self.packages.clone()).context("packages.json")?;
            enter(Include { packages }, &mut archives);
        }
        for path in self.includes.keys() {
            let include = serde_json::from_slice(&get(path)?)
                .with_context(|| format!("`{path}` is no list of packages"))?;
            enter(include, &mut archives);
        }
        ensure!(
            !archives.is_empty(),
            "its packages.json lists no version, neither itself nor in includes"
        );
        Ok(archives)
    }
}

fn enter(include: Include, into: &mut ArchiveUrls) {
    for (name, versions) in include.packages {
        for (version, entry) in versions {
            if let Some(dist) = entry.dist {
                into.insert((name.clone(), version), (dist.url, dist.shasum));
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
            Ok(archives) => archives
                .into_keys()
                .map(|(name, version)| format!("{name} {version}"))
                .collect(),
            Err(error) => vec![format!("{error:#}")],
        }
    }

    #[test]
    fn versions_are_listed_in_packages_json_and_in_its_includes() {
        let inline = r#"{"packages": {"a/b": {"1": {"dist": {"url": "u1"}}}}, "includes": {}}"#;
        assert_eq!(versions(inline), ["a/b 1"]);
        assert_eq!(
            versions(r#"{"packages": [], "includes": {"include/x.json": {"sha1": "0"}}}"#),
            ["a/b 2"]
        );
        let lazy = versions(r#"{"packages": [], "metadata-url": "/p2/%package%.json"}"#);
        assert!(lazy[0].contains("lists no version"), "{lazy:?}");
    }
}
