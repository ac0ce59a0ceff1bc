//! The data of one package version, as satis publishes it: the archive's manifest as Composer's `ArrayLoader` reads and
//! `ArrayDumper` writes it, in the same order, with the commit's `time`, the ledger's `published-time` and without `source`.

use std::borrow::Cow;

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
    /// The Composer repository that its archive was taken from.
    pub upstream: Option<String>,
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
        let manifest = &*self.loadable_manifest();
        let mut data = Map::new();
        data.insert("name".into(), manifest.get("name").cloned().unwrap_or_default());
        data.insert("version".into(), self.version.to_string().into());
        data.insert("version_normalized".into(), self.version.normalized().into());
        if let Some(folder) = manifest.get("target-dir").and_then(Value::as_str).filter(|dir| !dir.is_empty())
        {
            data.insert("target-dir".into(), folder.into());
        }
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
        Self::describe(manifest, &mut data);
        data
    }

    /// The manifest without the fields that Composer could not load.
    fn loadable_manifest(&self) -> Cow<'_, Map<String, Value>> {
        let mut manifest = Cow::Borrowed(&self.manifest.0);
        for problem in self.manifest.omitted_fields() {
            let manifest = manifest.to_mut();
            match problem.field.split_once('.') {
                None => manifest.shift_remove(&problem.field),
                Some((outer, inner)) => manifest
                    .get_mut(outer)
                    .and_then(Value::as_object_mut)
                    .and_then(|fields| fields.shift_remove(inner)),
            };
        }
        manifest
    }

    fn describe(manifest: &Map<String, Value>, data: &mut Map<String, Value>) {
        if let Some(mut bin) = manifest.get("bin").map(as_array).filter(|v| !is_empty(v)) {
            for path in values_mut(&mut bin) {
                if let Some(text) = path.as_str() {
                    *path = text.trim_start_matches('/').into();
                }
            }
            data.insert("bin".into(), bin);
        }
        let kind = manifest
            .get("type")
            .filter(|v| !is_empty(v))
            .and_then(Value::as_str)
            .map_or("library".to_owned(), str::to_ascii_lowercase);
        data.insert("type".into(), kind.into());
        copy(manifest, data, &["extra", "autoload", "autoload-dev", "include-path", "php-ext"]);
        if let Some(Value::Object(archive)) = manifest.get("archive") {
            let mut kept = Map::new();
            copy(archive, &mut kept, &["name", "exclude"]);
            if !kept.is_empty() {
                data.insert("archive".into(), Value::Object(kept));
            }
        }
        if let Some(scripts) = manifest.get("scripts").filter(|v| !is_empty(v)) {
            let mut scripts = scripts.clone();
            for listeners in values_mut(&mut scripts) {
                *listeners = as_array(listeners);
            }
            data.insert("scripts".into(), scripts);
        }
        if let Some(license) = manifest.get("license").filter(|v| !is_empty(v)) {
            data.insert("license".into(), as_array(license));
        }
        copy(manifest, data, &["authors", "description", "homepage"]);
        if let Some(keywords) = manifest.get("keywords").filter(|v| !is_empty(v)) {
            let mut keywords = as_array(keywords);
            let mut keywords: Vec<_> = values_mut(&mut keywords).map(|keyword| as_text(keyword)).collect();
            keywords.sort();
            data.insert("keywords".into(), keywords.into());
        }
        copy(manifest, data, &["support", "funding"]);
        match manifest.get("abandoned") {
            Some(value) if is_empty(value) || *value == 0 => {}
            Some(Value::String(replacement)) => {
                data.insert("abandoned".into(), replacement.as_str().into());
            }
            Some(_) => {
                data.insert("abandoned".into(), true.into());
            }
            None => {}
        }
    }
}

/// Links by target in lower case, sorted, with unchanged constraints.
fn links(value: Option<&Value>) -> Option<Value> {
    let mut links: Vec<_> =
        value?.as_object()?.iter().map(|(k, v)| (k.to_ascii_lowercase(), v.clone())).collect();
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

/// Whether `ArrayLoader` or `ArrayDumper` omit the value. In PHP the text `0` is empty, too.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty() || text == "0",
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// PHP's `(array)`.
fn as_array(value: &Value) -> Value {
    match value {
        Value::Null => Value::Array(Vec::new()),
        Value::Array(_) | Value::Object(_) => value.clone(),
        other => Value::Array(vec![other.clone()]),
    }
}

fn values_mut(array: &mut Value) -> Box<dyn Iterator<Item = &mut Value> + '_> {
    match array {
        Value::Array(items) => Box::new(items.iter_mut()),
        Value::Object(map) => Box::new(map.values_mut()),
        _ => Box::new(std::iter::empty()),
    }
}

fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn rfc3339(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}
