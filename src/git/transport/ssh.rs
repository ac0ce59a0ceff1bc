//! git's smart protocol over ssh: one `git-upload-pack` on the remote, its input and output as one stream.
//!
//! The host key must be in a known_hosts file: nobody watches the first connection, so there is no trust on first use.
//! russh is asynchronous; each connection drives it on a small runtime of its own, inside blocking calls.

use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, Handle};
use russh::{AlgorithmKind, Channel, Preferred, cipher, kex, mac};
use tokio::net::{TcpStream, lookup_host};

use super::super::error::FetchErrorKind;
use super::super::url::{GitUrl, SshUrl};
use super::known_hosts::{HostKeyCheck, KnownHosts};
use super::smart_transport::{RemoteStream, SmartTransport};
use super::ssh_login::Login;
use super::ssh_stream::{SshStream, watched};
use crate::config::{Credential, Git};
use crate::net::{NetworkError, TransferWatch, connect, find_credential};
use crate::util::cancel::CancelFlag;

/// How much the server may send before we read it: packs arrive in large pieces.
const WINDOW: u32 = 16 << 20;

/// Algorithms that OpenSSH offers by default, and russh implements but does not offer: some servers accept only these.
const MORE_KEX: &[kex::Name] = &[kex::ECDH_SHA2_NISTP256, kex::ECDH_SHA2_NISTP384, kex::ECDH_SHA2_NISTP521];
const MORE_CIPHERS: &[cipher::Name] = &[cipher::AES_128_GCM];
const MORE_MACS: &[mac::Name] = &[mac::HMAC_SHA1_ETM, mac::HMAC_SHA1];

/// The smart protocol of one ssh repository.
pub(crate) struct SshTransport {
    url: SshUrl,
    credential: Option<Credential>,
    connect_timeout: Duration,
    timeout: Duration,
    watch: TransferWatch,
}

impl SshTransport {
    pub(crate) fn new(url: &SshUrl, git: &Git, cancel: &CancelFlag) -> Self {
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
        let login =
            Login { host: self.host(), user: self.url.user.as_deref(), credential: self.credential.as_ref() };
        self.within(self.timeout, login.run(&mut session)).await??;
        let channel = self.within(self.timeout, self.start_git(&session)).await??;
        Ok((session, channel))
    }

    async fn tcp(&self) -> Result<TcpStream, NetworkError> {
        let unreachable = |error| NetworkError::unreachable(self.host(), &error);
        let addresses = lookup_host((&*self.url.host, self.url.port)).await.map_err(unreachable)?;
        connect(addresses.collect(), self.connect_timeout).await.map_err(unreachable)
    }

    /// Fails unless the known hosts of its credential have a key for its host.
    pub(crate) fn check_known_hosts(&self) -> Result<(), FetchErrorKind> {
        let known = self.known_hosts()?;
        match known.is_empty() {
            true => Err(FetchErrorKind::NoHostKey {
                host: self.host(),
                file: known.file().to_owned(),
                scan: self.scan(),
            }),
            false => Ok(()),
        }
    }

    fn known_hosts(&self) -> Result<KnownHosts, FetchErrorKind> {
        let credential = self.credential.as_ref();
        match credential.and_then(|credential| credential.known_hosts.as_deref()) {
            Some(file) => Ok(KnownHosts::read(file, &self.url)?),
            None => Err(FetchErrorKind::NoKnownHosts { host: self.host(), scan: self.scan() }),
        }
    }

    /// The arguments for ssh-keyscan.
    fn scan(&self) -> String {
        match self.url.port {
            22 => self.url.host.clone(),
            port => format!("-p {port} {}", self.url.host),
        }
    }

    async fn handshake(
        &self,
        stream: TcpStream,
        known: KnownHosts,
    ) -> Result<Handle<HostKeyCheck>, FetchErrorKind> {
        let config = client::Config {
            preferred: preferred(&known),
            window_size: WINDOW,
            nodelay: true,
            ..client::Config::default()
        };
        let check = HostKeyCheck::new(known);
        let session = client::connect_stream(Arc::new(config), stream, check.clone()).await;
        session.map_err(|error| check.take_refusal().unwrap_or_else(|| self.handshake_error(error).into()))
    }

    fn handshake_error(&self, error: russh::Error) -> NetworkError {
        match error {
            russh::Error::NoCommonAlgo { kind, theirs, .. } => NetworkError::NoCommonAlgorithm {
                host: self.host(),
                kind: match kind {
                    AlgorithmKind::Kex => "key exchange",
                    AlgorithmKind::Key => "host key algorithm",
                    AlgorithmKind::Cipher => "cipher",
                    AlgorithmKind::Compression => "compression",
                    AlgorithmKind::Mac => "message authentication code",
                },
                offered: theirs.join(", "),
            },
            error => self.interrupted(&error),
        }
    }

    async fn start_git(&self, session: &Handle<HostKeyCheck>) -> Result<Channel<client::Msg>, NetworkError> {
        let command = format!("git-upload-pack {}", shell_quoted(&self.url.path));
        let start = async {
            let channel = session.channel_open_session().await?;
            // Servers that ignore the variable speak version 0.
            channel.set_env(false, "GIT_PROTOCOL", "version=2").await?;
            channel.exec(true, command).await?;
            Ok(channel)
        };
        start.await.map_err(|error| self.interrupted(&error))
    }

    async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Result<T, NetworkError> {
        let host = self.host();
        watched(&self.watch, &host, limit, work).await
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
            port => format!("{}:{port}", self.url.bracketed_host()),
        }
    }

    fn open(&self) -> Result<Box<dyn RemoteStream>, FetchErrorKind> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| NetworkError::unreachable(self.host(), &error))?;
        let connected = runtime.block_on(self.connect());
        let connected = match connected {
            Ok(connected) => connected,
            Err(error) => {
                // Dropping the runtime would wait until the lookup of the host's name ends.
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let stream = SshStream::begin(self.host(), self.timeout, self.watch.clone(), connected, runtime)?;
        Ok(Box::new(stream))
    }
}

fn preferred(known: &KnownHosts) -> Preferred {
    Preferred {
        kex: [&*Preferred::DEFAULT.kex, MORE_KEX].concat().into(),
        key: known.algorithms().into(),
        host_key_certificates: known.certificate_algorithms().into(),
        cipher: [&*Preferred::DEFAULT.cipher, MORE_CIPHERS].concat().into(),
        mac: [&*Preferred::DEFAULT.mac, MORE_MACS].concat().into(),
        compression: Preferred::DEFAULT.compression,
    }
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
