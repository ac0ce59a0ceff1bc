//! Packages that are derived from the root manifest: Magento's product and project packages.
//!
//! The order of the steps and of the keys decides the bytes (`build-metapackage/magento-community-edition.js` of the
//! reference generator): the keys of the part replace those of the root manifest, then the recipe's keys replace both.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::manifest::SAMPLE_DATA;
use crate::composer::Manifest;
use crate::recipe::Derive;
use crate::recipe::rule::RequireFrom;

/// The kinds of links that name versions to install.
const VERSIONED: [&str; 3] = ["require", "require-dev", "suggest"];

/// The placeholder that makes a package depend on the mirror's base URL.
const BASE_URL: &str = "{base_url}";

/// The manifest of a derived package at `tag`.
pub(super) fn derive(rule: &Derive, root: Manifest, part: Manifest, tag: &str, base_url: &str) -> Manifest {
    let Manifest(mut manifest) = root;
    for key in &rule.without {
        manifest.shift_remove(key);
    }
    let fill = |text: &str| {
        text.replace("{tag}", tag).replace("{stability}", stability(tag)).replace(BASE_URL, base_url)
    };
    let require = require(rule, &manifest, &part.0, &fill);
    manifest.extend(part.0);
    manifest.insert("name".into(), rule.package.as_str().into());
    for (key, value) in &rule.set {
        manifest.insert(key.clone(), filled(value, &fill));
    }
    manifest.insert("require".into(), Value::Object(require));
    for key in &rule.drop {
        manifest.shift_remove(key);
    }
    Manifest(manifest)
}

/// The packages whose versions the part names itself, under their published names.
pub(super) fn own_versions(rule: &Derive, part: &Manifest) -> BTreeSet<String> {
    let links = |kind| part.0.get(kind).and_then(Value::as_object);
    VERSIONED.into_iter().filter_map(links).flat_map(Map::keys).map(|name| renamed(rule, name)).collect()
}

fn renamed(rule: &Derive, name: &str) -> String {
    match name.split_once('/') {
        Some((vendor, rest)) => match rule.rename_links.get(vendor) {
            Some(vendor) => format!("{vendor}/{rest}"),
            None => name.to_owned(),
        },
        None => name.to_owned(),
    }
}

/// Renames vendors in links and plugins, and sets the version of packages that are released together to the tag, unless they
/// are among those with versions of their own.
pub(super) fn adapt(rule: &Derive, manifest: &mut Manifest, tag: &str, own_versions: &BTreeSet<String>) {
    let renamed = |name: &str| renamed(rule, name);
    let rename = |links: &mut Map<String, Value>| {
        *links = std::mem::take(links).into_iter().map(|(name, value)| (renamed(&name), value)).collect();
    };
    for kind in ["require", "require-dev", "suggest", "replace"] {
        if let Some(Value::Object(links)) = manifest.0.get_mut(kind) {
            rename(links);
        }
    }
    if let Some(Value::Object(plugins)) =
        manifest.0.get_mut("config").and_then(|c| c.get_mut("allow-plugins"))
    {
        rename(plugins);
    }
    let Some(together) = &rule.together else { return };
    let is_together = |name: &str| {
        name.split('/').next() == Some(&*together.vendor)
            && !own_versions.contains(name)
            && !together.except.iter().any(|e| e == name)
    };
    for kind in VERSIONED {
        let Some(Value::Object(links)) = manifest.0.get_mut(kind) else {
            continue;
        };
        for (name, version) in links.iter_mut().filter(|(name, _)| is_together(name)) {
            *version = match kind == "suggest" && name.ends_with("-sample-data") {
                true => format!("{SAMPLE_DATA}{tag}").into(),
                false => tag.into(),
            };
        }
    }
}

/// Whether the rule's packages contain the mirror's base URL.
pub(super) fn is_bound(rule: &Derive) -> bool {
    rule.set.values().any(|value| value.to_string().contains(BASE_URL))
}

fn require(
    rule: &Derive,
    root: &Map<String, Value>,
    part: &Map<String, Value>,
    fill: &dyn Fn(&str) -> String,
) -> Map<String, Value> {
    let links = |manifest: &Map<String, Value>, kind: &str| {
        manifest.get(kind).and_then(Value::as_object).cloned().unwrap_or_default()
    };
    let mut require = Map::new();
    for from in &rule.require {
        match from {
            RequireFrom::Root => require.extend(links(root, "require")),
            RequireFrom::Part => require.extend(links(part, "require")),
            RequireFrom::Replaced(vendors) => {
                let of_vendor =
                    |name: &str| vendors.iter().any(|v| name.split('/').next() == Some(v.as_str()));
                require.extend(links(root, "replace").into_iter().filter(|(name, _)| of_vendor(name)));
            }
            RequireFrom::Packages(packages) => {
                require.extend(packages.iter().map(|(name, version)| (name.clone(), filled(version, fill))));
            }
        }
    }
    require
}

fn filled(value: &Value, fill: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => fill(text).into(),
        Value::Array(items) => items.iter().map(|item| filled(item, fill)).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), filled(value, fill))).collect(),
        other => other.clone(),
    }
}

/// The stability of a version by the reference generator's rules (`getVersionStability`): `-p1` is stable.
fn stability(version: &str) -> &'static str {
    let version = version.to_lowercase();
    if version.starts_with("dev-") || version.contains("-dev") {
        "dev"
    } else if version.contains("-alpha") {
        "alpha"
    } else if version.contains("-beta") {
        "beta"
    } else if version.contains("-rc") {
        "RC"
    } else {
        "stable"
    }
}
