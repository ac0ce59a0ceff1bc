//! The client of the health endpoints, for a container that has no shell: `mirror health`.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

pub use super::health::HealthEndpoint;
use super::local_socket::LocalSocket;
use crate::config::Address;

/// The rest of a longer response is ignored.
const MAX_RESPONSE: usize = 4 << 10;

/// Asks the server that listens on `address`, within about `timeout`.
///
/// # Errors
///
/// When there is no response in time, or its status is not 200; then with its text.
pub fn check(address: &Address, endpoint: HealthEndpoint, timeout: Duration) -> Result<()> {
    let response = request_from(address, endpoint, timeout)
        .with_context(|| format!("failed to ask `{address}{}`", endpoint.path()))?;
    parse_response(&response, endpoint)
}

/// Asks the server with this local socket; `None` when there is none.
///
/// # Errors
///
/// As [`check`].
pub fn check_local(socket: &LocalSocket, endpoint: HealthEndpoint, timeout: Duration) -> Option<Result<()>> {
    let stream = socket.connect().ok()?;
    // By default a write never times out.
    let _ = stream.set_write_timeout(Some(timeout));
    let response = request(
        stream,
        "localhost",
        endpoint,
        timeout,
        UnixStream::set_read_timeout,
    );
    Some(
        response
            .with_context(|| format!("failed to ask `{}` of the running server", endpoint.path()))
            .and_then(|response| parse_response(&response, endpoint)),
    )
}

fn parse_response(response: &str, endpoint: HealthEndpoint) -> Result<()> {
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((response, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(()),
        Some(status) => bail!("`{}` answers {status}: {body}", endpoint.path()),
        None => bail!("`{}` does not answer in HTTP", endpoint.path()),
    }
}

fn request_from(address: &Address, endpoint: HealthEndpoint, timeout: Duration) -> Result<String> {
    match address {
        Address::Tcp(address) => {
            let stream = connect(*address, timeout)?;
            stream.set_write_timeout(Some(timeout))?;
            let host = address.to_string();
            request(stream, &host, endpoint, timeout, TcpStream::set_read_timeout)
        }
        Address::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_write_timeout(Some(timeout))?;
            request(
                stream,
                "localhost",
                endpoint,
                timeout,
                UnixStream::set_read_timeout,
            )
        }
    }
}

/// A server on every address is reached on loopback. `[::]` may mean IPv4 only, where there is no IPv6.
fn connect(address: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    let to = |ip| TcpStream::connect_timeout(&SocketAddr::new(ip, address.port()), timeout);
    match address.ip() {
        ip if !ip.is_unspecified() => to(ip),
        IpAddr::V4(_) => to(v4),
        IpAddr::V6(_) => to(v6).or_else(|_| to(v4)),
    }
}

fn request<S: io::Read + io::Write>(
    mut stream: S,
    host: &str,
    endpoint: HealthEndpoint,
    timeout: Duration,
    set_read_timeout: fn(&S, Option<Duration>) -> io::Result<()>,
) -> Result<String> {
    let deadline = Instant::now() + timeout;
    let path = endpoint.path();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut response = Vec::new();
    while response.len() < MAX_RESPONSE {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("no answer within {timeout:?}");
        }
        set_read_timeout(&stream, Some(left))?;
        let mut buffer = [0; 512];
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => response.extend_from_slice(&buffer[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(String::from_utf8_lossy(&response).into_owned())
}
