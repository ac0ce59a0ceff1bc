//! What is wrong with one document, and the places of all its values.

use std::collections::HashMap;

use super::{Diagnostic, Diagnostics, Issue, Location, Path};

/// More mistakes than a person wants to read at once.
const MAX_DIAGNOSTICS: usize = 200;

/// The places of all values of a document, and what is wrong with them.
#[derive(Debug)]
pub struct Report {
    file: String,
    places: HashMap<Path, Place>,
    diagnostics: Vec<Diagnostic>,
    /// Values that were left out because they are wrong, and keys that are missing.
    rejected: Vec<Path>,
}

#[derive(Debug)]
struct Place {
    at: Location,
    /// The text with its references, where the value came from the environment and must not be printed.
    reference: Option<String>,
}

impl Report {
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), places: HashMap::new(), diagnostics: Vec::new(), rejected: Vec::new() }
    }

    /// Adds what a check of the caller found at `path`, unless that follows from an issue already known there.
    pub fn add(&mut self, path: &Path, issue: Issue) {
        if self.is_full() || self.rejected.iter().any(|rejected| path.starts_with(rejected)) {
            return;
        }
        let issue = match self.reference(path) {
            None => issue,
            Some(reference) => Issue { found: issue.found.and(reference), hint: None, ..issue },
        };
        self.add_at(self.locate(path), path, issue);
    }

    /// Whether something at or below `path` is already known to be wrong: then a missing value there is not another mistake.
    pub fn is_broken(&self, path: &Path) -> bool {
        self.rejected.iter().any(|rejected| rejected.starts_with(path))
    }

    /// Whether the document has a value at `path`.
    pub fn contains(&self, path: &Path) -> bool {
        self.places.contains_key(path)
    }

    /// The value, if nothing is wrong with the document. The report can then take further checks.
    pub fn finish<T>(&mut self, value: Option<T>) -> Result<T, Diagnostics> {
        let mut diagnostics = std::mem::take(&mut self.diagnostics);
        match value {
            Some(value) if diagnostics.is_empty() => Ok(value),
            _ => {
                diagnostics.sort_by_key(|diagnostic| diagnostic.location);
                Err(Diagnostics(diagnostics))
            }
        }
    }

    pub(super) fn add_at(&mut self, at: Location, path: &Path, issue: Issue) {
        if !self.is_full() {
            let diagnostic = Diagnostic::new(&self.file, at, path, issue);
            self.diagnostics.push(diagnostic);
        }
    }

    fn is_full(&self) -> bool {
        self.diagnostics.len() >= MAX_DIAGNOSTICS
    }

    pub(super) fn set_place(&mut self, path: &Path, at: Location, reference: Option<String>) {
        self.places.insert(path.clone(), Place { at, reference });
    }

    pub(super) fn reject(&mut self, path: &Path) {
        self.rejected.push(path.clone());
    }

    /// Where the value at `path` stands; the nearest container that exists, for a key that is missing.
    fn locate(&self, path: &Path) -> Location {
        let place = path.ancestors().find_map(|path| self.places.get(&path));
        place.map(|place| place.at).unwrap_or_default()
    }

    /// What to print instead of the value at `path`, if it or a value inside it came from the environment.
    fn reference(&self, path: &Path) -> Option<Option<String>> {
        let secret = |(at, place): (&Path, &Place)| at.starts_with(path) && place.reference.is_some();
        let own = self.places.get(path).and_then(|place| place.reference.as_deref());
        self.places.iter().any(secret).then(|| own.map(|reference| format!("the value of `{reference}`")))
    }
}
