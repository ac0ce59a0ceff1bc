//! A document as a tree of nodes that know where they stand in the text.
//!
//! Aliases and merge keys (`<<`) are already resolved; a node that came through one has the place of its definition,
//! because that is the text to correct. A mapping has each key once. Budgets bound what a hostile document can cost.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{DuplicateKeyPolicy, MessageFormatter as _, Options, Spanned};

use super::{Issue, Location, Path, Report, path::Step, slip};

#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub kind: Kind,
    pub at: Location,
    /// The text as it was written, where the value alone cannot tell: numbers (`2.40`) and strings with `${NAME}`.
    pub written: Option<String>,
    /// The value holds something from the environment and must not be printed.
    pub secret: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) enum Kind {
    #[default]
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    String(String),
    List(Vec<Node>),
    Mapping(Vec<Entry>),
    /// In the place of a value that is wrong or missing: reads as the empty value of whatever type is asked for,
    /// with stand-ins for the keys that turned out to be needed.
    Placeholder(Vec<Entry>),
    /// Taken out of a list; the place stays, so that the others keep their index.
    Gone,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub at: Location,
    pub value: Node,
}

impl Node {
    /// Whether this value, or one inside it, came from the environment.
    pub fn holds_secret(&self) -> bool {
        match &self.kind {
            Kind::List(nodes) => nodes.iter().any(Node::holds_secret),
            Kind::Mapping(entries) => entries.iter().any(|entry| entry.value.holds_secret()),
            _ => self.secret,
        }
    }

    pub fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Mapping(entries) | Kind::Placeholder(entries) => entries,
            _ => &[],
        }
    }

    pub fn entries_mut(&mut self) -> Option<&mut Vec<Entry>> {
        match &mut self.kind {
            Kind::Mapping(entries) | Kind::Placeholder(entries) => Some(entries),
            _ => None,
        }
    }

    pub fn child(&self, step: &Step) -> Option<&Node> {
        match (&self.kind, step) {
            (Kind::List(nodes), Step::Index(index)) => nodes.get(*index),
            (_, Step::Key(key)) => self
                .entries()
                .iter()
                .find(|entry| entry.key == *key)
                .map(|e| &e.value),
            _ => None,
        }
    }

    pub fn child_mut(&mut self, step: &Step) -> Option<&mut Node> {
        match (&mut self.kind, step) {
            (Kind::List(nodes), Step::Index(index)) => nodes.get_mut(*index),
            (Kind::Mapping(entries) | Kind::Placeholder(entries), Step::Key(key)) => entries
                .iter_mut()
                .find(|entry| entry.key == *key)
                .map(|entry| &mut entry.value),
            _ => None,
        }
    }

    pub fn descend_mut(&mut self, path: &Path) -> Option<&mut Node> {
        path.0.iter().try_fold(self, |node, step| node.child_mut(step))
    }
}

/// Parses one document; a mistake in the syntax, or a key that stands twice, goes to `report`.
pub(super) fn parse(text: &str, report: &mut Report) -> Option<Node> {
    match serde_yaml::from_str_with_options::<Spanned<Parsed>>(text, options()) {
        Ok(parsed) => Some(lower(parsed, text, &Path::default(), report)),
        Err(error) => {
            let error = error.without_snippet();
            let at = error.location().map(location).unwrap_or_default();
            let message = serde_yaml::UserMessageFormatter
                .format_message(error)
                .into_owned();
            let mut issue = Issue::new(format!("invalid YAML: {message}"));
            issue.hint = slip::hint(text, at);
            report.note(at, &Path::default(), issue);
            None
        }
    }
}

fn options() -> Options {
    serde_yaml::options! {
        // YAML 1.1 reads `no` as false and `0123` or `1_000` as numbers; YAML 1.2, and people, do not.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        // Duplicates are found by `lower`, which knows both places.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        // No document of ours comes near; the crate's own budgets bound everything else.
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: 100_000 },
        with_snippet: false,
    }
}

/// A node as the YAML crate hands it over.
enum Parsed {
    Scalar(Kind),
    List(Vec<Spanned<Parsed>>),
    Mapping(Vec<(Spanned<Parsed>, Spanned<Parsed>)>),
}

fn lower(parsed: Spanned<Parsed>, text: &str, path: &Path, report: &mut Report) -> Node {
    let at = location(parsed.defined);
    let written = written(&parsed, text);
    let kind = match parsed.value {
        Parsed::Scalar(kind) => kind,
        Parsed::List(nodes) => {
            let nodes = nodes.into_iter().enumerate();
            Kind::List(
                nodes
                    .map(|(index, node)| lower(node, text, &path.index(index), report))
                    .collect(),
            )
        }
        Parsed::Mapping(pairs) => Kind::Mapping(lower_mapping(pairs, text, path, report)),
    };
    Node {
        kind,
        at,
        written,
        secret: false,
    }
}

fn lower_mapping(
    pairs: Vec<(Spanned<Parsed>, Spanned<Parsed>)>,
    text: &str,
    path: &Path,
    report: &mut Report,
) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        let at = location(key.defined);
        let Some(key) = key_text(key, text) else {
            report.note(at, path, Issue::new("a key must be a plain word or a string"));
            continue;
        };
        let path = path.key(&key);
        if let Some(first) = entries.iter().find(|entry| entry.key == key) {
            let Location { line, column } = first.at;
            let issue = Issue::new(format!(
                "the key stands twice, first at line {line}, column {column}"
            ));
            report.note(at, &path, issue.hint("keep one of the two"));
        } else {
            let value = lower(value, text, &path, report);
            entries.push(Entry { key, at, value });
        }
    }
    entries
}

fn key_text(key: Spanned<Parsed>, text: &str) -> Option<String> {
    let written = written(&key, text);
    match key.value {
        Parsed::Scalar(Kind::String(key)) => Some(key),
        Parsed::Scalar(Kind::Null) => None,
        Parsed::Scalar(_) => written,
        Parsed::List(_) | Parsed::Mapping(_) => None,
    }
}

/// The source text of a number or a boolean.
fn written(node: &Spanned<Parsed>, text: &str) -> Option<String> {
    let Parsed::Scalar(Kind::Bool(_) | Kind::Unsigned(_) | Kind::Signed(_) | Kind::Float(_)) = node.value
    else {
        return None;
    };
    let span = node.defined.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let length = usize::try_from(span.byte_len()?).ok()?;
    text.get(start..start + length)
        .map(|written| written.trim().to_owned())
}

fn location(location: serde_yaml::Location) -> Location {
    Location {
        line: location.line(),
        column: location.column(),
    }
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ParsedVisitor)
    }
}

struct ParsedVisitor;

impl<'de> Visitor<'de> for ParsedVisitor {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML node")
    }

    fn visit_unit<E>(self) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(Kind::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(Kind::Bool(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(Kind::Unsigned(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(Kind::Signed(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(Kind::Float(value)))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(Kind::String(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Parsed, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = seq.next_element()? {
            nodes.push(node);
        }
        Ok(Parsed::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parsed, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Parsed::Mapping(pairs))
    }
}
