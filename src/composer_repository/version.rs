//! One version of a package, as a repository lists it.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::address::Address;
use super::packages::FilterEntry;
use crate::composer::{Stability, normalize_version, stability};
use crate::util::digest::Sha1;
use crate::util::text::shortened;

/// In bytes. A longer one does not fit into the name of a file.
const MAX_VERSION: usize = 200;

/// In bytes. The ledger has it for ever; a commit has 40 or 64.
const MAX_REFERENCE: usize = 200;

/// The versions of one package.
#[derive(Debug, Default)]
pub struct Versions {
    pub versions: Vec<RemoteVersion>,
    /// What is listed and cannot be read: the version, if it has one, and why.
    pub unreadable: Vec<(String, String)>,
    /// The versions that the repository flags.
    pub filters: Vec<FilterEntry>,
}

/// A listed version.
#[derive(Debug, Clone)]
pub struct RemoteVersion {
    /// The name of the package in lower case.
    pub name: String,
    /// The version as its author wrote it.
    pub version: String,
    /// The version as Composer compares it.
    pub normalized: String,
    /// All that the repository lists of it, as it came.
    pub manifest: Map<String, Value>,
    /// Its archive; a metapackage may have none.
    pub dist: Option<Dist>,
    places: Arc<ArchivePlaces>,
}

/// Where the archives of a repository can be had.
#[derive(Debug)]
pub(super) struct ArchivePlaces {
    pub(super) address: Address,
    /// Templates of URLs, each with whether it comes before the archive's own URL.
    pub(super) mirrors: Vec<(String, bool)>,
}

/// The archive of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dist {
    /// `zip`, `tar`, …
    pub kind: String,
    /// Its own URL, as it is listed.
    url: String,
    /// What it has to have; many repositories do not say.
    pub shasum: Option<Sha1>,
    /// The commit that it is made of, or another text that changes with it.
    pub reference: Option<String>,
}

impl RemoteVersion {
    /// A text of its manifest.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.manifest.get(key).and_then(Value::as_str)
    }

    /// The type, with Composer's default.
    pub fn kind(&self) -> &str {
        self.text("type").unwrap_or("library")
    }

    pub fn stability(&self) -> Stability {
        stability(&self.normalized)
    }

    /// Whether it is the head of a branch, which changes.
    pub fn is_branch(&self) -> bool {
        self.normalized.starts_with("dev-") || self.normalized.ends_with("-dev")
    }

    pub(super) fn new(
        name: &str,
        manifest: Map<String, Value>,
        places: &Arc<ArchivePlaces>,
    ) -> Result<Self, (String, String)> {
        let version = manifest.get("version").and_then(Value::as_str).unwrap_or_default().to_owned();
        if version.len() > MAX_VERSION {
            let reason = format!("its version has {} bytes", version.len());
            return Err((shortened(&version, MAX_VERSION).into_owned(), reason));
        }
        let Some(normalized) = normalize_version(&version) else {
            let reason = format!("`{}` is not a version that Composer can read", version.escape_debug());
            return Err((version, reason));
        };
        let places = Arc::clone(places);
        let mut this = Self { name: name.to_owned(), version, normalized, manifest, dist: None, places };
        this.dist = this.read_dist().map_err(|reason| (this.version.clone(), reason))?;
        Ok(this)
    }

    fn read_dist(&self) -> Result<Option<Dist>, String> {
        let Some(dist) = self.manifest.get("dist").and_then(Value::as_object) else { return Ok(None) };
        let text = |key: &str| dist.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let Some(url) = text("url") else { return Ok(None) };
        let shasum = text("shasum").map(str::parse::<Sha1>).transpose();
        let shasum = shasum.map_err(|_| "its `dist` has a `shasum` that is no SHA-1".to_owned())?;
        let (url, kind) = (url.to_owned(), text("type").unwrap_or("zip").to_owned());
        let reference = text("reference").filter(|text| text.len() <= MAX_REFERENCE).map(str::to_owned);
        Ok(Some(Dist { kind, url, shasum, reference }))
    }

    /// Where its archive is, in the order in which Composer asks: mirrors before it, its own URL, mirrors after it.
    pub fn urls(&self) -> Vec<String> {
        let Some(dist) = &self.dist else { return Vec::new() };
        let mut urls = vec![dist.url.clone()];
        for (template, is_preferred) in &self.places.mirrors {
            let Some(url) = self.mirror_url(template, dist) else { continue };
            // Composer's templates are relative to the host.
            let Ok(url) = self.places.address.resolve(&url).map(String::from) else { continue };
            match (urls.contains(&url), is_preferred) {
                (true, _) => {}
                (false, true) => urls.insert(0, url),
                (false, false) => urls.push(url),
            }
        }
        urls
    }

    /// `ComposerMirror::processUrl`. It hashes texts that cannot be part of a URL, which is left out here.
    fn mirror_url(&self, template: &str, dist: &Dist) -> Option<String> {
        let is_plain = |text: &str| text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
        let reference = dist.reference.as_deref().unwrap_or_default();
        if self.normalized.contains('/') || (template.contains("%reference%") && !is_plain(reference)) {
            return None;
        }
        let tokens = [
            ("%package%", self.name.as_str()),
            ("%version%", &self.normalized),
            ("%reference%", reference),
            ("%type%", &dist.kind),
            ("%prettyVersion%", &self.version),
        ];
        Some(tokens.into_iter().fold(template.to_owned(), |url, (token, text)| url.replace(token, text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use url::Url;

    fn read(manifest: &Value, mirrors: &[(&str, bool)]) -> Result<RemoteVersion, (String, String)> {
        let address = Address::new(&Url::parse("https://h.example/sub/").unwrap()).unwrap();
        let mirrors = mirrors.iter().map(|(url, preferred)| ((*url).to_owned(), *preferred)).collect();
        let places = Arc::new(ArchivePlaces { address, mirrors });
        RemoteVersion::new("a/b", manifest.as_object().unwrap().clone(), &places)
    }

    #[test]
    fn archives_are_asked_for_where_composer_does() {
        let manifest = json!({"name": "a/b", "version": "v1.0", "dist": {
            "type": "zip", "url": "https://x.example/1.zip", "reference": "abc1", "shasum": ""
        }});
        let mirrors = [
            ("/m/%package%/%version%/%reference%.%type%", false),
            ("/p/%package%-%prettyVersion%.zip", true),
        ];
        let version = read(&manifest, &mirrors).unwrap();
        assert_eq!((version.normalized.as_str(), version.kind()), ("1.0.0.0", "library"));
        let mut long = manifest.clone();
        long["dist"]["reference"] = "a".repeat(1000).into();
        assert_eq!(read(&long, &[]).unwrap().dist.unwrap().reference, None);
        assert_eq!(
            version.urls(),
            [
                "https://h.example/p/a/b-v1.0.zip",
                "https://x.example/1.zip",
                "https://h.example/m/a/b/1.0.0.0/abc1.zip"
            ]
        );
        let dist = version.dist.unwrap();
        assert_eq!((dist.shasum, dist.reference.as_deref()), (None, Some("abc1")));
        assert_eq!(read(&json!({"version": "1.0", "type": "metapackage"}), &mirrors).unwrap().dist, None);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (manifest, expected) in [
            (json!({"version": "main-x"}), "`main-x` is not a version that Composer can read"),
            (json!({}), "`` is not a version that Composer can read"),
            (
                json!({"version": "1.0", "dist": {"url": "https://x.example/1.zip", "shasum": "abc"}}),
                "its `dist` has a `shasum` that is no SHA-1",
            ),
        ] {
            assert_eq!(read(&manifest, &[]).unwrap_err().1, expected);
        }
    }
}
