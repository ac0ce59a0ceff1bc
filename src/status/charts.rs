//! Small time lines as SVG. Colours come from the style sheet, and every mark says in words what it is.

use maud::{Markup, html};
use std::collections::BTreeMap;

use super::StatusInput;
use crate::metadata::pages::instant;

/// Units of the drawing, not pixels: it is as wide as its place.
const WIDTH: usize = 800;
const HEIGHT: usize = 60;

/// The last cycles, one bar each: as high as they took long, and marked where something failed.
pub(super) fn cycles(input: &StatusInput<'_>) -> Markup {
    let shown = 100;
    let past = &input.cycles.runs[input.cycles.runs.len().saturating_sub(shown)..];
    let seconds = |c: &crate::store::Run| c.ended.duration_since(c.began).as_secs().max(0);
    let longest = past.iter().map(seconds).max().unwrap_or_default().max(1);
    let (step, longest) = (WIDTH / shown, usize::try_from(longest).unwrap_or(1));
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label="The last cycles, and how long each took" {
            @for (i, cycle) in past.iter().enumerate() {
                @let took = usize::try_from(seconds(cycle)).unwrap_or_default();
                @let high = 4 + took * (HEIGHT - 4) / longest;
                rect class=(if cycle.complete { "good" } else { "bad" }) x=(i * step) y=(HEIGHT - high) width=(step - 2) height=(high) {
                    title {
                        (instant(cycle.began)) ", " (took) " s, " (cycle.published) " new"
                        @if !cycle.complete { ", something failed" }
                    }
                }
            }
        }
    }
}

/// Releases by month of their commit.
pub(super) fn releases(input: &StatusInput<'_>) -> Markup {
    let mut months = BTreeMap::<String, usize>::new();
    for release in input.releases {
        *months
            .entry(release.committed.strftime("%Y-%m").to_string())
            .or_default() += 1;
    }
    let most = months.values().copied().max().unwrap_or(1);
    let step = WIDTH / months.len().clamp(40, 400);
    let shown = months.len().min(WIDTH / step);
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label="Package versions by the month of their commit" {
            @for (i, (month, count)) in months.iter().skip(months.len() - shown).enumerate() {
                @let high = 2 + count * (HEIGHT - 2) / most;
                rect.bar x=(i * step) y=(HEIGHT - high) width=(step.saturating_sub(1).max(1)) height=(high) {
                    title { (month) ": " (count) }
                }
            }
        }
    }
}
