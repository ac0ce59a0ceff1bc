//! object_store's HTTP over the client that everything else uses, so that certificates, proxies, time limits and cancellation
//! are the same. Each request runs on a thread for blocking work; its response arrives in pieces, of which few are in memory.

use std::io::Read as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::{Body, Frame};
use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use ureq::http::{Request, Response};
use url::Url;

use crate::config::Git;
use crate::net::{self, NetworkError, RootCertificates, USER_AGENT};
use crate::util::cancel::CancelFlag;

/// In bytes.
const PIECE: usize = 64 << 10;

/// How many pieces of a response wait for their reader.
const PIECES: usize = 4;

/// Makes the clients of one bucket, which share connections.
#[derive(Clone)]
pub(super) struct Transport(net::HttpClient);

impl Transport {
    /// `url` is that of the server.
    pub(super) fn new(url: &Url, git: &Git, cancel: &CancelFlag) -> Result<Self, NetworkError> {
        // Neither limit is for a connection that lives as long as the program: its requests are bounded one by one.
        let git = Git { total_timeout: Duration::MAX, min_pace: 0, ..git.clone() };
        let roots = RootCertificates::new(git.ca_file.clone());
        Ok(Self(net::HttpClient::new(url, &git, &roots, USER_AGENT, cancel)?))
    }

    /// Sends a PUT request to a URL that needs no credentials; blocks. Returns the status.
    pub(super) fn put(
        &self,
        url: &Url,
        (name, value): (&HeaderName, HeaderValue),
        body: &[u8],
    ) -> Result<StatusCode, NetworkError> {
        let request =
            Request::put(url.as_str()).header(CONTENT_LENGTH, body.len()).header(name, value).body(body);
        let request = request.map_err(|error| NetworkError::unreachable(url.as_str(), &error))?;
        Ok(self.0.exchange(request)?.1.status())
    }

    fn send(&self, request: &Request<Bytes>, head: Head) {
        let bytes = Request::builder().method(request.method()).uri(request.uri());
        let mut bytes = match bytes.body(&request.body()[..]) {
            Ok(bytes) => bytes,
            Err(error) => return head.fail(HttpError::new(HttpErrorKind::Unknown, error)),
        };
        bytes.headers_mut().clone_from(request.headers());
        let (url, response) = match self.0.exchange(bytes) {
            Ok(answered) => answered,
            Err(error) => return head.fail(http_error(error)),
        };
        let (parts, body) = response.into_parts();
        let Some(sender) = head.answer(parts) else { return };
        let mut reader = body.into_reader();
        loop {
            let mut piece = vec![0; PIECE];
            let read = reader.read(&mut piece);
            let read = read.map_err(|error| http_error(self.0.error(&url, error.into(), true)));
            let piece = match read {
                Ok(0) => return,
                Ok(length) => {
                    piece.truncate(length);
                    Ok(piece.into())
                }
                Err(error) => Err(error),
            };
            let is_last = piece.is_err();
            // A reader that needs no more drops the receiver.
            if sender.blocking_send(piece).is_err() || is_last {
                return;
            }
        }
    }
}

/// Where the head of a response goes.
struct Head(tokio::sync::oneshot::Sender<Result<HttpResponse, HttpError>>);

impl Head {
    fn fail(self, error: HttpError) {
        let _ = self.0.send(Err(error));
    }

    /// Returns where the pieces of the body go, if somebody waits for them.
    fn answer(self, parts: ureq::http::response::Parts) -> Option<mpsc::Sender<Result<Bytes, HttpError>>> {
        let (sender, pieces) = mpsc::channel(PIECES);
        let body = HttpResponseBody::new(Pieces(pieces));
        self.0.send(Ok(Response::from_parts(parts, body))).ok().map(|()| sender)
    }
}

#[async_trait]
impl HttpService for Transport {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let request = Request::from_parts(parts, body.collect().await?.to_bytes());
        let (head, answered) = tokio::sync::oneshot::channel();
        let transport = self.clone();
        spawn_blocking(move || transport.send(&request, Head(head)));
        answered.await.unwrap_or_else(|error| Err(HttpError::new(HttpErrorKind::Unknown, error)))
    }
}

impl HttpConnector for Transport {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

/// Only a request that cannot have arrived is repeated whatever it does.
fn http_error(error: NetworkError) -> HttpError {
    let kind = match &error {
        NetworkError::Unreachable { .. } | NetworkError::Proxy { .. } => HttpErrorKind::Connect,
        NetworkError::Timeout { .. } => HttpErrorKind::Timeout,
        NetworkError::Interrupted { .. } => HttpErrorKind::Interrupted,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}

/// The body of a response.
struct Pieces(mpsc::Receiver<Result<Bytes, HttpError>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        Poll::Ready(ready!(self.0.poll_recv(context)).map(|piece| piece.map(Frame::data)))
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Transport")
    }
}
