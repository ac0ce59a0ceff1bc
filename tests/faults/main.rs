//! The fault harness: the real program on real volumes, with faults, judged from outside.
//!
//! ```text
//! cargo test --test faults              each class in its short form
//! cargo test --test faults -- kill      the classes whose name contains a word
//! tests/faults/long                     the long form, with the static release binary
//! ```
//!
//! The oracle is the same for all: what was ever served with 200, or acknowledged by exit code 0, keeps its bytes and
//! does not disappear ([`oracle`]); with faults of the network and of processes, also that nothing is stuck ([`liveness`]).
//! A class that cannot run on a machine fails with the reason. What repeats a violation is part of its message:
//!
//! | variable | |
//! |---|---|
//! | `FAULTS_SEED` | the seed of the first fault or sequence, for classes with seeds |
//! | `FAULTS_AT` | the only fault of `error-at-each-read` |
//! | `FAULTS_COUNT` | the number of faults or sequences of each class |
//! | `FAULTS_JOBS` | how many independent faults are made at once, instead of one or a few for each processor |
//! | `FAULTS_BUG` | the seeded bugs whose name contains this |

#[path = "../support/mod.rs"]
mod support;

mod bucket;
mod composer;
mod disk;
mod error;
mod fixture;
mod flip;
mod follow;
mod full;
mod kill;
mod liveness;
mod network;
mod operation;
mod oracle;
mod power;
mod process;
mod property;
mod proxy;
mod race;
mod read_error;
mod seeded;
mod server_limit;
mod trace;
mod workers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use fixture::Verdict;

/// What a class did.
#[derive(Debug, Default)]
pub struct Figures {
    /// Faults that really happened.
    pub faults: usize,
    more: BTreeMap<&'static str, usize>,
}

impl Figures {
    pub fn count(&mut self, what: &'static str, by: usize) {
        *self.more.entry(what).or_default() += by;
    }

    pub fn add(&mut self, other: Self) {
        self.faults += other.faults;
        other.more.into_iter().for_each(|(what, by)| self.count(what, by));
    }
}

struct Class {
    name: &'static str,
    /// The check and, for each form, the number of faults.
    run: fn(&Path, usize) -> Verdict<Figures>,
    short: usize,
    long: usize,
}

const CLASSES: &[Class] = &[
    Class { name: "kill-at-each-call", run: kill::at_each_call, short: 12, long: 2000 },
    Class { name: "kill-at-random", run: kill::at_random, short: 10, long: 500 },
    Class {
        name: "error-at-each-call",
        run: error::at_each_call,
        short: 20,
        // Some of the short writes have enough space.
        long: 2200,
    },
    Class { name: "error-at-each-read", run: read_error::at_each_read, short: 24, long: 2000 },
    Class { name: "full-volume", run: full::at_each_size, short: 12, long: 400 },
    Class { name: "power-loss", run: power::states, short: 8, long: 2000 },
    Class { name: "flip", run: flip::everywhere, short: 24, long: 2000 },
    Class { name: "race", run: race::writers, short: 8, long: 200 },
    Class { name: "sequences", run: property::sequences, short: 40, long: 20_000 },
    Class { name: "operations", run: operation::sequences, short: 6, long: 1000 },
    Class { name: "network", run: network::faults, short: 12, long: 2000 },
    Class { name: "kill-of-processes", run: process::kills, short: 10, long: 2000 },
    Class { name: "follow", run: follow::faults, short: 16, long: 600 },
    Class { name: "composer", run: composer::faults, short: 16, long: 600 },
    Class { name: "bucket-uploads", run: bucket::faults, short: 24, long: 2000 },
    Class { name: "bucket-processes", run: bucket::processes::faults, short: 8, long: 600 },
    // Ends with the first race that loses something.
    Class { name: "bucket-control", run: bucket::control, short: 200, long: 200 },
    Class { name: "server-limits", run: server_limit::small, short: 8, long: 300 },
    Class {
        name: "seeded-bugs",
        run: seeded::bugs,
        // Each bug is one more build. That all edits apply is checked in any case.
        short: 0,
        long: usize::MAX,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let long = arguments.iter().any(|a| a == "--long");
    let words: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let binary = std::env::var_os("MIRROR_BINARY").map_or(env!("CARGO_BIN_EXE_mirror").into(), PathBuf::from);
    if arguments.iter().any(|a| a == "--list") {
        return ExitCode::SUCCESS;
    }
    if !trace::is_there() {
        eprintln!("faults: strace is missing\nhint: `tests/run faults` installs what the faults need");
        return ExitCode::FAILURE;
    }
    // Overrides the number of faults of each class.
    let count = std::env::var("FAULTS_COUNT").ok().and_then(|n| n.parse().ok());
    let mut failed = false;
    for class in CLASSES {
        if !words.is_empty() && !words.iter().any(|word| class.name.contains(word.as_str())) {
            continue;
        }
        let started = Instant::now();
        let verdict = (class.run)(&binary, count.unwrap_or(if long { class.long } else { class.short }));
        failed |= verdict.is_err();
        print(class.name, &verdict, started.elapsed().as_secs_f64());
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn print(name: &str, verdict: &Verdict<Figures>, seconds: f64) {
    match verdict {
        Ok(figures) => {
            let more: Vec<_> = figures.more.iter().map(|(what, n)| format!("{n} {what}")).collect();
            println!(
                "{name:<20} {:>6} faults, 0 lost, changed, torn or stuck; {} ({seconds:.0} s, {:.0} s for 100)",
                figures.faults,
                more.join(", "),
                100.0 * seconds / figures.faults.max(1) as f64
            );
        }
        Err(why) => println!("{name:<20} FAILED: {why}"),
    }
}
