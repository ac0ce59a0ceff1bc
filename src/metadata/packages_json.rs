//! packages.json: where the metadata of the packages is, their names, and the operator's hints.
//!
//! A repository claims a name if Composer asks no repository of lower priority for it. With `metadata-url` it does so by a
//! document that names the package, however few versions it has (`ComposerRepository::loadAsyncPackages`); without it, by any
//! version, whatever its stability (`ArrayRepository::loadPackages`). Versions in packages.json beside a `metadata-url` claim
//! a name only as long as one of them is acceptable and not loaded yet, so the two are never combined.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::package_summary::Summaries;
use super::repository_info::RepositoryInfo;
use super::{composer_hints, search_files};
use crate::config::Metadata;
use crate::util::digest::Sha1;

/// The contents of packages.json.
pub(super) struct PackagesJson<'a> {
    pub info: &'a RepositoryInfo<'a>,
    pub packages: &'a Summaries,
    /// Names without a version that are claimed nevertheless.
    pub claims: &'a BTreeSet<String>,
    /// The path of the include, and its SHA-1.
    pub include: (&'a str, Sha1),
}

impl PackagesJson<'_> {
    pub(super) fn render(&self) -> serde_json::Result<Vec<u8>> {
        let (base, (path, sha1)) = (self.info.base, self.include);
        let names: BTreeSet<_> = self.packages.keys().chain(self.claims).collect();
        let mut root = Map::from_iter([
            ("packages".to_owned(), json!([])),
            ("includes".to_owned(), json!({ path: { "sha1": sha1 } })),
        ]);
        match self.info.metadata {
            Metadata::Lazy => {
                root.insert(METADATA_URL.into(), base.host_relative("p2/%package%.json").into());
            }
            Metadata::Inline if self.claims.is_empty() => (),
            Metadata::Inline => {
                let claims: BTreeMap<_, _> =
                    self.claims.iter().map(|name| (name, placeholder(name))).collect();
                root["packages"] = json!(claims);
            }
        }
        root.insert("available-packages".into(), json!(names));
        root.extend(extra_keys(self.info));
        if search_files::has_providers(self.packages) {
            root.insert("providers-api".into(), search_files::providers_api(base).into());
        }
        serde_json::to_vec_pretty(&root)
    }
}

const METADATA_URL: &str = "metadata-url";

/// The versions that claim a name without `metadata-url`: a development version that no PHP can run.
fn placeholder(name: &str) -> Value {
    const VERSION: &str = "dev-unpublished";
    json!({ VERSION: {
        "name": name,
        "version": VERSION,
        "version_normalized": VERSION,
        "type": "metapackage",
        "description": "This repository has no version of the package, and reserves its name.",
        "require": { "php": "<0" },
    }})
}

/// The keys that do not depend on the packages.
fn extra_keys(info: &RepositoryInfo<'_>) -> Map<String, Value> {
    let urls = search_files::urls(info.base);
    let urls = urls.into_iter().map(|(key, url)| (key.to_owned(), url.into()));
    urls.chain(composer_hints::to_keys(info.hints)).collect()
}

/// Whether a published packages.json, its packages aside, is what this program makes with these settings.
pub fn is_current(root: &[u8], info: &RepositoryInfo<'_>) -> bool {
    let Ok(mut root) = serde_json::from_slice::<Map<String, Value>>(root) else {
        return false;
    };
    let is_lazy = root.contains_key(METADATA_URL);
    let expected = extra_keys(info);
    root.retain(|key, _| expected.contains_key(key) || composer_hints::KEYS.contains(&key.as_str()));
    is_lazy == (info.metadata == Metadata::Lazy) && root == expected
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Hints, Message, Site};
    use crate::metadata::base_url::BaseUrl;
    use crate::recipe::Recipe;

    #[test]
    fn root_is_current_until_a_setting_changes() {
        let base = BaseUrl::new("https://mirror.example.com/m/".parse().unwrap());
        let hints = Hints {
            infos: vec![Message { message: "hello".into(), versions: "*".into() }],
            ..Hints::default()
        };
        let info = RepositoryInfo {
            base: &base,
            metadata: Metadata::Lazy,
            hints: &hints,
            site: &Site::default(),
            recipe: &Recipe::default(),
            is_private: false,
            is_trial: false,
        };
        let root = |info: &RepositoryInfo<'_>| {
            let root = PackagesJson {
                info,
                packages: &Summaries::new(),
                claims: &BTreeSet::new(),
                include: ("include/x.json", Sha1::digest(b"x")),
            };
            root.render().unwrap()
        };
        let bytes = root(&info);
        assert!(is_current(&bytes, &info));
        let other = BaseUrl::new("https://mirror.example.com/n/".parse().unwrap());
        for changed in [
            RepositoryInfo { base: &other, ..info },
            RepositoryInfo { hints: &Hints::default(), ..info },
            RepositoryInfo { metadata: Metadata::Inline, ..info },
        ] {
            assert!(!is_current(&bytes, &changed));
            assert!(!is_current(&root(&changed), &info));
            assert!(is_current(&root(&changed), &changed));
        }
        for key in ["search", "list", "infos"] {
            let mut older: Map<String, Value> = serde_json::from_slice(&bytes).unwrap();
            older.remove(key);
            let older = serde_json::to_vec(&older).unwrap();
            assert!(!is_current(&older, &info), "without {key}");
        }
        assert!(!is_current(b"[]", &info));
    }
}
