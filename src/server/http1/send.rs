//! An answer on its way: the head in one piece, and with it the first piece of the body.

use std::cell::RefCell;
use std::future::poll_fn;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{io, mem};

use hyper::StatusCode;
use tokio::io::AsyncWriteExt as _;

use super::head::Persistence;
use super::ways::{Way, Ways};
use crate::server::body::Body;
use crate::server::reply::Reply;
use crate::server::timeout_stream::Patient;
use crate::server::transport::{Sender, poll_write_both};

/// Puts the head of an answer together in `head`, in place of what is there.
pub(super) fn write_head(head: &mut Vec<u8>, reply: &Reply, persistence: Persistence, now: Instant) {
    head.clear();
    match reply.status {
        StatusCode::OK => head.extend_from_slice(b"HTTP/1.1 200 OK\r\n"),
        StatusCode::NOT_MODIFIED => head.extend_from_slice(b"HTTP/1.1 304 Not Modified\r\n"),
        other => {
            let reason = other.canonical_reason().unwrap_or_default();
            head.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", other.as_str()).as_bytes());
        }
    }
    head.extend_from_slice(reply.header.lines().as_bytes());
    match persistence {
        Persistence::Keep => {}
        Persistence::KeepSaid => head.extend_from_slice(b"connection: keep-alive\r\n"),
        Persistence::Close => head.extend_from_slice(b"connection: close\r\n"),
    }
    write_end(head, now);
}

/// `Date` (RFC 9110 section 6.6.1), put into words once a second, and the empty line.
fn write_end(head: &mut Vec<u8>, now: Instant) {
    thread_local! {
        /// With the end of the second that they tell.
        static WORDS: RefCell<Option<(Instant, String)>> = const { RefCell::new(None) };
    }
    WORDS.with_borrow_mut(|words| {
        let known = words.take().filter(|(end, _)| now < *end);
        let (_, words) = words.insert(known.unwrap_or_else(|| {
            let date = SystemTime::now();
            let past = date.duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
            let end = now + Duration::from_secs(1) - Duration::from_nanos(past.into());
            (end, format!("date: {}\r\n\r\n", httpdate::fmt_http_date(date)))
        }));
        head.extend_from_slice(words.as_bytes());
    });
}

/// Sends an answer whose head is `head`.
///
/// # Errors
///
/// When the client does not take it, or a file cannot be read; then the connection must end, for the length was promised.
pub(super) async fn send(
    stream: &mut Patient,
    mut head: &[u8],
    body: &mut Body,
    ways: &Ways,
) -> io::Result<()> {
    let rest: &[u8] = match (body, stream.sender()) {
        (Body::Empty, _) => &[],
        (Body::Memory(bytes), _) => bytes,
        (Body::Disk(pieces), Sender::Program) => {
            while let Some(bytes) = pieces.next_copy().await? {
                write(stream, mem::take(&mut head), &bytes).await?;
            }
            &[]
        }
        (Body::Disk(pieces), sender) => {
            let is_tcp = matches!(sender, Sender::Tcp(_));
            let way = ways.choose(is_tcp, pieces.left());
            while let Some(piece) = pieces.next(way == Way::Reference).await? {
                ways.send(stream, mem::take(&mut head), &piece, way).await?;
            }
            &[]
        }
    };
    write(stream, head, rest).await?;
    stream.flush().await
}

async fn write(stream: &mut Patient, mut head: &[u8], mut bytes: &[u8]) -> io::Result<()> {
    poll_fn(|cx| poll_write_both(stream, cx, &mut head, &mut bytes)).await
}
