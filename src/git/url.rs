//! The URLs that git accepts (git-clone(1), "GIT URLS"), parsed. Printing one never prints a password.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use url::Url;

use crate::net::{path_is_below, percent_decoded, redacted};

/// A parsed source URL.
#[derive(Clone)]
pub enum GitUrl {
    /// `https://…` or `http://…`, possibly with `user:password@`.
    Http(Url),
    /// `ssh://user@host:port/path`, `user@host:path`, or with a port `[user@host:port]:path`.
    Ssh(SshUrl),
    /// `file:///…` or a path.
    Local(PathBuf),
    /// `built-in:example`, the repository that is part of the program.
    BuiltIn,
}

/// The parts of an ssh URL.
#[derive(Clone, PartialEq, Eq)]
pub struct SshUrl {
    pub user: Option<String>,
    /// In lower case as in known_hosts files, an address in its shortest form and without brackets.
    pub host: String,
    pub port: u16,
    /// As passed to the remote shell: absolute, or relative to the home directory.
    pub path: String,
}

/// Why a URL cannot be fetched from.
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
    #[error("an IPv6 address stands in brackets: `[::1]:path`")]
    Brackets,
    #[error("a port cannot stand there: write `[host:port]:path` or `ssh://host:port/path`")]
    Port,
    #[error("the only built-in repository is `built-in:example`")]
    BuiltIn,
    #[error("the path begins with `-`, which the remote git would take for an option")]
    Option,
}

impl GitUrl {
    /// Relative paths are refused: a service's working directory means nothing to its operator.
    pub fn parse(text: &str) -> Result<Self, GitUrlError> {
        if text.is_empty() {
            return Err(GitUrlError::Empty);
        }
        if let Some(name) = text.strip_prefix("built-in:") {
            return (name == "example").then_some(Self::BuiltIn).ok_or(GitUrlError::BuiltIn);
        }
        if !text.contains("://") {
            return match (scp_like(text)?, PathBuf::from(text)) {
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
                write!(f, "ssh://{user}{}:{}{slash}{}", ssh.bracketed_host(), ssh.port, ssh.path)
            }
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::BuiltIn => f.write_str("built-in:example"),
        }
    }
}

impl fmt::Debug for GitUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl SshUrl {
    /// Whether host and port are those of `prefix`, and the user if it has one, and the path is below that of `prefix`.
    pub(super) fn is_below(&self, prefix: &Self) -> bool {
        self.host == prefix.host
            && self.port == prefix.port
            && (prefix.user.is_none() || prefix.user == self.user)
            && path_is_below(&self.path, &prefix.path)
    }

    /// The host as it stands before a port.
    pub(super) fn bracketed_host(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        }
    }

    fn from_url(url: &Url) -> Result<Self, GitUrlError> {
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(GitUrlError::Missing("host"))?;
        let user = percent_decoded(url.username());
        let host = host.trim_matches(['[', ']']);
        Self::new(&user, host, url.port().unwrap_or(22), &percent_decoded(url.path()))
    }

    fn new(user: &str, host: &str, port: u16, path: &str) -> Result<Self, GitUrlError> {
        // git drops the slash before a home directory: ssh://host/~user/x.git names ~user/x.git.
        let path = if path.starts_with("/~") { &path[1..] } else { path };
        if path.starts_with('-') {
            return Err(GitUrlError::Option);
        }
        Ok(Self {
            user: Some(user.to_owned()).filter(|user| !user.is_empty()),
            host: match host.parse::<IpAddr>() {
                Ok(address) => address.to_string(),
                Err(_) => host.to_ascii_lowercase(),
            },
            port,
            path: path.to_owned(),
        })
    }
}

/// `user@host:path`, when the colon comes before any slash (otherwise it is a path). As in git, brackets hold an IPv6
/// address or a host with its port, with or without the user: `user@[::1]:path`, `[user@host:port]:path`.
fn scp_like(text: &str) -> Result<Option<SshUrl>, GitUrlError> {
    if has_bare_ipv6(text) {
        return Err(GitUrlError::Brackets);
    }
    let opening = text.find('[').filter(|at| *at == 0 || text[..*at].ends_with('@'));
    let opening = opening.filter(|at| !text[..*at].contains([':', '/']));
    let bracketed = opening.and_then(|at| Some((&text[..at], text[at + 1..].split_once("]:")?)));
    let (authority, path) = match bracketed {
        Some((user, (inside, path))) => (format!("{user}{inside}"), path),
        None => match text.split_once(':') {
            Some((authority, path)) => (authority.to_owned(), path),
            None => return Ok(None),
        },
    };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", &authority));
    if authority.contains('/') || host.is_empty() {
        return Ok(None);
    }
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, port.parse().map_err(|_| GitUrlError::Port)?),
        _ => (host, 22),
    };
    let digits = path.len() - path.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    if digits > 0 && path[digits..].starts_with(':') {
        return Err(GitUrlError::Port);
    }
    SshUrl::new(user, host, port, path).map(Some)
}

/// Whether an IPv6 address without brackets stands before the last colon.
fn has_bare_ipv6(text: &str) -> bool {
    let before = text.rsplit_once(':').map_or(text, |(before, _)| before);
    let host = before.rsplit_once('@').map_or(before, |(_, host)| host);
    host.parse::<Ipv6Addr>().is_ok()
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
            ("ssh://GitHub.com/x.git", None, "github.com", 22, "/x.git"),
            ("git@GitHub.com:/~joe/x.git", Some("git"), "github.com", 22, "~joe/x.git"),
            ("[::1]:x.git", None, "::1", 22, "x.git"),
            ("git@[2001:DB8:0::1]:/srv/x:y.git", Some("git"), "2001:db8::1", 22, "/srv/x:y.git"),
            ("[git@::1]:x.git", Some("git"), "::1", 22, "x.git"),
            ("[git@host:2222]:x.git", Some("git"), "host", 2222, "x.git"),
            ("git@[host:2222]:x.git", Some("git"), "host", 2222, "x.git"),
            ("[host]:x.git", None, "host", 22, "x.git"),
            ("host:2222/x.git", None, "host", 22, "2222/x.git"),
            ("git@host:", Some("git"), "host", 22, ""),
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
            ("git@host:2222:x.git", "[host:port]:path"),
            ("git@[::1]:2222:x.git", "[host:port]:path"),
            ("[git@host:99999]:x.git", "[host:port]:path"),
            ("git@2001:db8::1:x.git", "in brackets"),
            ("::1:x.git", "in brackets"),
            ("host:-x.git", "option"),
            ("built-in:other", "built-in:example"),
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
    fn printed_ssh_url_is_one_again() {
        for (text, shown) in [
            ("git@[::1]:srv/x.git", "ssh://git@[::1]:22/srv/x.git"),
            ("[Host:2222]:/srv/x.git", "ssh://host:2222/srv/x.git"),
        ] {
            assert_eq!(GitUrl::parse(text).expect(text).to_string(), shown);
            GitUrl::parse(shown).expect(shown);
        }
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
