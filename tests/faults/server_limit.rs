//! The server with few descriptors or little memory: it refuses to start with a message, or it serves the right bytes, answers
//! 503 while it lacks something, and serves everything again afterwards.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use mirror::util::digest::Sha256;
use rustix::process::Signal;

use crate::fixture::{Fixture, Verdict};
use crate::liveness::BOUND;
use crate::{Figures, oracle, workers};

/// With so much memory, in MiB, the server must not fail; with less it does not start.
const ENOUGH_MEMORY: u64 = 48;

/// With less, the process of a cycle may find none for the signal stack of a thread, where Rust's library panics.
const ENOUGH_FOR_CYCLES: u64 = 96;

/// With so many descriptors the server must become ready.
const ENOUGH_DESCRIPTORS: u64 = 64;

#[derive(Clone, Copy, Debug)]
enum Limit {
    Descriptors(u64),
    /// Of RLIMIT_DATA, in MiB.
    Memory(u64),
}

pub fn small(binary: &Path, most: usize) -> Verdict<Figures> {
    let prepare = || {
        let fixture = Fixture::published(binary, &["1.0.0", "1.1.0"]);
        fixture.release("1.2.0");
        Ok(fixture)
    };
    workers::each(&workers::seeds(most), 1, prepare, |fixture, seed, figures| {
        let mut rng = Rng::with_seed(*seed);
        let limit = match rng.bool() {
            true => Limit::Descriptors(rng.u64(8..160)),
            false => Limit::Memory(rng.u64(2..160)),
        };
        let command = if rng.u8(0..3) == 0 { "serve" } else { "run" };
        fixture.restore();
        figures.faults += 1;
        figures.count(if matches!(limit, Limit::Memory(_)) { "of memory" } else { "of descriptors" }, 1);
        inject(fixture, limit, command, figures)
            .map_err(|why| workers::with_seed(*seed, &format!("`mirror {command}`, {limit:?}: {why}")))
    })
}

fn inject(fixture: &mut Fixture, limit: Limit, command: &str, figures: &mut Figures) -> Verdict {
    let mut prlimit = Command::new("prlimit");
    let (argument, is_enough) = match limit {
        Limit::Descriptors(count) => (format!("--nofile={count}:{count}"), count >= ENOUGH_DESCRIPTORS),
        Limit::Memory(mib) => (format!("--data={0}:{0}", mib << 20), mib >= ENOUGH_MEMORY),
    };
    prlimit.arg(argument);
    let launched = fixture.launch(fixture.mirror_below(prlimit, command), Duration::from_secs(5));
    let (mut server, is_ready) = match launched {
        Ok(launched) => launched,
        // The message is the log.
        Err(_) if is_enough => return launched.map(drop),
        Err(message) if is_explained(&message) => {
            figures.count("refused to start", 1);
            return Ok(());
        }
        Err(message) => return Err(format!("no explanation: {message}")),
    };
    if !is_ready {
        let is_running = server.is_running();
        let log = server.stop();
        return match () {
            () if is_enough => Err(format!("not ready: {log}")),
            () if !is_explained(&log) => Err(format!("no explanation: {log}")),
            () => {
                figures.count(if is_running { "not ready" } else { "ended" }, 1);
                Ok(())
            }
        };
    }
    let answers = overload(fixture, limit)?;
    figures.count("answers under load", answers);
    let began = Instant::now();
    let is_whole = loop {
        let is_whole = fixture.oracle.paths().all(|(path, sha256)| {
            oracle::below(fixture.port, path)
                .is_some_and(|(status, body)| status == 200 && Sha256::digest(&body) == sha256)
        });
        if is_whole || !server.is_running() || began.elapsed() > BOUND {
            break is_whole;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    // A new version is published, or the log says why it is not.
    server.signal(Signal::HUP);
    let began = Instant::now();
    let is_published =
        || oracle::below(fixture.port, "packages/acme/a-1.2.0.zip").is_some_and(|a| a.0 == 200);
    while command == "run"
        && server.is_running()
        && !is_published()
        && began.elapsed() < Duration::from_secs(5)
    {
        std::thread::sleep(Duration::from_millis(50));
    }
    let (is_running, is_published) = (server.is_running(), is_published());
    let log = server.stop();
    let may_panic = matches!(limit, Limit::Memory(mib) if mib < ENOUGH_FOR_CYCLES);
    if log.contains("panicked") && !may_panic {
        return Err(format!("a panic: {log}"));
    }
    if ["\"failed to serve\"", "without a compressed variant"].iter().any(|text| log.contains(text)) {
        return Err(format!("a file is taken for damaged: {log}"));
    }
    if !is_running && !is_enough && is_explained(&log) {
        figures.count("ended", 1);
        return Ok(());
    }
    if !is_running || !is_whole {
        return Err(format!("{}: {log}", if is_running { "not served again" } else { "the server ended" }));
    }
    if command == "run" && !is_published && !is_explained(&log) {
        return Err(format!("the cycle failed without a message: {log}"));
    }
    figures.count("served", 1);
    figures.count("published", usize::from(is_published && command == "run"));
    fixture.oracle.require(&fixture.observe()?)
}

/// Idle connections, more than there are descriptors, and downloads beside them. Fails on a wrong answer.
fn overload(fixture: &Fixture, limit: Limit) -> Verdict<usize> {
    let idle = match limit {
        Limit::Descriptors(count) => usize::try_from(count).expect("a small number") * 2,
        Limit::Memory(_) => 200,
    };
    let address = ([127, 0, 0, 1], fixture.port).into();
    let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
    let connections: Vec<_> = (0..idle).map_while(connect).collect();
    let (stop, wrong) = (AtomicBool::new(false), std::sync::Mutex::new(None));
    let download = || {
        let mut answers = 0;
        while !stop.load(Ordering::Relaxed) {
            for (path, sha256) in fixture.oracle.paths() {
                let Some((status, body)) = oracle::below(fixture.port, path) else { continue };
                answers += 1;
                if status != 503 && (status != 200 || Sha256::digest(&body) != sha256) {
                    *wrong.lock().expect("no panic") = Some(format!("{path} was answered {status}"));
                    return answers;
                }
            }
        }
        answers
    };
    let answers = std::thread::scope(|scope| {
        let downloads: Vec<_> = (0..8).map(|_| scope.spawn(download)).collect();
        std::thread::sleep(Duration::from_millis(500));
        drop(connections);
        std::thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        downloads.into_iter().map(|download| download.join().expect("no panic")).sum()
    });
    match wrong.into_inner().expect("no panic") {
        Some(wrong) => Err(format!("wrong: {wrong}")),
        None => Ok(answers),
    }
}

fn is_explained(log: &str) -> bool {
    ["ERROR", "WARN", "failed to", "memory allocation", "cannot", "\nhint: "]
        .iter()
        .any(|word| log.contains(word))
}
