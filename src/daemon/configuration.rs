//! The configuration in effect. After a reload each task switches to the new one by itself, so that none waits for another.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::replica::Replica;
use crate::app::App;
use crate::store::RepositoryStore;
use crate::util::cancel::CancelFlag;

/// For waits that only a flag ends.
const LONG: Duration = Duration::from_secs(3600);

/// A configuration with its repositories.
pub(super) struct Configuration {
    pub(super) app: App,
    /// On the volume.
    pub(super) stores: Vec<RepositoryStore>,
    /// In the bucket, of a server without a volume.
    pub(super) replicas: Vec<Replica>,
    /// Set when another configuration is in effect, and when the process stops.
    pub(super) stop: CancelFlag,
}

impl Configuration {
    pub(super) fn new(app: App, stores: Vec<RepositoryStore>) -> Self {
        Self { app, stores, replicas: Vec::new(), stop: CancelFlag::default() }
    }

    /// Whether it is that of a server without a volume.
    pub(super) fn is_replica(&self) -> bool {
        !self.replicas.is_empty()
    }

    /// Reads what is not known yet of the bucket, if that is possible now.
    pub(super) fn read_bucket(&self) {
        for replica in &self.replicas {
            if replica.state().contents.is_none() {
                replica.poll(&self.stop);
            }
        }
    }
}

/// The configuration in effect.
pub(super) struct CurrentConfiguration<'a> {
    current: ArcSwap<Configuration>,
    /// Set when the process stops.
    stop: &'a CancelFlag,
}

impl<'a> CurrentConfiguration<'a> {
    pub(super) fn new(first: Configuration, stop: &'a CancelFlag) -> Self {
        Self { current: ArcSwap::from_pointee(first), stop }
    }

    pub(super) fn get(&self) -> Arc<Configuration> {
        self.current.load_full()
    }

    pub(super) fn replace(&self, next: Configuration) {
        // The flag makes all tasks look for the new one, so it is set afterwards.
        self.current.swap(Arc::new(next)).stop.set();
    }

    /// Ends the current configuration without another one.
    pub(super) fn end(&self) {
        self.stop.set();
        self.get().stop.set();
    }

    /// Runs `task` with the configuration in effect, and again with each later one, until the process stops. `task` must end when
    /// the flag of its configuration is set.
    pub(super) fn for_each(&self, mut task: impl FnMut(&Configuration)) {
        while !self.stop.is_set() {
            let configuration = self.get();
            task(&configuration);
            // The task may have nothing to do under this configuration.
            while !configuration.stop.is_set() {
                configuration.stop.wait(LONG);
            }
        }
    }
}
