//! What the outside can see of a running mirror: its log and its metrics.

mod http;
mod logging;
mod metrics;
mod mirror;
mod register;
mod tally;
mod unread;

pub use logging::{ACCESS, Unread, init_logging};
pub use metrics::{MEDIA_TYPE, Metrics, Open};
pub use tally::{AnswerKind, Answered, Tally};
