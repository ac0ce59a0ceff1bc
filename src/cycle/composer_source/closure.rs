//! What a closure takes: the versions that other repositories can require. What their repository withdraws or flags leaves the
//! metadata; published bytes stay for locks, unless they are flagged as malware.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::listing::Listing;
use crate::composer::{
    Choice, Closure, ClosureCandidate, ClosureRoots, Constraint, PackageName, Stability, closure,
    normalize_version, requirements,
};
use crate::composer_repository::{ComposerRepository, FilterEntry, FilterLists, RemoteVersion, Versions};
use crate::cycle::context::CycleContext;
use crate::cycle::report::SourceReport;
use crate::metadata::reader::read_packages;
use crate::package::plan::{ExclusionRule, Outcome, OutcomeRow};
use crate::recipe::ComposerSource;
use crate::store::Withdrawal;
use crate::store::snapshot::Snapshot;
use crate::util::clock::now;
use crate::util::text::{first_of, quoted, shortened};

/// The list whose versions must not be served, even to those who have locked them.
const MALWARE: &str = "malware";

/// In characters, of the reason for a withdrawal.
const MAX_REASON: usize = 500;

/// In characters, of a name or a constraint in a message.
const MAX_SHOWN: usize = 100;

/// How many constraints a message names.
const MAX_CONSTRAINTS: usize = 10;

/// What a repository says of published versions now.
#[derive(Default)]
pub(super) struct UpstreamState {
    /// `vendor/name version` of those that it does not list any more, or flags.
    pub(super) unlisted: BTreeSet<String>,
    /// `abandoned` by package.
    pub(super) abandoned: BTreeMap<String, Value>,
    /// Those that it flags as malware, and those that were withdrawn and about which it says nothing this time.
    pub(super) withdrawn: Vec<Withdrawal>,
    /// How many packages it was asked for.
    pub(super) asked: usize,
}

/// What the repository says of one package.
struct Package {
    /// The normalized versions that it lists and does not flag.
    listed: BTreeSet<String>,
    abandoned: Option<Value>,
    filters: Vec<(FilterEntry, Constraint)>,
    /// Versions that may be taken.
    candidates: Vec<RemoteVersion>,
    /// Versions that are not, and why.
    refused: Vec<(RemoteVersion, ExclusionRule, String)>,
}

/// What is read of published versions.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Links {
    require: Map<String, Value>,
    provide: Map<String, Value>,
    replace: Map<String, Value>,
}

/// Asks for the packages of the closure, and for what is published of the source.
pub(super) fn read(
    ctx: &CycleContext<'_>,
    source: &ComposerSource,
    repository: &ComposerRepository<'_>,
    previous: Option<&SourceReport>,
) -> anyhow::Result<Listing> {
    let lists = repository.filter_lists()?;
    let mut reader =
        Reader { ctx, source, repository, lists, listing: Listing::default(), packages: BTreeMap::new() };
    let published = reader.published()?;
    let ensure_can_continue = || ctx.ensure_can_continue();
    let closure = closure(&published, Choice::PreferStable, ensure_can_continue, |names| {
        reader.ask(names)?;
        let mut candidates = |name: &String| reader.packages.get_mut(name).map(Package::take_candidates);
        Ok(names.iter().filter_map(|name| Some((name.clone(), candidates(name)?))).collect())
    });
    let Closure { chosen, constraints, unmet } = closure?;
    let rest = reader.own_versions().into_keys().filter(|name| !reader.packages.contains_key(name)).collect();
    reader.ask(&rest)?;
    for (name, package) in &reader.packages {
        let wanted: Vec<_> =
            constraints.get(name).into_iter().flatten().filter_map(|c| c.parse().ok()).collect();
        let is_bare = !chosen.contains_key(name);
        for (version, rule, reason) in &package.refused {
            ctx.ensure_can_continue()?;
            let is_allowed = wanted.iter().any(|c: &Constraint| c.allows(&version.normalized));
            if is_allowed && (is_bare || version.stability() == Stability::Stable) {
                let outcome = Outcome::Excluded { rule: *rule, reason: reason.clone() };
                let (source, tag) = (source.name.clone(), version.version.clone());
                let package = format!("{name} {tag}");
                reader.listing.rows.push(OutcomeRow { source, tag, package, outcome });
            }
        }
    }
    reader.follow_upstream(previous)?;
    let Reader { mut listing, .. } = reader;
    for (name, versions) in chosen {
        for ClosureCandidate { value, .. } in versions {
            listing.want(source, &name, value);
        }
    }
    let unmet = unmet.into_iter().map(|(name, constraints)| {
        let constraints = constraints.into_iter().map(|c| format!("`{}`", quoted(&shortened(&c, MAX_SHOWN))));
        let constraints = first_of(&constraints.collect::<Vec<_>>(), MAX_CONSTRAINTS);
        let name = quoted(&shortened(&name, MAX_SHOWN));
        format!("no version of `{name}` that can be taken satisfies {constraints}")
    });
    listing.unused.extend(unmet);
    Ok(listing)
}

struct Reader<'a> {
    ctx: &'a CycleContext<'a>,
    source: &'a ComposerSource,
    repository: &'a ComposerRepository<'a>,
    lists: FilterLists<'a>,
    listing: Listing,
    /// The packages about which the repository has answered.
    packages: BTreeMap<String, Package>,
}

impl Reader<'_> {
    /// What the other repositories publish. One that has published nothing yet is named.
    fn published(&mut self) -> anyhow::Result<ClosureRoots> {
        let (mut published, mut is_empty) = (ClosureRoots::default(), true);
        for name in &self.source.closure_of {
            let snapshot = (self.ctx.other)(name).with_context(|| format!("the repository `{name}`"))?;
            match snapshot {
                Some(snapshot) => add_published(&snapshot, &mut published)
                    .with_context(|| format!("the metadata of the repository `{name}`"))?,
                None => {
                    self.listing.unused.push(format!("the repository `{name}` has published nothing yet"));
                }
            }
            is_empty &= published.names.is_empty();
        }
        match is_empty {
            true => bail!(
                "none of the repositories in `closure_of` has published anything yet\nhint: this is tried again after their first cycle"
            ),
            false => Ok(published),
        }
    }

    /// Asks for packages, several at a time. One that cannot be had is a failed row.
    fn ask(&mut self, names: &BTreeSet<String>) -> anyhow::Result<()> {
        // Nobody can have published under another name.
        let names: Vec<_> =
            names.iter().filter(|name| name.parse::<PackageName>().is_ok()).cloned().collect();
        self.listing.upstream.asked += names.len();
        let answers = super::versions(self.ctx, self.repository, &names, false)?;
        let (own, mut flagged) = (self.own_versions(), self.lists.of(&names)?);
        for (name, answer) in names.into_iter().zip(answers) {
            let package = answer.and_then(|mut versions| {
                for (version, reason) in &versions.unreadable {
                    let package = format!("{name} {version}");
                    self.listing.add_failure(self.source, version, &package, reason);
                }
                versions.filters.extend(flagged.remove(&name).unwrap_or_default());
                let is_own = |version: &str| own.get(&name).is_some_and(|own| own.contains(version));
                Package::new(self.ctx, self.source, &name, versions, is_own)
            });
            match package {
                Ok(package) => {
                    self.packages.insert(name, package);
                }
                Err(error) => {
                    self.listing.add_failure(self.source, "", &name, &format!("{error:#}"));
                }
            }
        }
        self.ctx.ensure_can_continue()
    }

    /// The published versions of the source.
    fn own_versions(&self) -> BTreeMap<String, BTreeSet<String>> {
        self.ctx.store.ledger(|ledger| {
            let mut own = BTreeMap::<_, BTreeSet<_>>::new();
            for release in ledger.releases().iter().filter(|release| release.source == self.source.name) {
                own.entry(release.name.clone()).or_default().insert(release.version.clone());
            }
            own
        })
    }

    /// What the repository says of the published versions. Where it gave no answer, what was known counts.
    fn follow_upstream(&mut self, previous: Option<&SourceReport>) -> anyhow::Result<()> {
        let known = self.ctx.store.withdrawals();
        for (name, versions) in self.own_versions() {
            let package = self.packages.get(&name);
            if let Some(mark) = package
                .map_or_else(|| previous?.abandoned.get(&name).cloned(), |package| package.abandoned.clone())
            {
                self.listing.upstream.abandoned.insert(name.clone(), mark);
            }
            for version in versions {
                self.ctx.ensure_can_continue()?;
                let (this, state) = (format!("{name} {version}"), &mut self.listing.upstream);
                let withdrawal = known.iter().find(|known| known.is_of(&name, &version));
                let Some(package) = package else {
                    state.withdrawn.extend(withdrawal.cloned());
                    if previous.is_some_and(|previous| previous.unlisted.contains(&this)) {
                        state.unlisted.insert(this);
                    }
                    continue;
                };
                let normalized = normalize_version(&version).unwrap_or_default();
                if !package.listed.contains(&normalized) {
                    state.unlisted.insert(this);
                }
                if let Some(reason) = package.flag(&normalized, |list| list == MALWARE) {
                    let same = withdrawal.filter(|known| known.reason == reason).cloned();
                    let new = || Withdrawal { name: name.clone(), version, reason, time: now() };
                    state.withdrawn.push(same.unwrap_or_else(new));
                }
            }
        }
        Ok(())
    }
}

/// Adds what a snapshot publishes.
fn add_published(snapshot: &Snapshot, published: &mut ClosureRoots) -> anyhow::Result<()> {
    let add = |name, versions: BTreeMap<String, Links>| {
        for (version, links) in versions {
            published.provides.extend(links.provide.into_iter().chain(links.replace).map(|(name, _)| name));
            for (required, constraint) in requirements(&links.require, &version) {
                published.requires.entry(required).or_default().insert(constraint);
            }
        }
        published.names.insert(name);
    };
    read_packages(|path| snapshot.read(path), add)
}

impl Package {
    fn new(
        ctx: &CycleContext<'_>,
        source: &ComposerSource,
        name: &str,
        versions: Versions,
        is_published: impl Fn(&str) -> bool,
    ) -> anyhow::Result<Self> {
        let filters = versions.filters.into_iter().map(|entry| {
            let constraint = entry.constraint.parse();
            let constraint = constraint.map_err(|_| {
                let (list, constraint) = (entry.list.escape_debug(), entry.constraint.escape_debug());
                anyhow!(
                    "the list `{list}` flags `{constraint}`, which is no constraint that Composer can read"
                )
            })?;
            Ok((entry, constraint))
        });
        let mut marks = versions.versions.iter().filter_map(|version| version.manifest.get("abandoned"));
        let mut package = Self {
            listed: BTreeSet::new(),
            abandoned: marks.find(|mark| mark.is_string() || **mark == Value::Bool(true)).cloned(),
            filters: filters.collect::<anyhow::Result<_>>()?,
            candidates: Vec::new(),
            refused: Vec::new(),
        };
        let mut seen = BTreeSet::new();
        for version in versions.versions {
            // Any number of entries may flag any number of versions.
            ctx.ensure_can_continue()?;
            if !seen.insert(version.normalized.clone()) {
                continue;
            }
            let flag = package.flag(&version.normalized, |_| true);
            if flag.is_none() {
                package.listed.insert(version.normalized.clone());
            }
            let flag = flag.map(|reason| (ExclusionRule::FilterList, reason));
            let is_new = !is_published(&version.version);
            match flag.or_else(|| refusal(source, name, &version).filter(|_| is_new)) {
                Some((rule, reason)) => package.refused.push((version, rule, reason)),
                None => package.candidates.push(version),
            }
        }
        Ok(package)
    }

    /// Why a version is on one of these lists.
    fn flag(&self, normalized: &str, is_list: impl Fn(&str) -> bool) -> Option<String> {
        let mut entries = self.filters.iter().filter(|(entry, _)| is_list(&entry.list));
        entries.find(|(_, constraint)| constraint.allows(normalized)).map(|(entry, _)| reason(entry))
    }

    fn take_candidates(&mut self) -> Vec<ClosureCandidate<RemoteVersion>> {
        let links = |version: &RemoteVersion, key: &str| {
            version.manifest.get(key).and_then(Value::as_object).cloned().unwrap_or_default()
        };
        let candidate = |version: RemoteVersion| {
            let provides = ["provide", "replace"].iter().flat_map(|key| links(&version, key));
            ClosureCandidate {
                normalized: version.normalized.clone(),
                requires: requirements(&links(&version, "require"), &version.version).collect(),
                provides: provides.map(|(name, _)| name).collect(),
                value: version,
            }
        };
        std::mem::take(&mut self.candidates).into_iter().map(candidate).collect()
    }
}

/// Why a version is flagged, in one line.
fn reason(entry: &FilterEntry) -> String {
    let text = entry.reason.as_deref().unwrap_or_default();
    let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_REASON).collect();
    let list = quoted(&shortened(&entry.list, MAX_SHOWN));
    match text.trim() {
        "" => format!("flagged upstream as {list}"),
        text => format!("flagged upstream as {list}: {text}"),
    }
}

/// Why a new version is not taken.
fn refusal(source: &ComposerSource, name: &str, version: &RemoteVersion) -> Option<(ExclusionRule, String)> {
    if version.urls().iter().any(|url| ComposerSource::is_marketplace(url)) {
        return Some((ExclusionRule::License, "its archive is licensed to the owner of the keys".to_owned()));
    }
    if !source.allows_proprietary(name) {
        let licenses: Vec<_> = match version.manifest.get("license") {
            Some(Value::String(license)) => vec![license.as_str()],
            Some(Value::Array(licenses)) => licenses.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let is_proprietary = |license: &&str| license.trim().eq_ignore_ascii_case("proprietary");
        // Licenses of a list are alternatives.
        if licenses.iter().all(is_proprietary) {
            let state = if licenses.is_empty() { "missing" } else { "proprietary" };
            let reason = format!("its license is {state}; `allow_proprietary` in the recipe allows it");
            return Some((ExclusionRule::License, reason));
        }
    }
    // Only the repository sets the first one.
    let time = version.text("published-time").or_else(|| version.text("time"));
    let time = time.and_then(|time| time.parse::<Timestamp>().ok())?;
    let age = Duration::try_from(now().duration_since(time)).unwrap_or_default();
    (age < source.minimum_age())
        .then(|| (ExclusionRule::MinimumAge, format!("it is of {time}, and younger than `minimum_age`")))
}

/// Withdraws what is flagged as malware, and publishes again what is not any more.
pub(super) fn follow_flags(
    ctx: &CycleContext<'_>,
    source: &ComposerSource,
    withdrawn: &[Withdrawal],
) -> anyhow::Result<()> {
    let is_other = |known: &Withdrawal| {
        ctx.store
            .ledger(|ledger| ledger.find(&known.name, &known.version).is_none_or(|r| r.source != source.name))
    };
    let mut all: Vec<_> = ctx.store.withdrawals().into_iter().filter(is_other).collect();
    all.extend_from_slice(withdrawn);
    ctx.store.take_over_withdrawals(&all)
}
