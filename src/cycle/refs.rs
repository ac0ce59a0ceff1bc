//! The refs of a source: fetched, told about, and resolved to the releases that the recipe makes of them.

use std::path::PathBuf;

use anyhow::Context as _;

use super::{Job, Step};
use crate::package::plan::{Line, Outcome, Release};
use crate::recipe::Source;
use crate::source::{BareClone, Fetched, Ref, Wanted};

/// A clone that has just been fetched.
pub(super) struct UpToDate {
    pub folder: PathBuf,
    pub fetched: Fetched,
}

/// Fetches what the recipe wants of a source.
pub(super) fn fetch(job: &Job<'_>, source: &Source) -> anyhow::Result<UpToDate> {
    let folder = job.clones.join(format!("{}.git", source.name));
    let select = |advertised: &[Ref]| wanted(source, advertised);
    let url = (job.rewrite)(&source.git);
    let progress = |progress| {
        (job.progress)(Step::Fetching {
            source: &source.name,
            progress,
        })
    };
    let fetched = job.fetcher.fetch(&folder, &url, &select, job.cancel, &progress);
    (job.progress)(Step::Fetched { source: &source.name });
    let fetched = fetched.with_context(|| format!("source `{}`", source.name))?;
    tell(source, &fetched);
    Ok(UpToDate { folder, fetched })
}

fn tell(source: &Source, fetched: &Fetched) {
    let source = &source.name;
    for moved in &fetched.moved {
        let (tag, old, new) = (&moved.name, moved.old, moved.new);
        tracing::warn!(source, tag, %old, %new, "upstream moved a tag: what is published from it stays");
    }
    for deleted in &fetched.deleted {
        let tag = &deleted.name;
        tracing::warn!(
            source,
            tag,
            "upstream deleted a tag: what is published from it stays"
        );
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

/// The tags that the recipe releases, and its extra refs.
fn wanted(source: &Source, advertised: &[Ref]) -> Wanted {
    let admitted = |r: &&Ref| r.tag().is_some_and(|tag| source.tags.admits(tag).is_ok());
    Wanted {
        refs: advertised
            .iter()
            .filter(admitted)
            .map(|r| r.name.clone())
            .collect(),
        extra: source
            .extra_refs
            .iter()
            .map(|extra| extra.reference.clone())
            .collect(),
    }
}

/// The releases of a clone, in byte order of their tags, and a line for each ref that gives none.
pub(super) fn releases(
    source: &Source,
    clone: &BareClone,
    fetched: &Fetched,
) -> anyhow::Result<(Vec<Release>, Vec<Line>)> {
    let (mut releases, mut lines) = (Vec::new(), Vec::new());
    let mut failed = |tag: &str, because: String| {
        lines.push(Line {
            source: source.name.clone(),
            tag: tag.to_owned(),
            package: String::new(),
            outcome: Outcome::Failed { because },
        });
    };
    let mut refs: Vec<_> = clone
        .tags()?
        .into_iter()
        .filter_map(|r| Some((r.tag()?.to_owned(), r)))
        .collect();
    for extra in &source.extra_refs {
        if let Some(missing) = fetched
            .missing
            .iter()
            .find(|missing| missing.wanted == extra.reference)
        {
            failed(&extra.version, format!("extra ref: {missing}"));
        } else if refs.iter().any(|(tag, _)| *tag == extra.version) {
            let because = format!(
                "extra ref `{}` stands for tag `{}`, but the repository has that tag now\n\
                 hint: remove it from the recipe's extra_refs",
                extra.reference, extra.version
            );
            failed(&extra.version, because);
        } else if let Some(found) = clone.extra(&extra.reference)? {
            refs.push((extra.version.clone(), found));
        }
    }
    refs.sort_by(|a, b| a.0.cmp(&b.0));
    for (tag, reference) in refs {
        match clone.commit(&reference) {
            Ok(commit) => {
                releases.push(Release {
                    tag,
                    commit: commit.id,
                    tree: commit.tree,
                    time: commit.time,
                });
            }
            Err(error) => failed(&tag, error.to_string()),
        }
    }
    Ok((releases, lines))
}
