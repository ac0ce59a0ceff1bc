//! Which version constraints Composer can read: `VersionParser::parseConstraints` of composer/semver 3.4, clause by clause.
//!
//! An unreadable constraint would break every update that asks for the package, so none is published. PHP's patterns work on
//! bytes: `\s` and `\d` are ASCII, `.` stops at a line feed, and `$` also matches before a final one.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::php;
use super::version::{MODIFIER, normalize};

struct Patterns {
    or: Regex,
    and: fancy_regex::Regex,
    alias: Regex,
    stability: Regex,
    reference: Regex,
    any: Regex,
    tilde: Regex,
    caret: Regex,
    wildcard: Regex,
    hyphen: Regex,
    comparison: Regex,
    branch: Regex,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "constant patterns, which the tests compile")]
    let pattern = |text: &str| Regex::new(&format!("(?-u){text}")).expect("a valid pattern");
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
        alias: pattern(r"^((?u:[^, \t\n\x0B\x0C\r])+) +as +(?u:[^, \t\n\x0B\x0C\r])+\n?$"),
        stability: pattern(r"(?i)^((?u:[^, \t\n\x0B\x0C\r])*?)@(?:stable|RC|beta|alpha|dev)\n?$"),
        reference: pattern(
            r"(?i)^(dev-(?u:[^, \t\n\x0B\x0C\r@])+?|(?u:[^, \t\n\x0B\x0C\r@])+?\.x-dev)#(?u:.)+\n?$",
        ),
        any: pattern(r"(?i)^v?[xX*](?:\.[xX*])*\n?$"),
        tilde: pattern(&format!(r"(?i)^~>?{version}\n?$")),
        caret: pattern(&format!(r"(?i)^\^{version}\n?$")),
        wildcard: pattern(r"^v?\d+(?:\.\d+)?(?:\.\d+)?(?:\.[xX*])+\n?$"),
        hyphen: pattern(&format!(r"(?i)^(?P<from>{version}) +- +(?P<to>{version})\n?$")),
        comparison: pattern(r"^(?:<>|!=|>=?|<=?|==?)?\s*((?u:.)*)"),
        branch: pattern(r"^[0-9a-zA-Z\-./]+\n?$"),
    }
});

/// Whether Composer can read the constraint.
pub fn is_valid_constraint(text: &str) -> bool {
    let p = &*PATTERNS;
    p.or.split(php::trim(text)).flat_map(|all| p.and.split(all)).all(|one| one.is_ok_and(is_valid_single))
}

/// `VersionParser::parseConstraint`.
fn is_valid_single(text: &str) -> bool {
    let p = &*PATTERNS;
    let mut text = first_group(&p.alias, text).unwrap_or(text);
    text = match first_group(&p.stability, text) {
        Some("") => "*",
        Some(version) => version,
        None => text,
    };
    text = first_group(&p.reference, text).unwrap_or(text);
    if p.any.is_match(text) {
        return true;
    }
    for range in [&p.tilde, &p.caret] {
        if let Some(parts) = range.captures(text) {
            return !text.starts_with("~>") && normalize(&lower_bound(text, &parts)).is_some();
        }
    }
    if p.wildcard.is_match(text) {
        return true;
    }
    if let Some(parts) = p.hyphen.captures(text) {
        return ["from", "to"].iter().all(|bound| normalize(&parts[*bound]).is_some());
    }
    let version = first_group(&p.comparison, text).unwrap_or_default();
    // `foo-dev` is read as `dev-foo`.
    normalize(version).is_some() || (version.ends_with("-dev") && p.branch.is_match(version))
}

/// The lower bound of a tilde or caret range: without a suffix, its development version.
fn lower_bound(text: &str, parts: &Captures<'_>) -> String {
    let is_empty = |group| parts.get(group).is_none_or(|part| part.is_empty());
    let suffix = if [5, 7, 8].into_iter().all(is_empty) { "-dev" } else { "" };
    format!("{}{suffix}", &text[1..])
}

fn first_group<'t>(pattern: &Regex, text: &'t str) -> Option<&'t str> {
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
}
