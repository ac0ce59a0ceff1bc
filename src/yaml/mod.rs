//! Strict YAML: a document becomes a typed value, or the list of everything that is wrong with it.
//!
//! The text becomes a tree whose nodes know their line and column (`parse`). The tree is checked against the JSON Schema
//! of the type, which finds every mistake at once, and `${NAME}` references are expanded on the way (`schema_check`).
//! Serde then reads the values that fit the schema. What the values mean is the caller's: its checks add to the same
//! [`Report`].
//!
//! This is the only module that names the YAML crate.

mod diagnostic;
mod environment;
mod parse;
mod path;
mod report;
mod schema_check;
mod syntax_hints;

use schemars::{JsonSchema, SchemaGenerator};
use serde::de::DeserializeOwned;

pub use diagnostic::{Diagnostic, Diagnostics, Issue, Location, nearest};
pub use environment::Environment;
pub use path::Path;
pub use report::Report;

/// A type that is read from a YAML document.
///
/// A value that does not fit the schema is left out before serde reads the rest. So every key has a default for serde,
/// also those that the schema requires: `#[serde(default)]` with `#[schemars(!default)]`.
pub trait FromYaml: DeserializeOwned + JsonSchema {
    /// What an empty document could begin with.
    const EXAMPLE: &'static str;

    /// Checks a string of a type with a syntax of its own, which the type's schema names as `format`. `written` is the
    /// string before `${NAME}` was replaced. A type whose `format` is checked here never fails in serde.
    fn check_format(format: &str, value: &str, written: &str) -> Result<(), Issue>;
}

/// Reads the document `text` of `file` into a `T`.
///
/// A value is returned even if the report has issues, unless the text is not YAML or not a mapping: the caller can run
/// its own checks and add what they find. It must be used only after [`Report::finish`]. With an `environment`, `${NAME}`
/// is expanded in string values.
pub fn read<T: FromYaml>(
    file: &str,
    text: &str,
    environment: Option<Environment<'_>>,
) -> (Option<T>, Report) {
    let mut report = Report::new(file);
    let Some(node) = parse::parse(text, &mut report) else {
        return (None, report);
    };
    let schema = SchemaGenerator::default().into_root_schema_for::<T>().into();
    let value = schema_check::check::<T>(&node, text, &schema, environment, &mut report);
    let document = value.and_then(|value| match serde_json::from_value(value) {
        Ok(document) => Some(document),
        Err(error) => {
            debug_assert!(false, "the schema accepts what serde refuses: {error}");
            report.add(&Path::default(), Issue::new("a value does not fit its key"));
            None
        }
    });
    (document, report)
}
