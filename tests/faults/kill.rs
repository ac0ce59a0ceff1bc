//! `kill -9` at each call that changes the volume, once and twice in a row, and at random instants under load.

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::oracle::{self, Answers};
use crate::world::{Verdict, World};
use crate::{Figures, trace};

/// At each mutating call of cycles in several situations, `most` kills in all.
pub fn at_each_call(binary: &Path, most: usize) -> Verdict<Figures> {
    let mut figures = Figures::default();
    for (situation, prepare) in SITUATIONS.iter().enumerate() {
        let mut world = prepare(binary);
        // The same share for each situation, and what one leaves over to the next.
        let share = (most - figures.faults).div_ceil(SITUATIONS.len() - situation);
        let until = figures.faults + share;
        let mut open: Vec<(&str, usize)> = trace::MUTATING.iter().map(|call| (*call, 1)).collect();
        while !open.is_empty() && figures.faults < until {
            let mut next = Vec::new();
            for (call, n) in open {
                if figures.faults >= until {
                    break;
                }
                if kill(&mut world, call, n, &mut figures)? {
                    next.push((call, n + 1));
                }
            }
            open = next;
        }
    }
    Ok(figures)
}

const SITUATIONS: [fn(&Path) -> World; 4] = [
    |binary| {
        let world = World::published(binary, &["1.0.0", "1.1.0"]);
        world.release("1.2.0");
        world.release("1.2.1");
        world
    },
    |binary| {
        let world = World::new(binary);
        std::fs::create_dir(world.data()).expect("a folder");
        world.save();
        world.release("1.0.0");
        world.release("1.1.0");
        world
    },
    // Upstream rewrote a release and deleted one.
    |binary| {
        let world = World::published(binary, &["1.0.0", "1.1.0"]);
        world
            .modules
            .write("app/a/code.php", "other bytes")
            .release("1.1.0");
        world.tool.git(&["tag", "-d", "1.0.0"]);
        world.release("2.0.0");
        world
    },
    // A cycle with many calls of each kind.
    |binary| {
        let world = World::published(binary, &["1.0.0"]);
        (0..8).for_each(|patch| world.release(&format!("1.1.{patch}")));
        world
    },
];

/// Kills a cycle at the `n`-th `call` of a thread, every other time again while it recovers; answers whether the call was
/// reached.
fn kill(world: &mut World, call: &str, n: usize, figures: &mut Figures) -> Verdict<bool> {
    world.restore();
    let before = world.oracle.clone();
    let output = trace::cycle(world, call, "signal=KILL", n);
    if !trace::was_killed(&output) {
        return Ok(false);
    }
    figures.faults += 1;
    if figures.faults.is_multiple_of(2) {
        let again = trace::MUTATING[figures.faults / 2 % trace::MUTATING.len()];
        let output = trace::cycle(world, again, "signal=KILL", n / 2 + 1);
        figures.count("twice in a row", usize::from(trace::was_killed(&output)));
    }
    world
        .recover()
        .map_err(|e| format!("killed at {call} number {n}: {e}"))?;
    // The next kill starts from the template, where later releases are not published yet.
    world.oracle = before;
    Ok(true)
}

/// At random instants of cycles, while a client asks for everything from a server that is killed and started, too.
pub fn at_random(binary: &Path, most: usize) -> Verdict<Figures> {
    let mut figures = Figures::default();
    let mut slowest = Duration::ZERO;
    let asked = AtomicU64::new(0);
    let mut round = 0;
    while figures.faults < most {
        round += 1;
        let mut world = World::published(binary, &["1.0.0"]);
        for tag in 0..20 {
            world.release(&format!("2.{round}.{tag}"));
            let server = world.serve()?;
            let (stop, port, oracle) = (AtomicBool::new(false), world.port, world.oracle.clone());
            let (started, wrong) = std::thread::scope(|scope| {
                let client = scope.spawn(|| ask(port, &oracle, &stop, &asked));
                let mut build = world
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
            let again = world.serve().map_err(|e| format!("after the kill: {e}"))?;
            slowest = slowest.max(again.ready_after);
            let answers = Answers::of(world.port).map_err(|e| format!("after the kill: {e}"))?;
            world.oracle.require(&answers)?;
            world.oracle.admit(&answers)?;
            drop(again);
            if tag % 4 == 3 {
                world.complete()?;
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

/// Asks for everything that must be there until told to stop; answers the first wrong answer.
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
