//! What the outside can see of a running mirror: its log and its metrics.

mod http_metrics;
mod logging;
mod metrics;
mod nonblocking_stderr;
mod register;
mod repository_metrics;

pub use http_metrics::{RequestLabels, RequestOutcome};
pub use logging::{ACCESS, Unread, init_logging};
pub use metrics::{MEDIA_TYPE, Metrics, Open};
