//! git's smart protocol over http and https: `GET info/refs`, then one POST per round.
//!
//! As in git (gitprotocol-http(5), http.followRedirects=initial), only the first request follows redirects, and the
//! others go to where it ended; a redirect from https to http is refused.

use std::io::Read;
use std::sync::{Mutex, PoisonError};

use git2::transport::Service;
use ureq::http::Response;
use ureq::{Body, BodyReader};
use url::Url;

use super::super::error::FetchErrorKind;
use super::smart_transport::{RemoteStream, SmartTransport};
use crate::config::Git;
use crate::net::{HttpClient, NetworkError, RootCertificates, host, redacted};
use crate::util::cancel::CancelFlag;

/// Some hosts send their web pages to clients that do not identify as git.
const USER_AGENT: &str = concat!("git/2.0 (mirror ", env!("CARGO_PKG_VERSION"), ")");

const ADVERTISEMENT: &str = "application/x-git-upload-pack-advertisement";
const REQUEST: &str = "application/x-git-upload-pack-request";
const RESULT: &str = "application/x-git-upload-pack-result";
const REFS: &str = "/info/refs";

/// The smart protocol of one http(s) repository.
pub(super) struct HttpTransport {
    client: HttpClient,
    /// The repository's URL, after redirects.
    base: Mutex<Url>,
}

impl HttpTransport {
    pub(super) fn new(
        url: &Url,
        git: &Git,
        roots: &RootCertificates,
        cancel: &CancelFlag,
    ) -> Result<Self, FetchErrorKind> {
        let mut base = url.clone();
        // These fail for URLs without a host only, and http URLs have one.
        let _ = base.set_username("").and_then(|()| base.set_password(None));
        base.set_path(base.path().trim_end_matches('/').to_owned().as_str());
        Ok(Self { client: HttpClient::new(url, git, roots, USER_AGENT, cancel)?, base: Mutex::new(base) })
    }

    /// Requests the refs and remembers where redirects led.
    fn advertisement(&self) -> Result<Box<dyn RemoteStream>, FetchErrorKind> {
        let mut url = self.base();
        url.set_path(&format!("{}{REFS}", url.path().trim_end_matches('/')));
        url.set_query(Some("service=git-upload-pack"));
        let (url, response) = self.client.get(&url)?;
        let body = ResponseStream::new(&self.client, &url, response, ADVERTISEMENT)?;
        self.set_base(url)?;
        Ok(Box::new(body))
    }

    fn set_base(&self, refs: Url) -> Result<(), FetchErrorKind> {
        let Some(path) = refs.path().strip_suffix(REFS).map(str::to_owned) else {
            return Err(FetchErrorKind::NotGit {
                reason: format!("redirected to `{}`", redacted(refs.as_str())),
            });
        };
        let mut base = refs;
        base.set_path(&path);
        base.set_query(None);
        *self.base.lock().unwrap_or_else(PoisonError::into_inner) = base;
        Ok(())
    }

    fn base(&self) -> Url {
        self.base.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl SmartTransport for HttpTransport {
    fn is_stateless(&self) -> bool {
        true
    }

    fn host(&self) -> String {
        host(&self.base())
    }

    fn open(&self, service: Service) -> Result<Box<dyn RemoteStream>, FetchErrorKind> {
        if service == Service::UploadPackLs {
            return self.advertisement();
        }
        let mut url = self.base();
        url.set_path(&format!("{}/git-upload-pack", url.path().trim_end_matches('/')));
        Ok(Box::new(RpcStream { client: self.client.clone(), url, request: Vec::new(), response: None }))
    }
}

/// The body of a response.
struct ResponseStream {
    client: HttpClient,
    url: Url,
    body: BodyReader<'static>,
}

impl ResponseStream {
    /// Requires status 200 and the content type that the smart protocol prescribes.
    fn new(
        client: &HttpClient,
        url: &Url,
        response: Response<Body>,
        content_type: &str,
    ) -> Result<Self, FetchErrorKind> {
        let status = response.status().as_u16();
        if status != 200 {
            let host = host(url);
            return Err(NetworkError::Status { host, status }.into());
        }
        let header = response.headers().get("content-type");
        let header = header.and_then(|header| header.to_str().ok());
        if header != Some(content_type) {
            let header = header.map_or_else(|| "none".to_owned(), |header| format!("`{header}`"));
            return Err(FetchErrorKind::NotGit {
                reason: format!("its content type is {header}, not `{content_type}`"),
            });
        }
        Ok(Self { client: client.clone(), url: url.clone(), body: response.into_body().into_reader() })
    }
}

impl RemoteStream for ResponseStream {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, FetchErrorKind> {
        let read = self.body.read(into);
        read.map_err(|error| self.client.error(&self.url, error.into(), true).into())
    }

    fn write(&mut self, _: &[u8]) -> Result<(), FetchErrorKind> {
        Err(FetchErrorKind::NotGit { reason: "the advertisement takes no requests".into() })
    }
}

/// One POST: collects what libgit2 writes, and sends it when the response is first read.
struct RpcStream {
    client: HttpClient,
    url: Url,
    request: Vec<u8>,
    response: Option<ResponseStream>,
}

impl RemoteStream for RpcStream {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, FetchErrorKind> {
        if let Some(response) = &mut self.response {
            return response.read(into);
        }
        let response = self.client.post(&self.url, REQUEST, &self.request)?;
        let response = ResponseStream::new(&self.client, &self.url, response, RESULT)?;
        self.response.insert(response).read(into)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), FetchErrorKind> {
        self.request.extend_from_slice(bytes);
        Ok(())
    }
}
