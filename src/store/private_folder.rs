//! A folder of the volume for keys, which no other user may read.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::durable_fs::{create_directory, read_existing, replace_with};

/// Files are replaced atomically.
pub struct PrivateFolder(PathBuf);

impl PrivateFolder {
    /// Creates the folder if it is missing, and closes it to all others.
    pub fn open(path: &Path) -> Result<Self> {
        create_directory(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o700))
            .with_context(|| format!("failed to close the folder `{}` to other users", path.display()))?;
        Ok(Self(path.to_owned()))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The bytes of a file; `None` if there is none.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        read_existing(&self.path(name))
    }

    /// Writes a file, or replaces it.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        replace_with(&self.path(&format!("{name}.new")), &self.path(name), bytes)
    }
}
