//! Where a source lives: the URLs that git understands, parsed.
//!
//! An address that exists names a transport that we speak. Printing one never prints a password.

use std::fmt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::Url;

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
    /// As the remote shell gets it: absolute, or relative to the home directory.
    pub path: String,
}

/// Why a text is not the URL of a source.
#[derive(Debug, thiserror::Error)]
pub enum GitUrlError {
    #[error("the url is empty")]
    Empty,
    #[error("the url does not parse: {0}")]
    Url(#[from] url::ParseError),
    #[error("git over `{0}` is not supported, only https, http, ssh and file")]
    Scheme(String),
    #[error("the url names no {0}")]
    Missing(&'static str),
    #[error("the url has a query or a fragment, which git has no use for")]
    Query,
    #[error("the url names a remote host for a local file")]
    RemoteFile,
    #[error("it is a path, but not from the root, or the url lacks its scheme")]
    Relative,
}

impl GitUrl {
    /// Parses what git accepts as the URL of a repository (git-clone(1), "GIT URLS"), except for a relative path: a service
    /// is in no folder that its operator would think of.
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
            "file" => url
                .to_file_path()
                .map(Self::Local)
                .map_err(|()| GitUrlError::RemoteFile),
            other => Err(GitUrlError::Scheme(other.to_owned())),
        }
    }

    /// Whether `self` lies below `prefix`: same transport, same host and port, and the path continues at a `/`.
    pub fn is_below(&self, prefix: &Self) -> bool {
        match (self, prefix) {
            (Self::Http(url), Self::Http(prefix)) => {
                url.origin() == prefix.origin() && path_is_below(url.path(), prefix.path())
            }
            (Self::Ssh(url), Self::Ssh(prefix)) => {
                url.host == prefix.host
                    && url.port == prefix.port
                    && (prefix.user.is_none() || prefix.user == url.user)
                    && path_is_below(&url.path, &prefix.path)
            }
            _ => false,
        }
    }
}

impl fmt::Display for GitUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => f.write_str(&redacted(url.as_str())),
            Self::Ssh(ssh) => {
                let user = ssh
                    .user
                    .as_ref()
                    .map(|user| format!("{user}@"))
                    .unwrap_or_default();
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
    fn from_url(url: &Url) -> Result<Self, GitUrlError> {
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or(GitUrlError::Missing("host"))?;
        let path = decoded(url.path());
        // git drops the slash before a home directory: ssh://host/~user/x.git names ~user/x.git.
        let path = if path.starts_with("/~") {
            path[1..].to_owned()
        } else {
            path
        };
        Ok(Self {
            user: Some(decoded(url.username())).filter(|user| !user.is_empty()),
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
    Some(SshUrl {
        user,
        host: host.to_owned(),
        port: 22,
        path: path.to_owned(),
    })
}

fn path_is_below(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_matches('/');
    let Some(rest) = path.trim_start_matches('/').strip_prefix(prefix) else {
        return false;
    };
    prefix.is_empty() || rest.is_empty() || rest.starts_with('/')
}

pub(super) fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// `url` fit for a log: the user and password before `@` are replaced (a token is often given as the user),
/// and so is a query. The user of an ssh URL is no secret, its password is. Works on what does not parse, too.
pub fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (rest, query) = match rest.find(['?', '#']) {
        Some(at) => (&rest[..at], "?***"),
        None => (rest, ""),
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) if scheme.contains("ssh") => match user.split_once(':') {
            Some((user, _)) => format!("{user}:***@{host}"),
            None => authority.to_owned(),
        },
        Some((_, host)) => format!("***@{host}"),
        None => authority.to_owned(),
    };
    format!("{scheme}://{authority}{path}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_urls_and_scp_like_ones_name_the_same_place() {
        for (text, user, host, port, path) in [
            (
                "git@github.com:mage-os/x.git",
                Some("git"),
                "github.com",
                22,
                "mage-os/x.git",
            ),
            ("host:/srv/x.git", None, "host", 22, "/srv/x.git"),
            (
                "ssh://git@[::1]:2222/srv/a%20b.git",
                Some("git"),
                "::1",
                2222,
                "/srv/a b.git",
            ),
            ("ssh://host/~joe/x.git", None, "host", 22, "~joe/x.git"),
        ] {
            let Ok(GitUrl::Ssh(ssh)) = GitUrl::parse(text) else {
                panic!("{text}")
            };
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
            let Ok(GitUrl::Local(local)) = GitUrl::parse(text) else {
                panic!("{text}")
            };
            assert_eq!(local, PathBuf::from(path));
        }
    }

    #[test]
    fn what_we_cannot_fetch_is_refused_by_name() {
        for (text, says) in [
            ("git://host/x.git", "git over `git` is not supported"),
            ("https://host/x.git?token=1", "query"),
            ("file://server/x.git", "remote host"),
            ("https://", "does not parse"),
            ("", "empty"),
            ("./a:b", "not from the root"),
            ("github.com/a/b", "lacks its scheme"),
        ] {
            let error = GitUrl::parse(text).expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_is_never_printed() {
        for (text, shown) in [
            ("https://joe:s3cret@host/x.git", "https://***@host/x.git"),
            ("https://s3cret@host/x.git", "https://***@host/x.git"),
            (
                "https://joe:s3@cret@host:80:90/x.git",
                "https://***@host:80:90/x.git",
            ),
            ("https://host/x.git?token=s3cret", "https://host/x.git?***"),
            ("ssh://git:s3cret@host/x.git", "ssh://git:***@host/x.git"),
            ("ssh://git@host/x.git", "ssh://git@host/x.git"),
            ("git@host:x.git", "git@host:x.git"),
        ] {
            assert_eq!(redacted(text), shown);
        }
        let address = GitUrl::parse("https://joe:s3cret@host/x.git").expect("parses");
        assert_eq!(
            format!("{address} {address:?}"),
            "https://***@host/x.git https://***@host/x.git"
        );
    }

    #[test]
    fn a_prefix_ends_at_a_boundary() {
        let below = |url: &str, prefix: &str| {
            GitUrl::parse(url)
                .expect(url)
                .is_below(&GitUrl::parse(prefix).expect(prefix))
        };
        assert!(below("https://host/org/x.git", "https://host"));
        assert!(below("https://host:443/org/x.git", "https://host/org/"));
        assert!(below("git@host:org/x.git", "ssh://host/org"));
        assert!(below("git@host:org/x.git", "git@host:org"));
        assert!(!below("https://host.evil/org/x.git", "https://host"));
        assert!(!below("https://host:8443/org/x.git", "https://host"));
        assert!(!below("http://host/org/x.git", "https://host"));
        assert!(!below("https://host/organ/x.git", "https://host/org"));
        assert!(!below("joe@host:org/x.git", "git@host:org"));
    }
}
