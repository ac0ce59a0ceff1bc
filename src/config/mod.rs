//! The configuration: one YAML file as typed, validated values.
//!
//! `document` is the file as it is written, with the words of the published schema; `resolve` turns it into a
//! [`Config`], in which every value is valid and every path is resolved. All mistakes are reported at once, with
//! their place, and nothing but the file itself is read: not the recipes, not the secrets, nothing on a volume.

mod build;
mod git;
mod json_schema;
mod listen_address;
mod load;
mod log;
mod notify;
mod raw;
mod secret;
mod serve;
#[cfg(test)]
mod tests;
mod units;
mod validate;

use std::path::PathBuf;

use url::Url;

use crate::schedule::Schedule;
use crate::webhook::Forge;

pub use build::{Build, Limits, Snapshots, Verify};
pub use git::{Credential, Git};
pub use json_schema::json_schema;
pub use listen_address::Address;
pub use load::{DEFAULT_DIRECTORY, LoadError, Loaded, load, parse};
pub use log::{AccessLog, Log, LogFormat, LogLevel};
pub use notify::Event;
pub use raw::{Hints, Message, Metadata, Site};
pub use secret::Secret;
pub use serve::{Compression, Serve, Tls};

/// The recipes that are built in.
pub const BUILT_IN_RECIPES: [&str; 2] = ["magento", "mage-os"];

/// A whole, valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who runs this mirror.
    pub site: Site,
    pub serve: Serve,
    /// The data volume.
    pub data: PathBuf,
    /// At least one; names and URL paths are unique.
    pub repositories: Vec<Repository>,
    pub git: Git,
    pub build: Build,
    pub limits: Limits,
    pub snapshots: Snapshots,
    pub verify: Verify,
    /// Who is told of what happens.
    pub notify: Vec<Webhook>,
    /// Whose webhooks start a cycle.
    pub push: Vec<Push>,
    pub log: Log,
}

/// Who is told of what happens.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// http or https; it may be a secret itself.
    pub url: Url,
    pub on: Vec<Event>,
}

/// A sender of webhooks.
#[derive(Clone, Debug)]
pub struct Push {
    pub from: Forge,
    pub secret: Secret,
}

/// One Composer repository that this mirror builds and serves.
#[derive(Clone, Debug)]
pub struct Repository {
    /// The name of its folder on the volume.
    pub name: String,
    /// The public URL; its path ends with `/`.
    pub base_url: Url,
    pub recipe: RecipeRef,
    pub schedule: Schedule,
    /// How Composer gets the versions of packages.
    pub metadata: Metadata,
    /// What packages.json tells beside the packages.
    pub hints: Hints,
    /// The file of its users, if it is private.
    pub users: Option<PathBuf>,
    /// The sources of the recipe to take, all if `None`.
    pub only: Option<Vec<String>>,
}

/// Where a recipe comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipeRef {
    /// One of [`BUILT_IN_RECIPES`].
    BuiltIn(String),
    File(PathBuf),
}
