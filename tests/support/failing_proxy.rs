//! A proxy between a mirror and an object store that counts requests and makes them fail, by a seed.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use super::until;

const DELAY: Duration = Duration::from_millis(300);

/// What may happen to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection is reset before the store has got anything.
    ResetBefore,
    /// The store gets half of the body.
    CutRequest,
    /// The store has done what it was asked for, and nobody gets its answer.
    LoseAnswer,
    /// The store has done it, and a server on the way answers this status.
    AnswerInstead(u16),
    /// The answer ends in the middle of its body.
    Truncate,
    /// A listing has half of its objects, and nothing that continues it. Other requests are answered late.
    ShortListing,
    /// This status instead of asking the store.
    Status(u16),
    /// What S3 answers when there are too many requests.
    SlowDown,
    Delay,
}

pub const FAULTS: [Fault; 15] = [
    Fault::ResetBefore,
    Fault::CutRequest,
    Fault::LoseAnswer,
    Fault::LoseAnswer,
    Fault::AnswerInstead(409),
    Fault::AnswerInstead(412),
    Fault::AnswerInstead(500),
    Fault::Truncate,
    Fault::ShortListing,
    Fault::Status(409),
    Fault::Status(412),
    Fault::Status(500),
    Fault::Status(503),
    Fault::SlowDown,
    Fault::Delay,
];

/// Which requests fail, and how.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    /// One of these happens to each of them.
    pub kinds: &'static [Fault],
    /// Only requests whose method and path contain this.
    pub only: &'static str,
    /// How many of 1,000 of them fail.
    pub share: u64,
    /// After so many faults no more happen.
    pub most: usize,
}

pub struct FailingProxy {
    pub port: u16,
    state: Arc<State>,
}

struct State {
    store: u16,
    plan: Mutex<(Option<Plan>, fastrand::Rng)>,
    requests: Mutex<Vec<String>>,
    faults: AtomicUsize,
    /// Bytes of bodies that the store has sent.
    sent: AtomicU64,
    open: AtomicUsize,
}

impl FailingProxy {
    /// In front of the store at this port; at first nothing fails.
    pub fn start(store: u16, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            store,
            plan: Mutex::new((None, fastrand::Rng::with_seed(seed))),
            requests: Mutex::default(),
            faults: AtomicUsize::new(0),
            sent: AtomicU64::new(0),
            open: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (state, stream) = (Arc::clone(&shared), stream.unwrap());
                std::thread::spawn(move || {
                    let _ = state.serve(stream);
                });
            }
        });
        Self { port, state }
    }

    /// Lets this many of 1,000 requests fail, in every way.
    pub fn fail(&self, share: u64) {
        let seed = self.state.plan.lock().unwrap().1.u64(..);
        self.set(Some(Plan { seed, kinds: &FAULTS, only: "", share, most: usize::MAX }));
    }

    /// Lets requests fail by this plan from now on, or no longer. Returns how many the previous plan has spoiled.
    pub fn set(&self, plan: Option<Plan>) -> usize {
        let seed = plan.map_or(0, |plan| plan.seed);
        *self.state.plan.lock().unwrap() = (plan, fastrand::Rng::with_seed(seed));
        self.state.faults.swap(0, Ordering::SeqCst)
    }

    /// The requests since the last call, as method and path.
    pub fn take_requests(&self) -> Vec<String> {
        until("no request is under way", || self.state.open.load(Ordering::SeqCst) == 0);
        std::mem::take(&mut self.state.requests.lock().unwrap())
    }

    /// How many bytes of bodies the store has sent.
    pub fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::SeqCst)
    }

    /// How many requests have failed since the plan was set.
    pub fn faults(&self) -> usize {
        self.state.faults.load(Ordering::SeqCst)
    }
}

impl State {
    fn serve(&self, client: TcpStream) -> std::io::Result<()> {
        let mut client = BufReader::new(client);
        loop {
            let Some((head, body)) = read_message(&mut client, None)? else { return Ok(()) };
            self.open.fetch_add(1, Ordering::SeqCst);
            let result = self.exchange(&mut client, &head, &body);
            self.open.fetch_sub(1, Ordering::SeqCst);
            if !result? {
                return Ok(());
            }
        }
    }

    /// Returns whether the connection goes on.
    fn exchange(&self, client: &mut BufReader<TcpStream>, head: &str, body: &[u8]) -> std::io::Result<bool> {
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        self.requests.lock().unwrap().push(format!("{method} {path}"));
        let is_listing = path.contains("list-type=2");
        let fault = self.fault(&format!("{method} {path}"));
        match fault {
            Some(Fault::ResetBefore) => return reset(client),
            Some(Fault::Status(status)) => return answer(client, method, status, code(status)),
            Some(Fault::SlowDown) => return answer(client, method, 503, "SlowDown"),
            Some(Fault::Delay) => std::thread::sleep(DELAY),
            Some(Fault::ShortListing) if !is_listing => std::thread::sleep(DELAY),
            _ => {}
        }
        let mut store = BufReader::new(TcpStream::connect(("127.0.0.1", self.store))?);
        // Without a reset at its end, each connection would keep its port for a minute.
        set_socket_linger(store.get_ref(), Some(Duration::ZERO))?;
        store.get_mut().write_all(head.as_bytes())?;
        if fault == Some(Fault::CutRequest) {
            store.get_mut().write_all(&body[..body.len() / 2])?;
            store.get_ref().shutdown(Shutdown::Write)?;
            // What the store makes of it is over before anything else happens.
            let _ = read_message(&mut store, Some(method));
            return reset(client);
        }
        store.get_mut().write_all(body)?;
        let Some((head, body)) = read_message(&mut store, Some(method))? else { return Ok(false) };
        self.sent.fetch_add(body.len() as u64, Ordering::SeqCst);
        match fault {
            Some(Fault::LoseAnswer) => return Ok(false),
            Some(Fault::AnswerInstead(status)) => return answer(client, method, status, code(status)),
            Some(Fault::ShortListing) if is_listing => {
                client.get_mut().write_all(shortened(&head, &body).as_bytes())?;
                return Ok(true);
            }
            Some(Fault::Truncate) if !body.is_empty() => {
                client.get_mut().write_all(head.as_bytes())?;
                client.get_mut().write_all(&body[..body.len() / 2])?;
                return Ok(false);
            }
            _ => {}
        }
        client.get_mut().write_all(head.as_bytes())?;
        client.get_mut().write_all(&body)?;
        Ok(true)
    }

    /// What happens to a request.
    fn fault(&self, request: &str) -> Option<Fault> {
        let (plan, random) = &mut *self.plan.lock().unwrap();
        let is_due = |plan: &Plan| {
            let is_meant = request.contains(plan.only) && random.u64(..1000) < plan.share;
            is_meant && self.faults.load(Ordering::SeqCst) < plan.most
        };
        let plan = plan.filter(is_due)?;
        self.faults.fetch_add(1, Ordering::SeqCst);
        random.choice(plan.kinds).copied()
    }
}

/// Ends a connection with a reset.
fn reset(client: &BufReader<TcpStream>) -> std::io::Result<bool> {
    set_socket_linger(client.get_ref(), Some(Duration::ZERO))?;
    Ok(false)
}

/// Sends an error as S3 does. Returns whether the connection goes on.
fn answer(client: &mut BufReader<TcpStream>, method: &str, status: u16, code: &str) -> std::io::Result<bool> {
    let text = format!("<Error><Code>{code}</Code><Message>made by a test</Message></Error>");
    let text = if method == "HEAD" { "" } else { &text };
    let length = text.len();
    let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{text}");
    client.get_mut().write_all(answer.as_bytes())?;
    Ok(true)
}

fn code(status: u16) -> &'static str {
    match status {
        409 => "OperationAborted",
        412 => "PreconditionFailed",
        500 => "InternalError",
        _ => "ServiceUnavailable",
    }
}

/// A listing without half of its objects that says that there are more, but not where they begin.
fn shortened(head: &str, body: &[u8]) -> String {
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let text = if is_chunked { without_chunks(body) } else { body.to_vec() };
    let text = String::from_utf8(text).unwrap().replace("<IsTruncated>false<", "<IsTruncated>true<");
    let objects: Vec<usize> = text.match_indices("<Contents>").map(|(at, _)| at).collect();
    let text = match (objects.get(objects.len() / 2), text.rfind("</Contents>")) {
        (Some(from), Some(to)) => format!("{}{}", &text[..*from], &text[to + "</Contents>".len()..]),
        _ => text,
    };
    let length = text.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\n\r\n{text}")
}

fn without_chunks(mut body: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    loop {
        let mut line = String::new();
        body.read_line(&mut line).unwrap();
        let size = usize::from_str_radix(line.trim(), 16).unwrap();
        text.extend(&body[..size]);
        if size == 0 {
            return text;
        }
        body = &body[size + 2..];
    }
}

/// Reads a request, or the response to a `method`; `None` at the end.
fn read_message(
    from: &mut BufReader<TcpStream>,
    method: Option<&str>,
) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut head = String::new();
    loop {
        if from.read_line(&mut head)? == 0 {
            return Ok(None);
        }
        if head.ends_with("\r\n\r\n") {
            break;
        }
    }
    let value = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(':'));
        let mut found = lines.filter(|(other, _)| other.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.trim().to_owned())
    };
    let status: Option<u16> = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let is_empty = method == Some("HEAD") || (method.is_some() && matches!(status, Some(204 | 304)));
    let mut body = Vec::new();
    if is_empty {
        return Ok(Some((head, body)));
    }
    if value("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        loop {
            let mut line = String::new();
            from.read_line(&mut line)?;
            // A store that is killed ends it anywhere.
            let size = usize::from_str_radix(line.trim(), 16).map_err(|_| ErrorKind::InvalidData)?;
            let mut chunk = vec![0; size + 2];
            from.read_exact(&mut chunk)?;
            body.extend(line.into_bytes());
            body.extend(chunk);
            if size == 0 {
                return Ok(Some((head, body)));
            }
        }
    }
    body.resize(value("content-length").map_or(0, |length| length.parse().unwrap()), 0);
    from.read_exact(&mut body)?;
    Ok(Some((head, body)))
}
