//! Asks a followed mirror what is new, and believes it only if that continues what is published here.
//!
//! One small request finds out that nothing is: the ledger from the own last line on. The answer begins with that line, unless
//! the ledger is shorter or forked, and a header tells whether `follow.json` has changed.

use std::collections::HashMap;

use anyhow::{Context as _, bail, ensure};
use jiff::Timestamp;

use super::origin::{Origin, Part, Rest};
use super::state::{FOLLOW_FILE, FollowState, Followed, Hop, SCHEMA};
use crate::composer::{PackageName, Version};
use crate::cycle::context::{CycleContext, PublishedBucket};
use crate::ledger::{Ledger, Release, end_of_lines};
use crate::store::durable_fs;
use crate::util::digest::Sha256;

/// What is new at a followed mirror.
pub(in crate::cycle) struct Update {
    /// The lines that follow the own ledger's last one.
    pub(in crate::cycle) lines: Vec<u8>,
    /// The whole ledger with them.
    pub(in crate::cycle) ledger: Ledger,
    pub(in crate::cycle) followed: Followed,
}

/// The own ledger as text.
struct OwnLedger {
    text: Vec<u8>,
    /// Where its last line begins.
    last: usize,
}

/// Why an answer is not believed, for the log, the status and notifications.
const UNCHANGED: &str = "nothing was copied";

/// Asks `origin` what is new; `None` if nothing is.
///
/// # Errors
/// It cannot be reached, or it contradicts what is published here.
pub(in crate::cycle) fn ask_for_update(
    ctx: &CycleContext<'_>,
    origin: &Origin<'_>,
    known: Option<&Followed>,
) -> anyhow::Result<Option<Update>> {
    let own = OwnLedger::read(ctx)?;
    let (mut new, digest) = own.rest_at(origin)?;
    let known = known.filter(|known| known.origin == origin.name());
    if let (Some(known), Some(digest)) = (known, digest)
        && known.digest == Some(digest)
        && new.is_empty()
    {
        return Ok(None);
    }
    let followed = match known.filter(|known| digest.is_some() && known.digest == digest) {
        Some(known) => known.clone(),
        None => read_state(origin)?,
    };
    if followed.digest.is_some() {
        let lines = ctx.store.ledger(Ledger::len) + count_lines(&new);
        // The mirror may have published between the two requests.
        if followed.state.ledger.lines > lines {
            new = own.rest_at(origin)?.0;
        }
    }
    let (lines, ledger) = continued(ctx, origin, new, &followed)?;
    Ok(Some(Update { lines, ledger, followed }))
}

impl Update {
    /// What is new in the bucket, whose ledger begins with the `common` first lines of the own one.
    ///
    /// # Errors
    /// It names what this program would not publish.
    pub(in crate::cycle) fn in_bucket(published: PublishedBucket<'_>, common: u64) -> anyhow::Result<Self> {
        let PublishedBucket { bucket, loaded } = published;
        let origin = bucket.object(&loaded.state.repository);
        let ledger = loaded.ledger().clone();
        check_new(ledger.releases(), common)
            .with_context(|| format!("the ledger in `{origin}` is refused: {UNCHANGED}"))?;
        let text = loaded.ledger_text();
        let begin = end_of_lines(text, common).context("the published ledger is shorter than the own one")?;
        let state = FollowState::in_bucket(&loaded.state.snapshot);
        Ok(Self {
            lines: text.slice(begin..).into(),
            ledger,
            followed: Followed { origin, digest: None, state },
        })
    }
}

impl OwnLedger {
    fn read(ctx: &CycleContext<'_>) -> anyhow::Result<Self> {
        let lines = ctx.store.ledger(Ledger::len);
        let text = match lines {
            0 => Vec::new(),
            _ => {
                let (path, size, _) = ctx.store.ledger_file(lines)?;
                let mut text = durable_fs::read(&path)
                    .with_context(|| format!("failed to read `{}`", path.display()))?;
                text.truncate(usize::try_from(size)?);
                text
            }
        };
        let before = text.len().saturating_sub(1);
        let last = text[..before].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        Ok(Self { text, last })
    }

    /// What `origin` has after this ledger, and the digest of its `follow.json` if it says so.
    fn rest_at(&self, origin: &Origin<'_>) -> anyhow::Result<(Vec<u8>, Option<Sha256>)> {
        let Rest::Part(Part { mut bytes, is_whole, state }) =
            origin.rest("ledger.jsonl", self.last as u64)?
        else {
            bail!(self.shorter(origin));
        };
        ensure!(
            bytes.first().is_none_or(|first| *first == b'{'),
            "{} sent something else than a ledger: {UNCHANGED}\nhint: does a proxy or a login page answer for it?",
            origin.name()
        );
        let known = if is_whole { &self.text[..] } else { &self.text[self.last..] };
        if bytes.len() < known.len() && known.starts_with(&bytes) {
            bail!(self.shorter(origin));
        }
        if !bytes.starts_with(known) {
            bail!(
                "the ledger of {} is forked or altered: where this repository has line {}, it has another one: {UNCHANGED}\nhint: a repository that has published releases of its own can follow only a mirror that has them, too",
                origin.name(),
                count_lines(&self.text)
            );
        }
        bytes.drain(..known.len());
        Ok((bytes, state))
    }

    fn shorter(&self, origin: &Origin<'_>) -> String {
        format!(
            "the ledger of {} is shorter than the one here, which has {} lines: {UNCHANGED}\nhint: was that mirror restored from an old backup, or does it lag behind?",
            origin.name(),
            count_lines(&self.text)
        )
    }
}

fn count_lines(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

/// The state of `origin` now. An older program has none: then only its ledger is followed.
fn read_state(origin: &Origin<'_>) -> anyhow::Result<Followed> {
    let Some(text) = origin.get(FOLLOW_FILE)? else {
        tracing::warn!(
            origin = origin.name(),
            "it has no `{FOLLOW_FILE}`: its withdrawals and expired nightly versions cannot be copied\nhint: update the program there"
        );
        return Ok(Followed { origin: origin.name(), digest: None, state: FollowState::default() });
    };
    let state: FollowState = serde_json::from_slice(&text).with_context(|| {
        format!("`{FOLLOW_FILE}` of {} is not what this program expects: {UNCHANGED}", origin.name())
    })?;
    ensure!(
        state.schema <= SCHEMA,
        "`{FOLLOW_FILE}` of {} has format {}, and this program knows formats up to {SCHEMA}: {UNCHANGED}\nhint: update this program",
        origin.name(),
        state.schema
    );
    let state = state
        .checked()
        .with_context(|| format!("`{FOLLOW_FILE}` of {} is refused: {UNCHANGED}", origin.name()))?;
    Ok(Followed { origin: origin.name(), digest: Some(Sha256::digest(&text)), state })
}

/// The lines after the own ledger that the state tells of, and the ledger with them.
fn continued(
    ctx: &CycleContext<'_>,
    origin: &Origin<'_>,
    mut new: Vec<u8>,
    followed: &Followed,
) -> anyhow::Result<(Vec<u8>, Ledger)> {
    let name = origin.name();
    let state = &followed.state;
    // A folder or a file follows nobody: it may be a backup of this repository.
    ensure!(
        origin.is_local() || !state.path.contains(&Hop::own(ctx)),
        "{name} follows this repository itself: {UNCHANGED}\nhint: one of the mirrors has to build, or follow another one"
    );
    let mut ledger = ctx.store.ledger(Ledger::clone);
    let own = ledger.len();
    if followed.digest.is_some() {
        ensure!(
            state.ledger.lines >= own,
            "the ledger of {name} is shorter than the one here: it has {} lines, not {own}: {UNCHANGED}\nhint: was that mirror restored from an old backup, or does it lag behind?",
            state.ledger.lines
        );
        // What it has published since comes with the next cycle.
        let wanted = usize::try_from(state.ledger.lines - own)?;
        let ends = memchr::memchr_iter(b'\n', &new).map(|end| end + 1);
        let end = std::iter::once(0).chain(ends).nth(wanted);
        new.truncate(end.unwrap_or(new.len()));
    }
    ledger
        .add_lines(&new)
        .with_context(|| format!("the ledger of {name} is damaged or altered: {UNCHANGED}"))?;
    check_new(ledger.releases(), own)
        .with_context(|| format!("the ledger of {name} is refused: {UNCHANGED}"))?;
    if followed.digest.is_some() {
        ensure!(
            ledger.len() == state.ledger.lines && ledger.head() == state.ledger.head,
            "the ledger of {name} is altered: its line {} is not the one that its `{FOLLOW_FILE}` names: {UNCHANGED}",
            ledger.len()
        );
    }
    Ok((new, ledger))
}

/// Checks the releases after the own ones. Two of them may name one archive only if they are the same state of a version.
fn check_new(releases: &[Release], own: u64) -> anyhow::Result<()> {
    let is_new = |release: &&Release| release.number > own;
    releases.iter().filter(is_new).try_for_each(check_release)?;
    let mut archives = HashMap::<String, &Release>::new();
    for release in releases {
        let Some(known) = archives.insert(release.path(), release) else { continue };
        let state = |release: &Release| {
            (release.name.clone(), release.version.clone(), release.sha256, release.file.clone())
        };
        let is_same = release.file.is_some() && state(known) == state(release);
        let Release { number, .. } = release;
        ensure!(
            is_same || !is_new(&release),
            "lines {} and {number} name the same archive, `{}`",
            known.number,
            release.path()
        );
    }
    Ok(())
}

/// A release of another mirror becomes a path here, and the date of a file.
fn check_release(release: &Release) -> anyhow::Result<()> {
    let Release { number, name, version, time, .. } = release;
    let path = release.path();
    let is_plain = |segment: &str| {
        !segment.is_empty() && !matches!(segment, "." | "..") && !segment.contains(['\\', '\0', '\n', '\r'])
    };
    ensure!(
        name.parse::<PackageName>().is_ok()
            && version.parse::<Version>().is_ok()
            && path.starts_with("packages/")
            && path.ends_with(".zip")
            && path.split('/').all(is_plain),
        "line {number} names the package {name:?} in version {version:?} and the file {path:?}, which this program would not"
    );
    ensure!(
        *time >= Timestamp::UNIX_EPOCH,
        "line {number} has the time {time}, and HTTP has no date before 1970"
    );
    Ok(())
}
