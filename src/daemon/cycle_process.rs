//! Runs a job in a process of its own.
//!
//! If the process dies, the job has failed, and nothing else happens. The process is terminated, and soon killed, when the mirror
//! stops or its deadline has passed; it ends by itself when the mirror is killed. Both log to the same standard error.

use std::io::{self, Read as _, Write as _};
use std::mem;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, kill_process};

use crate::app::cycle_job::{Job, JobEnd, JobResult, Message};
use crate::cycle::Cancelled;
use crate::status::RunningCycle;
use crate::util::cancel::CancelFlag;
use crate::util::threads;

/// How often the deadline and the stop flag are checked.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How long a terminated process may take to end: less than a stopping mirror waits for its cycles.
const END_GRACE: Duration = Duration::from_millis(700);

/// A service manager signals the mirror and its processes, and the signal to the mirror may take this much longer.
const SIGNAL_DELAY: Duration = Duration::from_secs(2);

/// In bytes. The longest message is the history of a repository that could not be written.
const MAX_MESSAGE: usize = 16 << 20;

/// The running program, even if its file was replaced.
const PROGRAM: &str = "/proc/self/exe";

/// Runs `job` until it ends.
///
/// # Errors
/// [`Cancelled`] when `stop` is set, or why the process died.
pub(super) fn run(
    job: &Job,
    deadline: Duration,
    on_progress: &dyn Fn(RunningCycle),
    stop: &CancelFlag,
) -> anyhow::Result<JobEnd> {
    let mut process = CycleProcess::start(job)?;
    let status = process.watch(deadline, on_progress, stop)?;
    let is_interrupted = match process.end.take() {
        Some(JobEnd { result: JobResult::Interrupted, .. }) => true,
        Some(end) => return Ok(end),
        None => status.code() == Some(128 + libc::SIGTERM),
    };
    if is_interrupted && process.kill_at.is_none() {
        stop.wait(SIGNAL_DELAY);
    }
    if stop.is_set() {
        bail!(Cancelled);
    }
    let at = process
        .source
        .as_ref()
        .map(|source| format!(" while it worked on source `{source}`"))
        .unwrap_or_default();
    bail!(match process.kill_at {
        Some(_) => format!("it took longer than {deadline:?}{at}\nhint: raise `limits.cycle_deadline`"),
        None if process.is_out_of_memory => format!(
            "it needs more than {} MiB of memory{at}\nhint: raise `limits.cycle_memory`, or give the container more memory",
            job.memory.unwrap_or_default() >> 20
        ),
        None if is_interrupted => "its process received SIGTERM".to_owned(),
        None => format!("its process ended by {status}{at}{}", memory_hint(status)),
    })
}

fn memory_hint(status: ExitStatus) -> &'static str {
    match status.signal() == Some(libc::SIGKILL) {
        true => {
            "\nhint: the system does that when memory runs out: give the container more, or lower `limits.cycle_memory`"
        }
        false => "",
    }
}

/// A running process.
struct CycleProcess {
    child: Child,
    messages: Messages,
    /// Keeps the input open: the process ends when it is closed.
    _input: Option<JoinHandle<ChildStdin>>,
    is_out_of_memory: bool,
    /// The source that it works on.
    source: Option<String>,
    end: Option<JobEnd>,
    /// When the process is killed, once it was terminated.
    kill_at: Option<Instant>,
}

impl CycleProcess {
    fn start(job: &Job) -> anyhow::Result<Self> {
        let mut line = serde_json::to_vec(job).context("failed to describe the work to a process")?;
        line.push(b'\n');
        let mut child = Command::new(PROGRAM)
            .arg0("mirror")
            .args(["cycle", &job.repository])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| anyhow!("failed to start a process: {error}\nhint: {}", threads::HINT))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (mut input, output) = input.zip(output).context("failed to connect to a process")?;
        let messages = Messages { output, buffer: Vec::new() };
        let mut process = Self {
            child,
            messages,
            _input: None,
            is_out_of_memory: false,
            source: None,
            end: None,
            kill_at: None,
        };
        // On a thread of its own, because the process may never read it.
        process._input = Some(threads::spawn(move || {
            let _ = input.write_all(&line);
            input
        })?);
        Ok(process)
    }

    /// Receives messages until the process has ended.
    fn watch(
        &mut self,
        deadline: Duration,
        on_progress: &dyn Fn(RunningCycle),
        stop: &CancelFlag,
    ) -> anyhow::Result<ExitStatus> {
        let began = Instant::now();
        loop {
            match self.messages.next()? {
                Next::Message(Message::Progress(progress)) => {
                    self.source.clone_from(&progress.source);
                    on_progress(progress);
                }
                Next::Message(Message::OutOfMemory) => self.is_out_of_memory = true,
                Next::Message(Message::Ended(end)) => self.end = Some(end),
                Next::Nothing => {}
                Next::Closed => match self.child.try_wait().context("failed to wait for a process")? {
                    Some(status) => return Ok(status),
                    None => thread::sleep(Duration::from_millis(1)),
                },
            }
            match self.kill_at {
                None if stop.is_set() || began.elapsed() > deadline => self.terminate(),
                Some(kill_at) if Instant::now() >= kill_at => self.child.kill()?,
                _ => {}
            }
        }
    }

    fn terminate(&mut self) {
        // The process was not waited for yet, so no other one can have its id.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        self.kill_at = Some(Instant::now() + END_GRACE);
    }
}

impl Drop for CycleProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The messages of a process.
struct Messages {
    output: ChildStdout,
    /// The bytes read after the last message.
    buffer: Vec<u8>,
}

enum Next {
    Message(Message),
    /// Nothing within [`POLL_INTERVAL`], or a malformed message.
    Nothing,
    Closed,
}

impl Messages {
    fn next(&mut self) -> anyhow::Result<Next> {
        let mut searched = 0;
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer[searched..]) {
                let rest = self.buffer.split_off(searched + end + 1);
                let line = mem::replace(&mut self.buffer, rest);
                return Ok(serde_json::from_slice(&line).map_or(Next::Nothing, Next::Message));
            }
            searched = self.buffer.len();
            ensure!(searched <= MAX_MESSAGE, "its process sends more than {MAX_MESSAGE} bytes at once");
            let mut output = [PollFd::new(&self.output, PollFlags::IN)];
            if !matches!(poll(&mut output, Some(&POLL_INTERVAL.try_into()?)), Ok(1..)) {
                return Ok(Next::Nothing);
            }
            let mut chunk = [0; 16 << 10];
            match self.output.read(&mut chunk) {
                Ok(0) => return Ok(Next::Closed),
                Ok(length) => self.buffer.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("failed to read from a process"),
            }
        }
    }
}
