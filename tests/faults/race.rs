//! Three writers at once, and writers that stand still: one wins, the others are refused, nothing is damaged.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::Figures;
use crate::world::{Verdict, World, told};

pub fn writers(binary: &Path, most: usize) -> Verdict<Figures> {
    let mut figures = Figures::default();
    let mut world = World::published(binary, &["1.0.0"]);
    for round in 0..most {
        if round % 20 == 19 {
            world = World::published(binary, &["1.0.0"]);
        }
        world.release(&format!("2.{round}.0"));
        let writers: Vec<_> = (0..3)
            .map(|_| {
                world
                    .mirror("build")
                    .stderr(Stdio::piped())
                    .spawn()
                    .expect("mirror starts")
            })
            .collect();
        let mut won = 0;
        for writer in writers {
            let end = writer.wait_with_output().expect("an end");
            match end.status.code() {
                Some(0) => won += 1,
                _ if is_refused(&end) => figures.count("refused", 1),
                _ => return Err(format!("a writer failed otherwise: {}", told(&end))),
            }
        }
        if won == 0 {
            return Err("no writer won".into());
        }
        figures.faults += 1;
        world.recover()?;
    }
    for (round, call) in CALLS.iter().cycle().take(most.div_ceil(4)).enumerate() {
        world.release(&format!("3.{round}.0"));
        let nth = round / CALLS.len() + 1;
        if round % 2 == 0 {
            paused(&mut world, call, nth, &mut figures)
        } else {
            overtaken(&mut world, call, nth, &mut figures)
        }
        .map_err(|e| format!("a writer stood at {call} number {nth}: {e}"))?;
    }
    Ok(figures)
}

const CALLS: [&str; 6] = ["linkat", "fsync", "rename", "renameat2", "fchmod", "mkdir"];

/// A cycle that stands still for some time at a call.
fn start(world: &World, call: &str, nth: usize) -> Child {
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-e", "signal=none", "-o"])
        .arg(world.path("trace"))
        .args(["-e", &format!("trace={call}"), "-e"])
        .arg(format!(
            "inject={call}:delay_enter={}:when={nth}",
            STANDS.as_micros()
        ));
    world
        .mirror_below(strace, "build")
        .stderr(Stdio::piped())
        .spawn()
        .expect("strace starts")
}

const STANDS: Duration = Duration::from_secs(2);

/// While a writer stands, another one is refused, or has won before it; both leave everything whole.
fn paused(world: &mut World, call: &str, nth: usize, figures: &mut Figures) -> Verdict {
    let writer = start(world, call, nth);
    std::thread::sleep(STANDS / 2);
    let other = world.mirror("build").output().expect("mirror starts");
    let end = writer.wait_with_output().expect("an end");
    for end in [&other, &end] {
        let refused = is_refused(end);
        if end.status.code() != Some(0) && !refused {
            return Err(told(end));
        }
        figures.count("refused", usize::from(refused));
    }
    figures.count("paused", 1);
    world.recover()
}

fn is_refused(end: &Output) -> bool {
    end.status.code() == Some(2) && told(end).contains("another instance")
}

/// The lock of a writer that stands is lost, and another one publishes: the first wakes up late and changes nothing. If it
/// had written nothing yet when it stood, it is the later one of the two, and the other is refused.
#[expect(clippy::zombie_processes, reason = "a failed verdict ends the process")]
fn overtaken(world: &mut World, call: &str, nth: usize, figures: &mut Figures) -> Verdict {
    let mut writer = start(world, call, nth);
    std::thread::sleep(STANDS / 2);
    let _ = std::fs::remove_file(world.data().join("LOCK"));
    let other = world.mirror("build").output().expect("mirror starts");
    if other.status.code() != Some(0) && !is_refused(&other) {
        return Err(format!("the second writer: {}", told(&other)));
    }
    figures.count("refused", usize::from(is_refused(&other)));
    let stands = writer.try_wait().expect("a child").is_none();
    let answers = world.observe()?;
    world.oracle.require(&answers)?;
    world.oracle.admit(&answers)?;
    let end = writer.wait_with_output().expect("an end");
    if !matches!(end.status.code(), Some(0..=2)) {
        return Err(format!("the first writer: {}", told(&end)));
    }
    figures.count("overtaken", usize::from(stands));
    figures.count("told so", usize::from(end.status.code() != Some(0)));
    world.recover()
}
