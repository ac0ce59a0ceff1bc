//! The closure of requirements: the packages that can be installed to meet them, over any number of steps.
//!
//! A version belongs to it if it satisfies one of the requirements, or one of a version that belongs to it itself. Constraints of
//! different packages are not combined: which of them come together is for Composer's solver, and the closure has all that it
//! may choose. `require-dev` counts only for the project that is developed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::constraint::Constraint;
use super::version::{Stability, stability_of};

/// Constraints by the name of the required package.
pub type Requirements = BTreeMap<String, BTreeSet<String>>;

/// What a closure begins with.
#[derive(Debug, Default)]
pub struct ClosureRoots {
    pub requires: Requirements,
    /// Names of packages that do not belong to the closure.
    pub names: BTreeSet<String>,
    /// Names that these provide or replace, so that they need not exist.
    pub provides: BTreeSet<String>,
}

/// Which versions a constraint takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// All that it allows.
    All,
    /// Only the stable ones, if there are any: a project takes others only by its `minimum-stability`, or if there is no other
    /// way.
    PreferStable,
}

/// A version that the closure may need.
#[derive(Debug, Clone)]
pub struct ClosureCandidate<T> {
    /// The version as Composer compares it.
    pub normalized: String,
    pub requires: Vec<(String, String)>,
    /// Names that it provides or replaces.
    pub provides: Vec<String>,
    pub value: T,
}

/// The chosen versions, and why.
#[derive(Debug)]
pub struct Closure<T> {
    /// By name, in the order of the candidates.
    pub chosen: BTreeMap<String, Vec<ClosureCandidate<T>>>,
    /// All that is required.
    pub constraints: Requirements,
    /// What nothing satisfies.
    pub unmet: Requirements,
}

/// A package that was looked up.
struct Package<T> {
    candidates: Vec<(ClosureCandidate<T>, bool)>,
    constraints: BTreeSet<String>,
}

/// Finds the closure. `look_up` gives the candidates of packages, each of which it is asked for once. Ends with the first error of
/// `ensure_can_continue`: others may list any number of versions and constraints.
pub fn closure<T>(
    roots: &ClosureRoots,
    choice: Choice,
    ensure_can_continue: impl Fn() -> anyhow::Result<()>,
    mut look_up: impl FnMut(&BTreeSet<String>) -> anyhow::Result<BTreeMap<String, Vec<ClosureCandidate<T>>>>,
) -> anyhow::Result<Closure<T>> {
    let mut packages = BTreeMap::<String, Package<T>>::new();
    let mut unmet = Requirements::new();
    let mut open = Requirements::new();
    for (name, constraints) in &roots.requires {
        constraints.iter().for_each(|constraint| add(&mut open, roots, name, constraint));
    }
    while !open.is_empty() {
        let new: BTreeSet<_> = open.keys().filter(|name| !packages.contains_key(*name)).cloned().collect();
        let mut found = if new.is_empty() { BTreeMap::new() } else { look_up(&new)? };
        for name in new {
            let candidates = found.remove(&name).unwrap_or_default();
            let candidates = candidates.into_iter().map(|candidate| (candidate, false)).collect();
            packages.insert(name, Package { candidates, constraints: BTreeSet::new() });
        }
        for (name, constraints) in std::mem::take(&mut open) {
            let Some(package) = packages.get_mut(&name) else { continue };
            for constraint in constraints {
                if !package.constraints.insert(constraint.clone()) {
                    continue;
                }
                let require = |name: &str, constraint: &str| add(&mut open, roots, name, constraint);
                if !package.choose(&constraint, choice, require, &ensure_can_continue)? {
                    unmet.entry(name.clone()).or_default().insert(constraint);
                }
            }
        }
    }
    let (mut chosen, mut constraints) = (BTreeMap::<_, Vec<_>>::new(), Requirements::new());
    for (name, package) in packages {
        for (candidate, _) in package.candidates.into_iter().filter(|(_, is_chosen)| *is_chosen) {
            chosen.entry(name.clone()).or_default().push(candidate);
        }
        constraints.insert(name, package.constraints);
    }
    let provided: BTreeSet<_> = chosen.values().flatten().flat_map(|version| &version.provides).collect();
    unmet.retain(|name, _| !provided.contains(name) && !roots.provides.contains(name));
    Ok(Closure { chosen, constraints, unmet })
}

/// The names and constraints of a version's `require`.
pub fn requirements<'a>(
    require: &'a Map<String, Value>,
    version: &'a str,
) -> impl Iterator<Item = (String, String)> + 'a {
    require.iter().filter_map(move |(name, constraint)| match constraint.as_str()? {
        "self.version" => Some((name.clone(), version.to_owned())),
        constraint => Some((name.clone(), constraint.to_owned())),
    })
}

/// Adds a requirement of a package that may belong to the closure. Names of platform packages (`php`, `ext-intl`) have no slash.
fn add(open: &mut Requirements, roots: &ClosureRoots, name: &str, constraint: &str) {
    let name = name.to_ascii_lowercase();
    if name.contains('/') && !roots.names.contains(&name) {
        open.entry(name).or_default().insert(constraint.to_owned());
    }
}

impl<T> Package<T> {
    /// Chooses the versions that a constraint allows, and passes on what new ones require. Returns whether there are any.
    fn choose(
        &mut self,
        constraint: &str,
        choice: Choice,
        mut require: impl FnMut(&str, &str),
        ensure_can_continue: impl Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        let Ok(constraint) = constraint.parse::<Constraint>() else { return Ok(false) };
        let mut allowed = Vec::new();
        for (version, is_chosen) in &mut self.candidates {
            ensure_can_continue()?;
            if constraint.allows(&version.normalized) {
                let is_stable = stability_of(&version.normalized) == Stability::Stable;
                allowed.push((is_stable, version, is_chosen));
            }
        }
        let only_stable = choice == Choice::PreferStable && allowed.iter().any(|(is_stable, ..)| *is_stable);
        let is_met = !allowed.is_empty();
        for (_, version, is_chosen) in
            allowed.into_iter().filter(|(is_stable, ..)| *is_stable || !only_stable)
        {
            if !std::mem::replace(is_chosen, true) {
                version.requires.iter().for_each(|(name, constraint)| require(name, constraint));
            }
        }
        Ok(is_met)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::composer::normalize_version;

    /// `name version: requirement constraint, …`; a name with a plus is provided.
    fn candidates(text: &[&str]) -> BTreeMap<String, Vec<ClosureCandidate<String>>> {
        let mut all = BTreeMap::<_, Vec<_>>::new();
        for line in text {
            let (package, links) = line.split_once(':').unwrap_or((line, ""));
            let (name, version) = package.split_once(' ').unwrap();
            let (mut requires, mut provides) = (Vec::new(), Vec::new());
            for link in links.split(',').map(str::trim).filter(|link| !link.is_empty()) {
                match (link.strip_prefix('+'), link.split_once(' ')) {
                    (Some(name), _) => provides.push(name.to_owned()),
                    (None, Some((name, constraint))) => {
                        requires.push((name.to_owned(), constraint.to_owned()));
                    }
                    (None, None) => panic!("{link}"),
                }
            }
            let normalized = normalize_version(version).unwrap();
            let value = version.to_owned();
            all.entry(name.to_owned()).or_default().push(ClosureCandidate {
                normalized,
                requires,
                provides,
                value,
            });
        }
        all
    }

    fn published(requires: &[(&str, &str)]) -> ClosureRoots {
        let mut published = ClosureRoots::default();
        for (name, constraint) in requires {
            published.requires.entry((*name).to_owned()).or_default().insert((*constraint).to_owned());
        }
        published
    }

    /// The chosen `name version`, and the unmet `name constraint`. Each name must be looked up at most once.
    fn run(published: &ClosureRoots, upstream: &[&str]) -> (Vec<String>, Vec<String>) {
        let mut all = candidates(upstream);
        let mut asked = BTreeSet::new();
        let closure = closure(
            published,
            Choice::PreferStable,
            || Ok(()),
            |names| {
                assert!(names.iter().all(|name| asked.insert(name.clone())), "{names:?}");
                Ok(names.iter().filter_map(|name| Some((name.clone(), all.remove(name)?))).collect())
            },
        )
        .unwrap();
        let chosen = closure.chosen.iter().flat_map(|(name, versions)| {
            versions.iter().map(move |version| format!("{name} {}", version.value))
        });
        let unmet = closure.unmet.iter().flat_map(|(name, constraints)| {
            constraints.iter().map(move |constraint| format!("{name} {constraint}"))
        });
        (chosen.collect(), unmet.collect())
    }

    #[test]
    fn versions_of_any_constraint_are_chosen_with_what_they_require() {
        let (chosen, unmet) = run(
            &published(&[("a/a", "^1.0"), ("a/a", "2.1.0"), ("php", ">=8"), ("ext-intl", "*")]),
            &[
                "a/a 1.0.0: b/b ^3",
                "a/a 1.5.0",
                "a/a 2.0.0: c/c *",
                "a/a 2.1.0: B/b ^4, php ^8",
                "b/b 3.0.0",
                "b/b 4.2.0: a/a ^3",
                "b/b 5.0.0",
                "a/a 3.0.0: d/d 1.0",
                "c/c 1.0.0",
                "d/d 1.0.0",
            ],
        );
        let expected =
            ["a/a 1.0.0", "a/a 1.5.0", "a/a 2.1.0", "a/a 3.0.0", "b/b 3.0.0", "b/b 4.2.0", "d/d 1.0.0"];
        assert_eq!((chosen, unmet), (expected.map(str::to_owned).to_vec(), Vec::new()));
    }

    #[test]
    fn published_names_are_not_looked_up() {
        let mut published = published(&[("a/a", "*"), ("own/x", "*")]);
        published.names = ["own/x".to_owned(), "own/y".to_owned()].into();
        let (chosen, unmet) = run(&published, &["a/a 1.0.0: own/y ^1", "own/x 1.0.0", "own/y 1.0.0"]);
        assert_eq!((chosen, unmet), (vec!["a/a 1.0.0".to_owned()], Vec::new()));
    }

    #[test]
    fn unstable_versions_are_chosen_only_where_no_stable_one_will_do() {
        let upstream = ["a/a 1.0.0", "a/a 1.1.0-beta1", "b/b 1.0.0-RC1", "b/b 1.0.0-RC2", "c/c 2.0.0-beta1"];
        let (chosen, _) = run(&published(&[("a/a", "^1"), ("b/b", "^1"), ("c/c", "2.0.0-beta1")]), &upstream);
        assert_eq!(chosen, ["a/a 1.0.0", "b/b 1.0.0-RC1", "b/b 1.0.0-RC2", "c/c 2.0.0-beta1"]);
        let (chosen, _) = run(&published(&[("a/a", "^1"), ("a/a", "1.1.0-beta1")]), &upstream);
        assert_eq!(chosen, ["a/a 1.0.0", "a/a 1.1.0-beta1"]);
    }

    #[test]
    fn unmet_requirements_are_named_unless_something_provides_them() {
        let mut published = published(&[
            ("a/a", "^1"),
            ("a/a", "^9"),
            ("virtual/log", "1.0"),
            ("virtual/own", "*"),
            ("x/y", "no"),
        ]);
        published.provides.insert("virtual/own".to_owned());
        let (chosen, unmet) = run(&published, &["a/a 1.0.0: +virtual/log, gone/away ^2", "x/y 1.0.0"]);
        assert_eq!(chosen, ["a/a 1.0.0"]);
        assert_eq!(unmet, ["a/a ^9", "gone/away ^2", "x/y no"]);
    }

    #[test]
    fn work_ends_between_two_versions() {
        let (checks, versions) = (std::cell::Cell::new(0), 1000);
        let texts: Vec<_> = (0..versions).map(|n| format!("a/a 1.0.{n}")).collect();
        let mut all = candidates(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        let ensure_can_continue = || {
            checks.set(checks.get() + 1);
            anyhow::ensure!(checks.get() < 10, "it takes too long");
            Ok(())
        };
        let published = published(&[("a/a", "^1")]);
        let error =
            closure(&published, Choice::PreferStable, ensure_can_continue, |_| Ok(std::mem::take(&mut all)))
                .unwrap_err();
        assert_eq!((error.to_string(), checks.get()), ("it takes too long".to_owned(), 10));
    }

    #[test]
    fn circles_end() {
        let (chosen, unmet) =
            run(&published(&[("a/a", "*")]), &["a/a 1.0.0: b/b *", "b/b 1.0.0: a/a *", "b/b 2.0.0: b/b ^2"]);
        assert_eq!((chosen.len(), unmet.len()), (3, 0));
    }
}
