//! A manifest, the object of a composer.json, and the check of what would break Composer's clients.

use serde_json::{Map, Value};

use super::{PackageName, Version, is_valid_constraint, parse_js};

/// The object of a composer.json.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest(pub Map<String, Value>);

/// Why a manifest is refused.
#[derive(Debug, thiserror::Error)]
pub enum InvalidManifest {
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
    /// Parses the text of a composer.json.
    ///
    /// # Errors
    /// A text that is not a JSON object.
    pub fn parse(text: &[u8]) -> Result<Self, InvalidManifest> {
        match parse_js(text)? {
            Value::Object(map) => Ok(Self(map)),
            _ => Err(InvalidManifest::NotAnObject),
        }
    }

    /// The package's name, where there is one.
    ///
    /// # Errors
    /// A value that is not a string.
    pub fn name(&self) -> Result<Option<&str>, InvalidManifest> {
        self.string("name")
    }

    /// The package's version, where there is one.
    ///
    /// # Errors
    /// A value that is not a string.
    pub fn version(&self) -> Result<Option<&str>, InvalidManifest> {
        self.string("version")
    }

    fn string(&self, key: &'static str) -> Result<Option<&str>, InvalidManifest> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(InvalidManifest::NotAString(key)),
        }
    }

    /// Checks name, version and the form of the links (`ArrayLoader::parseLinks` dies of what is not a string).
    ///
    /// # Errors
    /// All problems, in one message.
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
        for kind in ["require", "require-dev", "conflict", "replace", "provide"] {
            match self.0.get(kind) {
                None | Some(Value::Null) => {}
                // PHP prints an empty map as `[]`.
                Some(Value::Array(items)) if items.is_empty() => {}
                Some(Value::Object(links)) => {
                    for (target, constraint) in links {
                        let readable = |text| text == "self.version" || is_valid_constraint(text);
                        if !constraint.as_str().is_some_and(readable) {
                            problems.push(format!(
                                "{kind}: the constraint of `{target}` cannot be read: {constraint}"
                            ));
                        }
                    }
                }
                Some(_) => problems.push(format!("`{kind}` is not a map of packages to constraints")),
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(InvalidManifest::Problems(problems.join("; ")))
        }
    }
}
