//! The answers of a repository, kept for conditional requests: a folder of files named by the digests of their URLs.
//!
//! It can be removed at any time. A file that is damaged counts as none.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::util::digest::Sha256;

pub(super) struct Cache<'a> {
    /// Without one, nothing is kept.
    folder: Option<&'a Path>,
    /// The files that were read or written.
    used: Mutex<BTreeSet<PathBuf>>,
}

/// An answer that was kept.
pub(super) struct Kept {
    pub(super) validators: Validators,
    /// `None` for a URL that was not found.
    pub(super) body: Option<Vec<u8>>,
}

/// What a conditional request repeats.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Validators {
    pub(super) last_modified: Option<String>,
    pub(super) etag: Option<String>,
}

/// The first line of a file.
#[derive(Serialize, Deserialize)]
struct Head {
    #[serde(flatten)]
    validators: Validators,
    /// Of the body after this line.
    sha256: Option<Sha256>,
}

impl<'a> Cache<'a> {
    pub(super) fn new(folder: Option<&'a Path>) -> Self {
        Self { folder, used: Mutex::default() }
    }

    fn path(&self, url: &Url) -> Option<PathBuf> {
        let path = self.folder?.join(Sha256::digest(url.as_str().as_bytes()).to_string());
        self.used.lock().insert(path.clone());
        Some(path)
    }

    pub(super) fn read(&self, url: &Url) -> Option<Kept> {
        let mut text = fs::read(self.path(url)?).ok()?;
        let end = text.iter().position(|byte| *byte == b'\n')?;
        let head: Head = serde_json::from_slice(&text[..end]).ok()?;
        let body = text.split_off(end + 1);
        match head.sha256 {
            None => Some(Kept { validators: head.validators, body: None }),
            Some(sha256) if sha256 == Sha256::digest(&body) => {
                Some(Kept { validators: head.validators, body: Some(body) })
            }
            Some(_) => None,
        }
    }

    /// Keeps an answer, or that there is none.
    pub(super) fn write(&self, url: &Url, validators: Validators, body: Option<&[u8]>) -> anyhow::Result<()> {
        let Some(path) = self.path(url) else { return Ok(()) };
        let mut text = serde_json::to_vec(&Head { validators, sha256: body.map(Sha256::digest) })?;
        text.push(b'\n');
        text.extend(body.unwrap_or_default());
        self.replace(&path, &text)
    }

    /// The text of a named file.
    pub(super) fn read_named(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.named(name)?).ok()
    }

    pub(super) fn write_named(&self, name: &str, text: &[u8]) -> anyhow::Result<()> {
        self.named(name).map_or(Ok(()), |path| self.replace(&path, text))
    }

    fn named(&self, name: &str) -> Option<PathBuf> {
        let path = self.folder?.join(name);
        self.used.lock().insert(path.clone());
        Some(path)
    }

    /// Not synced: a file that a crash leaves damaged is asked for again.
    fn replace(&self, path: &Path, text: &[u8]) -> anyhow::Result<()> {
        if fs::read(path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        let failed = || format!("failed to write `{}`", path.display());
        if let Some(folder) = self.folder {
            fs::create_dir_all(folder).with_context(failed)?;
        }
        let temporary = path.with_extension("new");
        fs::write(&temporary, text).with_context(failed)?;
        fs::rename(&temporary, path).with_context(failed)
    }

    /// Removes what was not used since the repository was opened.
    pub(super) fn remove_unused(&self) {
        let entries = self.folder.and_then(|folder| fs::read_dir(folder).ok());
        let used = self.used.lock();
        for path in entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())) {
            if !used.contains(&path) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_answers_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let url = Url::parse("https://h.example/packages.json").unwrap();
        let cache = Cache::new(Some(folder.path()));
        assert!(cache.read(&url).is_none());
        let validators = Validators { last_modified: Some("yesterday".into()), etag: None };
        cache.write(&url, validators, Some(b"{\n}")).unwrap();
        let kept = cache.read(&url).unwrap();
        assert_eq!(kept.body.as_deref(), Some(&b"{\n}"[..]));
        assert_eq!(kept.validators.last_modified.as_deref(), Some("yesterday"));
        let file = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let text = fs::read(&file).unwrap();
        fs::write(&file, &text[..text.len() - 1]).unwrap();
        assert!(cache.read(&url).is_none());
        cache.write(&url, Validators::default(), None).unwrap();
        assert!(cache.read(&url).unwrap().body.is_none());
        Cache::new(Some(folder.path())).remove_unused();
        assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
    }
}
