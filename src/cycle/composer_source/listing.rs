//! Which versions of a Composer repository the recipe takes.

use std::collections::{BTreeMap, BTreeSet};

use super::closure::UpstreamState;
use crate::composer::{NamePattern, PackageName, Version};
use crate::composer_repository::{ComposerRepository, RemoteVersion, Versions};
use crate::cycle::context::CycleContext;
use crate::package::plan::{ExactVersion, Outcome, OutcomeRow};
use crate::recipe::ComposerSource;
use crate::util::digest::Sha256;
use crate::util::text::shortened;

/// In characters, of a package or a version in the report.
const MAX_NAME: usize = 500;

/// In characters.
const MAX_REASON: usize = 2000;

/// A version that the recipe takes.
pub(super) struct WantedVersion {
    pub(super) name: PackageName,
    pub(super) version: Version,
    pub(super) listed: RemoteVersion,
}

/// What the repository lists of what the recipe takes.
#[derive(Default)]
pub(super) struct Listing {
    pub(super) wanted: Vec<WantedVersion>,
    /// What cannot be read.
    pub(super) rows: Vec<OutcomeRow>,
    /// Patterns of the recipe that match nothing, and what a closure lacks.
    pub(super) unused: Vec<String>,
    /// Most of it for a closure.
    pub(super) upstream: UpstreamState,
}

impl WantedVersion {
    /// `vendor/name version`.
    pub(super) fn package(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    pub(super) fn exact_version(&self) -> ExactVersion {
        ExactVersion { name: self.name.to_string(), version: self.version.to_string() }
    }
}

impl Listing {
    /// The digest of what is listed of each package.
    pub(super) fn digests(&self) -> BTreeMap<String, Sha256> {
        let mut texts = BTreeMap::<_, String>::new();
        for WantedVersion { name, version, listed } in &self.wanted {
            let dist = listed.dist.as_ref();
            let shasum = dist.and_then(|dist| dist.shasum).map(|sha1| sha1.to_string());
            let reference = dist.and_then(|dist| dist.reference.clone());
            let line =
                format!("{version} {} {}\n", shasum.unwrap_or_default(), reference.unwrap_or_default());
            texts.entry(name.to_string()).or_default().push_str(&line);
        }
        texts.into_iter().map(|(name, text)| (name, Sha256::digest(text.as_bytes()))).collect()
    }

    pub(super) fn add_failure(&mut self, source: &ComposerSource, tag: &str, package: &str, reason: &str) {
        let (source, tag) = (source.name.clone(), shortened(tag, MAX_NAME).into_owned());
        let package = shortened(package, MAX_NAME).into_owned();
        let reason = shortened(reason, MAX_REASON).into_owned();
        self.rows.push(OutcomeRow { source, tag, package, outcome: Outcome::Failed { reason } });
    }

    fn add(&mut self, source: &ComposerSource, waiting: &BTreeSet<String>, name: &str, versions: Versions) {
        for (version, reason) in versions.unreadable {
            self.add_failure(source, &version, &format!("{name} {version}"), &reason);
        }
        let constraints = source.constraints(name);
        let mut seen = BTreeSet::new();
        for listed in versions.versions {
            let is_wanted = source.stands_in_for.is_none() || waiting.contains(&listed.version);
            let is_allowed = constraints.iter().any(|constraint| constraint.allows(&listed.normalized));
            if !is_wanted || !is_allowed || !seen.insert(listed.normalized.clone()) {
                continue;
            }
            self.want(source, name, listed);
        }
    }

    /// Adds a version to take.
    pub(super) fn want(&mut self, source: &ComposerSource, name: &str, listed: RemoteVersion) {
        match (name.parse::<PackageName>(), listed.version.parse::<Version>()) {
            (Ok(name), Ok(version)) => self.wanted.push(WantedVersion { name, version, listed }),
            (_, Err(error)) => {
                let package = format!("{name} {}", listed.version);
                self.add_failure(source, &listed.version, &package, &error.to_string());
            }
            (Err(error), _) => {
                self.add_failure(source, &listed.version, name, &error.to_string());
            }
        }
    }
}

/// Asks for the names that the recipe takes, and for their versions, several at a time.
pub(super) fn read(
    ctx: &CycleContext<'_>,
    source: &ComposerSource,
    waiting: &BTreeSet<String>,
    repository: &ComposerRepository<'_>,
) -> anyhow::Result<Listing> {
    let patterns = source.patterns();
    let names: Vec<_> = repository.names(&patterns)?.into_iter().collect();
    let mut listing = Listing::default();
    listing.upstream.asked = names.len();
    let mut found = BTreeSet::new();
    for (name, versions) in names.iter().zip(super::versions(ctx, repository, &names, false)?) {
        match versions {
            Ok(versions) => {
                if !versions.versions.is_empty() {
                    found.insert(name);
                }
                listing.add(source, waiting, name, versions);
            }
            Err(error) => {
                found.insert(name);
                listing.add_failure(source, "", name, &format!("{error:#}"));
            }
        }
    }
    let is_unused = |pattern: &&NamePattern| !found.iter().any(|name| pattern.matches(name));
    let unused = patterns.iter().filter(is_unused).filter(|_| source.stands_in_for.is_none());
    listing.unused = unused.map(|pattern| format!("the repository has no version of `{pattern}`")).collect();
    Ok(listing)
}
