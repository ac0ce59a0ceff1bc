//! `mirror build`: one cycle of each repository.

use std::time::Instant;

use super::summary_table;
use crate::app::App;
use crate::app::compress::make_variants;
use crate::app::cycle_runner::{NO_OBSERVER, OpenRepository, record_failed_start};
use crate::app::exit::Exit;
use crate::store::Volume;
use crate::util::cancel::CancelFlag;

pub(super) fn build(app: &App) -> anyhow::Result<Exit> {
    let volume = Volume::open(&app.config.data)?;
    volume.log_warnings();
    volume.warn_orphaned_repositories(app.names());
    let (mut complete, mut published) = (true, false);
    for repository in &app.repositories {
        let store = match volume.repository(&repository.name) {
            Ok(store) => store,
            Err(error) => {
                tracing::error!(repository = repository.name, "{error:#}");
                record_failed_start(&volume.reader(&repository.name), &error);
                complete = false;
                continue;
            }
        };
        let opened = OpenRepository { app, volume: &volume, repository, store: &store };
        match build_repository(&opened) {
            Ok(is_complete) => {
                complete &= is_complete;
                published |= store.newest_snapshot()?.is_some_and(|s| s.manifest.releases > 0);
            }
            Err(error) => {
                tracing::error!(repository = repository.name, "{error:#}");
                complete = false;
            }
        }
    }
    Ok(match (complete, published) {
        (true, _) => Exit::Complete,
        (false, true) => Exit::Incomplete,
        (false, false) => Exit::Failed,
    })
}

/// Runs the cycle and compresses what it published. Returns whether nothing failed and no archive is damaged.
fn build_repository(opened: &OpenRepository<'_>) -> anyhow::Result<bool> {
    let (repository, store) = (opened.repository, opened.store);
    let (began, cancel) = (Instant::now(), CancelFlag::default());
    let result = opened.run_cycle(NO_OBSERVER, &cancel)?;
    summary_table::print(&repository.name, &result, began.elapsed());
    let damaged = store.run_history().damaged;
    for (file, reason) in &damaged {
        if !result.damaged.contains_key(file) {
            tracing::error!(repository = repository.name, file, "archive {reason}");
        }
    }
    // Here, because servers that mount the volume read-only cannot compress.
    make_variants(repository, store, opened.app.config.serve.compression, &cancel);
    Ok(result.report.is_complete() && damaged.is_empty())
}
