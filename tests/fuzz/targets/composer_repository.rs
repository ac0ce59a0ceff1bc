//! A Composer repository that somebody else has made: however it is, reading it takes a bounded amount of memory, no archive is
//! looked for elsewhere, and what is listed can be asked for.
//!
//! The input is a folder: `packages.json`, then further files, each after a line with its name.
#![no_main]

use std::collections::BTreeSet;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use mirror::composer_repository::{Access, ComposerRepository};
use mirror::config::{Git, Limits};
use mirror::util::cancel::CancelFlag;
use url::Url;

/// What stands before the name of a file.
const NEXT: &[u8] = b"\n-- ";

/// Bytes of metadata that may be read at once.
const LIMIT: usize = 64 << 10;

/// How much more memory reading may take, in kB.
const MEMORY: usize = 32 << 10;

/// Runs `what`, which may take so much memory. With the sanitizers of a fuzzer, its own limit counts.
fn within_memory<T>(what: impl FnOnce() -> T) -> T {
    // proc(5): sets the peak to what is taken now.
    let is_measured = cfg!(not(fuzzing)) && std::fs::write("/proc/self/clear_refs", "5").is_ok();
    let before = resident("VmRSS:");
    let result = what();
    let taken = resident("VmHWM:").saturating_sub(before);
    assert!(!is_measured || taken <= MEMORY, "{taken} kB of memory for {LIMIT} bytes of metadata");
    result
}

/// A line of `/proc/self/status`, in kB.
fn resident(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or_default()
}

/// Writes the files, of which none leaves the folder.
fn write(folder: &Path, input: &[u8]) {
    let mut files = Vec::new();
    let (mut name, mut rest) = ("packages.json".to_owned(), input);
    loop {
        let end = rest.windows(NEXT.len()).position(|window| window == NEXT);
        files.push((name, &rest[..end.unwrap_or(rest.len())]));
        let Some(end) = end else { break };
        rest = &rest[end + NEXT.len()..];
        let line = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        name = String::from_utf8_lossy(&rest[..line]).into_owned();
        rest = &rest[(line + 1).min(rest.len())..];
    }
    for (name, text) in files.iter().take(16) {
        let is_plain =
            |part: &str| !matches!(part, "" | "." | "..") && part.len() < 200 && !part.contains('\0');
        if name.split('/').all(is_plain) && name.split('/').count() < 8 {
            let path = folder.join(name);
            let _ = path.parent().map(std::fs::create_dir_all);
            let _ = std::fs::write(path, text);
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), input);
    let limits = Limits { upstream_metadata: LIMIT, archive: LIMIT, ..Limits::default() };
    let (git, cancel) = (Git::default(), CancelFlag::default());
    let access = Access {
        git: &git,
        limits: &limits,
        cancel: &cancel,
        user_agent: "fuzz".to_owned(),
        cache: None,
        deadline: None,
    };
    let url = Url::from_directory_path(folder.path()).expect("an absolute path");
    let opened = within_memory(|| ComposerRepository::open(&url, access));
    let Ok(repository) = opened else { return };
    let named = |pattern: &str| {
        let pattern = [pattern.parse().expect("a pattern")];
        within_memory(|| repository.names(&pattern)).unwrap_or_default()
    };
    let names: BTreeSet<_> = named("*/*").into_iter().chain(named("a/b")).collect();
    for name in names.iter().take(16) {
        let Ok(versions) = within_memory(|| repository.versions(name, true)) else { continue };
        for version in versions.versions.iter().take(16) {
            assert_eq!(version.name, *name);
            for url in version.urls() {
                let mut archive = Vec::new();
                if let Ok(downloaded) = repository.download(&url, &mut archive) {
                    assert!(archive.len() as u64 == downloaded.size && archive.len() <= LIMIT);
                    let file = Url::parse(&downloaded.url).ok().and_then(|url| url.to_file_path().ok());
                    assert!(file.is_some_and(|file| file.starts_with(folder.path())), "{downloaded:?}");
                }
            }
        }
    }
    let lists = within_memory(|| repository.filter_lists());
    let flagged =
        lists.and_then(|lists| lists.of(&names.iter().cloned().collect::<Vec<_>>())).unwrap_or_default();
    assert!(flagged.keys().all(|name| names.contains(name)));
});
