//! The table that ends `mirror build` on a terminal; elsewhere the log has the same.

use std::fmt::Write as _;
use std::time::Duration;

use console::{Style, Term, measure_text_width, style};
use indicatif::HumanDuration;

use crate::cycle::{CycleResult, SourceReport};

/// Prints how a cycle ended, if somebody looks.
pub(super) fn print(repository: &str, finished: &CycleResult, took: Duration) {
    if Term::stderr().is_term() {
        eprint!("{}", table(repository, finished, took));
    }
}

fn table(repository: &str, finished: &CycleResult, took: Duration) -> String {
    let heads = ["source", "published", "excluded", "failed", "diverged"];
    let mut rows = vec![heads.map(|head| style(head).for_stderr().bold().to_string())];
    let mut reasons = String::new();
    for (name, source) in &finished.report.sources {
        rows.push(row(name, source));
        for error in source.error.iter() {
            let first = error.lines().next().unwrap_or_default();
            let _ = writeln!(reasons, "  {}", mark(true, first));
        }
    }
    let width = |column: usize| rows.iter().map(|row| measure_text_width(&row[column])).max();
    let widths: Vec<_> = (0..heads.len())
        .map(|column| width(column).unwrap_or_default())
        .collect();
    let mut text = String::from("\n");
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[column] - measure_text_width(cell));
            let _ = match column {
                0 => write!(text, "  {cell}{pad}"),
                _ => write!(text, "  {pad}{cell}"),
            };
        }
        text.push('\n');
    }
    text.push_str(&reasons);
    let state = match &finished.snapshot {
        Some(snapshot) => format!("snapshot {}", snapshot.manifest.number),
        None => "nothing new".to_owned(),
    };
    let _ = writeln!(
        text,
        "  {repository}: {} new, {state}, {} gaps, in {}",
        finished.published,
        finished.report.gaps.len(),
        HumanDuration(took)
    );
    text
}

fn row(name: &str, source: &SourceReport) -> [String; 5] {
    let failed = source.failed.len();
    [
        mark(source.error.is_some(), name),
        source.published.to_string(),
        source.excluded.len().to_string(),
        mark(failed > 0, &failed.to_string()),
        source.diverged.len().to_string(),
    ]
}

/// In red, if it is bad; `NO_COLOR` and terminals without colours are console's business.
fn mark(bad: bool, text: &str) -> String {
    let look = if bad { Style::new().red() } else { Style::new() };
    look.for_stderr().apply_to(text).to_string()
}
