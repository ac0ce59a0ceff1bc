//! Bundles: what `mirror export` writes and `mirror import` reads, a tar file or a folder with the files of a repository.
//!
//! ```text
//! packages/…      the archives that were chosen
//! ledger.jsonl    the whole ledger
//! follow.json     what else is published, and which releases the bundle leaves out
//! ```
//!
//! Nothing is compressed, so that an archive is read where it is. `follow.json` comes last: a bundle without it ended early.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use super::follow::FOLLOW_FILE;

/// The name of the ledger in a bundle.
pub(super) const LEDGER_FILE: &str = "ledger.jsonl";

/// A file of a folder, or of a tar file.
pub(super) struct Section {
    file: File,
    begin: u64,
    pub(super) size: u64,
}

impl Section {
    /// What is in it from `position` on.
    pub(super) fn read_from(mut self, position: u64) -> io::Result<impl Read + use<>> {
        self.file.seek(SeekFrom::Start(self.begin + position))?;
        Ok(self.file.take(self.size.saturating_sub(position)))
    }
}

/// Where the files of a tar file begin, and their sizes.
pub(super) struct Bundle {
    path: PathBuf,
    files: BTreeMap<String, (u64, u64)>,
}

impl Bundle {
    /// Reads the headers of a tar file.
    ///
    /// # Errors
    /// It cannot be read, or it is no bundle, or not all of one.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let failed = || format!("failed to read `{shown}`");
        let file = File::open(path).with_context(failed)?;
        let length = file.metadata().with_context(failed)?.len();
        let mut tar = tar::Archive::new(file);
        let mut files = BTreeMap::new();
        let foreign = || format!("`{shown}` is not what `mirror export` writes, or is damaged");
        for entry in tar.entries_with_seek().with_context(foreign)? {
            let entry = entry.with_context(foreign)?;
            // A bundle that was unpacked and packed again has folders, too.
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let name = entry.path().with_context(foreign)?;
            let name =
                name.to_str().map(|name| name.trim_start_matches("./").to_owned()).with_context(foreign)?;
            let (begin, size) = (entry.raw_file_position(), entry.size());
            ensure!(
                begin.checked_add(size).is_some_and(|end| end <= length),
                "`{shown}` ends early, in `{name}`\nhint: was it copied completely?"
            );
            if files.insert(name.clone(), (begin, size)).is_some() {
                bail!("`{shown}` has `{name}` twice: it is not what `mirror export` writes");
            }
        }
        let has = |name: &str| files.contains_key(name);
        match (has(LEDGER_FILE), has(FOLLOW_FILE)) {
            (true, true) => Ok(Self { path: path.to_owned(), files }),
            (false, false) if !files.keys().any(|name| name.starts_with("packages/")) => {
                bail!("`{shown}` is not what `mirror export` writes: it has no `{LEDGER_FILE}`")
            }
            _ => bail!("`{shown}` ends early: it has no `{FOLLOW_FILE}`\nhint: was it copied completely?"),
        }
    }

    pub(super) fn section(&self, name: &str) -> anyhow::Result<Option<Section>> {
        let Some((begin, size)) = self.files.get(name).copied() else { return Ok(None) };
        let file =
            File::open(&self.path).with_context(|| format!("failed to read `{}`", self.path.display()))?;
        Ok(Some(Section { file, begin, size }))
    }
}

/// A file of a folder; `None` if there is none.
pub(super) fn section_of_folder(folder: &Path, name: &str) -> anyhow::Result<Option<Section>> {
    let path = folder.join(name);
    let failed = || format!("failed to read `{}`", path.display());
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.with_context(failed)?,
    };
    let size = file.metadata().with_context(failed)?.len();
    Ok(Some(Section { file, begin: 0, size }))
}

/// Writes a bundle. A tar file appears under its name when it is complete.
pub(super) enum BundleWriter {
    Tar { path: PathBuf, unfinished: PathBuf, tar: Box<tar::Builder<BufWriter<File>>> },
    Folder(PathBuf),
}

impl BundleWriter {
    /// Into `path`: a folder if it is one or ends with a slash, else a tar file.
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        if path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return Ok(Self::Folder(path.to_owned()));
        }
        let mut name = path
            .file_name()
            .map(OsStr::to_owned)
            .with_context(|| format!("`{}` names neither a file nor a folder", path.display()))?;
        name.push(".unfinished");
        let unfinished = path.with_file_name(name);
        let file = File::create(&unfinished)
            .with_context(|| format!("failed to create `{}`", unfinished.display()))?;
        let tar = Box::new(tar::Builder::new(BufWriter::with_capacity(1 << 18, file)));
        Ok(Self::Tar { path: path.to_owned(), unfinished, tar })
    }

    /// Adds a file with a date in seconds since 1970.
    pub(super) fn add(
        &mut self,
        name: &str,
        size: u64,
        modified: i64,
        contents: &mut dyn Read,
    ) -> anyhow::Result<()> {
        // A tar file says how long a file is before its contents.
        let contents = &mut Whole { contents, left: size };
        match self {
            Self::Tar { unfinished, tar, .. } => {
                let mut header = tar::Header::new_gnu();
                header.set_size(size);
                header.set_mode(0o644);
                header.set_mtime(u64::try_from(modified).unwrap_or_default());
                tar.append_data(&mut header, name, contents)
                    .with_context(|| format!("failed to write `{name}` into `{}`", unfinished.display()))
            }
            Self::Folder(folder) => write_file(&folder.join(name), contents),
        }
    }

    /// Makes the bundle durable.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        let Self::Tar { path, unfinished, tar } = self else { return Ok(()) };
        let write = || -> io::Result<()> {
            let file = tar.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)
        };
        write().with_context(|| format!("failed to write `{}`", path.display()))
    }

    /// Removes what was written of a tar file.
    pub(super) fn discard(self) {
        if let Self::Tar { unfinished, .. } = self {
            let _ = fs::remove_file(unfinished);
        }
    }
}

/// The contents of a file; fails if they end before its size.
struct Whole<'a> {
    contents: &'a mut dyn Read,
    left: u64,
}

impl Read for Whole<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.contents.read(into)?;
        self.left = self.left.saturating_sub(read as u64);
        match read == 0 && self.left > 0 && !into.is_empty() {
            true => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("it ended {} bytes too early", self.left),
            )),
            false => Ok(read),
        }
    }
}

fn write_file(path: &Path, contents: &mut dyn Read) -> anyhow::Result<()> {
    let mut write = || -> io::Result<()> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".unfinished");
        let unfinished = path.with_file_name(name);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        let mut file = File::create(&unfinished)?;
        io::copy(contents, &mut file)?;
        file.flush()?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    write().with_context(|| format!("failed to write `{}`", path.display()))
}
