//! Remembers in a file next to the clone how long a busy server asked to be left alone (`Retry-After`), because each cycle is a
//! process of its own and starts again after ten seconds.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The longest time that a server can ask for.
const MAX_WAIT: Duration = Duration::from_secs(60 * 60);

/// The extension of the file that is added to the clone's name.
const EXTENSION: &str = "busy";

/// How much longer to leave the server of the clone in `dir` alone.
pub(super) fn time_left(dir: &Path) -> Option<Duration> {
    let until = fs::read_to_string(dir.with_added_extension(EXTENSION)).ok()?.trim().parse().ok()?;
    let until = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(until))?;
    let left = until.duration_since(SystemTime::now()).ok()?;
    Some(left.min(MAX_WAIT))
}

/// Remembers that the server asked to wait. If that fails, the next cycle asks it too early.
pub(super) fn remember(dir: &Path, wait: Duration) {
    let until = SystemTime::now() + wait.min(MAX_WAIT);
    let until = until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let file = dir.with_added_extension(EXTENSION);
    if let Err(error) = fs::write(&file, format!("{}\n", until.as_secs())) {
        tracing::warn!(file = %file.display(), %error, "failed to remember how long a busy server asks to wait");
    }
}
