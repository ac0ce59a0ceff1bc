//! A repository that is not fetched but read: the folder of one on a volume, one with the files of a mirror, or a bundle.

use std::cell::OnceCell;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::cycle::bundle::{self, Bundle, Section};

/// A larger text is not what was asked for.
const MAX_TEXT: u64 = 256 << 20;

/// A folder, or the file of a bundle.
pub(in crate::cycle) struct Local {
    path: PathBuf,
    bundle: OnceCell<Bundle>,
}

impl Local {
    pub(in crate::cycle) fn new(path: PathBuf) -> Self {
        Self { path, bundle: OnceCell::new() }
    }

    pub(in crate::cycle) fn path(&self) -> &Path {
        &self.path
    }

    /// A file below it; `None` if there is none. On a volume, what a snapshot has is in `current`.
    pub(in crate::cycle) fn open(&self, name: &str) -> anyhow::Result<Option<Section>> {
        if !self.path.is_dir() {
            return self.bundle()?.section(name);
        }
        match bundle::section_of_folder(&self.path, name)? {
            Some(section) => Ok(Some(section)),
            None => bundle::section_of_folder(&self.path.join("current"), name),
        }
    }

    /// The text of a file from `position` on; `None` if there is none.
    pub(in crate::cycle) fn read_from(&self, name: &str, position: u64) -> anyhow::Result<Option<Vec<u8>>> {
        let Some(section) = self.open(name)? else { return Ok(None) };
        let mut text = Vec::new();
        section
            .read_from(position)
            .and_then(|rest| rest.take(MAX_TEXT).read_to_end(&mut text))
            .with_context(|| format!("failed to read `{name}` in `{}`", self.path.display()))?;
        Ok(Some(text))
    }

    fn bundle(&self) -> anyhow::Result<&Bundle> {
        match self.bundle.get() {
            Some(bundle) => Ok(bundle),
            None => {
                let bundle = Bundle::open(&self.path)?;
                Ok(self.bundle.get_or_init(|| bundle))
            }
        }
    }
}
