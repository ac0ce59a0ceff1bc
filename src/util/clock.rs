//! The time of the system's clock.

use jiff::Timestamp;

/// Now, in whole seconds: the resolution of HTTP dates.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default()
}
