//! The HTTP client of the tests: HTTP/1.1 written and read byte by byte, so that tests can send what no library sends.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// By names in lower case; several values of one name are joined as RFC 9110 section 5.2 says.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body in UTF-8")
    }

    pub fn into_text(self) -> String {
        String::from_utf8(self.body).expect("a body in UTF-8")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a body in JSON")
    }
}

/// One connection.
pub struct Client(pub BufReader<TcpStream>);

impl Client {
    pub fn connect(address: SocketAddr, read_timeout: Duration) -> Self {
        let stream = TcpStream::connect(address).expect("a listening server");
        stream.set_read_timeout(Some(read_timeout)).expect("a socket option");
        Self(BufReader::new(stream))
    }

    /// To a port of this machine.
    pub fn local(port: u16) -> Self {
        Self::connect(([127, 0, 0, 1], port).into(), Duration::from_secs(120))
    }

    /// To a port of this machine, from another of its addresses: the server takes it for another client.
    pub fn from_address(address: [u8; 4], port: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let stream = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind((address, 0).into()).unwrap();
            socket.connect(([127, 0, 0, 1], port).into()).await
        });
        let stream = stream.expect("a listening server").into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        Self(BufReader::new(stream))
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("a connection that takes bytes");
    }

    /// The server may close before it has read everything.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.0.get_mut().write_all(bytes.as_ref())
    }

    pub fn shutdown_write(&mut self) {
        self.0.get_ref().shutdown(Shutdown::Write).expect("a connection");
    }

    /// Sends a request without a body and reads the response.
    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        self.send(format!("{method} {path} HTTP/1.1\r\nHost: mirror.example.com\r\n{headers}\r\n"));
        let mut response = self.read_head();
        if method != "HEAD" {
            let length = response.header("content-length");
            response.body = vec![0; length.map_or(0, |length| length.parse().expect("a length"))];
            self.read_exact(&mut response.body);
        }
        response
    }

    /// Reads a response up to its body.
    pub fn read_head(&mut self) -> Response {
        self.try_read_head().expect("the head of a response")
    }

    fn try_read_head(&mut self) -> Option<Response> {
        let status = self.read_line().ok()?;
        let status = status.split(' ').nth(1)?.parse().ok()?;
        let mut headers = BTreeMap::new();
        while let Some((name, value)) = self.read_line().ok()?.split_once(": ") {
            headers
                .entry(name.to_ascii_lowercase())
                .and_modify(|values: &mut String| *values = format!("{values}, {value}"))
                .or_insert_with(|| value.to_owned());
        }
        let body = Vec::new();
        Some(Response { status, headers, body })
    }

    pub fn read_line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    pub fn read_exact(&mut self, bytes: &mut [u8]) {
        self.0.read_exact(bytes).expect("as many bytes as announced");
    }

    /// Everything up to the end of the connection, however it ends.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).ok();
        bytes
    }

    /// The number of bytes up to the end of the connection, however it ends.
    pub fn rest(&mut self) -> usize {
        self.read_to_end().len()
    }
}

/// Sends a request on a connection of its own. `headers` are lines that end in CRLF.
pub fn request(port: u16, method: &str, path: &str, headers: &str) -> Response {
    send_request(port, method, path, headers, "")
}

pub fn get(port: u16, path: &str) -> Response {
    request(port, "GET", path, "")
}

pub fn post(port: u16, path: &str, headers: &str, body: &str) -> Response {
    let length = body.len();
    let headers = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n{headers}");
    send_request(port, "POST", path, &headers, body)
}

fn send_request(port: u16, method: &str, path: &str, headers: &str, body: &str) -> Response {
    let mut client = Client::local(port);
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n{body}"));
    let mut response = client.read_head();
    response.body = client.read_to_end();
    response
}

/// The whole response to a GET, or `None` when there is none: the server may be killed at any moment.
pub fn try_get(port: u16, path: &str) -> Option<Response> {
    try_get_with(port, path, "")
}

/// The same with headers, lines that end in CRLF.
pub fn try_get_with(port: u16, path: &str, headers: &str) -> Option<Response> {
    let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let mut client = Client(BufReader::new(stream));
    client.try_send(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n")).ok()?;
    let mut response = client.try_read_head()?;
    client.0.read_to_end(&mut response.body).ok()?;
    let length = response.header("content-length").map(str::parse::<usize>);
    let whole = length.is_none_or(|length| length == Ok(response.body.len()));
    whole.then_some(response)
}

pub fn is_ready(port: u16) -> bool {
    try_get(port, "/-/readyz").is_some_and(|response| response.status == 200)
}
