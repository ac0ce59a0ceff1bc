//! The section `repositories`: what is built and where it is served.

use std::path::{Path as FilePath, PathBuf};

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::hints::Hints;
use super::public_url;
use crate::schedule::Schedule;
use crate::yaml::{Issue, Path, Report};

/// The recipes that are built in.
pub const BUILT_IN_RECIPES: [&str; 3] = ["magento", "mage-os", "demo"];

/// Names in the root of the volume that are not repositories; `STORE` on a file system that ignores case.
const RESERVED_NAMES: [&str; 2] = ["git", "store"];

/// One Composer repository that this mirror builds and serves.
#[derive(Clone, Debug)]
pub struct RepositoryConfig {
    /// The name of its folder on the volume.
    pub name: String,
    /// The public URL; its path ends with `/`.
    pub base_url: Url,
    pub content: RepositoryContent,
    pub schedule: Schedule,
    pub metadata: Metadata,
    pub hints: Hints,
    /// The file of its users, if it is private.
    pub users: Option<PathBuf>,
    /// The sources of the recipe to build; all if `None`.
    pub only: Option<Vec<String>>,
}

/// Where the packages of a repository come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepositoryContent {
    Recipe(RecipeRef),
    /// Other mirrors of this program, which are followed: their base URLs, each ending with `/`.
    Follow(Vec<Url>),
    /// What `mirror import` brings.
    Import,
}

/// Where a recipe comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipeRef {
    /// One of [`BUILT_IN_RECIPES`].
    BuiltIn(String),
    File(PathBuf),
}

/// How Composer gets the versions of packages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Metadata {
    /// All packages in one file that packages.json names: one request per update, two after a release.
    #[default]
    Inline,
    /// One request for each package that an update needs.
    Lazy,
}

/// A Composer repository to build and serve.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default, rename = "Repository")]
pub(super) struct RepositoryEntry {
    /// Name of the repository's folder on the data volume.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9._-]*$"))]
    name: String,
    /// Public base URL: the prefix of all download URLs. The repository is served below its path.
    url: String,
    /// Name of a built-in recipe (`magento`, `mage-os`, `demo`), or path of a recipe file (`*.yaml`).
    #[serde(default)]
    recipe: Option<String>,
    /// Instead of a recipe: base URLs of other mirrors of this program, whose releases are copied byte for byte. The
    /// first one that answers rightly counts. `git.credentials` apply to them.
    #[schemars(length(min = 1))]
    follow: Option<Vec<String>>,
    /// Instead of a recipe, for a mirror without network: the repository has what `mirror import` brings.
    #[serde(default)]
    import: bool,
    /// When to build: a crontab line of five fields, or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
    #[serde(default = "default_schedule")]
    schedule: String,
    /// IANA time zone of the schedule.
    #[serde(default = "default_timezone")]
    timezone: String,
    /// How Composer gets package versions: all in one file (`inline`), or with one request per package (`lazy`).
    #[serde(default)]
    metadata: Metadata,
    /// What packages.json tells Composer in addition to the packages.
    #[serde(default)]
    hints: Hints,
    /// File with the users who may read the repository, as `name:hash` lines. Without it, everybody may.
    users: Option<PathBuf>,
    /// Build only these sources of the recipe.
    #[schemars(length(min = 1))]
    only: Option<Vec<String>>,
}

/// Once a night, outside of the hour that daylight saving time skips, and not on the full hour, when most jobs start.
fn default_schedule() -> String {
    "17 3 * * *".to_owned()
}

fn default_timezone() -> String {
    "UTC".to_owned()
}

/// The checked repositories; relative paths start at `folder`.
pub(super) fn resolve(
    entries: Vec<RepositoryEntry>,
    folder: &FilePath,
    report: &mut Report,
) -> Option<Vec<RepositoryConfig>> {
    let list = Path::default().key("repositories");
    if entries.is_empty() && !report.is_broken(&list) {
        report.add(&list, Issue::new("expected at least one repository"));
    }
    for (index, entry) in entries.iter().enumerate() {
        if entries[..index].iter().any(|earlier| earlier.name == entry.name) {
            let issue = Issue::new("repository names must be unique").found(quoted(&entry.name));
            report.add(&list.index(index).key("name"), issue);
        }
    }
    let mut urls = Vec::new();
    let repositories = entries.into_iter().enumerate().map(|(index, entry)| {
        let at = list.index(index);
        let url = check(public_url::parse(&entry.url), &at.key("url"), report);
        if let Some(url) = &url {
            if let Some(issue) = public_url::collision(url, &urls) {
                report.add(&at.key("url"), issue);
            }
            urls.push(url.clone());
        }
        entry.resolve(url, folder, &at, report)
    });
    // Not `Option::from_iter`, which stops at the first mistake.
    let repositories: Vec<_> = repositories.collect();
    repositories.into_iter().collect()
}

impl RepositoryEntry {
    fn resolve(
        self,
        base_url: Option<Url>,
        folder: &FilePath,
        at: &Path,
        report: &mut Report,
    ) -> Option<RepositoryConfig> {
        let content = content(&self, base_url.as_ref(), folder, at, report);
        let name = check(name(self.name), &at.key("name"), report);
        let zone = check(zone(&self.timezone), &at.key("timezone"), report);
        let schedule = Schedule::parse(&self.schedule, zone.unwrap_or(TimeZone::UTC));
        let schedule = check(schedule, &at.key("schedule"), report);
        self.hints.check(&at.key("hints"), report);
        let is_built = matches!(content, None | Some(RepositoryContent::Recipe(_)));
        if self.only.is_some() && !is_built {
            let issue = Issue::new("`only` chooses sources of a recipe, and this repository has none");
            report.add(&at.key("only"), issue.hint("remove the key: a ledger is copied as a whole"));
        }
        if self.only.as_ref().is_some_and(Vec::is_empty) {
            let issue = Issue::new("expected at least one source");
            report.add(&at.key("only"), issue.hint("remove the key to build all sources"));
        }
        Some(RepositoryConfig {
            name: name?,
            base_url: base_url?,
            content: content?,
            schedule: schedule?,
            metadata: self.metadata,
            hints: self.hints,
            users: self.users.map(|users| folder.join(users)),
            only: self.only,
        })
    }
}

/// The value, or its issue in the report.
fn check<T>(value: Result<T, Issue>, at: &Path, report: &mut Report) -> Option<T> {
    value.map_err(|issue| report.add(at, issue)).ok()
}

fn quoted(text: &str) -> String {
    format!("`{text}`")
}

fn name(name: String) -> Result<String, Issue> {
    let first = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    if !first || !name.chars().all(rest) {
        let rule = "expected a name of lower-case letters, digits, `.`, `_` and `-` that begins with a letter or digit";
        return Err(Issue::new(rule).found(quoted(&name)));
    }
    if RESERVED_NAMES.contains(&name.as_str()) {
        let issue = Issue::new("the name is reserved on the volume").found(quoted(&name));
        return Err(issue.hint("choose another name"));
    }
    Ok(name)
}

/// The recipe, the followed mirrors or `import`, exactly one of which has to be there.
fn content(
    entry: &RepositoryEntry,
    base_url: Option<&Url>,
    folder: &FilePath,
    at: &Path,
    report: &mut Report,
) -> Option<RepositoryContent> {
    match (&entry.recipe, &entry.follow, entry.import) {
        (Some(name), None, false) => {
            check(recipe(name, folder), &at.key("recipe"), report).map(RepositoryContent::Recipe)
        }
        (None, Some(urls), false) => {
            followed(urls, base_url, &at.key("follow"), report).map(RepositoryContent::Follow)
        }
        (None, None, true) => Some(RepositoryContent::Import),
        (None, None, false) => {
            if !["recipe", "follow", "import"].iter().any(|key| report.contains(&at.key(key))) {
                report.add(at, Issue::new("expected `recipe`, `follow` or `import`"));
            }
            None
        }
        _ => {
            let issue = Issue::new("set only one of `recipe`, `follow` and `import`");
            let hint = "a repository is built by a recipe, follows other mirrors, or has what is imported";
            report.add(at, issue.hint(hint));
            None
        }
    }
}

fn followed(urls: &[String], base_url: Option<&Url>, at: &Path, report: &mut Report) -> Option<Vec<Url>> {
    if urls.is_empty() {
        report.add(at, Issue::new("expected the URL of at least one mirror"));
        return None;
    }
    let mut followed = Vec::new();
    for (index, text) in urls.iter().enumerate() {
        let at = at.index(index);
        let url = check(public_url::parse(text), &at, report)?;
        if Some(&url) == base_url {
            report.add(&at, Issue::new("a repository cannot follow itself").found(quoted(text)));
        } else if followed.contains(&url) {
            report.add(&at, Issue::new("a mirror is followed once").found(quoted(text)));
        }
        followed.push(url);
    }
    Some(followed)
}

fn recipe(text: &str, folder: &FilePath) -> Result<RecipeRef, Issue> {
    if BUILT_IN_RECIPES.contains(&text) {
        return Ok(RecipeRef::BuiltIn(text.to_owned()));
    }
    if text.ends_with(".yaml") || text.ends_with(".yml") {
        return Ok(RecipeRef::File(folder.join(text)));
    }
    let names = BUILT_IN_RECIPES.map(quoted).join(", ");
    let rule = format!("expected a built-in recipe ({names}) or the path of a `.yaml` file");
    Err(Issue::new(rule).found(quoted(text)).hint_nearest(text, BUILT_IN_RECIPES))
}

fn zone(name: &str) -> Result<TimeZone, Issue> {
    TimeZone::get(name).map_err(|_| {
        let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        Issue::new("expected an IANA time zone such as `Europe/Berlin`")
            .found(quoted(name))
            .hint_nearest(name, names.iter().map(String::as_str))
    })
}
