//! An answer on its way: the head in one piece, and with it the first piece of the body.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::head::Persistence;
use crate::serve::body::Body;
use crate::serve::patience::Patient;
use crate::serve::reply::Reply;

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
pub(super) async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut Patient<S>,
    head: &[u8],
    mut body: Body,
) -> io::Result<()> {
    let first = body.next().await?.unwrap_or_default();
    send_both(stream, head, &first).await?;
    while let Some(piece) = body.next().await? {
        stream.write_all(&piece).await?;
    }
    stream.flush().await
}

/// At once, as far as the client takes it.
async fn send_both<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut Patient<S>,
    mut head: &[u8],
    mut body: &[u8],
) -> io::Result<()> {
    while !head.is_empty() && !body.is_empty() {
        let sent = stream
            .write_vectored(&[IoSlice::new(head), IoSlice::new(body)])
            .await?;
        if sent == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let of_head = sent.min(head.len());
        head = &head[of_head..];
        body = &body[sent - of_head..];
    }
    stream.write_all(head).await?;
    stream.write_all(body).await
}
