//! The section `log`.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The log, written to standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Format of the log; `auto` is text on a terminal and JSON lines elsewhere.
    pub format: LogFormat,
    /// Lowest severity that is logged.
    pub level: LogLevel,
    /// Which requests are logged, whatever the level; `sampled` includes every failed one.
    pub access: AccessLog,
    /// With `access: sampled`, one of this many requests is logged.
    pub access_sample: Sample,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum AccessLog {
    #[default]
    Off,
    /// A sample, and every request that failed.
    Sampled,
    Full,
}

/// One request out of this many is logged.
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
