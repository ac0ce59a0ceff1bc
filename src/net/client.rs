//! Sends http(s) requests with credentials, proxies, time limits and redirects; failures are typed errors.
//!
//! A credential is sent only to the URLs that it is configured for, and not after a redirect to another host.

use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::anyhow;
use ureq::http::Response;
use ureq::{Agent, Body, Proxy, RequestBuilder};
use url::{Origin, Url};

use super::authorization::{Authorization, UserInfo, basic_authorization};
use super::connector;
use super::credential::{own_words, unsupported_challenge};
use super::error::{AFTER_REDIRECT, NetworkError};
use super::forward_proxy::forwards;
use super::proxy;
use super::redirect_policy::{PRIVATE, PrivateAddress, RedirectPolicy};
use super::tls_roots::RootCertificates;
use super::transfer_watch::{POLL, Stop, TransferWatch};
use super::url::redacted;
use crate::config::{Credential, Git};
use crate::util::cancel::CancelFlag;

/// How requests other than git's identify this program.
pub const USER_AGENT: &str = concat!("mirror/", env!("CARGO_PKG_VERSION"));

/// A larger file is not metadata of a Composer repository.
const MAX_DOWNLOAD: u64 = 1 << 30;

const MAX_REDIRECTS: usize = 10;

/// How long a request waits if a busy server asks for it (`Retry-After`). A request that is to wait longer fails.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// How many times a request is sent to a busy server.
const MAX_TRIES: usize = 4;

/// A client is for one transfer, and for what follows it within this time: the limit of a transfer counts from its beginning.
const MAX_AGE: Duration = Duration::from_secs(60);

/// Sends requests to one URL and to where it redirects.
#[derive(Clone)]
pub(crate) struct HttpClient {
    pub(super) agent: Agent,
    credentials: Vec<Credential>,
    userinfo: Option<UserInfo>,
    redirects: RedirectPolicy,
    watch: TransferWatch,
    pub(super) connect_timeout: Duration,
    timeout: Duration,
    origin: Origin,
    fresh_until: Instant,
}

/// Downloads a whole file, following redirects; blocks.
pub fn download(url: &Url, git: &Git) -> anyhow::Result<Vec<u8>> {
    let get = || {
        let roots = RootCertificates::new(git.ca_file.clone());
        let client = HttpClient::new(url, git, &roots, USER_AGENT, &CancelFlag::default())?;
        let (url, response) = client.get(url, &[])?;
        let body = response.into_body().into_with_config().limit(MAX_DOWNLOAD);
        body.read_to_vec().map_err(|error| client.error(&url, error, true))
    };
    get().map_err(|error| {
        let hint = error.hint().map(|hint| format!("\nhint: {hint}"));
        let url = redacted(url.as_str());
        anyhow!("failed to download `{url}`: {error}{}", hint.unwrap_or_default())
    })
}

impl HttpClient {
    pub(crate) fn new(
        url: &Url,
        git: &Git,
        roots: &RootCertificates,
        user_agent: &str,
        cancel: &CancelFlag,
    ) -> Result<Self, NetworkError> {
        let redirects = RedirectPolicy::new(url, &git.redirects);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(user_agent)
            .tls_config(roots.tls_config()?)
            .timeout_resolve(Some(git.connect_timeout))
            .timeout_connect(Some(git.connect_timeout))
            .timeout_per_read(Some(git.timeout))
            .timeout_per_write(Some(git.timeout))
            .build();
        let watch = TransferWatch::new(git, cancel);
        Ok(Self {
            agent: connector::agent(config, &watch, &redirects),
            redirects,
            watch,
            userinfo: UserInfo::from_url(url),
            credentials: git.credentials.clone(),
            connect_timeout: git.connect_timeout,
            timeout: git.timeout,
            origin: url.origin(),
            fresh_until: Instant::now() + MAX_AGE.min(git.total_timeout / 2),
        })
    }

    /// Whether it may begin another transfer.
    pub(crate) fn is_fresh(&self) -> bool {
        Instant::now() < self.fresh_until
    }

    /// Whether it was made for this server.
    pub(crate) fn is_for(&self, url: &Url) -> bool {
        self.origin == url.origin()
    }

    /// Sends a GET request and follows redirects. Returns the URL that answered and its response.
    pub(crate) fn get(
        &self,
        url: &Url,
        headers: &[(&str, &str)],
    ) -> Result<(Url, Response<Body>), NetworkError> {
        self.redirects.begin();
        self.get_following(url.clone(), headers)
    }

    /// Asks for a URL that an answer from `named_by` names, as if that had redirected to it.
    pub(crate) fn get_named(
        &self,
        named_by: &Url,
        url: &Url,
        headers: &[(&str, &str)],
    ) -> Result<(Url, Response<Body>), NetworkError> {
        self.redirects.begin();
        self.get_following(self.redirects.admit(named_by, url.as_str())?, headers)
    }

    fn get_following(
        &self,
        mut url: Url,
        headers: &[(&str, &str)],
    ) -> Result<(Url, Response<Body>), NetworkError> {
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(&url, |exchange| {
                let request = self.agent.get(url.as_str()).header("Accept", "*/*");
                exchange.prepare(request, headers).call()
            })?;
            match redirect_location(&response) {
                Some(location) => url = self.redirects.follow(&url, location)?,
                None => return Ok((url, response)),
            }
        }
        Err(NetworkError::Redirect {
            host: host(&url),
            to: redacted(url.as_str()),
            reason: "too many redirects",
        })
    }

    /// Posts to a URL; `named_by` is what [`Self::get_named`] says. A redirect is not followed.
    pub(crate) fn post_named(
        &self,
        named_by: Option<&Url>,
        url: &Url,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(Url, Response<Body>), NetworkError> {
        self.redirects.begin();
        let url = match named_by {
            Some(named_by) => self.redirects.admit(named_by, url.as_str())?,
            None => url.clone(),
        };
        let response = self.post(&url, headers, body)?;
        Ok((url, response))
    }

    pub(crate) fn post(
        &self,
        url: &Url,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response<Body>, NetworkError> {
        self.send(url, |exchange| exchange.prepare(self.agent.post(url.as_str()), headers).send(body))
    }

    /// Sends a request, and repeats it after the time for which a busy server asks.
    fn send(
        &self,
        url: &Url,
        send: impl Fn(&Exchange) -> Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, NetworkError> {
        let mut tries_left = MAX_TRIES;
        loop {
            tries_left -= 1;
            let proxy = proxy::for_url(url)?;
            let is_forwarded = proxy.as_ref().is_some_and(|proxy| forwards(proxy, url.scheme()));
            let exchange = Exchange { authorization: self.authorization(url)?, proxy, is_forwarded };
            let result = send(&exchange);
            match self.check_status(url, result, exchange) {
                Err(NetworkError::Busy { host, status, wait }) if tries_left > 0 && wait <= MAX_WAIT => {
                    let seconds = wait.as_secs();
                    tracing::warn!(host, status, seconds, "the server is busy: waiting as it asks");
                    self.wait(url, wait)?;
                }
                result => return result,
            }
        }
    }

    fn wait(&self, url: &Url, time: Duration) -> Result<(), NetworkError> {
        let end = Instant::now() + time;
        while let left = end.saturating_duration_since(Instant::now())
            && !left.is_zero()
        {
            thread::sleep(left.min(POLL));
            self.watch.check().map_err(|stop| stop.into_error(host(url)))?;
        }
        Ok(())
    }

    fn check_status(
        &self,
        url: &Url,
        result: Result<Response<Body>, ureq::Error>,
        exchange: Exchange,
    ) -> Result<Response<Body>, NetworkError> {
        let response = result.map_err(|error| self.error(url, error, false))?;
        let host = peer(url);
        if !self.redirects.has_left()
            && let Some(error) = unsupported_challenge(&host, &response)
        {
            return Err(error);
        }
        match (response.status().as_u16(), retry_after(&response), exchange) {
            (status @ (403 | 429 | 503), Some(wait), _) => Err(NetworkError::Busy { host, status, wait }),
            (407, _, Exchange { proxy: Some(proxy), .. }) => Err(refused_by(&proxy, url, "http status 407")),
            (status @ (401 | 403), _, Exchange { authorization, .. }) => Err(NetworkError::Denied {
                host,
                reason: match self.redirects.has_left() {
                    true => format!("http status {status}, {AFTER_REDIRECT}"),
                    false => format!("http status {status}{}", own_words(response)),
                },
                credential: authorization.map(|authorization| authorization.prefix),
            }),
            (status @ (404 | 410), ..) => Err(NetworkError::NotFound { status }),
            (status, ..) if status >= 400 => Err(NetworkError::Status { host, status }),
            _ => Ok(response),
        }
    }

    /// None after a redirect to another origin.
    fn authorization(&self, url: &Url) -> Result<Option<Authorization>, NetworkError> {
        if self.redirects.has_left() {
            return Ok(None);
        }
        Authorization::find(url, &self.credentials, self.userinfo.as_ref())
    }

    /// `is_answering`: whether the response had begun.
    pub(crate) fn error(&self, url: &Url, error: ureq::Error, is_answering: bool) -> NetworkError {
        use ureq::{Error, Timeout};
        let host = peer(url);
        let tls = |host, reason: String| NetworkError::Tls { host, reason };
        match error {
            Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
                NetworkError::Timeout { host, after: self.connect_timeout }
            }
            Error::Timeout(_) => NetworkError::Timeout { host, after: self.timeout },
            Error::Other(error) => match (error.downcast_ref::<Stop>(), error.is::<PrivateAddress>()) {
                (Some(stop), _) => stop.into_error(host),
                (None, true) => NetworkError::Redirect { host, to: redacted(url.as_str()), reason: PRIVATE },
                (None, false) => NetworkError::unreachable(host, &error),
            },
            Error::ConnectProxyFailed(reason) => match proxy::for_url(url) {
                Ok(Some(proxy)) => refused_by(&proxy, url, &status_of_tunnel(&reason)),
                _ => NetworkError::unreachable(host, &reason),
            },
            Error::HostNotFound => NetworkError::unreachable(host, &"there is no such host"),
            Error::Rustls(error) => tls(host, error.to_string()),
            Error::Tls(reason) => tls(host, reason.into()),
            Error::Io(error) => match rustls_error(&error) {
                Some(error) => tls(host, error.to_string()),
                None if is_answering || is_disconnect(error.kind()) => {
                    NetworkError::interrupted(host, &error)
                }
                None => NetworkError::unreachable(host, &error),
            },
            error if is_answering => NetworkError::interrupted(host, &error),
            error => NetworkError::unreachable(host, &error),
        }
    }
}

/// The credentials and the proxy of one request.
struct Exchange {
    authorization: Option<Authorization>,
    proxy: Option<Proxy>,
    /// Whether the proxy forwards the request, instead of opening a tunnel.
    is_forwarded: bool,
}

impl Exchange {
    fn prepare<B>(&self, request: RequestBuilder<B>, headers: &[(&str, &str)]) -> RequestBuilder<B> {
        let mut request = request.config().proxy(self.proxy.clone()).build();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(authorization.header.as_str(), &authorization.value);
        }
        let Some(proxy) = self.proxy.as_ref().filter(|_| self.is_forwarded) else {
            return request;
        };
        for (name, value) in forwarding_headers(proxy) {
            request = request.header(name, value);
        }
        request
    }
}

/// The headers for a proxy that forwards the request.
pub(super) fn forwarding_headers(proxy: &Proxy) -> Vec<(&'static str, String)> {
    let mut headers = vec![("Connection", "close".to_owned())];
    if proxy.username().is_some() || proxy.password().is_some() {
        let (user, password) = (proxy.username().unwrap_or_default(), proxy.password().unwrap_or_default());
        headers.push(("Proxy-Authorization", basic_authorization(user, password)));
    }
    headers
}

/// The time that a server asks to wait, in seconds or as a date (RFC 9110 section 10.2.3).
fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let value = response.headers().get("retry-after")?.to_str().ok()?.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = httpdate::parse_http_date(value).ok()?;
            Some(date.duration_since(SystemTime::now()).unwrap_or_default())
        }
    }
}

/// The host, and the proxy on the way to it. Messages put it between backticks.
fn peer(url: &Url) -> String {
    match proxy::for_url(url) {
        Ok(Some(proxy)) => format!("{}` through the proxy `{}", host(url), proxy::name(&proxy)),
        _ => host(url),
    }
}

fn refused_by(proxy: &Proxy, url: &Url, reason: &str) -> NetworkError {
    NetworkError::Proxy { proxy: proxy::name(proxy), host: host(url), reason: reason.to_owned() }
}

/// The status in ureq's `proxy server responded 403/403`, in the form of other messages.
fn status_of_tunnel(reason: &str) -> String {
    let status = reason.strip_prefix("proxy server responded ").and_then(|rest| rest.split('/').next());
    status.map_or_else(|| reason.to_owned(), |status| format!("http status {status}"))
}

/// Where a redirect leads; `None` for any other response.
fn redirect_location(response: &Response<Body>) -> Option<&str> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get("location");
    Some(location.and_then(|location| location.to_str().ok()).unwrap_or_default())
}

/// rustls hides its errors in an `io::Error` during the handshake.
fn rustls_error(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn is_disconnect(kind: ErrorKind) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// The host and, unless it is the scheme's own, the port.
pub(crate) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(credentials: &[(&str, &str)], url: &str) -> HttpClient {
        let credential = |(url, password): &(&str, &str)| Credential {
            url: (*url).to_owned(),
            password: Some(crate::config::Secret::Value((*password).to_owned())),
            ..Credential::default()
        };
        let git = Git { credentials: credentials.iter().map(credential).collect(), ..Git::default() };
        let url = Url::parse(url).unwrap();
        HttpClient::new(&url, &git, &RootCertificates::default(), USER_AGENT, &CancelFlag::default()).unwrap()
    }

    #[test]
    fn longest_credential_prefix_wins() {
        let all = [("https://host/", "a"), ("https://host/org/", "b"), ("git@host:org/", "c")];
        let client = client(&all, "https://host/");
        let chosen = |url: &str| {
            let authorization = client.authorization(&Url::parse(url).unwrap()).unwrap();
            authorization.map(|authorization| authorization.prefix)
        };
        assert_eq!(chosen("https://host/org/x.git").as_deref(), Some("https://host/org/"));
        assert_eq!(chosen("https://host/y.git").as_deref(), Some("https://host/"));
        assert_eq!(chosen("https://other/x.git"), None);
    }

    #[test]
    fn credential_prefix_ends_at_a_path_boundary() {
        let is_sent = |prefix: &str, url: &str| {
            let client = client(&[(prefix, "s")], url);
            let authorization = client.authorization(&Url::parse(url).unwrap()).unwrap();
            authorization.is_some()
        };
        assert!(is_sent("https://host", "https://host/org/x.git"));
        assert!(is_sent("https://host/org/", "https://host:443/org/x.git"));
        assert!(!is_sent("https://host", "https://host.evil/org/x.git"));
        assert!(!is_sent("https://host", "https://host:8443/org/x.git"));
        assert!(!is_sent("https://host", "http://host/org/x.git"));
        assert!(!is_sent("https://host/org", "https://host/organ/x.git"));
    }
}
