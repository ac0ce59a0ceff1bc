//! Collects what is wrong with the fields of one manifest.

use std::fmt;

use serde_json::{Map, Value};

use crate::util::text::shortened;

/// How much of a field's path or of a reason is kept, in characters: a manifest may have megabytes in one value.
const MAX_TEXT: usize = 200;

/// How many fields a description names.
const MAX_NAMED: usize = 5;

/// What is wrong with one field: its path, with dots, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldProblem {
    pub field: String,
    pub reason: String,
}

impl fmt::Display for FieldProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

impl FieldProblem {
    /// The first of these problems in words, and how many more there are.
    pub fn describe(problems: &[Self]) -> String {
        let mut described: Vec<_> = problems.iter().take(MAX_NAMED).map(Self::to_string).collect();
        if let more @ 1.. = problems.len().saturating_sub(MAX_NAMED) {
            described.push(format!("and {more} more"));
        }
        described.join("; ")
    }
}

pub(super) struct Check<'m> {
    manifest: &'m Map<String, Value>,
    pub(super) problems: Vec<FieldProblem>,
}

impl<'m> Check<'m> {
    pub(super) fn new(manifest: &'m Map<String, Value>) -> Self {
        Self { manifest, problems: Vec::new() }
    }

    /// The value of a field that is present.
    pub(super) fn get(&self, field: &str) -> Option<&'m Value> {
        self.manifest.get(field).filter(|value| !value.is_null())
    }

    pub(super) fn reject(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        let short = |text: String| shortened(&text, MAX_TEXT).into_owned();
        self.problems.push(FieldProblem { field: short(field.into()), reason: short(reason.into()) });
    }

    pub(super) fn field(&mut self, field: &str, is_valid: impl Fn(&Value) -> bool, reason: &str) {
        if self.get(field).is_some_and(|value| !is_valid(value)) {
            self.reject(field, reason);
        }
    }
}
