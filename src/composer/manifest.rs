//! A manifest, the object of a composer.json, and its validation against what breaks Composer's clients.

use serde_json::{Map, Value};

use super::json::parse_js;
use super::loader::{self, FieldProblem};
use super::name::PackageName;
use super::version::Version;
use crate::util::text_file::UnusualEncoding;

/// The object of a composer.json.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest(pub Map<String, Value>);

/// Why a manifest is rejected.
#[derive(Debug, thiserror::Error)]
pub enum InvalidManifest {
    /// Composer refuses even the mark of UTF-8 (`JsonParser::failOnBOM` of seld/jsonlint).
    #[error("{0}, and Composer reads a manifest only in UTF-8 without one")]
    Encoding(UnusualEncoding),
    #[error("not JSON: {0}")]
    Syntax(#[from] serde_json::Error),
    #[error("not a JSON object")]
    NotAnObject,
    #[error("`{0}` is not a string")]
    NotAString(&'static str),
    #[error("{0}")]
    Problems(String),
}

impl Manifest {
    /// Parses a composer.json.
    pub fn parse(text: &[u8]) -> Result<Self, InvalidManifest> {
        if let Some(encoding) = UnusualEncoding::of(text) {
            return Err(InvalidManifest::Encoding(encoding));
        }
        match parse_js(text)? {
            Value::Object(map) => Ok(Self(map)),
            _ => Err(InvalidManifest::NotAnObject),
        }
    }

    /// The package's name, if there is one.
    pub fn name(&self) -> Result<Option<&str>, InvalidManifest> {
        self.string("name")
    }

    /// The package's version, if there is one.
    pub fn version(&self) -> Result<Option<&str>, InvalidManifest> {
        self.string("version")
    }

    /// The packages that it replaces or provides, as Composer compares them.
    pub fn replaced_packages(&self) -> Vec<String> {
        let links = ["replace", "provide"].into_iter().filter_map(|kind| self.0.get(kind)?.as_object());
        links.flat_map(Map::keys).map(|name| name.to_ascii_lowercase()).collect()
    }

    fn string(&self, key: &'static str) -> Result<Option<&str>, InvalidManifest> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(InvalidManifest::NotAString(key)),
        }
    }

    /// Checks that every Composer can load and install the package; the error lists all problems.
    pub fn validate(&self) -> Result<(), InvalidManifest> {
        let mut problems = Vec::new();
        match self.name() {
            Ok(name) => {
                if let Err(error) = name.unwrap_or_default().parse::<PackageName>() {
                    problems.push(error.to_string());
                }
            }
            Err(error) => problems.push(error.to_string()),
        }
        if let Ok(Some(version)) = self.version()
            && let Err(error) = version.parse::<Version>()
        {
            problems.push(error.to_string());
        }
        let fields = loader::fatal_problems(&self.0);
        problems.extend(Some(FieldProblem::describe(&fields)).filter(|_| !fields.is_empty()));
        if problems.is_empty() { Ok(()) } else { Err(InvalidManifest::Problems(problems.join("; "))) }
    }

    /// The fields that the metadata leaves out, because Composer could not load the package with them and does without.
    pub fn omitted_fields(&self) -> Vec<FieldProblem> {
        loader::omitted_fields(&self.0)
    }
}
