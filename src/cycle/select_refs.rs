//! Selects the refs of a source that the recipe releases, and resolves them to commits; says why other tags are passed over.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::composer::normalize_version;
use crate::git::{BareClone, Fetched};
use crate::package::plan::{ExclusionRule, Outcome, OutcomeRow, ResolvedRef};
use crate::recipe::{Excluded, Source};

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

/// A row for each tag that the recipe does not release.
pub(super) fn passed_over(source: &Source, tags: &BTreeSet<String>) -> Vec<OutcomeRow> {
    let row = |tag: &String| {
        let (rule, reason) = match source.tags.admits(tag).err()? {
            Excluded::NotAVersion => (ExclusionRule::NotAVersion, unusual(tag)),
            Excluded::Listed => (ExclusionRule::Recipe, "named in `tags.exclude`".to_owned()),
            Excluded::BeforeFirst => {
                let from = source.tags.from.as_deref().unwrap_or_default();
                (ExclusionRule::BeforeFirst, format!("before `tags.from`, {from}"))
            }
        };
        Some(OutcomeRow {
            source: source.name.clone(),
            tag: tag.clone(),
            package: String::new(),
            outcome: Outcome::Excluded { rule, reason },
        })
    };
    tags.iter().filter_map(row).collect()
}

/// What Composer makes of a tag that is not released because it is no version to us.
fn unusual(tag: &str) -> String {
    match normalize_version(tag) {
        Some(normalized) => format!(
            "not in a form such as 1.2.3, 1.2.3-p1 or 1.2.3-beta1, although Composer reads it as {normalized}; \
             `extra_refs` can release it"
        ),
        None => "no version, neither here nor to Composer".to_owned(),
    }
}
