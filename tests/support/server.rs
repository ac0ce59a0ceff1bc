//! The server itself, in this process, on real sockets on loopback.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use mirror::config::{Address, Serve};
use mirror::server::{ContentKind, PublishedSite, RepositorySite, Resource, Server, Settings, Site};
use mirror::telemetry::Metrics;
use mirror::util::digest::Sha256;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, oneshot};

use super::http::{Client, Response};

pub const DATE: &str = "Tue, 22 Feb 2022 22:02:22 GMT";
pub const SECONDS: i64 = 1_645_567_342;
pub const PACKAGES: &str = r#"{"packages":[]}"#;
pub const SOON: Duration = Duration::from_secs(10);

/// A folder of published files and their resources.
pub struct PublishedFiles(pub tempfile::TempDir);

impl PublishedFiles {
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
            location: file.into(),
            size,
            sha256,
            last_modified: SECONDS,
            kind,
            variants: vec![],
        }
    }

    /// A repository with each kind of content at `/`, another at `/mirror/`, and one without a snapshot at `/new/`.
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
        Site::new([repository("/", root), repository("/mirror/", mirror), repository("/new/", vec![])])
            .expect("a valid site")
    }
}

pub fn repository(base_path: &str, resources: Vec<Resource>) -> RepositorySite {
    let (name, base_path) = (base_path.to_owned(), base_path.to_owned());
    RepositorySite { name, base_path, resources: Some(resources), gone: Vec::new() }
}

/// A running server.
pub struct TestServer {
    pub address: SocketAddr,
    pub addresses: Vec<SocketAddr>,
    pub published: PublishedSite,
    pub stop: Option<oneshot::Sender<()>>,
    pub hurry: Arc<Notify>,
    pub ended: mpsc::Receiver<usize>,
    pub _runtime: Runtime,
}

impl TestServer {
    pub fn start(site: Option<Site>) -> Self {
        Self::with(site, settings())
    }

    pub fn with(site: Option<Site>, serve: Serve) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let published = PublishedSite::default();
        if let Some(site) = site {
            published.replace(site);
        }
        let server = runtime.block_on(bind(serve, published.clone())).expect("a free port");
        let addresses = server.addresses().iter().map(|address| match address {
            Address::Tcp(address) => *address,
            Address::Unix(_) => panic!("{address} is no TCP address"),
        });
        let addresses: Vec<_> = addresses.collect();
        let hurry = server.hurry();
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
            hurry,
            ended,
            _runtime: runtime,
        }
    }

    pub fn stop(&mut self) {
        self.stop.take().expect("stopped once").send(()).expect("a running server");
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address, SOON)
    }

    pub fn get(&self, path: &str) -> Response {
        self.client().request("GET", path, &[])
    }
}

pub async fn bind(serve: Serve, published: PublishedSite) -> anyhow::Result<Server> {
    let settings = Settings { tls: serve.tls.clone(), serve, ..Settings::default() };
    Server::bind(settings, published, metrics()).await
}

pub fn metrics() -> Metrics {
    Metrics::new(Path::new("/")).expect("metrics")
}

pub fn settings() -> Serve {
    let listen = vec![([127, 0, 0, 1], 0).into()];
    Serve { listen, notice: Duration::ZERO, drain: SOON, ..Serve::default() }
}

/// Bytes that differ at every position.
pub fn noise(len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// More than the sockets' buffers hold, so that the server must wait for its reader.
pub fn large() -> Vec<u8> {
    noise((1 << 20) + 7).repeat(48)
}

/// The header `Repr-Digest` of a representation (RFC 9530).
pub fn repr_digest(body: &[u8]) -> String {
    use base64::Engine as _;
    let digest = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(body).0);
    format!("sha-256=:{digest}:")
}

/// Sends so many requests at once that the connection's task yields among them.
pub fn send_many_requests(client: &mut Client) {
    client.send("GET /-/livez HTTP/1.1\r\nHost: x\r\n\r\n".repeat(400));
}

pub fn cut_short(file: &Path, len: usize) {
    let file = std::fs::File::options().write(true).open(file);
    file.and_then(|file| file.set_len(len as u64)).expect("a truncated file");
}

/// A server with one large zip, and a client that has read only the head of the response.
pub fn slow_download(serve: Serve) -> (PublishedFiles, TestServer, Client) {
    let files = PublishedFiles::new();
    let large_zip = files.publish("large.zip", ContentKind::Archive, large());
    let site = Site::new([repository("/", vec![large_zip])]).expect("a valid site");
    let mirror = TestServer::with(Some(site), serve);
    let mut client = mirror.client();
    client.send("GET /large.zip HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.read_head().status, 200);
    (files, mirror, client)
}
