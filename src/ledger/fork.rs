//! Two ledgers that begin with the same lines: what one of them has to add to the other.

use super::{Ledger, Release, ReleaseKind};

/// A release that two ledgers have with different bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    pub own: Release,
    pub other: Release,
}

impl Ledger {
    /// The number of lines that both begin with.
    pub fn common_lines(&self, other: &Self) -> u64 {
        let both = self.hashes.iter().zip(&other.hashes);
        both.take_while(|(own, other)| own == other).count() as u64
    }

    /// The releases after the first `common` lines that `other` lacks, in their order. An alias or a nightly version is
    /// lacking if `other` does not have that state of it.
    pub fn lacking_in(&self, other: &Self, common: u64) -> Result<Vec<Release>, Box<Conflict>> {
        let mut lacking = Vec::new();
        for own in self.releases.iter().filter(|release| release.number > common) {
            let mut known = other.all_of(&own.name, &own.version);
            if known.any(|known| known.sha256 == own.sha256 && known.bound == own.bound) {
                continue;
            }
            let mut known = other.all_of(&own.name, &own.version);
            let is_same_package =
                |known: &&Release| own.kind == ReleaseKind::Package && !own.may_follow(known);
            if let Some(known) = known.find(is_same_package) {
                return Err(Box::new(Conflict { own: own.clone(), other: known.clone() }));
            }
            lacking.push(own.clone());
        }
        Ok(lacking)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::release;
    use super::*;
    use crate::util::digest::Sha256;

    fn ledger(releases: Vec<Release>) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.append(ledger.prepare(releases).unwrap());
        ledger
    }

    #[test]
    fn what_another_ledger_lacks_is_what_it_has_under_no_name() {
        let own = ledger(vec![release("1"), release("2"), release("3"), release("4")]);
        let later = Release { source: "t".into(), ..release("3") };
        let other = ledger(vec![release("1"), later]);
        assert_eq!(own.common_lines(&other), 1);
        let lacking = own.lacking_in(&other, 1).unwrap();
        assert_eq!(lacking.iter().map(|release| &*release.version).collect::<Vec<_>>(), ["2", "4"]);
        assert_eq!((own.common_lines(&own), own.lacking_in(&own, 4).unwrap()), (4, Vec::new()));
    }

    #[test]
    fn other_bytes_of_a_version_are_a_conflict_but_another_state_of_a_nightly_one_is_not() {
        let bytes =
            |text: &str, kind| Release { kind, sha256: Sha256::digest(text.as_bytes()), ..release("1") };
        for (kind, is_conflict) in [(ReleaseKind::Package, true), (ReleaseKind::Dev, false)] {
            let (own, other) = (ledger(vec![bytes("a", kind)]), ledger(vec![bytes("b", kind)]));
            match own.lacking_in(&other, 0) {
                Ok(lacking) => assert!(!is_conflict && lacking.len() == 1),
                Err(conflict) => {
                    assert!(is_conflict);
                    assert_eq!(conflict.other.sha256, Sha256::digest(b"b"));
                }
            }
        }
    }
}
