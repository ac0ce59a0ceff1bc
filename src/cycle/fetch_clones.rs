//! The clones that a recipe needs, each fetched once, shared by all that name the same URL.
//!
//! A clone holds what all recipes of this mirror need from its URL. Two repositories with a common source download it once,
//! and neither deletes what the other needs.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use parking_lot::{Condvar, Mutex};

use super::context::{CycleContext, ProgressEvent};
use crate::git::{Fetched, Ref, WantedRefs, requested_name};
use crate::recipe::tag_version::TagVersion;
use crate::recipe::{Recipe, Source};
use crate::util::cancel::CancelFlag;
use crate::util::digest::Sha256;
use crate::util::threads;

/// How often a wait looks for a cancellation, and at the clock.
const POLL: Duration = Duration::from_millis(200);

/// A clone that is up to date.
pub(super) struct FetchedClone {
    pub folder: PathBuf,
    pub fetched: Fetched,
    /// The names of all tags that upstream has, in byte order.
    pub tags: BTreeSet<String>,
}

/// The clones of one recipe by URL, each up to date, with the error of its fetch, or still being fetched.
pub(super) struct Clones {
    by_url: BTreeMap<String, Option<Result<Arc<FetchedClone>, String>>>,
}

impl Clones {
    /// The clone of a URL of the recipe, or the error of its fetch.
    pub(super) fn get(&self, url: &str) -> anyhow::Result<&FetchedClone> {
        let result = self.by_url.get(url).context("it is not part of the recipe")?;
        let result = result.as_ref().context(STILL_FETCHING)?;
        result.as_deref().map_err(|error| anyhow!("{error}"))
    }

    /// Fails if the fetch of this URL has not ended yet.
    pub(super) fn ensure_ended(&self, url: &str) -> anyhow::Result<()> {
        ensure!(!matches!(self.by_url.get(url), Some(None)), STILL_FETCHING);
        Ok(())
    }

    /// Whether all fetches have ended.
    pub(super) fn is_complete(&self) -> bool {
        self.by_url.values().all(Option::is_some)
    }
}

/// What the report says of a source that is not waited for; the same cycle replaces it.
pub(super) const STILL_FETCHING: &str = "it is still being fetched, and is published when that is done";

/// The fetches of one cycle. They go on while what is fetched is built.
pub(super) struct Fetches<'a> {
    ctx: &'a CycleContext<'a>,
    /// The URLs, each with a source or resource that it is fetched for.
    urls: Vec<(&'a str, &'a str)>,
    ended: Mutex<Ended>,
    changed: Condvar,
    /// Set to end the fetches without ending the cycle.
    cancel: CancelFlag,
}

struct Ended {
    /// The URLs that are being fetched, and since when.
    running: BTreeMap<String, Instant>,
    by_url: BTreeMap<String, Result<Arc<FetchedClone>, String>>,
    last: Instant,
    /// How many had ended when the last clones were taken.
    taken: usize,
}

impl<'a> Fetches<'a> {
    /// The fetches of all that the recipe names.
    pub(super) fn new(ctx: &'a CycleContext<'a>) -> Self {
        let mut urls = BTreeMap::<&str, &str>::new();
        for source in &ctx.recipe.sources {
            urls.entry(&source.git).or_insert(&source.name);
        }
        for (name, resource) in &ctx.recipe.resources {
            urls.entry(&resource.git).or_insert(name);
        }
        let ended =
            Ended { running: BTreeMap::new(), by_url: BTreeMap::new(), last: Instant::now(), taken: 0 };
        Self {
            ctx,
            urls: urls.into_iter().collect(),
            ended: Mutex::new(ended),
            changed: Condvar::new(),
            cancel: ctx.cancel.child(),
        }
    }

    /// Fetches, several at a time. A failed fetch fails what needs it, and nothing else. One that takes longer than the idle
    /// timeout lets another begin beside it, so that a slow source holds no place for ever.
    pub(super) fn run(&self) {
        let _rest = FailRest(self);
        (self.ctx.progress)(ProgressEvent::Started { clones: self.urls.len() as u64 });
        let span = &tracing::Span::current();
        thread::scope(|scope| {
            for &(url, source) in &self.urls {
                self.wait_for_place();
                self.ended.lock().running.insert(url.to_owned(), Instant::now());
                let started = threads::spawn_scoped(scope, move || {
                    let _entered = span.enter();
                    let result = fetch(self.ctx, url, source, &self.cancel);
                    self.end(url, result.map(Arc::new).map_err(|error| format!("{error:#}")));
                });
                if let Err(error) = started {
                    self.end(url, Err(error.to_string()));
                }
            }
        });
    }

    fn end(&self, url: &str, result: Result<Arc<FetchedClone>, String>) {
        let mut ended = self.ended.lock();
        ended.running.remove(url);
        ended.by_url.insert(url.to_owned(), result);
        ended.last = Instant::now();
        self.changed.notify_all();
    }

    fn wait_for_place(&self) {
        let (places, patience) = (self.ctx.fetches, self.ctx.fetcher.idle_timeout());
        let mut ended = self.ended.lock();
        loop {
            let new = ended.running.values().filter(|began| began.elapsed() < patience).count();
            if (new < places && ended.running.len() < 2 * places) || self.cancel.is_set() {
                return;
            }
            self.changed.wait_for(&mut ended, POLL);
        }
    }

    pub(super) fn cancel(&self) {
        self.cancel.set();
    }

    /// Waits until all fetches have ended, or until none has ended for the idle timeout and there is something new to build.
    /// Prebuilt archives are always waited for, since the versions that they hold must not be built.
    pub(super) fn wait(&self) -> Clones {
        let began = Instant::now();
        let mut ended = self.ended.lock();
        loop {
            let clones = self.clones_of(&ended);
            let is_quiet = ended.last.max(began).elapsed() >= self.ctx.fetcher.idle_timeout();
            let is_new = ended.by_url.len() > ended.taken;
            let can_go_ahead = is_quiet && is_new && self.has_archives(&clones);
            if can_go_ahead || clones.is_complete() || self.cancel.is_set() {
                ended.taken = ended.by_url.len();
                return clones;
            }
            self.changed.wait_for(&mut ended, POLL);
        }
    }

    /// The clones as of now.
    pub(super) fn clones(&self) -> Clones {
        self.clones_of(&self.ended.lock())
    }

    fn clones_of(&self, ended: &Ended) -> Clones {
        let urls = self.urls.iter();
        Clones { by_url: urls.map(|(url, _)| ((*url).to_owned(), ended.by_url.get(*url).cloned())).collect() }
    }

    fn has_archives(&self, clones: &Clones) -> bool {
        let resources =
            self.ctx.recipe.archives.iter().filter_map(|a| self.ctx.recipe.resources.get(&a.resource));
        resources.into_iter().all(|resource| clones.ensure_ended(&resource.git).is_ok())
    }
}

/// Fails what has no result when the fetches end, also by a panic: nobody may wait for it.
struct FailRest<'a>(&'a Fetches<'a>);

impl Drop for FailRest<'_> {
    fn drop(&mut self) {
        let mut ended = self.0.ended.lock();
        for (url, _) in &self.0.urls {
            ended.by_url.entry((*url).to_owned()).or_insert_with(|| Err("its fetch ended early".into()));
        }
        self.0.changed.notify_all();
    }
}

fn fetch(
    ctx: &CycleContext<'_>,
    url: &str,
    source: &str,
    cancel: &CancelFlag,
) -> anyhow::Result<FetchedClone> {
    let folder = ctx.clones.join(folder_name(url));
    let tags = RefCell::new(BTreeSet::new());
    let select = |advertised: &[Ref]| {
        tags.replace(advertised.iter().filter_map(|r| r.tag().map(str::to_owned)).collect());
        wanted_tags(ctx.recipes, url, advertised)
    };
    let extra_refs = extra_refs(ctx.recipes, url);
    let history = needs_history(ctx.recipes, url);
    let wanted = WantedRefs { select: &select, extra_refs: &extra_refs, history };
    let progress = |progress| (ctx.progress)(ProgressEvent::Fetching { source, progress });
    let from = (ctx.rewrite)(url);
    let result = ctx.fetcher.fetch(&folder, &from, wanted, cancel, &progress);
    (ctx.progress)(ProgressEvent::Fetched { source });
    let fetched = result?;
    log_changes(source, &fetched);
    Ok(FetchedClone { folder, fetched, tags: tags.into_inner() })
}

/// Whether prebuilt archives are taken from this URL: their dates are those of the commits that added them.
fn needs_history(recipes: &[&Recipe], url: &str) -> bool {
    let has_archives = |recipe: &&Recipe| {
        let mut folders = recipe.archives.iter();
        folders
            .any(|folder| recipe.resources.get(&folder.resource).is_some_and(|resource| resource.git == url))
    };
    recipes.iter().any(has_archives)
}

/// The last part of the URL, for people, and a digest that makes the name unique.
fn folder_name(url: &str) -> String {
    let last = url.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default();
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let name: String =
        last.trim_end_matches(".git").chars().map(|c| if is_safe(c) { c } else { '_' }).take(100).collect();
    let digest = &Sha256::digest(url.as_bytes()).to_string()[..8];
    format!("{name}-{digest}.git")
}

fn log_changes(source: &str, fetched: &Fetched) {
    for moved in &fetched.moved {
        let (old, new) = (moved.old, moved.new);
        match moved.name.strip_prefix("refs/tags/") {
            Some(tag) => tracing::warn!(
                source,
                tag,
                %old,
                %new,
                "upstream moved a tag; keeping what was published from it"
            ),
            None => tracing::info!(source, name = requested_name(&moved.name), %old, %new, "a branch moved"),
        }
    }
    for deleted in &fetched.deleted {
        match deleted.name.strip_prefix("refs/tags/") {
            Some(tag) => {
                tracing::warn!(source, tag, "upstream deleted a tag; keeping what was published from it");
            }
            None => tracing::warn!(source, name = requested_name(&deleted.name), "upstream deleted a branch"),
        }
    }
    if !fetched.new.is_empty() {
        tracing::info!(source, refs = fetched.new.len(), bytes = fetched.received_bytes, "fetched");
    }
}

/// The tags of a URL that any recipe wants.
fn wanted_tags(recipes: &[&Recipe], url: &str, advertised: &[Ref]) -> Vec<String> {
    let mut tags = BTreeSet::new();
    for source in sources_of(recipes, url) {
        match &source.nightly {
            Some(_) => tags.extend(newest_tag(advertised.iter()).map(|tag| tag.name.clone())),
            None => tags.extend(admitted_tags(source, advertised).map(|tag| tag.name.clone())),
        }
    }
    tags.into_iter().collect()
}

/// The branches, tags and commits of a URL that any recipe names.
fn extra_refs(recipes: &[&Recipe], url: &str) -> Vec<String> {
    let mut extra = BTreeSet::new();
    for source in sources_of(recipes, url) {
        extra.extend(source.nightly.as_deref().map(branch_ref));
        extra.extend(source.extra_refs.iter().map(|extra| extra.reference.clone()));
    }
    let resources = recipes.iter().flat_map(|recipe| recipe.resources.values());
    extra.extend(resources.filter(|resource| resource.git == url).map(|resource| resource.reference.clone()));
    extra.into_iter().collect()
}

fn sources_of<'a>(recipes: &'a [&Recipe], url: &'a str) -> impl Iterator<Item = &'a Source> {
    recipes.iter().flat_map(|recipe| &recipe.sources).filter(move |source| source.git == url)
}

fn admitted_tags<'a>(source: &Source, advertised: &'a [Ref]) -> impl Iterator<Item = &'a Ref> {
    advertised.iter().filter(|r| r.tag().is_some_and(|tag| source.tags.admits(tag).is_ok()))
}

/// The full name of a branch.
pub(super) fn branch_ref(branch: &str) -> String {
    match branch.starts_with("refs/") {
        true => branch.to_owned(),
        false => format!("refs/heads/{branch}"),
    }
}

/// The highest tag in Magento's order. Tags that begin with `v` do not count, since one such tag of
/// composer-dependency-version-audit-plugin is wrong (`getLatestTag` of the reference generator).
pub(super) fn newest_tag<'a>(refs: impl Iterator<Item = &'a Ref>) -> Option<&'a Ref> {
    refs.filter_map(|r| {
        let tag = r.tag().filter(|tag| !tag.starts_with('v'))?;
        Some((TagVersion::parse(tag)?, r))
    })
    .max_by(|a, b| a.0.order(&b.0))
    .map(|(_, r)| r)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clone_folder_is_named_after_its_url() {
        let names = [
            "https://git.example/a/shop.git",
            "https://git.example/b/shop.git",
            "ssh://git@git.example:7/shop",
            "git@git.example:../..",
        ]
        .map(folder_name);
        assert!(names[..3].iter().all(|name| name.starts_with("shop-") && name.ends_with(".git")));
        assert_ne!(names[0], names[1]);
        assert!(names[3].starts_with("__-"), "{}", names[3]);
    }
}
