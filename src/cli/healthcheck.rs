//! `mirror health`, for containers without a shell: asks the running server, first on its local socket.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::running_server::{Request, Response};
use crate::app::App;
use crate::app::exit::Exit;
use crate::config::Address;
use crate::server::HealthEndpoint;

const TIMEOUT: Duration = Duration::from_secs(5);

const MAX_RESPONSE: u64 = 4 << 10;

/// Asks the server that runs with the configuration at `path`; `None` if none runs in this container.
pub(super) fn check_local(path: Option<&Path>) -> Option<Result<Exit>> {
    let endpoint = HealthEndpoint::Health;
    let response = request(endpoint, TIMEOUT).ask_local(path)?;
    Some(response.and_then(|response| check_response(&response, endpoint)).map(|()| Exit::Complete))
}

/// Asks at the configured address.
pub(super) fn check_configured(app: &App) -> Result<Exit> {
    let serve = &app.config.serve;
    let address = serve.admin.first().or(serve.listen.first());
    let address = address.context("`serve.listen` names no address")?;
    let endpoint = HealthEndpoint::Health;
    let response = request(endpoint, TIMEOUT).ask(address, volume_owner(app))?;
    check_response(&response, endpoint).map(|()| Exit::Complete)
}

/// Asks the server that listens on `address`. Fails if no response comes within `timeout`, if its status is not 200, and if
/// another user's process listens there.
pub fn check(address: &Address, endpoint: HealthEndpoint, timeout: Duration) -> Result<()> {
    let response = request(endpoint, timeout).ask(address, None)?;
    check_response(&response, endpoint)
}

/// The user who owns the data, if there are any.
pub(super) fn volume_owner(app: &App) -> Option<u32> {
    fs::metadata(&app.config.data).ok().map(|data| data.uid())
}

fn request(endpoint: HealthEndpoint, timeout: Duration) -> Request<'static> {
    Request { path: endpoint.path(), timeout, max_response: MAX_RESPONSE }
}

fn check_response(Response { status, body }: &Response, endpoint: HealthEndpoint) -> Result<()> {
    match status.as_str() {
        "200" => Ok(()),
        _ => bail!("`{}` answers {status}: {body}", endpoint.path()),
    }
}
