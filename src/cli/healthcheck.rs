//! `mirror health`, for containers without a shell: asks the running server, first on its local socket, because the
//! configuration may have changed or become invalid since the server started.
//!
//! Another user's process may listen on the server's address. A response is accepted only from a process of the calling user, of
//! root, or of the owner of the data volume.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use procfs::net::{TcpNetEntry, TcpState, tcp, tcp6};
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;

use crate::app::exit::Exit;
use crate::app::{App, local_socket};
use crate::config::Address;
use crate::server::HealthEndpoint;

const TIMEOUT: Duration = Duration::from_secs(5);

/// The rest of a longer response is ignored.
const MAX_RESPONSE: u64 = 4 << 10;

/// Asks the server that runs with the configuration at `path`; `None` if none runs in this container.
pub(super) fn check_local(path: Option<&Path>) -> Option<anyhow::Result<Exit>> {
    let stream = local_socket(path).connect().ok()?;
    // Another user may have taken the name of the socket; then the server is asked at its address.
    check_user(peer_user(&stream), None).ok()?;
    let response = request_from_unix(stream, HealthEndpoint::Health, TIMEOUT);
    let result = check_response(response, "the running server", HealthEndpoint::Health);
    Some(result.map(|()| Exit::Complete))
}

/// Asks at the configured address.
pub(super) fn check_configured(app: &App) -> anyhow::Result<Exit> {
    let serve = &app.config.serve;
    let address = serve.admin.first().or(serve.listen.first());
    let address = address.context("`serve.listen` names no address")?;
    let owner = fs::metadata(&app.config.data).ok().map(|data| data.uid());
    check_as(address, HealthEndpoint::Health, TIMEOUT, owner).map(|()| Exit::Complete)
}

/// Asks the server that listens on `address`. Fails if no response comes within `timeout`, if its status is not 200, and if
/// another user's process listens there.
pub fn check(address: &Address, endpoint: HealthEndpoint, timeout: Duration) -> Result<()> {
    check_as(address, endpoint, timeout, None)
}

/// Like [`check`], but also accepts a process of `owner`.
fn check_as(
    address: &Address,
    endpoint: HealthEndpoint,
    timeout: Duration,
    owner: Option<u32>,
) -> Result<()> {
    let at = format!("`{address}`");
    let failed = || format!("failed to ask {at} for `{}`", endpoint.path());
    let response = match address {
        Address::Tcp(address) => {
            let stream = connect(*address, timeout).with_context(failed)?;
            check_user(listening_user(&stream), owner).with_context(failed)?;
            stream.set_read_timeout(Some(timeout))?;
            stream.set_write_timeout(Some(timeout))?;
            request(stream, endpoint, timeout)
        }
        Address::Unix(socket) => {
            let stream = UnixStream::connect(&socket.path).with_context(failed)?;
            check_user(peer_user(&stream), owner).with_context(failed)?;
            request_from_unix(stream, endpoint, timeout)
        }
    };
    check_response(response, &at, endpoint)
}

/// Fails if `user` is known and may not answer.
fn check_user(user: Option<u32>, owner: Option<u32>) -> Result<()> {
    let own = geteuid().as_raw();
    match user {
        Some(user) if user != own && user != 0 && owner != Some(user) => bail!(
            "a process of user {user} listens there, not the mirror of user {own}\nhint: end that process, or run `mirror health` as the user of the mirror"
        ),
        _ => Ok(()),
    }
}

fn peer_user(stream: &UnixStream) -> Option<u32> {
    socket_peercred(stream).ok().map(|peer| peer.uid.as_raw())
}

/// The user whose process listens at the other end of `stream`; `None` if that is on another machine or network.
fn listening_user(stream: &TcpStream) -> Option<u32> {
    let peer = stream.peer_addr().ok()?;
    let listens = |socket: &TcpNetEntry| {
        let (local, ip) = (socket.local_address, socket.local_address.ip().to_canonical());
        socket.state == TcpState::Listen
            && local.port() == peer.port()
            && (ip.is_unspecified() || ip == peer.ip().to_canonical())
    };
    let sockets = [tcp(), tcp6()].into_iter().flatten().flatten();
    sockets.filter(listens).map(|socket| socket.uid).next()
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
