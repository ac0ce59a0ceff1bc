//! The section `notify`: outgoing webhooks.

use std::path::{Path as FilePath, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::secret::{Secret, SecretReference};
use crate::webhook::{Forge, sign};
use crate::yaml::{Issue, Path, Report};

/// An outgoing webhook.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// http or https. The URL itself may be a secret.
    pub url: Url,
    pub on: Vec<Event>,
    /// Signs the notifications.
    pub secret: Option<Secret>,
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
    /// Something new is served: releases, withdrawals, expired nightly versions. For mirrors that follow this one.
    Release,
}

impl Event {
    fn name(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Recovery => "recovery",
            Self::Divergence => "divergence",
            Self::Stale => "stale",
            Self::Release => "release",
        }
    }
}

impl Webhook {
    /// The headers for the event, and the signature of `body` if there is a secret.
    pub fn headers(&self, event: Event, body: &[u8]) -> anyhow::Result<Vec<(&'static str, String)>> {
        let (event_name, signature) = Forge::Mirror.headers();
        let mut headers = vec![(event_name, event.name().to_owned())];
        if let Some(secret) = &self.secret {
            headers.extend(sign(&secret.read()?, body).map(|value| (signature, value)));
        }
        Ok(headers)
    }
}

/// A webhook that receives a JSON object by POST: `text` for people, as Slack and Mattermost show it; `event`,
/// `repository`, `url`, `status`, `state`, `time`, `failures`, `failed` and `diverged` for programs.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default, rename = "Webhook")]
pub(super) struct WebhookEntry {
    /// URL of the webhook, http or https. If it is a secret, write a reference to an environment variable: `${NAME}`.
    url: String,
    /// Which events are reported; by default all but `release`.
    #[serde(default = "default_events")]
    #[schemars(length(min = 1))]
    on: Vec<Event>,
    /// Secret that signs what is sent, as a reference to an environment variable: `${NAME}`. Mirrors that follow this one have
    /// it in `push`.
    #[schemars(with = "Option<SecretReference>")]
    secret: Option<String>,
    /// File with the secret.
    secret_file: Option<PathBuf>,
}

/// All events but `release`.
fn default_events() -> Vec<Event> {
    vec![Event::Failure, Event::Recovery, Event::Divergence, Event::Stale]
}

impl WebhookEntry {
    /// The checked entry; a relative path starts at `folder`.
    pub(super) fn resolve(self, at: &Path, folder: &FilePath, report: &mut Report) -> Option<Webhook> {
        let url = Url::parse(&self.url).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if url.is_none() {
            let issue = Issue::new("expected the URL of a webhook, `https://…`");
            report.add(&at.key("url"), issue);
        }
        if self.secret.is_some() && self.secret_file.is_some() {
            report.add(at, Issue::new("set either `secret` or `secret_file`, not both"));
        }
        let mut secret = Secret::from_keys(self.secret, self.secret_file);
        secret.iter_mut().for_each(|secret| secret.resolve_path(folder));
        Some(Webhook { url: url?, on: self.on, secret })
    }
}
