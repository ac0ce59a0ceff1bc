//! Secrets, from a file or the environment. They cannot be written in the configuration file itself, and they cannot be printed.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Serialize, Serializer};

use super::json_schema::text_schema;
use crate::util::text_file;
use crate::yaml::Issue;

text_schema!(struct SecretReference, "environment-reference", r"^\$\{[A-Za-z_][A-Za-z0-9_]*\}$");

/// A secret, or where to find it.
#[derive(Clone)]
pub enum Secret {
    File(PathBuf),
    Value(String),
}

impl Secret {
    /// The secret of two keys: one for the value, one for the name of a file.
    pub(super) fn from_keys(value: Option<String>, file: Option<PathBuf>) -> Option<Self> {
        value.map(Self::Value).or(file.map(Self::File))
    }

    /// Resolves a relative path against `folder`.
    pub(super) fn resolve_path(&mut self, folder: &Path) {
        if let Self::File(path) = self {
            *path = folder.join(&path);
        }
    }

    /// The secret itself, without trailing line ends and byte order mark. A file is read at each use, so that a rotated secret
    /// takes effect.
    pub fn read(&self) -> anyhow::Result<String> {
        let text = match self {
            Self::Value(value) => value.clone(),
            Self::File(path) => text_file::read_to_string(path)
                .with_context(|| format!("failed to read `{}`", path.display()))?,
        };
        Ok(text.trim_end_matches(['\n', '\r']).to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "Secret({})", path.display()),
            Self::Value(_) => f.write_str("Secret(…)"),
        }
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_none()
    }
}

/// Fails unless a secret, as it was `written`, is exactly one reference to the environment. The issue never quotes it.
pub(super) fn check_reference(written: &str) -> Result<(), Issue> {
    if written.starts_with("${") && written.find('}') == Some(written.len() - 1) {
        return Ok(());
    }
    let issue = Issue::new("a secret must not stand in the file");
    Err(issue.hint("use the key that ends in `_file`, or a reference such as `${SECRET}`"))
}
