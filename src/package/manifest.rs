//! Rewrites upstream's composer.json to the manifest in the archive.
//!
//! The order of the steps decides the bytes: the version first (the last key where the manifest had none), then the
//! pinned versions of dependencies, then the corrections (`createPackageForRef` of the reference generator).

use serde_json::{Map, Value, json};

use super::plan::Pins;
use crate::composer::{Manifest, PackageName};
use crate::recipe::Correction;

/// The prefix of `suggest` entries for sample data, which Magento's `sampledata:deploy` looks for.
pub(super) const SAMPLE_DATA: &str = "Sample Data version: ";

/// A name or version with more bytes does not fit into the name of an archive.
const MAX_LENGTH: usize = 200;

/// Applies version, pinned versions and corrections to a manifest.
pub(super) fn rewrite(
    manifest: &mut Map<String, Value>,
    package: &str,
    version: &str,
    pinned: &Pins,
    corrections: &[Correction],
) {
    if manifest.contains_key("name") {
        manifest.insert("name".into(), package.into());
    }
    manifest.insert("version".into(), version.into());
    pin(manifest, pinned);
    correct(manifest, package, version, corrections);
}

/// Sets the pinned versions of required and suggested packages, and marks sample data.
pub(super) fn pin(manifest: &mut Map<String, Value>, pinned: &Pins) {
    for kind in ["require", "require-dev", "suggest"] {
        let Some(Value::Object(links)) = manifest.get_mut(kind) else {
            continue;
        };
        for (target, constraint) in links.iter_mut() {
            if let Some(version) = pinned.get(target) {
                *constraint = version.as_str().into();
            }
            if kind == "suggest" {
                mark_sample_data(target, constraint);
            }
        }
    }
}

/// Applies the corrections of a package's version.
pub(super) fn correct(
    manifest: &mut Map<String, Value>,
    package: &str,
    version: &str,
    corrections: &[Correction],
) {
    for correction in corrections.iter().filter(|c| c.affects.include(package, version)) {
        for (key, value) in &correction.set {
            let target = manifest.entry(key.clone()).or_insert_with(|| json!({}));
            match (value, target) {
                (Value::Object(entries), Value::Object(map)) => map.extend(entries.clone()),
                (value, target) => *target = value.clone(),
            }
        }
        for (key, entries) in &correction.remove {
            if let Some(Value::Object(map)) = manifest.get_mut(key) {
                map.retain(|entry, _| !entries.contains(entry));
            }
        }
        for key in &correction.sort {
            if let Some(Value::Object(map)) = manifest.get_mut(key) {
                map.sort_keys();
            }
        }
    }
}

fn mark_sample_data(target: &str, text: &mut Value) {
    let sample_data = target.ends_with("-sample-data") || target.contains("/sample-data-");
    if let Value::String(suggestion) = text
        && sample_data
        && !suggestion.contains(SAMPLE_DATA)
    {
        suggestion.insert_str(0, SAMPLE_DATA);
    }
}

/// Name and version of a manifest before anything is pinned, or why it is unusable.
pub(super) type Identity = Result<(PackageName, Option<String>), String>;

pub(super) fn identify(text: &[u8]) -> Identity {
    identify_manifest(&Manifest::parse(text).map_err(|e| e.to_string())?)
}

pub(super) fn identify_manifest(manifest: &Manifest) -> Identity {
    let name = manifest.name().map_err(|e| e.to_string())?.ok_or("the manifest has no name")?;
    check_length("name", name)?;
    let name = name.parse::<PackageName>().map_err(|e| e.to_string())?;
    let version = manifest.version().map_err(|e| e.to_string())?.filter(|version| !version.is_empty());
    version.map_or(Ok(()), |version| check_length("version", version))?;
    Ok((name, version.map(str::to_owned)))
}

fn check_length(what: &str, text: &str) -> Result<(), String> {
    match text.len() {
        length if length > MAX_LENGTH => {
            Err(format!("its {what} has {length} bytes, more than fit into the name of a file"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn version_keeps_its_place_or_comes_last() {
        let mut manifest = object(&json!({"version": "1", "name": "a/b"}));
        rewrite(&mut manifest, "a/b", "2", &Pins::new(), &[]);
        assert_eq!(Value::from(manifest).to_string(), r#"{"version":"2","name":"a/b"}"#);
        let mut manifest = object(&json!({"name": "a/b"}));
        rewrite(&mut manifest, "a/b", "2", &Pins::new(), &[]);
        assert_eq!(Value::from(manifest).to_string(), r#"{"name":"a/b","version":"2"}"#);
    }

    #[test]
    fn pinned_versions_sample_data_and_corrections_are_applied() {
        let pinned = Pins::from([("a/c".to_owned(), "1.1".to_owned())]);
        let correction: Correction = serde_json::from_value(json!({
            "package": "a/b", "versions": ["2"], "reason": "-", "set": {"require": {"php": "~8.1", "a/d": "*"}, "conflict": {"x/y": "1"}}
        }))
        .unwrap();
        let mut manifest = object(&json!({
            "name": "a/b", "version": "2", "require": {"php": "*", "a/c": "*"}, "suggest": {"m/module-x-sample-data": "100.4.*"}
        }));
        rewrite(&mut manifest, "a/b", "2", &pinned, std::slice::from_ref(&correction));
        let expected = json!({
            "name": "a/b", "version": "2", "require": {"php": "~8.1", "a/c": "1.1", "a/d": "*"},
            "suggest": {"m/module-x-sample-data": "Sample Data version: 100.4.*"}, "conflict": {"x/y": "1"}
        });
        assert_eq!(Value::from(manifest).to_string(), expected.to_string());
        let mut other = object(&json!({"name": "a/b"}));
        rewrite(&mut other, "a/b", "2.0", &Pins::new(), &[correction]);
        assert_eq!(Value::from(other), json!({"name": "a/b", "version": "2.0"}));
    }
}
