//! The table at the end of `mirror build` on a terminal. Without a terminal, the log has the same figures.

use std::fmt::Write as _;
use std::time::Duration;

use console::{Style, Term, measure_text_width, style};
use indicatif::HumanDuration;

use crate::cycle::{CycleResult, SourceReport};
use crate::util::text::{inert, plural};

#[expect(clippy::print_stderr, reason = "the table is for people, not for the log")]
pub(super) fn print(repository: &str, result: &CycleResult, took: Duration) {
    if Term::stderr().is_term() {
        eprint!("{}", table(repository, result, took));
    }
}

fn table(repository: &str, result: &CycleResult, took: Duration) -> String {
    let heads = ["source", "published", "excluded", "failed", "diverged"];
    let mut rows = vec![heads.map(|head| style(head).for_stderr().bold().to_string())];
    let mut errors = String::new();
    for (name, source) in &result.report.sources {
        let published = result.versions.get(name).copied().unwrap_or_default();
        rows.push(row(name, source, published));
        if let Some(error) = &source.error {
            let first_line = error.lines().next().unwrap_or_default();
            let _ = writeln!(errors, "  {}", red_if(true, &inert(first_line)));
        }
    }
    let width = |column: usize| rows.iter().map(|row| measure_text_width(&row[column])).max();
    let widths: Vec<_> = (0..heads.len()).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::from("\n");
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let padding = " ".repeat(widths[column] - measure_text_width(cell));
            let _ = match column {
                0 => write!(text, "  {cell}{padding}"),
                _ => write!(text, "  {padding}{cell}"),
            };
        }
        text.push('\n');
    }
    text.push_str(&errors);
    let state = match &result.snapshot {
        Some(snapshot) => format!("snapshot {}", snapshot.manifest.number),
        None => "nothing new".to_owned(),
    };
    let _ = writeln!(
        text,
        "  {repository}: {} new, {state}, {}, in {}",
        result.published,
        plural(result.report.gaps.len(), "gap"),
        HumanDuration(took)
    );
    text
}

fn row(name: &str, source: &SourceReport, published: usize) -> [String; 5] {
    let failed = source.failed_versions();
    [
        red_if(source.error.is_some(), name),
        published.to_string(),
        source.excluded_versions().to_string(),
        red_if(failed > 0, &failed.to_string()),
        source.diverged.len().to_string(),
    ]
}

/// The console crate leaves the colour out for `NO_COLOR` and for terminals without colours.
fn red_if(condition: bool, text: &str) -> String {
    let style = if condition { Style::new().red() } else { Style::new() };
    style.for_stderr().apply_to(text).to_string()
}
