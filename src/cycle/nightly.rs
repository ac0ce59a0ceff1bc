//! Nightly versions: the heads of branches, released as dated alpha versions that follow the newest tag.
//!
//! The version is the reference generator's (`release-branch-build-tools.js`): the package's version at the newest tag
//! with one more number, `-a` and the date. Composer sorts it after that release and before the next. All packages of a
//! nightly build pin each other, so all branches are built as soon as one of them has moved.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use jiff::Zoned;
use jiff::tz::TimeZone;

use super::context::CycleContext;
use super::fetch_clones::{Clones, branch_ref, newest_tag};
use super::planning::plan_unpublished;
use super::report::{Report, SourceReport};
use super::resources::Resources;
use crate::composer::{Stability, Version};
use crate::git::{BareClone, Commit};
use crate::ledger::{Release, ReleaseKind};
use crate::package::plan::{Build, Outcome, OutcomeRow, Pins, Plan, ResolvedRef};
use crate::recipe::{Recipe, Retention, Source};
use crate::util::clock::now;

/// The version that a package without any tag follows.
const UNRELEASED: &str = "0.0.1";

/// The date and the versions of a nightly build.
#[derive(Debug, Default)]
pub(super) struct NightlyBuild {
    /// `20261124`; `None` in a recipe without branches.
    pub date: Option<String>,
    /// The nightly version of each package that the newest tags have.
    pub pins: Arc<Pins>,
    /// Why a package of the newest tags has no nightly version, by name.
    refused: BTreeMap<String, String>,
    /// Why nothing can be built: without one source, the others would pin versions that do not exist.
    unavailable: Option<String>,
}

impl NightlyBuild {
    /// The build of this cycle: that of the previous report if no branch has moved since, else a new one of today.
    pub(super) fn new(
        ctx: &CycleContext<'_>,
        clones: &Clones,
        resources: &Resources,
        previous: &Report,
    ) -> Self {
        let sources = || ctx.recipe.sources.iter().filter(|source| source.nightly.is_some());
        if sources().next().is_none() {
            return Self::default();
        }
        let failed = sources().find_map(|source| Some((&source.name, head(ctx, source, clones).err()?)));
        if let Some((name, error)) = failed {
            return Self {
                date: previous.nightly.clone(),
                unavailable: Some(format!("no nightly build without `{name}`: {error:#}")),
                ..Self::default()
            };
        }
        let has_moved = |source: &Source| {
            let report = previous.sources.get(&source.name);
            let known = report.and_then(|report| report.refs.values().next());
            head(ctx, source, clones).is_ok_and(|commit| Some(&commit.id.to_string()) != known)
        };
        let any_moved = sources().any(has_moved);
        let date = previous.nightly.clone().filter(|_| !any_moved).unwrap_or_else(today);
        let (mut pins, mut refused) = (Pins::new(), BTreeMap::new());
        for source in sources() {
            match newest_versions(ctx, source, clones, resources) {
                Ok(versions) => {
                    for (name, version) in versions {
                        match nightly_version(numbered(&version), &date) {
                            Ok(version) => drop(pins.insert(name, version)),
                            Err(error) => drop(refused.insert(name, error.to_string())),
                        }
                    }
                }
                Err(error) => tracing::warn!(
                    source = source.name,
                    "failed to find the versions of the newest tag: {error:#}"
                ),
            }
        }
        Self { date: Some(date), pins: Arc::new(pins), refused, unavailable: None }
    }

    /// Moves the builds of packages without a nightly version to the failed rows.
    pub(super) fn refuse_unreadable(&self, source: &Source, plan: &mut Plan) {
        let reason = |build: &Build| {
            build.git_ref.nightly.as_ref().and_then(|_| self.refused.get(&build.name.to_string()))
        };
        for build in plan.builds.extract_if(.., |build| reason(build).is_some()) {
            plan.rows.push(OutcomeRow {
                source: source.name.clone(),
                package: build.name.to_string(),
                outcome: Outcome::Failed { reason: reason(&build).cloned().unwrap_or_default() },
                tag: build.git_ref.tag,
            });
        }
    }

    /// The head of a source's branch, as a ref of this build.
    pub(super) fn head_of(
        &self,
        ctx: &CycleContext<'_>,
        source: &Source,
        clones: &Clones,
    ) -> anyhow::Result<ResolvedRef> {
        let commit = head(ctx, source, clones)?;
        if let Some(reason) = &self.unavailable {
            bail!("{reason}");
        }
        let date = self.date.as_deref().unwrap_or_default();
        Ok(ResolvedRef {
            tag: source.nightly.clone().unwrap_or_default(),
            commit: commit.id,
            tree: commit.tree,
            time: commit.time,
            pins: Arc::clone(&self.pins),
            nightly: Some(nightly_version(UNRELEASED, date)?),
        })
    }
}

fn today() -> String {
    Zoned::now().with_time_zone(TimeZone::UTC).strftime("%Y%m%d").to_string()
}

fn head(ctx: &CycleContext<'_>, source: &Source, clones: &Clones) -> anyhow::Result<Commit> {
    let branch = source.nightly.as_deref().unwrap_or_default();
    let clone = BareClone::open(&clones.get(&source.git)?.folder, ctx.limits.tree)?;
    let Some(reference) = clone.extra_ref(&branch_ref(branch))? else {
        bail!("there is no branch `{branch}`");
    };
    Ok(clone.commit(&reference)?)
}

/// The versions of the source's packages at its newest tag.
fn newest_versions(
    ctx: &CycleContext<'_>,
    source: &Source,
    clones: &Clones,
    resources: &Resources,
) -> anyhow::Result<Pins> {
    let clone = BareClone::open(&clones.get(&source.git)?.folder, ctx.limits.tree)?;
    let tags = clone.tags()?;
    let newest = newest_tag(tags.iter()).context("it has no tag that is a version")?;
    let tag = newest.tag().unwrap_or_default().to_owned();
    let commit = clone.commit(newest)?;
    let git_ref = ResolvedRef {
        tag: tag.clone(),
        commit: commit.id,
        tree: commit.tree,
        time: commit.time,
        pins: Arc::default(),
        // The tag is the version of packages without one in their manifest.
        nightly: Some(tag.clone()),
    };
    let plan = plan_unpublished(ctx, source, &clone, &[git_ref], resources)?;
    let derived = source.packages.iter().filter_map(|rule| rule.derive.as_ref());
    let mut versions: Pins = derived.map(|derive| (derive.package.clone(), tag.clone())).collect();
    let version = |build: Build| (build.name.to_string(), build.version.to_string());
    versions.extend(plan.builds.into_iter().map(version));
    Ok(versions)
}

/// The version, unless it is a branch such as `dev-main`: the reference treats such a package as unreleased.
fn numbered(version: &str) -> &str {
    match version.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit()) {
        true => version,
        false => UNRELEASED,
    }
}

/// The nightly version that follows `version`: `103.0.7-p1` is followed by `103.0.7.1-a20261124+p1`.
///
/// Fails if Composer would not read it as an alpha version after `version`, as after `1.0.0+5`, where the date would be build
/// metadata of the released version.
fn nightly_version(version: &str, date: &str) -> anyhow::Result<String> {
    let (numbers, suffix) = match version.split_once('-') {
        Some((numbers, suffix)) => (numbers, format!("+{suffix}")),
        None => (version, String::new()),
    };
    let parts: Vec<&str> = numbers.split('.').collect();
    let last =
        parts.last().filter(|_| parts.len() >= 4).and_then(|last| last.parse::<u64>().ok()?.checked_add(1));
    let numbers = match last {
        Some(last) => format!("{}.{last}", parts[..parts.len() - 1].join(".")),
        None => format!("{numbers}.1"),
    };
    let nightly = format!("{numbers}-a{date}{suffix}");
    let is_alpha_after = |followed: &Version, nightly: &Version| {
        nightly.stability() == Stability::Alpha && nightly.precedence(followed).is_gt()
    };
    match (version.parse(), nightly.parse()) {
        (Ok(followed), Ok(read)) if suffix != "+" && is_alpha_after(&followed, &read) => Ok(nightly),
        _ => bail!(
            "version `{version}` of the newest tag has no nightly version: Composer would not read `{nightly}` as an alpha version after it\n\
             hint: tag a commit whose version is plain, such as 2.4.6"
        ),
    }
}

/// Moves the builds of unmoved branches to the rows of what is published. The planner plans every nightly version, since
/// its branch may have moved; `previous` tells which commits have been built by the same rules.
pub(super) fn skip_unmoved_branches(source: &Source, previous: &SourceReport, plan: &mut Plan) {
    let is_built = |build: &Build| {
        let commit = previous.refs.get(&build.git_ref.tag);
        build.git_ref.nightly.is_some()
            && previous.is_complete()
            && commit == Some(&build.git_ref.commit.to_string())
    };
    for build in plan.builds.extract_if(.., |build| is_built(build)) {
        plan.rows.push(OutcomeRow {
            source: source.name.clone(),
            package: build.package(),
            tag: build.git_ref.tag,
            outcome: Outcome::AlreadyPublished,
        });
    }
}

/// The releases that stay in the metadata: all but the nightly versions that the recipe no longer keeps.
pub(super) fn retained(recipe: &Recipe, mut releases: Vec<Release>) -> Vec<Release> {
    let Some(Retention { versions, days }) = recipe.retention else {
        return releases;
    };
    let mut newer = BTreeMap::<String, usize>::new();
    let oldest = days.map(|days| now().as_second() - i64::from(days.get()) * 24 * 60 * 60);
    let mut is_kept = |release: &Release| {
        let count = newer.entry(release.name.clone()).or_default();
        *count += 1;
        versions.is_none_or(|most| *count <= most.get())
            && oldest.is_none_or(|oldest| release.time.as_second() >= oldest)
    };
    // The ledger is in the order of publication: the newest come last.
    releases.reverse();
    releases.retain(|release| release.kind != ReleaseKind::Dev || is_kept(release));
    releases.reverse();
    releases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::digest::{Sha1, Sha256};

    #[test]
    fn nightly_version_follows_release_as_in_the_reference() {
        for (version, expected) in [
            ("103.0.7", "103.0.7.1-a20261124"),
            ("103.0.7-p1", "103.0.7.1-a20261124+p1"),
            ("1.2", "1.2.1-a20261124"),
            ("1.2.3.4", "1.2.3.5-a20261124"),
            ("v1.0.0-beta2", "v1.0.0.1-a20261124+beta2"),
            ("1", "1.1-a20261124"),
            ("2.4.5.0", "2.4.5.1-a20261124"),
            ("2.4.5.9", "2.4.5.10-a20261124"),
            ("v103.0.2.1", "v103.0.2.2-a20261124"),
            ("1.0-dev", "1.0.1-a20261124+dev"),
            ("1.0.0-alpha", "1.0.0.1-a20261124+alpha"),
            ("2.0.0-RC1", "2.0.0.1-a20261124+RC1"),
        ] {
            let night = nightly_version(version, "20261124").unwrap();
            assert_eq!(night, expected);
            let parse = |text: &str| text.parse::<Version>().unwrap();
            assert!(parse(&night).precedence(&parse(version)).is_gt(), "{night} sorts after {version}");
        }
    }

    #[test]
    fn branch_as_version_counts_as_unreleased() {
        assert_eq!(numbered("dev-main"), UNRELEASED);
        assert_eq!(numbered("v1.0.0-p1"), "v1.0.0-p1");
    }

    #[test]
    fn nightly_version_that_is_no_alpha_version_is_refused() {
        for version in ["2.4.5+build.123", "2.4.5-", "1.2.3.4+5", "main", "1.x", "1.2.3.4.5", "1.2.3.x", ""] {
            let error = nightly_version(version, "20261124").unwrap_err().to_string();
            assert!(error.contains(&format!("`{version}`")), "{error}");
        }
    }

    fn published(version: &str, kind: ReleaseKind, age: i64) -> Release {
        let time = jiff::Timestamp::from_second(now().as_second() - age * 86_400).unwrap();
        Release {
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
            upstream: None,
        }
    }

    #[test]
    fn retention_removes_only_nightly_versions() {
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
            let recipe =
                Recipe { retention: Some(serde_json::from_str(retention).unwrap()), ..Recipe::default() };
            let kept: Vec<_> = retained(&recipe, all()).into_iter().map(|r| r.version).collect();
            assert_eq!(kept, expected, "{retention}");
        }
        assert_eq!(retained(&Recipe::default(), all()).len(), 4);
    }
}
