//! The log: events on the standard error output, as text for people or as JSON lines for machines.
//!
//! Events of dependencies are logged from `warn` on, except at the level `trace`.

use std::io::{self, IsTerminal, Write};

use anyhow::Context;
use indicatif::MultiProgress;
use parking_lot::Mutex;
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Level};
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{fmt, registry};

use super::nonblocking_stderr::Output;
use crate::config::{LogFormat, LogLevel};
use crate::util::text::{inert, inert_lines, without_error_numbers};

/// The target of the access log. It is logged at every level, because it has a setting of its own.
pub const ACCESS: &str = concat!(env!("CARGO_CRATE_NAME"), "::access");

/// What happens to a line while the reader of the log stalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBlocked {
    Wait,
    /// After a second, lines are dropped and counted.
    Drop,
}

/// Sets up the log of this process. Called once, before the first event.
pub fn init_logging(format: LogFormat, level: LogLevel, on_blocked: OnBlocked) -> anyhow::Result<()> {
    let terminal = io::stderr().is_terminal();
    // https://no-color.org: set and not empty.
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let style = style(format, terminal, !plain);
    let dispatch = match on_blocked {
        OnBlocked::Wait => dispatch(style, level, || AboveBars),
        OnBlocked::Drop => dispatch(style, level, || Output),
    };
    tracing::dispatcher::set_global_default(dispatch).context("failed to set up the log")
}

/// The progress bars at the end of the terminal, if there are any.
static BARS: Mutex<Option<MultiProgress>> = Mutex::new(None);

/// Keeps these bars below the lines of the log.
pub(crate) fn set_progress_bars(bars: Option<MultiProgress>) {
    *BARS.lock() = bars;
}

/// The standard error output. Progress bars are removed while a line is written, and drawn again below it.
struct AboveBars;

impl Write for AboveBars {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let bars = BARS.lock().clone();
        match bars {
            Some(bars) => bars.suspend(|| io::stderr().write(line)),
            None => io::stderr().write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Text { colours: bool },
    Json,
}

fn style(format: LogFormat, terminal: bool, colours_wanted: bool) -> Style {
    match format {
        LogFormat::Json => Style::Json,
        LogFormat::Auto if !terminal => Style::Json,
        LogFormat::Auto | LogFormat::Text => Style::Text { colours: terminal && colours_wanted },
    }
}

fn dispatch<W>(style: Style, level: LogLevel, writer: W) -> Dispatch
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let events = registry().with(filter(level));
    match style {
        Style::Json => {
            let lines = fmt::layer().json().flatten_event(true).with_current_span(false);
            let lines = lines.with_writer(InertWriter(writer));
            Dispatch::new(events.with(lines))
        }
        Style::Text { colours } => {
            let fields = debug_fn(|line, field, value| match field.name() {
                "message" => write!(line, "{}", plain(&format!("{value:?}"))),
                name => write!(line, "{name}={}", plain(&format!("{value:?}"))),
            });
            let fields = fields.delimited(" ");
            let lines = fmt::layer().with_target(false).with_ansi(colours).fmt_fields(fields);
            let lines = lines.with_writer(writer);
            Dispatch::new(events.with(lines))
        }
    }
}

fn plain(text: &str) -> String {
    inert(&without_error_numbers(text))
}

/// Escapes what controls a terminal and may stand in JSON as it is: container engines print the log's lines unchanged.
struct InertWriter<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for InertWriter<W> {
    type Writer = InertWriter<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        InertWriter(self.0.make_writer())
    }
}

impl<W: Write> Write for InertWriter<W> {
    /// Called with a whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = without_error_numbers(&String::from_utf8_lossy(line));
        self.0.write_all(inert_lines(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn filter(level: LogLevel) -> Targets {
    let own = match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    let others = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Warn | LogLevel::Info | LogLevel::Debug => LevelFilter::WARN,
    };
    Targets::new()
        .with_default(others)
        .with_target(env!("CARGO_CRATE_NAME"), own)
        .with_target(ACCESS, Level::INFO.max(own))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(style: Style, level: LogLevel) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        tracing::dispatcher::with_default(&dispatch(style, level, move || writer.clone()), || {
            let span = tracing::info_span!("cycle", repository = "magento");
            let _inside = span.enter();
            tracing::info!(source = "inventory", packages = 3, "built");
            tracing::debug!("own detail");
            tracing::info!(target: "hyper", "detail of a dependency");
            tracing::warn!(target: "hyper", "warning of a dependency");
            tracing::info!(target: ACCESS, status = 200, "GET");
        });
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn format_auto_depends_on_terminal() {
        assert_eq!(style(LogFormat::Auto, true, true), Style::Text { colours: true });
        assert_eq!(style(LogFormat::Auto, true, false), Style::Text { colours: false });
        assert_eq!(style(LogFormat::Auto, false, true), Style::Json);
        assert_eq!(style(LogFormat::Text, false, true), Style::Text { colours: false });
        assert_eq!(style(LogFormat::Json, true, true), Style::Json);
    }

    #[test]
    fn json_lines_are_valid_json() {
        let log = logged(Style::Json, LogLevel::Info);
        let lines: Vec<serde_json::Value> =
            log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let messages: Vec<&str> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
        assert_eq!(messages, ["built", "warning of a dependency", "GET"]);
        assert_eq!((&lines[0]["source"], &lines[0]["packages"]), (&"inventory".into(), &3.into()));
        assert_eq!(lines[0]["level"], "INFO");
        assert_eq!(lines[0]["spans"][0]["repository"], "magento");
    }

    #[test]
    fn json_lines_control_no_terminal() {
        let lines = Lines::default();
        let writer = lines.clone();
        let foreign = "\u{1b}[2J\u{9b}31m\u{202e}\u{7f}\rä";
        tracing::dispatcher::with_default(
            &dispatch(Style::Json, LogLevel::Info, move || writer.clone()),
            || {
                let _inside = tracing::info_span!("cycle", source = %foreign).entered();
                tracing::warn!(error = %foreign, "failed: {foreign}");
            },
        );
        let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(!log.contains(['\u{1b}', '\u{9b}', '\u{202e}', '\u{7f}', '\r']), "{log}");
        let line: serde_json::Value = serde_json::from_str(&log).unwrap();
        assert_eq!(line["message"], format!("failed: {foreign}"));
        assert_eq!((&line["error"], &line["spans"][0]["source"]), (&foreign.into(), &foreign.into()));
    }

    #[test]
    fn text_has_one_line_for_each_event_whatever_it_quotes() {
        for colours in [false, true] {
            let lines = Lines::default();
            let writer = lines.clone();
            let style = Style::Text { colours };
            tracing::dispatcher::with_default(
                &dispatch(style, LogLevel::Info, move || writer.clone()),
                || {
                    let _inside = tracing::info_span!("cycle", source = %"a\nb").entered();
                    let foreign = "\u{9b}31m\rx\n2026-01-01 ERROR forged";
                    tracing::warn!(error = %foreign, debug = ?foreign, foreign, "failed: {foreign}\nhint: ours");
                },
            );
            let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            assert_eq!(log.lines().count(), 2, "{log}");
            assert!(!log.contains(['\r', '\u{9b}']) && log.contains("\\u009b31m\\u000dx\\n2026"), "{log}");
        }
    }

    #[test]
    fn text_without_colours_has_no_escape_sequences() {
        let log = logged(Style::Text { colours: false }, LogLevel::Debug);
        assert!(log.contains("built source=\"inventory\" packages=3"), "{log}");
        assert!(log.contains("own detail") && !log.contains("detail of a dependency"), "{log}");
        assert!(!log.contains('\u{1b}'), "{log}");
        assert!(logged(Style::Text { colours: true }, LogLevel::Info).contains('\u{1b}'));
        assert_eq!(logged(Style::Json, LogLevel::Error).lines().count(), 1, "only the access log");
    }
}
