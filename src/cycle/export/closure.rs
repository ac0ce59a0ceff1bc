//! What packages need to be installed from a repository: themselves, and all that it publishes of what they require, over any
//! number of steps. `require-dev` counts only for the project that is developed, and so for none of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};

use crate::composer::{Constraint, PackageName, is_valid_constraint, normalize_version};
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
        match is_valid_constraint(constraint) {
            true => Ok(Self { name, constraint: constraint.to_owned() }),
            false => Err(format!("Composer cannot read the constraint `{constraint}`")),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.constraint)
    }
}

/// What is needed.
#[derive(Debug, Default)]
pub(super) struct Closure {
    /// The lines of the ledger with the releases.
    pub(super) lines: BTreeSet<u64>,
    /// The names of required packages that are not published here, with the constraint if only other versions are.
    pub(super) external: BTreeSet<String>,
}

/// Finds what `wanted` needs among the releases that the snapshot lists.
pub(super) fn find(snapshot: &Snapshot, listed: &[Release], wanted: &[Wanted]) -> anyhow::Result<Closure> {
    let mut published = BTreeMap::<_, Vec<_>>::new();
    for release in listed {
        published.entry(release.name.as_str()).or_default().push(release);
    }
    let mut search = Search { snapshot, published, metadata: HashMap::new(), closure: Closure::default() };
    let mut open = Vec::new();
    for wanted in wanted {
        let name = wanted.name.to_string();
        let found = search.add(&name, &wanted.constraint, &mut open)?;
        if !found {
            let versions = search.published.get(name.as_str()).map(Vec::as_slice).unwrap_or_default();
            let versions: Vec<_> = versions.iter().rev().map(|release| release.version.as_str()).collect();
            match versions.as_slice() {
                [] => bail!("no version of `{name}` is published here"),
                versions => bail!(
                    "no published version of `{name}` satisfies `{}`\nhint: its versions are {}",
                    wanted.constraint,
                    first_of(versions, NAMED)
                ),
            }
        }
    }
    let mut seen = BTreeSet::new();
    while let Some((name, constraint)) = open.pop() {
        if seen.insert((name.clone(), constraint.clone())) && !search.add(&name, &constraint, &mut open)? {
            let is_published = search.published.contains_key(name.as_str());
            let missing = if is_published { format!("{name} {constraint}") } else { name };
            search.closure.external.insert(missing);
        }
    }
    Ok(search.closure)
}

/// What a package version requires, by name.
type Links = Map<String, Value>;

struct Search<'a> {
    snapshot: &'a Snapshot,
    published: BTreeMap<&'a str, Vec<&'a Release>>,
    /// The links of the versions of each package that was looked at.
    metadata: HashMap<String, HashMap<String, Links>>,
    closure: Closure,
}

impl Search<'_> {
    /// Adds the versions of a package that satisfy a constraint, and what they require to `open`. Returns whether there are any.
    fn add(
        &mut self,
        name: &str,
        constraint: &str,
        open: &mut Vec<(String, String)>,
    ) -> anyhow::Result<bool> {
        let releases = self.published.get(name).cloned().unwrap_or_default();
        let (constraint, mut found): (Constraint, _) = (constraint.parse()?, false);
        for release in releases {
            if !satisfies(&release.version, &constraint) {
                continue;
            }
            found = true;
            if self.closure.lines.insert(release.number) {
                open.extend(self.requirements(release)?);
            }
        }
        Ok(found)
    }

    /// What a release requires. Platform packages have no slash.
    fn requirements(&mut self, release: &Release) -> anyhow::Result<Vec<(String, String)>> {
        let Release { name, version, .. } = release;
        if !self.metadata.contains_key(name) {
            self.metadata.insert(name.clone(), read_links(self.snapshot, name)?);
        }
        let links = self.metadata.get(name).and_then(|versions| versions.get(version));
        let links = links.with_context(|| format!("the metadata lacks {name} {version}"))?;
        let requirement = |(name, constraint): (&String, &Value)| match constraint.as_str()? {
            "self.version" => Some((name.clone(), version.clone())),
            constraint => Some((name.clone(), constraint.to_owned())),
        };
        Ok(links.iter().filter(|(name, _)| name.contains('/')).filter_map(requirement).collect())
    }
}

/// The links of each version of a package in the metadata.
fn read_links(snapshot: &Snapshot, name: &str) -> anyhow::Result<HashMap<String, Links>> {
    let mut links = HashMap::new();
    let files = [format!("p2/{name}.json"), format!("p2/{name}~dev.json")];
    for file in files.iter().filter(|file| snapshot.manifest.files.contains_key(*file)) {
        let p2: Value = serde_json::from_slice(&snapshot.read(file)?)
            .with_context(|| format!("failed to parse `{file}`"))?;
        let versions = p2["packages"][name].as_array().map(|versions| expand(versions)).unwrap_or_default();
        for mut version in versions {
            let required = match version.remove("require") {
                Some(Value::Object(required)) => required,
                _ => Links::new(),
            };
            if let Some(number) = version.get("version").and_then(Value::as_str) {
                links.insert(number.to_owned(), required);
            }
        }
    }
    Ok(links)
}

/// Whether a version satisfies a constraint.
fn satisfies(version: &str, constraint: &Constraint) -> bool {
    normalize_version(version).is_some_and(|version| constraint.allows(&version))
}
