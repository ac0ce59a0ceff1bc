//! A proxy before a mirror that forwards requests and may change the answers.

use std::io::{BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::file_server::Request;
use super::http::Client;

/// An answer on its way to the client.
pub struct Forwarded {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Bytes of the body after which the connection ends.
    pub cut: Option<usize>,
    /// How long the proxy waits before it answers.
    pub stall: Duration,
}

impl Forwarded {
    /// Another body, sent as a whole.
    pub fn replace(&mut self, status: u16, body: impl Into<Vec<u8>>) {
        (self.status, self.body) = (status, body.into());
        self.headers.retain(|(name, _)| name != "content-range");
    }
}

type Lie = Box<dyn FnMut(&str, &mut Forwarded) + Send>;

/// The proxy; its threads end with the test's process.
pub struct LyingProxy {
    pub port: u16,
    lie: Arc<Mutex<Lie>>,
    /// The path of each request, and its range.
    requests: Arc<Mutex<Vec<String>>>,
}

impl LyingProxy {
    /// An honest proxy before a port of this machine.
    pub fn before(origin: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = Self { port, lie: Arc::new(Mutex::new(Box::new(|_, _| ()))), requests: Arc::default() };
        let (lie, requests) = (Arc::clone(&proxy.lie), Arc::clone(&proxy.requests));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (lie, requests) = (Arc::clone(&lie), Arc::clone(&requests));
                std::thread::spawn(move || {
                    let _ = forward(stream.unwrap(), origin, &lie, &requests);
                });
            }
        });
        proxy
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mirror/", self.port)
    }

    /// Changes answers from now on; `lie` gets the path of the request.
    pub fn lie(&self, lie: impl FnMut(&str, &mut Forwarded) + Send + 'static) {
        *self.lie.lock().unwrap() = Box::new(lie);
    }

    pub fn be_honest(&self) {
        self.lie(|_, _| ());
    }

    /// The requests since the last call.
    pub fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}

fn forward(
    stream: TcpStream,
    origin: u16,
    lie: &Mutex<Lie>,
    requests: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut client = BufReader::new(stream);
    while let Some(Request { path, mut headers, .. }) = Request::read(&mut client)? {
        headers.retain(|name, _| !matches!(&**name, "host" | "connection"));
        let range = headers.get("range").map(|range| format!(" {range}")).unwrap_or_default();
        requests.lock().unwrap().push(format!("{path}{range}"));
        let headers: Vec<_> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let answer = Client::local(origin).request("GET", &path, &headers);
        let mut answer = Forwarded {
            status: answer.status,
            headers: answer.headers.into_iter().collect(),
            body: answer.body,
            cut: None,
            stall: Duration::ZERO,
        };
        (lie.lock().unwrap())(&path, &mut answer);
        std::thread::sleep(answer.stall);
        let Forwarded { status, headers, body, cut, .. } = answer;
        let mut head = format!("HTTP/1.1 {status} Forwarded\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers.iter().filter(|(name, _)| name != "content-length") {
            head += &format!("{name}: {value}\r\n");
        }
        let stream = client.get_mut();
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        stream.write_all(&body[..cut.unwrap_or(body.len()).min(body.len())])?;
        if cut.is_some() {
            break;
        }
    }
    Ok(())
}
