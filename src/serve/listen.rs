//! Binding the addresses that the server listens on.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Error, Result};
use tokio::net::TcpListener;

/// Binds `address`. Where the machine has no IPv6, `[::]` falls back to every IPv4 address.
///
/// # Errors
///
/// With the address and what can be done about it.
pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if is_any_v6(address) && lacks_v6(&error) => {
            let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port());
            tracing::warn!(%address, instead = %v4, "this machine has no IPv6");
            TcpListener::bind(v4).await.map_err(|error| explain(v4, error))
        }
        bound => bound.map_err(|error| explain(address, error)),
    }
}

fn is_any_v6(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

fn lacks_v6(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

fn explain(address: SocketAddr, error: io::Error) -> Error {
    let hint = match error.kind() {
        ErrorKind::AddrInUse => {
            "\nhint: another process has the port, or another line of `listen`: `[::]` takes the IPv4 addresses too"
        }
        ErrorKind::PermissionDenied => {
            "\nhint: ports below 1024 need a privilege; listen on 8080 and map the port"
        }
        ErrorKind::AddrNotAvailable => "\nhint: no network interface has this address",
        _ => "",
    };
    Error::new(error).context(format!("failed to listen on `{address}`{hint}"))
}
