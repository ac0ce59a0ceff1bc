//! `follow.json`: what a mirror that follows this one copies beside the ledger and the archives. It is a file of each
//! snapshot, so it changes exactly when the content does, and a copy of the files has it, too.
//!
//! Within one [`SCHEMA`], keys are only added:
//!
//! | key | meaning |
//! |---|---|
//! | `schema` | version of this format |
//! | `path` | the repositories that the content went through, the one that publishes it last: volume and base URL |
//! | `ledger` | `lines` of the ledger, and `head`, the SHA-256 of the last one |
//! | `withdrawn` | the versions that were withdrawn, as in mirror.json |
//! | `expired` | the nightly releases that the metadata does not name, and the absent ones that are not here, by line of the ledger |
//! | `unlisted` | other lines that it does not name, during a rollback |
//! | `committed` | dates of releases that differ from the ledger's, by line |
//! | `abandoned` | `abandoned` of packages whose upstream has said so after they were published |
//! | `claimed` | names without a version that no other repository shall have |
//! | `diverged`, `products`, `notes`, `external_packages` | what the pages say |

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem;

use anyhow::ensure;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::composer::{PackageName, Version};
use crate::cycle::context::CycleContext;
use crate::cycle::report::Report;
use crate::ledger::Release;
use crate::recipe::{Note, Recipe};
use crate::store::snapshot::{ExpiredRelease, ExpiredReleases, SnapshotManifest};
use crate::store::{Divergence, Withdrawal};
use crate::util::digest::Sha256;
use crate::util::text::{quoted, shortened};

/// The path of the file below the base URL.
pub(in crate::cycle) const FOLLOW_FILE: &str = "follow.json";

/// The version of the format.
pub(super) const SCHEMA: u32 = 1;

/// The most entries beside those that belong to lines of the ledger.
const MAX_ENTRIES: u64 = 100_000;

/// The most values in a note.
const MAX_VALUES: usize = 1000;

/// In characters, of the reason for a withdrawal: twice what an operator may write.
const MAX_REASON: usize = 1000;

/// In characters, of a name in a message.
const MAX_SHOWN: usize = 100;

/// What a mirror copies from the one that it follows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FollowState {
    pub(super) schema: u32,
    pub(super) path: Vec<Hop>,
    pub(super) ledger: LedgerEnd,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) withdrawn: Vec<Withdrawal>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    expired: ExpiredReleases,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    unlisted: BTreeSet<u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    committed: BTreeMap<u64, Timestamp>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    abandoned: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    claimed: BTreeSet<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::cycle) diverged: Vec<Divergence>,
    /// Products of the recipe; one that this program does not understand is not shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    products: Vec<Value>,
    /// Notes of the recipe; one that this program does not understand is not shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_packages: Vec<String>,
}

/// A repository that content went through.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hop {
    /// The id of its volume.
    pub(super) volume: String,
    pub(super) url: String,
}

/// The end of a published ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LedgerEnd {
    pub(super) lines: u64,
    pub(super) head: Sha256,
}

impl Default for LedgerEnd {
    fn default() -> Self {
        Self { lines: 0, head: Sha256([0; 32]) }
    }
}

/// The state that was copied, and from where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// The URL of the mirror, without credentials.
    pub origin: String,
    /// The digest of its `follow.json`; `None` if it has none.
    pub(super) digest: Option<Sha256>,
    pub(in crate::cycle) state: FollowState,
}

/// What a snapshot is made of, as far as `follow.json` tells it.
pub(in crate::cycle) struct FollowContent<'a> {
    /// Lines of the ledger.
    pub lines: u64,
    /// The releases that the metadata names.
    pub listed: &'a [Release],
    pub expired: &'a ExpiredReleases,
    pub claimed: &'a BTreeSet<String>,
}

impl FollowState {
    /// Of the snapshot that is about to be published.
    pub(in crate::cycle) fn new(
        ctx: &CycleContext<'_>,
        report: &Report,
        content: &FollowContent<'_>,
    ) -> Self {
        let mut path =
            report.followed.as_ref().map(|followed| followed.state.path.clone()).unwrap_or_default();
        path.push(Hop::own(ctx));
        let (head, committed) = ctx.store.ledger(|ledger| {
            let dates = ledger.releases().iter().map(|release| (release, report.committed(release)));
            let corrected = dates.filter(|(release, committed)| release.committed != *committed);
            let committed = corrected.map(|(release, committed)| (release.number, committed)).collect();
            (ledger.head_at(content.lines), committed)
        });
        Self {
            schema: SCHEMA,
            path,
            ledger: LedgerEnd { lines: content.lines, head: head.unwrap_or(Sha256([0; 32])) },
            withdrawn: ctx.store.withdrawals(),
            expired: content.expired.clone(),
            unlisted: unlisted(ctx, content),
            committed,
            abandoned: report.abandoned(),
            claimed: content.claimed.clone(),
            diverged: report.diverged().cloned().collect(),
            products: values(&ctx.recipe.products),
            notes: values(&ctx.recipe.notes),
            external_packages: ctx.recipe.external_packages.clone(),
        }
    }

    /// Names the volume that has published the same state before, so that builders with one bucket do not publish it in turns.
    pub(in crate::cycle) fn keep_publisher(&mut self, previous: &Self) {
        let Some((own, known)) = self.path.last_mut().zip(previous.path.last()) else { return };
        let own = mem::replace(&mut own.volume, known.volume.clone());
        if self != previous
            && let Some(last) = self.path.last_mut()
        {
            last.volume = own;
        }
    }

    /// What a snapshot in the bucket says of its archives. The rest comes with the snapshot itself.
    pub(super) fn in_bucket(snapshot: &SnapshotManifest) -> Self {
        Self {
            schema: SCHEMA,
            withdrawn: snapshot.withdrawals.clone(),
            expired: snapshot.expired.clone(),
            ..Self::default()
        }
    }

    /// The state as this program can publish it: names become paths here, reasons reach terminals, and the server has all of it in
    /// memory.
    ///
    /// # Errors
    /// It has what no mirror can have: other names and versions, or more entries.
    pub(super) fn checked(mut self) -> anyhow::Result<Self> {
        let of_lines = [self.expired.len(), self.unlisted.len(), self.committed.len(), self.withdrawn.len()];
        let names = [self.abandoned.len(), self.claimed.len(), self.external_packages.len()];
        let others = [self.path.len(), self.diverged.len(), self.products.len(), self.notes.len()];
        let entries: usize = of_lines.iter().chain(&names).chain(&others).sum();
        let most = self.ledger.lines.saturating_mul(of_lines.len() as u64).saturating_add(MAX_ENTRIES);
        ensure!(entries as u64 <= most, "it has {entries} entries, more than {most}");
        let is_mark = |mark: &Value| mark.is_string() || mark.is_boolean();
        ensure!(self.abandoned.values().all(is_mark), "`abandoned` has other values than texts");
        let are_small = |values: &[Value]| values.iter().all(|value| values_in(value) <= MAX_VALUES);
        ensure!(are_small(&self.notes), "a note has too many values");
        ensure!(are_small(&self.products), "a product has too many values");
        let named = self.withdrawn.iter().map(|withdrawal| &withdrawal.name).chain(&self.claimed);
        for name in named {
            ensure!(name.parse::<PackageName>().is_ok(), "`{}` is not a package name", shown(name));
        }
        for Withdrawal { version, reason, .. } in &mut self.withdrawn {
            ensure!(version.parse::<Version>().is_ok(), "`{}` is not a version", shown(version));
            *reason = quoted(&shortened(reason, MAX_REASON));
        }
        Ok(self)
    }

    /// Whether the metadata names the line with this number, unless a later line replaces it.
    pub(in crate::cycle) fn lists(&self, number: u64) -> bool {
        !self.expired.contains_key(&number) && !self.unlisted.contains(&number)
    }

    /// The nightly releases of the first `lines` that the metadata does not name.
    pub(in crate::cycle) fn expired(&self, lines: u64) -> ExpiredReleases {
        self.expired.range(..=lines).map(|(number, expired)| (*number, *expired)).collect()
    }

    /// Whether the mirror serves the archive of a release.
    pub(in crate::cycle) fn serves(&self, release: &Release) -> bool {
        let is_expired = self.expired.get(&release.number).is_some_and(|expired| expired.withdrawn);
        let is_withdrawn = self.withdrawn.iter().any(|other| other.is_of(&release.name, &release.version));
        !is_expired && !is_withdrawn
    }

    /// Leaves out the releases of the ledger for which `is_here` does not hold.
    pub(in crate::cycle) fn leave_out(&mut self, releases: &[Release], is_here: impl Fn(&Release) -> bool) {
        for release in releases.iter().filter(|release| !is_here(release)) {
            let absent = ExpiredRelease { since: release.time, withdrawn: true, absent: true };
            let known = self.expired.entry(release.number).or_insert(absent);
            if !known.withdrawn {
                *known = absent;
            }
        }
    }

    /// The releases that it leaves out.
    pub(in crate::cycle) fn absent(&self) -> BTreeSet<u64> {
        self.expired.iter().filter(|(_, release)| release.absent).map(|(number, _)| *number).collect()
    }

    /// Leaves out no more than these.
    pub(in crate::cycle) fn keep_absent(&mut self, absent: &BTreeSet<u64>) {
        self.expired.retain(|number, release| !release.absent || absent.contains(number));
    }

    pub(in crate::cycle) fn committed(&self, release: &Release) -> Option<Timestamp> {
        self.committed.get(&release.number).copied()
    }

    pub(in crate::cycle) fn abandoned(&self) -> &BTreeMap<String, Value> {
        &self.abandoned
    }

    pub(in crate::cycle) fn claimed(&self) -> impl Iterator<Item = &String> {
        self.claimed.iter()
    }

    /// Whether both say the same, whatever way they went.
    pub(super) fn has_content_of(&self, other: &Self) -> bool {
        Self { path: Vec::new(), ..self.clone() } == Self { path: Vec::new(), ..other.clone() }
    }

    /// What a recipe would say of the pages.
    pub(in crate::cycle) fn recipe(&self) -> Recipe {
        let notes = self.notes.iter().filter_map(|note| serde_json::from_value::<Note>(note.clone()).ok());
        let products =
            self.products.iter().filter_map(|product| serde_json::from_value(product.clone()).ok());
        // Whatever another mirror says becomes a link on our pages.
        let is_web = |see: &String| see.starts_with("https://") || see.starts_with("http://");
        Recipe {
            notes: notes.map(|note| Note { see: note.see.filter(is_web), ..note }).collect(),
            products: products.collect(),
            external_packages: self.external_packages.clone(),
            ..Recipe::default()
        }
    }
}

/// Parts of a recipe as other programs read them.
fn values(parts: &[impl Serialize]) -> Vec<Value> {
    parts.iter().filter_map(|part| serde_json::to_value(part).ok()).collect()
}

/// How many values a JSON value consists of.
fn values_in(value: &Value) -> usize {
    let inner: usize = match value {
        Value::Array(items) => items.iter().map(values_in).sum(),
        Value::Object(members) => members.values().map(values_in).sum(),
        _ => 0,
    };
    inner + 1
}

fn shown(name: &str) -> String {
    quoted(&shortened(name, MAX_SHOWN))
}

impl Hop {
    pub(super) fn own(ctx: &CycleContext<'_>) -> Self {
        Self { volume: ctx.volume_id.to_owned(), url: ctx.base_url.to_string() }
    }
}

/// The lines that the snapshot does not name although no later line replaces them: those after the named one of their name and
/// version, or all.
fn unlisted(ctx: &CycleContext<'_>, content: &FollowContent<'_>) -> BTreeSet<u64> {
    let listed: HashMap<_, _> = content
        .listed
        .iter()
        .map(|release| ((release.name.as_str(), release.version.as_str()), release.number))
        .collect();
    let base_url = ctx.base_url.to_string();
    let is_unlisted = |release: &&Release| {
        let named = listed.get(&(release.name.as_str(), release.version.as_str()));
        release.number <= content.lines
            && named.is_none_or(|named| release.number > *named)
            && !content.expired.contains_key(&release.number)
            && !ctx.store.is_withdrawn(&release.name, &release.version)
    };
    ctx.store.ledger(|ledger| {
        ledger.for_url(&base_url).filter(is_unlisted).map(|release| release.number).collect()
    })
}
