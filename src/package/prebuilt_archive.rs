//! Checks prebuilt archives before they are published with their own bytes.

use std::io::{Cursor, Read as _, copy, sink};

use anyhow::{Context as _, ensure};
use zip::ZipArchive;

use super::plan::ExactVersion;
use super::{limits, path_checks};
use crate::composer::{FieldProblem, Manifest, PackageName, Version};
use crate::config::Limits;

/// Name and version of a prebuilt archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrebuiltArchive {
    pub name: PackageName,
    pub version: Version,
    /// For a metapackage: the versions without which it cannot be installed.
    pub requires: Vec<ExactVersion>,
    /// The packages that it replaces or provides.
    pub replaces: Vec<String>,
    /// The fields that the metadata leaves out of its manifest.
    pub omitted: Vec<FieldProblem>,
}

impl PrebuiltArchive {
    /// Its name and version.
    pub fn exact_version(&self) -> ExactVersion {
        ExactVersion { name: self.name.to_string(), version: self.version.to_string() }
    }
}

/// Where the manifest of an archive is: at its root, or in a folder that has everything else, too, which Composer strips
/// (`ArchiveDownloader`).
#[derive(Debug, Default)]
pub struct ManifestPlace {
    folder: Option<Vec<u8>>,
    has_others: bool,
}

/// What a visited entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visited {
    /// The manifest at the root.
    Root,
    /// The manifest, if all entries are in one folder.
    InFolder,
    Other,
}

impl ManifestPlace {
    pub fn visit(&mut self, name: &[u8]) -> Visited {
        if name == b"composer.json" {
            return Visited::Root;
        }
        let Some(end) = memchr::memchr(b'/', name) else {
            self.has_others = true;
            return Visited::Other;
        };
        let folder = self.folder.get_or_insert_with(|| name[..end].to_vec());
        self.has_others |= *folder != name[..end];
        if &name[end + 1..] == b"composer.json" { Visited::InFolder } else { Visited::Other }
    }

    /// Whether all visited entries are in one folder.
    pub fn has_one_folder(&self) -> bool {
        self.folder.is_some() && !self.has_others
    }
}

/// Reads the whole archive of a version in a Composer repository, as strictly as [`check`], and returns its manifest, if it has one.
pub fn check_foreign(
    bytes: &[u8],
    limits: &Limits,
    package: &PackageName,
    version: &Version,
) -> anyhow::Result<Option<Manifest>> {
    limits::check_entries(limits, zip64_entries(bytes).unwrap_or(0))?;
    let (mut place, mut found) = (ManifestPlace::default(), None);
    for name in ZipArchive::new(Cursor::new(bytes)).context("not a readable zip archive")?.file_names() {
        let name = name.context("an entry has a name that is not UTF-8")?;
        match place.visit(name.as_bytes()) {
            Visited::Root => {
                found = Some(name.into_owned());
                break;
            }
            Visited::InFolder => found = Some(name.into_owned()),
            Visited::Other => {}
        }
    }
    let manifest = found.filter(|name| name == "composer.json" || place.has_one_folder());
    let ArchiveContents { names, manifest } =
        read(bytes, manifest.as_deref().unwrap_or("composer.json"), limits)?;
    path_checks::warn_of_unportable(package, version, names.iter().map(String::as_str));
    manifest.map(|text| Manifest::parse(&text)).transpose().context("its composer.json")
}

/// Reads a whole archive and returns its name and version.
///
/// # Errors
/// An archive that is damaged or beyond the limits, that has no manifest at its root or one that Composer would reject, or
/// whose entries overlap, share a name, are links, have another name beside their data, or have paths that our own archives
/// cannot have.
pub fn check(bytes: &[u8], limits: &Limits) -> anyhow::Result<PrebuiltArchive> {
    let ArchiveContents { names, manifest } = read(bytes, "composer.json", limits)?;
    let identity = identify(&manifest.context("it has no composer.json at its root")?)?;
    path_checks::warn_of_unportable(&identity.name, &identity.version, names.iter().map(String::as_str));
    Ok(identity)
}

/// What an archive has.
struct ArchiveContents {
    names: Vec<String>,
    manifest: Option<Vec<u8>>,
}

/// Reads a whole archive, whose manifest has the name `manifest_name`.
fn read(bytes: &[u8], manifest_name: &str, limits: &Limits) -> anyhow::Result<ArchiveContents> {
    limits::check_entries(limits, zip64_entries(bytes).unwrap_or(0))?;
    let mut archive = ZipArchive::new(Cursor::new(bytes)).context("not a readable zip archive")?;
    let entries = archive.len();
    limits::check_entries(limits, entries)?;
    ensure!(
        listed_entries(bytes).is_none_or(|listed| listed == entries % (1 << 16)),
        "two of its entries have the same name"
    );
    check_end(bytes, archive.central_directory_start())?;
    let (mut manifest, mut left) = (None, limits.package as u64);
    let (mut names, mut extents) = (Vec::new(), Vec::new());
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).with_context(|| format!("failed to read entry {i}"))?;
        let name = std::str::from_utf8(entry.name_raw()).context("an entry has a name that is not UTF-8")?;
        let name = name.to_owned();
        limits::check_depth(limits, &name)?;
        let central = header(bytes, entry.central_header_start(), CENTRAL).context("a header is cut off")?;
        let local = header(bytes, entry.header_start(), LOCAL).context("a header is cut off")?;
        check_headers(&name, &central, &local)?;
        let start = entry.data_start().context("an entry has no data")?;
        extents.push((entry.header_start(), start + entry.compressed_size()));
        let max = if name == manifest_name { limits.manifest } else { limits.file } as u64;
        let mut text = Vec::new();
        let mut unpacked = (&mut entry).take(max.min(left) + 1);
        let read = match name == manifest_name {
            true => unpacked.read_to_end(&mut text).map(|read| read as u64),
            false => copy(&mut unpacked, &mut sink()),
        };
        let read = read.with_context(|| format!("its `{name}` is damaged"))?;
        left = limits::spend(limits, left, read)?;
        ensure!(read <= max, "its `{name}` unpacks to more than {max} bytes");
        if name == manifest_name {
            manifest = Some(text);
        }
        names.push(name);
    }
    path_checks::check(names.iter().map(String::as_str))?;
    extents.sort_unstable();
    let overlap = extents.windows(2).any(|pair| pair[1].0 < pair[0].1);
    ensure!(!overlap, "its entries overlap");
    Ok(ArchiveContents { names, manifest })
}

/// Where the fields of a header are (APPNOTE.TXT sections 4.3.7 and 4.3.12): the two lengths, the end of the fixed part, and
/// the attributes, which only the central directory has.
#[derive(Clone, Copy)]
struct Layout {
    lengths: usize,
    fixed: usize,
    attributes: Option<usize>,
}

const LOCAL: Layout = Layout { lengths: 26, fixed: 30, attributes: None };
const CENTRAL: Layout = Layout { lengths: 28, fixed: 46, attributes: Some(38) };

/// The extra field with another name of the entry, the "Info-ZIP Unicode Path" (APPNOTE.TXT section 4.6.9).
const UNICODE_PATH: u16 = 0x7075;

/// The end of the central directory begins with it.
const END: &[u8] = b"PK\x05\x06";

struct Header<'a> {
    name: &'a [u8],
    extra: &'a [u8],
    /// The type of the file by its mode on Unix; 0 if there is none.
    file_type: u16,
}

fn header(bytes: &[u8], start: u64, layout: Layout) -> Option<Header<'_>> {
    let header = bytes.get(usize::try_from(start).ok()?..)?;
    let number = |at: usize| Some(u16::from_le_bytes([*header.get(at)?, *header.get(at + 1)?]));
    let name_end = layout.fixed + usize::from(number(layout.lengths)?);
    let extra_end = name_end + usize::from(number(layout.lengths + 2)?);
    Some(Header {
        name: header.get(layout.fixed..name_end)?,
        extra: header.get(name_end..extra_end)?,
        file_type: layout.attributes.map_or(Some(0), |at| number(at + 2))? & 0xf000,
    })
}

/// Programs differ in which of an entry's names they use, so all must be the same; and in what they make of a link.
fn check_headers(name: &str, central: &Header<'_>, local: &Header<'_>) -> anyhow::Result<()> {
    let shown = name.escape_debug();
    ensure!(local.name == name.as_bytes(), "its entry `{shown}` has another name beside its data");
    let mut others = [central.extra, local.extra].into_iter().flat_map(unicode_paths);
    ensure!(others.all(|other| other == name.as_bytes()), "its entry `{shown}` has another name in Unicode");
    // None, a regular file, a folder.
    ensure!(
        matches!(central.file_type, 0 | 0x8000 | 0x4000),
        "its entry `{shown}` is a link or another special file"
    );
    Ok(())
}

fn unicode_paths(mut extra: &[u8]) -> Vec<&[u8]> {
    let mut paths = Vec::new();
    while let [a, b, c, d, rest @ ..] = extra {
        let (id, length) = (u16::from_le_bytes([*a, *b]), usize::from(u16::from_le_bytes([*c, *d])));
        let (field, next) = rest.split_at(length.min(rest.len()));
        if id == UNICODE_PATH {
            // The version and a checksum come first.
            paths.push(field.get(5..).unwrap_or_default());
        }
        extra = next;
    }
    paths
}

fn identify(manifest: &[u8]) -> anyhow::Result<PrebuiltArchive> {
    let manifest = Manifest::parse(manifest)?;
    manifest.validate().context("its manifest would break Composer's clients")?;
    let requires = manifest.is_metapackage().then(|| ExactVersion::all_of(&manifest));
    Ok(PrebuiltArchive {
        requires: requires.unwrap_or_default(),
        replaces: manifest.replaced_packages(),
        omitted: manifest.omitted_fields(),
        name: manifest.name()?.context("its manifest has no name")?.parse()?,
        version: manifest.version()?.context("its manifest has no version")?.parse()?,
    })
}

/// The number of entries of a zip64 archive (APPNOTE.TXT sections 4.3.14 and 4.3.15), which is read before they are: others
/// have 65535 at most.
fn zip64_entries(bytes: &[u8]) -> Option<usize> {
    let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let entries = |locator: usize| {
        let record = usize::try_from(number(locator + 8)?).ok()?;
        let count = number(record.checked_add(32)?)?;
        bytes[record..].starts_with(b"PK\x06\x06").then_some(count)
    };
    let locators = memchr::memmem::find_iter(bytes, b"PK\x06\x07");
    locators.filter_map(entries).max().map(|count| usize::try_from(count).unwrap_or(usize::MAX))
}

/// Programs differ in how they look for the end of the central directory, so there must be one, at the end of the file.
fn check_end(bytes: &[u8], directory: u64) -> anyhow::Result<()> {
    let directory = usize::try_from(directory).ok().and_then(|begin| bytes.get(begin..));
    let mut ends = directory.into_iter().flat_map(|directory| memchr::memmem::find_iter(directory, END));
    let end = directory.zip(ends.next()).map(|(directory, at)| &directory[at..]);
    // The length of the comment is in the last two bytes before it.
    let comment = end.and_then(|end| Some(usize::from(u16::from_le_bytes([*end.get(20)?, *end.get(21)?]))));
    let is_last = end.zip(comment).is_some_and(|(end, comment)| end.len() == 22 + comment);
    ensure!(is_last && ends.next().is_none(), "there is something after the end of its list of entries");
    Ok(())
}

/// The number of entries by the end of the central directory, modulo 65536 (APPNOTE.TXT section 4.3.16).
fn listed_entries(bytes: &[u8]) -> Option<usize> {
    let end = memchr::memmem::rfind(bytes, END)?;
    let count = bytes.get(end + 10..end + 12)?;
    Some(usize::from(u16::from_le_bytes([count[0], count[1]]))).filter(|count| *count != 0xffff)
}
