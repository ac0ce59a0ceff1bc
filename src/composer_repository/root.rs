//! The keys of packages.json. PHP writes an empty map as a list, and a list with gaps as a map: both are read.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::util::digest::Sha256;

/// How many mirrors of archives are asked; Composer's repositories name one or two.
const MAX_MIRRORS: usize = 10;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct Root {
    pub(super) packages: Option<Box<RawValue>>,
    pub(super) includes: PhpMap<IncludeHash>,
    metadata_url: Option<String>,
    providers_url: Option<String>,
    providers_lazy_url: Option<String>,
    pub(super) provider_includes: PhpMap<Sha256Hash>,
    pub(super) providers: PhpMap<Sha256Hash>,
    available_packages: Option<PhpList<String>>,
    available_package_patterns: Option<PhpList<String>>,
    mirrors: Option<PhpList<Mirror>>,
    list: Option<String>,
    metadata_changes_url: Option<String>,
    pub(super) filter: Option<Box<RawValue>>,
}

/// An object; empty, it may be a list.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected an object")]
pub(super) enum PhpMap<T> {
    Map(BTreeMap<String, T>),
    Empty([IgnoredAny; 0]),
}

/// A list; with gaps, it is an object.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a list")]
enum PhpList<T> {
    List(Vec<T>),
    Map(BTreeMap<String, T>),
}

#[derive(Debug, Deserialize)]
pub(super) struct IncludeHash {
    pub(super) sha1: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Sha256Hash {
    pub(super) sha256: Sha256,
}

/// Where archives are, too: a URL with placeholders.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Mirror {
    #[serde(default)]
    dist_url: Option<String>,
    #[serde(default)]
    preferred: Value,
}

impl<T> Default for PhpMap<T> {
    fn default() -> Self {
        Self::Map(BTreeMap::new())
    }
}

impl<T> PhpMap<T> {
    pub(super) fn into_map(self) -> BTreeMap<String, T> {
        match self {
            Self::Map(map) => map,
            Self::Empty(_) => BTreeMap::new(),
        }
    }
}

impl<T> PhpList<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::List(list) => list,
            Self::Map(map) => map.into_values().collect(),
        }
    }
}

/// PHP's `empty`.
fn non_empty(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

impl Root {
    /// The template of the files of packages, and whether it has separate ones for branches.
    pub(super) fn package_template(&self) -> Option<(&str, bool)> {
        let metadata = non_empty(&self.metadata_url).map(|url| (url, true));
        metadata.or_else(|| non_empty(&self.providers_lazy_url).map(|url| (url, false)))
    }

    pub(super) fn providers_template(&self) -> Option<&str> {
        non_empty(&self.providers_url)
    }

    pub(super) fn list_url(&self) -> Option<&str> {
        non_empty(&self.list)
    }

    pub(super) fn changes_url(&self) -> Option<&str> {
        non_empty(&self.metadata_changes_url)
    }

    /// The names and the patterns of names that it is limited to. Empty lists are no limit.
    pub(super) fn take_available(&mut self) -> (Vec<String>, Vec<String>) {
        let take = |list: Option<PhpList<String>>| list.map(PhpList::into_vec).unwrap_or_default();
        (take(self.available_packages.take()), take(self.available_package_patterns.take()))
    }

    /// Whether it has neither packages nor a way to them: perhaps the oldest form, whose names are the keys themselves.
    pub(super) fn is_bare(&self) -> bool {
        self.packages.is_none()
            && self.package_template().is_none()
            && self.providers_template().is_none()
            && matches!(&self.includes, PhpMap::Map(map) if map.is_empty())
    }

    /// The templates of archives' URLs, each with whether it comes before the archive's own URL.
    pub(super) fn take_mirrors(&mut self) -> Vec<(String, bool)> {
        let mirrors = self.mirrors.take().map(PhpList::into_vec).unwrap_or_default().into_iter();
        mirrors
            .filter_map(|mirror| {
                let is_preferred = !matches!(mirror.preferred, Value::Null | Value::Bool(false));
                Some((mirror.dist_url.filter(|url| !url.is_empty())?, is_preferred))
            })
            .take(MAX_MIRRORS)
            .collect()
    }
}
