//! Real things for tests to talk to: git repositories, a git server over http and https, an ssh server.

#![allow(dead_code, reason = "each test binary uses its part")]

pub mod fetch;
pub mod git;
pub mod http;
pub mod lab;
pub mod published;
pub mod server;
pub mod serving;
pub mod ssh;
pub mod tls;

use std::process::{Command, Output};

/// Runs `command`; a program that is not there is named with the package that has it.
pub fn run(command: &mut Command, package: &str) -> Output {
    let output = command.output().unwrap_or_else(|error| {
        panic!(
            "failed to run {:?} (is the package `{package}` installed?): {error}",
            command.get_program()
        )
    });
    assert!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
