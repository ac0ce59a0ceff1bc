//! Groups failures by their reason, so that a broken network is one line of the log and not one for each source.

use std::collections::BTreeMap;

/// Up to this many failures with the same reason are logged one by one; more are grouped.
const MAX_SINGLE: usize = 3;

/// Names that a group lists; it counts the rest.
const MAX_LISTED: usize = 10;

/// Something that failed, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFailure {
    pub name: String,
    pub reason: String,
}

/// Failures whose reasons are the same apart from what they quote.
#[derive(Debug, PartialEq, Eq)]
pub struct FailureGroup {
    pub count: usize,
    /// The names of the first ones, and how many more there are.
    pub names: String,
    /// The reason of the first one, said to be an example if the others quote something else.
    pub reason: String,
}

/// The failures to tell each, and the groups of the others, both in the order of their first one.
pub fn group_failures(failures: Vec<NamedFailure>) -> (Vec<NamedFailure>, Vec<FailureGroup>) {
    let mut order = Vec::new();
    let mut by_pattern = BTreeMap::<String, Vec<NamedFailure>>::new();
    for failure in failures {
        let pattern = pattern(&failure.reason);
        if !by_pattern.contains_key(&pattern) {
            order.push(pattern.clone());
        }
        by_pattern.entry(pattern).or_default().push(failure);
    }
    let (mut single, mut groups) = (Vec::new(), Vec::new());
    for pattern in order {
        let alike = by_pattern.remove(&pattern).unwrap_or_default();
        match alike.len() > MAX_SINGLE {
            true => groups.extend(group(&alike)),
            false => single.extend(alike),
        }
    }
    (single, groups)
}

fn group(alike: &[NamedFailure]) -> Option<FailureGroup> {
    let first = alike.first()?;
    let mut names: Vec<_> = alike.iter().take(MAX_LISTED).map(|failure| failure.name.clone()).collect();
    if alike.len() > MAX_LISTED {
        names.push(format!("and {} more", alike.len() - MAX_LISTED));
    }
    let reason = match alike.iter().all(|failure| failure.reason == first.reason) {
        true => first.reason.clone(),
        false => format!("for example {}: {}", first.name, first.reason),
    };
    Some(FailureGroup { count: alike.len(), names: names.join(", "), reason })
}

/// The reason without the names in backquotes.
fn pattern(reason: &str) -> String {
    let parts = reason.split('`').enumerate();
    parts.filter(|(i, _)| i % 2 == 0).map(|(_, part)| part).collect::<Vec<_>>().join("`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_failures_of_one_reason_are_one_group() {
        let failure = |name: &str, reason: &str| NamedFailure { name: name.into(), reason: reason.into() };
        let mut all: Vec<_> = (0..12).map(|i| failure(&i.to_string(), &format!("no `host{i}`"))).collect();
        all.insert(1, failure("x", "no room"));
        let (single, groups) = group_failures(all);
        assert_eq!(single, [failure("x", "no room")]);
        assert_eq!(
            groups,
            [FailureGroup {
                count: 12,
                names: "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, and 2 more".into(),
                reason: "for example 0: no `host0`".into(),
            }]
        );
        let same: Vec<_> = ["a", "b", "c", "d"].map(|name| failure(name, "no `x`")).into();
        assert_eq!(group_failures(same.clone()).1[0].reason, "no `x`");
        assert_eq!(group_failures(same[..3].to_vec()), (same[..3].to_vec(), Vec::new()));
    }
}
