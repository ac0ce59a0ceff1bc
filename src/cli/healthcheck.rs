//! `mirror health`, for a container that has no shell: asks the running server. The local socket comes first, because the
//! configuration file may have changed or broken since the server started.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::app::exit::Exit;
use crate::app::{App, local_socket};
use crate::config::Address;
use crate::server::{HealthEndpoint, LocalSocket};

const TIMEOUT: Duration = Duration::from_secs(5);

/// The rest of a longer response is ignored.
const MAX_RESPONSE: u64 = 4 << 10;

/// Asks the server that runs with the configuration at `path`; `None` if none runs in this container.
pub(super) fn check_local(path: Option<&Path>) -> Option<anyhow::Result<Exit>> {
    let result = check_socket(&local_socket(path), HealthEndpoint::Health, TIMEOUT)?;
    Some(result.map(|()| Exit::Complete))
}

/// Asks at the configured address.
pub(super) fn check_configured(app: &App) -> anyhow::Result<Exit> {
    let serve = &app.config.serve;
    let address = serve.admin.first().or(serve.listen.first());
    let address = address.context("`serve.listen` names no address")?;
    check(address, HealthEndpoint::Health, TIMEOUT).map(|()| Exit::Complete)
}

/// Asks the server that listens on `address`.
/// Fails when no response comes within `timeout`, or if its status is not 200; then with its text.
pub fn check(address: &Address, endpoint: HealthEndpoint, timeout: Duration) -> Result<()> {
    let response = match address {
        Address::Tcp(address) => connect(*address, timeout).and_then(|stream| {
            stream.set_read_timeout(Some(timeout))?;
            stream.set_write_timeout(Some(timeout))?;
            request(stream, endpoint, timeout)
        }),
        Address::Unix(path) => {
            UnixStream::connect(path).and_then(|stream| request_from_unix(stream, endpoint, timeout))
        }
    };
    check_response(response, &format!("`{address}`"), endpoint)
}

/// Asks the server with this local socket; `None` when there is none.
fn check_socket(socket: &LocalSocket, endpoint: HealthEndpoint, timeout: Duration) -> Option<Result<()>> {
    let stream = socket.connect().ok()?;
    let response = request_from_unix(stream, endpoint, timeout);
    Some(check_response(response, "the running server", endpoint))
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

fn request_from_unix(stream: UnixStream, endpoint: HealthEndpoint, timeout: Duration) -> io::Result<String> {
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    request(stream, endpoint, timeout)
}

fn request(mut stream: impl Read + Write, endpoint: HealthEndpoint, timeout: Duration) -> io::Result<String> {
    let path = endpoint.path();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut response = Vec::new();
    match stream.take(MAX_RESPONSE).read_to_end(&mut response) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(io::Error::other(format!("no answer within {timeout:?}")))
        }
        read => read.map(|_| String::from_utf8_lossy(&response).into_owned()),
    }
}

fn check_response(response: io::Result<String>, server: &str, endpoint: HealthEndpoint) -> Result<()> {
    let path = endpoint.path();
    let response = response.with_context(|| format!("failed to ask {server} for `{path}`"))?;
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(()),
        Some(status) => bail!("`{path}` answers {status}: {body}"),
        None => bail!("`{path}` does not answer in HTTP"),
    }
}
