//! Magento's order of tags, and which tags a source releases.
//!
//! The numbers count first, then `-alpha…`, `-beta…`, `-RC…` before the plain version, then `-p1`, `-p2`, … after it:
//! the rule of the reference generator's `src/utils.js`, which rests on the compare-versions package. Build metadata
//! (`+5`) does not count.

use std::cmp::Ordering;

/// A tag read as a version in Magento's order. A patch such as `-p1.2.3`, which is no decimal number, is neither before,
/// equal to nor after another patch of the same version, as in the reference.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
pub struct TagVersion {
    /// Without zeros at the end.
    numbers: Vec<u64>,
    stage: Stage,
    /// The decimal number of `-p1` or `-p1.5`; `None` for the plain version.
    patch: Option<f64>,
}

/// Versions before a release come first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// The identifiers of `-alpha.1` or `-RC2`.
    PreRelease(Vec<Identifier>),
    Release,
}

/// A part of a pre-release. Numbers come before words, and a part that begins with a number is that number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Word(String),
}

impl TagVersion {
    /// Reads `2.4.4`, `v1.0.0-beta2`, `2.4.4-p11`, `1.0.0+5`; `None` for what is not a version.
    pub fn parse(tag: &str) -> Option<Self> {
        let text = tag.strip_prefix('v').unwrap_or(tag);
        let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
        if build.is_some_and(|build| !has_identifiers(build)) {
            return None;
        }
        let (core, suffix) = text.split_once('-').map_or((text, None), |(core, suffix)| (core, Some(suffix)));
        let is_number = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
        let mut numbers = core
            .split('.')
            .map(|part| Some(part).filter(is_number)?.parse().ok())
            .collect::<Option<Vec<u64>>>()?;
        if numbers.len() > 4 {
            return None;
        }
        while numbers.last() == Some(&0) {
            numbers.pop();
        }
        let (stage, patch) = match suffix {
            None => (Stage::Release, None),
            Some(suffix) => match patch_number(suffix) {
                Some(patch) => (Stage::Release, Some(patch)),
                None => (Stage::PreRelease(identifiers(suffix)?), None),
            },
        };
        Some(Self { numbers, stage, patch })
    }

    /// The order; versions that the reference cannot compare count as equal.
    pub fn order(&self, other: &Self) -> Ordering {
        self.partial_cmp(other).unwrap_or(Ordering::Equal)
    }
}

/// The number of a suffix such as `p11` or `p1.5`; anything after it is not looked at. Like the reference's, it is decimal:
/// `p1.10` is `p1.1`, and `p1.2.3` is not a number.
fn patch_number(suffix: &str) -> Option<f64> {
    let rest = suffix.strip_prefix('p')?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    (end > 0).then(|| rest[..end].parse().unwrap_or(f64::NAN))
}

fn identifiers(suffix: &str) -> Option<Vec<Identifier>> {
    let identifier = |part: &str| {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        match part[..digits].parse() {
            Ok(number) => Identifier::Number(number),
            Err(_) => Identifier::Word(part.to_owned()),
        }
    };
    has_identifiers(suffix).then(|| suffix.split('.').map(identifier).collect())
}

/// Whether it consists of parts of letters, digits and hyphens, separated by dots.
fn has_identifiers(text: &str) -> bool {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || c == '-';
    text.split('.').all(|part| !part.is_empty() && part.chars().all(is_safe))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_in_magento_order() {
        let ascending = [
            "v0.9",
            "1.0.0-beta1",
            "1.0.0-beta2",
            "1.0.0",
            "1.0.0-p1",
            "1.0.0-p2",
            "v1.0.0-p11",
            "1.0.1",
            "2.3.7",
            "2.3.7-p2",
            "2.4.0-alpha1",
            "2.4.0",
            "v2.4-p1",
            "2.4-p2",
            "2.4-p9",
            "2.4-p10",
            "2.4.6",
            "2.4.6-p1",
            "2.4.7",
            "2.4.10",
            "3.0.0-1",
            "3.0.0-2rc",
            "3.0.0-10",
            "3.0.0-beta",
            "3.0.0-beta.2",
            "3.0.0-beta.10",
            "3.0.0-p0",
            "3.0.0-p0.1",
            "3.0.0-p1",
            "3.0.0-p1.10",
            "3.0.0-p1.5",
            "3.0.0-p2+5",
        ];
        for pair in ascending.windows(2) {
            let [a, b] = [0, 1].map(|i| TagVersion::parse(pair[i]).unwrap());
            assert!(a < b, "{} < {}", pair[0], pair[1]);
        }
        for (a, b) in [
            ("v1.2", "1.2.0"),
            ("v2.4-p1", "2.4-p1"),
            ("1.0.0+5", "1.0.0"),
            ("1.0.0-p1.50", "1.0.0-p1.5"),
            ("0.0", "0"),
        ] {
            assert_eq!(TagVersion::parse(a), TagVersion::parse(b), "{a} = {b}");
        }
    }

    #[test]
    fn patch_that_is_no_decimal_number_has_no_order() {
        let [a, b, plain] = ["1.0.0-p1.2.3", "1.0.0-p1", "1.0.0"].map(|tag| TagVersion::parse(tag).unwrap());
        assert!(a.partial_cmp(&b).is_none() && a.partial_cmp(&a).is_none());
        assert!(a > plain);
    }

    #[test]
    fn other_names_are_no_versions() {
        for tag in
            ["", "v", "latest", "1..2", "1.2.3.4.5", "1.0.0+", "1.0.0-", "1.0.0+a_b", "1.0.0-a/b", "+1.0"]
        {
            assert_eq!(TagVersion::parse(tag), None, "{tag}");
        }
    }
}
