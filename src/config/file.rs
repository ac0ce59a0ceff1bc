//! The configuration file as it is written; the doc comments are the descriptions in its JSON Schema.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

/// Configuration of the mirror.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// How to serve.
    #[serde(default)]
    pub serve: Serve,
    /// The data volume.
    #[serde(default = "data")]
    pub data: PathBuf,
    /// The repositories to build and serve, each at the path of its URL.
    pub repositories: Vec<Repository>,
    /// How to fetch.
    #[serde(default)]
    pub git: Git,
    /// How to build.
    #[serde(default)]
    pub build: Build,
}

/// How to serve.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Serve {
    /// Addresses and ports to listen on.
    pub listen: Vec<String>,
    /// How long requests in flight may take after SIGTERM, such as `30s`.
    pub drain: String,
}

impl Default for Serve {
    fn default() -> Self {
        Self {
            listen: vec!["[::]:8080".into()],
            drain: "30s".into(),
        }
    }
}

/// A repository to build and serve.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// Its name: its folder on the data volume.
    pub name: String,
    /// The public base URL: the prefix of every dist URL; its path is where it is served.
    pub url: String,
    /// The name of a built-in recipe, or the path of a recipe file, relative to this file.
    pub recipe: String,
    /// When to build: a line of five crontab fields, or `@hourly`, `@daily`, `@weekly`, …
    #[serde(default = "schedule")]
    pub schedule: String,
    /// The time zone of the schedule, such as `Europe/Berlin`.
    #[serde(default = "timezone")]
    pub timezone: String,
    /// Some of the recipe's sources; all when left out.
    #[serde(default)]
    pub only: Option<Vec<String>>,
}

/// How to fetch.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Git {
    /// Prefixes of source URLs and what stands for them, as git's `url.<base>.insteadOf`.
    pub rewrite: BTreeMap<String, String>,
    /// The longest time to connect.
    pub connect_timeout: String,
    /// The longest time without progress.
    pub timeout: String,
    /// Sources fetched at the same time.
    pub parallel: usize,
    /// Fetch without history, where the transport can.
    pub shallow: bool,
}

impl Default for Git {
    fn default() -> Self {
        Self {
            rewrite: BTreeMap::new(),
            connect_timeout: "10s".into(),
            timeout: "60s".into(),
            parallel: 4,
            shallow: true,
        }
    }
}

/// How to build.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Build {
    /// Packages built at the same time; the number of cores, at most 4, when left out.
    pub workers: Option<usize>,
}

fn data() -> PathBuf {
    "/data".into()
}

fn schedule() -> String {
    "@daily".into()
}

fn timezone() -> String {
    "UTC".into()
}
