//! git's smart protocol over ssh: one `git-upload-pack` on the remote, its input and output as one stream.
//!
//! The host key must be in a known_hosts file: nobody watches the first connection, so there is no trust on first use.
//! russh is asynchronous; each connection drives it on a small runtime of its own, inside blocking calls.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use russh::client::{self, AuthResult, Handle};
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, load_secret_key};
use russh::{Channel, ChannelMsg, Preferred};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::super::error::FetchErrorKind;
use super::super::url::{GitUrl, SshUrl};
use super::known_hosts::{HostKeyCheck, KnownHosts};
use super::smart_transport::{RemoteStream, SmartTransport, Version};
use crate::config::{Credential, Git};
use crate::net::{NetworkError, POLL, TransferWatch, find_credential, read_secret, redacted};
use crate::util::cancel::CancelFlag;

/// How much the server may send before we read it: packs arrive in large pieces.
const WINDOW: u32 = 16 << 20;

/// How much of the remote's standard error is kept.
const MAX_STDERR: usize = 2000;

/// The smart protocol of one ssh repository.
pub(super) struct SshTransport {
    url: SshUrl,
    credential: Option<Credential>,
    connect_timeout: Duration,
    timeout: Duration,
    watch: TransferWatch,
}

impl SshTransport {
    pub(super) fn new(url: &SshUrl, git: &Git, cancel: &CancelFlag) -> Self {
        let covers =
            |prefix: &str| matches!(GitUrl::parse(prefix), Ok(GitUrl::Ssh(prefix)) if url.is_below(&prefix));
        Self {
            url: url.clone(),
            credential: find_credential(&git.credentials, covers).cloned(),
            connect_timeout: git.connect_timeout,
            timeout: git.timeout,
            watch: TransferWatch::new(git, cancel),
        }
    }

    async fn connect(&self) -> Result<(Handle<HostKeyCheck>, Channel<client::Msg>), FetchErrorKind> {
        let known_hosts = self.known_hosts()?;
        let stream = self.within(self.connect_timeout, self.tcp()).await??;
        let mut session = self.within(self.timeout, self.handshake(stream, known_hosts)).await??;
        self.within(self.timeout, self.log_in(&mut session)).await??;
        let channel = self.within(self.timeout, self.start_git(&session)).await??;
        Ok((session, channel))
    }

    async fn tcp(&self) -> Result<TcpStream, NetworkError> {
        let stream = TcpStream::connect((&*self.url.host, self.url.port)).await;
        let stream = stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        stream.map_err(|error| NetworkError::unreachable(self.host(), &error))
    }

    fn known_hosts(&self) -> Result<KnownHosts, FetchErrorKind> {
        let credential = self.credential.as_ref();
        match credential.and_then(|credential| credential.known_hosts.as_deref()) {
            Some(file) => Ok(KnownHosts::read(file, &self.url)?),
            None => Err(FetchErrorKind::NoKnownHosts {
                host: self.host(),
                scan: match self.url.port {
                    22 => self.url.host.clone(),
                    port => format!("-p {port} {}", self.url.host),
                },
            }),
        }
    }

    async fn handshake(
        &self,
        stream: TcpStream,
        known: KnownHosts,
    ) -> Result<Handle<HostKeyCheck>, FetchErrorKind> {
        let config = client::Config {
            preferred: Preferred { key: Cow::Owned(known.algorithms()), ..Preferred::DEFAULT },
            window_size: WINDOW,
            nodelay: true,
            ..client::Config::default()
        };
        let check = HostKeyCheck::new(known);
        let session = client::connect_stream(Arc::new(config), stream, check.clone()).await;
        session.map_err(|error| check.take_refusal().unwrap_or_else(|| self.interrupted(&error).into()))
    }

    async fn log_in(&self, session: &mut Handle<HostKeyCheck>) -> Result<(), NetworkError> {
        let Some(credential) = &self.credential else {
            return Err(self.denied("no credential"));
        };
        let user = match (&self.url.user, read_secret(credential.username.as_ref())?) {
            (Some(user), _) => user.clone(),
            (None, Some(user)) => user,
            (None, None) => "git".to_owned(),
        };
        if let Some(file) = &credential.private_key {
            let passphrase = read_secret(credential.passphrase.as_ref())?;
            let key = private_key(file, passphrase.as_deref())?;
            let hash = match key.algorithm().is_rsa() {
                true => self.rsa_hash(session).await?,
                false => None,
            };
            let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
            if self.is_accepted(session.authenticate_publickey(&user, key).await)? {
                return Ok(());
            }
        }
        if let Some(password) = read_secret(credential.password.as_ref())?
            && self.is_accepted(session.authenticate_password(&user, password).await)?
        {
            return Ok(());
        }
        Err(self.denied(&format!("as user `{user}`")))
    }

    /// The hash that the server prefers for RSA signatures; SHA-1 only if it supports no other.
    async fn rsa_hash(&self, session: &Handle<HostKeyCheck>) -> Result<Option<HashAlg>, NetworkError> {
        let best = session.best_supported_rsa_hash().await;
        let best = best.map_err(|error| self.interrupted(&error))?;
        Ok(best.unwrap_or(Some(HashAlg::Sha512)))
    }

    async fn start_git(&self, session: &Handle<HostKeyCheck>) -> Result<Channel<client::Msg>, NetworkError> {
        let command = format!("git-upload-pack {}", shell_quoted(&self.url.path));
        let start = async {
            let channel = session.channel_open_session().await?;
            channel.exec(true, command).await?;
            Ok(channel)
        };
        start.await.map_err(|error| self.interrupted(&error))
    }

    async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Result<T, NetworkError> {
        let host = self.host();
        watched(&self.watch, &host, limit, work).await
    }

    fn is_accepted(&self, result: Result<AuthResult, russh::Error>) -> Result<bool, NetworkError> {
        match result {
            Ok(result) => Ok(result.success()),
            // Servers disconnect after too many attempts.
            Err(russh::Error::Disconnect | russh::Error::HUP | russh::Error::RecvError) => Ok(false),
            Err(error) => Err(self.interrupted(&error)),
        }
    }

    fn denied(&self, reason: &str) -> NetworkError {
        let credential = self.credential.as_ref();
        NetworkError::Denied {
            host: self.host(),
            reason: reason.to_owned(),
            credential: credential.map(|credential| redacted(&credential.url)),
        }
    }

    fn interrupted(&self, error: &russh::Error) -> NetworkError {
        NetworkError::interrupted(self.host(), error)
    }
}

impl SmartTransport for SshTransport {
    fn is_stateless(&self) -> bool {
        false
    }

    fn host(&self) -> String {
        match self.url.port {
            22 => self.url.host.clone(),
            port => format!("{}:{port}", self.url.host),
        }
    }

    fn open(&self) -> Result<Box<dyn RemoteStream>, FetchErrorKind> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| NetworkError::unreachable(self.host(), &error))?;
        let connected = runtime.block_on(self.connect());
        let (session, channel) = match connected {
            Ok(connected) => connected,
            Err(error) => {
                // Dropping it would wait for a lookup of the host's name.
                runtime.shutdown_background();
                return Err(error);
            }
        };
        Ok(Box::new(SshStream {
            host: self.host(),
            timeout: self.timeout,
            watch: self.watch.clone(),
            unread: Bytes::new(),
            stderr: Vec::new(),
            has_failed: false,
            channel,
            _session: session,
            runtime,
        }))
    }
}

/// The channel of a running `git-upload-pack`.
struct SshStream {
    host: String,
    timeout: Duration,
    watch: TransferWatch,
    unread: Bytes,
    stderr: Vec<u8>,
    has_failed: bool,
    channel: Channel<client::Msg>,
    _session: Handle<HostKeyCheck>,
    /// Last, so that what runs on it is dropped before it.
    runtime: Runtime,
}

impl SshStream {
    /// The next message, or `None` at the end.
    fn next(&mut self) -> Result<Option<ChannelMsg>, NetworkError> {
        let next = watched(&self.watch, &self.host, self.timeout, self.channel.wait());
        let message = self.runtime.block_on(next)?;
        let size = match &message {
            Some(ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. }) => data.len(),
            _ => 0,
        };
        self.watch.record(Duration::ZERO, size).map_err(|stop| stop.into_error(self.host.clone()))?;
        Ok(message)
    }

    fn end(&self) -> Result<usize, FetchErrorKind> {
        let message = String::from_utf8_lossy(&self.stderr).trim().to_owned();
        match self.has_failed {
            true => Err(FetchErrorKind::Remote { message }),
            false => Ok(0),
        }
    }
}

impl RemoteStream for SshStream {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, FetchErrorKind> {
        while self.unread.is_empty() {
            match self.next()? {
                Some(ChannelMsg::Data { data }) => self.unread = data,
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

/// Waits for `work` for at most `limit`, and no longer than the transfer may go on.
async fn watched<T>(
    watch: &TransferWatch,
    host: &str,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Result<T, NetworkError> {
    let mut work = std::pin::pin!(work);
    let began = Instant::now();
    loop {
        let asked = Instant::now();
        let done = timeout(POLL, &mut work).await;
        watch.record(asked.elapsed(), 0).map_err(|stop| stop.into_error(host.to_owned()))?;
        if let Ok(done) = done {
            return Ok(done);
        }
        if began.elapsed() >= limit {
            return Err(NetworkError::Timeout { host: host.to_owned(), after: limit });
        }
    }
}

fn private_key(file: &Path, passphrase: Option<&str>) -> Result<PrivateKey, NetworkError> {
    load_secret_key(file, passphrase).map_err(|error| match error {
        russh::keys::Error::KeyIsEncrypted => {
            NetworkError::file(file, &"the key needs a passphrase (`passphrase_file`)")
        }
        error if passphrase.is_some() => {
            NetworkError::file(file, &format!("{error}; is the passphrase correct?"))
        }
        error => NetworkError::file(file, &error),
    })
}

/// One word for a POSIX shell, as git quotes the path.
fn shell_quoted(path: &str) -> String {
    format!("'{}'", path.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_stays_one_word_in_the_remote_shell() {
        assert_eq!(shell_quoted("/srv/it's; rm -rf/x.git"), r"'/srv/it'\''s; rm -rf/x.git'");
    }
}
