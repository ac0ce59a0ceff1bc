//! A proxy in front of a git server or a mirror that spoils answers, as a broken network, proxy or server does.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use rustix::net::sockopt::set_socket_linger;

/// What happens to the answer to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The connection is reset before the request is read.
    Refused,
    /// The server has answered, and nothing of it arrives.
    Lost,
    /// The connection ends with a reset, within the answer.
    Reset,
    /// The connection ends in order, within the answer.
    Closed,
    /// Nothing more arrives.
    Stalled,
    /// Ten bytes arrive in a second.
    Dripping,
    /// A valid HTTP message with a part of the body, usually cut inside a pkt-line.
    Cut,
    /// The length in the head is too high, and the connection stays open.
    LongLength,
    /// The length in the head is too low.
    ShortLength,
    /// A page of the proxy, or of the login to a network; with what belongs to the status.
    Page(u16),
    /// It arrives whole, but late.
    Late,
}

pub const KINDS: [Kind; 13] = [
    Kind::Refused,
    Kind::Lost,
    Kind::Reset,
    Kind::Closed,
    Kind::Stalled,
    Kind::Dripping,
    Kind::Cut,
    Kind::LongLength,
    Kind::ShortLength,
    Kind::Page(502),
    Kind::Page(404),
    Kind::Page(200),
    Kind::Late,
];

#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub kind: Kind,
    /// The first request that it happens to, and whether it happens to all that follow.
    request: usize,
    and_later: bool,
    /// Where in the answer, in thousandths.
    at: usize,
    /// Whether the answer is sent in chunks, without its length.
    is_chunked: bool,
}

impl Fault {
    /// One of these kinds, to one of the first `requests`.
    pub fn new(rng: &mut Rng, kinds: &[Kind], requests: usize) -> Self {
        Self {
            kind: kinds[rng.usize(0..kinds.len())],
            request: rng.usize(0..requests),
            and_later: rng.bool(),
            at: rng.usize(0..1000),
            is_chunked: rng.bool(),
        }
    }
}

/// A running proxy; its listener ends with the process.
pub struct Proxy {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    fault: Option<Fault>,
    /// Requests since the fault was set, and answers that it spoiled.
    requests: usize,
    spoiled: usize,
}

impl Proxy {
    pub fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = shared.clone();
                // Both sides may hang up at any time.
                std::thread::spawn(move || drop(relay(client, server, &state)));
            }
        });
        Self { port, state }
    }

    /// Spoils the answers from now on, or no longer. Returns how many the previous fault has spoiled.
    pub fn set(&self, fault: Option<Fault>) -> usize {
        let mut state = self.state.lock().expect("no panic");
        let spoiled = state.spoiled;
        *state = State { fault, ..State::default() };
        spoiled
    }
}

/// The fault of this request, if it has one.
fn fault_of(state: &Mutex<State>) -> Option<Fault> {
    let mut state = state.lock().expect("no panic");
    let number = state.requests;
    state.requests += 1;
    let is_due = |fault: &Fault| number == fault.request || fault.and_later && number > fault.request;
    let fault = state.fault.filter(is_due);
    state.spoiled += usize::from(fault.is_some());
    fault
}

fn relay(mut client: TcpStream, server: u16, state: &Mutex<State>) -> std::io::Result<()> {
    let fault = fault_of(state);
    if fault.is_some_and(|fault| fault.kind == Kind::Refused) {
        return reset(&client);
    }
    let request = read_message(&mut BufReader::new(client.try_clone()?))?;
    let mut upstream = TcpStream::connect(("127.0.0.1", server))?;
    upstream.write_all(&request.0)?;
    upstream.write_all(&request.1)?;
    // A git server sends chunks.
    let (head, body) = read_message(&mut BufReader::new(upstream))?;
    let Some(fault) = fault else { return client.write_all(&framed(&head, &body, body.len(), false)) };
    let cut = |length: usize| length * fault.at / 1000;
    let whole = framed(&head, &body, body.len(), fault.is_chunked);
    match fault.kind {
        Kind::Refused | Kind::Lost => Ok(()),
        Kind::Reset => {
            client.write_all(&whole[..cut(whole.len())])?;
            reset(&client)
        }
        Kind::Closed => client.write_all(&whole[..cut(whole.len())]),
        Kind::Stalled => {
            client.write_all(&whole[..cut(whole.len())])?;
            wait_for_end(&mut client)
        }
        Kind::Dripping => {
            let (now, drops) = whole.split_at(cut(whole.len()));
            client.write_all(now)?;
            drops.iter().try_for_each(|drop| {
                std::thread::sleep(Duration::from_millis(100));
                client.write_all(&[*drop])
            })
        }
        Kind::Cut => {
            let part = &body[..cut(body.len())];
            client.write_all(&framed(&head, part, part.len(), fault.is_chunked))
        }
        Kind::LongLength => {
            client.write_all(&framed(&head, &body, body.len() + 1 + fault.at, false))?;
            wait_for_end(&mut client)
        }
        Kind::ShortLength => client.write_all(&framed(&head, &body, cut(body.len()), false)),
        Kind::Page(status) => {
            let more = match status {
                429 | 503 => "\r\nRetry-After: 1",
                302 => "\r\nLocation: http://login.invalid/",
                _ => "",
            };
            let page = format!("HTTP/1.1 {status} Spoiled\r\nContent-Type: text/html{more}");
            client.write_all(&framed(page.as_bytes(), b"<h1>Proxy</h1>", 14, fault.is_chunked))
        }
        Kind::Late => {
            std::thread::sleep(Duration::from_millis(700));
            client.write_all(&whole)
        }
    }
}

/// An answer with this head, without its framing, and with this length or in chunks.
fn framed(head: &[u8], body: &[u8], length: usize, is_chunked: bool) -> Vec<u8> {
    let head = String::from_utf8_lossy(head);
    let is_framing = |line: &&str| {
        let line = line.to_ascii_lowercase();
        let framing = ["transfer-encoding:", "content-length:", "connection:"];
        line.is_empty() || framing.iter().any(|name| line.starts_with(name))
    };
    let lines: Vec<_> = head.split("\r\n").filter(|line| !is_framing(line)).collect();
    let framing = match is_chunked {
        true => "Transfer-Encoding: chunked".to_owned(),
        false => format!("Content-Length: {length}"),
    };
    let head = format!("{}\r\n{framing}\r\nConnection: close\r\n\r\n", lines.join("\r\n"));
    let mut answer = head.into_bytes();
    if !is_chunked {
        answer.extend(body);
        return answer;
    }
    for chunk in body.chunks(1000) {
        answer.extend(format!("{:x}\r\n", chunk.len()).bytes());
        answer.extend(chunk);
        answer.extend(b"\r\n");
    }
    answer.extend(b"0\r\n\r\n");
    answer
}

/// The head of a message and its body without framing (RFC 9112 section 6).
fn read_message(from: &mut BufReader<TcpStream>) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut head, mut body) = (Vec::new(), Vec::new());
    while !head.ends_with(b"\r\n\r\n") && from.read_until(b'\n', &mut head)? > 0 {}
    let lines = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let value = |name: &str| lines.lines().find_map(|line| line.strip_prefix(name));
    if value("transfer-encoding: chunked").is_some() {
        loop {
            let mut size = String::new();
            from.read_line(&mut size)?;
            let size = usize::from_str_radix(size.trim(), 16).unwrap_or_default();
            let mut chunk = vec![0; size + 2];
            from.read_exact(&mut chunk)?;
            body.extend(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = value("content-length: ") {
        body.resize(length.trim().parse().unwrap_or_default(), 0);
        from.read_exact(&mut body)?;
    }
    Ok((head, body))
}

/// Makes the end of a connection a reset.
fn reset(client: &TcpStream) -> std::io::Result<()> {
    Ok(set_socket_linger(client, Some(Duration::ZERO))?)
}

fn wait_for_end(client: &mut TcpStream) -> std::io::Result<()> {
    while client.read(&mut [0; 1024])? > 0 {}
    Ok(())
}
