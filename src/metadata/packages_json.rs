//! packages.json: the names of all packages, where their metadata is, and the operator's hints.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
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
    /// The object of all versions, each [`with_uid`]; empty if the metadata is lazy.
    pub inline: &'a [u8],
    /// The path of the include, and its SHA-1.
    pub include: (&'a str, Sha1),
}

impl PackagesJson<'_> {
    pub(super) fn render(&self) -> serde_json::Result<Vec<u8>> {
        let (base, (path, sha1)) = (self.info.base, self.include);
        let mut root = Map::from_iter([
            ("includes".to_owned(), json!({ path: { "sha1": sha1 } })),
            ("metadata-url".to_owned(), base.host_relative("p2/%package%.json").into()),
            ("available-packages".to_owned(), self.packages.keys().cloned().collect()),
        ]);
        root.extend(extra_keys(self.info));
        if search_files::has_providers(self.packages) {
            root.insert("providers-api".into(), search_files::providers_api(base).into());
        }
        match self.info.metadata {
            Metadata::Lazy => {
                root.shift_insert(0, "packages".into(), json!([]));
                serde_json::to_vec_pretty(&root)
            }
            Metadata::Inline => {
                let rest = serde_json::to_vec(&root)?;
                Ok([PACKAGES, self.inline, b",", &rest[1..]].concat())
            }
        }
    }
}

/// The beginning of packages.json and of an include, followed by the object of all versions.
pub(super) const PACKAGES: &[u8] = b"{\"packages\":";

/// Adds the `uid` by which `ComposerRepository::whatProvides` distinguishes versions in packages.json. It is the number in
/// the ledger, so a new version does not change the others.
pub(super) fn with_uid(mut data: Vec<u8>, number: u64) -> Vec<u8> {
    data.pop();
    data.extend(format!(",\"uid\":{number}}}").into_bytes());
    data
}

/// The keys that do not depend on the packages.
fn extra_keys(info: &RepositoryInfo<'_>) -> Map<String, Value> {
    let urls = search_files::urls(info.base);
    let urls = urls.into_iter().map(|(key, url)| (key.to_owned(), url.into()));
    urls.chain(composer_hints::to_keys(info.hints)).collect()
}

/// Whether a published packages.json, its packages aside, is what this program makes with these settings.
pub fn is_current(root: &[u8], info: &RepositoryInfo<'_>) -> bool {
    let Ok(PublishedRoot { packages: PackagesForm(metadata), mut rest }) = serde_json::from_slice(root)
    else {
        return false;
    };
    let expected = extra_keys(info);
    rest.retain(|key, _| expected.contains_key(key) || composer_hints::KEYS.contains(&key.as_str()));
    metadata == info.metadata && rest == expected
}

/// A packages.json without its versions, which may be megabytes.
#[derive(Deserialize)]
struct PublishedRoot {
    packages: PackagesForm,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Whether the metadata is inline: then `packages` is an object of versions, else an empty list.
struct PackagesForm(Metadata);

impl<'de> Deserialize<'de> for PackagesForm {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct FormVisitor;
        impl<'de> Visitor<'de> for FormVisitor {
            type Value = PackagesForm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("packages")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PackagesForm, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(PackagesForm(Metadata::Inline))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<PackagesForm, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(PackagesForm(Metadata::Lazy))
            }
        }
        from.deserialize_any(FormVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Hints, Message};
    use crate::metadata::base_url::BaseUrl;

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
            notes: &[],
            is_private: false,
        };
        let root = |info: &RepositoryInfo<'_>| {
            let root = PackagesJson {
                info,
                packages: &Summaries::new(),
                inline: b"{}",
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
