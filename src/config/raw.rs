//! The configuration file as it is written.
//!
//! The comments of these types are the reference of the file: they become the descriptions in its JSON Schema.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::build::{Build, Limits, Snapshots, Verify};
use super::log::Log;
use super::notify::Event;
use super::secret::Password;
use super::serve::Serve;
use super::units::{self, count};
use crate::webhook::Forge;

/// The configuration of a Composer mirror.
///
/// `${NAME}` in a string value is replaced by the environment variable `NAME`, and `$${` stands for `${` itself.
/// Relative paths start at the folder of this file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    /// Who runs this mirror.
    #[serde(default)]
    pub site: Site,
    /// The HTTP server.
    #[serde(default)]
    pub serve: Serve,
    /// The folder of the data volume.
    #[serde(default = "default_data")]
    pub data: PathBuf,
    /// The Composer repositories to build and to serve, each under the path of its URL.
    #[schemars(length(min = 1))]
    pub repositories: Vec<RepositoryEntry>,
    /// How the git repositories of the sources are reached.
    #[serde(default)]
    pub git: GitSection,
    /// How packages are built.
    #[serde(default)]
    pub build: Build,
    /// What a package and a source may be at most.
    #[serde(default)]
    pub limits: Limits,
    /// Which published states of the metadata stay on the volume.
    #[serde(default)]
    pub snapshots: Snapshots,
    /// How published files are checked for damage.
    #[serde(default)]
    pub verify: Verify,
    /// Webhooks that are told when something happens.
    #[serde(default)]
    pub notify: Vec<WebhookEntry>,
    /// Whose webhooks start a cycle at once, sent to `/-/push`: of GitHub and GitLab, when something is pushed.
    #[serde(default)]
    pub push: Vec<PushEntry>,
    /// What is logged, to the standard error output.
    #[serde(default)]
    pub log: Log,
}

fn default_data() -> PathBuf {
    "/data".into()
}

/// Who runs this mirror; shown on its pages and in mirror.json.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// The name of the operator.
    pub name: Option<String>,
    /// Where to reach the operator: a mail address or a URL.
    pub contact: Option<String>,
}

/// A Composer repository to build and to serve.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Repository")]
pub(super) struct RepositoryEntry {
    /// The name of its folder on the data volume.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9._-]*$"))]
    pub name: String,
    /// The public base URL: the prefix of every download URL; its path is where the repository is served.
    pub url: String,
    /// The name of a built-in recipe (`magento`, `mage-os`), or the path of a recipe file (`*.yaml`).
    pub recipe: String,
    /// When to build: a crontab line of five fields, or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
    #[serde(default = "default_schedule")]
    pub schedule: String,
    /// The IANA time zone of the schedule.
    #[serde(default = "default_timezone")]
    pub timezone: String,
    /// How Composer gets the versions of packages: all in packages.json (`inline`), or with a request for each package
    /// that it needs (`lazy`).
    #[serde(default)]
    pub metadata: Metadata,
    /// What its packages.json tells Composer beside the packages.
    #[serde(default)]
    pub hints: Hints,
    /// A file of the users who may read it, `name:hash` lines; without it everybody may.
    pub users: Option<PathBuf>,
    /// Build only these sources of the recipe.
    #[schemars(length(min = 1))]
    pub only: Option<Vec<String>>,
}

/// How Composer gets the versions of packages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Metadata {
    /// Of all packages, in packages.json: one request, whatever is needed.
    #[default]
    Inline,
    /// Of each package that it needs, with a request of its own.
    Lazy,
}

/// What packages.json tells Composer beside the packages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hints {
    /// Where else the same archives are, byte for byte.
    pub mirrors: Vec<ArchiveMirror>,
    /// Warnings that Composer prints on every update.
    pub warnings: Vec<Message>,
    /// Notices that Composer prints on every update.
    pub infos: Vec<Message>,
}

/// Where else archives are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArchiveMirror {
    /// The URL of an archive, with `%package%`, and `%prettyVersion%` or `%version%`.
    pub dist_url: String,
    /// Whether it is asked first; otherwise it is asked when this mirror fails.
    #[serde(default)]
    pub preferred: bool,
}

/// A message for the people at the client.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// What is printed.
    pub message: String,
    /// For which versions of Composer, as a constraint.
    #[serde(default = "every_version")]
    pub versions: String,
}

fn every_version() -> String {
    "*".to_owned()
}

/// Once a night, outside of the hour that daylight saving skips and not on the full hour, when everybody else asks.
fn default_schedule() -> String {
    "17 3 * * *".to_owned()
}

fn default_timezone() -> String {
    "UTC".to_owned()
}

/// How the git repositories of the sources are reached.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Git")]
pub(super) struct GitSection {
    /// Replaces the beginning of source URLs, the longest match first: prefix to replace, and its replacement.
    pub rewrite: BTreeMap<String, String>,
    /// How long a connection may take to be established.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub connect_timeout: Duration,
    /// How long a transfer may stand still.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub timeout: Duration,
    /// How many sources are fetched at once.
    pub parallel: NonZeroUsize,
    /// Fetch only what is built, without the history.
    pub shallow: bool,
    /// A file of PEM certificates to trust in addition to those of the system.
    pub ca_file: Option<PathBuf>,
    /// How to authenticate, for source URLs (after `rewrite`) that begin with `url`; the longest match counts.
    pub credentials: Vec<CredentialEntry>,
}

impl Default for GitSection {
    fn default() -> Self {
        Self {
            rewrite: BTreeMap::new(),
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
            parallel: count(4),
            shallow: true,
            ca_file: None,
            credentials: Vec::new(),
        }
    }
}

/// How to authenticate at a git server: with a password or token, or with a private key.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Credential")]
pub(super) struct CredentialEntry {
    /// The beginning of the URLs that it is for, such as `https://git.example.com/` or `git@git.example.com:`.
    pub url: String,
    /// The user name.
    pub username: Option<String>,
    /// A file with the user name.
    pub username_file: Option<PathBuf>,
    /// The password or token, as a reference to an environment variable: `${NAME}`.
    pub password: Option<Password>,
    /// A file with the password or token.
    pub password_file: Option<PathBuf>,
    /// A file with the private key for ssh.
    pub private_key_file: Option<PathBuf>,
    /// A file with the passphrase of the private key.
    pub passphrase_file: Option<PathBuf>,
    /// The known hosts of ssh, in the format of OpenSSH.
    pub known_hosts_file: Option<PathBuf>,
}

/// A webhook that gets a JSON object by POST: `text` for people, as Slack and Mattermost show it; `event`, `repository`,
/// `url`, `status`, `state`, `time`, `failures`, `failed` and `diverged` for programs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Webhook")]
pub(super) struct WebhookEntry {
    /// Its address, http or https. Where it is a secret, write a reference to the environment: `${NAME}`.
    pub url: String,
    /// What it is told of; everything unless set.
    #[serde(default = "all_events")]
    #[schemars(length(min = 1))]
    pub on: Vec<Event>,
}

/// A sender of webhooks, by the secret that it shares with the mirror.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Push")]
pub(super) struct PushEntry {
    /// Who sends.
    pub from: Forge,
    /// The secret (GitHub's Secret, GitLab's Secret token or Signing token), as a reference to an environment variable: `${NAME}`.
    pub secret: Option<Password>,
    /// A file with the secret.
    pub secret_file: Option<PathBuf>,
}

fn all_events() -> Vec<Event> {
    vec![Event::Failure, Event::Recovery, Event::Divergence, Event::Stale]
}
