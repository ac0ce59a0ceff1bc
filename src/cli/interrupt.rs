//! The end of a command at SIGTERM and SIGINT, also as the first process of a container, where the kernel ignores a signal
//! that nobody handles.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

/// From now on, SIGTERM and SIGINT end the process at once, with the exit code of a process that they kill. A cycle is
/// interrupted at any instant without harm.
///
/// # Errors
/// A signal that cannot be handled.
pub(super) fn end_on_signal() -> anyhow::Result<()> {
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
