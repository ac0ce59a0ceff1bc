//! What is wrong with a document, and where.

use std::fmt;

use crate::util::text::without_error_numbers;

/// A place in a file; both numbers count from 1, columns in characters. Zero means "somewhere in the file".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    pub line: u64,
    pub column: u64,
}

/// One thing that is wrong with a value, before it has a place.
///
/// The rule never quotes the value: a value that came from the environment must not be printed, and only `found`
/// and `hint` are then left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    pub rule: String,
    pub found: Option<String>,
    pub hint: Option<String>,
}

impl Issue {
    pub fn new(rule: impl Into<String>) -> Self {
        Self { rule: rule.into(), found: None, hint: None }
    }

    /// An error with its causes; a last line `hint: …` becomes the hint.
    pub fn from_error(error: &anyhow::Error) -> Self {
        let text = without_error_numbers(&format!("{error:#}"));
        match text.split_once("\nhint: ") {
            Some((rule, hint)) => Self::new(rule).hint(hint),
            None => Self::new(text),
        }
    }

    /// What was found instead of what the rule requires.
    pub fn found(mut self, found: impl Into<String>) -> Self {
        self.found = Some(found.into());
        self
    }

    /// What to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Suggests the candidate that `word` was most likely meant to be, if any is close enough.
    pub fn hint_nearest<'a>(self, word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Self {
        match nearest(word, candidates) {
            Some(near) => self.hint(format!("did you mean `{near}`?")),
            None => self,
        }
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.found {
            Some(found) => write!(f, "{}, found {found}", self.rule),
            None => f.write_str(&self.rule),
        }
    }
}

/// An issue with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub file: String,
    pub location: Location,
    /// The path of the value, such as `repositories[0].url`; empty for the whole document.
    pub path: String,
    pub message: String,
    pub hint: Option<String>,
}

impl Diagnostic {
    pub(super) fn new(file: &str, location: Location, path: &super::Path, issue: Issue) -> Self {
        Self {
            file: file.to_owned(),
            location,
            path: path.to_string(),
            message: issue.to_string(),
            hint: issue.hint,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if self.location.line > 0 {
            write!(f, "{}:{}:", self.location.line, self.location.column)?;
        }
        if !self.path.is_empty() {
            write!(f, " {}:", self.path)?;
        }
        write!(f, " {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a document, in the order of the text; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, diagnostic) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { "\n" };
            write!(f, "{separator}{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// The candidate that `word` was most likely meant to be, if any is close enough to be worth a suggestion.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The share of characters that has to agree: with half of them wrong it is a different word.
    const MIN_SIMILARITY: f64 = 0.6;
    let similarity = |candidate: &str| {
        strsim::normalized_damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase())
    };
    let scored = candidates.into_iter().map(|candidate| (similarity(candidate), candidate));
    let best = scored.filter(|(score, _)| *score >= MIN_SIMILARITY).max_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, candidate)| candidate)
}
