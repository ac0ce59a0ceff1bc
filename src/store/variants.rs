//! Compressed variants of published files: derived data, which may be lost at any time and is then created again.
//!
//! ```text
//! <repository>/variants/<aa>/<sha256>-<sha256 of the variant>.<br|zst|gz>
//! <repository>/variants/<aa>/<sha256>-none.<br|zst|gz>       an empty file: this coding saves too little
//! ```
//!
//! `<sha256>` is the digest of the published bytes and `<aa>` its first two digits. The name identifies the original and
//! the variant's own bytes, so damage can be detected. Nothing here is synced.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use rustix::io::Errno;
use sha2::Digest as _;

use super::durable_fs;
use super::repository::RepositoryStore;
use crate::util::compression::{Coding, Effort};
use crate::util::digest::Sha256;

/// A variant that is not smaller than this share of the original is not worth decompressing.
const MAX_SIZE_PERCENT: u64 = 95;

/// An unfinished variant of this age is a leftover.
const MAX_COMPRESSION_TIME: Duration = Duration::from_secs(24 * 3600);

/// Replaces the digest in the name if a coding saves too little.
const NONE: &str = "none";

/// A compressed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    pub coding: Coding,
    pub file: PathBuf,
    /// The digest of the variant's bytes, from its name.
    pub sha256: Sha256,
    /// Bytes.
    pub size: u64,
}

/// The variants of one repository, by the SHA-256 of the published bytes.
#[derive(Debug, Default)]
pub struct Variants {
    existing: BTreeMap<Sha256, Vec<Variant>>,
    known: BTreeSet<(Sha256, Coding)>,
}

impl Variants {
    /// The variants of the file with this digest.
    pub fn get(&self, sha256: Sha256) -> &[Variant] {
        self.existing.get(&sha256).map_or(&[], Vec::as_slice)
    }

    /// Whether the variant exists, or is known to save too little.
    pub fn is_known(&self, sha256: Sha256, coding: Coding) -> bool {
        self.known.contains(&(sha256, coding))
    }
}

impl RepositoryStore {
    /// Lists the variants, ignoring other files.
    pub fn variants(&self) -> anyhow::Result<Variants> {
        let mut variants = Variants::default();
        for file in self.variant_files()? {
            let Some((sha256, own, coding)) = parse(&file) else {
                continue;
            };
            variants.known.insert((sha256, coding));
            if let Some(own) = own {
                let size = fs::metadata(&file)
                    .with_context(|| format!("failed to read `{}`", file.display()))?
                    .len();
                variants.existing.entry(sha256).or_default().push(Variant {
                    coding,
                    file,
                    sha256: own,
                    size,
                });
            }
        }
        Ok(variants)
    }

    /// Where a variant is, by the digest of the original and its own.
    pub fn variant_file(&self, original: Sha256, own: Sha256, coding: Coding) -> PathBuf {
        let name = format!("{original}-{own}.{}", coding.extension());
        self.root().join("variants").join(&name[..2]).join(name)
    }

    /// When variants were last added or removed.
    pub fn variants_changed(&self) -> Option<SystemTime> {
        let folders = list(&self.root().join("variants")).unwrap_or_default();
        let changed = |folder: PathBuf| fs::metadata(folder).and_then(|m| m.modified()).ok();
        folders.into_iter().filter_map(changed).max()
    }

    /// Creates one variant of a published file. Nothing is left behind on an error.
    pub fn make_variant(
        &self,
        original: &Path,
        sha256: Sha256,
        coding: Coding,
        effort: Effort,
    ) -> anyhow::Result<()> {
        let name = sha256.to_string();
        let folder = self.root().join("variants").join(&name[..2]);
        fs::create_dir_all(&folder).with_context(|| format!("failed to create `{}`", folder.display()))?;
        let temporary =
            folder.join(format!(".{}-{name}.{}", durable_fs::random_name::<8>()?, coding.extension()));
        let made = encode(original, sha256, coding, effort, &temporary)
            .with_context(|| format!("failed to compress `{}`", original.display()))
            .and_then(|(size, digests)| publish(&temporary, sha256, coding, size, digests));
        if made.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        made
    }

    /// Adds a variant that was made elsewhere.
    pub fn add_variant(
        &self,
        original: Sha256,
        own: Sha256,
        coding: Coding,
        bytes: &[u8],
    ) -> anyhow::Result<()> {
        let target = self.variant_file(original, own, coding);
        let name = format!(".{}-{original}.{}", durable_fs::random_name::<8>()?, coding.extension());
        let temporary = target.with_file_name(name);
        let write = || {
            target.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::write(&temporary, bytes)?;
            fs::rename(&temporary, &target)
        };
        write().with_context(|| format!("failed to write `{}`", target.display()))
    }

    /// Removes `file` if it is a damaged variant of this repository; returns whether it was removed.
    pub fn remove_damaged_variant(&self, file: &Path) -> anyhow::Result<bool> {
        let own = parse(file).and_then(|(_, own, _)| own);
        let Some(own) = own.filter(|_| file.starts_with(self.root().join("variants"))) else {
            return Ok(false);
        };
        let is_damaged = match durable_fs::hash(file) {
            Ok(found) => found != own,
            // Other errors, such as too many open files, are usually temporary.
            Err(error) => {
                let error = error.root_cause().downcast_ref::<io::Error>();
                error.and_then(io::Error::raw_os_error) == Some(Errno::IO.raw_os_error())
            }
        };
        if !is_damaged {
            return Ok(false);
        }
        fs::remove_file(file).with_context(|| format!("failed to remove `{}`", file.display()))?;
        Ok(true)
    }

    /// Removes the variants of all files except `wanted`.
    pub fn prune_variants(&self, wanted: &BTreeSet<Sha256>) -> anyhow::Result<()> {
        for file in self.variant_files()? {
            let unwanted = match parse(&file) {
                Some((sha256, ..)) => !wanted.contains(&sha256),
                None => is_leftover(&file),
            };
            if unwanted {
                fs::remove_file(&file).with_context(|| format!("failed to remove `{}`", file.display()))?;
            }
        }
        Ok(())
    }

    fn variant_files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for folder in list(&self.root().join("variants"))? {
            if folder.is_dir() {
                files.extend(list(&folder)?);
            }
        }
        Ok(files)
    }
}

/// Renames a finished variant, or records that it saves too little.
fn publish(
    temporary: &Path,
    sha256: Sha256,
    coding: Coding,
    original: u64,
    made: durable_fs::Digests,
) -> anyhow::Result<()> {
    let is_worth_it = made.size * 100 < original * MAX_SIZE_PERCENT;
    let own = if is_worth_it { made.sha256.to_string() } else { NONE.to_owned() };
    let target = temporary.with_file_name(format!("{sha256}-{own}.{}", coding.extension()));
    if !is_worth_it {
        fs::remove_file(temporary).with_context(|| format!("failed to remove `{}`", temporary.display()))?;
        return File::create(&target)
            .map(drop)
            .with_context(|| format!("failed to create `{}`", target.display()));
    }
    fs::rename(temporary, &target).with_context(|| format!("failed to rename to `{}`", target.display()))
}

/// Whether an earlier process left this unfinished variant behind.
fn is_leftover(file: &Path) -> bool {
    let is_old = |modified: SystemTime| modified.elapsed().is_ok_and(|age| age > MAX_COMPRESSION_TIME);
    let is_unfinished = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    is_unfinished && fs::metadata(file).and_then(|m| m.modified()).is_ok_and(is_old)
}

fn list(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect()),
    };
    entries.with_context(|| format!("failed to list `{}`", folder.display()))
}

/// The published digest, the variant's own (unless it saves too little), and the coding.
fn parse(file: &Path) -> Option<(Sha256, Option<Sha256>, Coding)> {
    let extension = file.extension()?.to_str()?;
    let coding = Coding::ALL.into_iter().find(|coding| coding.extension() == extension)?;
    let (sha256, own) = file.file_stem()?.to_str()?.split_once('-')?;
    let own = match own {
        NONE => None,
        own => Some(own.parse().ok()?),
    };
    Some((sha256.parse().ok()?, own, coding))
}

/// Compresses into a new file; returns the length of the original, which must have the published digest.
fn encode(
    original: &Path,
    sha256: Sha256,
    coding: Coding,
    effort: Effort,
    temporary: &Path,
) -> anyhow::Result<(u64, durable_fs::Digests)> {
    let file = File::open(original)?;
    let size = file.metadata()?.len();
    let mut from =
        Hashing { file: BufReader::with_capacity(1 << 18, file), hasher: sha2::Sha256::new(), size: 0 };
    let made =
        coding.encode(effort, size, &mut from, durable_fs::HashingFile::create(temporary)?)?.finish()?;
    let found = Sha256(from.hasher.finalize().into());
    ensure!(found == sha256, "its SHA-256 is {found}, not the published {sha256}");
    Ok((from.size, made))
}

struct Hashing {
    file: BufReader<File>,
    hasher: sha2::Sha256,
    size: u64,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        self.size += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Volume;

    #[test]
    fn variants_are_created_listed_pruned_and_match_their_original() {
        let folder = tempfile::tempdir().unwrap();
        let volume = Volume::open(&folder.path().join("data")).unwrap();
        let store = volume.repository("acme").unwrap();
        let text = b"the same again and ".repeat(1000);
        let (original, sha256) = (folder.path().join("a.json"), Sha256::digest(&text));
        fs::write(&original, &text).unwrap();
        for coding in Coding::ALL {
            assert!(!store.variants().unwrap().is_known(sha256, coding));
            store.make_variant(&original, sha256, coding, Effort::Thorough).unwrap();
        }
        let variants = store.variants().unwrap();
        assert_eq!(variants.get(sha256).len(), 3);
        for variant in variants.get(sha256) {
            let bytes = fs::read(&variant.file).unwrap();
            assert_eq!((Sha256::digest(&bytes), bytes.len() as u64), (variant.sha256, variant.size));
            let mut decoded = Vec::new();
            match variant.coding {
                Coding::Brotli => brotli::Decompressor::new(&bytes[..], 4096).read_to_end(&mut decoded),
                Coding::Zstd => zstd::Decoder::new(&bytes[..]).unwrap().read_to_end(&mut decoded),
                Coding::Gzip => flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut decoded),
            }
            .unwrap();
            assert_eq!(decoded, text, "{:?}", variant.coding);
        }

        let [gzip, ..] = variants.get(sha256) else { panic!("there are three") };
        assert!(!store.remove_damaged_variant(&gzip.file).unwrap());
        let mut bytes = fs::read(&gzip.file).unwrap();
        bytes[9] ^= 1;
        fs::write(&gzip.file, bytes).unwrap();
        assert!(!store.remove_damaged_variant(&original).unwrap());
        assert!(store.remove_damaged_variant(&gzip.file).unwrap());
        assert!(!store.variants().unwrap().is_known(sha256, gzip.coding));

        let random: Vec<u8> = (0..100_u32).flat_map(|n| Sha256::digest(&n.to_le_bytes()).0).collect();
        let (noise, noise256) = (folder.path().join("noise"), Sha256::digest(&random));
        fs::write(&noise, &random).unwrap();
        store.make_variant(&noise, noise256, Coding::Zstd, Effort::Fast).unwrap();
        let variants = store.variants().unwrap();
        assert!(variants.is_known(noise256, Coding::Zstd) && variants.get(noise256).is_empty());

        let wrong = store.make_variant(&noise, sha256, Coding::Gzip, Effort::Fast);
        assert!(format!("{:#}", wrong.unwrap_err()).contains("not the published"));
        let names = store.variant_files().unwrap();
        assert!(names.iter().all(|file| parse(file).is_some()), "{names:?}");

        store.prune_variants(&BTreeSet::from([noise256])).unwrap();
        let variants = store.variants().unwrap();
        assert!(variants.get(sha256).is_empty() && variants.is_known(noise256, Coding::Zstd));
    }
}
