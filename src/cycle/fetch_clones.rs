//! The clones that a recipe needs, each fetched once, shared by all that name the same URL.
//!
//! A clone holds what all recipes of this mirror need from its URL. Two repositories with a common source download it once,
//! and neither deletes what the other needs.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};

use super::context::{CycleContext, ProgressEvent};
use super::parallel;
use crate::git::{Fetched, Ref, RefSelection, requested_name};
use crate::recipe::tag_version::TagVersion;
use crate::recipe::{Recipe, Source};
use crate::util::digest::Sha256;

/// A clone that is up to date.
pub(super) struct FetchedClone {
    pub folder: PathBuf,
    pub fetched: Fetched,
    /// The names of all tags that upstream has, in byte order.
    pub tags: BTreeSet<String>,
}

/// The clones of one recipe by URL, each up to date or with the error of its fetch.
pub(super) struct Clones {
    by_url: BTreeMap<String, Result<FetchedClone, String>>,
}

impl Clones {
    /// Fetches all that the recipe names, several at a time. A failed fetch fails what needs it, and nothing else.
    pub(super) fn fetch(ctx: &CycleContext<'_>) -> Self {
        let mut urls = BTreeMap::<&str, &str>::new();
        for source in &ctx.recipe.sources {
            urls.entry(&source.git).or_insert(&source.name);
        }
        for (name, resource) in &ctx.recipe.resources {
            urls.entry(&resource.git).or_insert(name);
        }
        let urls: Vec<_> = urls.into_iter().collect();
        (ctx.progress)(ProgressEvent::Started { clones: urls.len() as u64 });
        let fetched =
            parallel::map(&urls, ctx.fetches, || Ok(()), |(), (url, source)| fetch(ctx, url, source));
        let by_url = urls.iter().zip(fetched).map(|((url, _), result)| {
            let result = result.map_err(|error| format!("{error:#}"));
            ((*url).to_owned(), result)
        });
        Self { by_url: by_url.collect() }
    }

    /// The clone of a URL of the recipe, or the error of its fetch.
    pub(super) fn get(&self, url: &str) -> anyhow::Result<&FetchedClone> {
        let result = self.by_url.get(url).context("it is not part of the recipe")?;
        result.as_ref().map_err(|error| anyhow!("{error}"))
    }
}

fn fetch(ctx: &CycleContext<'_>, url: &str, source: &str) -> anyhow::Result<FetchedClone> {
    let folder = ctx.clones.join(folder_name(url));
    let tags = RefCell::new(BTreeSet::new());
    let select = |advertised: &[Ref]| {
        tags.replace(advertised.iter().filter_map(|r| r.tag().map(str::to_owned)).collect());
        wanted(ctx.recipes, url, advertised)
    };
    let progress = |progress| (ctx.progress)(ProgressEvent::Fetching { source, progress });
    let from = (ctx.rewrite)(url);
    let result = match needs_history(ctx.recipes, url) {
        true => ctx.fetcher.fetch_with_history(&folder, &from, &select, ctx.cancel, &progress),
        false => ctx.fetcher.fetch(&folder, &from, &select, ctx.cancel, &progress),
    };
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

/// The refs of a URL that any recipe wants.
fn wanted(recipes: &[&Recipe], url: &str, advertised: &[Ref]) -> RefSelection {
    let (mut refs, mut extra) = (BTreeSet::new(), BTreeSet::new());
    for recipe in recipes {
        for source in recipe.sources.iter().filter(|source| source.git == url) {
            match &source.nightly {
                Some(branch) => {
                    extra.insert(branch_ref(branch));
                    refs.extend(newest_tag(advertised.iter()).map(|tag| tag.name.clone()));
                }
                None => refs.extend(admitted_tags(source, advertised).map(|tag| tag.name.clone())),
            }
            extra.extend(source.extra_refs.iter().map(|extra| extra.reference.clone()));
        }
        let resources = recipe.resources.values().filter(|resource| resource.git == url);
        extra.extend(resources.map(|resource| resource.reference.clone()));
    }
    RefSelection { refs: refs.into_iter().collect(), extra_refs: extra.into_iter().collect() }
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
