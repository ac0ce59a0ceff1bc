//! The client side of the probes, for a container that has no shell: ask our own server, on its own address.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

pub use super::health::Probe;
use super::local_socket::LocalSocket;
use crate::config::Address;

/// More of an answer is not looked at.
const ANSWER: u64 = 4 << 10;

/// Puts `probe` to the server that listens on `listen`; blocks, at most for about `patience`.
///
/// # Errors
///
/// When nobody answers in time, and when the answer is not 200; then with the server's own words.
pub fn check(listen: &Address, probe: Probe, patience: Duration) -> Result<()> {
    let answer =
        ask(listen, probe, patience).with_context(|| format!("failed to ask `{listen}{}`", probe.path()))?;
    judge(&answer, probe)
}

fn judge(answer: &str, probe: Probe) -> Result<()> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(()),
        Some(code) => bail!("`{}` answers {code}: {body}", probe.path()),
        None => bail!("`{}` does not answer in HTTP", probe.path()),
    }
}

/// Puts `probe` to the server whose own address this is; `None` when there is none.
///
/// # Errors
///
/// As [`check`].
pub fn check_local(name: &LocalSocket, probe: Probe, patience: Duration) -> Option<Result<()>> {
    let stream = name.connect().ok()?;
    // Without it the kernel's is endless.
    let _ = stream.set_write_timeout(Some(patience));
    let answer = talk(stream, "localhost", probe, patience, UnixStream::set_read_timeout);
    Some(
        answer
            .with_context(|| format!("failed to ask `{}` of the running server", probe.path()))
            .and_then(|answer| judge(&answer, probe)),
    )
}

/// "Every address" is reached by loopback; `[::]` by both, since it means IPv4 alone where there is no IPv6.
fn connect(listen: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    let to = |ip| TcpStream::connect_timeout(&SocketAddr::new(ip, listen.port()), patience);
    match listen.ip() {
        ip if !ip.is_unspecified() => to(ip),
        IpAddr::V4(_) => to(v4),
        IpAddr::V6(_) => to(v6).or_else(|_| to(v4)),
    }
}

fn ask(listen: &Address, probe: Probe, patience: Duration) -> Result<String> {
    match listen {
        Address::Tcp(address) => {
            let stream = connect(*address, patience)?;
            stream.set_write_timeout(Some(patience))?;
            talk(
                stream,
                &address.to_string(),
                probe,
                patience,
                TcpStream::set_read_timeout,
            )
        }
        Address::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_write_timeout(Some(patience))?;
            talk(stream, "localhost", probe, patience, UnixStream::set_read_timeout)
        }
    }
}

fn talk<S: io::Read + io::Write>(
    mut stream: S,
    host: &str,
    probe: Probe,
    patience: Duration,
    set_read_timeout: fn(&S, Option<Duration>) -> io::Result<()>,
) -> Result<String> {
    let deadline = Instant::now() + patience;
    write!(
        stream,
        "GET {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n",
        probe.path()
    )?;
    let mut answer = Vec::new();
    while (answer.len() as u64) < ANSWER {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("no answer within {patience:?}");
        }
        set_read_timeout(&stream, Some(left))?;
        let mut buffer = [0; 512];
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
