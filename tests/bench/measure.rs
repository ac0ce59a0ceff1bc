//! The cost of a process, as the kernel counts it.

use crate::support::http::get;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The cost of one process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    pub wall: Duration,
    /// User and system time of all its threads.
    pub cpu: Duration,
    /// Bytes: the largest resident set.
    pub peak: u64,
    /// Bytes that came from the disk, not from the page cache.
    pub read: u64,
    /// Bytes that went to the disk.
    pub written: u64,
}

/// Runs a command to its end. Exit code 1 (failed sources) is accepted.
#[expect(clippy::zombie_processes, reason = "wait4 waits for it")]
pub fn measure(command: &mut Command) -> Measured {
    let started = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = child.spawn().expect("the command starts");
    let (status, usage) = wait(child.id());
    let code = libc::WEXITSTATUS(status);
    assert!(libc::WIFEXITED(status) && code <= 1, "{command:?} ended with {status}");
    Measured { wall: started.elapsed(), ..usage }
}

/// Starts a server and stops it when it is ready, where the wall time ends.
#[expect(clippy::zombie_processes, reason = "wait4 waits for it")]
pub fn ready(command: &mut Command, port: u16) -> Measured {
    let started = Instant::now();
    let mut child = command.stderr(Stdio::piped()).spawn().expect("the server starts");
    let mut log = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("listening") {
        line.clear();
        assert_ne!(log.read_line(&mut line).expect("a log"), 0, "the server ended");
    }
    while get(port, "/-/readyz").status != 200 {
        std::thread::sleep(Duration::from_micros(200));
    }
    let wall = started.elapsed();
    child.kill().expect("killed");
    let (_, usage) = wait(child.id());
    Measured { wall, ..usage }
}

fn wait(id: u32) -> (i32, Measured) {
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: both pointers are to live places of the right types, and all zeros is an rusage.
    let (waited, usage) = unsafe {
        let waited = libc::wait4(id.cast_signed(), &raw mut status, 0, usage.as_mut_ptr());
        (waited, usage.assume_init())
    };
    assert_eq!(waited, id.cast_signed(), "{}", std::io::Error::last_os_error());
    let time =
        |t: libc::timeval| Duration::new(t.tv_sec.unsigned_abs(), t.tv_usec.unsigned_abs() as u32 * 1000);
    let measured = Measured {
        wall: Duration::ZERO,
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        peak: usage.ru_maxrss.unsigned_abs() * 1024,
        read: usage.ru_inblock.unsigned_abs() * 512,
        written: usage.ru_oublock.unsigned_abs() * 512,
    };
    (status, measured)
}

/// Prints rows: the median of the runs and their range.
pub struct Table;

impl Table {
    pub fn new() -> Self {
        println!(
            "{:<34} {:>9} {:>17} {:>8} {:>8} {:>9} {:>9} {:>8}",
            "", "wall s", "(least…most)", "CPU s", "peak MB", "read MB", "write MB", "× limit"
        );
        Self
    }

    pub fn row(&self, what: &str, runs: &[Measured], limit: Option<Duration>) {
        let mut runs = runs.to_vec();
        runs.sort_by_key(|run| run.wall);
        let (middle, least, most) = (runs[runs.len() / 2], runs[0], runs[runs.len() - 1]);
        let mb = |bytes: u64| bytes as f64 / 1e6;
        let ratio = limit
            .map_or(String::new(), |limit| format!("{:.2}", middle.wall.as_secs_f64() / limit.as_secs_f64()));
        let spread = format!("({:.3}…{:.3})", least.wall.as_secs_f64(), most.wall.as_secs_f64());
        println!(
            "{what:<34} {:>9.3} {spread:>17} {:>8.2} {:>8.0} {:>9.0} {:>9.0} {ratio:>8}",
            middle.wall.as_secs_f64(),
            middle.cpu.as_secs_f64(),
            mb(middle.peak),
            mb(middle.read),
            mb(middle.written),
        );
    }
}
