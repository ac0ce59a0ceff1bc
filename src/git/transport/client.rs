//! Sending one http(s) request: log in, proxy, time limits, and the typed cause when it fails.
//!
//! Credentials go to the place that they are for and to no other, whatever a redirect says.

use std::io::ErrorKind;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body, RequestBuilder};
use url::Url;

use super::super::credential::{Credential, Secret, matching};
use super::super::error::FetchErrorKind;
use super::super::url::{GitUrl, decoded};
use super::{RootCertificates, Settings, proxy};

/// Some hosts answer with their web pages to whoever does not call himself git.
const USER_AGENT: &str = concat!("git/2.0 (mirror ", env!("CARGO_PKG_VERSION"), ")");

/// What is needed to send a request anywhere.
#[derive(Clone)]
pub(super) struct Client {
    agent: Agent,
    credentials: Vec<Credential>,
    userinfo: Option<UserInfo>,
    connect_timeout: Duration,
    timeout: Duration,
}

/// User and password from the URL itself; for its origin only.
#[derive(Clone)]
struct UserInfo {
    origin: url::Origin,
    user: String,
    password: Secret,
}

/// An `Authorization` header and, for messages, whose it is.
struct Authorization {
    value: Secret,
    owner: String,
}

impl Client {
    /// For `url` and wherever it redirects.
    pub(super) fn new(
        url: &Url,
        settings: &Settings,
        trust: &RootCertificates,
    ) -> Result<Self, FetchErrorKind> {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(USER_AGENT)
            .tls_config(trust.tls()?)
            .timeout_resolve(Some(settings.connect_timeout))
            .timeout_connect(Some(settings.connect_timeout))
            .timeout_per_read(Some(settings.timeout))
            .timeout_per_write(Some(settings.timeout))
            .build()
            .new_agent();
        Ok(Self {
            agent,
            userinfo: UserInfo::of(url),
            credentials: settings.credentials.clone(),
            connect_timeout: settings.connect_timeout,
            timeout: settings.timeout,
        })
    }

    pub(super) fn get(&self, url: &Url) -> Result<Response<Body>, FetchErrorKind> {
        let login = self.authorization(url)?;
        let request = self
            .agent
            .get(url.as_str())
            .config()
            .proxy(proxy::for_url(url)?)
            .build();
        let request = request.header("Accept", "*/*");
        self.answer(url, with_login(request, login.as_ref()).call(), login)
    }

    /// Sends `body`, which is of the type `kind`.
    pub(super) fn post(&self, url: &Url, kind: &str, body: &[u8]) -> Result<Response<Body>, FetchErrorKind> {
        let login = self.authorization(url)?;
        let request = self
            .agent
            .post(url.as_str())
            .config()
            .proxy(proxy::for_url(url)?)
            .build();
        let request = request.header("Content-Type", kind).header("Accept", "*/*");
        self.answer(url, with_login(request, login.as_ref()).send(body), login)
    }

    fn answer(
        &self,
        url: &Url,
        sent: Result<Response<Body>, ureq::Error>,
        login: Option<Authorization>,
    ) -> Result<Response<Body>, FetchErrorKind> {
        let response = sent.map_err(|error| self.cause(url, error, false))?;
        match response.status().as_u16() {
            status @ (401 | 403) => Err(FetchErrorKind::Denied {
                host: host(url),
                reason: format!("http status {status}"),
                credential: login.map(|login| login.owner),
            }),
            404 | 410 => Err(FetchErrorKind::NotFound),
            status if status >= 400 => Err(FetchErrorKind::Status {
                host: host(url),
                status,
            }),
            _ => Ok(response),
        }
    }

    fn authorization(&self, url: &Url) -> Result<Option<Authorization>, FetchErrorKind> {
        let userinfo = self
            .userinfo
            .as_ref()
            .filter(|userinfo| userinfo.origin == url.origin());
        if let Some(credential) = matching(&self.credentials, &GitUrl::Http(url.clone()))
            && let Some(password) = credential.password()?
        {
            // Hosts that take a token as password take any user name with it, but want one.
            let user = credential
                .username()?
                .or_else(|| userinfo.map(|userinfo| userinfo.user.clone()));
            let user = user.unwrap_or_else(|| "git".to_owned());
            return Ok(Some(basic(&user, &password, credential.prefix().to_owned())));
        }
        let own = |userinfo: &UserInfo| {
            basic(
                &userinfo.user,
                &userinfo.password,
                format!("{}://***@", url.scheme()),
            )
        };
        Ok(userinfo.map(own))
    }

    /// `started`: the answer had begun.
    pub(super) fn cause(&self, url: &Url, error: ureq::Error, started: bool) -> FetchErrorKind {
        use ureq::{Error, Timeout};
        let host = host(url);
        match error {
            Error::Timeout(Timeout::Connect | Timeout::Resolve) => FetchErrorKind::Timeout {
                host,
                after: self.connect_timeout,
            },
            Error::Timeout(_) => FetchErrorKind::Timeout {
                host,
                after: self.timeout,
            },
            Error::HostNotFound => FetchErrorKind::Unreachable {
                host,
                reason: "there is no such host".into(),
            },
            Error::Rustls(error) => FetchErrorKind::Tls {
                host,
                reason: error.to_string(),
            },
            Error::Tls(reason) => FetchErrorKind::Tls {
                host,
                reason: reason.into(),
            },
            Error::Io(error) => match rustls_error(&error) {
                Some(reason) => FetchErrorKind::Tls { host, reason },
                None if started || is_break(error.kind()) => FetchErrorKind::Interrupted {
                    host,
                    reason: error.to_string(),
                },
                None => FetchErrorKind::Unreachable {
                    host,
                    reason: error.to_string(),
                },
            },
            other if started => FetchErrorKind::Interrupted {
                host,
                reason: other.to_string(),
            },
            other => FetchErrorKind::Unreachable {
                host,
                reason: other.to_string(),
            },
        }
    }
}

fn with_login<B>(request: RequestBuilder<B>, login: Option<&Authorization>) -> RequestBuilder<B> {
    match login {
        Some(login) => request.header("Authorization", login.value.expose()),
        None => request,
    }
}

fn is_break(kind: ErrorKind) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        kind,
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}

/// rustls hides its errors inside `io::Error` during the handshake.
fn rustls_error(error: &std::io::Error) -> Option<String> {
    error
        .get_ref()?
        .downcast_ref::<rustls::Error>()
        .map(ToString::to_string)
}

impl UserInfo {
    fn of(url: &Url) -> Option<Self> {
        if url.username().is_empty() && url.password().is_none() {
            return None;
        }
        let password = Secret::new(decoded(url.password().unwrap_or_default()));
        Some(Self {
            origin: url.origin(),
            user: decoded(url.username()),
            password,
        })
    }
}

/// RFC 7617.
fn basic(user: &str, password: &Secret, owner: String) -> Authorization {
    let pair = STANDARD.encode(format!("{user}:{}", password.expose()));
    Authorization {
        value: Secret::new(format!("Basic {pair}")),
        owner,
    }
}

pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

pub(super) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
