//! Keeps what is served about each repository true: gathers the input when a cycle begins or ends, a snapshot is
//! published, or time alone makes a mirror stale.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::cycle_progress::{CycleProgress, RepositoryProgress};
use super::help_pages::help_pages;
use super::repository_view::SnapshotWatch;
use super::runtime::ServerHandles;
use super::users_watcher::UsersWatcher;
use crate::app::{self, App};
use crate::cycle::Report;
use crate::metadata::pages;
use crate::server::{ContentKind, StatusFile};
use crate::status::{self, MetricValues, StatusInput};
use crate::store::snapshot::Snapshot;
use crate::store::{RepositoryStore, RunHistory, Scrub, Space, Volume};
use crate::util::cancel::CancelFlag;

/// How often it is looked whether anything has changed.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// What is served about one repository, and what it was made from.
struct CachedStatus {
    cycles_changed: Option<SystemTime>,
    cycles: RunHistory,
    complete: bool,
    state: status::State,
    texts: Vec<(String, ContentKind, Vec<u8>)>,
    figures: MetricValues,
}

/// What this process does beside serving, where it builds.
#[derive(Clone, Copy)]
pub(super) struct BuildHandles<'a> {
    pub scrub: &'a Scrub,
    pub running: &'a CycleProgress,
}

/// Serves the state of every repository, and of the work where there is any, and renews the keys.
pub(super) struct StatusPublisher<'a> {
    app: &'a App,
    stores: &'a [RepositoryStore],
    told: ServerHandles<'a>,
    work: Option<BuildHandles<'a>>,
    users: UsersWatcher,
    seen: Vec<SnapshotWatch>,
    known: Vec<Option<CachedStatus>>,
    doing: Vec<RepositoryProgress>,
}

impl<'a> StatusPublisher<'a> {
    /// Says what is known now, so that whoever is told that the server is ready finds it.
    pub(super) fn new(
        app: &'a App,
        stores: &'a [RepositoryStore],
        told: ServerHandles<'a>,
        work: Option<BuildHandles<'a>>,
    ) -> Self {
        let mut keeper = Self {
            app,
            stores,
            told,
            work,
            users: UsersWatcher::load(app, told.published),
            seen: stores.iter().map(|_| SnapshotWatch::default()).collect(),
            known: stores.iter().map(|_| None).collect(),
            doing: Vec::new(),
        };
        keeper.look();
        keeper
    }

    /// Keeps it true until the program is to stop.
    pub(super) fn keep(mut self, stop: &CancelFlag) {
        while !stop.is_set() {
            stop.wait(POLL_INTERVAL);
            self.look();
        }
    }

    fn look(&mut self) {
        let mut changed = false;
        let repositories = self.app.repositories.iter().zip(self.stores);
        let known = self.seen.iter_mut().zip(&mut self.known);
        for ((repository, store), (seen, known)) in repositories.zip(known) {
            changed |= look(self.app, repository, store, seen, known);
        }
        if let Some(BuildHandles { scrub, running }) = self.work {
            let repositories = self.app.repositories.iter();
            let now = repositories.map(|r| running.of(&r.name)).collect();
            changed |= now != self.doing;
            self.doing = now;
            self.told.metrics.scrubbed(scrub.state());
        }
        if changed {
            self.tell();
        }
        self.users.reload(self.told.published);
    }

    fn tell(&mut self) {
        let repositories = || self.app.repositories.iter();
        let progress = self.doing.iter().map(|doing| doing.progress.clone());
        let figures = repositories()
            .zip(&self.known)
            .zip(progress.chain(std::iter::repeat(None)))
            .filter_map(|((repository, known), progress)| {
                let figures = known.as_ref()?.figures.clone();
                Some((repository.name.clone(), MetricValues { progress, ..figures }))
            });
        self.told.metrics.tell(figures.collect());
        let mut texts: Vec<_> = self
            .known
            .iter()
            .flatten()
            .flat_map(CachedStatus::texts)
            .collect();
        let doing = repositories().zip(&self.doing);
        texts.extend(doing.map(|(r, doing)| progress_of(r, doing)));
        texts.extend(host_index(self.app, &self.known));
        let mut public = self.app.repositories.iter().filter(|r| !r.is_private);
        texts.extend(help_pages(public.next().map(|r| r.base_url.path())));
        self.told.published.set_status_files(texts);
    }
}

/// The page at the root of the host, where that is no repository's; it names none that is private.
fn host_index(app: &App, known: &[Option<CachedStatus>]) -> Option<StatusFile> {
    let listed: Vec<_> = app
        .repositories
        .iter()
        .zip(known)
        .filter(|(repository, _)| !repository.is_private)
        .map(|(repository, known)| status::IndexEntry {
            name: &repository.name,
            path: repository.base_url.path(),
            state: known.as_ref().map_or(status::State::Unknown, |known| known.state),
        })
        .collect();
    if app
        .repositories
        .iter()
        .any(|repository| repository.base_url.path() == "/")
    {
        return None;
    }
    let page = status::host_index(app.config.site.name.as_deref(), &listed)?;
    Some(StatusFile {
        path: "/".to_owned(),
        kind: ContentKind::Page,
        bytes: page.into_string().into_bytes(),
    })
}

fn progress_of(repository: &app::Repository, doing: &RepositoryProgress) -> StatusFile {
    let document = status::progress_json(doing.progress.as_ref(), doing.next);
    StatusFile {
        path: format!("{}progress.json", repository.base_url.path()),
        kind: ContentKind::Metadata,
        bytes: format!("{document:#}\n").into_bytes(),
    }
}

/// Answers whether the texts are others than before.
fn look(
    app: &App,
    repository: &app::Repository,
    store: &RepositoryStore,
    seen: &mut SnapshotWatch,
    known: &mut Option<CachedStatus>,
) -> bool {
    let is_other = seen.refresh(store);
    let snapshot = seen.snapshot.as_ref();
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    let cycles_changed = store.run_history_modified();
    if let Some(known) = known
        && !is_other
        && known.cycles_changed == cycles_changed
        && known.state
            == status::state(
                snapshot.is_some(),
                known.complete,
                &known.cycles,
                &repository.schedule,
                now,
            )
    {
        return false;
    }
    let cycles = store.run_history();
    let report = Report::last(snapshot, &cycles);
    let releases = releases(repository, store, snapshot);
    let input = StatusInput {
        operator: app.config.site.name.as_deref(),
        contact: app.config.site.contact.as_deref(),
        name: &repository.name,
        base_url: &repository.base_url.to_string(),
        schedule: &repository.schedule,
        snapshot,
        unserved: seen.unserved.as_deref(),
        report: &report,
        history: &cycles,
        releases: &releases,
        space: space(app),
        now,
    };
    *known = Some(CachedStatus {
        cycles_changed,
        state: input.state(),
        complete: input.is_complete(),
        texts: render(repository, &input),
        figures: status::metric_values(&input),
        cycles,
    });
    true
}

fn space(app: &App) -> Option<Space> {
    Volume::open_read_only(&app.config.data)
        .and_then(|volume| volume.space())
        .ok()
}

fn releases(
    repository: &app::Repository,
    store: &RepositoryStore,
    snapshot: Option<&Snapshot>,
) -> Vec<crate::ledger::Release> {
    let lines = snapshot.map_or(0, |s| s.manifest.releases);
    let base_url = repository.base_url.to_string();
    store.ledger(|ledger| {
        let published = ledger
            .published(&base_url)
            .filter(|release| release.number <= lines);
        published.cloned().collect()
    })
}

fn render(repository: &app::Repository, input: &StatusInput<'_>) -> Vec<(String, ContentKind, Vec<u8>)> {
    let mut texts = vec![
        (
            "mirror.json".to_owned(),
            ContentKind::Metadata,
            format!("{:#}\n", status::mirror_json(input)),
        ),
        (
            "status.html".to_owned(),
            ContentKind::Page,
            status::status_page(input).into_string(),
        ),
    ];
    if input.snapshot.is_none() {
        // In the place of the page that publication puts there.
        texts.push((
            String::new(),
            ContentKind::Page,
            status::status_page(input).into_string(),
        ));
    }
    let trace = format!("project/trace/{}", repository.base_url.host());
    for (path, text) in [
        ("lastupdate".to_owned(), input.last_update()),
        ("lastsync".to_owned(), input.last_sync()),
        (trace, input.trace()),
    ] {
        texts.extend(text.map(|text| (path, ContentKind::Text, text)));
    }
    // Before the first snapshot, which has its own, the status page is all that there is.
    for (path, text) in pages::ASSETS {
        let kind = match path.ends_with(".css") {
            true => ContentKind::Style,
            false => ContentKind::Script,
        };
        texts.push((path.to_owned(), kind, text.to_owned()));
    }
    let base = repository.base_url.path();
    texts
        .into_iter()
        .map(|(path, kind, text)| (format!("{base}{path}"), kind, text.into_bytes()))
        .collect()
}

impl CachedStatus {
    fn texts(&self) -> impl Iterator<Item = StatusFile> {
        self.texts.iter().map(|(path, kind, bytes)| StatusFile {
            path: path.clone(),
            kind: *kind,
            bytes: bytes.clone(),
        })
    }
}
