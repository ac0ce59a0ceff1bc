//! An answer on its way: the head in one piece, and with it the first piece of the body.

use std::cell::RefCell;
use std::future::poll_fn;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{io, mem};

use hyper::body::Body as _;
use tokio::io::AsyncWriteExt as _;

use super::head::Persistence;
use super::ways::{Way, Ways};
use crate::serve::body::{Body, Chunk};
use crate::serve::patience::Patient;
use crate::serve::reply::Reply;
use crate::serve::transport::{Sender, Transport, poll_write_both};

/// Puts the head of an answer together in `head`, in place of what is there.
pub(super) fn write_head(head: &mut Vec<u8>, reply: &Reply, persistence: Persistence) {
    let status = reply.status;
    head.clear();
    for part in [
        "HTTP/1.1 ",
        status.as_str(),
        " ",
        status.canonical_reason().unwrap_or_default(),
        "\r\n",
        reply.header.lines(),
        match persistence {
            Persistence::Keep => "",
            Persistence::KeepSaid => "connection: keep-alive\r\n",
            Persistence::Close => "connection: close\r\n",
        },
        "date: ",
    ] {
        head.extend_from_slice(part.as_bytes());
    }
    write_date(head);
    head.extend_from_slice(b"\r\n\r\n");
}

/// What `Date` says (RFC 9110 section 6.6.1), put into words once a second.
fn write_date(head: &mut Vec<u8>) {
    thread_local! {
        static WORDS: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    WORDS.with_borrow_mut(|(of, words)| {
        if *of != second || words.is_empty() {
            *words = httpdate::fmt_http_date(now);
            *of = second;
        }
        head.extend_from_slice(words.as_bytes());
    });
}

/// Sends an answer whose head is `head`.
///
/// # Errors
///
/// When the client does not take it, or a file cannot be read; then the connection must end, for the length was promised.
pub(super) async fn send<S: Transport>(
    stream: &mut Patient<S>,
    mut head: &[u8],
    mut body: Body,
    ways: &Ways,
) -> io::Result<()> {
    if matches!(stream.sender(), Sender::Program) {
        while let Some(bytes) = body.next_copy().await? {
            write(stream, mem::take(&mut head), &bytes).await?;
        }
    } else {
        let is_tcp = matches!(stream.sender(), Sender::Tcp(_));
        let way = ways.choose(is_tcp, body.size_hint().lower());
        while let Some(chunk) = body.next(way == Way::Reference).await? {
            match chunk {
                Chunk::Memory(bytes) => write(stream, mem::take(&mut head), &bytes).await?,
                Chunk::Disk(piece) => ways.send(stream, mem::take(&mut head), &piece, way).await?,
            }
        }
    }
    write(stream, head, &[]).await?;
    stream.flush().await
}

async fn write<S: Transport>(stream: &mut Patient<S>, mut head: &[u8], mut bytes: &[u8]) -> io::Result<()> {
    poll_fn(|cx| poll_write_both(stream, cx, &mut head, &mut bytes)).await
}
