//! `mirror build`: one cycle of each repository.

use std::time::Instant;

use super::summary_table;
use crate::app::App;
use crate::app::compress::make_variants;
use crate::app::cycle_runner::{NO_OBSERVER, record_failed_start, run_cycle};
use crate::app::exit::Exit;
use crate::store::Volume;
use crate::util::cancel::CancelFlag;

/// One cycle of each repository.
pub(super) fn build(app: &App) -> anyhow::Result<Exit> {
    let volume = Volume::open(&app.config.data)?;
    volume.log_warnings();
    volume.warn_orphaned_repositories(app.repositories.iter().map(|repository| &*repository.name));
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
        let began = Instant::now();
        match run_cycle(
            app,
            &volume,
            repository,
            &store,
            NO_OBSERVER,
            &CancelFlag::default(),
        ) {
            Ok(finished) => {
                summary_table::print(&repository.name, &finished, began.elapsed());
                let damaged = store.run_history().damaged;
                for (file, because) in damaged
                    .iter()
                    .filter(|(file, _)| !finished.damaged.contains_key(*file))
                {
                    tracing::error!(repository = repository.name, file, "an archive {because}");
                }
                complete &= finished.report.is_complete() && damaged.is_empty();
                // Servers that may not write to the volume have what is made here.
                make_variants(app, repository, &store, &CancelFlag::default());
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
