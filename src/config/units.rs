//! Durations and sizes as people write them: with their unit. A bare number is refused, because it has none.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroUsize;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Unexpected, Visitor};

/// A unit and how many of the smallest one it is.
type Unit = (&'static str, u64);

/// In milliseconds.
const DURATIONS: [Unit; 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];
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

const DURATION: Quantity = Quantity {
    expected: "a duration with its unit, such as 30s or 1h30m",
    units: &DURATIONS,
    usual: "s",
};
const SIZE: Quantity = Quantity {
    expected: "a size with its unit, such as 64MiB",
    units: &SIZES,
    usual: "MiB",
};

/// `#[serde(with)]` for a [`std::time::Duration`].
pub mod duration {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        to.serialize_str(&super::print(milliseconds, &super::DURATIONS))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        from.deserialize_any(super::DURATION).map(Duration::from_millis)
    }
}

/// `#[serde(with)]` for a number of bytes.
pub mod size {
    use serde::{Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(bytes: &usize, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::print(*bytes as u64, &super::SIZES))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
        let bytes = from.deserialize_any(super::SIZE)?;
        usize::try_from(bytes).map_err(|_| de::Error::custom("the size is too large"))
    }
}

/// The largest unit without a remainder.
fn print(amount: u64, units: &[Unit]) -> String {
    let whole = units
        .iter()
        .find(|(_, factor)| amount >= *factor && amount.is_multiple_of(*factor));
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

#[derive(Clone, Copy)]
struct Quantity {
    expected: &'static str,
    units: &'static [Unit],
    /// The unit that was most likely meant when it is missing.
    usual: &'static str,
}

impl Visitor<'_> for Quantity {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        parse(text, self.units).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
        let units: Vec<&str> = self.units.iter().map(|(name, _)| *name).collect();
        let hint = format!("write {number}{}; the units are {}", self.usual, units.join(", "));
        Err(E::custom(format_args!(
            "expected {}, found the number {number}\nhint: {hint}",
            self.expected
        )))
    }
}

/// A share, written as `3%` or `0.5%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percent(pub f64);

impl serde::Serialize for Percent {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{}%", self.0))
    }
}

impl<'de> serde::Deserialize<'de> for Percent {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Share).map(Self)
    }
}

struct Share;

impl Visitor<'_> for Share {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a share from 0% to 100%, such as 3%")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<f64, E> {
        let number = text.strip_suffix('%').and_then(|n| n.trim().parse::<f64>().ok());
        let share = number.filter(|n| (0.0..=100.0).contains(n));
        share.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<f64, E> {
        self.visit_f64(number as f64)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<f64, E> {
        let found = "expected a share from 0% to 100%, such as 3%, found the number";
        Err(E::custom(format_args!("{found} {number}\nhint: write {number}%")))
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? *%$|\$\{" })
    }
}

/// The schema of a duration.
pub struct DurationText;

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^([0-9]+ *(d|h|m|s|ms) *)+$|\$\{" })
    }
}

/// The schema of a size.
pub struct SizeText;

impl JsonSchema for SizeText {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^([0-9]+ *([GMK]iB|[GMk]B|B) *)+$|\$\{" })
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
    fn amounts_are_read_and_printed() {
        let minutes = |text| parse(text, &DURATIONS).map(|milliseconds| milliseconds / 60_000);
        assert_eq!(minutes("1h30m"), Some(90));
        assert_eq!(minutes("1h 30m"), Some(90));
        assert_eq!(minutes("2d"), Some(2880));
        assert_eq!(minutes("5 m"), Some(5));
        assert_eq!(parse("64MiB", &SIZES), Some(67_108_864));
        assert_eq!(parse("1kB", &SIZES), Some(1000));
        for broken in [
            "",
            "30",
            "s",
            "1.5h",
            "-3s",
            "1H",
            "99999999999999999999s",
            "999999999999999999d",
        ] {
            assert_eq!(parse(broken, &DURATIONS), None, "{broken}");
        }
        assert_eq!(print(90_000, &DURATIONS), "90s");
        assert_eq!(print(0, &DURATIONS), "0ms");
        assert_eq!(print(16_384, &SIZES), "16KiB");
    }
}
