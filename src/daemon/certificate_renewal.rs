//! Orders the certificate of `serve.acme` and renews it. What fails is tried again, and the current certificate stays in use.

use std::time::{Duration, SystemTime};

use anyhow::Result;

use super::configuration::{Configuration, CurrentConfiguration};
use super::tasks::Tasks;
use crate::acme::{order, validity};
use crate::config::Acme;
use crate::server::PublishedSite;
use crate::store::PrivateFolder;
use crate::util::file_lock::try_lock;
use crate::util::threads::ThreadError;

/// The delay after a first failure. Doubled each time, it allows five attempts in an hour, which are as many failed proofs as Let's
/// Encrypt takes for a host (`letsencrypt.org/docs/rate-limits`).
const RETRY: Duration = Duration::from_secs(120);

const MAX_RETRY: Duration = Duration::from_secs(6 * 3600);

/// How often another process on the same volume is asked whether it is still the one that orders.
const LOCKED_RETRY: Duration = Duration::from_secs(60);

/// The longest wait, after which the clock is read again.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// Starts the task if there is something to do, which only a restart changes.
pub(super) fn start<'scope>(
    tasks: Tasks<'scope, '_>,
    configurations: &'scope CurrentConfiguration<'_>,
    published: &'scope PublishedSite,
) -> Result<(), ThreadError> {
    match configurations.get().app.config.serve.acme {
        Some(_) => tasks.start(|| configurations.for_each(|now| run(now, published))),
        None => Ok(()),
    }
}

/// Keeps the certificate valid under one configuration, until it ends.
fn run(configuration: &Configuration, published: &PublishedSite) {
    let Some(acme) = &configuration.app.config.serve.acme else { return };
    let mut failures = 0;
    while !configuration.stop.is_set() {
        let wait = attempt(acme, configuration, published).unwrap_or_else(|error| {
            failures += 1;
            let retry = RETRY.saturating_mul(2_u32.saturating_pow(failures - 1)).min(MAX_RETRY);
            tracing::error!(retry_minutes = retry.as_secs() / 60, "{error:#}");
            retry
        });
        configuration.stop.wait(wait);
    }
}

/// Orders a certificate if one is due. Returns how long nothing has to be done.
fn attempt(acme: &Acme, configuration: &Configuration, published: &PublishedSite) -> Result<Duration> {
    let config = &configuration.app.config;
    let hosts = acme.host_names(&config.repositories);
    let folder = PrivateFolder::open(&acme.folder(&config.data))?;
    let Some(_lock) = try_lock(&folder.path("lock"))? else { return Ok(LOCKED_RETRY) };
    let current = folder.read(Acme::CERTIFICATE)?.and_then(|pem| validity(&pem).ok());
    // One for more hosts than these is as good.
    let current = current.filter(|current| hosts.iter().all(|host| current.hosts.contains(host)));
    let renewal = current.and_then(|current| current.renewal().duration_since(SystemTime::now()).ok());
    if let Some(left) = renewal {
        return Ok(left.min(MAX_WAIT));
    }
    tracing::info!(?hosts, directory = acme.directory_url(), "ordering a certificate");
    order(acme, &hosts, &config.git, &folder, &configuration.stop, |challenges| {
        published.set_acme_challenges(challenges);
    })?;
    tracing::info!(?hosts, "got a certificate");
    Ok(Duration::ZERO)
}
