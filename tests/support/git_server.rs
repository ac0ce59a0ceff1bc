//! A git server over http: a bridge from sockets to the real `git http-backend`, with faults on demand.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::git::environment;

/// How the server behaves. The default is a plain git server.
#[derive(Clone, Default)]
pub struct Behaviour {
    /// The `Authorization` header to ask for.
    pub authorization: Option<String>,
    /// The challenge that asks for it, if not for a password.
    pub challenge: Option<String>,
    /// Respond to everything with this status.
    pub status: Option<u16>,
    /// Speak version 0 of git's protocol, as old servers do.
    pub old_protocol: bool,
    /// Offer no commits without their history.
    pub no_shallow: bool,
    /// List refs as a file, as a server does that only offers files.
    pub dumb: bool,
    /// Write the content type with a parameter and in other case.
    pub odd_content_type: bool,
    /// Respond to the next request with status 429 and this `Retry-After`.
    pub busy: Option<String>,
    /// Respond to everything with a web page.
    pub web_page: bool,
    /// Send redirects to this base URL.
    pub redirect: Option<String>,
    /// Close the connection after so many bytes of the response to a POST …
    pub limit: Option<usize>,
    /// … or keep it open without sending more.
    pub stall: bool,
}

/// A request that the server received.
#[derive(Clone, Debug)]
pub struct Request {
    pub line: String,
    pub headers: HashMap<String, String>,
}

/// A running server; its listener ends with it.
pub struct GitServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    root: PathBuf,
    behaviour: Mutex<Behaviour>,
    requests: Mutex<Vec<Request>>,
    stopped: AtomicBool,
}

trait Connection: Read + Write {}
impl<T: Read + Write> Connection for T {}

impl GitServer {
    /// Serves the repositories below `root`.
    pub fn start(root: &Path) -> Self {
        Self::listen(root, None)
    }

    /// The same behind TLS.
    pub fn start_tls(root: &Path, tls: Arc<rustls::ServerConfig>) -> Self {
        Self::listen(root, Some(tls))
    }

    fn listen(root: &Path, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            root: root.to_owned(),
            behaviour: Mutex::default(),
            requests: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let serving = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (shared, tls) = (serving.clone(), tls.clone());
                std::thread::spawn(move || {
                    let Ok(stream) = stream else { return };
                    // Some tests close the connection early.
                    let _ = match tls {
                        None => shared.serve(stream),
                        Some(config) => {
                            let session = rustls::ServerConnection::new(config).expect("a TLS session");
                            shared.serve(rustls::StreamOwned::new(session, stream))
                        }
                    };
                });
            }
        });
        Self { address, shared }
    }

    /// The URL of a repository below the root.
    pub fn url(&self, repository: &str) -> String {
        format!("http://{}/{repository}", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn behave(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().expect("no panic") = behaviour;
    }

    /// The requests since the last call.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.shared.requests.lock().expect("no panic"))
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, stream: impl Connection) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        let Some(request) = read_request(&mut stream)? else {
            return Ok(());
        };
        let length = request.headers.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        self.requests.lock().expect("no panic").push(request.clone());
        let mut behaviour = self.behaviour.lock().expect("no panic");
        if let Some(wait) = behaviour.busy.take() {
            return simple(stream.get_mut(), 429, &format!("Retry-After: {wait}\r\n"), "busy");
        }
        let behaviour = behaviour.clone();
        self.answer(stream.get_mut(), &request, &body, &behaviour)
    }

    fn answer(
        &self,
        to: &mut dyn Connection,
        request: &Request,
        body: &[u8],
        behaviour: &Behaviour,
    ) -> std::io::Result<()> {
        let target = request.line.split(' ').nth(1).unwrap_or("/");
        if behaviour.stall && behaviour.limit.is_none() {
            return silence(to);
        }
        if let Some(status) = behaviour.status {
            return simple(to, status, "", "no");
        }
        if let Some(base) = &behaviour.redirect {
            return simple(to, 302, &format!("Location: {base}{target}\r\n"), "");
        }
        if behaviour.authorization.is_some()
            && behaviour.authorization.as_ref() != request.headers.get("authorization")
        {
            let challenge = behaviour.challenge.as_deref().unwrap_or("Basic realm=\"git\"");
            let headers =
                format!("WWW-Authenticate: {challenge}\r\nContent-Type: text/plain; charset=utf-8\r\n");
            return simple(to, 401, &headers, "who are you?\n\x1b[31mnobody");
        }
        if behaviour.web_page {
            return simple(to, 200, "Content-Type: text/html\r\n", "<h1>Welcome</h1>");
        }
        self.backend(to, request, target, body, behaviour)
    }

    /// RFC 3875, as far as `git http-backend` needs it.
    fn backend(
        &self,
        to: &mut dyn Connection,
        request: &Request,
        target: &str,
        body: &[u8],
        behaviour: &Behaviour,
    ) -> std::io::Result<()> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = if behaviour.dumb { "" } else { query };
        let method = request.line.split(' ').next().unwrap_or("GET");
        let asked = request.headers.get("git-protocol").map_or("", String::as_str);
        let protocol = if behaviour.old_protocol { "" } else { asked };
        let mut child = Command::new("git")
            .arg("http-backend")
            .envs(environment())
            .env("GIT_PROJECT_ROOT", &self.root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("REQUEST_METHOD", method)
            .env("PATH_INFO", path)
            .env("QUERY_STRING", query)
            .env("CONTENT_LENGTH", body.len().to_string())
            .env("CONTENT_TYPE", request.headers.get("content-type").map_or("", String::as_str))
            .env("HTTP_CONTENT_ENCODING", request.headers.get("content-encoding").map_or("", String::as_str))
            .env("REMOTE_ADDR", "127.0.0.1")
            .env("GIT_PROTOCOL", protocol)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("failed to run git (is the package `git` installed?)");
        let mut input = child.stdin.take().expect("piped");
        let body = body.to_vec();
        // It may respond before it has read everything.
        let feed = std::thread::spawn(move || drop(input.write_all(&body)));
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let limit = behaviour.limit.filter(|_| method == "POST");
        let sent = relay(
            to,
            &mut output,
            limit,
            &|bytes| match method {
                "GET" if behaviour.no_shallow => replace(bytes, b"shallow", b"unknown"),
                _ => bytes,
            },
            behaviour.odd_content_type,
        );
        drop(output);
        feed.join().expect("no panic");
        child.wait()?;
        if behaviour.stall && limit.is_some() {
            return silence(to);
        }
        sent
    }
}

fn read_request(stream: &mut impl BufRead) -> std::io::Result<Option<Request>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" => break,
            text => lines.push(text.to_owned()),
        }
    }
    let headers = lines.iter().skip(1).filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
    Ok(lines.first().map(|line| Request { line: line.clone(), headers }))
}

/// Sends the backend's answer in chunks, all of it or the first `limit` bytes of its body.
fn relay(
    to: &mut dyn Connection,
    from: &mut impl BufRead,
    limit: Option<usize>,
    change: &dyn Fn(Vec<u8>) -> Vec<u8>,
    odd_content_type: bool,
) -> std::io::Result<()> {
    let mut status = "200 OK".to_owned();
    let mut headers = String::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some(("Status", value)) => status = value.to_owned(),
            Some(("Content-Type", value)) if odd_content_type => {
                headers.push_str(&format!("Content-Type: {} ; charset=utf-8\r\n", value.to_uppercase()));
            }
            Some(_) => headers.push_str(&line),
            None => break,
        }
    }
    write!(to, "HTTP/1.1 {status}\r\n{headers}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n")?;
    let mut left = limit.unwrap_or(usize::MAX);
    let mut buffer = [0; 16384];
    loop {
        let room = left.min(buffer.len());
        let count = from.read(&mut buffer[..room])?;
        if count == 0 {
            break;
        }
        write!(to, "{count:x}\r\n")?;
        to.write_all(&change(buffer[..count].to_vec()))?;
        to.write_all(b"\r\n")?;
        left -= count;
    }
    if left > 0 {
        to.write_all(b"0\r\n\r\n")?;
    }
    to.flush()
}

/// With another word of the same length.
fn replace(mut bytes: Vec<u8>, word: &[u8], with: &[u8]) -> Vec<u8> {
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(word.len()).position(|window| window == word) {
        bytes[at + found..at + found + word.len()].copy_from_slice(with);
        at += found;
    }
    bytes
}

fn simple(to: &mut dyn Connection, status: u16, headers: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    write!(
        to,
        "HTTP/1.1 {status} As Told\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )?;
    to.flush()
}

/// Until the client hangs up.
fn silence(to: &mut dyn Connection) -> std::io::Result<()> {
    to.flush()?;
    to.read(&mut [0]).map(drop)
}
