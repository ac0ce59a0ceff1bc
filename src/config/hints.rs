//! The key `hints` of a repository: what packages.json tells Composer in addition to the packages.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::composer::is_valid_constraint;
use crate::yaml::{Issue, Path, Report};

/// What packages.json tells Composer in addition to the packages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hints {
    /// Other mirrors with the same archives, byte for byte.
    pub mirrors: Vec<ArchiveMirror>,
    /// Warnings that Composer prints on every update.
    pub warnings: Vec<Message>,
    /// Notices that Composer prints on every update.
    pub infos: Vec<Message>,
}

/// Another mirror of the archives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct ArchiveMirror {
    /// URL of an archive, with `%package%` and `%prettyVersion%` or `%version%`.
    pub dist_url: String,
    /// Whether Composer tries it first; otherwise it is used when this mirror fails. While a preferred mirror answers 503, Composer
    /// asks it 16 times for each archive, 5 to 15 s, before it asks the next one; other bytes are an error without fail-over.
    #[serde(default)]
    pub preferred: bool,
}

/// A message that Composer prints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct Message {
    /// Text of the message.
    pub message: String,
    /// Versions of Composer that print it, as a constraint.
    #[serde(default = "every_version")]
    pub versions: String,
}

fn every_version() -> String {
    "*".to_owned()
}

impl Hints {
    /// The URLs of the mirrors that Composer tries first.
    pub fn preferred_mirrors(&self) -> impl Iterator<Item = &str> {
        let preferred = self.mirrors.iter().filter(|mirror| mirror.preferred);
        preferred.map(|mirror| mirror.dist_url.as_str())
    }

    /// The URLs that name archives by Composer's normalized version, such as 1.0.0.0.
    pub fn mirrors_by_normalized_version(&self) -> impl Iterator<Item = &str> {
        let urls = self.mirrors.iter().map(|mirror| mirror.dist_url.as_str());
        urls.filter(|url| url.contains("%version%"))
    }

    /// What Composer cannot use would break every update.
    pub(super) fn check(&self, at: &Path, report: &mut Report) {
        for (index, mirror) in self.mirrors.iter().enumerate() {
            let url = &mirror.dist_url;
            let is_usable = Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
                && url.contains("%package%")
                && (url.contains("%prettyVersion%") || url.contains("%version%"));
            if !is_usable {
                let issue = Issue::new("expected the URL of an archive").found(format!("`{url}`"));
                let hint = "such as `https://mirror.example.com/packages/%package%-%prettyVersion%.%type%`";
                report.add(&at.key("mirrors").index(index).key("dist_url"), issue.hint(hint));
            }
        }
        for (key, messages) in [("warnings", &self.warnings), ("infos", &self.infos)] {
            for (index, message) in messages.iter().enumerate() {
                if !is_valid_constraint(&message.versions) {
                    let issue = Issue::new("expected a constraint on the version of Composer");
                    report.add(
                        &at.key(key).index(index).key("versions"),
                        issue.found(format!("`{}`", message.versions)),
                    );
                }
            }
        }
    }
}
