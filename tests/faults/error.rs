//! An error at each system call that changes the volume: it is reported, nothing is lost, and the next cycle completes.

use std::path::Path;

use crate::fixture::{Fixture, Verdict, told};
use crate::oracle::Answers;
use crate::{Figures, trace};

const ERRORS: [&str; 4] = ["EIO", "ENOSPC", "EINTR", "EMFILE"];

/// `most` errors in all, then short writes.
pub fn at_each_call(binary: &Path, most: usize) -> Verdict<Figures> {
    let mut figures = Figures::default();
    let mut fixture = Fixture::published(binary, &["1.0.0", "1.1.0"]);
    fixture.release("1.2.0");
    let whole = Fixture::published(binary, &["1.0.0", "1.1.0", "1.2.0"]);
    let expected = whole.observe()?.lasting.keys().filter(|p| p.ends_with(".zip")).count();
    let short = most / 10;
    let mut open: Vec<_> =
        trace::MUTATING.iter().flat_map(|call| ERRORS.iter().map(move |error| (*call, *error, 1))).collect();
    while !open.is_empty() && figures.faults < most - short {
        let mut next = Vec::new();
        for (call, error, n) in open {
            if figures.faults >= most - short {
                break;
            }
            fixture.restore();
            let output = trace::cycle(&fixture, call, &format!("error={error}"), n);
            let injected = trace::injected(&fixture);
            if injected.is_empty() {
                continue;
            }
            next.push((call, error, n + 1));
            let volume = fixture.data().display().to_string();
            if !injected.iter().any(|line| line.contains(&volume)) {
                figures.count("elsewhere", 1);
                continue;
            }
            figures.faults += 1;
            let complete = output.status.code() == Some(0);
            figures.count(if complete { "withstood" } else { "reported" }, 1);
            let at = || format!("{error} at {}: {}", injected.join("; "), told(&output));
            // After a failed sync the state of the disk is unknown; copies and the record of cycles may be lost.
            let must_tell = call.ends_with("sync")
                && injected.iter().any(|line| {
                    let of = |folder: &str| line.contains(&format!("{volume}/acme/{folder}"));
                    of("") && !of("variants") && !of("status")
                });
            if must_tell && complete {
                return Err(format!("unreported: exit code 0 although a sync failed\n{}", at()));
            }
            judge(&mut fixture, &output, expected).map_err(|e| format!("{e}\n{}", at()))?;
        }
        open = next;
    }
    let writes = short_writes(binary, most - figures.faults)?;
    figures.faults += writes.faults;
    figures.count("short writes", writes.faults);
    Ok(figures)
}

/// Either the exit code and the log report an error, or everything is published.
fn judge(fixture: &mut Fixture, output: &std::process::Output, expected: usize) -> Verdict {
    let before = fixture.oracle.clone();
    match output.status.code() {
        Some(0) => {
            let answers = fixture.observe()?;
            let zips = answers.lasting.keys().filter(|path| path.ends_with(".zip")).count();
            if zips != expected {
                return Err(format!(
                    "unreported: exit code 0, but {zips} of {expected} archives are published"
                ));
            }
        }
        Some(1 | 2) if reports_error(output) => {}
        _ => return Err("unreported: no exit code or no message".into()),
    }
    fixture.recover()?;
    fixture.oracle = before;
    Ok(())
}

/// Whether the log has an error, or the last line says what failed.
pub fn reports_error(output: &std::process::Output) -> bool {
    let log = String::from_utf8_lossy(&output.stderr);
    ["ERROR", "failed to ", "is damaged", "is refused"].iter().any(|word| log.contains(word))
}

/// A limit on file sizes makes the kernel write a part and then refuse, which no tracer can do.
pub fn short_writes(binary: &Path, most: usize) -> Verdict<Figures> {
    let mut figures = Figures::default();
    let mut fixture = Fixture::new(binary);
    ["1.0.0", "1.1.0", "1.2.0"].iter().for_each(|tag| fixture.release(tag));
    std::fs::create_dir(fixture.data()).expect("a folder");
    fixture.save();
    let (mut limit, step) = (1, 12_000 / most.max(1) + 1);
    for _ in 0..most {
        fixture.restore();
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; exec prlimit --fsize=\"$0\" \"$@\"", &limit.to_string()]);
        let output = fixture.mirror_below(shell, "build").output().expect("sh starts");
        if output.status.code() != Some(0) {
            figures.faults += 1;
            if !reports_error(&output) {
                return Err(format!("unreported: file size limited to {limit}: {}", told(&output)));
            }
            fixture.complete().map_err(|e| format!("after a file size limit of {limit}: {e}"))?;
            fixture.oracle = crate::oracle::Oracle::default();
        }
        limit += step;
    }
    Ok(figures)
}

/// For other classes: requests everything that a server has.
pub fn still_served(fixture: &Fixture) -> Verdict {
    let answers = Answers::of(fixture.port)?;
    fixture.oracle.require(&answers)
}
