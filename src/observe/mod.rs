//! What the outside can see of a running mirror: its log and its metrics.

mod logging;
mod metrics;

pub use logging::{ACCESS, init_logging};
pub use metrics::{Answered, MEDIA_TYPE, Metrics, Open};
