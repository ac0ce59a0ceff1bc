//! Finished archives: checked before they are published with their own bytes.

use std::io::{Cursor, Read as _, copy, sink};

use anyhow::{Context as _, bail};
use zip::ZipArchive;

use crate::composer::{Manifest, PackageName, Version};

/// More than any package of Magento has.
const MOST_ENTRIES: usize = 200_000;
/// Bytes of all files together; more is taken for a bomb.
const MOST_BYTES: u64 = 2 << 30;
const LARGEST_MANIFEST: u64 = 4 << 20;

/// What a finished archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    pub name: PackageName,
    pub version: Version,
}

/// Reads an archive whole and answers what it is.
///
/// # Errors
/// An archive that is damaged, has no manifest at its root, could write outside of its folder, is far larger than a
/// package, or whose manifest Composer would refuse.
pub fn check(bytes: &[u8]) -> anyhow::Result<Artifact> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).context("it is no readable zip archive")?;
    if archive.len() > MOST_ENTRIES {
        bail!("it has {} entries, more than {MOST_ENTRIES}", archive.len());
    }
    let (mut manifest, mut left) = (None, MOST_BYTES);
    for i in 0..archive.len() {
        let mut entry = archive
            .by_index(i)
            .with_context(|| format!("entry {i} cannot be read"))?;
        let name = entry
            .name()
            .context("an entry has a name that is not UTF-8")?
            .into_owned();
        if entry.enclosed_name().is_none() {
            bail!("its entry `{}` would leave the directory", name.escape_debug());
        }
        let read = if name == "composer.json" {
            let mut text = Vec::new();
            let read = (&mut entry).take(LARGEST_MANIFEST + 1).read_to_end(&mut text);
            let read = read.with_context(|| format!("its `{name}` is damaged"))? as u64;
            if read > LARGEST_MANIFEST || manifest.replace(text).is_some() {
                bail!("its composer.json is too large, or is there twice");
            }
            read
        } else {
            copy(&mut (&mut entry).take(left + 1), &mut sink())
                .with_context(|| format!("its `{name}` is damaged"))?
        };
        left = left
            .checked_sub(read)
            .with_context(|| format!("it unpacks to more than {MOST_BYTES} bytes"))?;
    }
    let manifest = Manifest::parse(&manifest.context("it has no composer.json at its root")?)?;
    manifest
        .validate()
        .context("its manifest would break Composer's clients")?;
    Ok(Artifact {
        name: manifest.name()?.context("its manifest has no name")?.parse()?,
        version: manifest
            .version()?
            .context("its manifest has no version")?
            .parse()?,
    })
}
