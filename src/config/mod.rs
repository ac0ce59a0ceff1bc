//! The configuration: one YAML file becomes a [`Config`] of validated values.
//!
//! Each section has a file: the type with its keys, descriptions and defaults, and a method for what the type alone
//! cannot say. `raw` is the file as it is written, with the words of the published schema, and the [`Config`] that it
//! becomes, in which every value is valid and every path is resolved. All mistakes are reported at once, with their place, and only the file itself is
//! read: not the recipes, not the secrets, nothing on a volume.

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
mod units;

pub use build::{Build, Limits, Snapshots, Verify};
pub use git::{Credential, Git};
pub use hints::{Hints, Message};
pub use json_schema::json_schema;
pub use listen_address::Address;
pub use load::{DEFAULT_DIRECTORY, LoadError, Loaded, load, load_from, parse};
pub use log::{AccessLog, Log, LogFormat, LogLevel};
pub use notify::{Event, Webhook};
pub use push::Push;
pub use raw::{Config, Site};
pub use repository::{BUILT_IN_RECIPES, Metadata, RecipeRef, Repository};
pub use secret::Secret;
pub use serve::{Compression, Serve, Tls};
