//! A document as a tree of nodes that know where they stand in the text.
//!
//! Aliases and merge keys (`<<`) are already resolved; a node that came through one has the place of its definition,
//! because that is the text to correct. Budgets bound what a hostile document can cost.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use serde_yaml::{DuplicateKeyPolicy, MessageFormatter as _, Options, Spanned};

use super::{Issue, Location, Path, Report, syntax_hints};

pub(super) type Node = Spanned<NodeContent>;

#[derive(Clone)]
pub(super) enum NodeContent {
    /// Neither a list nor a mapping.
    Scalar(Value),
    List(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
}

/// Parses one document; a mistake in the syntax goes to `report`.
pub(super) fn parse(text: &str, report: &mut Report) -> Option<Node> {
    match serde_yaml::from_str_with_options::<Node>(text, options()) {
        Ok(node) => Some(node),
        Err(error) => {
            let error = error.without_snippet();
            let at = error.location().map(location).unwrap_or_default();
            let message = serde_yaml::UserMessageFormatter.format_message(error).into_owned();
            let mut issue = Issue::new(format!("invalid YAML: {message}"));
            issue.hint = syntax_hints::hint(text, at, &message);
            report.add_at(at, &Path::default(), issue);
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
        // `schema_check` reports duplicates with both places.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        // No document of ours comes near; the crate's own budgets bound everything else.
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: 100_000 },
        with_snippet: false,
    }
}

/// Where a node begins.
pub(super) fn place(node: &Node) -> Location {
    location(node.defined)
}

fn location(location: serde_yaml::Location) -> Location {
    Location { line: location.line(), column: location.column() }
}

/// A key as text: a number or a boolean is taken as it was written, so `2.40` is not `2.4`.
pub(super) fn key(node: &Node, text: &str) -> Option<String> {
    match &node.value {
        NodeContent::Scalar(Value::String(key)) => Some(key.clone()),
        NodeContent::Scalar(Value::Number(_) | Value::Bool(_)) => written(node, text),
        _ => None,
    }
}

/// The source text of a node.
pub(super) fn written(node: &Node, text: &str) -> Option<String> {
    let span = node.defined.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let length = usize::try_from(span.byte_len()?).ok()?;
    Some(text.get(start..start.checked_add(length)?)?.trim().to_owned())
}

impl<'de> Deserialize<'de> for NodeContent {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = NodeContent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML node")
    }

    fn visit_unit<E>(self) -> Result<NodeContent, E> {
        Ok(NodeContent::Scalar(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<NodeContent, E> {
        Ok(NodeContent::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<NodeContent, E> {
        Ok(NodeContent::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<NodeContent, E> {
        Ok(NodeContent::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<NodeContent, E> {
        // JSON has no infinity.
        let value = Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number);
        Ok(NodeContent::Scalar(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<NodeContent, E> {
        Ok(NodeContent::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<NodeContent, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = seq.next_element()? {
            nodes.push(node);
        }
        Ok(NodeContent::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NodeContent, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(NodeContent::Mapping(entries))
    }
}
