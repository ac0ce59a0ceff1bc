//! In what an archive differs from a checkout of its files: submodules, git-lfs pointers, and attributes by which git would
//! write other bytes (gitattributes(5)). The archive has the bytes that git stores, and its users should know.

use std::collections::BTreeMap;
use std::path::Path;

use gix_attributes::search::{MetadataCollection, Outcome};
use gix_attributes::{Search, StateRef, glob};

use super::plan::{Build, join};
use crate::git::{BareClone, EntryKind, ObjectId};

/// The file with the attributes of a folder.
pub(super) const ATTRIBUTES_FILE: &str = ".gitattributes";

/// The attributes that change what a checkout writes.
const ATTRIBUTES: [&str; 5] = ["eol", "text", "ident", "working-tree-encoding", "filter"];

/// Attributes files of one package are read up to this size in all, in bytes; real ones have a few kilobytes.
const MAX_ATTRIBUTES: u64 = 16 << 10;

/// A pointer of git-lfs is shorter than this (git-lfs, docs/spec.md) and begins like this.
const MAX_POINTER: usize = 1024;
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1";

/// What was found in one archive.
#[derive(Default)]
pub struct CheckoutDifferences {
    /// The paths of files by what is different about them.
    found: BTreeMap<String, Paths>,
    attributes: Option<Attributes>,
}

/// The first path, and how many there are.
struct Paths {
    first: String,
    count: usize,
}

/// The attributes files that apply to a package.
struct Attributes {
    search: Search,
    names: MetadataCollection,
    outcome: Outcome,
}

impl CheckoutDifferences {
    /// The differences in words; `None` if there are none.
    pub fn describe(&self) -> Option<String> {
        let group = |(what, Paths { first, count }): (&String, &Paths)| match count {
            1 => format!("{what} (`{first}`)"),
            _ => format!("{what} (`{first}` and {} more)", count - 1),
        };
        let groups: Vec<_> = self.found.iter().map(group).collect();
        (!groups.is_empty()).then(|| format!("the archive differs from a checkout: {}", groups.join(", ")))
    }

    pub(super) fn add_submodule(&mut self, path: &str) {
        self.add("a submodule is left out", path);
    }

    /// Reads the attributes files of the folders that `build` is in, and of those that are in it, each with its folder.
    pub(super) fn read_attributes(
        &mut self,
        build: &Build,
        clone: &BareClone,
        inside: Vec<(String, ObjectId)>,
    ) -> anyhow::Result<()> {
        let mut files = Vec::new();
        let (mut tree, mut dir) = (build.git_ref.tree, String::new());
        let folder = build.folder.as_ref().map(|folder| folder.path.as_str()).unwrap_or_default();
        for name in folder.split('/').filter(|name| !name.is_empty()) {
            let entries = clone.tree(tree)?;
            let own = entries.iter().find(|entry| entry.name == ATTRIBUTES_FILE);
            files.extend(own.filter(|own| own.kind == EntryKind::File).map(|own| (dir.clone(), own.id)));
            let Some(next) = entries.iter().find(|entry| entry.name == name) else { break };
            (tree, dir) = (next.id, join(&dir, name));
        }
        files.extend(inside);
        let (mut texts, mut left) = (Vec::new(), MAX_ATTRIBUTES);
        for (dir, id) in files {
            let size = clone.blob_size(id)?;
            match left.checked_sub(size) {
                Some(rest) => left = rest,
                None => {
                    self.add("attributes are too long to be read", &join(&dir, ATTRIBUTES_FILE));
                    continue;
                }
            }
            texts.push((join(&dir, ATTRIBUTES_FILE), clone.blob(id)?.to_vec()));
        }
        if texts.iter().any(|(_, text)| may_change_files(text)) {
            self.attributes = Some(Attributes::new(&texts)?);
        }
        Ok(())
    }

    /// Looks at a file, by its path in the source.
    pub(super) fn inspect(&mut self, path: &str, bytes: &[u8]) {
        if bytes.len() < MAX_POINTER && bytes.starts_with(POINTER) {
            self.add("a git-lfs pointer instead of its file", path);
        } else if let Some(attributes) = &mut self.attributes {
            for change in attributes.changes(path, bytes) {
                self.add(&change, path);
            }
        }
    }

    fn add(&mut self, what: &str, path: &str) {
        match self.found.get_mut(what) {
            Some(paths) => paths.count += 1,
            None => {
                self.found.insert(what.to_owned(), Paths { first: path.to_owned(), count: 1 });
            }
        }
    }
}

impl Attributes {
    /// The later of two files has precedence, if both apply.
    fn new(files: &[(String, Vec<u8>)]) -> anyhow::Result<Self> {
        let (mut search, mut names) = (Search::default(), MetadataCollection::default());
        let root = Path::new("/");
        search.add_patterns_buffer(
            b"[attr]binary -diff -merge -text",
            "[builtin]".into(),
            None,
            &mut names,
            true,
        )?;
        for (path, text) in files {
            let may_define_macros = path == ATTRIBUTES_FILE;
            search.add_patterns_buffer(text, root.join(path), Some(root), &mut names, may_define_macros)?;
        }
        let mut outcome = Outcome::default();
        outcome.initialize_with_selection(&names, ATTRIBUTES);
        Ok(Self { search, names, outcome })
    }

    /// The attributes by which a checkout would write other bytes.
    fn changes(&mut self, path: &str, bytes: &[u8]) -> Vec<String> {
        self.outcome.initialize_with_selection(&self.names, ATTRIBUTES);
        let case = glob::pattern::Case::Sensitive;
        self.search.pattern_matching_relative_path(path.into(), case, Some(false), &mut self.outcome);
        let mut values = BTreeMap::new();
        for found in self.outcome.iter_selected() {
            let value = match found.assignment.state {
                StateRef::Set => "set",
                StateRef::Unset => "unset",
                StateRef::Value(value) => std::str::from_utf8(value.as_bstr()).unwrap_or_default(),
                StateRef::Unspecified => continue,
            };
            values.insert(found.assignment.name.as_str().to_owned(), value);
        }
        let value = |name: &str| values.get(name).copied().unwrap_or_default();
        let mut changes = Vec::new();
        let is_text = match value("text") {
            "unset" => false,
            "auto" => !bytes.contains(&0),
            _ => true,
        };
        if value("eol") == "crlf" && is_text && has_bare_line_feed(bytes) {
            changes.push("attribute `eol=crlf`".to_owned());
        }
        if value("ident") == "set" && has_ident(bytes) {
            changes.push("attribute `ident`".to_owned());
        }
        let encoding = value("working-tree-encoding");
        if !matches!(encoding, "" | "set" | "unset") && !encoding.eq_ignore_ascii_case("utf-8") {
            changes.push(format!("attribute `working-tree-encoding={encoding}`"));
        }
        let filter = value("filter");
        // git-lfs leaves files alone that are no pointers.
        if !matches!(filter, "" | "set" | "unset" | "lfs") {
            changes.push(format!("attribute `filter={filter}`"));
        }
        changes
    }
}

/// Whether an attributes file sets what changes files in a checkout: without, it needs not be matched with each file.
fn may_change_files(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let changes = |word: &str| {
        matches!(word, "eol=crlf" | "ident")
            || word.starts_with("working-tree-encoding=")
            || (word.starts_with("filter=") && word != "filter=lfs")
    };
    text.split_ascii_whitespace().any(changes)
}

fn has_bare_line_feed(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b'\n') || bytes.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r')
}

/// Whether git would expand `$Id$` in it.
fn has_ident(bytes: &[u8]) -> bool {
    bytes.windows(4).any(|window| matches!(window, b"$Id$" | b"$Id:"))
}
