//! Delays between cycles.

use std::time::Duration;

/// The delay while another instance has locked the volume.
pub(super) const LOCKED_RETRY_DELAY: Duration = Duration::from_secs(10);

/// The delay before the next attempt after `failures` in a row: 10 seconds, doubled with each failure, at most one hour. It
/// begins short because a container may start before its network.
pub(super) fn retry_delay(failures: u32) -> Duration {
    let factor = 2_u32.saturating_pow(failures.saturating_sub(1));
    Duration::from_secs(10).saturating_mul(factor).min(Duration::from_secs(3600))
}

/// The shortest time between a cycle and the next one that a push requests. A release consists of many pushes to many
/// repositories; for a follower it is one push, and its cycle is one request.
pub(super) fn push_debounce(follows: bool) -> Duration {
    Duration::from_secs(if follows { 1 } else { 30 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_delay_doubles_up_to_one_hour() {
        let seconds = [0, 1, 2, 3, 9, 10, 1000].map(|failures| retry_delay(failures).as_secs());
        assert_eq!(seconds, [10, 10, 20, 40, 2560, 3600, 3600]);
    }
}
