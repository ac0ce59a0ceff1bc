//! The commits of a clone whose parents it lacks, in its file `shallow` (gitrepository-layout(5)).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use super::object_id::ObjectId;

const FILE: &str = "shallow";

/// The shallow commits of the clone in `dir`.
pub(super) fn read(dir: &Path) -> io::Result<BTreeSet<ObjectId>> {
    match fs::read_to_string(dir.join(FILE)) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

/// Replaces the file durably. It is written before the objects: a line for an absent commit is harmless, but without a line for
/// a shallow commit, servers would assume that the clone has its parents.
pub(super) fn write(dir: &Path, commits: &BTreeSet<ObjectId>) -> io::Result<()> {
    let text: String = commits.iter().map(|commit| format!("{commit}\n")).collect();
    let (file, new) = (dir.join(FILE), dir.join("shallow.lock"));
    if commits.is_empty() {
        return match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    let mut written = File::create(&new)?;
    written.write_all(text.as_bytes())?;
    written.sync_all()?;
    fs::rename(new, file)
}
