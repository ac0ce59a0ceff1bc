//! An abstract Unix socket for `mirror health`, whose name is derived from the path of the configuration. It needs neither a
//! volume nor a valid configuration nor a port.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;

use crate::util::digest::Sha256;

/// The name of the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalSocket(String);

impl LocalSocket {
    /// The socket of the server with the configuration at `path`. Containers that share a network share these names, so the name
    /// includes the container.
    pub fn new(path: &Path) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let container = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let name = format!("{}\n{}", container.display(), path.display());
        Self(format!("mirror-{}", Sha256::digest(name.as_bytes())))
    }

    pub(super) fn bind(&self) -> io::Result<UnixListener> {
        let listener = UnixListener::bind_addr(&self.address()?)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    pub fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect_addr(&self.address()?)
    }

    fn address(&self) -> io::Result<SocketAddr> {
        SocketAddr::from_abstract_name(&self.0)
    }
}
