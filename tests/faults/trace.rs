//! Faults at system calls, injected by strace. This works with a static binary and needs no code in the program.

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
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-y", "-s", "200", "-e", "signal=none"])
        .arg("-e")
        .arg(format!("trace={call}"))
        .arg("-e")
        .arg(format!("inject={call}:{what}:when={n}"))
        .arg("-o")
        .arg(fixture.path("trace"));
    fixture.mirror_below(strace, "build").output().expect("strace starts")
}

/// strace exits like its child.
pub fn was_killed(output: &Output) -> bool {
    output.status.signal() == Some(9) || output.status.code() == Some(128 + 9)
}

/// The system calls that failed with an injected error.
pub fn injected(fixture: &Fixture) -> Vec<String> {
    let trace = std::fs::read(fixture.path("trace")).unwrap_or_default();
    let lines = String::from_utf8_lossy(&trace).into_owned();
    lines.lines().filter(|line| line.contains("(INJECTED)")).map(str::to_owned).collect()
}
