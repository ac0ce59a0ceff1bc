//! The header that authenticates a request, from a configured credential or from the user and password in the URL.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use super::credential::{covers, find_credential, read_secret};
use super::error::NetworkError;
use super::url::{percent_decoded, redacted};
use crate::config::{Credential, CredentialScheme};

/// A header with a secret and, for messages, the URL prefix that it was configured for.
pub(super) struct Authorization {
    pub(super) header: String,
    pub(super) value: String,
    pub(super) prefix: String,
}

/// The user and password in the URL itself; for its origin only.
#[derive(Clone)]
pub(super) struct UserInfo {
    origin: url::Origin,
    user: String,
    password: String,
}

impl UserInfo {
    pub(super) fn from_url(url: &Url) -> Option<Self> {
        if url.username().is_empty() && url.password().is_none() {
            return None;
        }
        Some(Self {
            origin: url.origin(),
            user: percent_decoded(url.username()),
            password: percent_decoded(url.password().unwrap_or_default()),
        })
    }
}

impl Authorization {
    /// The configured credential, else the user and password in the URL.
    pub(super) fn find(
        url: &Url,
        credentials: &[Credential],
        userinfo: Option<&UserInfo>,
    ) -> Result<Option<Self>, NetworkError> {
        let userinfo = userinfo.filter(|userinfo| userinfo.origin == url.origin());
        if let Some(credential) = find_credential(credentials, |prefix| covers(prefix, url))
            && let Some(secret) = read_secret(credential.password.as_ref())?
        {
            let prefix = redacted(&credential.url);
            let user = read_secret(credential.username.as_ref())?
                .or_else(|| userinfo.map(|userinfo| userinfo.user.clone()));
            return Ok(Some(match (&credential.header, credential.scheme) {
                (Some(header), _) => Self { header: header.clone(), value: secret, prefix },
                (None, CredentialScheme::Bearer) => Self::new(format!("Bearer {secret}"), prefix),
                // Hosts that take a token as the password require a user name, but accept any.
                (None, CredentialScheme::Basic) => {
                    Self::basic(user.as_deref().unwrap_or("git"), &secret, prefix)
                }
            }));
        }
        let from_url = |userinfo: &UserInfo| {
            Self::basic(&userinfo.user, &userinfo.password, format!("{}://***@", url.scheme()))
        };
        Ok(userinfo.map(from_url))
    }

    fn new(value: String, prefix: String) -> Self {
        Self { header: "Authorization".to_owned(), value, prefix }
    }

    fn basic(user: &str, password: &str, prefix: String) -> Self {
        Self::new(basic_authorization(user, password), prefix)
    }
}

/// RFC 7617.
pub(super) fn basic_authorization(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}
