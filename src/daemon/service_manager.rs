//! Notifications to the service manager (sd_notify(3)): systemd with `Type=notify`, or another that sets `NOTIFY_SOCKET`. Without one
//! nothing is sent. A notification that cannot be sent is logged, because a missing READY or WATCHDOG ends the service.

use std::time::Duration;

use sd_notify::NotifyState;

/// The server listens, and the current configuration is in effect.
pub(super) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// A new configuration is being loaded; [`ready`] follows whether or not it is accepted.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "failed to read the clock"),
    }
}

/// The server ends: it gives notice, then drains.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("Shutting down")]);
}

/// One line for `systemctl status`.
pub(super) fn status(line: &str) {
    notify(&[NotifyState::Status(line)]);
}

/// Sends WATCHDOG as long as the runtime that answers requests gets to it, twice in the time that the service manager waits.
pub(super) async fn keep_watchdog_quiet() {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else {
        return std::future::pending().await;
    };
    let mut interval = tokio::time::interval((limit / 2).max(Duration::from_millis(1)));
    loop {
        interval.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "failed to notify the service manager");
    }
}
