//! What metadata names: read back from an include file, this mirror's or another one's. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The names of the includes in a packages.json.
#[derive(Debug, Deserialize)]
pub struct Root {
    #[serde(default)]
    pub includes: BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(default, rename = "available-packages")]
    pub available_packages: Vec<String>,
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
