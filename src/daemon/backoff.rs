//! Retry delays.

use std::time::Duration;

/// How long after a failed cycle the next one begins where nothing is published yet: `failures` is how many failed in a row.
/// Soon at first, because the network of a container may come up after it, then ever later, but not more than an hour.
pub fn retry_after(failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    Duration::from_secs(10)
        .saturating_mul(doubled)
        .min(Duration::from_secs(3600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_delay_grows_with_each_failure() {
        let seconds = [0, 1, 2, 3, 9, 10, 1000].map(|failures| retry_after(failures).as_secs());
        assert_eq!(seconds, [10, 10, 20, 40, 2560, 3600, 3600]);
    }
}
