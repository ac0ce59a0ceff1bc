//! Exit codes.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Complete,
    Incomplete,
    Failed,
    Usage,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Complete => 0,
            Exit::Incomplete => 1,
            Exit::Failed => 2,
            // EX_USAGE of sysexits.h
            Exit::Usage => 64,
        })
    }
}
