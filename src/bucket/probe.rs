//! What a bucket can do: asked by trying, since some servers accept conditions and ignore them.
//!
//! A commit needs two things that not every store has: an object is created only if there is none, and replaced only if it is
//! still the one that was read, also when several try at once. Without them two mirrors could both win.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, bail};

use super::client::Bucket;
use super::error::{BucketError, BucketErrorKind};
use super::object::{Condition, Upload, UploadHeaders};
use super::random_name;
use crate::util::threads::spawn_scoped;

/// Writers that try at once.
const RACERS: usize = 8;

/// How often they race: a store that checks and writes in two steps lets several win in most of the rounds.
const ROUNDS: usize = 3;

/// How often at most, with rounds that no writer wins.
const MAX_ROUNDS: usize = 9;

/// What a bucket can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abilities {
    /// Why it has no conditional writes; `None` if it has.
    pub unconditional: Option<String>,
    /// Whether it compares what it receives with the SHA-256 that is sent along.
    pub compares_digests: bool,
}

/// Tries everything below `<repository>/probe/`, and removes it afterwards.
///
/// # Errors
/// The bucket cannot be reached, or does not give back what was written.
pub fn probe(bucket: &Bucket, repository: &str) -> anyhow::Result<Abilities> {
    let folder = format!("{repository}/probe/{}/", random_name()?);
    let probe = Probe { bucket, folder };
    let abilities = probe.run();
    probe.clean();
    abilities
}

/// Fails in one sentence unless the bucket can do what a commit needs.
pub fn require(abilities: &Abilities, bucket: &Bucket, is_single_writer: bool) -> anyhow::Result<()> {
    match &abilities.unconditional {
        Some(reason) if !is_single_writer => bail!(
            "`{}` cannot be published to by more than one writer: {reason}\nhint: if this is the only instance that publishes there, set `single_writer: true` in `bucket`; or use a server with conditional writes",
            bucket.url()
        ),
        _ => Ok(()),
    }
}

struct Probe<'a> {
    bucket: &'a Bucket,
    folder: String,
}

impl Probe<'_> {
    fn run(&self) -> anyhow::Result<Abilities> {
        self.check_reading()?;
        let unconditional = match self.sequential()? {
            None => self.races()?,
            some => some,
        };
        Ok(Abilities { unconditional, compares_digests: self.bucket.compares_digests(&self.key("digest"))? })
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.folder)
    }

    /// What was written is there, at once, and in listings.
    fn check_reading(&self) -> anyhow::Result<()> {
        let key = self.key("object");
        let written = upload("written");
        self.bucket.put(&key, &written, Condition::Always)?;
        let name = || self.bucket.object(&key);
        if self.bucket.get(&key)?.bytes != written.bytes {
            bail!("`{}` does not have the bytes that were just written", name());
        }
        let head = self
            .bucket
            .head(&key)?
            .with_context(|| format!("`{}` was just written, but is not there", name()))?;
        if head.size != written.bytes.len() as u64 {
            bail!("`{}` has {} bytes, but {} were just written", name(), head.size, written.bytes.len());
        }
        if !self.bucket.list(&self.folder)?.iter().any(|found| found.key == key) {
            bail!("`{}` was just written, but is not in a listing", name());
        }
        Ok(())
    }

    /// Whether conditions hold for one writer; else what went wrong.
    fn sequential(&self) -> anyhow::Result<Option<String>> {
        let key = self.key("condition");
        let first = match self.bucket.put(&key, &upload("first"), Condition::New) {
            Ok(etag) => etag,
            Err(error) => {
                return Ok(Some(format!("it cannot create an object only if there is none ({error})")));
            }
        };
        let second = upload("second");
        if let Some(reason) = self.expect_refused(
            self.bucket.put(&key, &second, Condition::New),
            BucketErrorKind::Exists,
            "create an object only if there is none",
        )? {
            return Ok(Some(reason));
        }
        let replaced = match self.bucket.put(&key, &second, Condition::Unchanged(&first)) {
            Ok(etag) => etag,
            Err(error) => {
                return Ok(Some(format!("it cannot replace an object only if it is unchanged ({error})")));
            }
        };
        let stale = self.bucket.put(&key, &upload("third"), Condition::Unchanged(&first));
        if let Some(reason) =
            self.expect_refused(stale, BucketErrorKind::Changed, "replace an object only if it is unchanged")?
        {
            return Ok(Some(reason));
        }
        let now = self.bucket.get(&key)?;
        Ok(match now.bytes == second.bytes && now.info.etag.as_deref() == Some(&*replaced) {
            true => None,
            false => Some("a write that it refused has changed the object".to_owned()),
        })
    }

    /// What went wrong, if a write was not refused that must be.
    fn expect_refused(
        &self,
        written: Result<String, BucketError>,
        expected: BucketErrorKind,
        ability: &str,
    ) -> anyhow::Result<Option<String>> {
        match written {
            Err(error) if error.kind == expected => Ok(None),
            Err(error) if error.is_final() => Err(error.into()),
            Err(error) => Ok(Some(format!("it cannot {ability} ({error})"))),
            Ok(_) => Ok(Some(format!("it does not {ability}: the condition was ignored"))),
        }
    }

    /// Whether exactly one of several writers wins; else what went wrong. A round without a winner tells nothing: the answer of the
    /// one that has won was lost, and its second attempt was refused.
    fn races(&self) -> anyhow::Result<Option<String>> {
        let mut decided = 0;
        for round in 0..MAX_ROUNDS {
            let key = self.key(&format!("race-{round}"));
            let created = self.race(&key, Condition::New, "created")?;
            let etag = self.bucket.head(&key)?.and_then(|found| found.etag).unwrap_or_default();
            let replaced = self.race(&key, Condition::Unchanged(&etag), "replaced")?;
            for (winners, what) in [(created, "created"), (replaced, "replaced")] {
                if winners > 1 {
                    return Ok(Some(format!(
                        "{winners} of {RACERS} writers at once {what} the same object, instead of one"
                    )));
                }
            }
            decided += usize::from(created == 1 && replaced == 1);
            if decided == ROUNDS {
                return Ok(None);
            }
        }
        Ok(Some(format!(
            "in {} of {MAX_ROUNDS} races of {RACERS} writers at once for the same object none has won",
            MAX_ROUNDS - decided
        )))
    }

    /// How many of several writers at once succeed. Each writes bytes that were not there before: many stores make the entity tag
    /// of them.
    fn race(&self, key: &str, condition: Condition<'_>, what: &str) -> anyhow::Result<usize> {
        let winners = AtomicUsize::new(0);
        let write = |racer: usize| {
            let written = self.bucket.put(key, &upload(&format!("{what} by {racer}")), condition);
            if written.is_ok() {
                winners.fetch_add(1, Ordering::Relaxed);
            }
        };
        thread::scope(|scope| {
            let others = (1..RACERS).map(|racer| spawn_scoped(scope, move || write(racer)).map(drop));
            others.collect::<Result<(), _>>().map(|()| write(0))
        })?;
        Ok(winners.into_inner())
    }

    /// What stays is removed with other objects that nothing refers to.
    fn clean(&self) {
        for found in self.bucket.list(&self.folder).unwrap_or_default() {
            let _ = self.bucket.delete(&found.key);
        }
    }
}

fn upload(text: &str) -> Upload {
    Upload::new(text.as_bytes().to_vec(), UploadHeaders::default())
}
