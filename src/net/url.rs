//! URLs as text, without passwords and decoded, and as paths.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::Url;

pub(crate) fn percent_decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The folder or file that a `file` URL names; `None` for any other URL.
pub(crate) fn file_path(url: &Url) -> Option<PathBuf> {
    url.to_file_path().ok().filter(|_| url.scheme() == "file")
}

/// `url` for logs and pages: user and password are replaced (a token is often given as the user), and so is a query. Of an ssh
/// URL, only the password is secret. Also works on text that is not a valid URL.
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
    fn passwords_and_tokens_are_never_printed() {
        for (text, shown) in [
            ("https://joe:s3cret@host/x.git", "https://***@host/x.git"),
            ("https://s3cret@host/x.git", "https://***@host/x.git"),
            ("https://joe:s3@cret@host:80:90/x.git", "https://***@host:80:90/x.git"),
            ("https://host/x.git?token=s3cret", "https://host/x.git?***"),
            ("ssh://git:s3cret@host/x.git", "ssh://git:***@host/x.git"),
            ("ssh://git@host/x.git", "ssh://git@host/x.git"),
            ("git@host:x.git", "git@host:x.git"),
        ] {
            assert_eq!(redacted(text), shown);
        }
    }
}
