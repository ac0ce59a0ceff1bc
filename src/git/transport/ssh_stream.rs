//! The input and output of a `git-upload-pack` that runs on an ssh server.

use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use russh::client::{self, Handle};
use russh::{Channel, ChannelMsg};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::super::error::FetchErrorKind;
use super::known_hosts::HostKeyCheck;
use super::smart_transport::{RemoteStream, Version};
use crate::net::{NetworkError, POLL, TransferWatch};

/// How much of the remote's standard error is kept.
const MAX_STDERR: usize = 2000;

/// How much is quoted of output that is not git's, in bytes, and how long to wait for more of it.
const MAX_CHATTER: usize = 300;
const CHATTER_TIME: Duration = Duration::from_secs(1);

/// The channel of a running `git-upload-pack`.
pub(super) struct SshStream {
    host: String,
    timeout: Duration,
    watch: TransferWatch,
    unread: Bytes,
    stderr: Vec<u8>,
    has_failed: bool,
    channel: Channel<client::Msg>,
    _session: Handle<HostKeyCheck>,
    /// The last field, so that it is dropped after those that use it.
    runtime: Runtime,
}

impl SshStream {
    /// Waits for the first output, which must be git's.
    pub(super) fn begin(
        host: String,
        timeout: Duration,
        watch: TransferWatch,
        (session, channel): (Handle<HostKeyCheck>, Channel<client::Msg>),
        runtime: Runtime,
    ) -> Result<Self, FetchErrorKind> {
        let (unread, stderr, has_failed) = (Bytes::new(), Vec::new(), false);
        let mut stream =
            Self { host, timeout, watch, unread, stderr, has_failed, channel, _session: session, runtime };
        let mut output = Vec::new();
        loop {
            match is_git(&output) {
                Some(true) => break,
                Some(false) => return Err(stream.chatter(output)),
                None => {}
            }
            match stream.receive(timeout)? {
                Some(data) => output.extend_from_slice(&data),
                None if output.is_empty() => break,
                None => return Err(stream.chatter(output)),
            }
        }
        stream.unread = output.into();
        Ok(stream)
    }

    /// The error that quotes output before git's own, or instead of it.
    fn chatter(&mut self, mut output: Vec<u8>) -> FetchErrorKind {
        let began = Instant::now();
        while output.len() < MAX_CHATTER {
            match self.receive(CHATTER_TIME.saturating_sub(began.elapsed())) {
                Ok(Some(data)) => output.extend_from_slice(&data),
                Ok(None) | Err(_) => break,
            }
        }
        let output = String::from_utf8_lossy(&output);
        let lines = output.lines().take_while(|line| is_git(line.as_bytes()) != Some(true));
        let text: String = lines.collect::<Vec<_>>().join("\n").trim().chars().take(MAX_CHATTER).collect();
        FetchErrorKind::Chatter { text }
    }

    /// The next piece of the output, or `None` at its end.
    fn receive(&mut self, limit: Duration) -> Result<Option<Bytes>, FetchErrorKind> {
        loop {
            match self.next(limit)? {
                Some(ChannelMsg::Data { data }) => return Ok(Some(data)),
                Some(ChannelMsg::ExtendedData { data, .. }) => {
                    let room = MAX_STDERR.saturating_sub(self.stderr.len());
                    self.stderr.extend_from_slice(&data[..data.len().min(room)]);
                }
                // The exit status comes with or after the end of the output.
                Some(ChannelMsg::ExitStatus { exit_status }) => self.has_failed = exit_status != 0,
                Some(ChannelMsg::ExitSignal { .. } | ChannelMsg::Failure) => self.has_failed = true,
                Some(ChannelMsg::Close) | None => return self.end(),
                Some(_) => {}
            }
        }
    }

    fn next(&mut self, limit: Duration) -> Result<Option<ChannelMsg>, NetworkError> {
        let next = watched(&self.watch, &self.host, limit, self.channel.wait());
        let message = self.runtime.block_on(next)?;
        let size = match &message {
            Some(ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. }) => data.len(),
            _ => 0,
        };
        self.watch.record(Duration::ZERO, size).map_err(|stop| stop.into_error(self.host.clone()))?;
        Ok(message)
    }

    fn end(&self) -> Result<Option<Bytes>, FetchErrorKind> {
        let message = String::from_utf8_lossy(&self.stderr).trim().to_owned();
        match self.has_failed {
            true => Err(FetchErrorKind::Remote { message }),
            false => Ok(None),
        }
    }
}

impl RemoteStream for SshStream {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, FetchErrorKind> {
        while self.unread.is_empty() {
            match self.receive(self.timeout)? {
                Some(data) => self.unread = data,
                None => return Ok(0),
            }
        }
        let count = into.len().min(self.unread.len());
        self.unread.copy_to_slice(&mut into[..count]);
        Ok(count)
    }

    fn write(&mut self, bytes: &[u8], _: Version) -> Result<(), FetchErrorKind> {
        let send = self.channel.data_bytes(Bytes::copy_from_slice(bytes));
        let sent = self.runtime.block_on(watched(&self.watch, &self.host, self.timeout, send))?;
        sent.map_err(|error| NetworkError::interrupted(&*self.host, &error).into())
    }
}

/// Whether output begins like git's: with the length of a packet in hexadecimal digits (gitprotocol-common(5)), then an object
/// id or a keyword. `None` if it is too short to tell.
fn is_git(output: &[u8]) -> Option<bool> {
    let (length, rest) = output.split_at(output.len().min(4));
    let (word, _) = rest.split_at(rest.len().min(4));
    if !length.iter().all(u8::is_ascii_hexdigit) {
        return Some(false);
    }
    match (length.len(), word.len()) {
        (4, _) if length == b"0000" => Some(true),
        (4, 4) => Some(word.iter().all(u8::is_ascii_hexdigit) || matches!(word, b"vers" | b"ERR " | b"shal")),
        _ => None,
    }
}

/// Waits for `work`, at most for `limit` and until `watch` ends the transfer.
pub(super) async fn watched<T>(
    watch: &TransferWatch,
    host: &str,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Result<T, NetworkError> {
    let mut work = std::pin::pin!(work);
    let began = Instant::now();
    loop {
        let asked = Instant::now();
        let done = timeout(POLL.min(limit), &mut work).await;
        watch.record(asked.elapsed(), 0).map_err(|stop| stop.into_error(host.to_owned()))?;
        if let Ok(done) = done {
            return Ok(done);
        }
        if began.elapsed() >= limit {
            return Err(NetworkError::Timeout { host: host.to_owned(), after: limit });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_of_a_shell_is_told_from_git() {
        for (output, expected) in [
            ("00a1d670460b4b4aece5915caf5c68d12f560a9fe3e4 HEAD", Some(true)),
            ("0000", Some(true)),
            ("000eversion 1\n", Some(true)),
            ("0024ERR access denied", Some(true)),
            ("welcome", Some(false)),
            ("\nwelcome", Some(false)),
            ("w", Some(false)),
            ("face the music", Some(false)),
            ("2026-11-30", Some(false)),
            ("", None),
            ("00a1", None),
            ("face", None),
        ] {
            assert_eq!(is_git(output.as_bytes()), expected, "{output}");
        }
    }
}
