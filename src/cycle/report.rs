//! The result of a cycle for each source: its refs, the counts, and every failure and exclusion.
//!
//! It holds no times, so equal cycles have equal reports. It is kept with its snapshot, and the next cycle skips a source
//! whose refs and rules are those of a complete entry.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::confirm_imports::ImportReport;
use super::follow::Followed;
use crate::composer::PackageName;
use crate::ledger::Release;
use crate::metadata::MissingDependency;
use crate::net::redacted;
use crate::package::plan::{Notice, Outcome, OutcomeRow};
use crate::package::uncovered_manifests::UncoveredManifests;
use crate::recipe::{ComposerSource, Recipe};
use crate::store::snapshot::{Snapshot, is_read_error};
use crate::store::{Divergence, RunHistory};
use crate::util::digest::Sha256;
use crate::util::text::first_of;

/// The name of the aliases in reports and in the ledger.
pub(super) const ALIASES: &str = "aliases";

/// The report of one cycle.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub sources: BTreeMap<String, SourceReport>,
    /// The date of the nightly build, `20261124`, in a recipe with branches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nightly: Option<String>,
    /// The digest of what the pages show in addition to the packages: the recipe's notes, and whether the repository is private.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<Sha256>,
    /// Versions that published metapackages require and the repository lacks.
    #[serde(default)]
    pub gaps: Vec<MissingDependency>,
    /// The archives of published versions that are not in the metadata because they could not be read.
    #[serde(rename = "left_out", default, skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<String>,
    /// The imported releases that git has not confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imports: Option<ImportReport>,
    /// What was copied from a followed mirror.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub followed: Option<Followed>,
}

/// The report of one source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// Why the source could not be processed; the other fields are then those of its last successful cycle.
    pub error: Option<String>,
    /// The fingerprint of the recipe's rules.
    pub rules: Option<Sha256>,
    /// The commit of each ref.
    pub refs: BTreeMap<String, String>,
    /// The number of tag entries, (ref, package) pairs, that are published.
    pub published: usize,
    /// The pairs that a rule excludes.
    pub excluded: Vec<OutcomeRow>,
    pub failed: Vec<OutcomeRow>,
    /// What waits for something that does not exist yet. It is no failure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_back: Vec<OutcomeRow>,
    /// The tags that the recipe does not release.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<OutcomeRow>,
    /// What users of published versions should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<Notice>,
    /// The manifests that no rule makes a package of, with their tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub uncovered: UncoveredManifests,
    /// For a folder of prebuilt archives: the time of the commit that added each file, as far as the history is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added: Option<BTreeMap<String, Timestamp>>,
    /// For a followed mirror: why it gave no answer, while another one served everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<String>,
    /// For a Composer repository: the digest of what it lists of each package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed: Option<BTreeMap<String, Sha256>>,
    /// For a closure: the published versions, `vendor/name version`, that its repository does not list any more, or flags. The
    /// metadata does not name them, and their archives stay.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unlisted: BTreeSet<String>,
    /// For a closure: `abandoned` of its packages, as its repository has it now.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub abandoned: BTreeMap<String, Value>,
    /// The rules of the recipe for this source that match nothing, and what a closure lacks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unused: Vec<String>,
    /// The commits at which moved tags were compared with their published versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub examined: BTreeMap<String, String>,
    /// The published versions that a moved tag would change now. They are not failures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diverged: Vec<Divergence>,
}

impl SourceReport {
    pub(super) fn new(rules: Sha256, refs: BTreeMap<String, String>, rows: Vec<OutcomeRow>) -> Self {
        let mut report = Self { rules: Some(rules), refs, ..Self::default() };
        report.add_rows(rows);
        report
    }

    pub(super) fn add_rows(&mut self, rows: Vec<OutcomeRow>) {
        for row in rows {
            match row.outcome {
                Outcome::Published | Outcome::AlreadyPublished => self.published += 1,
                Outcome::Excluded { .. } => self.excluded.push(row),
                Outcome::Failed { .. } => self.failed.push(row),
                Outcome::HeldBack { .. } => self.held_back.push(row),
            }
        }
    }

    /// Why the source releases nothing although nothing failed, if that is so.
    pub fn nothing_released(&self) -> Option<&'static str> {
        let entries = self.published + self.excluded.len() + self.held_back.len();
        match &self.added {
            // Followed mirrors have no rules.
            _ if !self.is_complete() || self.rules.is_none() || self.listed.is_some() => None,
            Some(_) => (entries == 0).then_some("nothing is released: the folder has no archives"),
            None => nothing_released(!self.refs.is_empty(), !self.passed_over.is_empty()),
        }
    }

    /// What is odd although nothing failed: that nothing is released, rules of the recipe that match nothing, or that a followed
    /// mirror gives no answer.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        let unreachable = self.unreachable.as_deref();
        self.nothing_released().into_iter().chain(unreachable).chain(self.unused.iter().map(String::as_str))
    }

    /// The number of entries in its lists. Of the versions that are waited for, ten count as one.
    pub(super) fn entries(&self) -> usize {
        let rows = [&self.excluded, &self.failed, &self.held_back, &self.passed_over];
        let uncovered: usize = self.uncovered.values().map(Vec::len).sum();
        let awaited: usize = self.held_back.iter().map(|row| row.outcome.awaited()).sum();
        rows.into_iter().map(Vec::len).sum::<usize>()
            + uncovered
            + self.notices.len()
            + self.diverged.len()
            + awaited / 10
    }

    /// The excluded rows whose contents upstream has tagged in vain: another tag has published the version.
    pub fn lost(&self) -> impl Iterator<Item = &OutcomeRow> {
        self.excluded.iter().filter(|row| row.is_lost())
    }

    /// Adds the notices of a cycle. Those of `previous` stay for versions that this cycle did not build.
    pub(super) fn add_notices(
        &mut self,
        new: Vec<Notice>,
        previous: Option<&Self>,
        built: &[(String, String)],
    ) {
        let is_kept = |notice: &&Notice| {
            self.refs.contains_key(&notice.tag)
                && !built.iter().any(|(tag, name)| *tag == notice.tag && notice.name() == name)
        };
        let previous = previous.into_iter().flat_map(|report| &report.notices);
        self.notices = previous.filter(is_kept).cloned().chain(new).collect();
    }

    /// Whether it is complete and of exactly these rules and refs.
    pub(super) fn is_current(&self, rules: Sha256, refs: &BTreeMap<String, String>) -> bool {
        self.is_complete() && self.rules == Some(rules) && self.refs == *refs
    }

    /// Whether it is complete, of these rules, and each of its refs is unchanged in `commits`, which may have new ones.
    pub(super) fn is_part_of(&self, rules: Sha256, commits: &BTreeMap<String, String>) -> bool {
        self.is_complete()
            && self.rules == Some(rules)
            && self.unused.is_empty()
            && self.refs.iter().all(|(tag, commit)| commits.get(tag) == Some(commit))
    }

    /// The number of package versions that a rule excludes.
    pub fn excluded_versions(&self) -> usize {
        count_versions(&self.excluded)
    }

    /// The number of package versions that are held back.
    pub fn held_back_versions(&self) -> usize {
        count_versions(&self.held_back)
    }

    /// The number of package versions that failed.
    pub fn failed_versions(&self) -> usize {
        count_versions(&self.failed)
    }

    /// Nothing failed.
    pub fn is_complete(&self) -> bool {
        self.error.is_none() && self.failed.is_empty()
    }
}

/// Why a git repository gives nothing to release, if that is so: whether it has refs that are released, and other tags.
pub fn nothing_released(has_refs: bool, has_tags: bool) -> Option<&'static str> {
    match (has_refs, has_tags) {
        (true, _) => None,
        (false, false) => Some("nothing is released: the repository has no tags"),
        (false, true) => Some("nothing is released: the recipe releases none of the repository's tags"),
    }
}

/// The tags of rows that wait for files of a resource.
pub(super) fn tags_waiting_for_files<'r>(rows: impl IntoIterator<Item = &'r OutcomeRow>) -> BTreeSet<String> {
    let waits_for_files = |row: &&OutcomeRow| matches!(&row.outcome, Outcome::HeldBack { waits_for, .. } if waits_for.is_empty());
    rows.into_iter().filter(waits_for_files).map(|row| row.tag.clone()).collect()
}

/// The number of package versions in tag entries. An entry whose version is not known counts as one.
pub fn count_versions<'r>(rows: impl IntoIterator<Item = &'r OutcomeRow>) -> usize {
    let key = |row: &OutcomeRow| match row.package.contains(' ') {
        true => (String::new(), row.package.clone()),
        false => (row.tag.clone(), row.package.clone()),
    };
    rows.into_iter().map(key).collect::<BTreeSet<_>>().len()
}

impl Report {
    /// The published versions that moved tags would change now, and the imported ones that differ from git.
    pub fn diverged(&self) -> impl Iterator<Item = &Divergence> {
        let followed = self.followed.iter().flat_map(|followed| &followed.state.diverged);
        let imported = self.imports.iter().flat_map(|imports| &imports.different);
        self.sources.values().flat_map(|source| &source.diverged).chain(followed).chain(imported)
    }

    /// Whether it is of a cycle over exactly the sources of `recipe`, or the mirrors in `follow` if there are any.
    pub fn covers(&self, recipe: &Recipe, follow: &[Url]) -> bool {
        let followed: BTreeSet<_> = follow.iter().map(|url| redacted(url.as_str())).collect();
        let aliases = recipe.aliases.as_ref().map(|_| ALIASES);
        let names = recipe.source_names().chain(aliases).chain(followed.iter().map(String::as_str));
        self.sources.keys().map(String::as_str).eq(names.collect::<BTreeSet<_>>())
    }

    /// The report of the last cycle that ended by itself; an empty one if there is none.
    pub fn last(snapshot: Option<&Snapshot>, cycles: &RunHistory) -> Self {
        Self::unpublished(cycles).or_else(|| snapshot.map(Self::from_snapshot)).unwrap_or_default()
    }

    /// The report of the last cycle if no snapshot contains it.
    pub fn unpublished(cycles: &RunHistory) -> Option<Self> {
        cycles.report.clone().and_then(|report| serde_json::from_value(report).ok())
    }

    /// The report of a snapshot's cycle. An unusable report counts as empty, which only makes the next cycle plan again.
    pub fn from_snapshot(snapshot: &Snapshot) -> Self {
        Self::parse(snapshot.manifest.number, snapshot.report())
    }

    /// The same for a cycle that continues from it.
    ///
    /// # Errors
    /// The report could not be read: the notices in it would be lost.
    pub(super) fn to_continue(snapshot: &Snapshot) -> anyhow::Result<Self> {
        match snapshot.report() {
            Err(error) if is_read_error(&error) => Err(error),
            read => Ok(Self::parse(snapshot.manifest.number, read)),
        }
    }

    /// The report of the snapshot with this number, as it was read.
    pub fn parse(number: u64, read: anyhow::Result<impl AsRef<[u8]>>) -> Self {
        read.and_then(|text| Ok(serde_json::from_slice(text.as_ref())?)).unwrap_or_else(|error| {
            tracing::error!("failed to read the report of snapshot {number}: {error:#}");
            Self::default()
        })
    }

    /// The tags that wait for files of a resource, and for which a Composer repository stands in.
    pub(super) fn waiting_tags(&self, stand_in: &ComposerSource) -> BTreeSet<String> {
        let source = stand_in.stands_in_for.as_ref().and_then(|source| self.sources.get(source));
        tags_waiting_for_files(source.into_iter().flat_map(|report| &report.held_back))
    }

    /// Adds a published version whose archive could not be read as a failure of its source, so that the next cycle reads it again.
    pub(super) fn add_unreadable(&mut self, release: &Release, reason: &str) {
        let reason = format!("its published archive could not be read: {reason}");
        let row = OutcomeRow {
            source: release.source.clone(),
            tag: release.tag.clone(),
            package: release.package(),
            outcome: Outcome::Failed { reason },
        };
        let failed = &mut self.sources.entry(release.source.clone()).or_default().failed;
        if !failed.contains(&row) {
            failed.push(row);
        }
    }

    /// The names of the packages of which a version failed or is held back; not of folders whose package is unknown.
    pub(super) fn unpublished_packages(&self) -> impl Iterator<Item = PackageName> {
        let rows = self.sources.values().flat_map(|source| source.failed.iter().chain(&source.held_back));
        rows.filter_map(|row| row.package.split_once(' ')?.0.parse().ok())
    }

    /// The date of a release. The ledger has that of the folder's newest commit for archives that were published before the
    /// history was looked at; it is never changed.
    pub fn committed(&self, release: &Release) -> Timestamp {
        let added = || {
            let file = release.file.as_ref()?.rsplit('/').next()?;
            self.sources.get(&release.source)?.added.as_ref()?.get(file)
        };
        let followed = || self.followed.as_ref()?.state.committed(release);
        added().copied().or_else(followed).unwrap_or(release.committed)
    }

    /// Whether the repository that a release was taken from does not list it any more.
    pub(super) fn is_unlisted(&self, release: &Release) -> bool {
        let source = self.sources.get(&release.source);
        source.is_some_and(|source| source.unlisted.contains(&release.package()))
    }

    /// `abandoned` by package, as upstream has it now.
    pub(super) fn abandoned(&self) -> BTreeMap<String, Value> {
        let followed = self.followed.iter().flat_map(|followed| followed.state.abandoned());
        let own = self.sources.values().flat_map(|source| &source.abandoned);
        followed.chain(own).map(|(name, mark)| (name.clone(), mark.clone())).collect()
    }

    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec_pretty(self)
    }

    /// Nothing failed in any source.
    pub fn is_complete(&self) -> bool {
        self.sources.values().all(SourceReport::is_complete)
    }
}

/// The tags of lost rows, each with its packages: `1.0.1 (acme/a 1.0.0 and 3 more)`.
pub fn lost_by_tag<'r>(rows: impl Iterator<Item = &'r OutcomeRow>) -> Vec<String> {
    let mut tags = BTreeMap::<_, Vec<_>>::new();
    for row in rows {
        tags.entry(&row.tag).or_default().push(&row.package);
    }
    tags.into_iter().map(|(tag, packages)| format!("{tag} ({})", first_of(&packages, 1))).collect()
}
