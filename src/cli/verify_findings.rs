//! What `mirror verify` found in one repository: printed line by line, or as one JSON document.

use std::io::{self, Write as _};

use serde::Serialize;
use serde_json::{Value, json};

use super::stdout::Stdout;
use crate::ledger::Release;
use crate::util::text::plural;

/// What is wrong with a repository.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ProblemKind {
    /// The repository cannot be read.
    Repository,
    /// An archive is damaged or missing.
    Archive,
    /// A snapshot is damaged.
    Snapshot,
    /// A URL of the metadata is not served.
    Url,
    /// A checksum of the metadata differs from the ledger.
    Checksum,
    /// A version that was built again has other bytes.
    Rebuild,
    /// The other mirror has other bytes.
    Mirror,
    /// Something is missing or damaged in the bucket.
    Bucket,
}

#[derive(Debug, Serialize)]
struct Problem {
    kind: ProblemKind,
    message: String,
}

/// A version that was not compared with git.
#[derive(Debug, Serialize)]
struct NotCompared {
    package: String,
    version: String,
    reason: String,
}

/// The result of comparing all versions with git.
#[derive(Debug, Default, Serialize)]
pub(super) struct Rebuilt {
    pub(super) equal: usize,
    pub(super) different: usize,
    not_compared: Vec<NotCompared>,
    /// Aliases and nightly versions.
    not_rebuilt: usize,
}

impl Rebuilt {
    pub(super) fn new(not_rebuilt: usize) -> Self {
        Self { not_rebuilt, ..Self::default() }
    }
}

/// The findings in one repository.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    name: String,
    url: String,
    #[serde(skip)]
    json: bool,
    problems: Vec<Problem>,
    repaired: Vec<Value>,
    rebuilt: Option<Rebuilt>,
    /// Figures of what was checked.
    checked: Value,
    /// The result of comparing with another mirror.
    compared: Value,
}

impl Findings {
    /// With `json`, nothing is printed.
    pub(super) fn new(name: &str, url: &str, json: bool) -> Self {
        Self {
            name: name.to_owned(),
            url: url.to_owned(),
            json,
            problems: Vec::new(),
            repaired: Vec::new(),
            rebuilt: None,
            checked: Value::Null,
            compared: Value::Null,
        }
    }

    pub(super) fn print(&self, line: &str) -> io::Result<()> {
        match self.json {
            true => Ok(()),
            false => writeln!(Stdout, "{}: {line}", self.name),
        }
    }

    pub(super) fn problem(&mut self, kind: ProblemKind, message: String) -> io::Result<()> {
        self.print(&message)?;
        self.add(kind, message);
        Ok(())
    }

    /// Adds a problem that was printed.
    pub(super) fn add(&mut self, kind: ProblemKind, message: String) {
        self.problems.push(Problem { kind, message });
    }

    pub(super) fn repaired(&mut self, release: &Release) -> io::Result<()> {
        let (package, version) = (&release.name, &release.version);
        self.repaired.push(json!({ "package": package, "version": version }));
        self.print(&format!("{package} {version}: repaired"))
    }

    pub(super) fn not_compared(
        &mut self,
        rebuilt: &mut Rebuilt,
        release: &Release,
        reason: String,
    ) -> io::Result<()> {
        let (package, version) = (release.name.clone(), release.version.clone());
        self.print(&format!("{package} {version}: not compared: {reason}"))?;
        rebuilt.not_compared.push(NotCompared { package, version, reason });
        Ok(())
    }

    pub(super) fn rebuilt(&mut self, rebuilt: Rebuilt) -> io::Result<()> {
        let mut line = format!("{} rebuilt versions are equal", rebuilt.equal);
        for (count, words) in [
            (rebuilt.different, "differ"),
            (rebuilt.not_compared.len(), "could not be compared"),
            (rebuilt.not_rebuilt, "are aliases or nightly versions, which are not rebuilt"),
        ] {
            if count > 0 {
                line += &format!(", {count} {words}");
            }
        }
        self.print(&line)?;
        self.rebuilt = Some(rebuilt);
        Ok(())
    }

    /// Records the figures of the checks, which `line` states in words.
    pub(super) fn checked(&mut self, line: &str, checked: Value) -> io::Result<()> {
        self.checked = checked;
        self.print(&format!("{line}: {}", self.verdict()))
    }

    /// Records the figures of the comparison, which `line` states in words.
    pub(super) fn compared(&mut self, line: &str, compared: Value) -> io::Result<()> {
        self.compared = compared;
        self.print(line)
    }

    fn verdict(&self) -> String {
        let not_compared = self.count_not_compared();
        match (self.problems.len(), not_compared) {
            (0, 0) => "no problems".to_owned(),
            (problems, 0) => plural(problems, "problem"),
            (0, _) => format!("{} could not be compared", plural(not_compared, "version")),
            (problems, _) => format!(
                "{}, {} could not be compared",
                plural(problems, "problem"),
                plural(not_compared, "version")
            ),
        }
    }

    fn count_not_compared(&self) -> usize {
        self.rebuilt.as_ref().map_or(0, |rebuilt| rebuilt.not_compared.len())
    }

    /// Whether no problem is left, and everything that was to be compared was compared.
    pub(super) fn is_well(&self) -> bool {
        self.problems.is_empty() && self.count_not_compared() == 0
    }
}
