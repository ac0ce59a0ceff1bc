//! `mirror export`: a repository, or what some of its packages need, as a bundle.
//!
//! The ledger always travels as a whole, because its chain proves what is in it, and the next export continues it. Only archives
//! are left out: `follow.json` names the releases that a repository which has nothing but this bundle lacks.

mod closure;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use jiff::Timestamp;

use super::bundle::{BundleWriter, LEDGER_FILE};
use super::follow::{FOLLOW_FILE, FollowState, Local};
use crate::ledger::{Ledger, Release};
use crate::store::RepositoryStore;
use crate::util::digest::Sha256;

pub use closure::Wanted;

/// What an earlier export has, so that this one need not have its archives.
#[derive(Debug, Clone)]
pub enum Since {
    /// All of the ledger up to this line.
    Line(u64),
    /// All up to the line with this SHA-256.
    Head(Sha256),
    /// What this bundle has.
    Bundle(PathBuf),
}

/// Whether an earlier export has a release.
type IsThere = Box<dyn Fn(&Release) -> bool>;

/// What was exported.
#[derive(Debug)]
pub struct Exported {
    /// The releases that the bundle is about, and how many of them there are in the ledger.
    pub releases: usize,
    pub lines: u64,
    /// The SHA-256 of the ledger's last line.
    pub head: Sha256,
    /// The archives in the bundle.
    pub archives: usize,
    /// Of the archives.
    pub bytes: u64,
    /// What the chosen packages require and nobody publishes here.
    pub external: BTreeSet<String>,
}

/// Exports what `wanted` needs, or everything if that is empty, to `target`: a folder if it is one or ends with a slash, else a
/// tar file.
///
/// # Errors
/// Nothing is published, or not what is wanted, or an archive is damaged. No tar file is left then.
pub fn export(
    store: &RepositoryStore,
    base_url: &str,
    wanted: &[Wanted],
    since: Option<&Since>,
    target: &Path,
) -> anyhow::Result<Exported> {
    let snapshot = store.newest_snapshot()?.context("nothing is published")?;
    let state = snapshot.read(FOLLOW_FILE).context("`mirror build` has to publish it once more")?;
    let mut state: FollowState = serde_json::from_slice(&state).context("failed to read `follow.json`")?;
    let lines = snapshot.manifest.releases;
    let mut releases = store.ledger(|ledger| ledger.releases().to_vec());
    releases.truncate(usize::try_from(lines)?);
    let mut external = BTreeSet::new();
    if !wanted.is_empty() {
        let mut listed = store.published_releases(Some(&snapshot), base_url);
        listed.retain(|release| state.lists(release.number));
        let needed = closure::find(&snapshot, &listed, wanted)?;
        state.leave_out(&releases, |release| needed.lines.contains(&release.number));
        external = needed.external;
    }
    let is_there: IsThere = match since {
        Some(since) => since.resolve(store, lines)?,
        None => Box::new(|_| false),
    };
    let mut seen = BTreeSet::new();
    releases.retain(|release| state.serves(release));
    let count = releases.len();
    releases.retain(|release| !is_there(release) && seen.insert(release.path()));
    let mut writer = BundleWriter::create(target)?;
    if let Err(error) = write(&mut writer, store, lines, &releases, &state) {
        writer.discard();
        return Err(error);
    }
    writer.finish()?;
    Ok(Exported {
        releases: count,
        lines,
        head: snapshot.manifest.ledger_head,
        archives: releases.len(),
        bytes: releases.iter().map(|release| release.size).sum(),
        external,
    })
}

/// Writes the archives, the ledger, and last what makes the bundle whole.
fn write(
    writer: &mut BundleWriter,
    store: &RepositoryStore,
    lines: u64,
    releases: &[Release],
    state: &FollowState,
) -> anyhow::Result<()> {
    for release in releases {
        store
            .check_archive(release)
            .context("nothing was exported: `mirror verify --repair` repairs archives")?;
        let path = store.archive(release);
        let file = File::open(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
        let (size, date) = (release.size, release.time.as_second());
        writer.add(&release.path(), size, date, &mut file.take(size))?;
    }
    let date = store.ledger(|ledger| ledger.time_at(lines)).map_or(0, Timestamp::as_second);
    let (path, size, _) = store.ledger_file(lines)?;
    let file = File::open(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
    writer.add(LEDGER_FILE, size, date, &mut file.take(size))?;
    let state = serde_json::to_vec(state)?;
    writer.add(FOLLOW_FILE, state.len() as u64, date, &mut io::Cursor::new(state))
}

impl Since {
    /// Whether an earlier export has a release of the first `lines` of the ledger.
    fn resolve(&self, store: &RepositoryStore, lines: u64) -> anyhow::Result<IsThere> {
        let last = match self {
            Self::Line(line) => *line,
            Self::Head(head) => (1..=lines)
                .find(|line| store.ledger(|ledger| ledger.head_at(*line)) == Some(*head))
                .with_context(|| format!("the ledger here has no line with the SHA-256 {head}"))?,
            Self::Bundle(path) => return earlier(path, store),
        };
        ensure!(last <= lines, "the ledger here has {lines} lines, not {last}");
        Ok(Box::new(move |release| release.number <= last))
    }
}

/// Whether the bundle at `path` has a release.
fn earlier(path: &Path, store: &RepositoryStore) -> anyhow::Result<IsThere> {
    let (bundle, shown) = (Local::new(path.to_owned()), path.display());
    let read = |name: &str| bundle.read_from(name, 0)?.with_context(|| format!("`{shown}` has no `{name}`"));
    let (ledger, _) =
        Ledger::parse(&read(LEDGER_FILE)?).with_context(|| format!("the ledger in `{shown}` is damaged"))?;
    let lines = ledger.len();
    if store.ledger(|here| here.head_at(lines)) != Some(ledger.head()) {
        bail!("`{shown}` is an export of another ledger than the one here");
    }
    let state: FollowState = serde_json::from_slice(&read(FOLLOW_FILE)?)
        .with_context(|| format!("`{FOLLOW_FILE}` in `{shown}` is not what this program expects"))?;
    Ok(Box::new(move |release| release.number <= lines && state.serves(release)))
}

impl std::str::FromStr for Since {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bundle = || Self::Bundle(PathBuf::from(text));
        let head = || text.parse().map(Self::Head);
        Ok(text.parse().map(Self::Line).or_else(|_| head()).unwrap_or_else(|_| bundle()))
    }
}
