//! The public base URL of a repository: the prefix of every URL in its metadata, and the path where it is served.

use std::fmt;

use url::Url;

/// An `http` or `https` URL whose path ends in a slash, without query, fragment and credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(Url);

impl BaseUrl {
    /// `url` has been validated by the configuration.
    pub fn new(url: Url) -> Self {
        Self(url)
    }

    /// The path, with a slash at both ends.
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// The host, with the port if it is not the default: the key of credentials in Composer (`Url::getOrigin`).
    pub fn origin(&self) -> String {
        match self.0.port() {
            Some(port) => format!("{}:{port}", self.host()),
            None => self.host().to_owned(),
        }
    }

    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The absolute URL of a path below it.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// A path below it, or a template of one, relative to the host: Composer resolves URLs in packages.json against the host
    /// (`ComposerRepository::canonicalizeUrl`).
    pub fn host_relative(&self, path: &str) -> String {
        format!("{}{path}", self.path())
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
