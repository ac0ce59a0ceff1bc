//! git's smart protocol over ssh: one `git-upload-pack` on the remote, its input and output as one stream.
//!
//! The host key must be in a known_hosts file; there is no trust on first use, because nobody watches the first
//! use. russh is asynchronous: each connection drives it on a small runtime of its own, inside blocking calls.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use git2::transport::Service;
use russh::client::{self, AuthResult, Handle};
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, load_secret_key};
use russh::{Channel, ChannelMsg, Preferred};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::super::credential::{Credential, Secret, matching};
use super::super::error::FetchErrorKind;
use super::super::url::{GitUrl, SshUrl};
use super::known_hosts::{HostKeyCheck, KnownHosts};
use super::{Settings, SmartTransport, Stream};

/// What one `read` may leave unread before the server has to wait: packs come in large pieces.
const WINDOW: u32 = 16 << 20;

/// How much of the remote's error output is kept.
const MAX_SAID: usize = 2000;

/// The smart protocol of one repository behind ssh.
pub(in super::super) struct Ssh {
    address: SshUrl,
    credential: Option<Credential>,
    connect_timeout: Duration,
    timeout: Duration,
}

impl Ssh {
    pub(super) fn new(address: &SshUrl, settings: &Settings) -> Self {
        Self {
            address: address.clone(),
            credential: matching(&settings.credentials, &GitUrl::Ssh(address.clone())).cloned(),
            connect_timeout: settings.connect_timeout,
            timeout: settings.timeout,
        }
    }

    async fn connect(&self) -> Result<(Handle<HostKeyCheck>, Channel<client::Msg>), FetchErrorKind> {
        let known_hosts = self.known_hosts()?;
        let stream = self.within(self.connect_timeout, self.tcp()).await??;
        let mut session = self
            .within(self.timeout, self.handshake(stream, known_hosts))
            .await??;
        self.within(self.timeout, self.log_in(&mut session)).await??;
        let channel = self.within(self.timeout, self.start_git(&session)).await??;
        Ok((session, channel))
    }

    async fn tcp(&self) -> Result<TcpStream, FetchErrorKind> {
        let unreachable = |error: std::io::Error| FetchErrorKind::Unreachable {
            host: self.host(),
            reason: error.to_string(),
        };
        let stream = TcpStream::connect((&*self.address.host, self.address.port))
            .await
            .map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        Ok(stream)
    }

    fn known_hosts(&self) -> Result<KnownHosts, FetchErrorKind> {
        let credential = self.credential.as_ref();
        match credential.and_then(|credential| credential.known_hosts_file.as_deref()) {
            Some(file) => KnownHosts::read(file, &self.address),
            None => Err(FetchErrorKind::NoKnownHosts {
                host: self.host(),
                scan: match self.address.port {
                    22 => self.address.host.clone(),
                    port => format!("-p {port} {}", self.address.host),
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
            preferred: Preferred {
                key: Cow::Owned(known.algorithms()),
                ..Preferred::DEFAULT
            },
            window_size: WINDOW,
            nodelay: true,
            ..client::Config::default()
        };
        let check = HostKeyCheck::new(known);
        let connected = client::connect_stream(Arc::new(config), stream, check.clone()).await;
        connected.map_err(|error| check.refused().unwrap_or_else(|| self.interrupted(&error)))
    }

    async fn log_in(&self, session: &mut Handle<HostKeyCheck>) -> Result<(), FetchErrorKind> {
        let Some(credential) = &self.credential else {
            return Err(self.denied("nothing to log in with"));
        };
        let user = match (&self.address.user, credential.username()?) {
            (Some(user), _) => user.clone(),
            (None, Some(user)) => user,
            (None, None) => "git".to_owned(),
        };
        if let Some(file) = &credential.private_key_file {
            let key = private_key(file, credential.passphrase()?.as_ref())?;
            let hash = if key.algorithm().is_rsa() {
                self.rsa_hash(session).await?
            } else {
                None
            };
            let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
            if self.accepted(session.authenticate_publickey(&user, key).await)? {
                return Ok(());
            }
        }
        if let Some(password) = credential.password()?
            && self.accepted(session.authenticate_password(&user, password.expose()).await)?
        {
            return Ok(());
        }
        Err(self.denied(&format!("as user `{user}`")))
    }

    /// RSA keys sign with the hash that the server asks for; SHA-1 only if it knows no other.
    async fn rsa_hash(&self, session: &Handle<HostKeyCheck>) -> Result<Option<HashAlg>, FetchErrorKind> {
        let best = session
            .best_supported_rsa_hash()
            .await
            .map_err(|error| self.interrupted(&error))?;
        Ok(best.unwrap_or(Some(HashAlg::Sha512)))
    }

    async fn start_git(
        &self,
        session: &Handle<HostKeyCheck>,
    ) -> Result<Channel<client::Msg>, FetchErrorKind> {
        let channel = session
            .channel_open_session()
            .await
            .map_err(|error| self.interrupted(&error))?;
        let command = format!("git-upload-pack {}", quoted(&self.address.path));
        channel
            .exec(true, command)
            .await
            .map_err(|error| self.interrupted(&error))?;
        Ok(channel)
    }

    async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Result<T, FetchErrorKind> {
        timeout(limit, work).await.map_err(|_| FetchErrorKind::Timeout {
            host: self.host(),
            after: limit,
        })
    }

    fn accepted(&self, result: Result<AuthResult, russh::Error>) -> Result<bool, FetchErrorKind> {
        match result {
            Ok(result) => Ok(result.success()),
            // Servers hang up after too many attempts.
            Err(russh::Error::Disconnect | russh::Error::HUP | russh::Error::RecvError) => Ok(false),
            Err(error) => Err(self.interrupted(&error)),
        }
    }

    fn denied(&self, reason: &str) -> FetchErrorKind {
        let credential = self
            .credential
            .as_ref()
            .map(|credential| credential.prefix().to_owned());
        FetchErrorKind::Denied {
            host: self.host(),
            reason: reason.to_owned(),
            credential,
        }
    }

    fn interrupted(&self, error: &russh::Error) -> FetchErrorKind {
        FetchErrorKind::Interrupted {
            host: self.host(),
            reason: error.to_string(),
        }
    }
}

impl SmartTransport for Ssh {
    fn stateless(&self) -> bool {
        false
    }

    fn host(&self) -> String {
        host_and_port(&self.address.host, self.address.port)
    }

    fn open(&self, _: Service) -> Result<Box<dyn Stream>, FetchErrorKind> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| FetchErrorKind::Unreachable {
                host: self.host(),
                reason: error.to_string(),
            })?;
        let (session, channel) = runtime.block_on(self.connect())?;
        Ok(Box::new(SshStream {
            host: self.host(),
            timeout: self.timeout,
            unread: Bytes::new(),
            said: Vec::new(),
            failed: false,
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
    unread: Bytes,
    /// What the remote wrote to its error output.
    said: Vec<u8>,
    failed: bool,
    channel: Channel<client::Msg>,
    _session: Handle<HostKeyCheck>,
    /// Last, so that what runs on it is dropped before it.
    runtime: Runtime,
}

impl SshStream {
    /// The next message, or `None` at the end.
    fn next(&mut self) -> Result<Option<ChannelMsg>, FetchErrorKind> {
        let wait = async { timeout(self.timeout, self.channel.wait()).await };
        self.runtime.block_on(wait).map_err(|_| FetchErrorKind::Timeout {
            host: self.host.clone(),
            after: self.timeout,
        })
    }

    fn end(&self) -> Result<usize, FetchErrorKind> {
        let said = String::from_utf8_lossy(&self.said).trim().to_owned();
        match self.failed {
            true => Err(FetchErrorKind::Remote { said }),
            false => Ok(0),
        }
    }
}

impl Stream for SshStream {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, FetchErrorKind> {
        while self.unread.is_empty() {
            match self.next()? {
                Some(ChannelMsg::Data { data }) => self.unread = data,
                Some(ChannelMsg::ExtendedData { data, .. }) => {
                    let room = MAX_SAID.saturating_sub(self.said.len());
                    self.said.extend_from_slice(&data[..data.len().min(room)]);
                }
                // The exit status comes with or after the end of the output.
                Some(ChannelMsg::ExitStatus { exit_status }) => self.failed = exit_status != 0,
                Some(ChannelMsg::ExitSignal { .. } | ChannelMsg::Failure) => self.failed = true,
                Some(ChannelMsg::Close) | None => return self.end(),
                Some(_) => {}
            }
        }
        let count = into.len().min(self.unread.len());
        self.unread.copy_to_slice(&mut into[..count]);
        Ok(count)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), FetchErrorKind> {
        let send = async {
            timeout(
                self.timeout,
                self.channel.data_bytes(Bytes::copy_from_slice(bytes)),
            )
            .await
        };
        match self.runtime.block_on(send) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(FetchErrorKind::Interrupted {
                host: self.host.clone(),
                reason: error.to_string(),
            }),
            Err(_) => Err(FetchErrorKind::Timeout {
                host: self.host.clone(),
                after: self.timeout,
            }),
        }
    }
}

fn private_key(file: &Path, passphrase: Option<&Secret>) -> Result<PrivateKey, FetchErrorKind> {
    load_secret_key(file, passphrase.map(Secret::expose)).map_err(|error| match error {
        russh::keys::Error::KeyIsEncrypted => {
            unreadable(file, "the key needs a passphrase (`passphrase_file`)")
        }
        error if passphrase.is_some() => {
            unreadable(file, format!("{error}; is the passphrase the right one?"))
        }
        error => unreadable(file, error),
    })
}

fn unreadable(file: &Path, reason: impl ToString) -> FetchErrorKind {
    FetchErrorKind::File {
        path: file.to_owned(),
        reason: reason.to_string(),
    }
}

fn host_and_port(host: &str, port: u16) -> String {
    if port == 22 {
        host.to_owned()
    } else {
        format!("{host}:{port}")
    }
}

/// One word for a POSIX shell, as git quotes the path.
fn quoted(path: &str) -> String {
    format!("'{}'", path.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_one_word_in_the_remote_shell() {
        assert_eq!(quoted("/srv/it's; rm -rf/x.git"), r"'/srv/it'\''s; rm -rf/x.git'");
    }
}
