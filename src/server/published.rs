//! What the daemon and the server share: the current site with its access rules and status files, and what the server
//! reports back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use jiff::Timestamp;
use parking_lot::Mutex;

use super::authorization::AccessRules;
use super::site::Site;
use super::status_files::{StatusFile, StatusFiles};
use crate::acme::Challenges;
use crate::config::Secret;
use crate::webhook::Forge;

/// What is published now. Clones share it.
#[derive(Clone, Default)]
pub struct PublishedSite(Arc<State>);

#[derive(Default)]
struct State {
    site: ArcSwapOption<Site>,
    status_files: ArcSwap<StatusFiles>,
    access_rules: ArcSwap<AccessRules>,
    /// Whether any repository was ever private.
    has_private: AtomicBool,
    webhooks: ArcSwap<WebhookConfig>,
    acme_challenges: ArcSwap<Challenges>,
    /// Repositories that webhooks, or uploads that came too late, have requested a cycle for.
    requested_cycles: Mutex<BTreeSet<String>>,
    is_draining: AtomicBool,
    /// What the answer to a health check says besides `ready`.
    note: ArcSwapOption<String>,
    /// Files that are not the published ones.
    damaged: Mutex<BTreeSet<PathBuf>>,
}

/// Which webhooks are accepted, and which repositories they start a cycle of.
#[derive(Default)]
pub struct WebhookConfig {
    pub secrets: Vec<(Forge, Secret)>,
    /// The names of the repositories that are made from a git repository, by its normalized URL.
    pub repositories: BTreeMap<String, BTreeSet<String>>,
}

/// Where the ACME server asks for the answer to a challenge (RFC 8555 section 8.3).
pub(super) const ACME_CHALLENGE: &str = "/.well-known/acme-challenge/";

/// Whether requests should be sent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// No repository has a snapshot yet.
    Unpublished,
    /// The server is shutting down.
    Draining,
}

impl PublishedSite {
    /// Publishes `site`. Requests in flight finish on the previous one.
    pub fn replace(&self, mut site: Site) {
        if let Some(previous) = &*self.site() {
            site.reuse_from(previous);
        }
        self.0.site.store(Some(Arc::new(site)));
    }

    /// Replaces the files about the mirror itself.
    pub fn set_status_files(&self, files: Vec<StatusFile>) {
        let now = Timestamp::now().as_second();
        let files = StatusFiles::new(files, &self.0.status_files.load(), now);
        self.0.status_files.store(Arc::new(files));
    }

    /// Sets who may read what, from the next request on. To be called before anything of a new configuration is published. The
    /// rule of a repository that is no longer configured stays, because it may still be served.
    pub fn set_access_rules(&self, rules: &AccessRules) {
        let has_private = rules.has_private();
        self.0.access_rules.rcu(|previous| rules.clone().with_previous(previous));
        self.0.has_private.fetch_or(has_private, Ordering::Release);
    }

    /// Sets which webhooks are accepted, from the next delivery on.
    pub fn set_webhooks(&self, webhooks: WebhookConfig) {
        self.0.webhooks.store(Arc::new(webhooks));
    }

    /// Sets what the ACME server finds at [`ACME_CHALLENGE`], from the next request on.
    pub fn set_acme_challenges(&self, challenges: Challenges) {
        self.0.acme_challenges.store(Arc::new(challenges));
    }

    /// The answer to the challenge with this token, if it is pending.
    pub(super) fn acme_challenge(&self, token: &str) -> Option<String> {
        self.0.acme_challenges.load().get(token).cloned()
    }

    /// The names of repositories that webhooks have requested a cycle for since the last call.
    pub fn take_requested_cycles(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.0.requested_cycles.lock())
    }

    /// Whether webhooks have requested a cycle since the last call of [`Self::take_requested_cycles`].
    pub fn has_requested_cycles(&self) -> bool {
        !self.0.requested_cycles.lock().is_empty()
    }

    /// The digest of what followers copy from a repository, as it is served now.
    pub fn follow_state(&self, repository: &str) -> Option<String> {
        self.site().as_ref()?.follow_state(repository)
    }

    /// Makes a cycle of this repository due soon.
    pub fn request_cycle(&self, repository: &str) {
        self.0.requested_cycles.lock().insert(repository.to_owned());
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

    /// Sets what the answer to a health check says besides `ready`.
    pub fn set_note(&self, note: Option<String>) {
        self.0.note.store(note.map(Arc::new));
    }

    pub(super) fn note(&self) -> Option<Arc<String>> {
        self.0.note.load_full()
    }

    /// Whether a repository with a snapshot is served at this base path.
    pub fn serves(&self, base: &str) -> bool {
        let site = self.site();
        let mut repositories = site.iter().flat_map(|site| &site.repositories);
        repositories.any(|repository| *repository.base == *base && repository.is_published())
    }

    /// The damaged files that were reported since the last call.
    pub fn take_damaged(&self) -> BTreeSet<PathBuf> {
        std::mem::take(&mut *self.0.damaged.lock())
    }

    /// Reports a file that is not the published one; returns whether this is its first report.
    pub fn report_damaged(&self, file: &Path) -> bool {
        self.0.damaged.lock().insert(file.to_owned())
    }

    /// Borrowed, so that requests do not contend for a reference count.
    pub(super) fn site(&self) -> Guard<Option<Arc<Site>>> {
        self.0.site.load()
    }

    pub(super) fn status_files(&self) -> Arc<StatusFiles> {
        self.0.status_files.load_full()
    }

    /// `None` as long as nothing was ever private.
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
