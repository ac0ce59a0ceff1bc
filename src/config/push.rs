//! The section `push`: incoming webhooks of GitHub, GitLab and of followed mirrors.

use std::path::{Path as FilePath, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::secret::{Secret, SecretReference};
use crate::webhook::Forge;
use crate::yaml::{Issue, Path, Report};

/// A sender of webhooks.
#[derive(Clone, Debug)]
pub struct Push {
    pub from: Forge,
    pub secret: Secret,
}

/// A sender of webhooks, identified by the secret that it shares with the mirror.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default, rename = "Push")]
pub(super) struct PushEntry {
    /// Sender of the webhooks: a forge, or with `mirror` the mirrors that are followed here.
    from: Forge,
    /// Shared secret (GitHub: Secret; GitLab: Secret token or Signing token), as a reference to an environment variable:
    /// `${NAME}`.
    #[schemars(with = "Option<SecretReference>")]
    secret: Option<String>,
    /// File with the secret.
    secret_file: Option<PathBuf>,
}

impl PushEntry {
    /// The checked entry; a relative path starts at `folder`.
    pub(super) fn resolve(self, at: &Path, folder: &FilePath, report: &mut Report) -> Option<Push> {
        if self.secret.is_some() == self.secret_file.is_some() && !report.is_broken(at) {
            report.add(at, Issue::new("expected one of `secret` and `secret_file`"));
        }
        let mut secret = Secret::from_keys(self.secret, self.secret_file)?;
        secret.resolve_path(folder);
        Some(Push { from: self.from, secret })
    }
}
