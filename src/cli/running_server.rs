//! Asks the running server over HTTP: on its local socket, because the configuration may have changed or become invalid since the
//! server started, or at an address.
//!
//! Another user's process may listen there. A response is accepted only from a process of the calling user, of root, or of the
//! owner of the data volume.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use procfs::net::{TcpNetEntry, TcpState, tcp, tcp6};
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;

use crate::app::local_socket;
use crate::config::Address;

/// What the server on the local socket is called in messages.
pub(super) const LOCAL: &str = "the running server";

/// A GET request.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) path: &'a str,
    /// For connecting, and for each read.
    pub(super) timeout: Duration,
    /// The rest of a longer response is ignored.
    pub(super) max_response: u64,
}

pub(super) struct Response {
    pub(super) status: String,
    pub(super) body: String,
}

impl Request<'_> {
    /// Asks the server that runs with the configuration at `config`; `None` if none runs in this container.
    pub(super) fn ask_local(&self, config: Option<&Path>) -> Option<Result<Response>> {
        let stream = local_socket(config).connect().ok()?;
        // Another user may have taken the name of the socket; then the server is asked at its address.
        check_user(peer_user(&stream), None).ok()?;
        Some(self.parse(self.send_to_unix(stream), LOCAL))
    }

    /// Asks the server that listens on `address`, which may also belong to `owner`.
    pub(super) fn ask(&self, address: &Address, owner: Option<u32>) -> Result<Response> {
        let at = format!("`{address}`");
        let failed = || format!("failed to ask {at} for `{}`", self.path);
        let response = match address {
            Address::Tcp(address) => {
                let stream = connect(*address, self.timeout).with_context(failed)?;
                check_user(listening_user(&stream), owner).with_context(failed)?;
                stream.set_read_timeout(Some(self.timeout))?;
                stream.set_write_timeout(Some(self.timeout))?;
                self.send(stream)
            }
            Address::Unix(socket) => {
                let stream = UnixStream::connect(&socket.path).with_context(failed)?;
                check_user(peer_user(&stream), owner).with_context(failed)?;
                self.send_to_unix(stream)
            }
        };
        self.parse(response, &at)
    }

    fn send_to_unix(&self, stream: UnixStream) -> io::Result<String> {
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        self.send(stream)
    }

    fn send(&self, mut stream: impl Read + Write) -> io::Result<String> {
        let path = self.path;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut response = Vec::new();
        match stream.take(self.max_response).read_to_end(&mut response) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                Err(io::Error::other(format!("no answer within {:?}", self.timeout)))
            }
            read => read.map(|_| String::from_utf8_lossy(&response).into_owned()),
        }
    }

    fn parse(&self, response: io::Result<String>, server: &str) -> Result<Response> {
        let path = self.path;
        let response = response.with_context(|| format!("failed to ask {server} for `{path}`"))?;
        let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
        match head.split(' ').nth(1) {
            Some(status) => Ok(Response { status: status.to_owned(), body: body.to_owned() }),
            None => bail!("`{path}` does not answer in HTTP"),
        }
    }
}

/// Fails if `user` is known and may not answer.
fn check_user(user: Option<u32>, owner: Option<u32>) -> Result<()> {
    let own = geteuid().as_raw();
    match user {
        Some(user) if user != own && user != 0 && owner != Some(user) => bail!(
            "a process of user {user} listens there, not the mirror of user {own}\nhint: end that process, or run this command as the user of the mirror"
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
