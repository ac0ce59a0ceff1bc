//! Progress bars on a terminal: for fetched sources, built packages and uploaded objects. Without a terminal nothing is drawn.

use std::collections::BTreeMap;

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};
use parking_lot::Mutex;

use crate::bucket::UploadEvent;
use crate::cycle::ProgressEvent;
use crate::telemetry::set_progress_bars;

/// The bars of one cycle. They disappear when it ends.
pub(crate) struct ProgressBars {
    sources: ProgressBar,
    packages: ProgressBar,
    uploads: ProgressBar,
    /// Received bytes of each source that is being fetched.
    fetching: Mutex<BTreeMap<String, u64>>,
}

impl ProgressBars {
    pub(crate) fn new() -> Self {
        let bars = MultiProgress::new();
        let bar = |template| {
            let bar = bars.add(ProgressBar::new(0));
            bar.set_style(
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar
        };
        let (sources, packages, uploads) = (
            bar("fetched  {bar:30} {pos}/{len} {wide_msg}"),
            bar("packages {bar:30} {pos}/{len} {per_sec} {wide_msg}"),
            bar("uploaded {bar:30} {pos}/{len} {per_sec}"),
        );
        set_progress_bars(Some(bars));
        Self { sources, packages, uploads, fetching: Mutex::default() }
    }

    pub(crate) fn update(&self, event: ProgressEvent<'_>) {
        let fetching = || self.fetching.lock();
        match event {
            ProgressEvent::Started { clones } => self.sources.set_length(clones),
            ProgressEvent::Fetching { source, progress } => {
                let mut fetching = fetching();
                fetching.insert(source.to_owned(), progress.bytes);
                let received =
                    fetching.iter().map(|(source, bytes)| format!("{source} {}", HumanBytes(*bytes)));
                self.sources.set_message(received.collect::<Vec<_>>().join(", "));
            }
            ProgressEvent::Fetched { source } => {
                fetching().remove(source);
                self.sources.inc(1);
            }
            ProgressEvent::Building { source, packages } => {
                self.packages.inc_length(packages);
                self.packages.set_message(source.to_owned());
            }
            ProgressEvent::Built => self.packages.inc(1),
            ProgressEvent::Uploading(UploadEvent::Begun { objects }) => {
                self.uploads.set_length(objects);
                self.uploads.set_position(0);
            }
            ProgressEvent::Uploading(UploadEvent::Uploaded) => self.uploads.inc(1),
            ProgressEvent::Working { .. } | ProgressEvent::Publishing => {}
        }
    }
}

impl Drop for ProgressBars {
    fn drop(&mut self) {
        self.sources.finish_and_clear();
        self.packages.finish_and_clear();
        self.uploads.finish_and_clear();
        set_progress_bars(None);
    }
}
