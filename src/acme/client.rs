//! instant-acme's HTTP over the client that everything else uses, so that certificates, proxies and time limits are the same.

use std::io::Read as _;
use std::pin::Pin;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use ureq::http::Request;
use url::Url;

use crate::config::Git;
use crate::net::{self, NetworkError, RootCertificates, USER_AGENT};
use crate::util::cancel::CancelFlag;

/// A larger answer is none of an ACME server.
const MAX_ANSWER: u64 = 1 << 20;

/// Blocks: orders run on a thread of their own.
pub(super) struct Client(net::HttpClient);

impl Client {
    pub(super) fn new(directory: &Url, git: &Git, cancel: &CancelFlag) -> Result<Self, NetworkError> {
        // Neither limit is for a client of several requests, which are bounded one by one.
        let git = Git { total_timeout: std::time::Duration::MAX, min_pace: 0, ..git.clone() };
        let roots = RootCertificates::new(git.ca_file.clone());
        Ok(Self(net::HttpClient::new(directory, &git, &roots, USER_AGENT, cancel)?))
    }

    fn send(&self, request: Request<&[u8]>) -> Result<BytesResponse, Error> {
        let (url, response) = self.0.exchange(request).map_err(other)?;
        let (parts, body) = response.into_parts();
        let mut bytes = Vec::new();
        let read = body.into_reader().take(MAX_ANSWER).read_to_end(&mut bytes);
        read.map_err(|error| other(self.0.error(&url, error.into(), true)))?;
        Ok(BytesResponse { parts, body: Box::new(Bytes::from(bytes)) })
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = Self(self.0.clone());
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            parts.headers.insert("User-Agent", USER_AGENT.parse().map_err(other)?);
            let body = body.collect().await.map_err(other)?.to_bytes();
            client.send(Request::from_parts(parts, &body))
        })
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Other(Box::new(error))
}
