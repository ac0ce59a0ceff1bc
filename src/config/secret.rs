//! Secrets: a file that holds one, or a value from the environment. They cannot be written in the configuration
//! file, and they cannot be printed.

use std::borrow::Cow;
use std::fmt;
use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize, Serializer};

/// What is said about a password that stands in the file. Never with what was found.
pub(super) const LITERAL: &str = "a secret must not stand in the file";
pub(super) const LITERAL_HINT: &str = "use the key that ends in `_file`, or a reference such as `${SECRET}`";

/// A secret, or where to find it.
#[derive(Clone)]
pub enum Secret {
    File(PathBuf),
    Value(String),
}

impl Secret {
    /// The secret itself. A file is read at each use, so that a rotated one counts; its last line end does not.
    pub fn read(&self) -> anyhow::Result<String> {
        match self {
            Self::Value(value) => Ok(value.clone()),
            Self::File(path) => {
                let text = fs::read_to_string(path)
                    .with_context(|| format!("failed to read `{}`", path.display()))?;
                Ok(text.trim_end_matches(['\n', '\r']).to_owned())
            }
        }
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

/// The value of `password`, which must be a reference to the environment.
pub(super) struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let literal = |_| D::Error::custom(format_args!("{LITERAL}\nhint: {LITERAL_HINT}"));
        String::deserialize(from).map(Self).map_err(literal)
    }
}

impl Serialize for Password {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_none()
    }
}

impl JsonSchema for Password {
    fn schema_name() -> Cow<'static, str> {
        "Password".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^\$\{[A-Za-z_][A-Za-z0-9_]*\}$" })
    }
}
