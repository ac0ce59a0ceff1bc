//! Archives that are objects in a bucket: where a client is redirected to, or the bytes as they arrive.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::anyhow;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::BoxStream;
use percent_encoding::utf8_percent_encode;
use sha2::Digest as _;
use tokio::time::timeout;

use super::body::OpenError;
use super::connection_limits::DownloadPermit;
use super::integrity::Integrity;
use super::router::RESERVED;
use crate::bucket::{Bucket, BucketError, BucketErrorKind};
use crate::config::Redirect;
use crate::util::digest::Sha256;

/// How long a signed URL is valid: a client follows a redirect at once, but its clock and its queue are its own.
const SIGNATURE: Duration = Duration::from_secs(15 * 60);

/// How long a client waits for the first byte from the bucket before it gets a 503.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// The archives of one repository in a bucket.
pub struct ArchiveBucket {
    bucket: Bucket,
    redirect: Redirect,
}

/// One object.
#[derive(Clone)]
pub struct StoredObject {
    archives: Arc<ArchiveBucket>,
    pub(super) key: Arc<str>,
}

impl ArchiveBucket {
    /// How clients get archives is `redirect`, but those of a private repository never at a URL that needs no credentials.
    pub fn new(bucket: Bucket, redirect: &Redirect, is_private: bool) -> Arc<Self> {
        let redirect = match redirect {
            Redirect::To(_) if is_private => Redirect::Never,
            redirect => redirect.clone(),
        };
        Arc::new(Self { bucket, redirect })
    }

    /// The object with this key.
    pub fn object(self: &Arc<Self>, key: &str) -> StoredObject {
        StoredObject { archives: Arc::clone(self), key: key.into() }
    }
}

impl StoredObject {
    /// Where clients get the object; `None` if they get it here.
    pub(super) async fn redirect(&self) -> Result<Option<String>, OpenError> {
        match &self.archives.redirect {
            Redirect::Never => Ok(None),
            Redirect::To(base) => {
                let segments: Vec<_> =
                    self.key.split('/').map(|part| utf8_percent_encode(part, RESERVED).to_string()).collect();
                Ok(Some(format!("{base}{}", segments.join("/"))))
            }
            Redirect::Presigned => {
                let signed = self.archives.bucket.presign(&self.key, SIGNATURE).await;
                signed.map(|url| Some(url.into())).map_err(open_error)
            }
        }
    }

    /// Begins to read `part` of the object.
    pub(super) async fn open(
        &self,
        integrity: &Integrity,
        part: Range<u64>,
        permit: DownloadPermit,
    ) -> Result<ObjectBody, OpenError> {
        let is_whole = part == (0..integrity.size());
        let left = part.end - part.start;
        let stream = self.archives.bucket.stream(&self.key, (!is_whole).then_some(part));
        let stream = timeout(OPEN_TIMEOUT, stream).await;
        let stream = stream.map_err(|_| OpenError::Unreachable(anyhow!("the bucket does not answer")))?;
        let check = is_whole.then(|| (sha2::Sha256::new(), integrity.sha256()));
        Ok(ObjectBody {
            stream: stream.map_err(open_error)?,
            missing: left,
            left,
            check,
            held: None,
            _permit: permit,
        })
    }
}

fn open_error(error: BucketError) -> OpenError {
    match error.kind {
        BucketErrorKind::NotFound => OpenError::Damaged(error.into()),
        _ => OpenError::Unreachable(error.into()),
    }
}

/// An object that is being sent. Its last piece is held back until all of it has the published digest, so that a client
/// never takes damaged bytes for whole.
pub(super) struct ObjectBody {
    stream: BoxStream<'static, Result<Bytes, BucketError>>,
    /// Bytes that the bucket is still to send.
    missing: u64,
    /// Bytes that the client is still to get.
    pub(super) left: u64,
    /// `None` for a part: the digest is that of the whole.
    check: Option<(sha2::Sha256, Sha256)>,
    held: Option<Bytes>,
    _permit: DownloadPermit,
}

impl ObjectBody {
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        loop {
            let piece = match ready!(Pin::new(&mut self.stream).poll_next(cx)) {
                Some(Ok(piece)) if piece.is_empty() => continue,
                Some(Ok(piece)) => piece,
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(self.last()),
            };
            if let Some((hasher, _)) = &mut self.check {
                hasher.update(&piece);
            }
            let missing = self.missing.checked_sub(piece.len() as u64);
            self.missing = match missing {
                Some(missing) => missing,
                None => return Poll::Ready(Err(damaged("the object has more bytes than were published"))),
            };
            if let Some(piece) = self.held.replace(piece) {
                return Poll::Ready(Ok(piece));
            }
        }
    }

    fn last(&mut self) -> io::Result<Bytes> {
        let is_damaged = self.check.take().is_some_and(|(hasher, sha256)| hasher.finalize()[..] != sha256.0);
        match self.held.take() {
            _ if is_damaged => Err(damaged("the object does not have the published digest")),
            Some(piece) if self.missing == 0 => Ok(piece),
            _ => Err(damaged("the object has fewer bytes than were published")),
        }
    }
}

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
