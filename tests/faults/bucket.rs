//! Uploads to an object store behind a network that fails, by one mirror and by several at once, with a reader that follows. After
//! each fault `root` names only what is there, whatever was reported as published is, the reader has never seen anything else,
//! and the next upload succeeds.
//!
//! Here uploads and reader are the library's, so that many faults are made in a second; [`processes`] does the same to the
//! program, and kills it.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use jiff::SignedDuration;
use mirror::bucket::Bucket;
use mirror::bucket::garbage::collect;
use mirror::bucket::probe::{probe, require};
use mirror::bucket::reader::{Loaded, LoadedState, load};
use mirror::util::cancel::CancelFlag;

use crate::Figures;
use crate::fixture::Verdict;
use crate::liveness::BOUND;
use crate::support::failing_proxy::{FAULTS, FailingProxy, Plan};
use crate::support::object_store::{ObjectStore, open, open_cancellable};
use crate::workers;

mod history;
pub mod processes;
mod published;

use history::History;

/// The requests that a plan is about: all, those for one kind of object, or those that change something.
const PARTS: [&str; 10] =
    ["", "", "", "/root", "/root", "PUT ", "/packages/", "/packs/", "/ledger/", "/snapshots/"];

/// Of 1,000 requests.
const SHARES: [u64; 5] = [50, 150, 300, 600, 1000];

/// With more faults in a row an upload gives up, which takes a minute.
const MOST: usize = 24;

/// The id of the volume.
const MIRROR: &str = "volume";

/// How many states a race may go on.
const LONGEST: usize = 3;

const READ_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug)]
enum Action {
    Publish,
    /// So many mirrors publish at once.
    Race(usize),
    Collect,
}

const ACTIONS: [Action; 8] = [
    Action::Publish,
    Action::Publish,
    Action::Publish,
    Action::Publish,
    Action::Race(2),
    Action::Race(2),
    Action::Race(4),
    Action::Collect,
];

pub fn faults(binary: &Path, most: usize) -> Verdict<Figures> {
    let history = History::build(binary)?;
    let store = ObjectStore::seaweed();
    let prepare = || Ok(Mirror::new(&history, store.port));
    workers::each(&workers::seeds(most), 4, prepare, |mirror, seed, figures| {
        let mut rng = Rng::with_seed(*seed);
        let action = ACTIONS[rng.usize(0..ACTIONS.len())];
        let plan = plan(&mut rng);
        inject(mirror, &mut rng, action, plan, figures)
            .map_err(|why| workers::with_seed(*seed, &format!("{action:?}, {plan:?}: {why}")))
    })
}

/// A store that ignores conditions is refused, and without the probe the races lose what was published: they can tell. So is one
/// that does not hold them at once.
pub fn control(binary: &Path, most: usize) -> Verdict<Figures> {
    let history = History::build(binary)?;
    let mut figures = Figures::default();
    for store in [ObjectStore::rclone(), ObjectStore::s3s()] {
        control_with(&store, &history, most, &mut figures)?;
    }
    Ok(figures)
}

fn control_with(store: &ObjectStore, history: &History, most: usize, figures: &mut Figures) -> Verdict {
    let bucket = store.bucket("probe");
    let abilities = probe(&bucket, "acme").map_err(|error| format!("{error:#}"))?;
    if require(&abilities, &bucket, false).is_ok() {
        return Err("a store that ignores conditions is not refused".into());
    }
    let (mut mirror, mut races) = (Mirror::new(history, store.port), 0);
    for seed in workers::seeds(most) {
        let mut rng = Rng::with_seed(seed);
        let race = mirror.race(&mut rng, 4, figures);
        (races, figures.faults) = (races + 1, figures.faults + 1);
        if let Err(why) = race.and_then(|()| mirror.require_intact()).and_then(|()| mirror.require_alive()) {
            let is_caught = why.starts_with("lost") || why.starts_with("`root` names what is not there");
            return if is_caught { Ok(()) } else { Err(workers::with_seed(seed, &why)) };
        }
    }
    Err(format!("{races} races on a store that ignores conditions lost nothing"))
}

fn plan(rng: &mut Rng) -> Plan {
    let kind = rng.usize(0..FAULTS.len());
    Plan {
        seed: rng.u64(..),
        kinds: if rng.bool() { &FAULTS } else { &FAULTS[kind..=kind] },
        only: PARTS[rng.usize(0..PARTS.len())],
        share: SHARES[rng.usize(0..SHARES.len())],
        most: rng.usize(1..=MOST),
    }
}

fn inject(mirror: &mut Mirror, rng: &mut Rng, action: Action, plan: Plan, figures: &mut Figures) -> Verdict {
    mirror.proxy.take_requests();
    mirror.proxy.set(Some(plan));
    let done = mirror.beside_a_reader(figures, |mirror, figures| match action {
        Action::Publish => mirror.publish(rng, figures),
        Action::Race(mirrors) => mirror.race(rng, mirrors, figures),
        Action::Collect => mirror.collect(figures),
    });
    let spoiled = mirror.proxy.set(None);
    done?;
    figures.faults += usize::from(spoiled > 0 || matches!(action, Action::Race(_)));
    figures.count("spoiled requests", spoiled);
    mirror.require_intact()?;
    mirror.require_alive()
}

/// A mirror that publishes below a prefix of its own, and what it was told.
struct Mirror<'a> {
    history: &'a History,
    store: u16,
    proxy: FailingProxy,
    prefix: String,
    /// The state that is published next.
    next: usize,
    /// The longest ledger that was reported as published.
    told: &'a [u8],
    /// What the reader has.
    known: Option<Box<LoadedState>>,
}

impl<'a> Mirror<'a> {
    fn new(history: &'a History, store: u16) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        Self {
            history,
            store,
            proxy: FailingProxy::start(store, 0),
            prefix: format!("mirror-{}", COUNT.fetch_add(1, Ordering::Relaxed)),
            next: 0,
            told: &[],
            known: None,
        }
    }

    /// Begins at an empty place when the history is over.
    fn begin_again(&mut self) -> Verdict {
        let loaded = self.known.take().ok_or("the reader has nothing")?;
        published::require_archives(&open(&self.prefix, self.store), &loaded)?;
        *self = Self::new(self.history, self.store);
        Ok(())
    }

    /// Does something while a reader follows through the same network.
    fn beside_a_reader<T>(
        &mut self,
        figures: &mut Figures,
        work: impl FnOnce(&mut Self, &mut Figures) -> Verdict<T>,
    ) -> Verdict<T> {
        let (stop, history) = (CancelFlag::default(), self.history);
        let bucket = open_cancellable(&self.prefix, self.proxy.port, &stop);
        let known = self.known.take();
        let (done, (reader, read)) = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut reader = Reader { known, loads: 0 };
                let mut read = Ok(());
                while read.is_ok() && !stop.is_set() {
                    read = reader.follow(history, &bucket);
                    stop.wait(READ_INTERVAL);
                }
                (reader, read)
            });
            let done = work(self, figures);
            stop.set();
            (done, reader.join().expect("no panic"))
        });
        figures.count("states read meanwhile", reader.loads);
        self.known = reader.known;
        read?;
        done
    }

    fn publish(&mut self, rng: &mut Rng, figures: &mut Figures) -> Verdict {
        let number = self.next;
        self.next += 1;
        let state = self.history.state(number);
        let bucket = open(&self.prefix, self.proxy.port);
        let probes = rng.u8(0..4) == 0;
        let is_conditional = || {
            if probes {
                require(&probe(&bucket, "acme")?, &bucket, false)?;
            }
            Ok(true)
        };
        match state.publish(&bucket, MIRROR, &is_conditional) {
            Ok(_) => {
                self.told = &state.ledger;
                figures.count("withstood", 1);
                Ok(())
            }
            Err(error) => {
                figures.count("named", 1);
                require_passing(&format!("{error:#}"))
            }
        }
    }

    /// Lets several mirrors that have the same beginning publish at once.
    fn race(&mut self, rng: &mut Rng, mirrors: usize, figures: &mut Figures) -> Verdict {
        let are_one = rng.bool();
        let first = self.next;
        let racers: Vec<_> = (0..mirrors)
            .map(|mirror| {
                let id = if are_one { MIRROR.to_owned() } else { format!("{MIRROR}-{mirror}") };
                (first + rng.usize(0..=2), id)
            })
            .collect();
        self.next = racers.iter().map(|(number, _)| number + 1).max().unwrap_or(first);
        let publish = |(number, id): &(usize, String)| {
            let bucket = open(&self.prefix, self.proxy.port);
            self.history.state(*number).publish(&bucket, id, &|| Ok(true))
        };
        let ends: Vec<_> = std::thread::scope(|scope| {
            let racers: Vec<_> = racers.iter().map(|racer| scope.spawn(move || publish(racer))).collect();
            racers.into_iter().map(|racer| racer.join().expect("no panic")).collect()
        });
        for ((number, _), end) in racers.iter().zip(&ends) {
            let ledger = &self.history.state(*number).ledger;
            match end {
                Ok(_) if ledger.len() > self.told.len() => self.told = ledger,
                Ok(_) => {}
                Err(error) => require_passing(&format!("{error:#}"))?,
            }
        }
        let won = ends.iter().filter(|end| end.is_ok()).count();
        figures.count("races", 1);
        figures.count("racers that published", won);
        figures.count("racers that did not", mirrors - won);
        Ok(())
    }

    /// Removes what nothing refers to, however young it is: nobody else publishes.
    fn collect(&mut self, figures: &mut Figures) -> Verdict {
        let bucket = open(&self.prefix, self.proxy.port);
        match collect(&bucket, "acme", SignedDuration::ZERO) {
            Ok(removed) => figures.count("removed objects", removed),
            Err(error) => require_passing(&format!("{error:#}"))?,
        }
        Ok(())
    }

    fn require_intact(&self) -> Verdict {
        let loaded = published::read(&open(&self.prefix, self.store), self.told)?;
        loaded.map_or(Ok(()), |loaded| self.history.require_known(&loaded))
    }

    /// Without faults an upload succeeds, the bucket has it, and the reader reads it.
    fn require_alive(&mut self) -> Verdict {
        let began = Instant::now();
        self.next = self.next.max(1);
        let state = self.history.state(self.next - 1);
        let bucket = open(&self.prefix, self.proxy.port);
        let published = state.publish(&bucket, MIRROR, &|| Ok(true));
        published.map_err(|error| format!("stuck: the upload without a fault failed: {error:#}"))?;
        self.told = &state.ledger;
        self.require_intact()?;
        let mut reader = Reader { known: self.known.take(), loads: 0 };
        reader.follow(self.history, &bucket)?;
        match &reader.known {
            Some(known) if known.ledger_text()[..] == state.ledger => {}
            known => return Err(format!("stuck: the reader has {known:?}")),
        }
        self.known = reader.known;
        if began.elapsed() > BOUND {
            return Err(format!("stuck: the upload without a fault took {:?}", began.elapsed()));
        }
        if self.next + LONGEST > self.history.len() { self.begin_again() } else { Ok(()) }
    }
}

/// Follows a bucket as a replica does.
struct Reader {
    known: Option<Box<LoadedState>>,
    loads: usize,
}

impl Reader {
    fn follow(&mut self, history: &History, bucket: &Bucket) -> Verdict {
        match load(bucket, "acme", self.known.as_deref()) {
            Ok(Loaded::New(loaded)) => {
                history.require_known(&loaded)?;
                let sequence = loaded.root().sequence;
                if self.known.as_ref().is_some_and(|known| known.root().sequence >= sequence) {
                    return Err(format!("wrong: root {sequence} came after a newer one"));
                }
                self.known = Some(loaded);
                self.loads += 1;
                Ok(())
            }
            Ok(Loaded::Unchanged) => Ok(()),
            Ok(Loaded::Nothing) if self.known.is_none() => Ok(()),
            Ok(Loaded::Nothing) => Err("lost: there is nothing any more".into()),
            Err(error) => require_passing(&format!("{error:#}")),
        }
    }
}

/// Fails if an error blames somebody for what only the network did.
fn require_passing(error: &str) -> Verdict {
    let blames = ["another ledger", "never change", "damaged", "is not a root", "has format"];
    match blames.iter().find(|word| error.contains(**word)) {
        Some(_) => Err(format!("wrong: a passing fault is named as {error}")),
        None => Ok(()),
    }
}
