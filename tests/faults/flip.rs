//! Flipped bits and truncated files: a damaged file may be unavailable, but wrong bytes are never served.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mirror::util::digest::Sha256;

use crate::Figures;
use crate::fixture::{Fixture, Verdict};
use crate::oracle;

pub fn everywhere(binary: &Path, most: usize) -> Verdict<Figures> {
    let mut figures = Figures::default();
    let mut fixture = Fixture::new(binary);
    // Every digest that a path was ever served with: after the loss of a snapshot, the previous one is valid.
    let mut known: BTreeMap<String, BTreeSet<Sha256>> = BTreeMap::new();
    for tag in ["1.0.0", "1.1.0", "1.2.0"] {
        fixture.release(tag);
        fixture.complete()?;
        let answers = fixture.observe()?;
        for (path, sha256) in answers.lasting.into_iter().chain(answers.moving) {
            known.entry(path).or_default().insert(sha256);
        }
    }
    fixture.save();
    let mut files = Vec::new();
    list(fixture.data(), &mut files);
    for n in 0..most {
        fixture.restore();
        let file = &files[n % files.len()];
        let what = damage(file, n);
        figures.faults += 1;
        // Every fourth time a cycle runs first, which must not make it worse.
        if n.is_multiple_of(4) {
            let output = fixture.mirror("build").output().expect("mirror starts");
            figures.count("refused by a writer", usize::from(output.status.code() != Some(0)));
        }
        let at = || format!("{what} of {}", file.strip_prefix(fixture.data()).unwrap_or(file).display());
        match fixture.serve_at_all() {
            Err(_) => figures.count("refused by a server", 1),
            Ok((server, _)) => {
                for (path, digests) in &known {
                    match oracle::below(fixture.port, path) {
                        Some((200, body)) if digests.contains(&Sha256::digest(&body)) => {
                            figures.count("right answers", 1);
                        }
                        Some((200, _)) => return Err(format!("wrong bytes: {path} after {}", at())),
                        Some((404, _)) => figures.count("answered 404", 1),
                        Some(_) => figures.count("answered 503", 1),
                        None => return Err(format!("no whole answer for {path} after {}", at())),
                    }
                }
                drop(server);
            }
        }
    }
    Ok(figures)
}

fn damage(file: &Path, n: usize) -> &'static str {
    let mut bytes = std::fs::read(file).expect("a file");
    let what = if bytes.is_empty() || n.is_multiple_of(3) {
        bytes.truncate(fastrand::usize(0..=bytes.len().saturating_sub(1)));
        "truncation"
    } else {
        let at = fastrand::usize(0..bytes.len());
        bytes[at] ^= 1 << fastrand::u8(0..8);
        "flip"
    };
    // In place, as on a failing disk, so that hard links of the file change, too.
    let file = std::fs::OpenOptions::new().write(true).truncate(true).open(file);
    std::io::Write::write_all(&mut file.expect("a file"), &bytes).expect("written");
    what
}

/// The regular files, without the clones, which are a cache.
fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_symlink() || path.ends_with("git") || path.ends_with("LOCK") {
            continue;
        }
        if path.is_dir() {
            list(&path, files);
        } else {
            files.push(path);
        }
    }
    files.sort();
}
