//! The section `git`: how git repositories are reached.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::secret::{Secret, SecretReference};
use super::units::{self, check_positive, count};
use crate::yaml::{Issue, Path, Report};

/// How the git repositories of the sources are reached.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Git {
    /// Replaces the beginning of source URLs: prefix and replacement. The longest matching prefix counts.
    pub rewrite: BTreeMap<String, String>,
    /// Time limit for establishing a connection.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub connect_timeout: Duration,
    /// How long a transfer may make no progress.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub timeout: Duration,
    /// How long a fetch may take altogether.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub total_timeout: Duration,
    /// Least bytes per second, on the average of four times `timeout`; a slower fetch ends. `0B` turns it off.
    #[serde(with = "units::size")]
    #[schemars(with = "units::SizeText")]
    pub min_pace: usize,
    /// Beginnings of URLs in private networks that redirects to another host may lead to. Credentials are never sent there.
    pub redirects: Vec<String>,
    /// How many sources are fetched at once.
    pub parallel: NonZeroUsize,
    /// Fetch only the commits to build, without history.
    pub shallow: bool,
    /// File of PEM certificates to trust in addition to those of the system.
    pub ca_file: Option<PathBuf>,
    /// Credentials for source URLs (after `rewrite`) that begin with `url`; the longest match counts.
    #[schemars(with = "Vec<CredentialEntry>")]
    pub credentials: Vec<Credential>,
}

/// How to authenticate for URLs that begin with `url`: a password or a private key.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(from = "CredentialEntry")]
pub struct Credential {
    pub url: String,
    pub username: Option<Secret>,
    pub password: Option<Secret>,
    pub scheme: CredentialScheme,
    /// The header that has the password as it is, instead of `Authorization`.
    pub header: Option<String>,
    pub private_key: Option<PathBuf>,
    pub passphrase: Option<Secret>,
    pub known_hosts: Option<PathBuf>,
}

/// How a password or token is sent over HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum CredentialScheme {
    /// User name and password (RFC 7617).
    #[default]
    Basic,
    /// The token alone (RFC 6750).
    Bearer,
}

/// Credentials for a server: a password or token, or a private key.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default, rename = "Credential")]
struct CredentialEntry {
    /// Beginning of the URLs that it applies to, such as `https://git.example.com/` or `git@git.example.com:`.
    url: String,
    /// User name.
    username: Option<String>,
    /// File with the user name.
    username_file: Option<PathBuf>,
    /// Password or token, as a reference to an environment variable: `${NAME}`.
    #[schemars(with = "Option<SecretReference>")]
    password: Option<String>,
    /// File with the password or token.
    password_file: Option<PathBuf>,
    /// How the password or token is sent over HTTP: `basic` with the user name, or `bearer`.
    #[serde(default)]
    scheme: CredentialScheme,
    /// Name of the header in which the password or token is sent as it is, instead of `Authorization`; such as `PRIVATE-TOKEN`.
    header: Option<String>,
    /// File with the private key for ssh. A certificate beside it, under the same name with `-cert.pub`, is used, too.
    private_key_file: Option<PathBuf>,
    /// File with the passphrase of the private key.
    passphrase_file: Option<PathBuf>,
    /// File with the known hosts for ssh, in OpenSSH's format: patterns, hashed names, `@cert-authority` and `@revoked` count.
    known_hosts_file: Option<PathBuf>,
}

impl From<CredentialEntry> for Credential {
    fn from(entry: CredentialEntry) -> Self {
        Self {
            url: entry.url,
            username: Secret::from_keys(entry.username, entry.username_file),
            password: Secret::from_keys(entry.password, entry.password_file),
            scheme: entry.scheme,
            header: entry.header,
            private_key: entry.private_key_file,
            passphrase: Secret::from_keys(None, entry.passphrase_file),
            known_hosts: entry.known_hosts_file,
        }
    }
}

impl Default for Git {
    fn default() -> Self {
        Self {
            rewrite: BTreeMap::new(),
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
            total_timeout: Duration::from_secs(60 * 60),
            min_pace: 1024,
            redirects: Vec::new(),
            parallel: count(4),
            shallow: true,
            ca_file: None,
            credentials: Vec::new(),
        }
    }
}

impl Git {
    /// Resolves relative paths against `folder`.
    pub(super) fn resolve_paths(&mut self, folder: &FilePath) {
        let resolve = |path: &mut PathBuf| *path = folder.join(&path);
        self.ca_file.iter_mut().for_each(resolve);
        for credential in &mut self.credentials {
            let files = credential.private_key.iter_mut();
            files.chain(&mut credential.known_hosts).for_each(resolve);
            let secrets = credential.username.iter_mut();
            let secrets = secrets.chain(&mut credential.password).chain(&mut credential.passphrase);
            secrets.for_each(|secret| secret.resolve_path(folder));
        }
    }

    pub(super) fn check(&self, at: &Path, report: &mut Report) {
        check_positive(self.connect_timeout, &at.key("connect_timeout"), report);
        check_positive(self.timeout, &at.key("timeout"), report);
        check_positive(self.total_timeout, &at.key("total_timeout"), report);
        for (index, prefix) in self.redirects.iter().enumerate() {
            let at = at.key("redirects").index(index);
            if !Url::parse(prefix).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
                let issue =
                    Issue::new("expected the beginning of a URL that begins with http:// or https://");
                report.add(&at, issue.hint("such as `https://git.example.com/`"));
            }
            refuse_password(prefix, &at, report);
        }
        let rewrite = at.key("rewrite");
        for (prefix, replacement) in &self.rewrite {
            if prefix.is_empty() {
                let issue = Issue::new("expected the beginning of a URL as the key");
                report.add(&rewrite.key(prefix), issue);
            }
            // The path of the entry would print the password in its key.
            refuse_password(prefix, &rewrite, report);
            refuse_password(replacement, &rewrite.key(prefix), report);
        }
        for (index, credential) in self.credentials.iter().enumerate() {
            credential.check(&at.key("credentials").index(index), report);
        }
    }

    /// The URL to fetch from instead of `url`: the longest matching prefix is replaced, as git does with
    /// `url.<base>.insteadOf`.
    pub fn rewrite(&self, url: &str) -> String {
        let matching =
            self.rewrite.iter().filter_map(|(prefix, to)| Some((prefix, to, url.strip_prefix(prefix)?)));
        match matching.max_by_key(|(prefix, ..)| prefix.len()) {
            Some((_, to, rest)) => format!("{to}{rest}"),
            None => url.to_owned(),
        }
    }
}

impl Credential {
    fn check(&self, at: &Path, report: &mut Report) {
        if !self.url.contains(':') {
            let issue = Issue::new("expected the beginning of a URL with its scheme or host");
            report.add(
                &at.key("url"),
                issue.hint("such as `https://git.example.com/` or `git@git.example.com:`"),
            );
        }
        refuse_password(&self.url, &at.key("url"), report);
        if report.is_broken(at) {
            return;
        }
        for [value, file] in [["username", "username_file"], ["password", "password_file"]] {
            if report.contains(&at.key(value)) && report.contains(&at.key(file)) {
                report.add(at, Issue::new(format!("set either `{value}` or `{file}`, not both")));
            }
        }
        match (self.password.is_some(), self.private_key.is_some()) {
            (true, true) => report.add(at, Issue::new("set either a password or a private key, not both")),
            (false, false) => report.add(at, Issue::new("expected a password or a private key")),
            _ => {}
        }
        if let Some(header) = &self.header {
            let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            if header.is_empty() || !header.chars().all(is_token) {
                report.add(&at.key("header"), Issue::new("expected the name of a header"));
            }
            if self.scheme != CredentialScheme::Basic {
                report.add(at, Issue::new("set either `scheme` or `header`, not both"));
            }
        }
        if self.passphrase.is_some() && self.private_key.is_none() {
            report.add(at, Issue::new("`passphrase_file` requires `private_key_file`"));
        }
    }
}

/// URLs of sources are logged and shown, and so would be a password or token in one.
fn refuse_password(url: &str, at: &Path, report: &mut Report) {
    let has_secret =
        |url: &Url| url.password().is_some() || (url.scheme() != "ssh" && !url.username().is_empty());
    if Url::parse(url).is_ok_and(|url| has_secret(&url)) {
        let issue = Issue::new("a URL must not contain a password or token");
        report.add(at, issue.hint("use `git.credentials`"));
    }
}
