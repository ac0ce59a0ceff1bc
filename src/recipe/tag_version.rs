//! Magento's order of tags, and which tags a source releases.
//!
//! The numbers count first, then `-alpha…`, `-beta…`, `-RC…` before the plain version, then `-p1`, `-p2`, … after it:
//! the rule of the reference generator's `src/utils.js`, which rests on the compare-versions package.

use std::cmp::Ordering;

/// A tag read as a version in Magento's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagVersion {
    numbers: Vec<u64>,
    /// The identifiers of `-alpha.1`, `-RC2`; empty for a plain or patched version.
    pre_release: Vec<String>,
    /// The number of `-p1`; 0 for the plain version.
    patch: u64,
}

impl TagVersion {
    /// Reads `2.4.4`, `v1.0.0-beta2`, `2.4.4-p11`; `None` for what is not a version.
    pub fn parse(tag: &str) -> Option<Self> {
        let text = tag.strip_prefix('v').unwrap_or(tag);
        let (core, suffix) = text.split_once('-').map_or((text, None), |(core, suffix)| (core, Some(suffix)));
        let numbers = core.split('.').map(|part| part.parse().ok()).collect::<Option<Vec<u64>>>()?;
        if numbers.len() > 4 {
            return None;
        }
        let Some(suffix) = suffix else {
            return Some(Self { numbers, pre_release: Vec::new(), patch: 0 });
        };
        if let Some(patch) = patch_number(suffix) {
            return Some(Self { numbers, pre_release: Vec::new(), patch });
        }
        let word =
            |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        let parts: Vec<_> = suffix.split('.').map(str::to_owned).collect();
        parts.iter().all(|part| word(part)).then_some(Self { numbers, pre_release: parts, patch: 0 })
    }
}

/// The number of a suffix such as `p11`; anything after the digits is not looked at, as in the reference.
fn patch_number(suffix: &str) -> Option<u64> {
    let digits = suffix.strip_prefix('p')?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

impl Ord for TagVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_numbers(&self.numbers, &other.numbers)
            .then_with(|| compare_pre_release(&self.pre_release, &other.pre_release))
            .then_with(|| self.patch.cmp(&other.patch))
    }
}

impl PartialOrd for TagVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn compare_numbers(a: &[u64], b: &[u64]) -> Ordering {
    let at = |numbers: &[u64], i: usize| numbers.get(i).copied().unwrap_or(0);
    (0..a.len().max(b.len())).map(|i| at(a, i).cmp(&at(b, i))).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
}

fn compare_pre_release(a: &[String], b: &[String]) -> Ordering {
    match (a.is_empty(), b.is_empty()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => a.cmp(b),
    }
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
            "2.4.10",
        ];
        for pair in ascending.windows(2) {
            let [a, b] = [0, 1].map(|i| TagVersion::parse(pair[i]).unwrap());
            assert!(a < b, "{} < {}", pair[0], pair[1]);
        }
        assert_eq!(
            TagVersion::parse("v1.2").unwrap().cmp(&TagVersion::parse("1.2.0").unwrap()),
            Ordering::Equal
        );
    }
}
