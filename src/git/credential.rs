//! Credentials of git hosts: which one belongs to which URL, and the secrets in their files.
//!
//! A secret is read from its file when it is needed and is never printed, not even by `Debug`.

use std::fmt;
use std::path::PathBuf;

use super::error::FetchErrorKind;
use super::url::{GitUrl, GitUrlError};
use crate::config;

/// How to log in where a source lives. No secret is read before it is needed.
#[derive(Clone, Debug)]
pub struct Credential {
    prefix: String,
    below: GitUrl,
    pub username: Option<config::Secret>,
    /// A password or a token: for https, and for ssh hosts that want one.
    pub password: Option<config::Secret>,
    /// For ssh: a private key in OpenSSH or PEM format.
    pub private_key_file: Option<PathBuf>,
    pub passphrase: Option<config::Secret>,
    /// For ssh, and needed there: the host keys that are trusted, as sshd(8) "SSH_KNOWN_HOSTS FILE FORMAT".
    pub known_hosts_file: Option<PathBuf>,
}

impl Credential {
    /// A credential for every URL below `prefix` (after rewriting): `https://git.example.com/team/`.
    pub fn new(prefix: &str) -> Result<Self, GitUrlError> {
        Ok(Self {
            prefix: super::url::redacted(prefix),
            below: GitUrl::parse(prefix)?,
            username: None,
            password: None,
            private_key_file: None,
            passphrase: None,
            known_hosts_file: None,
        })
    }

    /// The URL prefix, which is how messages name this credential.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn username(&self) -> Result<Option<String>, FetchErrorKind> {
        Ok(read(&self.username)?.map(|secret| secret.0))
    }

    pub(super) fn password(&self) -> Result<Option<Secret>, FetchErrorKind> {
        read(&self.password)
    }

    pub(super) fn passphrase(&self) -> Result<Option<Secret>, FetchErrorKind> {
        read(&self.passphrase)
    }
}

/// Reads a secret at the time of its use, so that a rotated file counts.
fn read(secret: &Option<config::Secret>) -> Result<Option<Secret>, FetchErrorKind> {
    let Some(secret) = secret else { return Ok(None) };
    let failed = |error: anyhow::Error| FetchErrorKind::File {
        path: match secret {
            config::Secret::File(path) => path.clone(),
            config::Secret::Value(_) => PathBuf::new(),
        },
        reason: error.root_cause().to_string(),
    };
    secret.read().map(|text| Some(Secret(text))).map_err(failed)
}

/// The credential with the longest prefix that covers `address`.
pub(super) fn matching<'a>(credentials: &'a [Credential], address: &GitUrl) -> Option<&'a Credential> {
    credentials
        .iter()
        .filter(|c| address.is_below(&c.below))
        .max_by_key(|c| c.prefix.len())
}

/// A text that does not print.
#[derive(Clone)]
pub(super) struct Secret(String);

impl Secret {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins() {
        let of = |prefix| Credential::new(prefix).expect(prefix);
        let all = [of("https://host/"), of("https://host/org/"), of("git@host:org/")];
        let chosen =
            |url: &str| matching(&all, &GitUrl::parse(url).expect(url)).map(|c| c.prefix().to_owned());
        assert_eq!(
            chosen("https://host/org/x.git").as_deref(),
            Some("https://host/org/")
        );
        assert_eq!(chosen("https://host/y.git").as_deref(), Some("https://host/"));
        assert_eq!(chosen("git@host:org/x.git").as_deref(), Some("git@host:org/"));
        assert_eq!(chosen("https://other/x.git"), None);
    }

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::new("s3cret".into())), "***");
    }
}
