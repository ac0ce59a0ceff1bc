//! The data of one package version, as satis publishes it: the archive's manifest as Composer's `ArrayLoader` reads and
//! `ArrayDumper` writes it, in the same order, with the commit's `time`, the ledger's `published-time` and without `source`.

use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Map, Value, json};

use super::base_url::BaseUrl;
use crate::composer::{Manifest, Stability, Version};
use crate::util::digest::Sha1;

/// A published version with its manifest.
#[derive(Debug, Clone)]
pub struct PackageVersion {
    /// The number of its line in the ledger.
    pub number: u64,
    pub manifest: Manifest,
    pub version: Version,
    /// The path of the archive below the base URL.
    pub path: String,
    pub sha1: Sha1,
    pub committed: Timestamp,
    /// The size of the archive in bytes.
    pub size: u64,
    pub commit: String,
    /// Whether it is the head of a branch, whose content may change within a day.
    pub is_nightly: bool,
    pub source: String,
    /// When this mirror published it.
    pub published: Timestamp,
}

/// `BasePackage::$supportedLinkTypes`, in its order.
const LINKS: [&str; 5] = ["require", "conflict", "provide", "replace", "require-dev"];

impl PackageVersion {
    /// A text of the manifest. Magento's modules use `N/A` for no text.
    pub fn text(&self, key: &str) -> Option<&str> {
        let text = self.manifest.0.get(key)?.as_str()?.trim();
        (!text.is_empty() && text != "N/A" && text != "n/a").then_some(text)
    }

    /// The target and constraint of each link of one kind, unchanged.
    pub fn links(&self, kind: &str) -> impl Iterator<Item = (&str, &str)> {
        let links = self.manifest.0.get(kind).and_then(Value::as_object);
        links
            .into_iter()
            .flatten()
            .filter_map(|(name, constraint)| Some((name.as_str(), constraint.as_str()?)))
    }

    /// The type, with Composer's default.
    pub fn kind(&self) -> &str {
        self.text("type").unwrap_or("library")
    }

    pub fn is_stable(&self) -> bool {
        self.version.stability() == Stability::Stable
    }

    /// The package data, with an absolute `dist.url` under `base`.
    pub fn data(&self, base: &BaseUrl) -> Map<String, Value> {
        let manifest = &self.manifest.0;
        let mut data = Map::new();
        data.insert("name".into(), manifest.get("name").cloned().unwrap_or_default());
        data.insert("version".into(), self.version.to_string().into());
        data.insert("version_normalized".into(), self.version.normalized().into());
        copy(manifest, &mut data, &["target-dir"]);
        let mut dist = json!({ "type": "zip", "url": base.join(&self.path) });
        if self.is_nightly {
            // Composer reinstalls the same version if its reference has changed (`DependencyResolver/Transaction.php`).
            dist["reference"] = self.commit.clone().into();
        }
        dist["shasum"] = json!(self.sha1);
        data.insert("dist".into(), dist);
        for kind in LINKS {
            if let Some(links) = links(manifest.get(kind)) {
                data.insert(kind.into(), links);
            }
        }
        if let Some(Value::Object(suggest)) = manifest.get("suggest").filter(|v| !is_empty(v)) {
            let version = self.version.to_string();
            let own = |reason: &Value| reason.as_str().is_some_and(|text| text.trim() == "self.version");
            let mut suggest: Vec<_> = suggest
                .iter()
                .map(|(k, v)| (k.clone(), if own(v) { version.clone().into() } else { v.clone() }))
                .collect();
            suggest.sort_by(|a, b| a.0.cmp(&b.0));
            data.insert("suggest".into(), Value::Object(suggest.into_iter().collect()));
        }
        data.insert("time".into(), rfc3339(self.committed).into());
        // Composer 2.11 measures a cooldown by it, because no package can set it.
        data.insert("published-time".into(), rfc3339(self.published).into());
        self.describe(&mut data);
        data
    }

    fn describe(&self, data: &mut Map<String, Value>) {
        let manifest = &self.manifest.0;
        if let Some(bin) = manifest.get("bin").filter(|v| !is_empty(v)) {
            let relative = |path: &Value| {
                path.as_str().map_or_else(|| path.clone(), |p| p.trim_start_matches('/').into())
            };
            let bin = as_list(bin).iter().map(relative).collect();
            data.insert("bin".into(), Value::Array(bin));
        }
        let kind = manifest
            .get("type")
            .and_then(Value::as_str)
            .map_or("library".to_owned(), str::to_ascii_lowercase);
        data.insert("type".into(), kind.into());
        copy(manifest, data, &["extra", "autoload", "autoload-dev", "include-path"]);
        if let Some(Value::Object(archive)) = manifest.get("archive") {
            let mut kept = Map::new();
            copy(archive, &mut kept, &["name", "exclude"]);
            if !kept.is_empty() {
                data.insert("archive".into(), Value::Object(kept));
            }
        }
        if let Some(Value::Object(scripts)) = manifest.get("scripts").filter(|v| !is_empty(v)) {
            let lists = scripts
                .iter()
                .map(|(event, listeners)| (event.clone(), Value::Array(as_list(listeners))))
                .collect();
            data.insert("scripts".into(), Value::Object(lists));
        }
        if let Some(license) = manifest.get("license").filter(|v| !is_empty(v)) {
            data.insert("license".into(), Value::Array(as_list(license)));
        }
        copy(manifest, data, &["authors", "description", "homepage"]);
        if let Some(Value::Array(keywords)) = manifest.get("keywords").filter(|v| !is_empty(v)) {
            let mut keywords = keywords.clone();
            keywords.sort_by_key(|keyword| keyword.as_str().map(str::to_owned));
            data.insert("keywords".into(), Value::Array(keywords));
        }
        copy(manifest, data, &["support", "funding", "abandoned"]);
    }
}

/// Links by target in lower case, sorted, with unchanged constraints.
fn links(value: Option<&Value>) -> Option<Value> {
    let mut links: Vec<_> = value?.as_object()?.iter().map(|(k, v)| (k.to_lowercase(), v.clone())).collect();
    links.sort_by(|a, b| a.0.cmp(&b.0));
    (!links.is_empty()).then(|| Value::Object(links.into_iter().collect()))
}

fn copy(from: &Map<String, Value>, to: &mut Map<String, Value>, keys: &[&str]) {
    for key in keys {
        if let Some(value) = from.get(*key).filter(|v| !is_empty(v)) {
            to.insert((*key).to_owned(), value.clone());
        }
    }
}

/// Whether `ArrayDumper` omits the value.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn as_list(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items.clone(),
        other => vec![other.clone()],
    }
}

fn rfc3339(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}
