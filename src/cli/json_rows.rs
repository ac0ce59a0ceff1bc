//! The parts that the JSON documents of commands share; `help/operate.md` describes them.
//!
//! A command prints one document on standard output; the log goes to standard error. Within one [`SCHEMA`], keys are only added.

use std::io::{self, Write as _};

use serde_json::{Value, json};

use super::stdout::Stdout;
use crate::package::plan::{Notice, OutcomeRow};
use crate::store::snapshot::Snapshot;

/// The version of the documents.
const SCHEMA: u32 = 1;

/// Prints the document of a command with one entry for each repository.
pub(super) fn print(repositories: &[Value]) -> io::Result<()> {
    let document = json!({ "schema": SCHEMA, "repositories": repositories });
    Stdout.write_all(format!("{document:#}\n").as_bytes())
}

/// A package that a rule excludes, that is held back, or that failed, at one tag.
pub(super) fn outcome(row: &OutcomeRow) -> Value {
    json!({ "source": row.source, "tag": row.tag, "package": row.package, "reason": row.outcome.reason() })
}

/// What users of a published version should know.
pub(super) fn notice(notice: &Notice) -> Value {
    json!({ "tag": notice.tag, "package": notice.package, "reason": notice.reason })
}

/// The snapshot that an active rollback serves.
pub(super) fn rollback_target(snapshot: Option<&Snapshot>) -> Option<u64> {
    snapshot.and_then(|snapshot| snapshot.manifest.rollback_to)
}

/// What commands print about an active rollback.
pub(super) fn rollback_line(repository: &str, target: u64) -> String {
    format!(
        "{repository}: a rollback to snapshot {target} is in force: cycles publish no metadata until `mirror rollback --end`"
    )
}
