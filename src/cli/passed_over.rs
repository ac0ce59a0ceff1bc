//! The tags that a recipe does not release, as lines of `mirror plan`.

use std::io::{self, Write};

use crate::package::plan::{ExclusionRule, Outcome, OutcomeRow};

/// Writes a line for each tag, but only one for all tags that are before the first version.
pub(super) fn write(out: &mut impl Write, source: &str, rows: &[OutcomeRow]) -> io::Result<()> {
    let mut before_first = Vec::new();
    for row in rows {
        if let Outcome::Excluded { rule, reason } = &row.outcome {
            match rule {
                ExclusionRule::BeforeFirst => before_first.push((row.tag.as_str(), reason)),
                _ => writeln!(out, "{source} {}: not released: {reason}", row.tag)?,
            }
        }
    }
    if let [(_, reason), ..] = before_first.as_slice() {
        let tags: Vec<_> = before_first.iter().map(|(tag, _)| *tag).collect();
        writeln!(out, "{source}: not released: {reason}: {}", tags.join(", "))?;
    }
    Ok(())
}
