//! Times and sizes as the pages show them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `2024-05-06 07:08 UTC`.
pub fn instant(time: Timestamp) -> String {
    instant_in(time, &TimeZone::UTC)
}

/// `2024-05-06 09:08 CEST`.
pub fn instant_in(time: Timestamp, zone: &TimeZone) -> String {
    time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M %Z").to_string()
}

/// `2024-05-06`, in UTC.
pub(super) fn day(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d").to_string()
}

/// A human-readable size.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
