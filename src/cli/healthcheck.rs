//! `mirror health`: asks the running server. The local socket comes first, because the configuration file may have changed
//! or broken since the server started.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::app::exit::Exit;
use crate::app::{App, local_socket};
use crate::server::healthcheck::{self, HealthEndpoint};

const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the server that runs with the configuration at `path`; `None` if none runs in this container.
pub(super) fn check_local(path: Option<&Path>) -> Option<anyhow::Result<Exit>> {
    let result = healthcheck::check_local(&local_socket(path), HealthEndpoint::Health, TIMEOUT)?;
    Some(result.map(|()| Exit::Complete))
}

/// Asks at the configured address.
pub(super) fn check_configured(app: &App) -> anyhow::Result<Exit> {
    let serve = &app.config.serve;
    let address = serve.admin.first().or(serve.listen.first());
    let address = address.context("`serve.listen` names no address")?;
    healthcheck::check(address, HealthEndpoint::Health, TIMEOUT).map(|()| Exit::Complete)
}
