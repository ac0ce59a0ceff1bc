//! Faults at system calls, injected by strace. This works with a static binary and needs no code in the program.

use std::collections::HashMap;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output};

use crate::fixture::Fixture;

/// System calls that change a volume or make changes durable.
pub const MUTATING: [&str; 26] = [
    "openat",
    "write",
    "pwrite64",
    "writev",
    "fsync",
    "fdatasync",
    "ftruncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "rmdir",
    "mkdir",
    "mkdirat",
    "symlink",
    "symlinkat",
    "chmod",
    "fchmod",
    "fchmodat",
    "utimensat",
    "flock",
    "copy_file_range",
];

pub fn is_there() -> bool {
    Command::new("strace").arg("-V").output().is_ok_and(|o| o.status.success())
}

/// A cycle in which each thread's `n`-th `call` gets `what`.
pub fn cycle(fixture: &Fixture, call: &str, what: &str, n: usize) -> Output {
    let strace = injecting(fixture, call, what, &n.to_string());
    fixture.mirror_below(strace, "build").output().expect("strace starts")
}

/// strace, giving `what` to those calls of each thread that `when` numbers.
pub fn injecting(fixture: &Fixture, call: &str, what: &str, when: &str) -> Command {
    let mut strace = recording(fixture, call);
    strace.arg("-e").arg(format!("inject={call}:{what}:when={when}"));
    strace
}

/// strace, recording these calls.
pub fn recording(fixture: &Fixture, calls: &str) -> Command {
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-y", "-s", "200", "-e", "signal=none", "-e"])
        .arg(format!("trace={calls}"))
        .arg("-o")
        .arg(fixture.path("trace"));
    strace
}

/// The calls that were recorded: the name, its number among those of its thread, and what strace says of it.
pub fn calls(fixture: &Fixture) -> Vec<(String, usize, String)> {
    let mut counts = HashMap::<(String, String), usize>::new();
    let lines = recorded(fixture);
    let call = |line: &String| {
        let (thread, rest) = line.trim_start().split_once(' ')?;
        let (name, _) = rest.trim_start().split_once('(')?;
        // The second line of a call that was interrupted by another thread's begins with `<...`.
        let is_call = !name.contains([' ', '<']);
        is_call.then(|| {
            let count = counts.entry((thread.to_owned(), name.to_owned())).or_default();
            *count += 1;
            (name.to_owned(), *count, line.clone())
        })
    };
    lines.iter().filter_map(call).collect()
}

fn recorded(fixture: &Fixture) -> Vec<String> {
    let trace = std::fs::read(fixture.path("trace")).unwrap_or_default();
    String::from_utf8_lossy(&trace).lines().map(str::to_owned).collect()
}

/// strace exits like its child.
pub fn was_killed(output: &Output) -> bool {
    output.status.signal() == Some(9) || output.status.code() == Some(128 + 9)
}

/// The system calls that failed with an injected error.
pub fn injected(fixture: &Fixture) -> Vec<String> {
    recorded(fixture).into_iter().filter(|line| line.contains("(INJECTED)")).collect()
}
