//! What an operator reads: the log, as text on a terminal and as JSON lines elsewhere.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Sets the log up, on standard error; `RUST_LOG` chooses other levels.
pub fn init_logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    let terminal = std::io::stderr().is_terminal();
    if terminal {
        log.with_ansi(std::env::var_os("NO_COLOR").is_none()).init();
    } else {
        log.json().flatten_event(true).init();
    }
}
