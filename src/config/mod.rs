//! The configuration: one YAML file becomes a [`Config`] of validated values.
//!
//! Each section has a file with a type (keys, descriptions, defaults) and a method that checks what the type cannot express.
//! `raw` has the file as it is written and the resulting [`Config`], whose values are valid and whose paths are resolved. All
//! mistakes are reported together, each with its line and column. Only the file itself is read: no recipe, no secret, no volume.

mod acme;
mod bucket;
mod build;
mod git;
mod hints;
mod json_schema;
mod listen_address;
mod load;
mod log;
mod notify;
mod public_url;
mod push;
mod raw;
mod repository;
mod secret;
mod serve;
mod trial;
mod trusted_proxies;
pub(crate) mod units;

pub use acme::Acme;
pub use bucket::{AccessKey, Bucket, Redirect};
pub use build::{Build, Limits, Snapshots, Verify};
pub use git::{Credential, CredentialScheme, Git};
pub use hints::{Hints, Message};
pub use json_schema::json_schema;
pub use listen_address::{Address, UnixAddress};
pub use load::{DEFAULT_DIRECTORY, LoadError, Loaded, load, load_from, load_text, parse};
pub use log::{AccessLog, Log, LogFormat, LogLevel};
pub use notify::{Event, Webhook};
pub use push::Push;
pub use raw::{Config, Site};
pub use repository::{BUILT_IN_RECIPES, Metadata, RecipeRef, RepositoryConfig, RepositoryContent};
pub use secret::Secret;
pub use serve::{Compression, Serve, Tls};
pub use trial::Trial;
pub(crate) use trial::quoted as quoted_yaml;
pub use trusted_proxies::{TrustedProxies, TrustedProxy};
