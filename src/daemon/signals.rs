//! SIGTERM, SIGINT and SIGHUP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::util::cancel::CancelFlag;
use crate::util::threads;

/// What signals request from a serving process.
#[derive(Clone, Default)]
pub(super) struct Signals {
    pub(super) stop: CancelFlag,
    pub(super) reload: ReloadRequest,
}

/// Set by SIGHUP, taken by the configuration watcher.
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

/// Makes SIGTERM and SIGINT end the process at once, with the exit code of a process that they kill. The first process of a
/// container needs this, because the kernel ignores its unhandled signals. A cycle can be interrupted at any time.
pub(crate) fn exit_on_signal() -> anyhow::Result<()> {
    on_stop_signal(|kind| {
        tracing::info!("interrupted; the next run resumes the cycle");
        std::process::exit(128 + kind.as_raw_value());
    })
}

/// Calls `stop` on a thread of its own at the first SIGTERM or SIGINT.
pub(crate) fn on_stop_signal(stop: impl FnOnce(SignalKind) + Send + 'static) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("failed to start the runtime")?;
    let (mut terminate, mut interrupt) = {
        let _context = runtime.enter();
        (listen(SignalKind::terminate(), "SIGTERM")?, listen(SignalKind::interrupt(), "SIGINT")?)
    };
    threads::spawn(move || {
        stop(runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => SignalKind::terminate(),
                _ = interrupt.recv() => SignalKind::interrupt(),
            }
        }));
    })?;
    Ok(())
}

pub(super) fn listen(kind: SignalKind, name: &str) -> anyhow::Result<Signal> {
    signal(kind).with_context(|| format!("failed to listen for {name}"))
}
