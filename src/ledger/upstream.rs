//! Where an archive comes from that was taken as it is, and what its repository says of it beyond its own manifest.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::composer::Manifest;

/// The Composer repository that an archive was taken from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// URL of the repository.
    pub repository: String,
    /// URL that sent the archive; empty for a package without one, whose archive has its manifest alone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub dist: String,
    /// The keys that the repository lists otherwise than the manifest in the archive has them; `null` for those that it does
    /// not list.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub manifest: Map<String, Value>,
}

impl Upstream {
    /// The manifest of a version: that in its archive, if there is one, as the repository lists it.
    pub fn manifest(&self, in_archive: Option<Manifest>, name: &str, version: &str) -> Manifest {
        let mut manifest = in_archive.map(|manifest| manifest.0).unwrap_or_default();
        for (key, value) in &self.manifest {
            match value {
                Value::Null => manifest.shift_remove(key),
                value => manifest.insert(key.clone(), value.clone()),
            };
        }
        manifest.insert("name".into(), name.into());
        manifest.insert("version".into(), version.into());
        Manifest(manifest)
    }
}
