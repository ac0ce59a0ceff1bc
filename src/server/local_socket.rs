//! The server's own address: a Unix socket without a file, where `mirror health` asks. It needs neither a volume nor a valid
//! configuration, and no port: the name follows from where the configuration is, which both were told.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;

use crate::util::digest::Sha256;

/// The name of a server's own address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalSocket(String);

impl LocalSocket {
    /// The name for the server with the configuration at `path`. Such names are of a network, which containers may share:
    /// those of another container are different.
    pub fn new(path: &Path) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let container = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let named = format!("{}\n{}", container.display(), path.display());
        Self(format!("mirror-{}", Sha256::digest(named.as_bytes())))
    }

    pub(super) fn bind(&self) -> io::Result<UnixListener> {
        let listener = UnixListener::bind_addr(&self.address()?)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    pub(super) fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect_addr(&self.address()?)
    }

    fn address(&self) -> io::Result<SocketAddr> {
        SocketAddr::from_abstract_name(&self.0)
    }
}
