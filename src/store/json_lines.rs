//! Files of JSON, one value on each line, that are read and replaced as a whole.

use std::path::Path;

use anyhow::anyhow;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::durable_fs;

/// The values of a file; none if there is no file. `hint` says what to do if a line cannot be read.
pub(super) fn read<T: DeserializeOwned>(path: &Path, hint: &str) -> anyhow::Result<Vec<T>> {
    let text = durable_fs::read_existing(path)?.unwrap_or_default();
    let lines = text.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    let value = |(i, line): (usize, &[u8])| {
        serde_json::from_slice(line).map_err(|error| {
            anyhow!("`{}` is damaged at line {}: {error}\nhint: {hint}", path.display(), i + 1)
        })
    };
    lines.map(value).collect()
}

/// The text of these values.
pub(super) fn text<'v, T: Serialize + 'v>(
    values: impl IntoIterator<Item = &'v T>,
) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    for value in values {
        serde_json::to_writer(&mut text, value)?;
        text.push(b'\n');
    }
    Ok(text)
}
