//! The container's health check: asks the running server, since the image has no other client.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail};

/// Asks `/-/healthz` of the server at `address`; an unspecified address means this machine.
///
/// # Errors
/// No answer within five seconds, or another answer than 200.
pub fn health(address: SocketAddr) -> anyhow::Result<()> {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let address = SocketAddr::new(ip, address.port());
    let timeout = Duration::from_secs(5);
    let failed = || format!("failed to ask `{address}`");
    let mut stream = TcpStream::connect_timeout(&address, timeout).with_context(failed)?;
    stream.set_read_timeout(Some(timeout)).with_context(failed)?;
    write!(
        stream,
        "GET /-/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .with_context(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(failed)?;
    if !answer.starts_with("HTTP/1.1 200 ") {
        bail!(
            "`{address}` answered {}",
            answer.lines().next().unwrap_or("nothing")
        );
    }
    Ok(())
}
