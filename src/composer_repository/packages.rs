//! Versions as a file lists them: their texts by package, each parsed when it is asked for.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::root::PhpMap;
use crate::metadata::expand;

/// The versions of packages by name in lower case.
#[derive(Debug, Default)]
pub(super) struct Packages(BTreeMap<String, Vec<Box<RawValue>>>);

/// A file with the versions of packages: an include, or the file of one package.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PackagesFile {
    pub(super) packages: Option<Box<RawValue>>,
    pub(super) includes: PhpMap<super::root::IncludeHash>,
    minified: Option<String>,
    filter: Value,
}

/// Versions that a repository flags (`FilterListEntry`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterEntry {
    /// Name of the list, such as `malware`.
    pub list: String,
    pub constraint: String,
    pub reason: Option<String>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
}

/// The oldest form: a package with its versions, by name.
#[derive(Deserialize)]
struct Versioned {
    versions: Option<Box<RawValue>>,
}

impl Packages {
    /// Adds the packages of a file. A version belongs to the name that it has itself.
    pub(super) fn add(&mut self, packages: &RawValue) -> anyhow::Result<()> {
        for (key, versions) in object(packages).context("its `packages`")? {
            self.add_versions(&key, &versions)?;
        }
        Ok(())
    }

    /// Adds the packages of a file in the oldest form, which has nothing else.
    pub(super) fn add_bare(&mut self, file: &[u8]) -> anyhow::Result<()> {
        let packages: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(file)?;
        for (key, package) in packages {
            let versioned = serde_json::from_str::<Versioned>(package.get());
            if let Ok(Versioned { versions: Some(versions) }) = versioned {
                self.add_versions(&key, &versions)?;
            }
        }
        Ok(())
    }

    fn add_versions(&mut self, key: &str, versions: &RawValue) -> anyhow::Result<()> {
        for version in list(versions).with_context(|| format!("the versions of `{}`", key.escape_debug()))? {
            let named: Named<'_> = serde_json::from_str(version.get())
                .with_context(|| format!("a version of `{}`", key.escape_debug()))?;
            let name = named.name.map_or_else(|| key.to_owned(), Cow::into_owned).to_ascii_lowercase();
            self.0.entry(name).or_default().push(version);
        }
        Ok(())
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (name, versions) in other.0 {
            self.0.entry(name).or_default().extend(versions);
        }
    }

    pub(super) fn names(&self) -> BTreeSet<String> {
        self.0.keys().cloned().collect()
    }

    /// The versions of a package; `None` if it has none here.
    pub(super) fn versions(&self, name: &str) -> Option<anyhow::Result<Vec<Map<String, Value>>>> {
        let versions = self.0.get(name)?;
        Some(versions.iter().map(|version| Ok(serde_json::from_str(version.get())?)).collect())
    }
}

impl PackagesFile {
    /// What the file of one package flags of it, as `FilterListEntryBuilder` reads it.
    pub(super) fn filters_of(&self, name: &str) -> Vec<FilterEntry> {
        let lists = self.filter.as_object().into_iter().flatten();
        let entries = lists.flat_map(|(list, entries)| {
            let entries: Box<dyn Iterator<Item = &Value>> = match entries {
                Value::Array(entries) => Box::new(entries.iter()),
                Value::Object(entries) => Box::new(entries.values()),
                _ => Box::new(std::iter::empty()),
            };
            entries.map(move |entry| (list, entry))
        });
        let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
        let entry = |(list, entry): (&String, &Value)| {
            let is_of = text(entry, "package").is_none_or(|package| package.eq_ignore_ascii_case(name));
            let constraint = text(entry, "constraint").filter(|_| is_of)?;
            Some(FilterEntry { list: list.clone(), constraint, reason: text(entry, "reason") })
        };
        entries.filter_map(entry).collect()
    }

    /// The versions of one package in its own file. Versions of other packages in it do not count.
    pub(super) fn versions_of(&self, name: &str) -> anyhow::Result<Vec<Map<String, Value>>> {
        let Some(packages) = &self.packages else { return Ok(Vec::new()) };
        if self.minified.as_deref() == Some("composer/2.0") {
            let packages = object(packages)?;
            let Some(versions) = packages.get(name) else { return Ok(Vec::new()) };
            return Ok(expand(&serde_json::from_str::<Vec<Value>>(versions.get())?));
        }
        let mut listed = Packages::default();
        listed.add(packages)?;
        listed.versions(name).unwrap_or_else(|| Ok(Vec::new()))
    }
}

/// The members of an object; an empty list is an empty object.
fn object(raw: &RawValue) -> anyhow::Result<BTreeMap<String, Box<RawValue>>> {
    match raw.get().starts_with('[') {
        true => Ok(serde_json::from_str::<PhpMap<Value>>(raw.get()).map(|_| BTreeMap::new())?),
        false => Ok(serde_json::from_str(raw.get())?),
    }
}

/// The items of a list, or the values of an object.
fn list(raw: &RawValue) -> anyhow::Result<Vec<Box<RawValue>>> {
    match raw.get().starts_with('[') {
        true => Ok(serde_json::from_str(raw.get())?),
        false => Ok(object(raw)?.into_values().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> PackagesFile {
        serde_json::from_str(text).unwrap()
    }

    fn versions(versions: &[Map<String, Value>]) -> Vec<&str> {
        versions.iter().map(|version| version["version"].as_str().unwrap()).collect()
    }

    #[test]
    fn versions_are_read_in_every_shape() {
        let texts = [
            r#"{"packages": {"a/b": {"1.0": {"name": "a/b", "version": "1.0"}, "2.0": {"name": "A/B", "version": "2.0"}}}}"#,
            r#"{"packages": {"a/b": [{"version": "1.0"}, {"version": "2.0"}]}}"#,
            r#"{"minified": "composer/2.0", "packages": {"a/b": [{"name": "a/b", "version": "1.0"}, {"version": "2.0"}]}}"#,
            r#"{"packages": {"other": {"1.0": {"name": "a/b", "version": "1.0"}, "x": {"name": "a/b", "version": "2.0"}}}}"#,
        ];
        for text in texts {
            assert_eq!(versions(&file(text).versions_of("a/b").unwrap()), ["1.0", "2.0"], "{text}");
        }
        for text in
            [r#"{"packages": []}"#, r#"{"packages": {"a/b": []}}"#, r#"{"packages": {"c/d": []}}"#, "{}"]
        {
            assert!(file(text).versions_of("a/b").unwrap().is_empty(), "{text}");
        }
        let mut bare = Packages::default();
        let text =
            br#"{"a/b": {"name": "a/b", "versions": {"1.0": {"name": "a/b", "version": "1.0"}}}, "x": 1}"#;
        bare.add_bare(text).unwrap();
        assert_eq!(versions(&bare.versions("a/b").unwrap().unwrap()), ["1.0"]);
    }

    #[test]
    fn other_shapes_are_errors() {
        for text in [r#"{"packages": [1]}"#, r#"{"packages": {"a/b": 1}}"#, r#"{"packages": {"a/b": [1]}}"#] {
            assert!(file(text).versions_of("a/b").is_err(), "{text}");
        }
    }
}
