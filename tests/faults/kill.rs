//! `kill -9` at each call that changes the volume, once and twice in a row, and at random instants under load.

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::fixture::{Fixture, Verdict};
use crate::oracle::{self, Answers};
use crate::{Figures, trace};

/// Kills at each mutating system call of cycles in several situations, at most `most` times.
pub fn at_each_call(binary: &Path, most: usize) -> Verdict<Figures> {
    let mut figures = Figures::default();
    for (situation, prepare) in SITUATIONS.iter().enumerate() {
        let mut fixture = prepare(binary);
        // Each situation gets the same share, and what one does not use goes to the next.
        let share = (most - figures.faults).div_ceil(SITUATIONS.len() - situation);
        let until = figures.faults + share;
        let mut open: Vec<(&str, usize)> = trace::MUTATING.iter().map(|call| (*call, 1)).collect();
        while !open.is_empty() && figures.faults < until {
            let mut next = Vec::new();
            for (call, n) in open {
                if figures.faults >= until {
                    break;
                }
                if kill(&mut fixture, call, n, &mut figures)? {
                    next.push((call, n + 1));
                }
            }
            open = next;
        }
    }
    Ok(figures)
}

const SITUATIONS: [fn(&Path) -> Fixture; 4] = [
    |binary| {
        let fixture = Fixture::published(binary, &["1.0.0", "1.1.0"]);
        fixture.release("1.2.0");
        fixture.release("1.2.1");
        fixture
    },
    |binary| {
        let fixture = Fixture::new(binary);
        std::fs::create_dir(fixture.data()).expect("a folder");
        fixture.save();
        fixture.release("1.0.0");
        fixture.release("1.1.0");
        fixture
    },
    // Upstream rewrote a release and deleted one.
    |binary| {
        let fixture = Fixture::published(binary, &["1.0.0", "1.1.0"]);
        fixture.modules.write("app/a/code.php", "other bytes").release("1.1.0");
        fixture.tool.git(&["tag", "-d", "1.0.0"]);
        fixture.release("2.0.0");
        fixture
    },
    // A cycle with many calls of each kind.
    |binary| {
        let fixture = Fixture::published(binary, &["1.0.0"]);
        (0..8).for_each(|patch| fixture.release(&format!("1.1.{patch}")));
        fixture
    },
];

/// Kills a cycle at the `n`-th `call` of a thread, every other time again while it recovers; answers whether the call was
/// reached.
fn kill(fixture: &mut Fixture, call: &str, n: usize, figures: &mut Figures) -> Verdict<bool> {
    fixture.restore();
    let before = fixture.oracle.clone();
    let output = trace::cycle(fixture, call, "signal=KILL", n);
    if !trace::was_killed(&output) {
        return Ok(false);
    }
    figures.faults += 1;
    if figures.faults.is_multiple_of(2) {
        let again = trace::MUTATING[figures.faults / 2 % trace::MUTATING.len()];
        let output = trace::cycle(fixture, again, "signal=KILL", n / 2 + 1);
        figures.count("twice in a row", usize::from(trace::was_killed(&output)));
    }
    fixture.recover().map_err(|e| format!("killed at {call} number {n}: {e}"))?;
    // The next kill starts from the template, where later releases are not published yet.
    fixture.oracle = before;
    Ok(true)
}

/// Kills at random moments of cycles, while a client requests everything from a server that is killed and restarted, too.
pub fn at_random(binary: &Path, most: usize) -> Verdict<Figures> {
    let mut figures = Figures::default();
    let mut slowest = Duration::ZERO;
    let asked = AtomicU64::new(0);
    let mut round = 0;
    while figures.faults < most {
        round += 1;
        let mut fixture = Fixture::published(binary, &["1.0.0"]);
        for tag in 0..20 {
            fixture.release(&format!("2.{round}.{tag}"));
            let server = fixture.serve()?;
            let (stop, port, oracle) = (AtomicBool::new(false), fixture.port, fixture.oracle.clone());
            let (started, wrong) = std::thread::scope(|scope| {
                let client = scope.spawn(|| ask(port, &oracle, &stop, &asked));
                let mut build = fixture
                    .mirror("build")
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .expect("mirror starts");
                let started = Instant::now();
                std::thread::sleep(Duration::from_micros(fastrand::u64(0..60_000)));
                let running = build.try_wait().expect("a child").is_none();
                build.kill().expect("killed");
                let _ = build.wait();
                figures.count("a cycle was running", usize::from(running));
                drop(server);
                stop.store(true, Ordering::Relaxed);
                (started, client.join().expect("the client"))
            });
            let _ = started;
            if let Some(wrong) = wrong {
                return Err(wrong);
            }
            figures.faults += 2;
            let again = fixture.serve().map_err(|e| format!("after the kill: {e}"))?;
            slowest = slowest.max(again.ready_after);
            let answers = Answers::of(fixture.port).map_err(|e| format!("after the kill: {e}"))?;
            fixture.oracle.require(&answers)?;
            fixture.oracle.admit(&answers)?;
            drop(again);
            if tag % 4 == 3 {
                fixture.complete()?;
            }
        }
    }
    if slowest > Duration::from_secs(2) {
        return Err(format!("ready only after {slowest:?}"));
    }
    figures.count("answers under load", asked.into_inner() as usize);
    figures.count("slowest start in ms", slowest.as_millis() as usize);
    Ok(figures)
}

/// Requests everything that must be served until it is stopped, and returns the first wrong response.
fn ask(port: u16, oracle: &oracle::Oracle, stop: &AtomicBool, asked: &AtomicU64) -> Option<String> {
    loop {
        for (path, sha256) in oracle.paths() {
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            let Some((status, body)) = oracle::below(port, path) else {
                continue;
            };
            asked.fetch_add(1, Ordering::Relaxed);
            if status != 200 || mirror::util::digest::Sha256::digest(&body) != sha256 {
                return Some(format!("{path} was answered {status} under load"));
            }
        }
    }
}
