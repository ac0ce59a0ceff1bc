//! Delivers a notification to a webhook: at once, then at growing intervals until it is received or given up.

use std::time::{Duration, Instant};

use crate::config::{Event, Git, Webhook};
use crate::net;
use crate::util::cancel::CancelFlag;

/// How a notification is delivered.
pub(super) struct DeliveryPolicy {
    /// How long one attempt may take.
    pub(super) deadline: Duration,
    /// The delays after failed attempts. After the last one, the notification is dropped.
    pub(super) retry_delays: &'static [Duration],
}

/// A notification on its way to one webhook.
pub(super) struct PendingDelivery {
    failures: usize,
    at: Instant,
}

impl PendingDelivery {
    pub(super) fn new() -> Self {
        Self { failures: 0, at: Instant::now() }
    }

    pub(super) fn is_due(&self) -> bool {
        self.at <= Instant::now()
    }

    /// Sends the notification. Returns whether it can be removed: it was received, or has failed too often. Nothing is sent
    /// without the signature that the configuration asks for.
    pub(super) fn attempt(
        &mut self,
        policy: &DeliveryPolicy,
        webhook: &Webhook,
        event: Event,
        body: &str,
        git: &Git,
        stop: &CancelFlag,
    ) -> bool {
        let git = Git { total_timeout: git.total_timeout.min(policy.deadline), ..git.clone() };
        let headers = webhook.headers(event, body.as_bytes());
        let sent = headers
            .and_then(|headers| Ok(net::post_json(&webhook.url, &git, body.as_bytes(), &headers, stop)?));
        let Err(error) = sent else { return true };
        // That is no failure of the receiver.
        if stop.is_set() {
            return false;
        }
        // Without the path, which may hold a secret.
        let host = webhook.url.host_str().unwrap_or_default();
        match policy.retry_delays.get(self.failures) {
            Some(delay) => {
                tracing::warn!(host, "failed to send a notification, it will be sent again: {error:#}");
                (self.failures, self.at) = (self.failures + 1, Instant::now() + *delay);
                false
            }
            None => {
                tracing::error!(host, "failed to send a notification, it is dropped: {error:#}");
                true
            }
        }
    }
}
