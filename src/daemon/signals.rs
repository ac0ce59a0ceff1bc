//! The end of a command at SIGTERM and SIGINT, also as the first process of a container, where the kernel ignores a signal
//! that nobody handles.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::util::cancel::CancelFlag;

/// What signals ask for.
#[derive(Clone, Default)]
pub(super) struct Signals {
    pub(super) stop: CancelFlag,
    pub(super) reload: ReloadRequest,
}

/// Set by a signal, taken by whoever acts on it.
#[derive(Clone, Debug, Default)]
pub(super) struct ReloadRequest(Arc<AtomicBool>);

impl ReloadRequest {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// From now on, SIGTERM and SIGINT end the process at once, with the exit code of a process that they kill. A cycle is
/// interrupted at any instant without harm.
///
/// # Errors
/// A signal that cannot be handled.
pub(crate) fn exit_on_signal() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("failed to start the runtime")?;
    let (mut terminate, mut interrupt) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?,
            signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?,
        )
    };
    std::thread::spawn(move || {
        let kind = runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => SignalKind::terminate(),
                _ = interrupt.recv() => SignalKind::interrupt(),
            }
        });
        tracing::info!("interrupted: the next run takes it up");
        std::process::exit(128 + kind.as_raw_value());
    });
    Ok(())
}
