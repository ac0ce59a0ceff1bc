//! What packages need to be installed from a repository: themselves, and all that it publishes of what they require.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::str::FromStr;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};

use crate::composer::{
    Choice, Closure, ClosureCandidate, ClosureRoots, Constraint, PackageName, closure, normalize_version,
    requirements,
};
use crate::ledger::Release;
use crate::metadata::expand;
use crate::store::snapshot::Snapshot;
use crate::util::text::first_of;

/// How many versions an error names.
const NAMED: usize = 5;

/// Packages to export: a name, and the versions.
#[derive(Debug, Clone)]
pub struct Wanted {
    name: PackageName,
    constraint: String,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, constraint) = text.split_once(':').unwrap_or((text, "*"));
        let name = name.parse().map_err(|_| format!("`{name}` is no name of a package"))?;
        match constraint.parse::<Constraint>() {
            Ok(_) => Ok(Self { name, constraint: constraint.to_owned() }),
            Err(_) => Err(format!("Composer cannot read the constraint `{constraint}`")),
        }
    }
}

/// What is needed.
#[derive(Debug, Default)]
pub(super) struct Needed {
    /// The lines of the ledger with the releases.
    pub(super) lines: BTreeSet<u64>,
    /// The names of required packages that are not published here, with the constraint if only other versions are.
    pub(super) external: BTreeSet<String>,
}

/// Finds what `wanted` needs among the releases that the snapshot lists.
pub(super) fn find(snapshot: &Snapshot, listed: &[Release], wanted: &[Wanted]) -> anyhow::Result<Needed> {
    let mut published = BTreeMap::<_, Vec<_>>::new();
    for release in listed {
        published.entry(release.name.as_str()).or_default().push(release);
    }
    let mut roots = ClosureRoots::default();
    for Wanted { name, constraint } in wanted {
        let name = name.to_string();
        check_published(
            &name,
            constraint,
            published.get(name.as_str()).map(Vec::as_slice).unwrap_or_default(),
        )?;
        roots.requires.entry(name).or_default().insert(constraint.clone());
    }
    let Closure { chosen, unmet, .. } = closure(
        &roots,
        Choice::All,
        || Ok(()),
        |names| {
            let names = names.iter().filter_map(|name| Some((name, published.get(name.as_str())?)));
            names.map(|(name, releases)| Ok((name.clone(), candidates(snapshot, name, releases)?))).collect()
        },
    )?;
    let mut needed = Needed::default();
    for (name, versions) in chosen {
        for ClosureCandidate { normalized, value, .. } in versions {
            needed.lines.insert(value.with_context(|| format!("the metadata lacks {name} {normalized}"))?);
        }
    }
    for (name, constraints) in unmet {
        if published.contains_key(name.as_str()) {
            needed.external.extend(constraints.iter().map(|constraint| format!("{name} {constraint}")));
        } else {
            needed.external.insert(name);
        }
    }
    Ok(needed)
}

/// Fails unless a version of a wanted package satisfies the constraint.
fn check_published(name: &str, constraint: &str, releases: &[&Release]) -> anyhow::Result<()> {
    let allowed: Constraint = constraint.parse()?;
    let is_allowed =
        |version: &str| normalize_version(version).is_some_and(|version| allowed.allows(&version));
    let versions: Vec<_> = releases.iter().rev().map(|release| release.version.as_str()).collect();
    match versions.as_slice() {
        [] => bail!("no version of `{name}` is published here"),
        versions if versions.iter().any(|version| is_allowed(version)) => Ok(()),
        versions => bail!(
            "no published version of `{name}` satisfies `{constraint}`\nhint: its versions are {}",
            first_of(versions, NAMED)
        ),
    }
}

/// The releases of a package, each with its line of the ledger, if the metadata has it.
fn candidates(
    snapshot: &Snapshot,
    name: &str,
    releases: &[&Release],
) -> anyhow::Result<Vec<ClosureCandidate<Option<u64>>>> {
    let versions = read_versions(snapshot, name)?;
    let links = |version: &str, key: &str| versions.get(version)?.get(key)?.as_object();
    let candidate = |release: &&Release| {
        let Release { number, version, .. } = release;
        let requires = links(version, "require").into_iter().flat_map(|links| requirements(links, version));
        let provides = ["provide", "replace"].into_iter().filter_map(|key| links(version, key));
        Some(ClosureCandidate {
            normalized: normalize_version(version)?,
            requires: requires.collect(),
            provides: provides.flat_map(Map::keys).cloned().collect(),
            value: versions.contains_key(version).then_some(*number),
        })
    };
    Ok(releases.iter().filter_map(candidate).collect())
}

/// The versions of a package in the metadata.
fn read_versions(snapshot: &Snapshot, name: &str) -> anyhow::Result<HashMap<String, Map<String, Value>>> {
    let mut versions = HashMap::new();
    let files = [format!("p2/{name}.json"), format!("p2/{name}~dev.json")];
    for file in files.iter().filter(|file| snapshot.manifest.files.contains_key(*file)) {
        let p2: Value = serde_json::from_slice(&snapshot.read(file)?)
            .with_context(|| format!("failed to parse `{file}`"))?;
        let listed = p2["packages"][name].as_array().map(|versions| expand(versions)).unwrap_or_default();
        for version in listed {
            if let Some(number) = version.get("version").and_then(Value::as_str) {
                versions.insert(number.to_owned(), version);
            }
        }
    }
    Ok(versions)
}
