//! git's smart protocol over http and https: `GET info/refs`, then one POST per round.
//!
//! The rules are git's (gitprotocol-http(5), http.followRedirects=initial): only the first request follows
//! redirects, and where it ends is where the others go; a redirect from https to http is refused.

use std::io::Read;
use std::sync::{Mutex, PoisonError};

use git2::transport::Service;
use ureq::http::Response;
use ureq::{Body, BodyReader};
use url::Url;

use super::super::error::FetchErrorKind;
use super::super::url::redacted;
use super::client::{Client, header, host};
use super::{RootCertificates, Settings, SmartTransport, Stream};

const ADVERTISEMENT: &str = "application/x-git-upload-pack-advertisement";
const REQUEST: &str = "application/x-git-upload-pack-request";
const RESULT: &str = "application/x-git-upload-pack-result";
const REFS: &str = "/info/refs";
const MAX_REDIRECTS: usize = 10;

/// The smart protocol of one http(s) repository.
pub(in super::super) struct Http {
    client: Client,
    /// Where the repository is, after redirects.
    base: Mutex<Url>,
}

impl Http {
    pub(super) fn new(
        url: &Url,
        settings: &Settings,
        trust: &RootCertificates,
    ) -> Result<Self, FetchErrorKind> {
        let mut base = url.clone();
        // Neither fails for a URL with a host, and http always has one.
        let _ = base.set_username("").and_then(|()| base.set_password(None));
        base.set_path(base.path().trim_end_matches('/').to_owned().as_str());
        Ok(Self {
            client: Client::new(url, settings, trust)?,
            base: Mutex::new(base),
        })
    }

    /// Asks for the refs, following redirects, and remembers where that led.
    fn advertisement(&self) -> Result<Box<dyn Stream>, FetchErrorKind> {
        let mut url = self.base().clone();
        url.set_path(&format!("{}{REFS}", url.path().trim_end_matches('/')));
        url.set_query(Some("service=git-upload-pack"));
        for _ in 0..=MAX_REDIRECTS {
            let response = self.client.get(&url)?;
            if let Some(next) = redirect(&url, &response)? {
                url = next;
                continue;
            }
            let body = checked(&self.client, &url, response, ADVERTISEMENT)?;
            self.settle(&url)?;
            return Ok(Box::new(body));
        }
        Err(FetchErrorKind::Redirect {
            host: host(&url),
            to: redacted(url.as_str()),
            reason: "too many redirects",
        })
    }

    fn settle(&self, refs: &Url) -> Result<(), FetchErrorKind> {
        let Some(path) = refs.path().strip_suffix(REFS) else {
            return Err(FetchErrorKind::NotGit {
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

impl SmartTransport for Http {
    fn stateless(&self) -> bool {
        true
    }

    fn host(&self) -> String {
        host(&self.base())
    }

    fn open(&self, service: Service) -> Result<Box<dyn Stream>, FetchErrorKind> {
        if service == Service::UploadPackLs {
            return self.advertisement();
        }
        let mut url = self.base();
        url.set_path(&format!("{}/git-upload-pack", url.path().trim_end_matches('/')));
        Ok(Box::new(RpcStream {
            client: self.client.clone(),
            url,
            request: Vec::new(),
            answer: None,
        }))
    }
}

/// Gets a file of at most `largest` bytes, following redirects.
pub(in super::super) fn download(
    url: &Url,
    settings: &Settings,
    trust: &RootCertificates,
    largest: u64,
) -> Result<Vec<u8>, FetchErrorKind> {
    let client = Client::new(url, settings, trust)?;
    let mut url = url.clone();
    for _ in 0..=MAX_REDIRECTS {
        let response = client.get(&url)?;
        if let Some(next) = redirect(&url, &response)? {
            url = next;
            continue;
        }
        let body = response
            .into_body()
            .into_with_config()
            .limit(largest)
            .read_to_vec();
        return body.map_err(|error| client.cause(&url, error, true));
    }
    Err(FetchErrorKind::Redirect {
        host: host(&url),
        to: redacted(url.as_str()),
        reason: "too many redirects",
    })
}

/// Sends `body`, which is of the type `kind`; the answer must be a success.
pub(in super::super) fn post(
    url: &Url,
    settings: &Settings,
    trust: &RootCertificates,
    kind: &str,
    body: &[u8],
) -> Result<(), FetchErrorKind> {
    let response = Client::new(url, settings, trust)?.post(url, kind, body)?;
    let status = response.status();
    if status.is_success() {
        Ok(())
    } else {
        Err(FetchErrorKind::Status {
            host: host(url),
            status: status.as_u16(),
        })
    }
}

/// Where a redirect leads, or `None` if the answer is none.
fn redirect(from: &Url, response: &Response<Body>) -> Result<Option<Url>, FetchErrorKind> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = header(response.headers(), "location").unwrap_or_default();
    let refuse = |reason| FetchErrorKind::Redirect {
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

/// The body of a good answer of the kind that the smart protocol prescribes.
fn checked(
    client: &Client,
    url: &Url,
    response: Response<Body>,
    kind: &str,
) -> Result<Answer, FetchErrorKind> {
    let status = response.status().as_u16();
    if status != 200 {
        return Err(FetchErrorKind::Status {
            host: host(url),
            status,
        });
    }
    let found = header(response.headers(), "content-type");
    if found != Some(kind) {
        let found = found.map_or_else(|| "none".to_owned(), |found| format!("`{found}`"));
        return Err(FetchErrorKind::NotGit {
            reason: format!("its content type is {found}, not `{kind}`"),
        });
    }
    let body = response.into_body().into_reader();
    Ok(Answer {
        client: client.clone(),
        url: url.clone(),
        body,
    })
}

/// The body of an answer.
struct Answer {
    client: Client,
    url: Url,
    body: BodyReader<'static>,
}

impl Stream for Answer {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, FetchErrorKind> {
        self.body
            .read(into)
            .map_err(|error| self.client.cause(&self.url, error.into(), true))
    }

    fn write(&mut self, _: &[u8]) -> Result<(), FetchErrorKind> {
        Err(FetchErrorKind::NotGit {
            reason: "the advertisement takes no requests".into(),
        })
    }
}

/// One POST: collects what libgit2 writes, and sends it when the answer is first read.
struct RpcStream {
    client: Client,
    url: Url,
    request: Vec<u8>,
    answer: Option<Answer>,
}

impl Stream for RpcStream {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, FetchErrorKind> {
        if self.answer.is_none() {
            let response = self.client.post(&self.url, REQUEST, &self.request)?;
            self.answer = Some(checked(&self.client, &self.url, response, RESULT)?);
        }
        match &mut self.answer {
            Some(answer) => answer.read(into),
            None => Ok(0),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), FetchErrorKind> {
        self.request.extend_from_slice(bytes);
        Ok(())
    }
}
