//! Packs: contents of small files, one after the other in one object. A state of Magento has 1,300 files and three compressed
//! copies of each, which a replica could not read one by one in a second.
//!
//! Each publication adds a pack with what is new. When packs are many, or half of what they have is not needed any more, one
//! new pack replaces all of them.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::root::{Place, PublishedState, StoredFile};
use super::upload::Wanted;
use crate::util::digest::Sha256;

const MAX_PACKS: usize = 16;

/// The packs of a state, where its contents are in them, and the pack that is new.
pub(super) type Division = (Vec<StoredFile>, BTreeMap<Sha256, Place>, Option<Bytes>);

/// Divides contents among the packs of the state before and a new one.
pub(super) fn divide(
    before: Option<&PublishedState>,
    contents: &BTreeMap<Sha256, Wanted>,
) -> anyhow::Result<Division> {
    let mut packs = before.map_or_else(Vec::new, |before| before.packs.clone());
    let mut places = BTreeMap::new();
    if let Some(before) = before {
        let known = contents.keys().filter_map(|sha256| Some((*sha256, *before.contents.get(sha256)?)));
        places.extend(known);
    }
    let needed: u64 = contents.values().map(|content| content.size).sum();
    let stored: u64 = packs.iter().map(|pack| pack.size).sum();
    if packs.len() >= MAX_PACKS || stored > needed * 2 {
        packs.clear();
        places.clear();
    }
    let mut bytes = Vec::new();
    for (sha256, content) in contents {
        if !places.contains_key(sha256) {
            let place = Place { pack: packs.len(), offset: bytes.len() as u64, size: content.size };
            bytes.extend_from_slice(&content.read()?);
            places.insert(*sha256, place);
        }
    }
    if bytes.is_empty() {
        return Ok((packs, places, None));
    }
    packs.push(StoredFile::of(&bytes));
    Ok((packs, places, Some(bytes.into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::object::UploadHeaders;
    use crate::bucket::root::tests::state;
    use crate::bucket::upload::Source;

    fn contents(texts: &[&str]) -> BTreeMap<Sha256, Wanted> {
        let content = |text: &&str| {
            let StoredFile { sha256, size } = StoredFile::of(text.as_bytes());
            let source = Source::Bytes(Bytes::copy_from_slice(text.as_bytes()));
            let headers = UploadHeaders::default();
            (sha256, Wanted { key: String::new(), sha256, size, source, headers, is_named_by_digest: true })
        };
        texts.iter().map(content).collect()
    }

    #[test]
    fn new_contents_are_added_and_old_ones_rewritten_when_most_are_not_needed() {
        let long = "long ".repeat(100);
        let (packs, places, first) = divide(None, &contents(&[&long, "a"])).unwrap();
        let first = first.unwrap();
        let read = |pack: &Bytes, place: &Place| {
            let begin = usize::try_from(place.offset).unwrap();
            String::from_utf8(pack[begin..begin + usize::try_from(place.size).unwrap()].to_vec()).unwrap()
        };
        for text in [&long, "a"] {
            assert_eq!(read(&first, &places[&Sha256::digest(text.as_bytes())]), text);
        }
        let before = PublishedState { packs, contents: places, ..state() };
        let (packs, places, second) = divide(Some(&before), &contents(&[&long, "b"])).unwrap();
        let second = second.unwrap();
        assert_eq!((packs.len(), packs[0], &second[..]), (2, before.packs[0], &b"b"[..]));
        assert_eq!(places[&Sha256::digest(b"b")], Place { pack: 1, offset: 0, size: 1 });
        assert_eq!(
            places[&Sha256::digest(long.as_bytes())],
            before.contents[&Sha256::digest(long.as_bytes())]
        );
        let before = PublishedState { packs, contents: places, ..state() };
        assert!(divide(Some(&before), &contents(&[&long, "b"])).unwrap().2.is_none());
        let (packs, places, third) = divide(Some(&before), &contents(&["b"])).unwrap();
        assert_eq!((packs.len(), places.len(), &third.unwrap()[..]), (1, 1, &b"b"[..]));
    }
}
