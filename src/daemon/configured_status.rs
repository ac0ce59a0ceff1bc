//! The status of a repository of which nothing is known but the configuration. Who observes more adds it.

use crate::app::{App, Repository};
use crate::cycle::Report;
use crate::status::StatusInput;
use crate::store::RunHistory;
use crate::util::clock::now;

pub(super) fn configured_status<'a>(app: &'a App, repository: &'a Repository) -> StatusInput<'a> {
    StatusInput {
        site: &app.config.site,
        name: &repository.name,
        recipe: &repository.recipe,
        is_trial: app.is_trial(),
        base_url: repository.base_url.to_string(),
        schedule: &repository.schedule,
        snapshot: None,
        unserved: None,
        report: Report::default(),
        history: RunHistory::default(),
        bucket: None,
        is_replica: false,
        releases: &[],
        space: None,
        planned: None,
        now: now(),
    }
}
