//! The server itself, in this process, on real sockets on loopback.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use mirror::config::Address;
use mirror::server::{ContentKind, PublishedSite, RepositorySite, Resource, Server, Settings, Site};
use mirror::telemetry::Metrics;
use mirror::util::digest::Sha256;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

pub const DATE: &str = "Tue, 22 Feb 2022 22:02:22 GMT";
pub const SECONDS: i64 = 1_645_567_342;
pub const PACKAGES: &str = r#"{"packages":[]}"#;
pub const SOON: Duration = Duration::from_secs(10);

/// A folder of published files, and what to say about them.
pub struct Files(pub tempfile::TempDir);

impl Files {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path.replace('/', "_"))
    }

    pub fn publish(&self, path: &str, kind: ContentKind, body: impl AsRef<[u8]>) -> Resource {
        let (file, body) = (self.path(path), body.as_ref());
        std::fs::write(&file, body).expect("a file to publish");
        let (size, sha256) = (body.len() as u64, Sha256::digest(body));
        Resource {
            path: path.to_owned(),
            file,
            size,
            sha256,
            last_modified: SECONDS,
            kind,
            variants: vec![],
        }
    }

    /// One repository of each kind of thing below `/`, one below `/mirror/`, one below `/new/` without a snapshot.
    pub fn site(&self) -> Site {
        let root = vec![
            self.publish("packages.json", ContentKind::Metadata, PACKAGES),
            self.publish("p2/magento/x.json", ContentKind::Metadata, "{}"),
            self.publish("include/all$ab.json", ContentKind::ArchivedMetadata, "{\"a\":1}"),
            self.publish("packages/magento/x-1.0.zip", ContentKind::Archive, "0123456789"),
            self.publish("packages/magento/empty-1.0.zip", ContentKind::Archive, ""),
            self.publish("ledger.jsonl", ContentKind::Ledger, "{\"n\":1}\n"),
            self.publish("lastupdate", ContentKind::Text, "now"),
            self.publish("index.html", ContentKind::Page, "<p>root"),
        ];
        let mirror = vec![
            self.publish("packages.json", ContentKind::Metadata, PACKAGES),
            self.publish("index.html", ContentKind::Page, "<p>root"),
        ];
        Site::new([
            repository("/", root),
            repository("/mirror/", mirror),
            repository("/new/", vec![]),
        ])
        .expect("a valid site")
    }
}

pub fn repository(base_path: &str, resources: Vec<Resource>) -> RepositorySite {
    RepositorySite {
        name: base_path.to_owned(),
        base_path: base_path.to_owned(),
        resources: Some(resources),
    }
}

/// A running server.
pub struct Mirror {
    pub address: SocketAddr,
    pub addresses: Vec<SocketAddr>,
    pub published: PublishedSite,
    pub stop: Option<oneshot::Sender<()>>,
    pub ended: mpsc::Receiver<usize>,
    pub _runtime: Runtime,
}

impl Mirror {
    pub fn start(site: Option<Site>) -> Self {
        Self::with(site, settings())
    }

    pub fn with(site: Option<Site>, settings: Settings) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let published = PublishedSite::default();
        if let Some(site) = site {
            published.replace(site);
        }
        let server = runtime
            .block_on(Server::bind(settings, published.clone(), metrics()))
            .expect("a free port");
        let addresses = server.addresses().iter().map(|address| match address {
            Address::Tcp(address) => *address,
            Address::Unix(path) => panic!("{} is no TCP address", path.display()),
        });
        let addresses: Vec<_> = addresses.collect();
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = mpsc::channel();
        runtime.spawn(async move {
            let cut = server.run(async move { stopped.await.unwrap_or_default() }).await;
            end.send(cut).unwrap_or_default();
        });
        Self {
            address: addresses[0],
            addresses,
            published,
            stop: Some(stop),
            ended,
            _runtime: runtime,
        }
    }

    pub fn stop(&mut self) {
        self.stop
            .take()
            .expect("stopped once")
            .send(())
            .expect("a running server");
    }

    pub fn client(&self) -> Client {
        Client::to(self.address)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.client().ask("GET", path, &[])
    }
}

pub fn metrics() -> Metrics {
    Metrics::new(Path::new("/")).expect("metrics")
}

pub fn settings() -> Settings {
    Settings {
        listen: vec![([127, 0, 0, 1], 0).into()],
        drain: SOON,
        ..Settings::default()
    }
}

/// One connection.
pub struct Client(pub BufReader<TcpStream>);

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

impl Client {
    pub fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a listening server");
        stream.set_read_timeout(Some(SOON)).expect("a socket option");
        Self(BufReader::new(stream))
    }

    pub fn send(&mut self, bytes: &str) {
        self.0
            .get_mut()
            .write_all(bytes.as_bytes())
            .expect("a connection that takes bytes");
    }

    pub fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let headers: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        self.send(&format!(
            "{method} {path} HTTP/1.1\r\nHost: mirror.example.com\r\n{headers}\r\n"
        ));
        let mut answer = self.head();
        if method != "HEAD" {
            answer.body = vec![
                0;
                answer
                    .header("content-length")
                    .map_or(0, |n| n.parse().expect("a length"))
            ];
            self.0
                .read_exact(&mut answer.body)
                .expect("the body as long as announced");
        }
        answer
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line of a head");
        line.trim_end().to_owned()
    }

    pub fn head(&mut self) -> Answer {
        let status = self.line();
        let status = status
            .split(' ')
            .nth(1)
            .unwrap_or_else(|| panic!("no status line: {status:?}"));
        let status = status.parse().expect("a status code");
        let mut headers = BTreeMap::new();
        while let Some((name, value)) = self.line().split_once(": ") {
            headers.insert(name.to_owned(), value.to_owned());
        }
        Answer {
            status,
            headers,
            body: Vec::new(),
        }
    }

    /// Everything up to the end of the connection, however it ends.
    pub fn rest(&mut self) -> usize {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).ok();
        bytes.len()
    }
}

/// Bytes that differ from place to place.
pub fn noise(len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

/// More than the sockets' buffers hold, so that the server must wait for its reader.
pub fn large() -> Vec<u8> {
    noise((1 << 20) + 7).repeat(48)
}

pub fn cut_short(file: &Path, len: usize) {
    let file = std::fs::File::options().write(true).open(file);
    file.and_then(|file| file.set_len(len as u64))
        .expect("a truncated file");
}

/// A server with one large zip, and a client that has read only the head of its answer.
pub fn slow_download(settings: Settings) -> (Files, Mirror, Client) {
    let files = Files::new();
    let large_zip = files.publish("large.zip", ContentKind::Archive, large());
    let site = Site::new([repository("/", vec![large_zip])]).expect("a valid site");
    let mirror = Mirror::with(Some(site), settings);
    let mut client = mirror.client();
    client.send("GET /large.zip HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.head().status, 200);
    (files, mirror, client)
}
