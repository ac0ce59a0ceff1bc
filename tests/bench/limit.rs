//! The work that every builder must do, done in the simplest way.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sha2::Digest as _;

use crate::measure::{Measured, Table};
use crate::support::run;
use crate::upstreams::World;

/// The parts of the limit.
pub struct Limit {
    read: Duration,
    hash: Duration,
    write: Duration,
}

impl Limit {
    /// One after the other, as on one processor and one disk.
    pub fn wall(&self) -> Duration {
        self.read + self.hash + self.write
    }

    pub fn print(&self, table: &Table) {
        for (what, wall) in [
            ("limit: git cat-file --batch", self.read),
            ("limit: SHA-1 and SHA-256", self.hash),
            ("limit: write and sync", self.write),
        ] {
            table.row(what, &[Measured { wall, ..Measured::default() }], None);
        }
    }
}

/// Measures the limit for what a world has published.
pub fn of(world: &World) -> Limit {
    let mut read = Duration::ZERO;
    for (repository, commits) in world.commits() {
        read += read_blobs(&repository, &commits);
    }
    let bytes = world.archive_bytes();
    let piece = vec![0x5a_u8; 1 << 20];
    let started = Instant::now();
    let (mut sha1, mut sha256) = (sha1::Sha1::new(), sha2::Sha256::new());
    for _ in 0..bytes >> 20 {
        sha1.update(&piece);
        sha256.update(&piece);
    }
    std::hint::black_box((sha1.finalize(), sha256.finalize()));
    let hash = started.elapsed();
    let path = world.repository().join("limit");
    let started = Instant::now();
    let mut file = File::create(&path).expect("a file");
    for _ in 0..bytes >> 20 {
        file.write_all(&piece).expect("written");
    }
    file.sync_all().expect("synced");
    let write = started.elapsed();
    std::fs::remove_file(&path).expect("removed");
    Limit { read, hash, write }
}

/// Reads each blob of these commits once.
fn read_blobs(repository: &Path, commits: &BTreeSet<String>) -> Duration {
    let mut blobs = BTreeSet::new();
    for commit in commits {
        let listed = run(Command::new("git").current_dir(repository).args(["ls-tree", "-r", commit]));
        let blob = |line: &str| line.split_whitespace().nth(2).map(str::to_owned);
        blobs.extend(listed.lines().filter(|line| line.contains(" blob ")).filter_map(blob));
    }
    let mut ids = String::new();
    for blob in &blobs {
        let _ = writeln!(ids, "{blob}");
    }
    let list = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(list.path(), ids).expect("written");
    let started = Instant::now();
    let status = Command::new("git")
        .current_dir(repository)
        .args(["cat-file", "--batch", "--buffer"])
        .stdin(File::open(list.path()).expect("a file"))
        .stdout(Stdio::null())
        .status();
    assert!(status.expect("git starts").success());
    started.elapsed()
}
