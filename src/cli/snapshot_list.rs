//! `mirror rollback --list`: the snapshots on the volume, newest first, with what each changed.

use std::collections::BTreeSet;
use std::io::{self, Write as _};

use super::stdout::Stdout;
use super::verify::read_metadata;
use crate::metadata::pages::instant;
use crate::metadata::reader::ArchiveUrls;
use crate::store::RepositoryStore;
use crate::store::snapshot::SnapshotManifest;
use crate::util::text::{first_of, plural};

/// How many changes of a kind a line names; it counts the rest.
const MAX_LISTED: usize = 5;

pub(super) fn print(repository: &str, store: &RepositoryStore) -> anyhow::Result<()> {
    let served = store.newest_snapshot()?.map(|snapshot| snapshot.manifest.number);
    let (mut lines, mut before) = (Vec::new(), None);
    for number in store.snapshot_numbers()? {
        let read = store.load(number).and_then(|snapshot| {
            let (_, versions) = read_metadata(&snapshot)?;
            Ok((snapshot.manifest, versions))
        });
        lines.push(match read {
            Ok((manifest, versions)) => {
                let line = line(&manifest, served == Some(number), &versions, before.as_ref());
                before = Some(versions);
                line
            }
            Err(error) => format!("snapshot {number} cannot be read: {error:#}"),
        });
    }
    if lines.is_empty() {
        lines.push("nothing is published".to_owned());
    }
    let mut lines = lines.iter().rev();
    Ok(lines.try_for_each(|line| -> io::Result<()> { writeln!(Stdout, "{repository}: {line}") })?)
}

/// The date of a snapshot, what it lists, and how that differs from the snapshot before it on the volume.
fn line(
    manifest: &SnapshotManifest,
    is_served: bool,
    versions: &ArchiveUrls,
    before: Option<&ArchiveUrls>,
) -> String {
    let mut marks = Vec::new();
    marks.extend(is_served.then(|| "served".to_owned()));
    marks.extend(manifest.rollback_to.map(|target| format!("rollback to {target}")));
    marks.extend(manifest.rollback_ended.then(|| "end of a rollback".to_owned()));
    let marks = match marks.is_empty() {
        true => String::new(),
        false => format!(" ({})", marks.join(", ")),
    };
    let changes = match before {
        Some(before) => changes(versions, before),
        None => "the oldest one kept".to_owned(),
    };
    format!(
        "snapshot {}, {}{marks}: {}, {}; {changes}",
        manifest.number,
        instant(manifest.time),
        plural(packages(versions).len(), "package"),
        plural(versions.len(), "version"),
    )
}

fn changes(now: &ArchiveUrls, before: &ArchiveUrls) -> String {
    let parts = [
        ("new packages", missing_packages(before, now)),
        ("removed packages", missing_packages(now, before)),
        ("added", versions_where(now, |key, _| !before.contains_key(key))),
        ("removed", versions_where(before, |key, _| !now.contains_key(key))),
        ("other bytes", versions_where(now, |key, sha1| before.get(key).is_some_and(|(_, old)| old != sha1))),
    ];
    let parts: Vec<_> = parts.iter().filter(|(_, names)| !names.is_empty()).map(part).collect();
    match parts.is_empty() {
        true => "the same versions".to_owned(),
        false => parts.join("; "),
    }
}

/// The packages of `of` that `from` lacks.
fn missing_packages(from: &ArchiveUrls, of: &ArchiveUrls) -> Vec<String> {
    packages(of).difference(&packages(from)).map(|name| (*name).to_owned()).collect()
}

/// The versions, with their SHA-1, for which `is` holds.
fn versions_where(versions: &ArchiveUrls, is: impl Fn(&(String, String), &String) -> bool) -> Vec<String> {
    let found = versions.iter().filter(|(key, (_, sha1))| is(key, sha1));
    found.map(|((name, version), _)| format!("{name} {version}")).collect()
}

fn part((what, names): &(&str, Vec<String>)) -> String {
    format!("{what}: {}", first_of(names, MAX_LISTED))
}

fn packages(versions: &ArchiveUrls) -> BTreeSet<&str> {
    versions.keys().map(|(name, _)| name.as_str()).collect()
}
