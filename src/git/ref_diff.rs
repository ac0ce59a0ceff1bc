//! What a fetch has to do: advertised refs, wanted refs and local refs in, the difference out. Pure.

use std::collections::{BTreeMap, HashMap};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::object_id::{ObjectId, Ref};

/// The refs that a caller selects among the advertised ones.
#[derive(Clone, Debug, Default)]
pub struct RefSelection {
    /// Full names of advertised refs; they keep their names in the clone.
    pub refs: Vec<String>,
    /// Branches, tags (short or full names) or commit hashes; [`super::BareClone::extra_ref`] finds them again.
    pub extra_refs: Vec<String>,
}

/// A wanted ref or commit that the remote does not have, or does not give.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to find `{wanted}` in the repository: {reason}")]
pub struct MissingRef {
    pub wanted: String,
    pub reason: String,
}

/// One local ref to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RefUpdate {
    /// The local ref.
    pub name: String,
    /// What to ask the remote for: a ref, or for a commit its hash.
    pub source: String,
    pub id: ObjectId,
    pub old: Option<ObjectId>,
}

impl RefUpdate {
    pub(super) fn refspec(&self) -> String {
        format!("+{}:{}", self.source, self.name)
    }
}

/// The difference between a remote and a clone.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RefDiff {
    /// New and moved refs.
    pub steps: Vec<RefUpdate>,
    /// RefSelection commits at which no advertised ref points; the clone may have them all the same.
    pub commits: Vec<RefUpdate>,
    /// Local refs whose remote ref is gone.
    pub deleted: Vec<Ref>,
    /// Local refs that are no longer wanted.
    pub dropped: Vec<Ref>,
    pub unchanged: usize,
    pub missing: Vec<MissingRef>,
}

impl RefDiff {
    pub(super) fn new(advertised: &[Ref], wanted: &RefSelection, local: &BTreeMap<String, ObjectId>) -> Self {
        let remote: HashMap<&str, ObjectId> = advertised.iter().map(|r| (&*r.name, r.id)).collect();
        let mut plan = Self::default();
        let mut targets = BTreeMap::new();
        for name in &wanted.refs {
            match remote.get(&**name) {
                Some(id) => {
                    targets.insert(name.clone(), (name.clone(), *id));
                }
                None => plan.miss(name),
            }
        }
        for extra in &wanted.extra_refs {
            match resolve(extra, &remote, advertised) {
                Some(target) => {
                    targets.insert(extra_ref_name(extra), target);
                }
                None => plan.miss(extra),
            }
        }
        for (name, id) in local.iter().filter(|(name, _)| !targets.contains_key(*name)) {
            let gone = Ref {
                name: name.clone(),
                id: *id,
            };
            match resolve(&requested_name(name), &remote, advertised).is_some() {
                true => plan.dropped.push(gone),
                false => plan.deleted.push(gone),
            }
        }
        for (name, (source, id)) in targets {
            plan.target(RefUpdate {
                old: local.get(&name).copied(),
                name,
                source,
                id,
            });
        }
        plan
    }

    fn target(&mut self, step: RefUpdate) {
        if step.old == Some(step.id) {
            self.unchanged += 1;
        } else if step.source.starts_with("refs/") {
            self.steps.push(step);
        } else {
            self.commits.push(step);
        }
    }

    fn miss(&mut self, wanted: &str) {
        let reason = "there is no such tag, branch or commit".to_owned();
        self.missing.push(MissingRef {
            wanted: wanted.to_owned(),
            reason,
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.commits.is_empty() && self.deleted.is_empty() && self.dropped.is_empty()
    }
}

/// What to ask for and its id. A hash is a commit; else tags come before branches, as in gitrevisions(7).
fn resolve(extra: &str, remote: &HashMap<&str, ObjectId>, advertised: &[Ref]) -> Option<(String, ObjectId)> {
    if let Ok(id) = extra.parse::<ObjectId>() {
        let tip = advertised.iter().find(|r| r.id == id);
        return Some((tip.map_or_else(|| id.to_string(), |r| r.name.clone()), id));
    }
    let names = [
        extra.to_owned(),
        format!("refs/tags/{extra}"),
        format!("refs/heads/{extra}"),
    ];
    names
        .into_iter()
        .find_map(|name| remote.get(&*name).map(|id| (name.clone(), *id)))
}

const EXTRA: &str = "refs/mirror/extra/";

/// Everything that has a meaning in a ref name or a path is escaped, so names cannot clash or nest.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// The local ref of an extra ref.
pub(super) fn extra_ref_name(wanted: &str) -> String {
    format!("{EXTRA}{}", utf8_percent_encode(wanted, ESCAPED))
}

/// What an extra ref was wanted as, by the name of the local ref; any other name as it is.
pub fn requested_name(name: &str) -> String {
    match name.strip_prefix(EXTRA) {
        Some(wanted) => percent_decode_str(wanted).decode_utf8_lossy().into_owned(),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> ObjectId {
        digit.to_string().repeat(40).parse().expect("forty digits")
    }

    fn refs(list: &[(&str, char)]) -> Vec<Ref> {
        list.iter()
            .map(|(name, digit)| Ref {
                name: (*name).into(),
                id: id(*digit),
            })
            .collect()
    }

    fn local(list: &[(&str, char)]) -> BTreeMap<String, ObjectId> {
        list.iter()
            .map(|(name, digit)| ((*name).into(), id(*digit)))
            .collect()
    }

    fn wanted(refs: &[&str], extra: &[&str]) -> RefSelection {
        let owned = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        RefSelection {
            refs: owned(refs),
            extra_refs: owned(extra),
        }
    }

    #[test]
    fn new_moved_deleted_and_deselected_refs_are_told_apart() {
        let remote = refs(&[
            ("refs/tags/new", '1'),
            ("refs/tags/moved", '2'),
            ("refs/tags/same", '3'),
            ("refs/tags/no", '4'),
        ]);
        let have = local(&[
            ("refs/tags/moved", '9'),
            ("refs/tags/same", '3'),
            ("refs/tags/no", '4'),
            ("refs/tags/gone", '5'),
        ]);
        let plan = RefDiff::new(
            &remote,
            &wanted(&["refs/tags/new", "refs/tags/moved", "refs/tags/same"], &[]),
            &have,
        );
        let steps: Vec<_> = plan.steps.iter().map(|s| (s.refspec(), s.old)).collect();
        assert_eq!(
            steps,
            [
                ("+refs/tags/moved:refs/tags/moved".to_owned(), Some(id('9'))),
                ("+refs/tags/new:refs/tags/new".to_owned(), None),
            ]
        );
        assert_eq!(plan.unchanged, 1);
        assert_eq!(plan.deleted, refs(&[("refs/tags/gone", '5')]));
        assert_eq!(plan.dropped, refs(&[("refs/tags/no", '4')]));
    }

    #[test]
    fn extra_refs_are_tags_then_branches_or_commits() {
        let remote = refs(&[
            ("refs/heads/main", '1'),
            ("refs/tags/main", '2'),
            ("refs/heads/2.4/x", '3'),
        ]);
        let commit = id('8').to_string();
        let tip = id('3').to_string();
        assert_eq!(
            requested_name(&extra_ref_name("refs/heads/2.4/x")),
            "refs/heads/2.4/x"
        );
        let asked = wanted(&[], &["main", "2.4/x", &commit, &tip, "nope"]);
        let plan = RefDiff::new(&remote, &asked, &BTreeMap::new());
        let specs: Vec<_> = plan
            .steps
            .iter()
            .chain(&plan.commits)
            .map(RefUpdate::refspec)
            .collect();
        assert_eq!(
            specs,
            [
                "+refs/heads/2.4/x:refs/mirror/extra/2%2E4%2Fx".to_owned(),
                format!("+refs/heads/2.4/x:refs/mirror/extra/{tip}"),
                "+refs/tags/main:refs/mirror/extra/main".to_owned(),
                format!("+{commit}:refs/mirror/extra/{commit}"),
            ]
        );
        let missing: Vec<_> = plan.missing.iter().map(|m| &*m.wanted).collect();
        assert_eq!(missing, ["nope"]);
    }

    #[test]
    fn an_extra_ref_that_nobody_wants_any_more_is_not_called_deleted() {
        let commit = id('8').to_string();
        let have = ["main", "refs/heads/1.x", &commit, "gone"].map(extra_ref_name);
        let have: BTreeMap<_, _> = have.into_iter().map(|name| (name, id('1'))).collect();
        let remote = refs(&[("refs/heads/main", '1'), ("refs/heads/1.x", '1')]);
        let plan = RefDiff::new(&remote, &wanted(&[], &["gone"]), &have);
        let names = |refs: &[Ref]| refs.iter().map(|r| requested_name(&r.name)).collect::<Vec<_>>();
        assert_eq!(names(&plan.deleted), ["gone"]);
        assert_eq!(names(&plan.dropped), [&*commit, "main", "refs/heads/1.x"]);
    }

    #[test]
    fn no_difference_is_an_empty_plan() {
        let list = [("refs/tags/a", '1')];
        let plan = RefDiff::new(&refs(&list), &wanted(&["refs/tags/a"], &[]), &local(&list));
        assert!(plan.is_empty());
    }
}
