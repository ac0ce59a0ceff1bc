//! Bar charts. The bars are SVG that stretches to the width of the page; axes and legend are text around it, so that they can be
//! read at every width. The colours come from the style sheet, and every bar has a title in words.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use maud::{Markup, html};

use super::input::StatusInput;
use crate::store::Run;

/// In units of the drawing; the page scales it.
const WIDTH: usize = 800;
const HEIGHT: u64 = 100;

const MAX_RUNS: usize = 100;

/// Ten years.
const MAX_MONTHS: usize = 120;

/// A bar.
struct Bar {
    class: &'static str,
    value: u64,
    title: String,
}

/// The texts around the bars.
struct Axes {
    label: &'static str,
    /// The values at the top of the vertical axis and at both ends of the horizontal one.
    top: String,
    from: String,
    to: String,
}

/// One bar for each of the last cycles: its height is the duration, its colour whether it was complete.
pub(super) fn cycles(input: &StatusInput<'_>) -> Markup {
    let runs = &input.history.runs;
    let runs = &runs[runs.len().saturating_sub(MAX_RUNS)..];
    let milliseconds =
        |run: &Run| u64::try_from(run.ended.duration_since(run.began).as_millis()).unwrap_or_default();
    let seconds = |milliseconds: u64| format!("{:.1} s", milliseconds as f64 / 1e3);
    let bars: Vec<_> = runs
        .iter()
        .map(|run| Bar {
            class: if run.complete { "good" } else { "bad" },
            value: milliseconds(run),
            title: format!(
                "{}, {}, {} new{}",
                input.time(run.began),
                seconds(milliseconds(run)),
                run.published,
                if run.complete { "" } else { ", something failed" },
            ),
        })
        .collect();
    let axes = Axes {
        label: "Duration of the last cycles in seconds",
        top: seconds(runs.iter().map(milliseconds).max().unwrap_or_default()),
        from: runs.first().map(|run| input.time(run.began)).unwrap_or_default(),
        to: runs.last().map(|run| input.time(run.began)).unwrap_or_default(),
    };
    html! {
        p.legend { span.good { "■ complete" } " " span.bad { "■ something failed" } }
        (chart(&bars, &axes))
    }
}

/// One bar for each month in which released versions were committed, and for each month between.
pub(super) fn releases(input: &StatusInput<'_>) -> Markup {
    let mut months = BTreeMap::<Date, u64>::new();
    for release in input.releases {
        *months.entry(month(input.report.committed(release))).or_default() += 1;
    }
    let (Some(first), Some(last)) = (months.keys().next().copied(), months.keys().next_back().copied())
    else {
        return html! { p { "Nothing is released yet." } };
    };
    let mut all: Vec<_> = first.series(1.month()).take_while(|month| *month <= last).collect();
    all.drain(..all.len().saturating_sub(MAX_MONTHS));
    let count = |month: &Date| months.get(month).copied().unwrap_or_default();
    let name = |month: &Date| month.strftime("%Y-%m").to_string();
    let bars: Vec<_> = all
        .iter()
        .map(|month| Bar {
            class: "bar",
            value: count(month),
            title: format!("{}: {}", name(month), count(month)),
        })
        .collect();
    let axes = Axes {
        label: "Package versions by month of commit",
        top: all.iter().map(count).max().unwrap_or_default().to_string(),
        from: all.first().map(name).unwrap_or_default(),
        to: all.last().map(name).unwrap_or_default(),
    };
    chart(&bars, &axes)
}

/// The first day of the month of a time, in UTC.
fn month(time: Timestamp) -> Date {
    time.to_zoned(jiff::tz::TimeZone::UTC).date().first_of_month()
}

fn chart(bars: &[Bar], axes: &Axes) -> Markup {
    let most = bars.iter().map(|bar| bar.value).max().unwrap_or_default().max(1);
    let step = WIDTH / bars.len().max(20);
    html! {
        figure.chart {
            figcaption { (axes.label) }
            div.scale aria-hidden="true" { span { (axes.top) } span { "0" } }
            svg viewBox=(format!("0 0 {} {HEIGHT}", step * bars.len().max(20))) preserveAspectRatio="none" role="img" aria-label=(axes.label) {
                @for (i, bar) in bars.iter().enumerate().filter(|(_, bar)| bar.value > 0) {
                    @let height = (bar.value * HEIGHT / most).max(2);
                    rect class=(bar.class) x=(i * step) y=(HEIGHT - height) width=(step - 1) height=(height) {
                        title { (bar.title) }
                    }
                }
            }
            div.ends { span { (axes.from) } span { (axes.to) } }
        }
    }
}
