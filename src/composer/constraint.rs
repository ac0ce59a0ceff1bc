//! Version constraints as Composer reads them: `VersionParser::parseConstraints` of composer/semver 3.4, clause by clause.
//!
//! An unreadable constraint would break every update that asks for the package, so none is published. PHP's patterns work on
//! bytes: `\s` and `\d` are ASCII, `.` stops at a line feed, and `$` also matches before a final one.

use std::cmp::Ordering;
use std::str::FromStr;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::php;
use super::version::{MODIFIER, Stability, compare, normalize, stability_of};
use crate::util::text::quoted;

struct Patterns {
    or: Regex,
    and: fancy_regex::Regex,
    alias: Rare,
    stability: Rare,
    reference: Rare,
    any: Regex,
    tilde: Rare,
    caret: Rare,
    wildcard: Regex,
    hyphen: Rare,
    comparison: Regex,
    /// A version with a suffix.
    suffixed: Regex,
    branch: Regex,
}

/// A pattern that matches only what contains a certain text. Most constraints do not, which is found out many times faster.
struct Rare {
    text: &'static str,
    pattern: Regex,
}

impl Rare {
    fn captures<'t>(&self, text: &'t str) -> Option<Captures<'t>> {
        text.contains(self.text).then(|| self.pattern.captures(text)).flatten()
    }
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "constant patterns, which the tests compile")]
    let pattern = |text: &str| Regex::new(&format!("(?-u){text}")).expect("a valid pattern");
    let rare = |text, of: &str| Rare { text, pattern: pattern(of) };
    #[expect(clippy::expect_used, reason = "a constant pattern, which the tests compile")]
    let and = fancy_regex::Regex::new(r"(?<!^)(?<!as)(?<![=>< ,]) *(?<!-)[, ](?!-) *(?!,|as|\n?\z)")
        .expect("a valid pattern");
    // `versionRegex`; its groups 5, 7 and 8 are the suffixes.
    let version = format!(
        r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:\.(\d+))?(?:{MODIFIER}|\.([xX*][.-]?dev))(?:\+(?u:[^ \t\n\x0B\x0C\r])+)?"
    );
    Patterns {
        or: pattern(r"\s*\|\|?\s*"),
        and,
        alias: rare(" as ", r"^((?u:[^, \t\n\x0B\x0C\r])+) +as +(?u:[^, \t\n\x0B\x0C\r])+\n?$"),
        stability: rare("@", r"(?i)^((?u:[^, \t\n\x0B\x0C\r])*?)@(stable|RC|beta|alpha|dev)\n?$"),
        reference: rare(
            "#",
            r"(?i)^(dev-(?u:[^, \t\n\x0B\x0C\r@])+?|(?u:[^, \t\n\x0B\x0C\r@])+?\.x-dev)#(?u:.)+\n?$",
        ),
        any: pattern(r"(?i)^(v)?[xX*](\.[xX*])*\n?$"),
        tilde: rare("~", &format!(r"(?i)^~>?{version}\n?$")),
        caret: rare("^", &format!(r"(?i)^\^{version}\n?$")),
        wildcard: pattern(r"^v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:\.[xX*])+\n?$"),
        hyphen: rare(" - ", &format!(r"(?i)^(?P<from>{version}) +- +(?P<to>{version})\n?$")),
        comparison: pattern(r"^(<>|!=|>=?|<=?|==?)?\s*((?u:.)*)"),
        suffixed: pattern(&format!(r"-{MODIFIER}\n?$")),
        branch: pattern(r"^[0-9a-zA-Z\-./]+\n?$"),
    }
});

/// A version constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    /// Alternatives, each of bounds that a version has to meet; one without bounds allows everything.
    any_of: Vec<Vec<Bound>>,
}

/// `Constraint` of composer/semver: a normalized version, and how others have to compare to it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bound {
    operator: Operator,
    version: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A text that Composer cannot read as a constraint.
#[derive(Debug, thiserror::Error)]
#[error("`{}` is not a version constraint that Composer can read", quoted(.0))]
pub struct InvalidConstraint(String);

/// Whether Composer can read the constraint.
pub fn is_valid_constraint(text: &str) -> bool {
    text.parse::<Constraint>().is_ok()
}

impl FromStr for Constraint {
    type Err = InvalidConstraint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let p = &*PATTERNS;
        let all_of = |text: &str| {
            if !text.contains([' ', ',']) {
                return parse_single(text);
            }
            let parts = p.and.split(text).map(|one| parse_single(one.ok()?));
            parts.collect::<Option<Vec<_>>>().map(|parts| parts.concat())
        };
        let any_of = p.or.split(php::trim(text)).map(all_of).collect::<Option<_>>();
        any_of.map(|any_of| Self { any_of }).ok_or_else(|| InvalidConstraint(text.to_owned()))
    }
}

impl Constraint {
    /// Whether it allows a version, which is normalized.
    pub fn allows(&self, normalized: &str) -> bool {
        self.any_of.iter().any(|bounds| bounds.iter().all(|bound| bound.allows(normalized)))
    }
}

impl Bound {
    fn new(operator: Operator, version: String) -> Self {
        Self { operator, version }
    }

    /// `Constraint::matchSpecific` and `versionCompare`: a branch is only equal to itself, and in no order to versions.
    fn allows(&self, normalized: &str) -> bool {
        use Operator::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        if [self.version.as_str(), normalized].iter().any(|version| version.starts_with("dev-")) {
            return match self.operator {
                Equal => self.version == normalized,
                NotEqual => self.version != normalized,
                _ => false,
            };
        }
        let order = compare(normalized, &self.version);
        match self.operator {
            Equal => order.is_eq(),
            NotEqual => order.is_ne(),
            Less => order.is_lt(),
            LessOrEqual => order.is_le(),
            Greater => order.is_gt(),
            GreaterOrEqual => order.is_ge(),
        }
    }
}

/// `VersionParser::parseConstraint`.
fn parse_single(text: &str) -> Option<Vec<Bound>> {
    let p = &*PATTERNS;
    let mut text = first_group(&p.alias, text).unwrap_or(text);
    let mut stability = None;
    if let Some(parts) = p.stability.captures(text) {
        stability = parts.get(2).map(|flag| flag.as_str()).filter(|flag| *flag != "stable");
        text =
            parts.get(1).map(|version| version.as_str()).filter(|version| !version.is_empty()).unwrap_or("*");
    }
    text = first_group(&p.reference, text).unwrap_or(text);
    if let Some(parts) = p.any.captures(text) {
        let is_plain = parts.get(1).is_none() && parts.get(2).is_none();
        let least = Bound::new(Operator::GreaterOrEqual, "0.0.0.0-dev".to_owned());
        return Some(if is_plain { Vec::new() } else { vec![least] });
    }
    if let Some(parts) = p.tilde.captures(text) {
        return if text.starts_with("~>") { None } else { tilde(text, &parts) };
    }
    if let Some(parts) = p.caret.captures(text) {
        return caret(text, &parts);
    }
    if let Some(parts) = p.wildcard.captures(text) {
        return Some(wildcard(&parts));
    }
    match p.hyphen.captures(text) {
        Some(parts) => hyphen(&parts),
        None => comparison(text, stability),
    }
}

fn range(low: String, high: String) -> Vec<Bound> {
    vec![Bound::new(Operator::GreaterOrEqual, low), Bound::new(Operator::Less, high)]
}

/// `~1.2` allows 1.x from 1.2 on, `~1.2.3` allows 1.2.x from 1.2.3 on.
fn tilde(text: &str, parts: &Captures<'_>) -> Option<Vec<Bound>> {
    let position = (2..=4).rev().find(|at| !group(parts, *at).is_empty()).unwrap_or(1);
    let position = if group(parts, 8).is_empty() { position } else { position + 1 };
    let numbers = [1, 2, 3, 4].map(|at| group(parts, at));
    let high = format!("{}-dev", raised(numbers, (position - 1).max(1), 1));
    Some(range(normalize(&lower_bound(text, parts))?, high))
}

/// `^1.2.3` allows what does not change the first number that is not zero.
fn caret(text: &str, parts: &Captures<'_>) -> Option<Vec<Bound>> {
    let numbers = [1, 2, 3, 4].map(|at| group(parts, at));
    let position = match numbers {
        ["0", "0", patch, _] if !patch.is_empty() => 3,
        ["0", minor, ..] if !minor.is_empty() => 2,
        _ => 1,
    };
    let high = format!("{}-dev", raised(numbers, position, 1));
    Some(range(normalize(&lower_bound(text, parts))?, high))
}

fn wildcard(parts: &Captures<'_>) -> Vec<Bound> {
    let numbers = [group(parts, 1), group(parts, 2), group(parts, 3), ""];
    let position = (2..=3).rev().find(|at| !group(parts, *at).is_empty()).unwrap_or(1);
    let [low, high] = [0, 1].map(|by| format!("{}-dev", raised(numbers, position, by)));
    match low.as_str() {
        "0.0.0.0-dev" => vec![Bound::new(Operator::Less, high)],
        _ => range(low, high),
    }
}

/// The groups of the second version are ten after those of the first.
fn hyphen(parts: &Captures<'_>) -> Option<Vec<Bound>> {
    let has = |at| !group(parts, at).is_empty();
    let suffix = if [6, 8, 9].into_iter().any(has) { "" } else { "-dev" };
    let low = normalize(&parts["from"])? + suffix;
    let to = normalize(&parts["to"])?;
    if (has(12) && has(13)) || [15, 17, 18].into_iter().any(has) {
        let high = Bound::new(Operator::LessOrEqual, to);
        return Some(vec![Bound::new(Operator::GreaterOrEqual, low), high]);
    }
    let position = if has(12) { 2 } else { 1 };
    let numbers = [11, 12, 13, 14].map(|at| group(parts, at));
    Some(range(low, format!("{}-dev", raised(numbers, position, 1))))
}

/// `>=1.2`, `1.2`, `dev-main`, …
fn comparison(text: &str, stability: Option<&str>) -> Option<Vec<Bound>> {
    let p = &*PATTERNS;
    let parts = p.comparison.captures(text)?;
    let written = group(&parts, 2);
    let mut version = match normalize(written) {
        Some(version) => version,
        // `foo-dev` is read as `dev-foo`.
        None if written.ends_with("-dev") && p.branch.is_match(written) => {
            normalize(&format!("dev-{}", written.strip_suffix("-dev")?))?
        }
        None => return None,
    };
    let operator = match group(&parts, 1) {
        "" | "=" | "==" => Operator::Equal,
        "<>" | "!=" => Operator::NotEqual,
        "<" => Operator::Less,
        "<=" => Operator::LessOrEqual,
        ">" => Operator::Greater,
        _ => Operator::GreaterOrEqual,
    };
    let is_bare = !p.suffixed.is_match(&written.to_ascii_lowercase()) && !written.starts_with("dev-");
    match stability {
        Some(flag) if operator != Operator::Equal && stability_of(&version) == Stability::Stable => {
            version = format!("{version}-{flag}");
        }
        _ if matches!(operator, Operator::Less | Operator::GreaterOrEqual) && is_bare => {
            version.push_str("-dev");
        }
        _ => {}
    }
    Some(vec![Bound::new(operator, version)])
}

/// `manipulateVersionString`: the number at a position, counted from 1, raised, and zeros after it.
fn raised(numbers: [&str; 4], position: usize, by: u64) -> String {
    let number = |(at, number): (usize, &str)| match (at + 1).cmp(&position) {
        Ordering::Less => number.to_owned(),
        Ordering::Equal if by == 0 => number.to_owned(),
        Ordering::Equal => number.parse::<u64>().unwrap_or(u64::MAX).saturating_add(by).to_string(),
        Ordering::Greater => "0".to_owned(),
    };
    numbers.into_iter().enumerate().map(number).collect::<Vec<_>>().join(".")
}

/// The lower bound of a tilde or caret range: without a suffix, its development version.
fn lower_bound(text: &str, parts: &Captures<'_>) -> String {
    let is_empty = |at| group(parts, at).is_empty();
    let suffix = if [5, 7, 8].into_iter().all(is_empty) { "-dev" } else { "" };
    format!("{}{suffix}", &text[1..])
}

/// The text of a group; empty if it is not part of the match.
fn group<'t>(parts: &Captures<'t>, at: usize) -> &'t str {
    parts.get(at).map_or("", |group| group.as_str())
}

fn first_group<'t>(pattern: &Rare, text: &'t str) -> Option<&'t str> {
    Some(pattern.captures(text)?.get(1).map_or("", |group| group.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::composer::version::semver_cases;

    #[test]
    fn constraint_verdicts_equal_those_of_composer() {
        let wrong: Vec<_> =
            semver_cases().filter(|case| is_valid_constraint(&case.text) != case.is_constraint).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn allowed_versions_equal_those_of_composer() {
        for (constraint, allowed, others) in [
            ("*", "1.0.0 dev-main 1.0.0-beta1", ""),
            ("v*", "1.0.0 0.0.1", "dev-main"),
            ("1.2.3", "1.2.3 v1.2.3.0", "1.2.4 1.2.3-p1 1.2.3-beta1"),
            ("^1.2.3", "1.2.3 1.2.3-beta1 1.9 1.2.3-p4", "1.2.2 2.0.0 2.0.0-alpha1 dev-main"),
            ("^0.3", "0.3.0 0.3.9", "0.4.0 0.2.9"),
            ("^0.0.3", "0.0.3 0.0.3-dev", "0.0.4"),
            ("^0", "0.0.1 0.9", "1.0"),
            ("^1.2.3-beta2", "1.2.3-beta2 1.2.3", "1.2.3-beta1"),
            ("~1.2", "1.2.0 1.9.9 1.2.0-alpha1", "1.1 2.0"),
            ("~1.2.3", "1.2.3 1.2.9", "1.3.0"),
            ("~1", "1.0 1.9", "2.0"),
            ("~1.2.x-dev", "1.2.x-dev", "1.2.3 1.3.0"),
            ("2.4.*", "2.4.0 2.4.7-p3 2.4.0-beta1", "2.3.9 2.5.0"),
            ("0.*", "0.0.1 0.9", "1.0"),
            ("1.0 - 2.0", "1.0.0 2.0.9 1.0.0-beta1", "2.1.0"),
            ("1.0 - 2.0.3", "2.0.3", "2.0.4"),
            ("1.0 - 2", "2.9", "3.0"),
            (">=1.2", "1.2.0 1.2.0-alpha1 9.0", "1.1.9"),
            (">=1.2@beta", "1.2.0-beta1 1.2", "1.2.0-alpha1"),
            (">1.2", "1.2.1 1.2.0-p1", "1.2.0"),
            ("<1.2", "1.1.9", "1.2.0 1.2.0-beta1"),
            ("<=1.2", "1.2.0 1.2.0-beta1", "1.2.1"),
            ("!=1.2", "1.3 dev-main", "1.2"),
            (">=1.0 <1.5 || ^3.0", "1.4 3.2", "1.5 2.0"),
            (">=1.0, <1.5", "1.4", "1.5"),
            ("~8.2.0||~8.3.0", "8.2.9 8.3.0", "8.4.0"),
            ("dev-main", "dev-main", "1.0 dev-other"),
            ("dev-main#abc", "dev-main", ""),
            ("main-dev", "dev-main", "dev-other"),
        ] {
            let parsed: Constraint = constraint.parse().unwrap();
            for (versions, expected) in [(allowed, true), (others, false)] {
                for version in versions.split_whitespace() {
                    let normalized = normalize(version).unwrap();
                    assert_eq!(parsed.allows(&normalized), expected, "{constraint}: {version}");
                }
            }
        }
    }
}
