//! The section `notify`: outgoing webhooks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a webhook reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Event {
    /// Something failed that had not failed before.
    Failure,
    /// Everything works again.
    Recovery,
    /// Upstream would change a published version.
    Divergence,
    /// Scheduled runs were missed.
    Stale,
}
