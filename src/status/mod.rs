//! The state of a repository, for people and for monitors: values in, bytes out.
//!
//! [`StatusInput`] collects what is known of a repository. [`mirror_json()`] and [`progress_json()`] render the JSON documents,
//! [`status_page()`] and [`host_index()`] the pages, [`metric_values()`] the metrics, [`notification`] the message to a webhook.
//! None of this is part of a snapshot, because it changes even if nothing new is published.

mod alerts;
mod charts;
mod host_index;
mod input;
mod metric_values;
mod mirror_json;
mod next_run;
mod problems;
mod progress_json;
mod state;
mod status_page;
mod text_files;
mod unreleased;

pub use alerts::{AlertState, notification};
pub use host_index::{IndexEntry, Overview, host_index};
pub use input::StatusInput;
pub use metric_values::{MetricValues, metric_values};
pub use mirror_json::{diverged_version, mirror_json, source_status};
pub use next_run::NextRun;
pub use progress_json::{RunningCycle, progress_json};
pub use state::{STATES, State, state};
pub use status_page::status_page;
