//! The `mirror` program; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    mirror::cli::main()
}
