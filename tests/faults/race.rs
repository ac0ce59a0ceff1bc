//! Three concurrent writers, and paused ones: one wins, the others are refused, nothing is damaged.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::Figures;
use crate::fixture::{Fixture, Verdict, told};

pub fn writers(binary: &Path, most: usize) -> Verdict<Figures> {
    let mut figures = Figures::default();
    let mut fixture = Fixture::published(binary, &["1.0.0"]);
    for round in 0..most {
        if round % 20 == 19 {
            fixture = Fixture::published(binary, &["1.0.0"]);
        }
        fixture.release(&format!("2.{round}.0"));
        let writers: Vec<_> = (0..3)
            .map(|_| fixture.mirror("build").stderr(Stdio::piped()).spawn().expect("mirror starts"))
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
        fixture.recover()?;
    }
    for (round, call) in CALLS.iter().cycle().take(most.div_ceil(4)).enumerate() {
        fixture.release(&format!("3.{round}.0"));
        let nth = round / CALLS.len() + 1;
        if round % 2 == 0 {
            paused(&mut fixture, call, nth, &mut figures)
        } else {
            overtaken(&mut fixture, call, nth, &mut figures)
        }
        .map_err(|e| format!("a writer stood at {call} number {nth}: {e}"))?;
    }
    Ok(figures)
}

const CALLS: [&str; 6] = ["linkat", "fsync", "rename", "renameat2", "fchmod", "mkdir"];

/// A cycle that is paused for some time at a system call.
fn start(fixture: &Fixture, call: &str, nth: usize) -> Child {
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-e", "signal=none", "-o"])
        .arg(fixture.path("trace"))
        .args(["-e", &format!("trace={call}"), "-e"])
        .arg(format!("inject={call}:delay_enter={}:when={nth}", STANDS.as_micros()));
    fixture.mirror_below(strace, "build").stderr(Stdio::piped()).spawn().expect("strace starts")
}

const STANDS: Duration = Duration::from_secs(2);

/// While a writer is paused, another one is refused or has won before it. Both leave everything intact.
fn paused(fixture: &mut Fixture, call: &str, nth: usize, figures: &mut Figures) -> Verdict {
    let writer = start(fixture, call, nth);
    std::thread::sleep(STANDS / 2);
    let other = fixture.mirror("build").output().expect("mirror starts");
    let end = writer.wait_with_output().expect("an end");
    for end in [&other, &end] {
        let refused = is_refused(end);
        if end.status.code() != Some(0) && !refused {
            return Err(told(end));
        }
        figures.count("refused", usize::from(refused));
    }
    figures.count("paused", 1);
    fixture.recover()
}

fn is_refused(end: &Output) -> bool {
    end.status.code() == Some(2) && told(end).contains("another instance")
}

/// A paused writer loses its lock, and another one publishes. The first one continues later and changes nothing. If it
/// had written nothing yet when it was paused, it is the later of the two, and the other is refused.
#[expect(clippy::zombie_processes, reason = "a failed verdict ends the process")]
fn overtaken(fixture: &mut Fixture, call: &str, nth: usize, figures: &mut Figures) -> Verdict {
    let mut writer = start(fixture, call, nth);
    std::thread::sleep(STANDS / 2);
    let _ = std::fs::remove_file(fixture.data().join("LOCK"));
    let other = fixture.mirror("build").output().expect("mirror starts");
    if other.status.code() != Some(0) && !is_refused(&other) {
        return Err(format!("the second writer: {}", told(&other)));
    }
    figures.count("refused", usize::from(is_refused(&other)));
    let stands = writer.try_wait().expect("a child").is_none();
    let answers = fixture.observe()?;
    fixture.oracle.require(&answers)?;
    fixture.oracle.admit(&answers)?;
    let end = writer.wait_with_output().expect("an end");
    if !matches!(end.status.code(), Some(0..=2)) {
        return Err(format!("the first writer: {}", told(&end)));
    }
    figures.count("overtaken", usize::from(stands));
    figures.count("told so", usize::from(end.status.code() != Some(0)));
    fixture.recover()
}
