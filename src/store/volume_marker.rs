//! The file `STORE` in the root of the volume: which format it has, who wrote it, which volume it is.
//!
//! ```text
//! mirror store 2
//! written by mirror 0.1.0
//! id 5f0c2b9d7c1e4e0aa3f6b8d9c0e1f2a3
//! repository magento
//! ```
//!
//! A repository is named here once it has published something, so that a volume of which a part is not mounted is
//! refused instead of started empty. Format 1 had the first line only.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::{Context as _, bail};

use super::durable_fs;

/// The format that this program writes.
const FORMAT: u32 = 2;

/// What `STORE` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeMarker {
    pub format: u32,
    /// The version of the program that wrote it; empty in format 1.
    writer: String,
    /// Tells this volume from any other; empty in format 1.
    pub id: String,
    /// The repositories that have a ledger.
    pub repositories: BTreeSet<String>,
}

impl VolumeMarker {
    /// For a new volume.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            format: FORMAT,
            writer: env!("CARGO_PKG_VERSION").into(),
            id: durable_fs::random_name::<16>()?,
            repositories: BTreeSet::new(),
        })
    }

    /// What the file in `root` says; `None` if there is none.
    ///
    /// # Errors
    /// A file that is no marker, or of a format that this program does not know.
    pub fn read(root: &Path) -> anyhow::Result<Option<Self>> {
        let path = root.join("STORE");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("failed to read `{}`", path.display())),
        };
        let Some(marker) = parse(&text) else {
            bail!(
                "`{}` is damaged: it does not begin with `mirror store` and a number\nhint: restore it from a back-up",
                path.display()
            );
        };
        if marker.format > FORMAT {
            let image = match marker.writer.as_str() {
                "" => "the image version that wrote this volume".to_owned(),
                version => format!("image version {version}, which wrote this volume"),
            };
            bail!(
                "`{}` says `mirror store {}`, this version ({}) knows formats up to {FORMAT}\nhint: use {image}, or a newer one",
                path.display(),
                marker.format,
                env!("CARGO_PKG_VERSION")
            );
        }
        Ok(Some(marker))
    }

    /// Whether an earlier version of the program wrote it, so that it has to be migrated.
    pub fn is_old(&self) -> bool {
        self.format < FORMAT
    }

    /// Writes the file, in one step.
    ///
    /// # Errors
    /// Of the file system.
    pub fn write(&self, root: &Path) -> anyhow::Result<()> {
        let aside = root.join("STORE.new");
        match fs::remove_file(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("failed to remove `{}`", aside.display()));
            }
            _ => {}
        }
        durable_fs::write_new(&aside, self.to_string().as_bytes())?;
        durable_fs::replace(&aside, &root.join("STORE"))
    }
}

fn parse(text: &str) -> Option<VolumeMarker> {
    let mut lines = text.lines();
    let format = lines.next()?.strip_prefix("mirror store ")?.parse().ok()?;
    let mut marker = VolumeMarker {
        format,
        writer: String::new(),
        id: String::new(),
        repositories: BTreeSet::new(),
    };
    for line in lines {
        if let Some(version) = line.strip_prefix("written by mirror ") {
            version.clone_into(&mut marker.writer);
        } else if let Some(id) = line.strip_prefix("id ") {
            id.clone_into(&mut marker.id);
        } else if let Some(name) = line.strip_prefix("repository ") {
            marker.repositories.insert(name.to_owned());
        }
    }
    Some(marker)
}

impl fmt::Display for VolumeMarker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "mirror store {}", self.format)?;
        writeln!(f, "written by mirror {}", self.writer)?;
        writeln!(f, "id {}", self.id)?;
        for name in &self.repositories {
            writeln!(f, "repository {name}")?;
        }
        Ok(())
    }
}
