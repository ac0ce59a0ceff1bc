//! Selects the refs of a source that the recipe releases, and resolves them to commits.

use std::sync::Arc;

use crate::git::{BareClone, Fetched};
use crate::package::plan::{Outcome, OutcomeRow, ResolvedRef};
use crate::recipe::Source;

/// The refs to release, in byte order of their tags, and a row for each ref that could not be resolved.
pub(super) fn select(
    source: &Source,
    clone: &BareClone,
    fetched: &Fetched,
) -> anyhow::Result<(Vec<ResolvedRef>, Vec<OutcomeRow>)> {
    let (mut resolved, mut rows) = (Vec::new(), Vec::new());
    let mut failed = |tag: &str, reason: String| {
        rows.push(OutcomeRow {
            source: source.name.clone(),
            tag: tag.to_owned(),
            package: String::new(),
            outcome: Outcome::Failed { reason },
        });
    };
    let mut refs: Vec<_> = clone
        .tags()?
        .into_iter()
        .filter_map(|r| Some((r.tag()?.to_owned(), r)))
        .filter(|(tag, _)| source.tags.admits(tag).is_ok())
        .collect();
    for extra in &source.extra_refs {
        if let Some(missing) = fetched.missing.iter().find(|missing| missing.requested == extra.reference) {
            failed(&extra.version, format!("extra ref: {missing}"));
        } else if refs.iter().any(|(tag, _)| *tag == extra.version) {
            let reason = format!(
                "extra ref `{}` replaces tag `{}`, but the repository now has that tag\n\
                 hint: remove it from the recipe's extra_refs",
                extra.reference, extra.version
            );
            failed(&extra.version, reason);
        } else if let Some(found) = clone.extra_ref(&extra.reference)? {
            refs.push((extra.version.clone(), found));
        }
    }
    refs.sort_by(|a, b| a.0.cmp(&b.0));
    for (tag, reference) in refs {
        match clone.commit(&reference) {
            Ok(commit) => {
                resolved.push(ResolvedRef {
                    commit: commit.id,
                    tree: commit.tree,
                    time: commit.time,
                    pins: Arc::new(source.versions.get(&tag).cloned().unwrap_or_default()),
                    nightly: None,
                    tag,
                });
            }
            Err(error) => failed(&tag, error.to_string()),
        }
    }
    Ok((resolved, rows))
}
