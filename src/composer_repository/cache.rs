//! The answers of a repository, kept for conditional requests: a folder of files named by the digests of their URLs.
//!
//! It can be removed at any time. A file that is damaged counts as none.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::util::digest::Sha256;

pub(super) struct Cache {
    /// Without one, nothing is kept.
    folder: Option<PathBuf>,
    /// The files that were read or written.
    used: Mutex<BTreeSet<PathBuf>>,
}

/// An answer that was kept.
pub(super) struct KeptAnswer {
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

impl Cache {
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, used: Mutex::default() }
    }

    pub(super) fn read(&self, url: &Url) -> Option<KeptAnswer> {
        let mut text = fs::read(self.path(&name(url))?).ok()?;
        let end = text.iter().position(|byte| *byte == b'\n')?;
        let head: Head = serde_json::from_slice(&text[..end]).ok()?;
        let body = text.split_off(end + 1);
        match head.sha256 {
            None => Some(KeptAnswer { validators: head.validators, body: None }),
            Some(sha256) if sha256 == Sha256::digest(&body) => {
                Some(KeptAnswer { validators: head.validators, body: Some(body) })
            }
            Some(_) => None,
        }
    }

    /// Keeps an answer, or that there is none.
    pub(super) fn write(&self, url: &Url, validators: Validators, body: Option<&[u8]>) -> anyhow::Result<()> {
        if self.folder.is_none() {
            return Ok(());
        }
        let mut text = serde_json::to_vec(&Head { validators, sha256: body.map(Sha256::digest) })?;
        text.push(b'\n');
        text.extend(body.unwrap_or_default());
        self.write_named(&name(url), &text)
    }

    /// The text of a named file.
    pub(super) fn read_named(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.path(name)?).ok()
    }

    /// Not synced: a file that a crash leaves damaged is asked for again.
    pub(super) fn write_named(&self, name: &str, text: &[u8]) -> anyhow::Result<()> {
        let Some(path) = self.path(name).filter(|path| !fs::read(path).is_ok_and(|old| old == text)) else {
            return Ok(());
        };
        let failed = || format!("failed to write `{}`", path.display());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(failed)?;
        }
        let temporary = path.with_extension("new");
        fs::write(&temporary, text).with_context(failed)?;
        fs::rename(&temporary, &path).with_context(failed)
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        let path = self.folder.as_ref()?.join(name);
        self.used.lock().insert(path.clone());
        Some(path)
    }

    /// Removes what was not used since the repository was opened.
    pub(super) fn remove_unused(&self) {
        let entries = self.folder.as_ref().and_then(|folder| fs::read_dir(folder).ok());
        let used = self.used.lock();
        for path in entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())) {
            if !used.contains(&path) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// The name of the file of a URL.
fn name(url: &Url) -> String {
    Sha256::digest(url.as_str().as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_answers_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let url = Url::parse("https://h.example/packages.json").unwrap();
        let cache = Cache::new(Some(folder.path().to_owned()));
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
        Cache::new(Some(folder.path().to_owned())).remove_unused();
        assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
    }
}
