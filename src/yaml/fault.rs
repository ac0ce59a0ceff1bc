//! Serde's error while it reads a tree of nodes: what is wrong, and at which node.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::{Issue, Path, nearest, path::Step};

/// The line that separates the hint from the message when a type's own `Deserialize` gives both as one text.
const HINT: &str = "\nhint: ";

#[derive(Debug)]
pub(super) struct Fault {
    /// From the node outwards: each container adds its step while the error passes through.
    steps: Vec<Step>,
    pub cause: Cause,
}

#[derive(Debug)]
pub(super) enum Cause {
    /// The value itself is wrong.
    Wrong(Issue),
    /// The mapping at the path has a key that nobody knows.
    UnknownKey {
        key: String,
        valid: &'static [&'static str],
    },
    /// The mapping at the path lacks a key.
    MissingKey(&'static str),
}

impl Fault {
    pub fn wrong(issue: Issue) -> Self {
        Self {
            steps: Vec::new(),
            cause: Cause::Wrong(issue),
        }
    }

    pub fn below(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Whether the fault was found at the node that is just being read, not at one inside it.
    pub fn is_here(&self) -> bool {
        self.steps.is_empty()
    }

    pub fn path(&self) -> Path {
        Path(self.steps.iter().rev().cloned().collect())
    }

    /// The same fault with better words for what was found, if there are any.
    pub fn with_found(mut self, found: impl FnOnce() -> Option<String>) -> Self {
        if let Cause::Wrong(issue) = &mut self.cause
            && issue.found.is_some()
        {
            issue.found = found().or(issue.found.take());
        }
        self
    }

    /// The same fault without the value, which came from the environment; `written` is the reference to it.
    pub fn redacted(self, written: Option<&str>) -> Self {
        let Cause::Wrong(issue) = self.cause else {
            return self;
        };
        let rule = if issue.found.is_some() {
            issue.rule
        } else {
            "the value is not valid".to_owned()
        };
        let found = written.map_or("a value from the environment".to_owned(), |text| {
            format!("the value of `{text}`")
        });
        Self::wrong(Issue::new(rule).found(found))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.path(), self.cause)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message = message.to_string();
        Self::wrong(match message.split_once(HINT) {
            Some((rule, hint)) => Issue::new(rule).hint(hint),
            None => Issue::new(message),
        })
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = in_words(&expected.to_string());
        let issue = Issue::new(format!("expected {expected}")).found(describe(&found));
        Self::wrong(match hint(&found, &expected) {
            Some(hint) => issue.hint(hint),
            None => issue,
        })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        let expected = in_words(&expected.to_string());
        Self::wrong(Issue::new(format!("expected {expected}")).found(format!("{length} of them")))
    }

    fn unknown_variant(variant: &str, valid: &'static [&'static str]) -> Self {
        let issue = Issue::new(format!("expected {}", one_of(valid))).found(format!("`{variant}`"));
        Self::wrong(match nearest(variant, valid.iter().copied()) {
            Some(near) => issue.hint(format!("did you mean `{near}`?")),
            None => issue,
        })
    }

    fn unknown_field(key: &str, valid: &'static [&'static str]) -> Self {
        Self {
            steps: Vec::new(),
            cause: Cause::UnknownKey {
                key: key.to_owned(),
                valid,
            },
        }
    }

    fn missing_field(key: &'static str) -> Self {
        Self {
            steps: Vec::new(),
            cause: Cause::MissingKey(key),
        }
    }
}

/// "one of `a`, `b`".
pub(super) fn one_of(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [only] => only.clone(),
        _ => format!("one of {}", names.join(", ")),
    }
}

/// What serde calls a type, in the words of somebody who writes YAML.
fn in_words(expected: &str) -> String {
    match expected {
        "a boolean" => "true or false".into(),
        "u8" => "a whole number up to 255".into(),
        "u16" => "a whole number up to 65535".into(),
        "u32" | "u64" | "usize" => "a whole number".into(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a sequence" => "a list".into(),
        "a map" => "a mapping".into(),
        "path string" => "a path".into(),
        _ if expected.starts_with("a nonzero") => "a whole number above 0".into(),
        _ if expected.starts_with("struct ") => "a mapping".into(),
        _ => expected.to_owned(),
    }
}

fn describe(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(number) => format!("the number {number}"),
        Unexpected::Signed(number) => format!("the number {number}"),
        Unexpected::Float(number) => format!("the number {number}"),
        Unexpected::Str(text) => format!("`{text}`"),
        Unexpected::Unit | Unexpected::Option => "nothing".into(),
        Unexpected::Seq => "a list".into(),
        Unexpected::Map => "a mapping".into(),
        other => other.to_string(),
    }
}

fn hint(found: &Unexpected<'_>, expected: &str) -> Option<String> {
    match found {
        Unexpected::Unit => Some("give it a value or remove the key".into()),
        Unexpected::Str(text) if expected == "true or false" => {
            let meant = match text.to_lowercase().as_str() {
                "yes" | "y" | "on" => "true",
                "no" | "n" | "off" => "false",
                _ => return None,
            };
            Some(format!("write {meant}"))
        }
        Unexpected::Str(text) if expected.contains("number") && text.parse::<f64>().is_ok() => {
            Some(format!("write {text}, without quotes"))
        }
        Unexpected::Bool(_) | Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_)
            if expected.starts_with("a string") || expected == "a path" =>
        {
            Some("put it in quotes".into())
        }
        _ => None,
    }
}
