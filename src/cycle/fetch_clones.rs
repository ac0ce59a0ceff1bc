//! The clones that a recipe needs, each fetched once, shared with whatever else names the same URL.
//!
//! A clone holds what all recipes of this mirror want of its URL, so that two repositories that are made from one source
//! download it once and neither takes away what the other needs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};

use super::{CycleContext, ProgressEvent, parallel};
use crate::git::{Fetched, Ref, RefSelection, requested_name};
use crate::recipe::tag_version::TagVersion;
use crate::recipe::{Recipe, Source};
use crate::util::digest::Sha256;

/// A clone that has just been fetched.
pub(super) struct UpToDate {
    pub folder: PathBuf,
    pub fetched: Fetched,
}

/// The clones of one recipe, up to date or with the reason why not.
pub(super) struct Clones {
    by_url: BTreeMap<String, Result<UpToDate, String>>,
}

impl Clones {
    /// Fetches all that the recipe names, several at a time. One that fails fails what needs it, and nothing else.
    pub fn fetch(job: &CycleContext<'_>) -> Self {
        let mut users = BTreeMap::<&str, &str>::new();
        for source in &job.recipe.sources {
            users.entry(&source.git).or_insert(&source.name);
        }
        for (name, resource) in &job.recipe.resources {
            users.entry(&resource.git).or_insert(name);
        }
        let users: Vec<_> = users.into_iter().collect();
        (job.progress)(ProgressEvent::Started {
            clones: users.len() as u64,
        });
        let fetched = parallel::map(
            &users,
            job.fetches,
            || Ok(()),
            |(), (url, user)| fetch(job, url, user),
        );
        let by_url = users.iter().zip(fetched).map(|((url, _), result)| {
            let result = result.map_err(|error| format!("{error:#}"));
            ((*url).to_owned(), result)
        });
        Self {
            by_url: by_url.collect(),
        }
    }

    /// The clone of a URL of the recipe.
    ///
    /// # Errors
    /// Why it could not be fetched.
    pub fn get(&self, url: &str) -> anyhow::Result<&UpToDate> {
        let result = self.by_url.get(url).context("it is not part of the recipe")?;
        result.as_ref().map_err(|error| anyhow!("{error}"))
    }
}

fn fetch(job: &CycleContext<'_>, url: &str, user: &str) -> anyhow::Result<UpToDate> {
    let folder = job.clones.join(folder_name(url));
    let select = |advertised: &[Ref]| wanted(job.recipes, url, advertised);
    let progress = |progress| {
        (job.progress)(ProgressEvent::Fetching {
            source: user,
            progress,
        })
    };
    let result = job
        .fetcher
        .fetch(&folder, &(job.rewrite)(url), &select, job.cancel, &progress);
    (job.progress)(ProgressEvent::Fetched { source: user });
    let fetched = result?;
    tell(user, &fetched);
    Ok(UpToDate { folder, fetched })
}

/// The last part of the URL, for people, and a mark that makes it unique.
fn folder_name(url: &str) -> String {
    let last = url
        .trim_end_matches('/')
        .rsplit(['/', ':'])
        .next()
        .unwrap_or_default();
    let name: String = last
        .trim_end_matches(".git")
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_".contains(c) {
                c
            } else {
                '_'
            }
        })
        .take(100)
        .collect();
    let mark = &Sha256::digest(url.as_bytes()).to_string()[..8];
    format!("{name}-{mark}.git")
}

fn tell(source: &str, fetched: &Fetched) {
    for moved in &fetched.moved {
        let (old, new) = (moved.old, moved.new);
        match moved.name.strip_prefix("refs/tags/") {
            Some(tag) => {
                tracing::warn!(source, tag, %old, %new, "upstream moved a tag: what is published from it stays");
            }
            None => tracing::info!(source, name = requested_name(&moved.name), %old, %new, "a branch moved"),
        }
    }
    for deleted in &fetched.deleted {
        match deleted.name.strip_prefix("refs/tags/") {
            Some(tag) => tracing::warn!(
                source,
                tag,
                "upstream deleted a tag: what is published from it stays"
            ),
            None => tracing::warn!(
                source,
                name = requested_name(&deleted.name),
                "upstream deleted a branch"
            ),
        }
    }
    if !fetched.new.is_empty() {
        tracing::info!(
            source,
            refs = fetched.new.len(),
            bytes = fetched.received_bytes,
            "fetched"
        );
    }
}

/// What all recipes want of a URL.
fn wanted(recipes: &[&Recipe], url: &str, advertised: &[Ref]) -> RefSelection {
    let (mut refs, mut extra) = (BTreeSet::new(), BTreeSet::new());
    for recipe in recipes {
        for source in recipe.sources.iter().filter(|source| source.git == url) {
            match &source.nightly {
                Some(branch) => {
                    extra.insert(branch_ref(branch));
                    refs.extend(newest_tag(advertised.iter()).map(|tag| tag.name.clone()));
                }
                None => refs.extend(released(source, advertised).map(|tag| tag.name.clone())),
            }
            extra.extend(source.extra_refs.iter().map(|extra| extra.reference.clone()));
        }
        let resources = recipe.resources.values().filter(|resource| resource.git == url);
        extra.extend(resources.map(|resource| resource.reference.clone()));
    }
    RefSelection {
        refs: refs.into_iter().collect(),
        extra_refs: extra.into_iter().collect(),
    }
}

fn released<'a>(source: &Source, advertised: &'a [Ref]) -> impl Iterator<Item = &'a Ref> {
    advertised
        .iter()
        .filter(|r| r.tag().is_some_and(|tag| source.tags.admits(tag).is_ok()))
}

/// The full name of a branch.
pub(super) fn branch_ref(branch: &str) -> String {
    match branch.starts_with("refs/") {
        true => branch.to_owned(),
        false => format!("refs/heads/{branch}"),
    }
}

/// The highest tag in Magento's order; those that begin with `v` do not count, since one such tag of
/// composer-dependency-version-audit-plugin is wrong (`getLatestTag` of the reference generator).
pub(super) fn newest_tag<'a>(refs: impl Iterator<Item = &'a Ref>) -> Option<&'a Ref> {
    refs.filter_map(|r| {
        let tag = r.tag().filter(|tag| !tag.starts_with('v'))?;
        Some((TagVersion::parse(tag)?, r))
    })
    .max_by(|a, b| a.0.cmp(&b.0))
    .map(|(_, r)| r)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_is_named_by_its_url() {
        let names = [
            "https://git.example/a/shop.git",
            "https://git.example/b/shop.git",
            "ssh://git@git.example:7/shop",
            "git@git.example:../..",
        ]
        .map(folder_name);
        assert!(
            names[..3]
                .iter()
                .all(|name| name.starts_with("shop-") && name.ends_with(".git"))
        );
        assert_ne!(names[0], names[1]);
        assert!(names[3].starts_with("__-"), "{}", names[3]);
    }
}
