//! packages.json: which packages there are, how they are asked for, and what its operator says. Pure.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::{BaseUrl, Summaries, composer_hints, search_files};
use crate::config::{Hints, Metadata};
use crate::recipe::Note;
use crate::util::digest::{Sha1, Sha256};

/// What packages.json and the pages say whatever the packages are.
#[derive(Clone, Copy)]
pub struct RepositoryInfo<'a> {
    pub base: &'a BaseUrl,
    pub metadata: Metadata,
    pub hints: &'a Hints,
    /// About some versions, for the pages.
    pub notes: &'a [Note],
    /// Whether only its users may read it.
    pub is_private: bool,
}

impl RepositoryInfo<'_> {
    /// A digest of all of it.
    ///
    /// # Errors
    /// Of the serialisation.
    pub fn digest(&self) -> serde_json::Result<Sha256> {
        let Self {
            base,
            metadata,
            hints,
            notes,
            is_private,
        } = self;
        let all = json!([base.to_string(), metadata, hints, notes, is_private]);
        Ok(Sha256::digest(&serde_json::to_vec(&all)?))
    }
}

/// What packages.json is made from.
pub(super) struct PackagesJson<'a> {
    pub said: &'a RepositoryInfo<'a>,
    pub packages: &'a Summaries,
    /// The object of all versions, each [`with_uid`]; empty where the metadata is lazy.
    pub inline: &'a [u8],
    /// The path of the include, and its digest.
    pub include: (&'a str, Sha1),
}

impl PackagesJson<'_> {
    pub fn render(&self) -> serde_json::Result<Vec<u8>> {
        let (base, (path, sha1)) = (self.said.base, self.include);
        let mut root = Map::from_iter([
            ("includes".to_owned(), json!({ path: { "sha1": sha1 } })),
            (
                "metadata-url".to_owned(),
                base.from_host("p2/%package%.json").into(),
            ),
            (
                "available-packages".to_owned(),
                self.packages.keys().cloned().collect(),
            ),
        ]);
        root.extend(told(self.said));
        if search_files::has_providers(self.packages) {
            root.insert("providers-api".into(), search_files::providers_api(base).into());
        }
        match self.said.metadata {
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

/// What all versions stand behind, in packages.json and in an include.
pub(super) const PACKAGES: &[u8] = b"{\"packages\":";

/// The data of a version with the `uid` that `ComposerRepository::whatProvides` tells versions in packages.json apart by.
/// It is the number in the ledger, so that a new version changes no line but its own.
pub(super) fn with_uid(mut data: Vec<u8>, number: u64) -> Vec<u8> {
    data.pop();
    data.extend(format!(",\"uid\":{number}}}").into_bytes());
    data
}

fn told(said: &RepositoryInfo<'_>) -> Map<String, Value> {
    let addresses = search_files::addresses(said.base);
    let addresses = addresses
        .into_iter()
        .map(|(key, url)| (key.to_owned(), url.into()));
    addresses.chain(composer_hints::of(said.hints)).collect()
}

/// Whether a packages.json is as this program makes it for what is to be said, whatever packages it names.
pub fn is_current(root: &[u8], said: &RepositoryInfo<'_>) -> bool {
    let Ok(HeaderOfPackagesJson {
        packages: Form(metadata),
        mut rest,
    }) = serde_json::from_slice(root)
    else {
        return false;
    };
    let told = told(said);
    rest.retain(|key, _| told.contains_key(key) || composer_hints::KEYS.contains(&key.as_str()));
    metadata == said.metadata && rest == told
}

/// A packages.json without its versions, of which there are megabytes.
#[derive(Deserialize)]
struct HeaderOfPackagesJson {
    packages: Form,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// What the value of `packages` says of the metadata: an object holds versions, a list none.
struct Form(Metadata);

impl<'de> Deserialize<'de> for Form {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Look;
        impl<'de> Visitor<'de> for Look {
            type Value = Form;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("packages")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Form, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Form(Metadata::Inline))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Form, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Form(Metadata::Lazy))
            }
        }
        from.deserialize_any(Look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Message;

    #[test]
    fn a_root_is_current_until_what_it_tells_is_another() {
        let base = BaseUrl::new("https://mirror.example.com/m/".parse().unwrap());
        let hints = Hints {
            infos: vec![Message {
                message: "hello".into(),
                versions: "*".into(),
            }],
            ..Hints::default()
        };
        let said = RepositoryInfo {
            base: &base,
            metadata: Metadata::Lazy,
            hints: &hints,
            notes: &[],
            is_private: false,
        };
        let root = |said: &RepositoryInfo<'_>| {
            let root = PackagesJson {
                said,
                packages: &Summaries::new(),
                inline: b"{}",
                include: ("include/x.json", Sha1::digest(b"x")),
            };
            root.render().unwrap()
        };
        let bytes = root(&said);
        assert!(is_current(&bytes, &said));
        let other = BaseUrl::new("https://mirror.example.com/n/".parse().unwrap());
        for changed in [
            RepositoryInfo { base: &other, ..said },
            RepositoryInfo {
                hints: &Hints::default(),
                ..said
            },
            RepositoryInfo {
                metadata: Metadata::Inline,
                ..said
            },
        ] {
            assert!(!is_current(&bytes, &changed));
            assert!(!is_current(&root(&changed), &said));
            assert!(is_current(&root(&changed), &changed));
        }
        for key in ["search", "list", "infos"] {
            let mut older: Map<String, Value> = serde_json::from_slice(&bytes).unwrap();
            older.remove(key);
            let older = serde_json::to_vec(&older).unwrap();
            assert!(!is_current(&older, &said), "without {key}");
        }
        assert!(!is_current(b"[]", &said));
    }
}
