//! How git repositories are reached: rewritten URLs, timeouts, credentials.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use url::Url;

use super::Secret;
use super::raw::{CredentialEntry, GitSection};
use super::secret::{LITERAL, LITERAL_HINT};
use crate::yaml::{Issue, Path, Report};

/// How the git repositories of the sources are reached.
#[derive(Clone, Debug)]
pub struct Git {
    /// Prefix of a source URL, and what to put in its place.
    pub rewrite: BTreeMap<String, String>,
    pub connect_timeout: Duration,
    /// How long a transfer may stand still.
    pub timeout: Duration,
    /// How many sources are fetched at once.
    pub parallel: NonZeroUsize,
    /// Fetch without the history.
    pub shallow: bool,
    /// PEM certificates to trust in addition to those of the system.
    pub ca_file: Option<PathBuf>,
    pub credentials: Vec<Credential>,
}

/// How to authenticate for URLs that begin with `url`: a password or a private key.
#[derive(Clone, Debug, Default)]
pub struct Credential {
    pub url: String,
    pub username: Option<Secret>,
    pub password: Option<Secret>,
    pub private_key: Option<PathBuf>,
    pub passphrase: Option<Secret>,
    pub known_hosts: Option<PathBuf>,
}

impl Default for Git {
    fn default() -> Self {
        let section = GitSection::default();
        Self {
            rewrite: section.rewrite,
            connect_timeout: section.connect_timeout,
            timeout: section.timeout,
            parallel: section.parallel,
            shallow: section.shallow,
            ca_file: section.ca_file,
            credentials: Vec::new(),
        }
    }
}

impl Git {
    /// The checked section; relative paths start at `folder`.
    pub(super) fn resolve(section: GitSection, folder: &FilePath, report: &mut Report) -> Self {
        let at = Path::default().key("git");
        for (prefix, replacement) in &section.rewrite {
            if prefix.is_empty() {
                report.add(
                    &at.key("rewrite").key(prefix),
                    Issue::new("expected the beginning of a URL as the key"),
                );
            }
            // The path would print the key.
            refuse_password(prefix, &at.key("rewrite"), report);
            refuse_password(replacement, &at.key("rewrite").key(prefix), report);
        }
        let credential =
            |(index, entry)| Credential::resolve(entry, folder, &at.key("credentials").index(index), report);
        let credentials = section
            .credentials
            .into_iter()
            .enumerate()
            .map(credential)
            .collect();
        Self {
            rewrite: section.rewrite,
            connect_timeout: section.connect_timeout,
            timeout: section.timeout,
            parallel: section.parallel,
            shallow: section.shallow,
            ca_file: section.ca_file.map(|path| folder.join(path)),
            credentials,
        }
    }

    /// The URL to fetch from instead of `url`: the longest matching prefix is replaced, as git does with
    /// `url.<base>.insteadOf`.
    pub fn rewrite(&self, url: &str) -> String {
        let matching = self
            .rewrite
            .iter()
            .filter_map(|(prefix, to)| Some((prefix, to, url.strip_prefix(prefix)?)));
        match matching.max_by_key(|(prefix, ..)| prefix.len()) {
            Some((_, to, rest)) => format!("{to}{rest}"),
            None => url.to_owned(),
        }
    }
}

impl Credential {
    fn resolve(entry: CredentialEntry, folder: &FilePath, at: &Path, report: &mut Report) -> Self {
        entry.check(at, report);
        let file = |path: Option<PathBuf>| path.map(|path| folder.join(path));
        let secret = |value: Option<String>, path| value.map(Secret::Value).or(file(path).map(Secret::File));
        Self {
            url: entry.url,
            username: secret(entry.username, entry.username_file),
            password: secret(entry.password.map(|password| password.0), entry.password_file),
            private_key: file(entry.private_key_file),
            passphrase: secret(None, entry.passphrase_file),
            known_hosts: file(entry.known_hosts_file),
        }
    }
}

impl CredentialEntry {
    fn check(&self, at: &Path, report: &mut Report) {
        if !self.url.contains(':') {
            let issue = Issue::new("expected the beginning of a URL with its scheme or host");
            report.add(
                &at.key("url"),
                issue.hint("such as `https://git.example.com/` or `git@git.example.com:`"),
            );
        }
        refuse_password(&self.url, &at.key("url"), report);
        let password = at.key("password");
        if self.password.is_some() && !report.is_reference(&password) {
            report.add(&password, Issue::new(LITERAL).hint(LITERAL_HINT));
        }
        if report.is_broken(at) {
            return;
        }
        let key = self.private_key_file.is_some();
        let password = self.password.is_some() || self.password_file.is_some();
        let mut rule = |broken: bool, rule: &str| {
            if broken {
                report.add(at, Issue::new(rule));
            }
        };
        let both = self.username.is_some() && self.username_file.is_some();
        rule(both, "`username` and `username_file` exclude each other");
        let both = self.password.is_some() && self.password_file.is_some();
        rule(both, "`password` and `password_file` exclude each other");
        rule(password && key, "a password and a private key exclude each other");
        rule(!password && !key, "expected a password or a private key");
        rule(
            self.passphrase_file.is_some() && !key,
            "a `passphrase_file` needs a `private_key_file`",
        );
    }
}

/// URLs of sources are logged and shown; a password or token in one would be, too.
fn refuse_password(url: &str, at: &Path, report: &mut Report) {
    let holds = |url: &Url| url.password().is_some() || (url.scheme() != "ssh" && !url.username().is_empty());
    if Url::parse(url).is_ok_and(|url| holds(&url)) {
        let issue = Issue::new("a URL holds no password and no token");
        report.add(at, issue.hint("use `git.credentials`"));
    }
}
