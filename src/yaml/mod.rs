//! Strict YAML: a document becomes a typed value, or the list of everything that is wrong with it.
//!
//! The only module that names the YAML crate. The text becomes a tree of nodes that know their line and column
//! (`node`), `${NAME}` references are expanded where the caller allows them (`environment`), and serde reads
//! the tree (`deserialize`). Serde stops at the first mistake; `mend` notes it, takes the offending node out
//! and lets serde read again, until every mistake is known. A mistake that only follows from another one is not
//! reported. What the values mean is the caller's: its checks add to the same [`Report`].

mod deserialize;
mod environment;
mod fault;
mod mend;
mod node;
mod path;
mod problem;
mod slip;
#[cfg(test)]
mod tests;

use serde::de::DeserializeOwned;

pub use mend::Report;
pub use path::Path;
pub use problem::{Diagnostic, Diagnostics, Issue, Location, nearest};

/// Looks an environment variable up by its name.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads the document `text` of `file` into a `T`.
///
/// The value is there even when the report holds problems, as long as the rest of the document could be read: the
/// caller can run its own checks and add what they find. It must be used only after [`Report::finish`].
/// `environment` switches the expansion of `${NAME}` in string values on.
pub fn read<T: DeserializeOwned>(
    file: &str,
    text: &str,
    environment: Option<Environment<'_>>,
) -> (Option<T>, Report) {
    let mut report = Report::new(file);
    let Some(root) = node::parse(text, &mut report) else {
        return (None, report);
    };
    report.root = root;
    if let Some(lookup) = environment {
        report.expand(lookup);
    }
    (report.read(), report)
}
