//! Checks prebuilt archives before they are published with their own bytes.

use std::io::{Cursor, Read as _, copy, sink};

use anyhow::{Context as _, bail, ensure};
use zip::ZipArchive;

use super::{limits, path_checks};
use crate::composer::{Manifest, PackageName, Version};
use crate::config::Limits;

/// Name and version of a prebuilt archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrebuiltArchive {
    pub name: PackageName,
    pub version: Version,
}

/// Reads a whole archive and returns its name and version.
///
/// # Errors
/// An archive that is damaged or beyond the limits, that has no manifest at its root or one that Composer would reject, or
/// whose entries overlap, share a name, or would be extracted outside of the package's folder.
pub fn check(bytes: &[u8], limits: &Limits) -> anyhow::Result<PrebuiltArchive> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).context("not a readable zip archive")?;
    let entries = archive.len();
    limits::check_entries(limits, entries)?;
    ensure!(
        listed_entries(bytes).is_none_or(|listed| listed == entries % (1 << 16)),
        "two of its entries have the same name"
    );
    let (mut manifest, mut left) = (None, limits.package as u64);
    let (mut names, mut extents) = (Vec::new(), Vec::new());
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).with_context(|| format!("failed to read entry {i}"))?;
        let name = entry.name().context("an entry has a name that is not UTF-8")?.into_owned();
        if entry.enclosed_name().is_none() {
            bail!("its entry `{}` would leave the directory", name.escape_debug());
        }
        let start = entry.data_start().context("an entry has no data")?;
        extents.push((entry.header_start(), start + entry.compressed_size()));
        let max = match name.as_str() {
            "composer.json" => limits.manifest,
            _ => limits.file,
        } as u64;
        let mut text = Vec::new();
        let mut unpacked = (&mut entry).take(max.min(left) + 1);
        let read = match name.as_str() {
            "composer.json" => unpacked.read_to_end(&mut text).map(|read| read as u64),
            _ => copy(&mut unpacked, &mut sink()),
        };
        let read = read.with_context(|| format!("its `{name}` is damaged"))?;
        left = limits::spend(limits, left, read)?;
        ensure!(read <= max, "its `{name}` unpacks to more than {max} bytes");
        if name == "composer.json" {
            manifest = Some(text);
        }
        if !name.ends_with('/') {
            names.push(name);
        }
    }
    path_checks::check(names.iter().map(String::as_str))?;
    extents.sort_unstable();
    let overlap = extents.windows(2).any(|pair| pair[1].0 < pair[0].1);
    ensure!(!overlap, "its entries overlap");
    identify(&manifest.context("it has no composer.json at its root")?)
}

fn identify(manifest: &[u8]) -> anyhow::Result<PrebuiltArchive> {
    let manifest = Manifest::parse(manifest)?;
    manifest.validate().context("its manifest would break Composer's clients")?;
    Ok(PrebuiltArchive {
        name: manifest.name()?.context("its manifest has no name")?.parse()?,
        version: manifest.version()?.context("its manifest has no version")?.parse()?,
    })
}

/// The number of entries by the end of the central directory, modulo 65536 (APPNOTE.TXT section 4.3.16).
fn listed_entries(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).rposition(|signature| signature == b"PK\x05\x06")?;
    let count = bytes.get(end + 10..end + 12)?;
    Some(usize::from(u16::from_le_bytes([count[0], count[1]]))).filter(|count| *count != 0xffff)
}
