//! Which version constraints Composer's clients can read (`VersionParser::parseConstraints` of composer/semver).
//!
//! An unreadable constraint would break every update that asks for the package, so none is published.

use std::sync::LazyLock;

use fancy_regex::Regex;

use super::version::{MODIFIER, normalize};

/// The patterns of `parseConstraints` and `parseConstraint`, in their order.
struct Patterns {
    or: Regex,
    and: Regex,
    alias: Regex,
    stability: Regex,
    reference: Regex,
    any: Regex,
    version: Regex,
    wildcard: Regex,
    range: Regex,
    comparison: Regex,
    branch: Regex,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "constant patterns, which the tests compile")]
    let pattern = |text: &str| Regex::new(text).expect("a valid pattern");
    Patterns {
        or: pattern(r"\s*\|\|?\s*"),
        and: pattern(r"(?<!^)(?<!as)(?<![=>< ,]) *(?<!-)[, ](?!-) *(?!,|as|$)"),
        alias: pattern(r"^([^,\s]+) +as +[^,\s]+$"),
        stability: pattern(r"(?i)^([^,\s]*?)@(?:stable|RC|beta|alpha|dev)$"),
        reference: pattern(r"(?i)^(dev-[^,\s@]+?|[^,\s@]+?\.x-dev)#.+$"),
        any: pattern(r"(?i)^v?[xX*](\.[xX*])*$"),
        version: pattern(&format!(
            r"(?i)^v?\d+(?:\.\d+)?(?:\.\d+)?(?:\.\d+)?(?:{MODIFIER}|\.(?:[xX*][.-]?dev))(?:\+[^\s]+)?$"
        )),
        wildcard: pattern(r"^v?\d+(?:\.\d+)?(?:\.\d+)?(?:\.[xX*])+$"),
        range: pattern(r"^(.+?) +- +(.+)$"),
        comparison: pattern(r"(?s)^(<>|!=|>=?|<=?|==?)?\s*(.*)"),
        branch: pattern(r"^[0-9a-zA-Z\-./]+$"),
    }
});

/// Whether Composer can read the constraint.
pub fn is_valid_constraint(text: &str) -> bool {
    let split = |pattern: &Regex, text: &str| -> Vec<String> {
        pattern.split(text).filter_map(Result::ok).map(str::to_owned).collect()
    };
    split(&PATTERNS.or, text.trim())
        .iter()
        .flat_map(|all| split(&PATTERNS.and, all))
        .all(|one| is_valid_single(&one))
}

fn is_valid_single(text: &str) -> bool {
    let p = &*PATTERNS;
    let matches = |pattern: &Regex, text: &str| pattern.is_match(text).unwrap_or(false);
    let group = |pattern: &Regex, text: &str, i| {
        pattern
            .captures(text)
            .ok()
            .flatten()
            .map(|parts| parts.get(i).map_or(String::new(), |m| m.as_str().into()))
    };
    let mut text = group(&p.alias, text, 1).unwrap_or_else(|| text.to_owned());
    if let Some(version) = group(&p.stability, &text, 1) {
        text = if version.is_empty() { "*".into() } else { version };
    }
    text = group(&p.reference, &text, 1).unwrap_or(text);
    if matches(&p.any, &text) || matches(&p.wildcard, &text) {
        return true;
    }
    if let Some(version) = text.strip_prefix(['~', '^']).filter(|version| matches(&p.version, version)) {
        // Composer appends `-dev` to a bound without a suffix.
        return normalize(version).is_some() || normalize(&format!("{version}-dev")).is_some();
    }
    if let (Some(from), Some(to)) = (group(&p.range, &text, 1), group(&p.range, &text, 2)) {
        return [from, to].iter().all(|version| matches(&p.version, version) && normalize(version).is_some());
    }
    let operator = group(&p.comparison, &text, 1).unwrap_or_default();
    let version = group(&p.comparison, &text, 2).unwrap_or_default();
    // `foo-dev` stands for `dev-foo`.
    let is_branch = version.ends_with("-dev") && version.len() > 4 && matches(&p.branch, &version);
    normalize(&version).is_some() || (is_branch && operator.len() <= 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdicts of composer/semver 3.3.2: `1` or `0`, a tab, the constraint.
    const VERDICTS: &str = include_str!("constraint_verdicts.tsv");

    #[test]
    fn constraint_verdicts_equal_those_of_composer() {
        let wrong: Vec<_> = VERDICTS
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .filter(|(verdict, constraint)| is_valid_constraint(constraint) != (*verdict == "1"))
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}
