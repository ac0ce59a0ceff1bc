//! A proxy between a mirror and an object store that counts requests and makes them fail, by a seed.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::until;

/// What may happen to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends before the store has got anything.
    ResetBefore,
    /// The store has done what it was asked for, and nobody gets its answer.
    LoseAnswer,
    /// The answer ends in the middle of its body.
    Truncate,
    /// This status instead of the store's answer.
    Status(u16),
    Delay,
}

pub const FAULTS: [Fault; 9] = [
    Fault::ResetBefore,
    Fault::LoseAnswer,
    Fault::LoseAnswer,
    Fault::Truncate,
    Fault::Status(409),
    Fault::Status(412),
    Fault::Status(500),
    Fault::Status(503),
    Fault::Delay,
];

pub struct FailingProxy {
    pub port: u16,
    state: Arc<State>,
}

struct State {
    store: u16,
    /// Of 1,000 requests, how many fail.
    share: AtomicU64,
    random: Mutex<fastrand::Rng>,
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
            share: AtomicU64::new(0),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
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

    /// Lets this many of 1,000 requests fail.
    pub fn fail(&self, share: u64) {
        self.state.share.store(share, Ordering::SeqCst);
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

    /// How many requests have failed.
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
                return client.get_ref().shutdown(Shutdown::Both);
            }
        }
    }

    /// Returns whether the connection goes on.
    fn exchange(&self, client: &mut BufReader<TcpStream>, head: &str, body: &[u8]) -> std::io::Result<bool> {
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        self.requests.lock().unwrap().push(format!("{method} {path}"));
        let fault = {
            let mut random = self.random.lock().unwrap();
            let fails = random.u64(..1000) < self.share.load(Ordering::SeqCst);
            fails.then(|| FAULTS[random.usize(..FAULTS.len())])
        };
        if fault.is_some() {
            self.faults.fetch_add(1, Ordering::SeqCst);
        }
        match fault {
            Some(Fault::ResetBefore) => return Ok(false),
            Some(Fault::Status(status)) => {
                let code = if status == 503 { "SlowDown" } else { "OperationAborted" };
                let text = format!("<Error><Code>{code}</Code><Message>made by a test</Message></Error>");
                let text = if method == "HEAD" { "" } else { &text };
                let length = text.len();
                let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{text}");
                client.get_mut().write_all(answer.as_bytes())?;
                return Ok(true);
            }
            Some(Fault::Delay) => std::thread::sleep(std::time::Duration::from_millis(300)),
            _ => {}
        }
        let mut store = BufReader::new(TcpStream::connect(("127.0.0.1", self.store))?);
        store.get_mut().write_all(head.as_bytes())?;
        store.get_mut().write_all(body)?;
        let Some((head, body)) = read_message(&mut store, Some(method))? else { return Ok(false) };
        self.sent.fetch_add(body.len() as u64, Ordering::SeqCst);
        match fault {
            Some(Fault::LoseAnswer) => return Ok(false),
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
            let size = usize::from_str_radix(line.trim(), 16).unwrap();
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
