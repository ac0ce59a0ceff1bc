//! Small charts in SVG. The colours come from the style sheet, and every bar has a title in words.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::input::StatusInput;
use crate::metadata::pages::instant;
use crate::store::Run;

/// In units of the drawing; the page scales it.
const WIDTH: usize = 800;
const HEIGHT: usize = 60;

const MAX_RUNS: usize = 100;

/// One bar for each of the last cycles: its height is the duration, its colour whether it was complete.
pub(super) fn cycles(input: &StatusInput<'_>) -> Markup {
    let runs = &input.history.runs;
    let runs = &runs[runs.len().saturating_sub(MAX_RUNS)..];
    let seconds = |run: &Run| run.ended.duration_since(run.began).as_secs().max(0);
    let seconds = |run: &Run| usize::try_from(seconds(run)).unwrap_or_default();
    let longest = runs.iter().map(seconds).max().unwrap_or_default().max(1);
    let step = WIDTH / MAX_RUNS;
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label="The last cycles and their durations" {
            @for (i, run) in runs.iter().enumerate() {
                @let height = 4 + seconds(run) * (HEIGHT - 4) / longest;
                rect class=(if run.complete { "good" } else { "bad" }) x=(i * step) y=(HEIGHT - height) width=(step - 2) height=(height) {
                    title {
                        (instant(run.began)) ", " (seconds(run)) " s, " (run.published) " new"
                        @if !run.complete { ", something failed" }
                    }
                }
            }
        }
    }
}

/// One bar for each month in which released versions were committed.
pub(super) fn releases(input: &StatusInput<'_>) -> Markup {
    let mut months = BTreeMap::<String, usize>::new();
    for release in input.releases {
        let committed = input.report.committed(release);
        *months.entry(committed.strftime("%Y-%m").to_string()).or_default() += 1;
    }
    let most = months.values().copied().max().unwrap_or(1);
    let step = WIDTH / months.len().clamp(40, 400);
    let shown = months.len().min(WIDTH / step);
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label="Package versions by month of commit" {
            @for (i, (month, count)) in months.iter().skip(months.len() - shown).enumerate() {
                @let height = 2 + count * (HEIGHT - 2) / most;
                rect.bar x=(i * step) y=(HEIGHT - height) width=(step.saturating_sub(1).max(1)) height=(height) {
                    title { (month) ": " (count) }
                }
            }
        }
    }
}
