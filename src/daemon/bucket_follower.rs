//! Serves what the bucket has, on a server without a volume. What was read once stays served when the bucket fails.

use std::time::{Duration, Instant};

use super::configuration::Configuration;
use super::replica::{Replica, ReplicaState};
use super::runtime::ServerHandles;
use crate::app::App;
use crate::app::site_builder::{site_of, unchanged};
use crate::server::{RepositorySite, Site};
use crate::util::clock::now;
use crate::util::heap;

/// How often a damaged object that clients ask for is logged again.
const DAMAGE_REPORT_INTERVAL: Duration = Duration::from_secs(600);

/// Follows the bucket under one configuration, until it ends.
pub(super) fn run(configuration: &Configuration, server: ServerHandles<'_>) {
    let Configuration { app, replicas, stop, .. } = configuration;
    let Some(bucket) = &app.config.bucket else { return };
    let mut reported = Instant::now();
    publish(app, replicas, server);
    note_failure(replicas, server);
    while !stop.is_set() {
        stop.wait(bucket.poll);
        let mut changed = false;
        for replica in replicas {
            changed |= replica.poll(stop);
        }
        if stop.is_set() {
            return;
        }
        if changed {
            publish(app, replicas, server);
        }
        note_failure(replicas, server);
        // Taking the damaged files makes the server report each of them again.
        if reported.elapsed() >= DAMAGE_REPORT_INTERVAL {
            server.published.take_damaged();
            reported = Instant::now();
        }
    }
}

/// Serves what the replicas have. A repository without contents keeps what was served before.
fn publish(app: &App, replicas: &[Replica], server: ServerHandles<'_>) {
    let sites = app.repositories.iter().zip(replicas).map(|(repository, replica)| -> RepositorySite {
        let state = replica.state();
        let site = replica.contents(&state).map(|contents| site_of(repository, &contents));
        site.unwrap_or_else(|| Ok(unchanged(repository))).unwrap_or_else(|error| {
            tracing::error!(
                repository = repository.name,
                "failed to serve what the bucket has, keeping what was served before: {error:#}"
            );
            unchanged(repository)
        })
    });
    match Site::new(sites) {
        Ok(site) => server.published.replace(site),
        Err(error) => tracing::error!("failed to serve what the bucket has: {error:#}"),
    }
    heap::trim();
}

/// Tells health checks since when the bucket cannot be read.
fn note_failure(replicas: &[Replica], server: ServerHandles<'_>) {
    let since = |state: &ReplicaState| state.record.failure.as_ref().map(|failure| failure.since);
    let since = replicas.iter().filter_map(|replica| since(&replica.state())).min();
    server.published.set_note(since.map(|since| {
        let minutes = now().duration_since(since).as_mins();
        format!("the bucket cannot be read since {since:.0} ({minutes} minutes)")
    }));
}
