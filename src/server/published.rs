//! The handle that publication and serving share: the current site, and whether the server is on its way out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use jiff::Timestamp;

use super::authorization::AccessRules;
use super::site::Site;
use super::status_files::{StatusFile, StatusFiles};
use crate::config::Secret;
use crate::webhook::Forge;

/// What is published right now. Clones share it.
#[derive(Clone, Default)]
pub struct PublishedSite(Arc<State>);

#[derive(Default)]
struct State {
    site: ArcSwapOption<Site>,
    status_files: ArcSwap<StatusFiles>,
    access_rules: ArcSwap<AccessRules>,
    /// Whether any of them was ever shut.
    has_private: AtomicBool,
    webhooks: ArcSwap<WebhookConfig>,
    /// Repositories whose next cycle is asked for.
    requested_cycles: Mutex<BTreeSet<String>>,
    is_draining: AtomicBool,
    /// Files that could not be served as they were published.
    damaged: Mutex<BTreeSet<PathBuf>>,
}

/// Which webhooks are accepted, and what each starts.
#[derive(Default)]
pub struct WebhookConfig {
    pub secrets: Vec<(Forge, Secret)>,
    /// The names of the repositories that are made from a git repository, by its address.
    pub repositories: BTreeMap<String, BTreeSet<String>>,
}

/// Whether requests should be sent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// No repository has a snapshot yet.
    Unpublished,
    /// The server finishes what it has begun, and ends.
    Draining,
}

impl PublishedSite {
    /// Publishes `site`; requests in flight finish on the one before.
    pub fn replace(&self, mut site: Site) {
        if let Some(before) = &*self.site() {
            site.reuse_from(before);
        }
        self.0.site.store(Some(Arc::new(site)));
    }

    /// Replaces what is said about the mirror itself.
    pub fn set_status_files(&self, files: Vec<StatusFile>) {
        let now = Timestamp::now().as_second();
        let files = StatusFiles::new(files, &self.0.status_files.load(), now);
        self.0.status_files.store(Arc::new(files));
    }

    /// Decides who may read what, from the next request on. What is said of a repository stays until something else is said
    /// of it, because it may be served still. To be called before what a new configuration says is published.
    pub fn set_access_rules(&self, rules: AccessRules) {
        let has_private = rules.has_private();
        self.0
            .access_rules
            .rcu(|before| rules.clone().with_previous(before));
        self.0.has_private.fetch_or(has_private, Ordering::Release);
    }

    /// Decides whose deliveries are taken, from the next one on.
    pub fn set_webhooks(&self, webhooks: WebhookConfig) {
        self.0.webhooks.store(Arc::new(webhooks));
    }

    /// The repositories whose cycle was asked for since the last call, by name.
    pub fn take_requested_cycles(&self) -> BTreeSet<String> {
        std::mem::take(
            &mut *self
                .0
                .requested_cycles
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    pub(super) fn request_cycle(&self, repository: &str) {
        let mut requested = self
            .0
            .requested_cycles
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        requested.insert(repository.to_owned());
    }

    pub fn readiness(&self) -> Readiness {
        if self.is_draining() {
            return Readiness::Draining;
        }
        match &*self.0.site.load() {
            Some(site) if site.is_published() => Readiness::Ready,
            _ => Readiness::Unpublished,
        }
    }

    /// The files that could not be served as they were published, since the last call.
    pub fn take_damaged(&self) -> BTreeSet<PathBuf> {
        std::mem::take(&mut *self.0.damaged.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds to the files that [`PublishedSite::take_damaged`] answers; answers whether it is not among them yet.
    pub fn report_damaged(&self, file: &Path) -> bool {
        let mut damaged = self.0.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        damaged.insert(file.to_owned())
    }

    /// Borrowed: counting every request in one place would make the threads wait for each other.
    pub(super) fn site(&self) -> Guard<Option<Arc<Site>>> {
        self.0.site.load()
    }

    pub(super) fn status_files(&self) -> Arc<StatusFiles> {
        self.0.status_files.load_full()
    }

    /// Borrowed, as [`PublishedSite::site`]; none as long as nothing was ever private.
    pub(super) fn access_rules(&self) -> Option<Guard<Arc<AccessRules>>> {
        let has_private = self.0.has_private.load(Ordering::Acquire);
        has_private.then(|| self.0.access_rules.load())
    }

    pub(super) fn webhooks(&self) -> Arc<WebhookConfig> {
        self.0.webhooks.load_full()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.0.is_draining.load(Ordering::Relaxed)
    }

    pub(super) fn begin_draining(&self) {
        self.0.is_draining.store(true, Ordering::Relaxed);
    }
}
