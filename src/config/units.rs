//! Durations, sizes and percentages as people write them: with their unit. A bare number is refused, because it has none.
//!
//! By hand, since the crates for it accept a bare number of bytes and would print `7d` as `7days`, which changes the
//! defaults in the published schema.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::json_schema::text_schema;
use crate::yaml::{Issue, Path, Report};

/// A unit and how many of the smallest one it is.
type Unit = (&'static str, u64);

/// In milliseconds.
const DURATIONS: [Unit; 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
/// In bytes. IEC 80000-13: `Ki` is 1024, `k` is 1000.
const SIZES: [Unit; 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

text_schema!(struct DurationText, "duration-with-unit", r"^([0-9]+ *(d|h|m|s|ms) *)+$|\$\{");
text_schema!(struct SizeText, "size-with-unit", r"^([0-9]+ *([GMK]iB|[GMk]B|B) *)+$|\$\{");
text_schema!(Percent, "percentage", r"^[0-9]+(\.[0-9]+)? *%$|\$\{");

/// `#[serde(with)]` for a [`std::time::Duration`].
pub(crate) mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::yaml::Issue;

    pub(crate) fn parse(text: &str) -> Result<Duration, Issue> {
        let expected = "expected a duration with its unit, such as 30s or 1h30m";
        super::parse(text, &super::DURATIONS)
            .map(Duration::from_millis)
            .ok_or_else(|| super::issue(expected, text, "s", &super::DURATIONS))
    }

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        to.serialize_str(&super::print(milliseconds, &super::DURATIONS))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        parse(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}

/// `#[serde(with)]` for a [`std::time::Duration`] that may be left out.
pub(crate) mod optional_duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::duration::serialize(duration, to),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| super::duration::parse(&text)).transpose().map_err(de::Error::custom)
    }
}

/// `#[serde(with)]` for a number of bytes.
pub(crate) mod size {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::yaml::Issue;

    pub(crate) fn parse(text: &str) -> Result<usize, Issue> {
        super::parse(text, &super::SIZES).and_then(|bytes| usize::try_from(bytes).ok()).ok_or_else(|| {
            let expected = "expected a size with its unit, such as 64MiB";
            super::issue(expected, text, "MiB", &super::SIZES)
        })
    }

    pub(crate) fn serialize<S: Serializer>(bytes: &usize, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::print(*bytes as u64, &super::SIZES))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
        parse(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}

/// `#[serde(with)]` for a number of bytes that may be left out.
pub(crate) mod optional_size {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(bytes: &Option<usize>, to: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => super::size::serialize(bytes, to),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<usize>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| super::size::parse(&text)).transpose().map_err(de::Error::custom)
    }
}

/// A bare number was most likely meant in the `usual` unit.
fn issue(expected: &str, text: &str, usual: &str, units: &[Unit]) -> Issue {
    let issue = Issue::new(expected).found(format!("`{text}`"));
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return issue;
    }
    let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
    issue.hint(format!("write {text}{usual}; the units are {}", names.join(", ")))
}

/// The largest unit without a remainder.
fn print(amount: u64, units: &[Unit]) -> String {
    let whole = units.iter().find(|(_, factor)| amount >= *factor && amount.is_multiple_of(*factor));
    match (whole, units.last()) {
        (Some((unit, factor)), _) => format!("{}{unit}", amount / factor),
        (None, Some((unit, _))) => format!("{amount}{unit}"),
        (None, None) => amount.to_string(),
    }
}

/// The sum of the numbers, each times its unit.
fn parse(text: &str, units: &[Unit]) -> Option<u64> {
    let mut sum: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() || text.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
        sum = sum.checked_add(number.parse::<u64>().ok()?.checked_mul(*factor)?)?;
        rest = tail;
    }
    Some(sum)
}

/// A share, written as `3%` or `0.5%`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Percent(pub f64);

impl TryFrom<String> for Percent {
    type Error = Issue;

    fn try_from(text: String) -> Result<Self, Issue> {
        let number = text.strip_suffix('%').and_then(|n| n.trim().parse::<f64>().ok());
        let share = number.filter(|n| (0.0..=100.0).contains(n));
        share.map(Self).ok_or_else(|| {
            let issue = Issue::new("expected a share from 0% to 100%, such as 3%").found(format!("`{text}`"));
            match text.parse::<f64>() {
                Ok(_) => issue.hint(format!("write {text}%")),
                Err(_) => issue,
            }
        })
    }
}

impl From<Percent> for String {
    fn from(share: Percent) -> Self {
        format!("{}%", share.0)
    }
}

/// A timeout of zero would let nothing pass.
pub(super) fn check_positive(duration: Duration, at: &Path, report: &mut Report) {
    if duration.is_zero() {
        report.add(at, Issue::new("expected a duration above zero"));
    }
}

/// A number that is not zero, for defaults.
pub(super) const fn count(number: usize) -> NonZeroUsize {
    match NonZeroUsize::new(number) {
        Some(number) => number,
        None => NonZeroUsize::MIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_sizes_and_percentages_round_trip() {
        let minutes = |text| parse(text, &DURATIONS).map(|milliseconds| milliseconds / 60_000);
        assert_eq!(minutes("1h30m"), Some(90));
        assert_eq!(minutes("1h 30m"), Some(90));
        assert_eq!(minutes("2d"), Some(2880));
        assert_eq!(minutes("5 m"), Some(5));
        assert_eq!(parse("64MiB", &SIZES), Some(67_108_864));
        assert_eq!(parse("1kB", &SIZES), Some(1000));
        for broken in ["", "30", "s", "1.5h", "-3s", "1H", "99999999999999999999s", "999999999999999999d"] {
            assert_eq!(parse(broken, &DURATIONS), None, "{broken}");
        }
        assert_eq!(print(90_000, &DURATIONS), "90s");
        assert_eq!(print(0, &DURATIONS), "0ms");
        assert_eq!(print(16_384, &SIZES), "16KiB");
    }
}
