//! What tests are made of: git repositories, the program and the server under test, an HTTP client, servers to talk to.

#![allow(dead_code, reason = "each test binary uses its part")]

pub mod certificates;
pub mod env;
pub mod failing_proxy;
pub mod file_server;
pub mod git;
pub mod git_server;
pub mod http;
pub mod local_clone;
pub mod lying_proxy;
pub mod object_store;
pub mod served_mirror;
pub mod server;
pub mod shop;
pub mod sshd;
pub mod store;
pub mod web_server;

use std::process::Command;
use std::time::{Duration, Instant};

/// Waits until `condition` holds. The limit is high because the machine may be busy.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within two minutes");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a program that must succeed and returns what it printed.
pub fn run(command: &mut Command) -> String {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().unwrap_or_else(|error| panic!("{}", missing(&program, &error)));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// The message of a test whose program did not start.
pub fn missing(program: &str, error: &std::io::Error) -> String {
    format!("failed to run `{program}`: {error}\nhint: `tests/run tools` installs what the tests need")
}

/// A port that is free now.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
