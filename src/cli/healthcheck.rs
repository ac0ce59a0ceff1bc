//! `mirror health`: whether the server of this container is well. It is asked at its own address first, because the file
//! may have become another one, or a broken one, since the server started.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::app::exit::Exit;
use crate::app::{App, own_name};
use crate::server::healthcheck::{self, HealthEndpoint};

/// How long is waited for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the server that runs with the configuration `named`; `None` when there is none in this container.
pub(super) fn of_running(named: Option<&Path>) -> Option<anyhow::Result<Exit>> {
    let answer = healthcheck::check_local(&own_name(named), HealthEndpoint::Health, PATIENCE)?;
    Some(answer.map(|()| Exit::Complete))
}

/// Asks at the address in the configuration.
pub(super) fn of_configured(app: &App) -> anyhow::Result<Exit> {
    let serve = &app.config.serve;
    let address = serve.admin.first().or(serve.listen.first());
    let address = address.context("`serve.listen` names no address")?;
    healthcheck::check(address, HealthEndpoint::Health, PATIENCE).map(|()| Exit::Complete)
}
