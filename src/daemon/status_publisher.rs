//! Keeps the status of every repository up to date: `mirror.json`, the status page, progress and metrics. It changes when a
//! cycle begins or ends, when a snapshot is published, and when a mirror becomes stale.

use std::sync::mpsc::Sender;
use std::time::Duration;

use jiff::Timestamp;

use super::configuration::{Configuration, CurrentConfiguration};
use super::cycle_progress::{CycleProgress, RepositoryProgress};
use super::help_pages::help_pages;
use super::repository_view::RepositoryView;
use super::runtime::ServerHandles;
use super::service_manager;
use crate::app::{App, Repository};
use crate::metadata::pages;
use crate::server::{ContentKind, StatusFile};
use crate::status::{self, IndexEntry, MetricValues, Overview, State, StatusInput};
use crate::store::{RunHistory, Scrub};
use crate::util::clock::now;
use crate::util::heap;

const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The parts of the status that only a building process has.
#[derive(Clone, Copy)]
pub(super) struct BuildHandles<'a> {
    pub(super) scrub: &'a Scrub,
    pub(super) progress: &'a CycleProgress,
}

struct StatusPublisher<'a> {
    app: &'a App,
    server: ServerHandles<'a>,
    build: Option<BuildHandles<'a>>,
    repositories: Vec<RepositoryStatus<'a>>,
    progress: Vec<RepositoryProgress>,
}

/// Publishes the status under each configuration, and sends to `published` each time it is up to date.
pub(super) fn run(
    configurations: &CurrentConfiguration<'_>,
    server: ServerHandles<'_>,
    build: Option<BuildHandles<'_>>,
    published: &Sender<()>,
) {
    configurations.for_each(|configuration| {
        let mut publisher = StatusPublisher::new(configuration, server, build);
        while !configuration.stop.is_set() {
            publisher.poll();
            // Only the first one is received.
            let _ = published.send(());
            configuration.stop.wait(POLL_INTERVAL);
        }
    });
}

struct RepositoryStatus<'a> {
    repository: &'a Repository,
    view: RepositoryView<'a>,
    cached: Option<CachedStatus>,
}

/// The rendered status of a repository, and what it was rendered from.
struct CachedStatus {
    planned: Option<Timestamp>,
    history: RunHistory,
    complete: bool,
    state: State,
    overview: Overview,
    files: Vec<StatusFile>,
    metrics: MetricValues,
}

impl<'a> StatusPublisher<'a> {
    fn new(
        configuration: &'a Configuration,
        server: ServerHandles<'a>,
        build: Option<BuildHandles<'a>>,
    ) -> Self {
        let app = &configuration.app;
        let repositories = app.repositories.iter().zip(RepositoryView::all(configuration));
        let repositories =
            repositories.map(|(repository, view)| RepositoryStatus { repository, view, cached: None });
        Self { app, server, build, repositories: repositories.collect(), progress: Vec::new() }
    }

    fn poll(&mut self) {
        let mut changed = false;
        if let Some(BuildHandles { scrub, progress }) = self.build {
            let progress: Vec<_> = self.app.names().map(|name| progress.get(name)).collect();
            changed |= progress != self.progress;
            self.progress = progress;
            self.server.metrics.set_scrub(scrub.state());
        }
        for (i, repository) in self.repositories.iter_mut().enumerate() {
            let planned = self.progress.get(i).and_then(|progress| progress.next);
            changed |= repository.refresh(self.app, planned);
        }
        if changed {
            self.publish();
        }
    }

    fn publish(&self) {
        let running = self.progress.iter().map(|progress| progress.running.clone());
        let repositories = self.repositories.iter().zip(running.chain(std::iter::repeat(None)));
        let metrics = repositories.filter_map(|(repository, progress)| {
            let metrics = repository.cached.as_ref()?.metrics.clone();
            let name = repository.repository.name.clone();
            Some((name, MetricValues { progress, ..metrics }))
        });
        self.server.metrics.set_repositories(metrics.collect());
        service_manager::status(&self.summary());
        let cached = self.repositories.iter().filter_map(|status| status.cached.as_ref());
        let mut files: Vec<_> = cached.flat_map(|cached| cached.files.iter().cloned()).collect();
        let progress = self.app.repositories.iter().zip(&self.progress);
        files.extend(progress.map(|(repository, progress)| progress_file(repository, progress)));
        files.extend(self.host_index());
        let mut public = self.app.repositories.iter().filter(|r| !r.is_private);
        files.extend(help_pages(public.next().map(|r| r.base_url.path())));
        self.server.published.set_status_files(files);
    }

    /// One line for the service manager.
    fn summary(&self) -> String {
        let running = self.progress.iter().map(|progress| progress.running.is_some());
        let repositories = self.repositories.iter().zip(running.chain(std::iter::repeat(false)));
        let states = repositories.map(|(status, is_running)| {
            let state = status.cached.as_ref().map_or(State::Unknown, |cached| cached.state);
            let cycle = if is_running { ", cycle running" } else { "" };
            format!("{}: {state}{cycle}", status.repository.name)
        });
        states.collect::<Vec<_>>().join("; ")
    }

    /// The page at the root of the host, unless a repository is there. Private repositories are not listed.
    fn host_index(&self) -> Option<StatusFile> {
        if self.app.repositories.iter().any(|repository| repository.base_url.path() == "/") {
            return None;
        }
        let public = self.repositories.iter().filter(|status| !status.repository.is_private);
        let entries = public.map(|status| IndexEntry {
            name: &status.repository.name,
            path: status.repository.base_url.path(),
            overview: status.cached.as_ref().map(|cached| &cached.overview),
        });
        let page = status::host_index(&self.app.config.site, &entries.collect::<Vec<_>>())?;
        Some(StatusFile {
            path: "/".to_owned(),
            kind: ContentKind::Page,
            bytes: page.into_string().into_bytes(),
        })
    }
}

impl RepositoryStatus<'_> {
    /// Renders the status if anything changed. Returns whether it did.
    fn refresh(&mut self, app: &App, planned: Option<Timestamp>) -> bool {
        let is_new = self.view.refresh();
        let schedule = &self.repository.schedule;
        if let Some(cached) = &self.cached
            && !is_new
            && cached.planned == planned
            && cached.state
                == status::state(self.view.is_published(), cached.complete, &cached.history, schedule, now())
        {
            return false;
        }
        let releases = self.view.releases(&self.repository.base_url.to_string());
        let input =
            StatusInput { releases: &releases, planned, ..self.view.status_input(app, self.repository) };
        self.cached = Some(CachedStatus {
            planned,
            state: input.state(),
            overview: Overview::new(&input),
            complete: input.is_complete(),
            files: render(self.repository, &input),
            metrics: status::metric_values(&input),
            history: input.history,
        });
        drop(releases);
        heap::trim();
        true
    }
}

fn render(repository: &Repository, input: &StatusInput<'_>) -> Vec<StatusFile> {
    let base_path = repository.base_url.path();
    let file = |path: &str, kind, text: String| StatusFile {
        path: format!("{base_path}{path}"),
        kind,
        bytes: text.into_bytes(),
    };
    let page = status::status_page(input).into_string();
    let mirror_json = format!("{:#}\n", status::mirror_json(input));
    let mut files = vec![
        file("mirror.json", ContentKind::Metadata, mirror_json),
        file("status.html", ContentKind::Page, page.clone()),
    ];
    // Before the first snapshot, the status page stands in for the index page, and the assets come from here.
    if input.snapshot.is_none() {
        files.push(file("", ContentKind::Page, page));
    }
    for (path, text) in pages::ASSETS {
        let kind = match path.ends_with(".css") {
            true => ContentKind::Style,
            false => ContentKind::Script,
        };
        files.push(file(path, kind, text.to_owned()));
    }
    let trace = format!("project/trace/{}", repository.base_url.host());
    for (path, text) in
        [("lastupdate", input.last_update()), ("lastsync", input.last_sync()), (&trace, input.trace())]
    {
        files.extend(text.map(|text| file(path, ContentKind::Text, text)));
    }
    files
}

fn progress_file(repository: &Repository, progress: &RepositoryProgress) -> StatusFile {
    let document = status::progress_json(progress.running.as_ref(), progress.upload, progress.next);
    StatusFile {
        path: format!("{}progress.json", repository.base_url.path()),
        kind: ContentKind::Metadata,
        bytes: format!("{document:#}\n").into_bytes(),
    }
}
