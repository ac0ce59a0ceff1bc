//! Finds every mistake of a document although serde stops at the first one.
//!
//! After each fault the tree is mended just enough for serde to get further: a misspelt key gets its right name, a
//! wrong value is taken out, and what is then missing gets a stand-in. When even the stand-in is refused, the
//! container around it is taken out. Each round takes something out, so the rounds end; a fault at a node that was
//! already touched follows from an earlier one and is not reported.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use super::fault::{Cause, Fault};
use super::node::{Entry, Kind, Node};
use super::path::{Path, Step};
use super::problem::{Diagnostic, Diagnostics, Issue, Location, nearest};
use super::{Environment, environment};

/// More problems than a person wants to read at once.
const ROUNDS: usize = 200;

/// A document that has been read: where everything stands in it, and what is wrong with it.
#[derive(Debug)]
pub struct Report {
    file: String,
    pub(super) root: Node,
    problems: Vec<Diagnostic>,
    /// Nodes that are not what the document says: wrong, or stand-ins.
    touched: Vec<Path>,
    /// A list lost an element, so that paths no longer fit the value.
    shortened: bool,
}

impl Report {
    pub(super) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            root: Node::default(),
            problems: Vec::new(),
            touched: Vec::new(),
            shortened: false,
        }
    }

    /// Adds what a check of the caller found at `path`, unless that follows from a problem already known there.
    pub fn add(&mut self, path: &Path, issue: Issue) {
        if self.is_touched(path) {
            return;
        }
        let issue = match self.find(path) {
            Some(node) if node.holds_secret() => {
                let rule = Issue::new(issue.rule);
                match &node.written {
                    Some(written) if issue.found.is_some() => rule.found(format!("the value of `{written}`")),
                    _ => rule,
                }
            }
            _ => issue,
        };
        self.note(self.locate(path), path, issue);
    }

    /// Where the node at `path` stands; the nearest container that exists, for a key that is missing.
    pub fn locate(&self, path: &Path) -> Location {
        let mut node = &self.root;
        for step in &path.0 {
            let Some(child) = node.child(step) else { break };
            node = child;
        }
        node.at
    }

    /// Whether something at or below `path` is already known to be wrong, so that what it lacks proves nothing.
    pub fn is_broken(&self, path: &Path) -> bool {
        self.touched.iter().any(|touched| touched.starts_with(path))
    }

    /// Whether the value at `path` is a reference to one environment variable and nothing else.
    pub fn is_reference(&self, path: &Path) -> bool {
        let written = self
            .find(path)
            .and_then(|node| node.secret.then_some(node.written.as_deref()?));
        written.is_some_and(|text| text.starts_with("${") && text.find('}') == Some(text.len() - 1))
    }

    /// The value, if nothing is wrong with the document. The report can then take further checks.
    pub fn finish<T>(&mut self, value: Option<T>) -> Result<T, Diagnostics> {
        let mut problems = std::mem::take(&mut self.problems);
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            _ => {
                problems.sort_by_key(|problem| problem.location);
                Err(Diagnostics(problems))
            }
        }
    }

    pub(super) fn note(&mut self, at: Location, path: &Path, issue: Issue) {
        self.problems.push(Diagnostic::new(&self.file, at, path, issue));
    }

    pub(super) fn expand(&mut self, lookup: Environment<'_>) {
        for (path, issue) in environment::expand(&mut self.root, lookup) {
            self.note(self.locate(&path), &path, issue);
            self.take_out(&path);
        }
    }

    pub(super) fn read<T: DeserializeOwned>(&mut self) -> Option<T> {
        for _ in 0..ROUNDS {
            match self.root.read(PhantomData::<T>) {
                Ok(value) => return (!self.shortened).then_some(value),
                Err(fault) => self.mend(fault)?,
            }
        }
        None
    }

    /// Reports the fault and changes the tree so that serde gets further; `None` when there is nothing left to read.
    fn mend(&mut self, fault: Fault) -> Option<()> {
        let path = fault.path();
        match fault.cause {
            Cause::UnknownKey { key, valid } => self.mend_key(&path, &key, valid),
            Cause::MissingKey(key) => self.stand_in_for(&path, key),
            Cause::Wrong(_) if self.is_touched(&path) => match path.split_last()? {
                (_, Step::Index(_)) => self.take_out(&path),
                (container, Step::Key(_)) => self.take_out(&container),
            },
            Cause::Wrong(issue) => {
                self.note(self.locate(&path), &path, issue);
                self.take_out(&path)
            }
        }
    }

    fn mend_key(&mut self, path: &Path, key: &str, valid: &'static [&'static str]) -> Option<()> {
        let near = nearest(key, valid.iter().copied());
        let issue = Issue::new("unknown key").hint(match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the keys here are {}", list(valid)),
        });
        let entry = self
            .find(path)
            .and_then(|node| node.entries().iter().find(|entry| entry.key == key));
        let at = entry.map_or(self.locate(path), |entry| entry.at);
        self.note(at, &path.key(key), issue);

        let entries = self.root.descend_mut(path)?.entries_mut()?;
        let free = near.filter(|near| entries.iter().all(|entry| entry.key != *near));
        let position = entries.iter().position(|entry| entry.key == key)?;
        match free {
            Some(near) => entries[position].key = near.to_owned(),
            None => drop(entries.remove(position)),
        }
        Some(())
    }

    fn stand_in_for(&mut self, path: &Path, key: &'static str) -> Option<()> {
        let missing = path.key(key);
        if !self.is_touched(&missing) {
            self.note(
                self.locate(path),
                path,
                Issue::new(format!("the key `{key}` is missing")),
            );
            self.touched.push(missing);
        }
        let node = self.root.descend_mut(path)?;
        let at = node.at;
        let value = Node {
            kind: Kind::Placeholder(Vec::new()),
            at,
            ..Node::default()
        };
        node.entries_mut()?.push(Entry {
            key: key.to_owned(),
            at,
            value,
        });
        Some(())
    }

    /// Takes a value out: an entry vanishes from its mapping; an element of a list leaves a stand-in, then nothing.
    fn take_out(&mut self, path: &Path) -> Option<()> {
        let (container, last) = path.split_last()?;
        let container = self.root.descend_mut(&container)?;
        match (last, &mut container.kind) {
            (Step::Index(index), Kind::List(nodes)) => {
                let node = nodes.get_mut(*index)?;
                if let Kind::Placeholder(_) = node.kind {
                    node.kind = Kind::Gone;
                    self.shortened = true;
                } else {
                    node.kind = Kind::Placeholder(Vec::new());
                }
            }
            (Step::Key(key), Kind::Mapping(entries) | Kind::Placeholder(entries)) => {
                entries.retain(|entry| entry.key != *key);
            }
            _ => return None,
        }
        self.touched.push(path.clone());
        Some(())
    }

    fn is_touched(&self, path: &Path) -> bool {
        self.touched.iter().any(|touched| path.starts_with(touched))
    }

    fn find(&self, path: &Path) -> Option<&Node> {
        path.0.iter().try_fold(&self.root, |node, step| node.child(step))
    }
}

fn list(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
