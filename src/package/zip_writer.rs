//! The STORED zip archive, byte for byte as JSZip writes it for the reference generator.
//!
//! [`order_entries`] puts the entries in the reference's order, and [`ZipWriter`] writes them in one pass: a file's CRC and
//! size are known before its header, so nothing is patched afterwards and the sink may hash while it writes. An archive
//! that would need zip64 is an error. The rules were derived from archives that the reference generator made.

use std::collections::HashMap;
use std::io::{self, Write};

use super::collation;
use crate::composer::array_index;

/// 2022-02-22 22:02:22 in DOS time and date, which the reference gives every entry.
const TIME_AND_DATE: [u8; 4] = [0x4B, 0xB0, 0x56, 0x54];
/// "Version made by" Unix, 3.0, and "version needed" 1.0.
const MADE_BY: u16 = 0x031E;
const NEEDED: u16 = 10;
/// Flag bit 11: the name is UTF-8 (JSZip sets it only for names that are not ASCII).
const UTF8_NAME: u16 = 0x0800;
/// The Info-ZIP Unicode path extra field, which JSZip adds to such names.
const UNICODE_PATH: [u8; 2] = *b"up";

/// The type of an entry. A folder's mode depends on why it is in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryType {
    File,
    Executable,
    /// A folder with something in it.
    Folder,
    /// An empty folder that the recipe adds.
    EmptyFolder,
}

impl EntryType {
    fn is_folder(self) -> bool {
        matches!(self, EntryType::Folder | EntryType::EmptyFolder)
    }

    /// The external attributes: Unix mode without file type bits, and the DOS directory bit.
    fn attributes(self) -> u32 {
        match self {
            EntryType::File => 0o644 << 16,
            EntryType::Executable => 0o755 << 16,
            EntryType::Folder => 0o775 << 16 | 0x10,
            EntryType::EmptyFolder => 0o755 << 16 | 0x10,
        }
    }
}

/// An entry of the archive. `content` says where its bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZipEntry<T> {
    pub name: String,
    pub kind: EntryType,
    pub content: T,
}

/// Orders files and empty folders as the reference does, and adds their parent folders, whose names end in a slash.
///
/// Paths are sorted by ICU's root collation (JavaScript's `localeCompare`), empty folders without the slash at the end. Each
/// folder comes directly before the first path in it. Names at the root that JavaScript treats as array indices come first,
/// in numeric order.
pub fn order_entries<T: Clone + Default>(mut paths: Vec<ZipEntry<T>>) -> Vec<ZipEntry<T>> {
    paths.sort_by(|a, b| collation::compare(&a.name, &b.name));
    let mut entries: Vec<ZipEntry<T>> = Vec::with_capacity(paths.len() + paths.len() / 4);
    let mut seen = HashMap::<String, usize>::new();
    let mut put = |entries: &mut Vec<ZipEntry<T>>, entry: ZipEntry<T>| match seen.get(&entry.name) {
        Some(&index) => entries[index] = entry,
        None => {
            seen.insert(entry.name.clone(), entries.len());
            entries.push(entry);
        }
    };
    for mut path in paths {
        for (slash, _) in path.name.match_indices('/') {
            let folder = ZipEntry {
                name: path.name[..=slash].to_owned(),
                kind: EntryType::Folder,
                content: T::default(),
            };
            put(&mut entries, folder);
        }
        if path.kind.is_folder() {
            path.name.push('/');
        }
        put(&mut entries, path);
    }
    entries.sort_by_key(|entry| array_index(&entry.name).map_or(u64::MAX, u64::from));
    entries
}

/// Writes entries, then the central directory.
pub struct ZipWriter<W: Write> {
    sink: W,
    offset: u64,
    count: u64,
    central: Vec<u8>,
}

impl<W: Write> ZipWriter<W> {
    pub fn new(sink: W) -> Self {
        Self { sink, offset: 0, count: 0, central: Vec::new() }
    }

    /// Writes one entry; a folder has no contents.
    ///
    /// # Errors
    /// `InvalidInput` if the entry would need zip64.
    pub fn add(&mut self, name: &str, kind: EntryType, contents: &[u8]) -> io::Result<()> {
        let size = fits(contents.len() as u64)?;
        let name_length =
            u16::try_from(name.len()).map_err(|_| too_large("a name of more than 65,535 bytes"))?;
        let extra = unicode_path(name);
        let mut fields = [0; 26];
        fields[0..2].copy_from_slice(&NEEDED.to_le_bytes());
        fields[2..4].copy_from_slice(&if extra.is_empty() { 0 } else { UTF8_NAME }.to_le_bytes());
        fields[6..10].copy_from_slice(&TIME_AND_DATE);
        fields[10..14].copy_from_slice(&crc32fast::hash(contents).to_le_bytes());
        fields[14..18].copy_from_slice(&size.to_le_bytes());
        fields[18..22].copy_from_slice(&size.to_le_bytes());
        fields[22..24].copy_from_slice(&name_length.to_le_bytes());
        fields[24..26].copy_from_slice(&(extra.len() as u16).to_le_bytes());

        self.central.extend(b"PK\x01\x02");
        self.central.extend(MADE_BY.to_le_bytes());
        self.central.extend(fields);
        self.central.extend([0; 6]); // comment length, disk, internal attributes
        self.central.extend(kind.attributes().to_le_bytes());
        self.central.extend(fits(self.offset)?.to_le_bytes());
        self.central.extend(name.as_bytes());
        self.central.extend(&extra);

        for part in [b"PK\x03\x04", &fields[..], name.as_bytes(), &extra, contents] {
            self.sink.write_all(part)?;
            self.offset += part.len() as u64;
        }
        self.count += 1;
        Ok(())
    }

    /// Writes the central directory and returns the sink.
    pub fn finish(mut self) -> io::Result<W> {
        let count = u16::try_from(self.count).ok().filter(|n| *n != u16::MAX);
        let count = count.ok_or_else(|| too_large("more than 65,534 entries"))?.to_le_bytes();
        let start = fits(self.offset)?.to_le_bytes();
        let size = fits(self.central.len() as u64)?.to_le_bytes();
        self.sink.write_all(&self.central)?;
        for part in [&b"PK\x05\x06\0\0\0\0"[..], &count, &count, &size, &start, &[0, 0]] {
            self.sink.write_all(part)?;
        }
        Ok(self.sink)
    }
}

/// The extra field of a name that is not ASCII: tag, size, version 1, CRC-32 of the name, the name.
fn unicode_path(name: &str) -> Vec<u8> {
    if name.is_ascii() {
        return Vec::new();
    }
    let mut field = UNICODE_PATH.to_vec();
    field.extend((5 + name.len() as u16).to_le_bytes());
    field.push(1);
    field.extend(crc32fast::hash(name.as_bytes()).to_le_bytes());
    field.extend(name.as_bytes());
    field
}

fn fits(size: u64) -> io::Result<u32> {
    u32::try_from(size).ok().filter(|n| *n != u32::MAX).ok_or_else(|| too_large("4 GiB or more"))
}

fn too_large(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{what} does not fit in a zip archive without zip64"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn item(name: &str, kind: EntryType) -> ZipEntry<()> {
        ZipEntry { name: name.into(), kind, content: () }
    }

    fn names(items: &[&str]) -> Vec<String> {
        order_entries(items.iter().map(|name| item(name, EntryType::File)).collect())
            .into_iter()
            .map(|e| e.name)
            .collect()
    }

    #[test]
    fn entries_have_the_order_of_the_reference() {
        assert_eq!(
            names(&[
                "registration.php",
                "Api/B.php",
                "Api/a.php",
                "composer.json",
                "_x",
                "README.md",
                "10",
                "9",
                "etc/2"
            ]),
            [
                "9",
                "10",
                "_x",
                "Api/",
                "Api/a.php",
                "Api/B.php",
                "composer.json",
                "etc/",
                "etc/2",
                "README.md",
                "registration.php"
            ]
        );
        assert_eq!(names(&["a-b", "a/b", "a.b", "ab", "A"]), ["A", "a-b", "a.b", "a/", "a/b", "ab"]);
    }

    #[test]
    fn empty_folder_keeps_its_mode_until_a_file_is_in_it() {
        let entries = order_entries(vec![
            item("app/code", EntryType::EmptyFolder),
            item("lib/x", EntryType::EmptyFolder),
            item("lib/x/y", EntryType::File),
        ]);
        let kinds: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.kind)).collect();
        assert_eq!(
            kinds,
            [
                ("app/", EntryType::Folder),
                ("app/code/", EntryType::EmptyFolder),
                ("lib/", EntryType::Folder),
                ("lib/x/", EntryType::Folder),
                ("lib/x/y", EntryType::File)
            ]
        );
    }

    #[test]
    fn archive_is_readable() {
        let mut writer = ZipWriter::new(Vec::new());
        writer.add("bin/", EntryType::Folder, b"").unwrap();
        writer.add("bin/x", EntryType::Executable, b"#!/bin/sh").unwrap();
        writer.add("grüße.txt", EntryType::File, "no newline".as_bytes()).unwrap();
        let bytes = writer.finish().unwrap();
        let mut zip = zip::ZipArchive::new(io::Cursor::new(&bytes)).unwrap();
        assert_eq!(zip.len(), 3);
        assert_eq!(zip.by_index(1).unwrap().unix_mode(), Some(0o755));
        let mut text = String::new();
        zip.by_name("grüße.txt").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "no newline");
    }
}
