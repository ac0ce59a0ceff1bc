//! A Composer repository that somebody else has made: however it is, reading it takes a bounded amount of memory, no archive is
//! looked for elsewhere, and what is listed can be asked for.
//!
//! The input is a folder: `packages.json`, then further files, each after a line with its name.
#![no_main]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use libfuzzer_sys::fuzz_target;
use mirror::composer_repository::{Access, ComposerRepository};
use mirror::config::{Git, Limits};
use mirror::util::cancel::CancelFlag;
use url::Url;

/// What stands before the name of a file.
const NEXT: &[u8] = b"\n-- ";

/// Bytes of metadata that may be read at once.
const LIMIT: usize = 64 << 10;

/// The memory that reading takes, for each byte of the limit: a map with one member needs 512 bytes, for which three values count.
const FACTOR: usize = 16;

/// Counts what is allocated.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn add(size: usize) {
    let now = ALLOCATED.fetch_add(size, Ordering::Relaxed) + size;
    PEAK.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: everything is the system's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(size);
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `what`, which may take so many bytes at once.
fn within<T>(bytes: usize, what: impl FnOnce() -> T) -> T {
    let before = ALLOCATED.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = what();
    let taken = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    assert!(taken <= bytes, "{taken} bytes of memory for {LIMIT} bytes of metadata");
    result
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
    let access = Access { git: &git, limits: &limits, cancel: &cancel, user_agent: "fuzz", cache: None };
    let url = Url::from_directory_path(folder.path()).expect("an absolute path");
    let opened = within(FACTOR * LIMIT, || ComposerRepository::open(&url, access));
    let Ok(repository) = opened else { return };
    let named = |pattern: &str| {
        let pattern = [pattern.parse().expect("a pattern")];
        within(FACTOR * LIMIT, || repository.names(&pattern)).unwrap_or_default()
    };
    let names: BTreeSet<_> = named("*/*").into_iter().chain(named("a/b")).collect();
    for name in names.iter().take(16) {
        let Ok(versions) = within(FACTOR * LIMIT, || repository.versions(name, true)) else { continue };
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
    let lists = within(FACTOR * LIMIT, || repository.filter_lists());
    let flagged =
        lists.and_then(|lists| lists.of(&names.iter().cloned().collect::<Vec<_>>())).unwrap_or_default();
    assert!(flagged.keys().all(|name| names.contains(name)));
});
