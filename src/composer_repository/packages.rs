//! Versions as a file lists them: their texts by package, each parsed when it is asked for.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::root::PhpMap;
use super::weight::weight;
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
    /// What the file of one package flags of it.
    pub(super) fn filters_of(&self, name: &str) -> Vec<FilterEntry> {
        let entries = filter_entries(&self.filter);
        let of =
            entries.filter(|(package, _)| package.is_none_or(|package| package.eq_ignore_ascii_case(name)));
        of.map(|(_, entry)| entry).collect()
    }

    /// The versions of one package in its own file. Versions of other packages in it do not count. Together they may need `limit`
    /// bytes, which a minified list does not show.
    pub(super) fn versions_of(&self, name: &str, limit: usize) -> anyhow::Result<Vec<Map<String, Value>>> {
        let Some(packages) = &self.packages else { return Ok(Vec::new()) };
        if self.minified.as_deref() == Some("composer/2.0") {
            let packages = object(packages)?;
            let Some(versions) = packages.get(name) else { return Ok(Vec::new()) };
            check_expanded(&serde_json::from_str::<Vec<&RawValue>>(versions.get())?, limit)?;
            return Ok(expand(&serde_json::from_str::<Vec<Value>>(versions.get())?));
        }
        let mut listed = Packages::default();
        listed.add(packages)?;
        listed.versions(name).unwrap_or_else(|| Ok(Vec::new()))
    }
}

/// The entries of filter lists, each with its package if it names one, as `FilterListEntryBuilder` reads them.
pub(super) fn filter_entries(lists: &Value) -> impl Iterator<Item = (Option<&str>, FilterEntry)> {
    let lists = lists.as_object().into_iter().flatten();
    let entries = lists.flat_map(|(list, entries)| {
        let entries: Box<dyn Iterator<Item = &Value>> = match entries {
            Value::Array(entries) => Box::new(entries.iter()),
            Value::Object(entries) => Box::new(entries.values()),
            _ => Box::new(std::iter::empty()),
        };
        entries.map(move |entry| (list, entry))
    });
    entries.filter_map(move |(list, entry)| {
        let text = |key| entry.get(key).and_then(Value::as_str);
        let constraint = text("constraint")?.to_owned();
        let reason = text("reason").map(str::to_owned);
        Some((text("package"), FilterEntry { list: list.clone(), constraint, reason }))
    })
}

/// Refuses a minified list whose complete versions need more than `limit` bytes: each may repeat all of the first one.
fn check_expanded(minified: &[&RawValue], limit: usize) -> anyhow::Result<()> {
    let (mut weights, mut total) = (BTreeMap::new(), 0_usize);
    for version in minified {
        // Items that are not objects are skipped.
        let changed = serde_json::from_str::<BTreeMap<String, &RawValue>>(version.get()).unwrap_or_default();
        for (key, value) in changed {
            match value.get() == "\"__unset\"" {
                true => weights.remove(&key),
                false => weights.insert(key, weight(value.get().as_bytes())),
            };
        }
        total += weight(b"") + weights.values().sum::<usize>();
        ensure!(
            total <= limit,
            "its complete versions need more than {limit} bytes\nhint: `limits.upstream_metadata` in the configuration"
        );
    }
    Ok(())
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
            assert_eq!(versions(&file(text).versions_of("a/b", 2000).unwrap()), ["1.0", "2.0"], "{text}");
        }
        for text in
            [r#"{"packages": []}"#, r#"{"packages": {"a/b": []}}"#, r#"{"packages": {"c/d": []}}"#, "{}"]
        {
            assert!(file(text).versions_of("a/b", 2000).unwrap().is_empty(), "{text}");
        }
        let mut bare = Packages::default();
        let text =
            br#"{"a/b": {"name": "a/b", "versions": {"1.0": {"name": "a/b", "version": "1.0"}}}, "x": 1}"#;
        bare.add_bare(text).unwrap();
        assert_eq!(versions(&bare.versions("a/b").unwrap().unwrap()), ["1.0"]);
    }

    #[test]
    fn minified_list_may_not_be_much_longer_than_it_looks() {
        let text = |count: usize| {
            let first =
                format!(r#"{{"name": "a/b", "version": "1.0", "description": "{}"}}"#, "x".repeat(1000));
            let others = r#", {"version": "2.0"}"#.repeat(count);
            format!(r#"{{"minified": "composer/2.0", "packages": {{"a/b": [{first}{others}]}}}}"#)
        };
        assert_eq!(file(&text(50)).versions_of("a/b", 64 << 10).unwrap().len(), 51);
        let error = file(&text(100)).versions_of("a/b", 64 << 10).unwrap_err();
        assert!(error.to_string().contains("its complete versions need more than 65536 bytes"), "{error}");
    }

    #[test]
    fn other_shapes_are_errors() {
        for text in [r#"{"packages": [1]}"#, r#"{"packages": {"a/b": 1}}"#, r#"{"packages": {"a/b": [1]}}"#] {
            assert!(file(text).versions_of("a/b", 2000).is_err(), "{text}");
        }
    }
}
