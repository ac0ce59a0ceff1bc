//! The packets of git's protocols (gitprotocol-common(5)), read from a transport and built for it.

use std::io::{self, BufReader, Read};

use gix_packetline::PacketLineRef;
use gix_packetline::blocking_io::{StreamingPeekableIter, encode};

use super::super::error::FetchErrorKind;
use super::super::transport::RemoteStream;
use crate::net::NetworkError;
use crate::util::cancel::CancelFlag;

/// The packets of one answer. An `ERR` packet is an error with the server's text.
pub(super) struct Packets<'a> {
    lines: StreamingPeekableIter<BufReader<Incoming<'a>>>,
    host: &'a str,
}

/// The bytes of one answer. Its errors are [`FetchErrorKind`]s, wrapped.
struct Incoming<'a> {
    stream: &'a mut dyn RemoteStream,
    cancel: &'a CancelFlag,
    left: usize,
    limit: usize,
}

impl Read for Incoming<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut read = || {
            if self.cancel.is_set() {
                return Err(FetchErrorKind::Cancelled);
            }
            let count = self.stream.read(into)?;
            let too_long = FetchErrorKind::RefsTooLong { limit: self.limit };
            self.left = self.left.checked_sub(count).ok_or(too_long)?;
            Ok(count)
        };
        read().map_err(io::Error::other)
    }
}

impl<'a> Packets<'a> {
    /// The packets that `host` sends next.
    pub(super) fn new(stream: &'a mut dyn RemoteStream, host: &'a str, cancel: &'a CancelFlag) -> Self {
        Self::with_limit(stream, host, cancel, usize::MAX)
    }

    /// The same for a list of refs of at most `limit` bytes.
    pub(super) fn with_limit(
        stream: &'a mut dyn RemoteStream,
        host: &'a str,
        cancel: &'a CancelFlag,
        limit: usize,
    ) -> Self {
        let incoming = Incoming { stream, cancel, left: limit, limit };
        let mut lines = StreamingPeekableIter::new(BufReader::new(incoming), &[], false);
        lines.fail_on_err_lines(true);
        Self { lines, host }
    }

    pub(super) fn next(&mut self) -> Result<PacketLineRef<'_>, FetchErrorKind> {
        match self.lines.read_line() {
            Some(Ok(Ok(packet))) => Ok(packet),
            Some(Ok(Err(error))) => Err(FetchErrorKind::NotGit { reason: error.to_string() }),
            Some(Err(error)) => Err(kind_of(error, self.host)),
            None => Err(ended_early(self.host)),
        }
    }
}

fn kind_of(error: io::Error, host: &str) -> FetchErrorKind {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return ended_early(host);
    }
    let text = error.to_string();
    let Some(inner) = error.into_inner() else {
        return NetworkError::interrupted(host, &text).into();
    };
    match inner.downcast::<FetchErrorKind>() {
        Ok(kind) => *kind,
        // What remains is an `ERR` packet.
        Err(said) => FetchErrorKind::Remote { message: said.to_string().trim().to_owned() },
    }
}

fn ended_early(host: &str) -> FetchErrorKind {
    NetworkError::interrupted(host, &"the response ended too early").into()
}

/// A request, packet by packet.
#[derive(Default)]
pub(super) struct Request(Vec<u8>);

impl Request {
    /// Adds a line. The lines of this program are far below the 64 KiB that a packet may have.
    pub(super) fn line(&mut self, text: &str) -> &mut Self {
        // Writing to memory cannot fail otherwise.
        let _ = encode::text_to_write(text.as_bytes(), &mut self.0);
        self
    }

    pub(super) fn delimiter(&mut self) -> &mut Self {
        let _ = encode::delim_to_write(&mut self.0);
        self
    }

    pub(super) fn flush(&mut self) -> &mut Self {
        let _ = encode::flush_to_write(&mut self.0);
        self
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}
