//! The URLs that git accepts (git-clone(1), "GIT URLS"), parsed. Printing one never prints a password.

use std::fmt;
use std::path::PathBuf;

use url::Url;

use crate::net::{path_is_below, percent_decoded, redacted};

/// A parsed source URL.
#[derive(Clone)]
pub enum GitUrl {
    /// `https://…` or `http://…`, possibly with `user:password@`.
    Http(Url),
    /// `ssh://user@host:port/path` or `user@host:path`.
    Ssh(SshUrl),
    /// `file:///…` or a path.
    Local(PathBuf),
}

/// The parts of an ssh URL.
#[derive(Clone, PartialEq, Eq)]
pub struct SshUrl {
    pub user: Option<String>,
    /// Without the brackets of an IPv6 literal.
    pub host: String,
    pub port: u16,
    /// As passed to the remote shell: absolute, or relative to the home directory.
    pub path: String,
}

/// Why a text is not a URL that can be fetched from.
#[derive(Debug, thiserror::Error)]
pub enum GitUrlError {
    #[error("the url is empty")]
    Empty,
    #[error("invalid url: {0}")]
    Url(#[from] url::ParseError),
    #[error("git over `{0}` is not supported, only https, http, ssh and file")]
    Scheme(String),
    #[error("the url has no {0}")]
    Missing(&'static str),
    #[error("the url has a query or a fragment, which git does not support")]
    Query,
    #[error("the url names a remote host for a local file")]
    RemoteFile,
    #[error("expected a url with a scheme, or an absolute path")]
    Relative,
}

impl GitUrl {
    /// Relative paths are refused: a service's working directory means nothing to its operator.
    pub fn parse(text: &str) -> Result<Self, GitUrlError> {
        if text.is_empty() {
            return Err(GitUrlError::Empty);
        }
        if !text.contains("://") {
            return match (scp_like(text), PathBuf::from(text)) {
                (Some(ssh), _) => Ok(Self::Ssh(ssh)),
                (None, path) if path.is_absolute() => Ok(Self::Local(path)),
                (None, _) => Err(GitUrlError::Relative),
            };
        }
        let url = Url::parse(text)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(GitUrlError::Query);
        }
        match url.scheme() {
            "http" | "https" => Ok(Self::Http(url)),
            "ssh" | "git+ssh" | "ssh+git" => SshUrl::from_url(&url).map(Self::Ssh),
            "file" => url.to_file_path().map(Self::Local).map_err(|()| GitUrlError::RemoteFile),
            other => Err(GitUrlError::Scheme(other.to_owned())),
        }
    }
}

impl fmt::Display for GitUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => f.write_str(&redacted(url.as_str())),
            Self::Ssh(ssh) => {
                let user = ssh.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
                let slash = if ssh.path.starts_with('/') { "" } else { "/" };
                write!(f, "ssh://{user}{}:{}{slash}{}", ssh.host, ssh.port, ssh.path)
            }
            Self::Local(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Debug for GitUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl SshUrl {
    /// Whether it is on the same host and port, for the same user if `prefix` has one, and its path continues `prefix`'s
    /// at a `/`.
    pub(super) fn is_below(&self, prefix: &Self) -> bool {
        self.host == prefix.host
            && self.port == prefix.port
            && (prefix.user.is_none() || prefix.user == self.user)
            && path_is_below(&self.path, &prefix.path)
    }

    fn from_url(url: &Url) -> Result<Self, GitUrlError> {
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(GitUrlError::Missing("host"))?;
        let path = percent_decoded(url.path());
        // git drops the slash before a home directory: ssh://host/~user/x.git names ~user/x.git.
        let path = if path.starts_with("/~") { path[1..].to_owned() } else { path };
        Ok(Self {
            user: Some(percent_decoded(url.username())).filter(|user| !user.is_empty()),
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(22),
            path,
        })
    }
}

/// `user@host:path`, when the colon comes before any slash (otherwise it is a path).
fn scp_like(text: &str) -> Option<SshUrl> {
    let (before, path) = text.split_once(':')?;
    if before.contains('/') || before.is_empty() {
        return None;
    }
    let (user, host) = match before.rsplit_once('@') {
        Some((user, host)) => (Some(user.to_owned()), host),
        None => (None, before),
    };
    Some(SshUrl { user, host: host.to_owned(), port: 22, path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_and_scp_like_urls_are_ssh() {
        for (text, user, host, port, path) in [
            ("git@github.com:mage-os/x.git", Some("git"), "github.com", 22, "mage-os/x.git"),
            ("host:/srv/x.git", None, "host", 22, "/srv/x.git"),
            ("ssh://git@[::1]:2222/srv/a%20b.git", Some("git"), "::1", 2222, "/srv/a b.git"),
            ("ssh://host/~joe/x.git", None, "host", 22, "~joe/x.git"),
        ] {
            let Ok(GitUrl::Ssh(ssh)) = GitUrl::parse(text) else { panic!("{text}") };
            let got = (ssh.user.as_deref(), &*ssh.host, ssh.port, &*ssh.path);
            assert_eq!(got, (user, host, port, path), "{text}");
        }
    }

    #[test]
    fn paths_and_file_urls_are_local() {
        for (text, path) in [
            ("/srv/x.git", "/srv/x.git"),
            ("/srv/a:b", "/srv/a:b"),
            ("file:///srv/a%20b.git", "/srv/a b.git"),
        ] {
            let Ok(GitUrl::Local(local)) = GitUrl::parse(text) else { panic!("{text}") };
            assert_eq!(local, PathBuf::from(path));
        }
    }

    #[test]
    fn unsupported_urls_are_refused_with_the_reason() {
        for (text, says) in [
            ("git://host/x.git", "git over `git` is not supported"),
            ("https://host/x.git?token=1", "query"),
            ("file://server/x.git", "remote host"),
            ("https://", "invalid url"),
            ("", "empty"),
            ("./a:b", "an absolute path"),
            ("github.com/a/b", "a url with a scheme"),
        ] {
            let error = GitUrl::parse(text).expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn printing_a_url_hides_its_password() {
        let url = GitUrl::parse("https://joe:s3cret@host/x.git").expect("parses");
        assert_eq!(format!("{url} {url:?}"), "https://***@host/x.git https://***@host/x.git");
    }

    #[test]
    fn ssh_prefix_ends_at_a_path_boundary() {
        let parse = |text| match GitUrl::parse(text) {
            Ok(GitUrl::Ssh(url)) => url,
            other => panic!("{text}: {other:?}"),
        };
        let is_below = |url, prefix| parse(url).is_below(&parse(prefix));
        assert!(is_below("git@host:org/x.git", "ssh://host/org"));
        assert!(is_below("git@host:org/x.git", "git@host:org"));
        assert!(!is_below("git@host:organ/x.git", "git@host:org"));
        assert!(!is_below("joe@host:org/x.git", "git@host:org"));
    }
}
