//! Kills of a running mirror and of the processes of its cycles at random moments, and reloads in the midst of cycles: two
//! repositories are built at the same time. The seed determines all but the moments.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::process::Signal;

use crate::Figures;
use crate::fixture::{Verdict, children, send};
use crate::liveness::{BOUND, Live, is_running};
use crate::workers;

/// After so many faults a worker begins with a new mirror, since cycles of many versions take longer.
const FAULTS_PER_MIRROR: usize = 20;

/// A cycle whose process stands still is ended after this time.
const DEADLINE: &str = "25s";

/// Less than that.
const SOON: Duration = Duration::from_secs(20);

/// In microseconds, longer than most cycles take.
const CYCLE: u64 = 250_000;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Child(Signal),
    /// Of both repositories, and of the cycles that follow.
    Children,
    Parent,
    /// Before it is ready.
    StartingParent,
    /// The configuration is loaded again several times, also a broken one.
    Reload,
}

const KINDS: [Kind; 12] = [
    Kind::Child(Signal::KILL),
    Kind::Child(Signal::KILL),
    Kind::Child(Signal::KILL),
    Kind::Child(Signal::ABORT),
    Kind::Child(Signal::TERM),
    Kind::Child(Signal::STOP),
    Kind::Children,
    Kind::Children,
    Kind::Parent,
    Kind::Parent,
    Kind::StartingParent,
    Kind::Reload,
];

pub fn kills(binary: &Path, most: usize) -> Verdict<Figures> {
    let prepare = || Ok((Live::start(binary, DEADLINE)?, 0));
    workers::each(&workers::seeds(most), 2, prepare, |(live, faults), seed, figures| {
        if *faults == FAULTS_PER_MIRROR {
            *live = Live::start(binary, DEADLINE)?;
            *faults = 0;
        }
        *faults += 1;
        let mut rng = Rng::with_seed(*seed);
        let kind = KINDS[rng.usize(0..KINDS.len())];
        inject(live, &mut rng, kind, figures)
            .map_err(|why| workers::with_seed(*seed, &format!("{kind:?}: {why}")))
    })
}

fn inject(live: &mut Live, rng: &mut Rng, kind: Kind, figures: &mut Figures) -> Verdict {
    let version = live.change();
    match kind {
        Kind::Child(signal) => {
            if let Some((child, repository)) = hit(live, rng, signal, figures) {
                figures.faults += 1;
                figures.count("of a child", 1);
                if signal == Signal::STOP && has_clone(live, child) {
                    // The other repository waits for a clone that both share, until this process is ended.
                    figures.count("with a shared clone", 1);
                } else if signal == Signal::STOP {
                    // It delays its own repository only.
                    let other = if repository == "acme" { "closed" } else { "acme" };
                    let what = format!("`{other}` is published beside a process that stands still");
                    live.within(SOON, &what, |live| live.has_good(other, &version))?;
                }
                require_record(live, &repository)?;
            }
        }
        Kind::Children => {
            for _ in 0..rng.usize(2..5) {
                let is_hit = hit(live, rng, Signal::KILL, figures).is_some();
                figures.faults += usize::from(is_hit);
                figures.count("of a child", usize::from(is_hit));
                live.reload();
            }
        }
        Kind::Parent => {
            pause(rng, CYCLE);
            live.kill_server()?;
            live.start_server()?;
            figures.faults += 1;
            figures.count("of a parent", 1);
        }
        Kind::StartingParent => {
            live.kill_server()?;
            let mut mirror = live.fixture.mirror("run");
            let started = mirror.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            let mut started = started.expect("mirror starts");
            pause(rng, CYCLE);
            let _ = started.kill();
            let _ = started.wait();
            live.start_server()?;
            figures.faults += 2;
            figures.count("of a parent", 2);
        }
        Kind::Reload => {
            reload_often(live, rng)?;
            figures.faults += 1;
            figures.count("reloads", 1);
        }
    }
    // After the failure of a cycle the next one follows by itself, in ten seconds.
    let is_hurried = !matches!(kind, Kind::Child(_)) || rng.u8(0..4) > 0;
    if is_hurried {
        live.reload();
    } else {
        figures.count("waited for", 1);
    }
    live.require(&version)?;
    live.require_tool(&version)?;
    live.require_everything()
}

/// Sends a signal to a process of a cycle at a random moment; answers which and whose, if it was still running.
fn hit(live: &mut Live, rng: &mut Rng, signal: Signal, figures: &mut Figures) -> Option<(u32, String)> {
    let parent = live.server().id();
    let began = Instant::now();
    while children(parent).is_empty() && began.elapsed() < Duration::from_secs(3) {
        std::thread::sleep(Duration::from_micros(500));
    }
    pause(rng, CYCLE / 2);
    let running = children(parent);
    let child = *rng.choice(&running).or_else(|| {
        figures.count("too late", 1);
        None
    })?;
    // `mirror cycle REPOSITORY`; empty before the program is loaded.
    let command = std::fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
    let repository = command.split('\0').nth(2).map(str::to_owned);
    let was_running = is_running(child);
    if signal == Signal::STOP && repository.is_none() {
        // Its parent, which waits until the program is loaded, would stand still, too.
        figures.count("too early", 1);
        return None;
    }
    send(child, signal);
    repository.filter(|_| was_running).map(|repository| (child, repository))
}

/// Whether a process has locked a clone. proc(5): in `/proc/locks` the process is the fifth field, `major:minor:inode` the sixth.
fn has_clone(live: &Live, process: u32) -> bool {
    let clones = std::fs::read_dir(live.fixture.data().join("git")).expect("a folder");
    let inodes: Vec<_> = clones.flatten().filter_map(|entry| Some(entry.metadata().ok()?.ino())).collect();
    let locks = std::fs::read_to_string("/proc/locks").expect("the locks of all processes");
    locks.lines().any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let inode = fields.get(5).and_then(|file| file.rsplit(':').next()?.parse().ok());
        fields.get(4) == Some(&&*process.to_string()) && inode.is_some_and(|inode| inodes.contains(&inode))
    })
}

/// The failed cycle is recorded, unless its process had already recorded how it ended. One that stands still ends later.
fn require_record(live: &mut Live, repository: &str) -> Verdict {
    live.within(BOUND, &format!("the end of the cycle of `{repository}` is recorded"), |live| {
        !live.is_recorded_as_running(repository)
    })
}

fn reload_often(live: &mut Live, rng: &mut Rng) -> Verdict {
    let configuration = std::fs::read_to_string(live.fixture.path("mirror.yaml")).expect("a configuration");
    for n in 0..rng.usize(2..6) {
        let text = match rng.u8(0..3) {
            0 => "repositories: 1\n".to_owned(),
            1 => configuration.replace("keep: 3", &format!("keep: {}", n + 4)),
            _ => configuration.clone(),
        };
        live.fixture.write("mirror.yaml", &text);
        live.reload();
        pause(rng, CYCLE);
    }
    live.fixture.write("mirror.yaml", &configuration);
    live.within(BOUND, "the mirror is healthy", |live| {
        live.fixture.mirror("health").output().is_ok_and(|output| output.status.success())
    })
}

fn pause(rng: &mut Rng, most: u64) {
    std::thread::sleep(Duration::from_micros(rng.u64(0..most)));
}
