//! The log and the metrics of a running mirror.

mod http_metrics;
mod logging;
mod metrics;
mod nonblocking_stderr;
mod register;
mod repository_metrics;

pub use http_metrics::{RequestLabels, RequestOutcome};
pub(crate) use logging::set_progress_bars;
pub use logging::{ACCESS, OnBlocked, init_logging};
pub use metrics::{MEDIA_TYPE, Metrics, Open};
