//! git's smart protocol over http and https: `GET info/refs`, then one POST per round.
//!
//! The rules are git's (gitprotocol-http(5), http.followRedirects=initial): only the first request follows
//! redirects, and where it ends is where the others go. Credentials go to the origin that they are for and to no
//! other; a redirect from https to http is refused.

use std::io::{ErrorKind, Read};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use git2::transport::Service;
use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body, BodyReader};
use url::Url;

use super::super::address::{Address, decoded, redacted};
use super::super::credential::{Credential, Secret, matching};
use super::super::error::Cause;
use super::{Carrier, Settings, Stream, Trust, proxy};

const ADVERTISEMENT: &str = "application/x-git-upload-pack-advertisement";
const REQUEST: &str = "application/x-git-upload-pack-request";
const RESULT: &str = "application/x-git-upload-pack-result";
const REFS: &str = "/info/refs";
const MAX_REDIRECTS: usize = 10;

/// Some hosts answer with their web pages to whoever does not call himself git.
const USER_AGENT: &str = concat!("git/2.0 (mirror ", env!("CARGO_PKG_VERSION"), ")");

/// The smart protocol of one http(s) repository.
pub(in super::super) struct Http {
    client: Client,
    /// Where the repository is, after redirects.
    base: Mutex<Url>,
}

/// What is needed to send a request anywhere.
#[derive(Clone)]
struct Client {
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

impl Http {
    pub(super) fn new(url: &Url, settings: &Settings, trust: &Trust) -> Result<Self, Cause> {
        let mut base = url.clone();
        let userinfo = UserInfo::of(url);
        // Neither fails for a URL with a host, and http always has one.
        let _ = base.set_username("").and_then(|()| base.set_password(None));
        base.set_path(base.path().trim_end_matches('/').to_owned().as_str());
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
        let client = Client {
            agent,
            userinfo,
            credentials: settings.credentials.clone(),
            connect_timeout: settings.connect_timeout,
            timeout: settings.timeout,
        };
        Ok(Self {
            client,
            base: Mutex::new(base),
        })
    }

    /// Asks for the refs, following redirects, and remembers where that led.
    fn advertisement(&self) -> Result<Box<dyn Stream>, Cause> {
        let mut url = self.base().clone();
        url.set_path(&format!("{}{REFS}", url.path().trim_end_matches('/')));
        url.set_query(Some("service=git-upload-pack"));
        for _ in 0..=MAX_REDIRECTS {
            let response = self.client.send(&url, None)?;
            if let Some(next) = redirect(&url, &response)? {
                url = next;
                continue;
            }
            let body = self.client.checked(&url, response, ADVERTISEMENT)?;
            self.settle(&url)?;
            return Ok(Box::new(body));
        }
        Err(Cause::Redirect {
            host: host(&url),
            to: redacted(url.as_str()),
            reason: "too many redirects",
        })
    }

    fn settle(&self, refs: &Url) -> Result<(), Cause> {
        let Some(path) = refs.path().strip_suffix(REFS) else {
            return Err(Cause::NotGit {
                reason: format!("redirected to `{}`", redacted(refs.as_str())),
            });
        };
        let mut base = refs.clone();
        base.set_path(path);
        base.set_query(None);
        *self.base.lock().unwrap_or_else(PoisonError::into_inner) = base;
        Ok(())
    }

    fn base(&self) -> Url {
        self.base.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Carrier for Http {
    fn stateless(&self) -> bool {
        true
    }

    fn host(&self) -> String {
        host(&self.base())
    }

    fn open(&self, service: Service) -> Result<Box<dyn Stream>, Cause> {
        if service == Service::UploadPackLs {
            return self.advertisement();
        }
        let mut url = self.base();
        url.set_path(&format!("{}/git-upload-pack", url.path().trim_end_matches('/')));
        Ok(Box::new(Round {
            client: self.client.clone(),
            url,
            request: Vec::new(),
            answer: None,
        }))
    }
}

impl Client {
    /// Sends a GET, or a POST with `body`.
    fn send(&self, url: &Url, body: Option<&[u8]>) -> Result<Response<Body>, Cause> {
        let proxy = proxy::for_url(url)?;
        let authorization = self.authorization(url)?;
        let login = authorization.as_ref().map(|login| login.value.expose());
        let sent = match body {
            None => {
                let mut request = self
                    .agent
                    .get(url.as_str())
                    .config()
                    .proxy(proxy)
                    .build()
                    .header("Accept", "*/*");
                if let Some(login) = login {
                    request = request.header("Authorization", login);
                }
                request.call()
            }
            Some(body) => {
                let mut request = self.agent.post(url.as_str()).config().proxy(proxy).build();
                request = request.header("Content-Type", REQUEST).header("Accept", RESULT);
                if let Some(login) = login {
                    request = request.header("Authorization", login);
                }
                request.send(body)
            }
        };
        let response = sent.map_err(|error| self.cause(url, error, false))?;
        match response.status().as_u16() {
            status @ (401 | 403) => Err(Cause::Denied {
                host: host(url),
                reason: format!("http status {status}"),
                credential: authorization.map(|login| login.owner),
            }),
            404 | 410 => Err(Cause::NotFound),
            status if status >= 400 => Err(Cause::Status {
                host: host(url),
                status,
            }),
            _ => Ok(response),
        }
    }

    /// The body of a good answer of the kind that the smart protocol prescribes.
    fn checked(&self, url: &Url, response: Response<Body>, kind: &str) -> Result<Answer, Cause> {
        let status = response.status().as_u16();
        if status != 200 {
            return Err(Cause::Status {
                host: host(url),
                status,
            });
        }
        let found = header(response.headers(), "content-type");
        if found != Some(kind) {
            let found = found.map_or_else(|| "none".to_owned(), |found| format!("`{found}`"));
            return Err(Cause::NotGit {
                reason: format!("its content type is {found}, not `{kind}`"),
            });
        }
        let body = response.into_body().into_reader();
        Ok(Answer {
            client: self.clone(),
            url: url.clone(),
            body,
        })
    }

    fn authorization(&self, url: &Url) -> Result<Option<Authorization>, Cause> {
        let userinfo = self
            .userinfo
            .as_ref()
            .filter(|userinfo| userinfo.origin == url.origin());
        if let Some(credential) = matching(&self.credentials, &Address::Http(url.clone()))
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
    fn cause(&self, url: &Url, error: ureq::Error, started: bool) -> Cause {
        use ureq::{Error, Timeout};
        let host = host(url);
        match error {
            Error::Timeout(Timeout::Connect | Timeout::Resolve) => Cause::Timeout {
                host,
                after: self.connect_timeout,
            },
            Error::Timeout(_) => Cause::Timeout {
                host,
                after: self.timeout,
            },
            Error::HostNotFound => Cause::Unreachable {
                host,
                reason: "there is no such host".into(),
            },
            Error::Rustls(error) => Cause::Tls {
                host,
                reason: error.to_string(),
            },
            Error::Tls(reason) => Cause::Tls {
                host,
                reason: reason.into(),
            },
            Error::Io(error) => match rustls_error(&error) {
                Some(reason) => Cause::Tls { host, reason },
                None if started || is_break(error.kind()) => Cause::Interrupted {
                    host,
                    reason: error.to_string(),
                },
                None => Cause::Unreachable {
                    host,
                    reason: error.to_string(),
                },
            },
            other if started => Cause::Interrupted {
                host,
                reason: other.to_string(),
            },
            other => Cause::Unreachable {
                host,
                reason: other.to_string(),
            },
        }
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

/// Where a redirect leads, or `None` if the answer is none.
fn redirect(from: &Url, response: &Response<Body>) -> Result<Option<Url>, Cause> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = header(response.headers(), "location").unwrap_or_default();
    let refuse = |reason| Cause::Redirect {
        host: host(from),
        to: redacted(location),
        reason,
    };
    let mut to = from.join(location).map_err(|_| refuse("it is not a url"))?;
    match (from.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => {}
        ("https", "http") => return Err(refuse("it leaves https")),
        _ => return Err(refuse("it leaves http")),
    }
    let _ = to.set_username("").and_then(|()| to.set_password(None));
    Ok(Some(to))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The body of an answer.
struct Answer {
    client: Client,
    url: Url,
    body: BodyReader<'static>,
}

impl Stream for Answer {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Cause> {
        self.body
            .read(into)
            .map_err(|error| self.client.cause(&self.url, error.into(), true))
    }

    fn write(&mut self, _: &[u8]) -> Result<(), Cause> {
        Err(Cause::NotGit {
            reason: "the advertisement takes no requests".into(),
        })
    }
}

/// One POST: collects what libgit2 writes, and sends it when the answer is first read.
struct Round {
    client: Client,
    url: Url,
    request: Vec<u8>,
    answer: Option<Answer>,
}

impl Stream for Round {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Cause> {
        if self.answer.is_none() {
            let response = self.client.send(&self.url, Some(&self.request))?;
            self.answer = Some(self.client.checked(&self.url, response, RESULT)?);
        }
        match &mut self.answer {
            Some(answer) => answer.read(into),
            None => Ok(0),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        self.request.extend_from_slice(bytes);
        Ok(())
    }
}
