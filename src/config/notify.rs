//! The section `notify`: outgoing webhooks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::yaml::{Issue, Path, Report};

/// An outgoing webhook.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// http or https. The URL itself may be a secret.
    pub url: Url,
    pub on: Vec<Event>,
}

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

/// A webhook that receives a JSON object by POST: `text` for people, as Slack and Mattermost show it; `event`,
/// `repository`, `url`, `status`, `state`, `time`, `failures`, `failed` and `diverged` for programs.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default, rename = "Webhook")]
pub(super) struct WebhookEntry {
    /// URL of the webhook, http or https. If it is a secret, write a reference to an environment variable: `${NAME}`.
    url: String,
    /// Which events are reported.
    #[serde(default = "all_events")]
    #[schemars(length(min = 1))]
    on: Vec<Event>,
}

fn all_events() -> Vec<Event> {
    vec![Event::Failure, Event::Recovery, Event::Divergence, Event::Stale]
}

impl WebhookEntry {
    pub(super) fn resolve(self, at: &Path, report: &mut Report) -> Option<Webhook> {
        let url = Url::parse(&self.url).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if url.is_none() {
            let issue = Issue::new("expected the URL of a webhook, `https://…`");
            report.add(&at.key("url"), issue);
        }
        Some(Webhook { url: url?, on: self.on })
    }
}
