//! Compares advertised, selected and local refs: what a fetch has to change. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::object_id::{ObjectId, Ref};

/// The refs of a remote that a caller wants.
#[derive(Clone, Copy)]
pub struct WantedRefs<'a> {
    /// Chooses among the advertised refs, which include all tags. Returns full names, which are also the names in the clone.
    pub select: &'a dyn Fn(&[Ref]) -> Vec<String>,
    /// Branches, tags (short or full names) or commit ids, to be read by [`super::BareClone::extra_ref`].
    pub extra_refs: &'a [String],
    /// Whether the clone needs the whole history of its refs, whatever `git.shallow` says.
    pub history: bool,
}

/// The refs that matter to a fetch: all tags, and those that are named. Hosts have many others, such as those of pull requests.
#[derive(Debug, Default)]
pub struct RefFilter {
    names: BTreeSet<String>,
    commits: BTreeSet<ObjectId>,
}

impl RefFilter {
    /// For these extra refs, and for those in the clone, of which a fetch reports whether the remote still has them.
    pub fn new(extra_refs: &[String], local: &BTreeMap<String, ObjectId>) -> Self {
        let mut filter = Self::default();
        let in_clone = local.keys().filter(|name| name.starts_with(EXTRA)).map(|name| requested_name(name));
        for extra in extra_refs.iter().cloned().chain(in_clone) {
            match extra.parse() {
                Ok(id) => drop(filter.commits.insert(id)),
                Err(_) => filter.names.extend(candidates(&extra)),
            }
        }
        filter
    }

    /// Whether this ref matters.
    pub fn admits(&self, name: &str, id: ObjectId) -> bool {
        self.admits_name(name) || self.commits.contains(&id)
    }

    /// The same for repositories that have every commit at hand, advertised or not.
    pub(super) fn admits_name(&self, name: &str) -> bool {
        name.starts_with(TAGS) || self.names.contains(name)
    }

    /// The prefixes of ref names to ask a remote for. Commits need none, because most servers send them by id.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = &str> {
        let named = self.names.iter().filter(|name| !name.starts_with(TAGS));
        std::iter::once(TAGS).chain(named.map(String::as_str))
    }
}

/// A selected ref or commit that the remote does not have or refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to find `{requested}` in the repository: {reason}")]
pub struct MissingRef {
    pub requested: String,
    pub reason: String,
}

/// One local ref to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RefUpdate {
    /// The local ref.
    pub name: String,
    /// The remote's ref, or the id of a commit that no ref is known to point to.
    pub source: String,
    pub id: ObjectId,
    pub old: Option<ObjectId>,
}

/// The difference between a remote and a clone.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RefDiff {
    /// New and moved refs.
    pub updates: Vec<RefUpdate>,
    /// Selected commits that no advertised ref points to. The clone may already have them.
    pub commits: Vec<RefUpdate>,
    /// Local refs that the remote no longer has.
    pub deleted: Vec<Ref>,
    /// Local refs that are no longer selected.
    pub dropped: Vec<Ref>,
    pub unchanged: usize,
    pub missing: Vec<MissingRef>,
}

impl RefDiff {
    pub(super) fn new(
        advertised: &[Ref],
        wanted: &WantedRefs<'_>,
        local: &BTreeMap<String, ObjectId>,
    ) -> Self {
        let remote: HashMap<&str, ObjectId> = advertised.iter().map(|r| (&*r.name, r.id)).collect();
        let mut diff = Self::default();
        let mut targets = BTreeMap::new();
        for name in (wanted.select)(advertised) {
            match remote.get(&*name) {
                Some(id) => drop(targets.insert(name.clone(), (name, *id))),
                None => diff.add_missing(&name),
            }
        }
        for extra in wanted.extra_refs {
            match resolve(extra, &remote, advertised) {
                Some(target) => {
                    targets.insert(extra_ref_name(extra), target);
                }
                None => diff.add_missing(extra),
            }
        }
        for (name, id) in local.iter().filter(|(name, _)| !targets.contains_key(*name)) {
            let removed = Ref { name: name.clone(), id: *id };
            match resolve(&requested_name(name), &remote, advertised).is_some() {
                true => diff.dropped.push(removed),
                false => diff.deleted.push(removed),
            }
        }
        for (name, (source, id)) in targets {
            diff.add(RefUpdate { old: local.get(&name).copied(), name, source, id });
        }
        diff
    }

    fn add(&mut self, update: RefUpdate) {
        if update.old == Some(update.id) {
            self.unchanged += 1;
        } else if update.source.starts_with("refs/") {
            self.updates.push(update);
        } else {
            self.commits.push(update);
        }
    }

    fn add_missing(&mut self, requested: &str) {
        let reason = match is_abbreviated_id(requested) {
            true => "there is no such tag or branch, and a commit needs its whole id, which has 40 digits",
            false => "there is no such tag, branch or commit",
        };
        let reason = reason.to_owned();
        self.missing.push(MissingRef { requested: requested.to_owned(), reason });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.updates.is_empty()
            && self.commits.is_empty()
            && self.deleted.is_empty()
            && self.dropped.is_empty()
    }
}

/// The ref or commit to request, and its id. A whole id is a commit; else tags take precedence over branches, as in
/// gitrevisions(7).
fn resolve(extra: &str, remote: &HashMap<&str, ObjectId>, advertised: &[Ref]) -> Option<(String, ObjectId)> {
    if let Ok(id) = extra.parse::<ObjectId>() {
        let tip = advertised.iter().find(|r| r.id == id);
        return Some((tip.map_or_else(|| id.to_string(), |r| r.name.clone()), id));
    }
    candidates(extra).into_iter().find_map(|name| remote.get(&*name).map(|id| (name.clone(), *id)))
}

/// The full names that a name may stand for.
fn candidates(name: &str) -> Vec<String> {
    match name.starts_with("refs/") {
        true => vec![name.to_owned()],
        false => vec![format!("{TAGS}{name}"), format!("refs/heads/{name}")],
    }
}

/// Whether git would take a name for an abbreviated commit id.
fn is_abbreviated_id(name: &str) -> bool {
    (4..40).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

const TAGS: &str = "refs/tags/";

const EXTRA: &str = "refs/mirror/extra/";

/// Characters with a meaning in a ref name or a path are escaped, so that names cannot clash or nest.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// The local ref of an extra ref.
pub(super) fn extra_ref_name(requested: &str) -> String {
    format!("{EXTRA}{}", utf8_percent_encode(requested, ESCAPED))
}

/// The name under which an extra ref was requested, from its local name; other names are returned unchanged.
pub fn requested_name(name: &str) -> String {
    match name.strip_prefix(EXTRA) {
        Some(escaped) => percent_decode_str(escaped).decode_utf8_lossy().into_owned(),
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
        list.iter().map(|(name, digit)| Ref { name: (*name).into(), id: id(*digit) }).collect()
    }

    fn local(list: &[(&str, char)]) -> BTreeMap<String, ObjectId> {
        list.iter().map(|(name, digit)| ((*name).into(), id(*digit))).collect()
    }

    fn owned(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    fn diff(remote: &[Ref], refs: &[&str], extra: &[&str], local: &BTreeMap<String, ObjectId>) -> RefDiff {
        let wanted = WantedRefs { select: &|_| owned(refs), extra_refs: &owned(extra), history: false };
        RefDiff::new(remote, &wanted, local)
    }

    /// Where an update comes from and where it goes.
    fn route(update: &RefUpdate) -> String {
        format!("{}:{}", update.source, update.name)
    }

    #[test]
    fn new_moved_deleted_and_deselected_refs_are_distinguished() {
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
        let diff = diff(&remote, &["refs/tags/new", "refs/tags/moved", "refs/tags/same"], &[], &have);
        let updates: Vec<_> = diff.updates.iter().map(|update| (route(update), update.old)).collect();
        assert_eq!(
            updates,
            [
                ("refs/tags/moved:refs/tags/moved".to_owned(), Some(id('9'))),
                ("refs/tags/new:refs/tags/new".to_owned(), None),
            ]
        );
        assert_eq!(diff.unchanged, 1);
        assert_eq!(diff.deleted, refs(&[("refs/tags/gone", '5')]));
        assert_eq!(diff.dropped, refs(&[("refs/tags/no", '4')]));
    }

    #[test]
    fn extra_refs_are_tags_then_branches_or_commits() {
        let remote = refs(&[("refs/heads/main", '1'), ("refs/tags/main", '2'), ("refs/heads/2.4/x", '3')]);
        let commit = id('8').to_string();
        let tip = id('3').to_string();
        assert_eq!(requested_name(&extra_ref_name("refs/heads/2.4/x")), "refs/heads/2.4/x");
        let asked = ["main", "2.4/x", &commit, &tip, "nope", "1234abcd"];
        let diff = diff(&remote, &[], &asked, &BTreeMap::new());
        let specs: Vec<_> = diff.updates.iter().chain(&diff.commits).map(route).collect();
        assert_eq!(
            specs,
            [
                "refs/heads/2.4/x:refs/mirror/extra/2%2E4%2Fx".to_owned(),
                format!("refs/heads/2.4/x:refs/mirror/extra/{tip}"),
                "refs/tags/main:refs/mirror/extra/main".to_owned(),
                format!("{commit}:refs/mirror/extra/{commit}"),
            ]
        );
        let missing: Vec<_> = diff.missing.iter().map(|m| &*m.requested).collect();
        assert_eq!(missing, ["nope", "1234abcd"]);
        let explained: Vec<_> = diff.missing.iter().map(|m| m.reason.contains("40 digits")).collect();
        assert_eq!(explained, [false, true]);
    }

    #[test]
    fn filter_admits_tags_and_what_is_named() {
        let have = local(&[(&extra_ref_name("old"), '1'), ("refs/tags/1.0", '1')]);
        let filter = RefFilter::new(&owned(&["main", "refs/pull/7/head", &id('8').to_string()]), &have);
        let prefixes: Vec<_> = filter.prefixes().collect();
        assert_eq!(prefixes, ["refs/tags/", "refs/heads/main", "refs/heads/old", "refs/pull/7/head"]);
        for (name, digit, admitted) in [
            ("refs/tags/2.0", '2', true),
            ("refs/heads/main", '2', true),
            ("refs/heads/old", '2', true),
            ("refs/pull/7/head", '2', true),
            ("refs/heads/main2", '2', false),
            ("refs/pull/8/head", '2', false),
            ("refs/pull/8/head", '8', true),
        ] {
            assert_eq!(filter.admits(name, id(digit)), admitted, "{name}");
        }
    }

    #[test]
    fn deselected_extra_ref_is_dropped_not_deleted() {
        let commit = id('8').to_string();
        let have = ["main", "refs/heads/1.x", &commit, "gone"].map(extra_ref_name);
        let have: BTreeMap<_, _> = have.into_iter().map(|name| (name, id('1'))).collect();
        let remote = refs(&[("refs/heads/main", '1'), ("refs/heads/1.x", '1')]);
        let diff = diff(&remote, &[], &["gone"], &have);
        let names = |refs: &[Ref]| refs.iter().map(|r| requested_name(&r.name)).collect::<Vec<_>>();
        assert_eq!(names(&diff.deleted), ["gone"]);
        assert_eq!(names(&diff.dropped), [&*commit, "main", "refs/heads/1.x"]);
    }

    #[test]
    fn equal_refs_give_an_empty_diff() {
        let list = [("refs/tags/a", '1')];
        let diff = diff(&refs(&list), &["refs/tags/a"], &[], &local(&list));
        assert!(diff.is_empty());
    }
}
