//! The public base URL of a repository: the prefix of every URL in its metadata, and the path where it is served.

use std::fmt;
use std::str::FromStr;

use url::Url;

/// An `http` or `https` URL that ends in a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(Url);

/// Why a text is no base URL.
#[derive(Debug, thiserror::Error)]
pub enum InvalidBaseUrl {
    #[error("`{0}` is not a URL: {1}\nhint: write it as users will, such as https://mirror.example.com/")]
    Syntax(String, url::ParseError),
    #[error("`{0}` is not an http or https URL")]
    Scheme(String),
    #[error("`{0}` has a query, a fragment or credentials, which a base URL cannot have")]
    Extra(String),
}

impl BaseUrl {
    /// Its path, beginning and ending in a slash.
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// The absolute URL of a path below it.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// The template of Composer's `metadata-url`: from the root of the host, because Composer resolves it against that.
    pub fn metadata_url(&self) -> String {
        format!("{}p2/%package%.json", self.path())
    }
}

impl FromStr for BaseUrl {
    type Err = InvalidBaseUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut url = Url::parse(text).map_err(|error| InvalidBaseUrl::Syntax(text.to_owned(), error))?;
        if !["http", "https"].contains(&url.scheme()) {
            return Err(InvalidBaseUrl::Scheme(text.to_owned()));
        }
        if url.query().is_some()
            || url.fragment().is_some()
            || !url.username().is_empty()
            || url.password().is_some()
        {
            return Err(InvalidBaseUrl::Extra(crate::source::redacted(text)));
        }
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Ok(Self(url))
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
