//! An archive that contains the base URL of one mirror, for another base URL.
//!
//! Only archives of this program are taken apart, and written again by the same writer: another one could not be written as it
//! was. So the result has the bytes that a build for the other base URL gives.

use std::io::{Cursor, Read as _};

use anyhow::{Context as _, bail, ensure};
use zip::ZipArchive;

use super::zip_writer::{EntryType, ZipWriter};

/// Larger archives are not taken apart: bound packages consist of a manifest and some notices.
const MAX_SIZE: usize = 32 << 20;

/// `archive` with `to` instead of `from` in its manifest.
pub fn rebind(archive: &[u8], from: &str, to: &str) -> anyhow::Result<Vec<u8>> {
    ensure!(archive.len() <= MAX_SIZE, "it has more than {MAX_SIZE} bytes");
    let entries = read(archive).context("it is not an archive that this program writes")?;
    ensure!(write(&entries)? == archive, "it is not an archive that this program writes");
    let mut rebound = entries;
    let Some((.., manifest)) = rebound.iter_mut().find(|(name, ..)| name == "composer.json") else {
        bail!("it has no composer.json");
    };
    let text = std::str::from_utf8(manifest).context("its composer.json is not UTF-8")?;
    let (from, to) = (serde_json::to_string(from)?, serde_json::to_string(to)?);
    let (from, to) = (from.trim_matches('"'), to.trim_matches('"'));
    ensure!(text.contains(from), "its composer.json does not contain {from}");
    *manifest = text.replace(from, to).into_bytes();
    write(&rebound)
}

type Entries = Vec<(String, EntryType, Vec<u8>)>;

fn read(archive: &[u8]) -> anyhow::Result<Entries> {
    let mut archive = ZipArchive::new(Cursor::new(archive))?;
    let mut entries = Entries::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let name = std::str::from_utf8(entry.name_raw())?.to_owned();
        let kind = match (name.ends_with('/'), entry.unix_mode().map(|mode| mode & 0o777)) {
            (false, Some(0o644)) => EntryType::File,
            (false, Some(0o755)) => EntryType::Executable,
            (true, Some(0o775)) => EntryType::Folder,
            (true, Some(0o755)) => EntryType::EmptyFolder,
            (_, mode) => bail!("`{name}` has the mode {mode:?}"),
        };
        let mut bytes = Vec::new();
        (&mut entry).take(MAX_SIZE as u64).read_to_end(&mut bytes)?;
        entries.push((name, kind, bytes));
    }
    Ok(entries)
}

fn write(entries: &Entries) -> anyhow::Result<Vec<u8>> {
    let mut writer = ZipWriter::new(Vec::new());
    for (name, kind, bytes) in entries {
        writer.add(name, *kind, bytes)?;
    }
    Ok(writer.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(url: &str, text: &[u8]) -> Vec<u8> {
        let manifest = format!("{{\"repositories\": [\"{url}\"]}}");
        let entries = vec![
            ("composer.json".to_owned(), EntryType::File, manifest.into_bytes()),
            ("dev/".to_owned(), EntryType::Folder, Vec::new()),
            ("dev/run".to_owned(), EntryType::Executable, text.to_vec()),
            ("ä/".to_owned(), EntryType::EmptyFolder, Vec::new()),
        ];
        write(&entries).unwrap()
    }

    #[test]
    fn only_the_url_in_the_manifest_changes() {
        let (from, to) = ("https://a.example/", "https://other.example/mirror/");
        let text = b"echo https://a.example/";
        assert_eq!(rebind(&archive(from, text), from, to).unwrap(), archive(to, text));
        assert_eq!(rebind(&archive(from, text), from, from).unwrap(), archive(from, text));
        let error = rebind(&archive(to, text), from, to).unwrap_err();
        assert!(error.to_string().contains("does not contain"), "{error}");
        let mut altered = archive(from, text);
        altered.extend(b"!");
        assert!(rebind(&altered, from, to).is_err());
    }
}
