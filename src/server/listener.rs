//! Binding what the server listens on, and accepting from it.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Error, Result, anyhow};
use tokio::net::{TcpListener, UnixListener};

use super::local_socket::LocalSocket;
use super::transport::Transport;
use super::unix_socket;
use crate::config::Address;

/// A bound address.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Binds `address`. Where the machine has no IPv6, `[::]` means every IPv4 address.
    pub(super) async fn bind(address: &Address) -> Result<Self> {
        match address {
            Address::Tcp(address) => bind_tcp(*address).await.map(Self::Tcp),
            Address::Unix(address) => unix_socket::bind(address).map(Self::Unix),
        }
    }

    /// The address as bound: with the port that the system chose for port 0.
    pub(super) fn address(&self) -> Result<Address> {
        Ok(match self {
            Self::Tcp(listener) => Address::Tcp(listener.local_addr()?),
            Self::Unix(listener) => {
                let address = listener.local_addr()?;
                Address::Unix(address.as_pathname().unwrap_or(Path::new("")).to_owned().into())
            }
        })
    }

    /// Binds the local socket, unless another server has it.
    pub(super) fn bind_local(socket: &LocalSocket) -> io::Result<Self> {
        UnixListener::from_std(socket.bind()?).map(Self::Unix)
    }

    /// A connection, and the address of its client, except on a Unix socket.
    pub(super) async fn accept(&self) -> io::Result<(Transport, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Without it the end of a small response would wait for a delayed ACK, 40 ms.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "failed to set TCP_NODELAY");
                }
                Ok((stream.into(), Some(peer.ip().to_canonical())))
            }
            Self::Unix(listener) => Ok((listener.accept().await?.0.into(), None)),
        }
    }
}

async fn bind_tcp(address: SocketAddr) -> Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if is_any_v6(address) && lacks_v6(&error) => {
            let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port());
            tracing::warn!(%address, instead = %v4, "this machine has no IPv6");
            TcpListener::bind(v4).await.map_err(|error| explain(v4, &error))
        }
        bound => bound.map_err(|error| explain(address, &error)),
    }
}

fn is_any_v6(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

fn lacks_v6(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

fn explain(address: SocketAddr, error: &io::Error) -> Error {
    let hint = match error.kind() {
        ErrorKind::AddrInUse => {
            "\nhint: another process has the port, or another address of `listen`: `[::]` includes IPv4"
        }
        ErrorKind::PermissionDenied => {
            "\nhint: ports below 1024 need a privilege; listen on 8080 and map the port"
        }
        ErrorKind::AddrNotAvailable => "\nhint: no network interface has this address",
        _ => "",
    };
    anyhow!("failed to listen on `{address}`: {error}{hint}")
}
