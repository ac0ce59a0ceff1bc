//! The configuration file as it is written, and the [`Config`] that it becomes.
//!
//! The doc comments of these types are the reference of the file: they are the descriptions in its JSON Schema.

use std::path::{Path as FilePath, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bucket::{Bucket, BucketEntry};
use super::build::{Build, Limits, Snapshots, Verify};
use super::git::Git;
use super::listen_address::Address;
use super::log::Log;
use super::notify::{Webhook, WebhookEntry};
use super::push::{Push, PushEntry};
use super::repository::{self, RepositoryConfig, RepositoryEntry};
use super::secret;
use super::serve::Serve;
use super::trusted_proxies::TrustedProxy;
use super::units::{Percent, duration, size};
use crate::yaml::{FromYaml, Issue, Path, Report};

/// A whole, valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who runs this mirror.
    pub site: Site,
    pub serve: Serve,
    /// The data volume.
    pub data: PathBuf,
    pub bucket: Option<Bucket>,
    /// At least one; names and URL paths are unique.
    pub repositories: Vec<RepositoryConfig>,
    pub git: Git,
    pub build: Build,
    pub limits: Limits,
    pub snapshots: Snapshots,
    pub verify: Verify,
    /// Outgoing webhooks.
    pub notify: Vec<Webhook>,
    /// Senders of incoming webhooks.
    pub push: Vec<Push>,
    pub log: Log,
}

/// Configuration of a Composer mirror.
///
/// `${NAME}` in a string value is replaced by the environment variable `NAME`; `$${` stands for `${` itself.
/// Relative paths start at the folder of this file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    /// Operator of this mirror.
    #[serde(default)]
    site: Site,
    /// The HTTP server.
    #[serde(default)]
    serve: Serve,
    /// Folder of the data volume.
    #[serde(default = "default_data")]
    data: PathBuf,
    /// Object store that receives everything that is published.
    bucket: Option<BucketEntry>,
    /// Composer repositories to build and serve, each below the path of its URL.
    #[serde(default)]
    #[schemars(!default, length(min = 1))]
    repositories: Vec<RepositoryEntry>,
    /// How the git repositories of the sources are reached.
    #[serde(default)]
    git: Git,
    /// How packages are built.
    #[serde(default)]
    build: Build,
    /// Limits for packages, sources and cycles.
    #[serde(default)]
    limits: Limits,
    /// How long published snapshots of the metadata are kept.
    #[serde(default)]
    snapshots: Snapshots,
    /// How published files are checked for damage.
    #[serde(default)]
    verify: Verify,
    /// Webhooks that are called when something happens.
    #[serde(default)]
    notify: Vec<WebhookEntry>,
    /// Senders of webhooks (GitHub, GitLab) that may start a cycle at `/-/push`.
    #[serde(default)]
    push: Vec<PushEntry>,
    /// The log, written to standard error.
    #[serde(default)]
    log: Log,
}

fn default_data() -> PathBuf {
    "/data".into()
}

/// Operator of this mirror; shown on its pages and in mirror.json.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Name of the operator.
    pub name: Option<String>,
    /// Where to reach the operator: an e-mail address or a URL.
    pub contact: Option<String>,
}

impl FromYaml for Document {
    const EXAMPLE: &'static str =
        "repositories: [{ name: magento, url: 'http://localhost:8080/', recipe: magento }]";

    fn check_format(format: &str, value: &str, written: &str) -> Result<(), Issue> {
        match format {
            "duration-with-unit" => duration::parse(value).map(drop),
            "size-with-unit" => size::parse(value).map(drop),
            "percentage" => Percent::try_from(value.to_owned()).map(drop),
            "listen-address" => value.parse::<Address>().map(drop),
            "network" => value.parse::<TrustedProxy>().map(drop),
            "environment-reference" => secret::check_reference(written),
            _ => Ok(()),
        }
    }
}

impl Document {
    /// The configuration, unless an issue was added to the report. Relative paths start at `folder`.
    ///
    /// Each section checks what its type cannot express. Rules never quote a value, see [`Issue`].
    pub(super) fn resolve(mut self, folder: &FilePath, report: &mut Report) -> Option<Config> {
        let root = Path::default();
        self.serve.resolve_paths(folder);
        self.git.check(&root.key("git"), report);
        self.git.resolve_paths(folder);
        self.limits.check(&root.key("limits"), report);
        let repositories = repository::resolve(self.repositories, folder, report);
        self.serve.check(repositories.as_deref().unwrap_or_default(), &root.key("serve"), report);
        let bucket = self.bucket.map(|entry| entry.resolve(&root.key("bucket"), folder, report));
        let notify = self.notify.into_iter().enumerate();
        let notify = notify
            .filter_map(|(index, entry)| entry.resolve(&root.key("notify").index(index), folder, report))
            .collect();
        let push = self.push.into_iter().enumerate();
        let push = push
            .filter_map(|(index, entry)| entry.resolve(&root.key("push").index(index), folder, report))
            .collect();
        Some(Config {
            site: self.site,
            serve: self.serve,
            data: folder.join(self.data),
            // The mistakes of a broken one are in the report.
            bucket: bucket.flatten(),
            repositories: repositories?,
            git: self.git,
            build: self.build,
            limits: self.limits,
            snapshots: self.snapshots,
            verify: self.verify,
            notify,
            push,
            log: self.log,
        })
    }
}
