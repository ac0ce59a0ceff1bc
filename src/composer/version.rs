//! Versions by the rules of composer/semver's `VersionParser::normalize`, and their order by PHP's `version_compare`.
//!
//! A version is also part of a file name here: a slash is rejected although Composer would accept it.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use regex::Regex;

use super::php;

/// `[._-]?` and so on are `VersionParser::$modifierRegex`; its groups are the word, its number and `dev`.
pub(super) const MODIFIER: &str =
    r"[._-]?(?:(stable|beta|b|RC|alpha|a|patch|pl|p)((?:[.-]?\d+)*)?)?([.-]?dev)?";

// PHP's patterns work on bytes, so letters and digits are ASCII; its `$` also matches before a final line feed.
#[expect(clippy::expect_used, reason = "constant patterns, which the tests compile")]
fn pattern(text: &str) -> Regex {
    Regex::new(&format!(r"(?i-u){text}\n?$")).expect("a valid pattern")
}

static CLASSICAL: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r"^v?(\d{{1,5}})(\.\d+)?(\.\d+)?(\.\d+)?{MODIFIER}")));
static DATE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(r"^v?(\d{{4}}(?:[.:-]?\d{{2}}){{1,6}}(?:[.:-]?\d{{1,3}}){{0,2}}){MODIFIER}"))
});
static BRANCH: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^v?(\d+)(\.(?:\d+|[x*]))?(\.(?:\d+|[x*]))?(\.(?:\d+|[x*]))?"));
static ALIAS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?-i)^((?u:[^, \t\n\x0B\x0C\r])+) +as +(?u:[^, \t\n\x0B\x0C\r])+"));
static FLAG: LazyLock<Regex> = LazyLock::new(|| pattern(r"@(?:stable|RC|beta|alpha|dev)"));
static BUILD: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^((?u:[^+, \t\n\x0B\x0C\r])+)\+(?u:[^ \t\n\x0B\x0C\r])+"));
static DEV: LazyLock<Regex> = LazyLock::new(|| pattern(r"((?u:.)*?)[.-]?dev"));

/// Composer's stabilities, the least stable first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stability {
    Dev,
    Alpha,
    Beta,
    Rc,
    Stable,
}

/// A version as its author wrote it, with Composer's normalized form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version {
    pretty: String,
    normalized: String,
}

#[derive(Debug, thiserror::Error)]
pub enum InvalidVersion {
    #[error("`{0}` is not a version that Composer can read")]
    Unreadable(String),
    #[error(
        "version `{0}` cannot be part of a file name: only letters, digits, `.`, `_`, `+`, `~` and `-` are allowed"
    )]
    Unsafe(String),
}

impl Version {
    /// The version as its author wrote it.
    pub fn as_str(&self) -> &str {
        &self.pretty
    }

    /// The form that Composer compares, four numbers and a suffix.
    pub fn normalized(&self) -> &str {
        &self.normalized
    }

    /// What follows a `+`. Composer does not compare it.
    pub fn build_metadata(&self) -> Option<&str> {
        self.pretty.split_once('+').map(|(_, metadata)| metadata)
    }

    /// What all spellings of one version have in common: the normalized form and the build metadata.
    pub fn identity(&self) -> (String, Option<String>) {
        (self.normalized.clone(), self.build_metadata().map(str::to_owned))
    }

    /// By `VersionParser::parseStability`.
    pub fn stability(&self) -> Stability {
        stability_of(&self.normalized)
    }

    /// Composer's order of versions.
    pub fn precedence(&self, other: &Self) -> Ordering {
        compare(&self.normalized, &other.normalized)
    }
}

impl FromStr for Version {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let safe = |c: char| c.is_ascii_alphanumeric() || "._+~-".contains(c);
        if !text.chars().all(safe) || text.starts_with(['.', '-']) {
            return Err(InvalidVersion::Unsafe(text.to_owned()));
        }
        let normalized = normalize(text).ok_or_else(|| InvalidVersion::Unreadable(text.to_owned()))?;
        Ok(Self { pretty: text.to_owned(), normalized })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pretty)
    }
}

/// The stability of a normalized version.
pub fn stability_of(text: &str) -> Stability {
    if text.starts_with("dev-") || text.ends_with("-dev") {
        Stability::Dev
    } else if text.contains("-alpha") {
        Stability::Alpha
    } else if text.contains("-beta") {
        Stability::Beta
    } else if text.contains("-RC") {
        Stability::Rc
    } else {
        Stability::Stable
    }
}

/// `VersionParser::normalize`: the form that Composer compares, or nothing for what it cannot read.
pub fn normalize(text: &str) -> Option<String> {
    let mut text = php::trim(text);
    let first = |pattern: &Regex, text| Some(pattern.captures(text)?.get(1)?.as_str());
    // Looking for a text is many times faster than a pattern that does not match.
    if text.contains(" as ") {
        text = first(&ALIAS, text).unwrap_or(text);
    }
    if text.contains('@') {
        text = FLAG.find(text).map_or(text, |flag| &text[..flag.start()]);
    }
    if ["master", "trunk", "default"].contains(&text) {
        return Some(format!("dev-{text}"));
    }
    if text.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("dev-")) {
        return Some(format!("dev-{}", &text[4..]));
    }
    if text.contains('+') {
        text = first(&BUILD, text).unwrap_or(text);
    }
    if let Some(parts) = CLASSICAL.captures(text) {
        let number = |i| parts.get(i).map_or(".0", |m| m.as_str());
        let numbers = format!("{}{}{}{}", &parts[1], number(2), number(3), number(4));
        return Some(numbers + &suffix(&parts, 5));
    }
    if let Some(parts) = DATE.captures(text) {
        let numbers: String = parts[1].chars().map(|c| if c.is_ascii_digit() { c } else { '.' }).collect();
        return Some(numbers + &suffix(&parts, 2));
    }
    normalize_branch(first(&DEV, text)?)
}

/// `VersionParser::normalizeBranch` of a numeric branch, `2.4.x` for example.
fn normalize_branch(name: &str) -> Option<String> {
    let parts = BRANCH.captures(php::trim(name))?;
    let number = |i| match parts.get(i).map(|m| &m.as_str()[1..]) {
        None | Some("x" | "X" | "*") => "9999999",
        Some(number) => number,
    };
    Some(format!("{}.{}.{}.{}-dev", &parts[1], number(2), number(3), number(4)))
}

/// The modifier in its long form: `-beta2`, `-patch1`, `-dev`.
fn suffix(parts: &regex::Captures<'_>, at: usize) -> String {
    let mut suffix = String::new();
    if let Some(word) = parts.get(at) {
        // Composer compares `stable` before it folds the case.
        if word.as_str() == "stable" {
            return suffix;
        }
        let word = match word.as_str().to_ascii_lowercase().as_str() {
            "a" => "alpha".to_owned(),
            "b" => "beta".to_owned(),
            "p" | "pl" => "patch".to_owned(),
            "rc" => "RC".to_owned(),
            other => other.to_owned(),
        };
        let number = parts.get(at + 1).map_or("", |m| m.as_str());
        suffix = format!("-{word}{}", number.trim_start_matches(['.', '-']));
    }
    if parts.get(at + 2).is_some() {
        suffix.push_str("-dev");
    }
    suffix
}

/// PHP's `version_compare` on normalized versions.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (canonical(a), canonical(b));
    for i in 0..a.len().max(b.len()) {
        let order = match (a.get(i), b.get(i)) {
            (Some(a), Some(b)) => compare_part(a, b),
            // An additional number makes a version newer; an additional word is compared with the rank of numbers.
            (Some(a), None) => {
                if is_number(a) {
                    Ordering::Greater
                } else {
                    rank(a).cmp(&rank("#"))
                }
            }
            (None, Some(b)) => {
                if is_number(b) {
                    Ordering::Less
                } else {
                    rank("#").cmp(&rank(b))
                }
            }
            (None, None) => Ordering::Equal,
        };
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

fn canonical(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut before: Option<char> = None;
    for c in text.chars() {
        let separator = !c.is_ascii_alphanumeric();
        let is_boundary = before.is_some_and(|b| b.is_ascii_digit() != c.is_ascii_digit());
        if (separator || is_boundary) && parts.last().is_some_and(|part| !part.is_empty()) {
            parts.push(String::new());
        }
        if !separator && let Some(part) = parts.last_mut() {
            part.push(c);
        }
        before = Some(c);
    }
    parts.retain(|part| !part.is_empty());
    parts
}

fn is_number(part: &str) -> bool {
    part.starts_with(|c: char| c.is_ascii_digit())
}

fn compare_part(a: &str, b: &str) -> Ordering {
    match (is_number(a), is_number(b)) {
        (true, true) => {
            let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
            a.len().cmp(&b.len()).then_with(|| a.cmp(b))
        }
        (false, false) => rank(a).cmp(&rank(b)),
        (true, false) => rank("#").cmp(&rank(b)),
        (false, true) => rank(a).cmp(&rank("#")),
    }
}

/// PHP's order of words: an unknown one, dev, alpha, beta, RC, a number, p.
fn rank(word: &str) -> i8 {
    const WORDS: [(&str, i8); 10] = [
        ("dev", 0),
        ("alpha", 1),
        ("a", 1),
        ("beta", 2),
        ("b", 2),
        ("RC", 3),
        ("rc", 3),
        ("#", 4),
        ("pl", 5),
        ("p", 5),
    ];
    WORDS.iter().find(|(known, _)| word.starts_with(known)).map_or(-1, |(_, rank)| *rank)
}

/// What composer/semver 3.4.4 makes of a text.
#[cfg(test)]
#[derive(Debug)]
pub(super) struct SemverCase {
    pub(super) text: String,
    pub(super) is_constraint: bool,
    normalized: Option<String>,
    stability: Option<String>,
}

/// The texts that its own tests are about, and more: the text, whether it is a constraint, its normalized form and stability.
#[cfg(test)]
pub(super) fn semver_cases() -> impl Iterator<Item = SemverCase> {
    include_str!("semver_cases.tsv").lines().map(|line| {
        let columns = format!("[{}]", line.replace('\t', ","));
        let (text, is_constraint, normalized, stability) = serde_json::from_str(&columns).unwrap();
        SemverCase { text, is_constraint, normalized, stability }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalized_versions_equal_those_of_composer() {
        for (pretty, normalized) in [
            ("2.4.4-p11", "2.4.4.0-patch11"),
            ("2.4.4p1", "2.4.4.0-patch1"),
            ("2.4.4-pl1", "2.4.4.0-patch1"),
            ("2.4.8-beta1", "2.4.8.0-beta1"),
            ("2.4.7-alpha-1", "2.4.7.0-alpha1"),
            ("101.0.0-beta.1", "101.0.0.0-beta1"),
            ("1.0.0-RC.2", "1.0.0.0-RC2"),
            ("v1.2", "1.2.0.0"),
            ("1.0.0+b5", "1.0.0.0"),
            ("2.4.x-dev", "2.4.9999999.9999999-dev"),
            ("dev-2.4-develop", "dev-2.4-develop"),
            ("1.0.0-p1-dev", "1.0.0.0-patch1-dev"),
            ("1.0.0-stable", "1.0.0.0"),
            ("20100102", "20100102"),
            ("2010-01-02.5", "2010.01.02.5"),
            ("master", "dev-master"),
        ] {
            assert_eq!(pretty.parse::<Version>().unwrap().normalized(), normalized, "{pretty}");
        }
        for bad in [
            "2.3.7-p4-p1",
            "2.4.4-p11-beta1",
            "2.4.6-2024-oct",
            "2.4-develop",
            "main",
            "1.0.0-1",
            "1.0.0-preview1",
            "1.2.3.4.5",
            "",
            "1.0/../../x",
            "dev-../../x",
            "../x",
            ".1",
            "1.0 ",
            "1.0\0",
        ] {
            assert!(bad.parse::<Version>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn versions_and_stabilities_equal_those_of_composer() {
        for case in semver_cases() {
            assert_eq!(normalize(&case.text), case.normalized, "{case:?}");
            if let Ok(version) = case.text.parse::<Version>() {
                let stability = format!("{:?}", version.stability()).to_lowercase();
                assert_eq!(Some(stability), case.stability.map(|s| s.to_lowercase()), "{}", case.text);
            }
        }
    }

    #[test]
    fn version_order_equals_that_of_php() {
        let ascending = [
            "dev-main",
            "1.0.0-dev",
            "1.0.0-alpha1",
            "1.0.0-beta1",
            "1.0.0-beta2",
            "1.0.0-beta10",
            "1.0.0-RC1",
            "1.0.0",
            "1.0.0-p1",
            "1.0.0-p2",
            "1.0.0-p11",
            "1.0.1",
            "1.10.0",
            "2.0.0",
        ];
        for pair in ascending.windows(2) {
            let [a, b] = [0, 1].map(|i| pair[i].parse::<Version>().unwrap());
            assert_eq!(a.precedence(&b), Ordering::Less, "{a} < {b}");
        }
    }
}
