//! The section `log` of the configuration.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is logged, to the standard error output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Text for people, JSON lines for machines; `auto` is text on a terminal and JSON elsewhere.
    pub format: LogFormat,
    /// The least important messages that are still logged.
    pub level: LogLevel,
    /// Which requests are logged, at every level.
    pub access: AccessLog,
    /// Of how many answers one is logged when `access` is `sampled`.
    pub access_sample: Sample,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum AccessLog {
    #[default]
    Off,
    /// One of many, and every one that failed.
    Sampled,
    Full,
}

/// One of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Sample(pub NonZeroU32);

impl Default for Sample {
    fn default() -> Self {
        Self(NonZeroU32::MIN.saturating_add(99))
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LogFormat {
    #[default]
    Auto,
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}
