//! Nightly versions: the heads of branches, released as dated alpha versions that follow the newest tag.
//!
//! The version is the reference generator's (`release-branch-build-tools.js`): the package's version at the newest tag
//! with one more number, `-a` and the date, so that Composer sorts it after that release and before the next. All
//! packages of a night pin each other, so a night is made of all branches as soon as one of them has moved.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use jiff::Zoned;
use jiff::tz::TimeZone;

use super::fetch_clones::{Clones, branch_ref, newest_tag};
use super::resources::Resources;
use super::{CycleContext, Report};
use crate::git::{BareClone, Commit};
use crate::ledger::{Release as Published, ReleaseKind};
use crate::package::plan::{self, Pins, ResolvedRef};
use crate::package::planner;
use crate::recipe::{Recipe, Retention, Source};

/// The versions of one night.
#[derive(Debug, Default)]
pub(super) struct Night {
    /// `20261124`; `None` in a recipe without branches.
    pub date: Option<String>,
    /// The version of each package that the newest tags have.
    pub pins: Arc<Pins>,
    /// Why there is none: without one of its sources the others would pin something else.
    missing: Option<String>,
}

impl Night {
    /// The night of this cycle: that of the last report, if no branch has moved since, else a new one; none where a source could
    /// not be fetched, or its branch is gone.
    pub fn of(job: &CycleContext<'_>, clones: &Clones, resources: &Resources, before: &Report) -> Self {
        let sources = || {
            job.recipe
                .sources
                .iter()
                .filter(|source| source.nightly.is_some())
        };
        if sources().next().is_none() {
            return Self::default();
        }
        let unknown = sources().find_map(|source| Some((&source.name, head(source, clones).err()?)));
        if let Some((name, error)) = unknown {
            return Self {
                date: before.nightly.clone(),
                missing: Some(format!("no night is made without `{name}`: {error:#}")),
                ..Self::default()
            };
        }
        let moved = sources().any(|source| {
            let known = before
                .sources
                .get(&source.name)
                .and_then(|known| known.refs.values().next());
            head(source, clones).is_ok_and(|commit| Some(&commit.id.to_string()) != known)
        });
        let today = || {
            Zoned::now()
                .with_time_zone(TimeZone::UTC)
                .strftime("%Y%m%d")
                .to_string()
        };
        let date = before.nightly.clone().filter(|_| !moved).unwrap_or_else(today);
        let mut pins = Pins::new();
        for source in sources() {
            match versions(job, source, clones, resources) {
                Ok(versions) => pins.extend(versions.into_iter().map(|(name, v)| (name, nightly(&v, &date)))),
                Err(error) => tracing::warn!(source = source.name, "no versions to follow: {error:#}"),
            }
        }
        Self {
            date: Some(date),
            pins: Arc::new(pins),
            missing: None,
        }
    }

    /// The head of a source's branch, as a release of this night.
    pub fn release(&self, source: &Source, clones: &Clones) -> anyhow::Result<ResolvedRef> {
        let commit = head(source, clones)?;
        if let Some(missing) = &self.missing {
            bail!("{missing}");
        }
        let date = self.date.as_deref().unwrap_or_default();
        Ok(ResolvedRef {
            tag: source.nightly.clone().unwrap_or_default(),
            commit: commit.id,
            tree: commit.tree,
            time: commit.time,
            pins: Arc::clone(&self.pins),
            nightly: Some(nightly(UNRELEASED, date)),
        })
    }
}

/// What a package that no tag has is taken to follow.
const UNRELEASED: &str = "0.0.1";

fn head(source: &Source, clones: &Clones) -> anyhow::Result<Commit> {
    let branch = source.nightly.as_deref().unwrap_or_default();
    let wanted = branch_ref(branch);
    let clone = BareClone::open(&clones.get(&source.git)?.folder)?;
    let Some(reference) = clone.extra_ref(&wanted)? else {
        bail!("there is no branch `{branch}`");
    };
    Ok(clone.commit(&reference)?)
}

/// The versions of the source's packages at its newest tag.
fn versions(
    job: &CycleContext<'_>,
    source: &Source,
    clones: &Clones,
    resources: &Resources,
) -> anyhow::Result<Pins> {
    let clone = BareClone::open(&clones.get(&source.git)?.folder)?;
    let tags = clone.tags()?;
    let newest = newest_tag(tags.iter()).context("it has no tag that is a version")?;
    let tag = newest.tag().unwrap_or_default().to_owned();
    let commit = clone.commit(newest)?;
    let release = ResolvedRef {
        tag: tag.clone(),
        commit: commit.id,
        tree: commit.tree,
        time: commit.time,
        pins: Arc::default(),
        // The tag is the version of what has none in its manifest.
        nightly: Some(tag.clone()),
    };
    let around = plan::PlanContext {
        claimed: &|_, _| plan::VersionOwner::Nobody,
        resource: &|name, path| resources.read(name, path),
        base_url: &job.base_url.to_string(),
        limits: &job.limits,
    };
    let plan = planner::plan(source, &[release], &clone, &around);
    let derived = source.packages.iter().filter_map(|rule| rule.derive.as_ref());
    let mut versions: Pins = derived
        .map(|derive| (derive.package.clone(), tag.clone()))
        .collect();
    let version = |build: plan::Build| (build.name.to_string(), build.version.to_string());
    versions.extend(plan.builds.into_iter().map(version));
    Ok(versions)
}

/// The version of a night that follows `version`: `103.0.7-p1` is followed by `103.0.7.1-a20261124+p1`.
fn nightly(version: &str, date: &str) -> String {
    let (numbers, suffix) = match version.split_once('-') {
        Some((numbers, suffix)) => (numbers, format!("+{suffix}")),
        None => (version, String::new()),
    };
    let parts: Vec<&str> = numbers.split('.').collect();
    let numbers = match parts.as_slice() {
        [first @ .., last] if parts.len() >= 4 => match last.parse::<u64>() {
            Ok(last) => format!("{}.{}", first.join("."), last + 1),
            Err(_) => numbers.to_owned(),
        },
        _ => format!("{numbers}.1"),
    };
    format!("{numbers}-a{date}{suffix}")
}

/// The releases that stay in the metadata: of nightly versions those that the recipe keeps..
pub(super) fn retained(recipe: &Recipe, mut releases: Vec<Published>) -> Vec<Published> {
    let Some(Retention { versions, days }) = recipe.retention else {
        return releases;
    };
    let mut newest = BTreeMap::<String, usize>::new();
    let oldest = days.map(|days| super::now().as_second() - i64::from(days.get()) * 24 * 60 * 60);
    let mut stays = |release: &Published| {
        let seen = newest.entry(release.name.clone()).or_default();
        *seen += 1;
        versions.is_none_or(|most| *seen <= most.get())
            && oldest.is_none_or(|oldest| release.time.as_second() >= oldest)
    };
    // The ledger is in the order of publication: the newest come last.
    releases.reverse();
    releases.retain(|release| release.kind != ReleaseKind::Dev || stays(release));
    releases.reverse();
    releases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::composer::Version;
    use crate::util::digest::{Sha1, Sha256};

    #[test]
    fn a_night_follows_its_release_as_in_the_reference() {
        for (version, expected) in [
            ("103.0.7", "103.0.7.1-a20261124"),
            ("103.0.7-p1", "103.0.7.1-a20261124+p1"),
            ("1.2", "1.2.1-a20261124"),
            ("1.2.3.4", "1.2.3.5-a20261124"),
            ("v1.0.0-beta2", "v1.0.0.1-a20261124+beta2"),
        ] {
            let night = nightly(version, "20261124");
            assert_eq!(night, expected);
            let parse = |text: &str| text.parse::<Version>().unwrap();
            assert!(
                parse(&night).precedence(&parse(version)).is_gt(),
                "{night} comes after {version}"
            );
        }
    }

    fn published(version: &str, kind: ReleaseKind, age: i64) -> Published {
        let time = jiff::Timestamp::from_second(super::super::now().as_second() - age * 86_400).unwrap();
        Published {
            number: 0,
            kind,
            previous: Sha256([0; 32]),
            name: "a/b".into(),
            version: version.into(),
            file: None,
            bound: None,
            sha1: Sha1::digest(b"x"),
            sha256: Sha256::digest(b"x"),
            size: 1,
            source: "s".into(),
            tag: "main".into(),
            commit: "c".into(),
            tree: "t".into(),
            committed: time,
            time,
        }
    }

    #[test]
    fn only_nightly_versions_expire() {
        let all = || {
            vec![
                published("1", ReleaseKind::Package, 90),
                published("n1", ReleaseKind::Dev, 9),
                published("n2", ReleaseKind::Dev, 5),
                published("n3", ReleaseKind::Dev, 1),
            ]
        };
        for (retention, expected) in [
            ("{}", vec!["1", "n1", "n2", "n3"]),
            (r#"{"versions": 2}"#, vec!["1", "n2", "n3"]),
            (r#"{"days": 7}"#, vec!["1", "n2", "n3"]),
            (r#"{"versions": 9, "days": 2}"#, vec!["1", "n3"]),
        ] {
            let recipe = Recipe {
                retention: Some(serde_json::from_str(retention).unwrap()),
                ..Recipe::default()
            };
            let kept: Vec<_> = retained(&recipe, all()).into_iter().map(|r| r.version).collect();
            assert_eq!(kept, expected, "{retention}");
        }
        assert_eq!(retained(&Recipe::default(), all()).len(), 4);
    }
}
