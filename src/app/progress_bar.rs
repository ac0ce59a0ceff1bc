//! The progress of a cycle on a terminal: one bar for what is fetched, one for what is built. Elsewhere nothing is drawn,
//! the log tells.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};

use crate::cycle::ProgressEvent;

/// The bars of one cycle; they go when it ends.
pub struct ProgressBars {
    sources: ProgressBar,
    packages: ProgressBar,
    /// Bytes received by source, of those that are being fetched.
    fetching: Mutex<BTreeMap<String, u64>>,
}

impl ProgressBars {
    /// Bars for one cycle.
    pub fn new() -> Self {
        let bars = MultiProgress::new();
        let bar = |length, template| {
            let bar = bars.add(ProgressBar::new(length));
            bar.set_style(
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar
        };
        Self {
            sources: bar(0, "fetched  {bar:30} {pos}/{len} {wide_msg}"),
            packages: bar(0, "packages {bar:30} {pos}/{len} {per_sec} {wide_msg}"),
            fetching: Mutex::default(),
        }
    }

    /// Draws a step.
    pub fn step(&self, step: ProgressEvent<'_>) {
        match step {
            ProgressEvent::Started { clones } => self.sources.set_length(clones),
            ProgressEvent::Fetching { source, progress } => {
                let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
                fetching.insert(source.to_owned(), progress.bytes);
                let each = fetching
                    .iter()
                    .map(|(source, bytes)| format!("{source} {}", HumanBytes(*bytes)));
                self.sources.set_message(each.collect::<Vec<_>>().join(", "));
            }
            ProgressEvent::Fetched { source } => {
                self.fetching
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(source);
                self.sources.inc(1);
            }
            ProgressEvent::Building { source, packages } => {
                self.packages.inc_length(packages);
                self.packages.set_message(source.to_owned());
            }
            ProgressEvent::Built => self.packages.inc(1),
            ProgressEvent::Publishing => {}
        }
    }
}

impl Drop for ProgressBars {
    fn drop(&mut self) {
        self.sources.finish_and_clear();
        self.packages.finish_and_clear();
    }
}
