//! The headers of commits and tags, parsed as leniently as git does when it checks out (`parse_commit_buffer`,
//! `parse_commit_date` and `parse_tag_buffer`): libgit2 refuses commits with malformed author lines. A malformed time is 1970.

use super::object_id::ObjectId;

/// What is read of a commit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CommitHeader {
    pub tree: ObjectId,
    pub parents: Vec<ObjectId>,
    /// The committer's time in seconds since 1970.
    pub time: i64,
}

impl CommitHeader {
    /// `None` if it names no tree.
    pub(super) fn parse(object: &[u8]) -> Option<Self> {
        let mut lines = object.split(|byte| *byte == b'\n').peekable();
        let tree = id(lines.next()?, b"tree ")?;
        let mut parents = Vec::new();
        while let Some(parent) = lines.peek().and_then(|line| id(line, b"parent ")) {
            parents.push(parent);
            lines.next();
        }
        // Only the line after the author's counts, whatever follows.
        let author = lines.next().filter(|line| line.starts_with(b"author"));
        let committer = author.and_then(|_| lines.next()).filter(|line| line.starts_with(b"committer"));
        Some(Self { tree, parents, time: committer.and_then(time).unwrap_or(0) })
    }
}

/// The object that an annotated tag points to.
pub(super) fn tag_target(object: &[u8]) -> Option<ObjectId> {
    id(object.split(|byte| *byte == b'\n').next()?, b"object ")
}

fn id(line: &[u8], name: &[u8]) -> Option<ObjectId> {
    str::from_utf8(line.strip_prefix(name)?).ok()?.parse().ok()
}

/// The seconds after the last `>` of a line.
fn time(line: &[u8]) -> Option<i64> {
    let at = line.iter().rposition(|byte| *byte == b'>')?;
    let text = line[at + 1..].trim_ascii_start();
    let is_negative = text.first() == Some(&b'-');
    let digits = &text[usize::from(is_negative)..];
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    let seconds: i64 = str::from_utf8(&digits[..end]).ok()?.parse().ok()?;
    Some(if is_negative { -seconds } else { seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "1111111111111111111111111111111111111111";
    const PARENT: &str = "2222222222222222222222222222222222222222";

    #[test]
    fn malformed_people_do_not_matter() {
        for (author, committer, time) in [
            ("author A <a@b> 1 +0000", "committer C <c@d> 1714972089 +0200", 1_714_972_089),
            ("author A", "committer C <c@d> 5 +0200", 5),
            ("author", "committer C <c@d> 5", 5),
            ("author <", "committer C <c@d> 5 nonsense", 5),
            ("author A <a@b> x", "committer C <<c>@d>> 5 +99999999", 5),
            ("author A <a@b> 1", "committer <> 5 +0000", 5),
            ("author A <a@b> 1", "committer \u{fffd} <c@d>   5 -0100", 5),
            ("author A <a@b> 1", "committer C <c@d> -5 +0000", -5),
            ("author A <a@b> 1", "committer C <c@d>", 0),
            ("author A <a@b> 1", "committer C c@d 5 +0000", 0),
            ("author A <a@b> 1", "committer C <c@d> soon", 0),
            ("author A <a@b> 1", "committer C <c@d> 99999999999999999999 +0000", 0),
            ("author A <a@b> 1", "gpgsig x", 0),
            ("committer C <c@d> 5", "author A <a@b> 1", 0),
        ] {
            let text = format!("tree {TREE}\nparent {PARENT}\n{author}\n{committer}\n\nparent {PARENT}\n");
            let expected =
                CommitHeader { tree: TREE.parse().unwrap(), parents: vec![PARENT.parse().unwrap()], time };
            assert_eq!(CommitHeader::parse(text.as_bytes()), Some(expected), "{author} {committer}");
        }
        let alone = CommitHeader::parse(format!("tree {TREE}").as_bytes()).unwrap();
        assert_eq!((alone.parents, alone.time), (vec![], 0));
        assert_eq!(CommitHeader::parse(b"author A <a@b> 1 +0000\n"), None);
        assert_eq!(CommitHeader::parse(b"tree 1234\n"), None);
    }

    #[test]
    fn tag_without_tagger_has_a_target() {
        let text = format!("object {TREE}\ntype commit\ntag 1.0\n");
        assert_eq!(tag_target(text.as_bytes()), TREE.parse().ok());
        assert_eq!(tag_target(b""), None);
    }
}
