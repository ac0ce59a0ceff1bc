//! git's smart protocol over http and https: `GET info/refs`, then one POST per request.
//!
//! As in git (gitprotocol-http(5), http.followRedirects=initial), only the first request follows redirects, and the
//! others go to where it ended; a redirect from https to http is refused.

use std::io::{self, Read};

use ureq::http::Response;
use ureq::{Body, BodyReader};
use url::Url;

use super::super::error::FetchErrorKind;
use super::smart_transport::{RemoteStream, SmartTransport, Version};
use crate::config::Git;
use crate::net::{HttpClient, NetworkError, RootCertificates, host, redacted};
use crate::util::cancel::CancelFlag;
use crate::util::compression::{Coding, Effort};

/// Some hosts send their web pages to clients that do not identify as git.
const USER_AGENT: &str = concat!("git/2.0 (mirror ", env!("CARGO_PKG_VERSION"), ")");

const ADVERTISEMENT: &str = "application/x-git-upload-pack-advertisement";
const REQUEST: &str = "application/x-git-upload-pack-request";
const RESULT: &str = "application/x-git-upload-pack-result";
const REFS: &str = "/info/refs";

/// Asks for version 2 of the protocol; servers that do not know it ignore the field.
const VERSION_2: (&str, &str) = ("Git-Protocol", "version=2");

/// Requests of more bytes are compressed, as git's are: web servers limit what they accept, nginx to 1 MB by default.
const COMPRESS_ABOVE: usize = 1024;

/// How much is read of a response that is not the smart protocol.
const START: u64 = 256;

/// The smart protocol of one http(s) repository.
pub(crate) struct HttpTransport {
    client: HttpClient,
    /// The repository's URL.
    base: Url,
}

impl HttpTransport {
    pub(crate) fn new(
        url: &Url,
        git: &Git,
        roots: &RootCertificates,
        cancel: &CancelFlag,
    ) -> Result<Self, FetchErrorKind> {
        let mut base = url.clone();
        // These fail for URLs without a host only, and http URLs have one.
        let _ = base.set_username("").and_then(|()| base.set_password(None));
        base.set_path(url.path().trim_end_matches('/'));
        Ok(Self { client: HttpClient::new(url, git, roots, USER_AGENT, cancel)?, base })
    }
}

impl SmartTransport for HttpTransport {
    fn is_stateless(&self) -> bool {
        true
    }

    fn host(&self) -> String {
        host(&self.base)
    }

    fn open(&self) -> Result<Box<dyn RemoteStream>, FetchErrorKind> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{REFS}", url.path().trim_end_matches('/')));
        url.set_query(Some("service=git-upload-pack"));
        let (url, response) = self.client.get(&url, &[VERSION_2])?;
        let answer = Answer::of_smart_server(&self.client, &url, response)?;
        Ok(Box::new(HttpStream { client: self.client.clone(), base: repository_url(&url)?, answer }))
    }
}

/// The URL of the repository whose refs `url` lists.
fn repository_url(url: &Url) -> Result<Url, FetchErrorKind> {
    let Some(path) = url.path().strip_suffix(REFS) else {
        return Err(FetchErrorKind::NotGit { reason: format!("redirected to `{}`", redacted(url.as_str())) });
    };
    let mut base = url.clone();
    base.set_path(path);
    base.set_query(None);
    Ok(base)
}

/// A conversation: the repository's URL, after redirects, and the answer that is being read.
struct HttpStream {
    client: HttpClient,
    base: Url,
    answer: Answer,
}

impl RemoteStream for HttpStream {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, FetchErrorKind> {
        self.answer.read(&self.client, into)
    }

    fn write(&mut self, request: &[u8], version: Version) -> Result<(), FetchErrorKind> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/git-upload-pack", url.path().trim_end_matches('/')));
        let mut headers = vec![("Content-Type", REQUEST), ("Accept", RESULT)];
        headers.extend((version == Version::V2).then_some(VERSION_2));
        let compressed = (request.len() > COMPRESS_ABOVE).then(|| gzip(request).ok()).flatten();
        headers.extend(compressed.as_ref().map(|_| ("Content-Encoding", "gzip")));
        let response = self.client.post(&url, &headers, compressed.as_deref().unwrap_or(request))?;
        self.answer = Answer::new(&url, response)?;
        Ok(())
    }
}

/// The body of a response.
struct Answer {
    url: Url,
    body: BodyReader<'static>,
}

impl Answer {
    /// Requires status 200.
    fn new(url: &Url, response: Response<Body>) -> Result<Self, FetchErrorKind> {
        let status = response.status().as_u16();
        if status != 200 {
            return Err(NetworkError::Status { host: host(url), status }.into());
        }
        let content_type = media_type(&response);
        let body = response.into_body().into_reader();
        // Only web pages are refused by their type: git ignores it, and servers send others.
        match content_type.as_deref() {
            Some("text/html") => Err(not_smart(content_type.as_deref(), RESULT)),
            _ => Ok(Self { url: url.clone(), body }),
        }
    }

    /// Requires the content type by which git recognizes a smart server.
    fn of_smart_server(
        client: &HttpClient,
        url: &Url,
        response: Response<Body>,
    ) -> Result<Self, FetchErrorKind> {
        let content_type = media_type(&response);
        let mut answer = Self::new(url, response)?;
        if content_type.as_deref() == Some(ADVERTISEMENT) {
            return Ok(answer);
        }
        let mut start = Vec::new();
        let read = answer.body.by_ref().take(START).read_to_end(&mut start);
        read.map_err(|error| client.error(url, error.into(), true))?;
        match is_list_of_files(&start) {
            true => Err(FetchErrorKind::Dumb),
            false => Err(not_smart(content_type.as_deref(), ADVERTISEMENT)),
        }
    }

    fn read(&mut self, client: &HttpClient, into: &mut [u8]) -> Result<usize, FetchErrorKind> {
        let read = self.body.read(into);
        read.map_err(|error| client.error(&self.url, error.into(), true).into())
    }
}

fn gzip(request: &[u8]) -> io::Result<Vec<u8>> {
    Coding::Gzip.encode(Effort::Fast, request.len() as u64, &mut &*request, Vec::new())
}

/// The content type in lower case, without parameters.
fn media_type(response: &Response<Body>) -> Option<String> {
    let header = response.headers().get("content-type")?.to_str().ok()?;
    let essence = header.split(';').next().unwrap_or_default();
    Some(essence.trim().to_ascii_lowercase())
}

fn not_smart(content_type: Option<&str>, expected: &str) -> FetchErrorKind {
    let found = content_type.map_or_else(|| "none".to_owned(), |found| format!("`{found}`"));
    FetchErrorKind::NotGit { reason: format!("its content type is {found}, not `{expected}`") }
}

/// Whether it is the file that `git update-server-info` writes: ids and names of refs, separated by tabs.
fn is_list_of_files(start: &[u8]) -> bool {
    let first = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut fields = first.splitn(2, |byte| *byte == b'\t');
    let (id, name) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
    id.len() >= 40 && id.iter().all(u8::is_ascii_hexdigit) && name.starts_with(b"refs/")
}
