//! A small HTTP server: the files of a folder, as a simple web server has them, and whatever a test answers instead.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

/// A request that was received.
#[derive(Debug, Clone)]
pub struct Request {
    /// With its query.
    pub path: String,
    /// By names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    /// The next request of a client; `None` when it has closed the connection.
    pub fn read(client: &mut impl BufRead) -> std::io::Result<Option<Self>> {
        let mut line = String::new();
        if client.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            client.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok());
        let mut body = vec![0; length.unwrap_or_default()];
        client.read_exact(&mut body)?;
        Ok(Some(Self { path, headers, body }))
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Bytes of the body after which the connection ends.
    pub cut: Option<usize>,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), cut: None }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Gives another answer than the file's.
type Hook = Box<dyn FnMut(&Request, &Answer) -> Option<Answer> + Send>;

/// The server; its threads end with the test's process.
pub struct FileServer {
    pub port: u16,
    folder: TempDir,
    writes: AtomicU64,
    hook: Arc<Mutex<Hook>>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl FileServer {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let hook: Hook = Box::new(|_, _| None);
        let server = Self {
            port,
            folder,
            writes: AtomicU64::new(0),
            hook: Arc::new(Mutex::new(hook)),
            requests: Arc::default(),
        };
        let root = server.folder.path().to_owned();
        let (hook, requests) = (Arc::clone(&server.hook), Arc::clone(&server.requests));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (root, hook, requests) = (root.clone(), Arc::clone(&hook), Arc::clone(&requests));
                std::thread::spawn(move || {
                    let _ = serve(stream.unwrap(), &root, &hook, &requests);
                });
            }
        });
        server
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Each write has a later date, since a client knows only seconds.
    pub fn write(&self, path: &str, contents: impl AsRef<[u8]>) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, contents).unwrap();
        let seconds = 1_700_000_000 + self.writes.fetch_add(1, Ordering::Relaxed);
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    }

    /// Answers by `hook` from now on, where it gives an answer; it is shown the file's.
    pub fn answer(&self, hook: impl FnMut(&Request, &Answer) -> Option<Answer> + Send + 'static) {
        *self.hook.lock().unwrap() = Box::new(hook);
    }

    /// The requests since the last call.
    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }

    /// Their paths, sorted.
    pub fn take_paths(&self) -> Vec<String> {
        let mut paths: Vec<_> = self.take_requests().into_iter().map(|request| request.path).collect();
        paths.sort();
        paths
    }
}

fn serve(
    stream: TcpStream,
    root: &Path,
    hook: &Mutex<Hook>,
    requests: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let mut client = BufReader::new(stream);
    while let Some(request) = Request::read(&mut client)? {
        requests.lock().unwrap().push(request.clone());
        let file = file(root, &request);
        let answer = (hook.lock().unwrap())(&request, &file).unwrap_or(file);
        let mut head = format!("HTTP/1.1 {} Answer\r\n", answer.status);
        if answer.status != 304 {
            head += &format!("Content-Length: {}\r\n", answer.body.len());
        }
        for (name, value) in &answer.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let stream = client.get_mut();
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        stream.write_all(&answer.body[..answer.cut.unwrap_or(answer.body.len())])?;
        if answer.cut.is_some() {
            break;
        }
    }
    Ok(())
}

/// The file of a request, or 304 if its date is the one that the client has.
fn file(root: &Path, request: &Request) -> Answer {
    let path = request.path.split('?').next().unwrap_or_default().replace("%24", "$");
    let path = root.join(path.trim_start_matches('/'));
    let Ok(body) = std::fs::read(&path) else { return Answer::new(404, "not here") };
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    let date = httpdate::fmt_http_date(modified);
    let is_known = request.headers.get("if-modified-since") == Some(&date);
    let answer = if is_known { Answer::new(304, "") } else { Answer::new(200, body) };
    answer.with("Last-Modified", &date)
}
