//! Fetches archives from the followed mirrors: several at a time, from any of them, by their digests in the ledger.
//!
//! A connection that breaks is continued by a range request, at the next mirror if need be. Nothing is published whose size and
//! digests are not the ledger's; a mirror that sent other bytes is named and not asked again in this cycle.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use parking_lot::Mutex;
use url::Url;

use super::origin::{ArchiveRequest, Origin};
use crate::cycle::context::{CycleContext, ProgressEvent};
use crate::ledger::Release;
use crate::net::{NetworkError, is_not_found, with_hint};
use crate::store::StagedArchive;
use crate::store::durable_fs::{Digests, HashingFile};
use crate::util::text::shortened;
use crate::util::threads::spawn_scoped;

/// Failures in a row after which a mirror is not asked again in this cycle.
const MAX_FAILURES: usize = 3;

/// How often one archive is asked for at one mirror.
const MAX_ATTEMPTS: usize = 3;

/// The pause before an archive is asked for again.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// In characters: an error may quote what a mirror sent.
const MAX_ERROR: usize = 5000;

const BUFFER: usize = 128 << 10;

/// What is known of the mirrors in one cycle.
pub(in crate::cycle) struct Origins<'a> {
    urls: &'a [Url],
    health: Vec<Mutex<Health>>,
    /// What could not be copied from any of them.
    is_incomplete: AtomicBool,
}

#[derive(Default)]
struct Health {
    failures: usize,
    /// Why it is not asked any more.
    error: Option<String>,
    /// It gave no answer, which says nothing about its content.
    is_unreachable: bool,
}

impl<'a> Origins<'a> {
    pub(in crate::cycle) fn new(urls: &'a [Url]) -> Self {
        let health = urls.iter().map(|_| Mutex::default()).collect();
        Self { urls, health, is_incomplete: AtomicBool::new(false) }
    }

    pub(super) fn urls(&self) -> &'a [Url] {
        self.urls
    }

    /// Why the mirror with this index is not asked any more.
    pub(in crate::cycle) fn error(&self, index: usize) -> Option<String> {
        self.health[index].lock().error.clone()
    }

    /// Whether it gave no answer while another one served everything: that is worth knowing, and no failure.
    pub(super) fn is_spare(&self, index: usize) -> bool {
        let is_served = (0..self.urls.len()).any(|other| self.is_usable(other));
        let is_unreachable = self.health[index].lock().is_unreachable;
        is_unreachable && is_served && !self.is_incomplete.load(Ordering::Relaxed)
    }

    /// The mirror is not asked again.
    pub(super) fn exclude(&self, index: usize, error: &anyhow::Error) {
        self.health[index].lock().exclude(error);
    }

    /// The same, because no mirror has what it names.
    pub(super) fn fail(&self, index: usize, error: &anyhow::Error) {
        self.is_incomplete.store(true, Ordering::Relaxed);
        self.exclude(index, error);
    }

    fn count_failure(&self, index: usize, error: &anyhow::Error) {
        let mut health = self.health[index].lock();
        health.failures += 1;
        if health.failures >= MAX_FAILURES {
            health.exclude(error);
        }
    }

    fn count_success(&self, index: usize) {
        self.health[index].lock().failures = 0;
    }

    fn is_usable(&self, index: usize) -> bool {
        self.health[index].lock().error.is_none()
    }
}

impl Health {
    fn exclude(&mut self, error: &anyhow::Error) {
        if self.error.is_none() {
            self.is_unreachable = is_unreachable(error);
            self.error = Some(shortened(&with_hint(error), MAX_ERROR).into_owned());
        }
    }
}

/// Whether a mirror gave no answer. An answer that contradicts what is published here, a refused login and a failed
/// certificate are not that.
pub(super) fn is_unreachable(error: &anyhow::Error) -> bool {
    use NetworkError::{Busy, Deadline, Interrupted, Proxy, Status, Timeout, TooSlow, Unreachable};
    let answer = error.chain().find_map(|cause| cause.downcast_ref());
    let is_none = |answer: &NetworkError| {
        matches!(
            answer,
            Busy { .. }
                | Deadline { .. }
                | Interrupted { .. }
                | Proxy { .. }
                | Status { .. }
                | Timeout { .. }
                | TooSlow { .. }
                | Unreachable { .. }
        )
    };
    answer.is_some_and(is_none)
}

/// Fetches the archives of `releases`, and hands each over in their order, or why no mirror has it. Ends with the first that
/// `receive` fails for.
pub(in crate::cycle) fn fetch(
    ctx: &CycleContext<'_>,
    origins: &Origins<'_>,
    releases: &[&Release],
    mut receive: impl FnMut(anyhow::Result<StagedArchive>, &Release) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let workers = ctx.fetches.clamp(1, releases.len().max(1));
    let (sender, receiver) = sync_channel(workers);
    let span = tracing::Span::current();
    thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        for worker in 0..workers {
            let (next, stop, span, sender) = (&next, &stop, &span, sender.clone());
            let started = spawn_scoped(scope, move || {
                let _entered = span.enter();
                let fetcher = ArchiveFetcher::new(ctx, origins, worker);
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(release) = releases.get(index) else { break };
                    let fetched = fetcher.fetch(release);
                    (ctx.progress)(ProgressEvent::Built);
                    if sender.send((index, fetched)).is_err() {
                        break;
                    }
                }
            });
            // One thread is enough.
            match started {
                Err(error) if worker == 0 => return Err(error.into()),
                Err(_) => break,
                Ok(_) => {}
            }
        }
        drop(sender);
        // Only this closure keeps the receiver: the workers end when it does.
        let (receiver, mut waiting, mut due) = (receiver, BTreeMap::new(), 0);
        while let Ok((index, fetched)) = receiver.recv() {
            waiting.insert(index, fetched);
            while let Some(fetched) = waiting.remove(&due) {
                receive(fetched, releases[due])?;
                due += 1;
            }
        }
        ensure!(due == releases.len(), "a worker thread ended early");
        Ok(())
    })
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One worker, with a connection to each mirror.
pub(in crate::cycle) struct ArchiveFetcher<'a> {
    ctx: &'a CycleContext<'a>,
    origins: &'a Origins<'a>,
    connections: Vec<Origin<'a>>,
    /// Which mirror it asks first, so that all have some of the work.
    first: usize,
}

impl<'a> ArchiveFetcher<'a> {
    pub(in crate::cycle) fn new(ctx: &'a CycleContext<'a>, origins: &'a Origins<'a>, first: usize) -> Self {
        let connections = origins.urls.iter().map(|url| Origin::new(ctx, url)).collect();
        Self { ctx, origins, connections, first }
    }

    /// Fetches an archive and checks it against the ledger. A mirror that sent something else is excluded, and the others are
    /// asked for all of it.
    pub(in crate::cycle) fn fetch(&self, release: &Release) -> anyhow::Result<StagedArchive> {
        let mut alone = VecDeque::new();
        loop {
            let only = alone.pop_front();
            let mut senders = BTreeSet::new();
            let staged = match self.stage(release, only, &mut senders) {
                Ok(staged) => staged,
                Err(error) if error.is::<StartAgain>() => continue,
                Err(_) if !alone.is_empty() => continue,
                Err(error) => return Err(error),
            };
            let Err(error) = check(&staged, release) else { return Ok(staged) };
            self.ctx.store.discard(&staged)?;
            match senders.len() {
                1 => senders.iter().for_each(|index| self.exclude(*index, &error)),
                // Each has sent a part of it. Which one is wrong shows when each sends all of it.
                _ => alone.extend(senders),
            }
        }
    }

    fn exclude(&self, index: usize, error: &anyhow::Error) {
        let origin = self.connections[index].name();
        let error = anyhow!("{origin} sent a wrong archive: {error:#}");
        tracing::error!(origin, "{error:#}");
        self.origins.exclude(index, &error);
    }

    /// Stages an archive as the mirrors send it, or `only` one of them. Notes which ones have sent something.
    fn stage(
        &self,
        release: &Release,
        only: Option<usize>,
        senders: &mut BTreeSet<usize>,
    ) -> anyhow::Result<StagedArchive> {
        self.ctx.store.stage(|mut file| {
            let count = self.connections.len();
            let (mut written, mut missing) = (0, BTreeSet::new());
            let mut last_error = anyhow!("no followed mirror can be asked any more");
            for attempt in 0..count * MAX_ATTEMPTS {
                let index = (self.first + attempt) % count;
                let is_other = only.is_some_and(|only| only != index);
                if is_other || missing.contains(&index) || !self.origins.is_usable(index) {
                    continue;
                }
                if attempt >= count {
                    self.ctx.cancel.wait(RETRY_DELAY);
                }
                self.ctx.ensure_can_continue()?;
                let before = written;
                // What is compressed cannot be continued, so it is asked for once.
                let wanted = match attempt < count && written == 0 {
                    true => ArchiveRequest::Compressed,
                    false => ArchiveRequest::From(written),
                };
                let continued = self.continue_with(wanted, index, release, &mut file, &mut written);
                if written > before {
                    senders.insert(index);
                }
                match continued {
                    Ok(()) => {
                        self.origins.count_success(index);
                        return Ok(file);
                    }
                    Err(Broken::Write(error)) => return Err(error),
                    Err(Broken::TooLong) => {
                        let (package, size) = (release.package(), release.size);
                        let error = anyhow!("the archive of {package} has more than {size} bytes");
                        self.exclude(index, &error);
                        bail!(StartAgain);
                    }
                    Err(Broken::Origin(error)) => {
                        if is_not_found(&error) {
                            missing.insert(index);
                        } else {
                            self.on_failure(index, release, &error);
                        }
                        let origin = self.connections[index].name();
                        last_error =
                            error.context(format!("failed to fetch `{}` from {origin}", release.path()));
                    }
                }
            }
            Err(last_error)
        })
    }

    fn on_failure(&self, index: usize, release: &Release, error: &anyhow::Error) {
        let (origin, file) = (&self.connections[index], release.path());
        origin.disconnect();
        tracing::warn!(origin = origin.name(), file, "an archive was not received completely: {error:#}");
        self.origins.count_failure(index, error);
    }

    /// Writes what is left of an archive.
    fn continue_with(
        &self,
        wanted: ArchiveRequest,
        index: usize,
        release: &Release,
        file: &mut HashingFile,
        written: &mut u64,
    ) -> Result<(), Broken> {
        // The connection broke after the last byte.
        if *written == release.size {
            return Ok(());
        }
        let origin = |error: anyhow::Error| Broken::Origin(error);
        let mut body = self.connections[index].archive(release, wanted).map_err(origin)?;
        let mut skip = if body.is_rest { 0 } else { *written };
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = body.bytes.read(&mut buffer).map_err(|error| origin(error.into()))?;
            if read == 0 {
                break;
            }
            let skipped = skip.min(read as u64);
            skip -= skipped;
            let bytes = &buffer[usize::try_from(skipped).unwrap_or(read)..read];
            *written += bytes.len() as u64;
            if *written > release.size {
                return Err(Broken::TooLong);
            }
            file.write_all(bytes).context("failed to write the archive").map_err(Broken::Write)?;
        }
        match *written == release.size {
            true => Ok(()),
            false => Err(origin(anyhow!("it ended after {written} of {} bytes", release.size))),
        }
    }
}

/// Why an archive is not complete.
enum Broken {
    /// The mirror, or the way to it.
    Origin(anyhow::Error),
    /// The mirror sends more than the ledger says.
    TooLong,
    /// The own volume.
    Write(anyhow::Error),
}

/// What was received has to be fetched again from its first byte.
#[derive(Debug, thiserror::Error)]
#[error("a followed mirror sent something else")]
struct StartAgain;

/// Fails unless a staged archive is what the ledger says.
fn check(staged: &StagedArchive, release: &Release) -> anyhow::Result<()> {
    let (Digests { sha1, sha256, .. }, package) = (staged.digests, release.package());
    ensure!(
        sha256 == release.sha256,
        "the archive of {package} has SHA-256 {sha256}, not {}",
        release.sha256
    );
    ensure!(sha1 == release.sha1, "the archive of {package} has SHA-1 {sha1}, not {}", release.sha1);
    Ok(())
}
