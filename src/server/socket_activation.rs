//! Sockets that the service manager has bound and passes on (sd_listen_fds(3)), so that clients wait instead of being refused
//! during a restart, and ports below 1024 need no privilege. The configuration still says what is served where: a passed socket
//! takes the place of the address that it is bound to.

use std::io;
use std::net::TcpListener;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::listener::Listener;
use crate::config::Address;

/// The passed sockets that no address has taken yet.
pub(super) struct PassedSockets(Vec<(Address, Listener)>);

impl PassedSockets {
    /// Those in `LISTEN_FDS`, if it is for this process. They belong to the returned value, so this must be called once.
    pub(super) fn receive() -> Result<Self> {
        let descriptors = sd_notify::listen_fds().context("failed to read `LISTEN_FDS`")?;
        let sockets = descriptors.map(|descriptor| {
            // SAFETY: the service manager passed it to this process, and nothing else in it uses it.
            let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
            let listener = listener(socket).with_context(|| {
                format!("failed to use the socket that the service manager passed as {descriptor}")
            })?;
            Ok((listener.address()?, listener))
        });
        sockets.collect::<Result<_>>().map(Self)
    }

    /// The one that is bound to this address.
    pub(super) fn take(&mut self, address: &Address) -> Option<Listener> {
        let found = self.0.iter().position(|(passed, _)| match (passed, address) {
            (Address::Tcp(passed), Address::Tcp(address)) => passed == address,
            (Address::Unix(passed), Address::Unix(address)) => passed.path == address.path,
            _ => false,
        })?;
        Some(self.0.swap_remove(found).1)
    }

    /// Fails if a socket was passed that the configuration does not name: its clients would never be answered.
    pub(super) fn check_all_taken(&self) -> Result<()> {
        if let Some((address, _)) = self.0.first() {
            bail!(
                "the service manager passed a socket at `{address}`, where the configuration does not listen\nhint: name it in `serve.listen`, `serve.tls.listen` or `serve.admin`, or remove it from the `.socket` unit"
            );
        }
        Ok(())
    }
}

fn listener(socket: OwnedFd) -> io::Result<Listener> {
    let tcp = TcpListener::from(socket);
    tcp.set_nonblocking(true)?;
    // The address of a Unix socket is none of TCP.
    if tcp.local_addr().is_ok() {
        return tokio::net::TcpListener::from_std(tcp).map(Listener::Tcp);
    }
    let unix = UnixListener::from(OwnedFd::from(tcp));
    let address = unix.local_addr()?;
    if address.as_pathname().is_none_or(Path::is_relative) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is neither TCP nor a Unix socket with a path",
        ));
    }
    tokio::net::UnixListener::from_std(unix).map(Listener::Unix)
}
