//! Reads an object as it arrives, for code that may block: an archive may be larger than what should be in memory.

use std::io::{self, Read};
use std::ops::Range;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::runtime::Handle;

use super::client::Bucket;
use super::error::{BucketError, BucketErrorKind};

/// The bytes of an object.
pub struct ObjectReader {
    stream: BoxStream<'static, Result<Bytes, BucketError>>,
    handle: Handle,
    /// How long the next bytes may take.
    limit: Duration,
    /// What has arrived and was not read yet.
    rest: Bytes,
}

impl Bucket {
    /// The bytes of an object, or a range of them.
    pub fn reader(&self, key: &str, range: Option<Range<u64>>) -> Result<ObjectReader, BucketError> {
        let (handle, limit) = self.runtime();
        let late = || {
            let reason = format!("it took longer than {limit:?}");
            self.error("read", key, BucketErrorKind::Unknown, reason)
        };
        let opened = handle.block_on(async { tokio::time::timeout(limit, self.stream(key, range)).await });
        let stream = opened.unwrap_or_else(|_| Err(late()))?;
        Ok(ObjectReader { stream, handle, limit, rest: Bytes::new() })
    }
}

impl Read for ObjectReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            let (stream, limit) = (&mut self.stream, self.limit);
            let next = self.handle.block_on(async { tokio::time::timeout(limit, stream.next()).await });
            match next {
                Ok(Some(Ok(bytes))) => self.rest = bytes,
                Ok(Some(Err(error))) => return Err(io::Error::other(error)),
                Ok(None) => return Ok(0),
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
        let count = into.len().min(self.rest.len());
        self.rest.copy_to_slice(&mut into[..count]);
        Ok(count)
    }
}
