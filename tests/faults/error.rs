//! An error at each call that changes the volume: it is reported, nothing is lost, and the next cycle completes.

use std::path::Path;

use crate::oracle::Answers;
use crate::world::{Verdict, World, told};
use crate::{Figures, trace};

const ERRORS: [&str; 4] = ["EIO", "ENOSPC", "EINTR", "EMFILE"];

/// `most` errors in all, then short writes.
pub fn at_each_call(binary: &Path, most: usize) -> Verdict<Figures> {
    let mut figures = Figures::default();
    let mut world = World::published(binary, &["1.0.0", "1.1.0"]);
    world.release("1.2.0");
    let whole = World::published(binary, &["1.0.0", "1.1.0", "1.2.0"]);
    let expected = whole
        .observe()?
        .lasting
        .keys()
        .filter(|p| p.ends_with(".zip"))
        .count();
    let short = most / 10;
    let mut open: Vec<_> = trace::MUTATING
        .iter()
        .flat_map(|call| ERRORS.iter().map(move |error| (*call, *error, 1)))
        .collect();
    while !open.is_empty() && figures.faults < most - short {
        let mut next = Vec::new();
        for (call, error, n) in open {
            if figures.faults >= most - short {
                break;
            }
            world.restore();
            let output = trace::cycle(&world, call, &format!("error={error}"), n);
            let injected = trace::injected(&world);
            if injected.is_empty() {
                continue;
            }
            next.push((call, error, n + 1));
            let volume = world.data().display().to_string();
            if !injected.iter().any(|line| line.contains(&volume)) {
                figures.count("elsewhere", 1);
                continue;
            }
            figures.faults += 1;
            let complete = output.status.code() == Some(0);
            figures.count(if complete { "withstood" } else { "reported" }, 1);
            let at = || format!("{error} at {}: {}", injected.join("; "), told(&output));
            // After a sync that failed nobody knows what the disk has; copies and the record of cycles may be lost.
            let must_tell = call.ends_with("sync")
                && injected.iter().any(|line| {
                    let of = |folder: &str| line.contains(&format!("{volume}/acme/{folder}"));
                    of("") && !of("variants") && !of("status")
                });
            if must_tell && complete {
                return Err(format!(
                    "unreported: exit code 0 although a sync failed\n{}",
                    at()
                ));
            }
            judge(&mut world, &output, expected).map_err(|e| format!("{e}\n{}", at()))?;
        }
        open = next;
    }
    let writes = short_writes(binary, most - figures.faults)?;
    figures.faults += writes.faults;
    figures.count("short writes", writes.faults);
    Ok(figures)
}

/// Either the cycle says in its exit code and its log that something went wrong, or everything is published.
fn judge(world: &mut World, output: &std::process::Output, expected: usize) -> Verdict {
    let before = world.oracle.clone();
    match output.status.code() {
        Some(0) => {
            let answers = world.observe()?;
            let zips = answers
                .lasting
                .keys()
                .filter(|path| path.ends_with(".zip"))
                .count();
            if zips != expected {
                return Err(format!(
                    "unreported: exit code 0, but {zips} of {expected} archives are published"
                ));
            }
        }
        Some(1 | 2) if String::from_utf8_lossy(&output.stderr).contains("rror") => {}
        _ => return Err("unreported: no exit code or no message".into()),
    }
    world.recover()?;
    world.oracle = before;
    Ok(())
}

/// The limit of a file's size makes the kernel write a part, then refuse: no tracer can do that.
pub fn short_writes(binary: &Path, most: usize) -> Verdict<Figures> {
    let mut figures = Figures::default();
    let mut world = World::new(binary);
    ["1.0.0", "1.1.0", "1.2.0"]
        .iter()
        .for_each(|tag| world.release(tag));
    std::fs::create_dir(world.data()).expect("a folder");
    world.save();
    let (mut limit, step) = (1, 12_000 / most.max(1) + 1);
    for _ in 0..most {
        world.restore();
        let mut shell = std::process::Command::new("sh");
        shell.args([
            "-c",
            "trap '' XFSZ; exec prlimit --fsize=\"$0\" \"$@\"",
            &limit.to_string(),
        ]);
        let output = world.mirror_below(shell, "build").output().expect("sh starts");
        if output.status.code() != Some(0) {
            figures.faults += 1;
            if !String::from_utf8_lossy(&output.stderr).contains("rror") {
                return Err(format!(
                    "unreported: file size limited to {limit}: {}",
                    told(&output)
                ));
            }
            world
                .complete()
                .map_err(|e| format!("after a file size limit of {limit}: {e}"))?;
            world.oracle = crate::oracle::Oracle::default();
        }
        limit += step;
    }
    Ok(figures)
}

/// For other classes: everything that a server shows, asked in full.
pub fn still_served(world: &World) -> Verdict {
    let answers = Answers::of(world.port)?;
    world.oracle.require(&answers)
}
