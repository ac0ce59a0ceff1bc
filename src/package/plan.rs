//! What each ref of a source gives: builds and outcomes, as plain values.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::composer::{FieldProblem, Manifest, PackageName, Version};
use crate::config::Limits;
use crate::git::ObjectId;
use crate::net::with_hint;
use crate::recipe::Source;
use crate::util::text::shortened;

/// The most characters of an error that a report keeps: what upstream wrote is quoted in some.
const MAX_REASON: usize = 2000;

/// A ref that is released, resolved to its commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedRef {
    /// The tag's short name, or the version that an extra ref stands for.
    pub tag: String,
    pub commit: ObjectId,
    pub tree: ObjectId,
    /// Committer time, seconds since 1970.
    pub time: i64,
    /// Versions pinned for this ref: of the packages built from it, and where they are required or suggested.
    pub pins: Arc<Pins>,
    /// For the head of a branch: the version of packages with neither a pin nor a version in their manifest.
    pub nightly: Option<String>,
}

/// Versions by package name.
pub type Pins = BTreeMap<String, String>;

/// A package version to build.
#[derive(Debug, Clone)]
pub struct Build {
    pub name: PackageName,
    pub version: Version,
    pub git_ref: ResolvedRef,
    /// The package's folder; `None` if the manifest is all there is.
    pub folder: Option<Folder>,
    pub manifest: ManifestSource,
    /// Path prefixes to leave out, from the root of the repository.
    pub exclude: Vec<String>,
    pub empty_dirs: Vec<String>,
    /// Files that replace those of the tree, or that are added to a derived manifest.
    pub files: BTreeMap<String, Arc<[u8]>>,
    /// Whether the bytes depend on the public base URL.
    pub bound: bool,
    /// For a metapackage, or a derived package: the versions without which it cannot be installed.
    pub requires: Vec<ExactVersion>,
    pub is_metapackage: bool,
}

/// One version that a package requires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExactVersion {
    pub name: String,
    pub version: String,
}

/// A folder of a repository.
#[derive(Debug, Clone)]
pub struct Folder {
    /// Without a slash at the end; empty for the root.
    pub path: String,
    pub tree: ObjectId,
}

/// Where a package's manifest comes from.
#[derive(Debug, Clone)]
pub enum ManifestSource {
    /// A blob of the source.
    Blob(ObjectId),
    /// A file of a resource.
    Resource(Arc<[u8]>),
    /// Derived from the root manifest, with all rules applied.
    Derived(Arc<Manifest>),
}

/// The outcome of one (ref, package).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    Published,
    AlreadyPublished,
    Excluded {
        #[serde(default)]
        rule: ExclusionRule,
        #[serde(rename = "because")]
        reason: String,
    },
    Failed {
        #[serde(rename = "because")]
        reason: String,
    },
    /// It is not published yet, because something that it needs does not exist yet.
    HeldBack {
        #[serde(rename = "because")]
        reason: String,
        /// The versions that nobody provides; none if it waits for files of a resource.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        waits_for: Vec<ExactVersion>,
    },
}

/// The rule by which a tag or a package of a tag is not published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExclusionRule {
    /// The recipe leaves it out by name; also in reports of older programs, which name no rule.
    #[default]
    Recipe,
    /// The tag is before the first version that the recipe releases.
    BeforeFirst,
    /// The tag is not a version.
    NotAVersion,
    /// The tag has no such directory.
    NoDirectory,
    NoManifest,
    /// The manifest has no version.
    NoVersion,
    PrebuiltArchive,
    /// Another source has published the version.
    OtherSource,
    /// Another tag has published the version with other contents: what this tag has is lost.
    FirstTagWins,
    /// Another tag has published the same contents as the same version, written in another way.
    AnotherSpelling,
    /// It is younger than the recipe's `minimum_age`.
    MinimumAge,
    /// Its license is proprietary or missing.
    License,
    /// It is on a filter list of its repository.
    FilterList,
}

impl ExclusionRule {
    /// What all that it excludes has in common, in words.
    pub fn description(self) -> &'static str {
        match self {
            Self::Recipe => "left out by the recipe",
            Self::BeforeFirst => "before the first version that the recipe releases",
            Self::NotAVersion => "no version",
            Self::NoDirectory => "no such directory at the tag",
            Self::NoManifest => "no composer.json",
            Self::NoVersion => "no version in composer.json",
            Self::PrebuiltArchive => "published as a prebuilt archive",
            Self::OtherSource => "published by another source",
            Self::FirstTagWins => "another tag has published the version with other contents",
            Self::AnotherSpelling => "another spelling of a published version",
            Self::MinimumAge => "younger than `minimum_age`",
            Self::License => "its license is proprietary or missing",
            Self::FilterList => "on a filter list of its repository",
        }
    }
}

impl Outcome {
    /// How many versions it waits for.
    pub fn awaited(&self) -> usize {
        match self {
            Self::HeldBack { waits_for, .. } => waits_for.len(),
            _ => 0,
        }
    }

    /// A failure with the chain of an error as its reason, and the remedy.
    pub fn failed(error: &anyhow::Error) -> Self {
        Self::Failed { reason: shortened(&with_hint(error), MAX_REASON).into_owned() }
    }

    /// Why it is not published.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Excluded { reason, .. } | Self::Failed { reason } | Self::HeldBack { reason, .. } => {
                Some(reason)
            }
            Self::Published | Self::AlreadyPublished => None,
        }
    }
}

/// One row of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeRow {
    pub source: String,
    #[serde(rename = "ref")]
    pub tag: String,
    /// `vendor/name version`, or the folder if the name is not known.
    pub package: String,
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl OutcomeRow {
    /// The source, the tag and the package: `catalog 2.4.8: acme/module 1.2.0`.
    pub fn name(&self) -> String {
        match self.package.as_str() {
            // The root of the source, whose name is not known.
            "" => format!("{} {}", self.source, self.tag),
            package => format!("{} {}: {package}", self.source, self.tag),
        }
    }

    /// Whether contents that upstream has tagged are not published although nobody chose to leave them out.
    pub fn is_lost(&self) -> bool {
        matches!(self.outcome, Outcome::Excluded { rule: ExclusionRule::FirstTagWins, .. })
    }
}

/// What users of a published version should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    #[serde(rename = "ref")]
    pub tag: String,
    /// `vendor/name version`.
    pub package: String,
    #[serde(rename = "because")]
    pub reason: String,
}

impl Notice {
    /// The name of the package, without its version.
    pub fn name(&self) -> &str {
        self.package.split(' ').next().unwrap_or_default()
    }
}

/// The fields that the metadata leaves out of a manifest, in words; `None` if there are none.
pub fn describe_omitted(fields: &[FieldProblem]) -> Option<String> {
    let described = || FieldProblem::describe(fields);
    (!fields.is_empty())
        .then(|| format!("the metadata leaves out what Composer cannot read: {}", described()))
}

/// The plan of one source.
#[derive(Debug, Default)]
pub struct Plan {
    pub builds: Vec<Build>,
    /// What is not built, with the reason.
    pub rows: Vec<OutcomeRow>,
    pub notices: Vec<Notice>,
    /// The tags that the recipe does not release, with the reason.
    pub passed_over: Vec<OutcomeRow>,
    /// Descriptions of the recipe's rules for this source that match nothing.
    pub unused: Vec<String>,
}

/// A package version that is published, or will be.
#[derive(Debug, Clone)]
pub struct PublishedVersion {
    pub version: String,
    pub tag: String,
    /// Of its folder; of the whole repository if the manifest is all there is. `None` if it is not known.
    pub tree: Option<ObjectId>,
}

/// The source that has published a name and version, in whatever spelling.
pub enum VersionOwner {
    Nobody {
        /// A published version that only differs in its build metadata.
        twin: Option<String>,
    },
    ThisSource(PublishedVersion),
    /// The version was imported, and which source gives it is not known.
    Imported,
    /// A folder of prebuilt archives, which has precedence over what would be built.
    PrebuiltArchives(String),
    OtherSource(String),
    /// The Composer repository that stands in for the source.
    StandIn(String),
    /// The version is free, but the package belongs to this source, which published it first.
    OwnerOfName(String),
}

/// Reads the file of a resource at a path; `None` if there is none.
pub type ReadResource<'a> = dyn Fn(&str, &str) -> anyhow::Result<Option<Vec<u8>>> + 'a;

/// What planning depends on besides the source.
pub struct PlanContext<'a> {
    /// Fails if planning shall end.
    pub ensure_can_continue: &'a dyn Fn() -> anyhow::Result<()>,
    /// Looks up who has published a name and version.
    pub owner: &'a dyn Fn(&PackageName, &Version) -> VersionOwner,
    pub resource: &'a ReadResource<'a>,
    /// The public base URL.
    pub base_url: &'a str,
    pub limits: &'a Limits,
}

impl ExactVersion {
    /// The exact requirements of a manifest.
    pub fn all_of(manifest: &Manifest) -> Vec<Self> {
        let required = manifest.exact_requirements();
        required.map(|(name, version)| Self { name: name.to_owned(), version: version.to_string() }).collect()
    }

    /// The vendor of the package.
    pub fn vendor(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }
}

impl fmt::Display for ExactVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

impl Build {
    /// `vendor/name version`.
    pub fn package(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    /// Its name and version.
    pub fn exact_version(&self) -> ExactVersion {
        ExactVersion { name: self.name.to_string(), version: self.version.to_string() }
    }

    /// Descriptions of what the recipe changes in this package.
    pub fn changes(&self, source: &Source) -> Vec<String> {
        let (name, version) = (self.name.to_string(), self.version.as_str());
        let pinned = self.git_ref.pins.contains_key(&name).then(|| "version pinned".to_owned());
        let corrected = source.corrections.iter().filter(|c| c.affects.include(&name, version));
        let replaced = source.replacements.iter().filter(|r| r.package == name && r.version == version);
        pinned
            .into_iter()
            .chain(corrected.map(|c| format!("corrected: {}", c.reason)))
            .chain(replaced.map(|r| format!("files replaced: {}", r.reason)))
            .collect()
    }
}

/// `dir/name`, or `name` at the root.
pub(super) fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}
