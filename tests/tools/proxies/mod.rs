//! Real proxies and caches in front of a mirror, with the configurations of `examples/`.

mod caches;
mod client_address;
mod composer_repositories;
mod copied_folder;
mod rolling_restart;
mod unix_socket;

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::http::Client;
use crate::support::{missing, until};

/// Where the examples have their mirror, and where they listen.
const MIRROR: &str = "127.0.0.1:8080";
const TLS_LINES: [&str; 4] = ["ssl_certificate", "SSLEngine", "SSLCertificate", "ssl_certificate_key"];

/// A proxy or cache that runs, until it goes out of scope.
struct Proxy {
    name: &'static str,
    port: u16,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It ends its own processes.
        Command::new("kill").arg(self.child.id().to_string()).status().ok();
        self.child.wait().ok();
    }
}

impl Proxy {
    fn client(&self) -> Client {
        Client::local(self.port)
    }

    /// As another client than the tests are otherwise.
    fn stranger(&self) -> Client {
        Client::from_address([127, 0, 0, 2], self.port)
    }

    /// Starts `program` in the folder, where its configuration is, and waits until it listens.
    fn start(
        name: &'static str,
        folder: tempfile::TempDir,
        port: u16,
        program: &str,
        arguments: &[&str],
    ) -> Self {
        let home = folder.path();
        let mut command = Command::new(program);
        command.args(arguments).current_dir(home).env("HOME", home).env("XDG_DATA_HOME", home);
        command.env("XDG_CONFIG_HOME", home).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("{}", missing(program, &error)));
        let proxy = Self { name, port, child, _folder: folder };
        until(&format!("{name} listens"), || TcpStream::connect(("127.0.0.1", port)).is_ok());
        proxy
    }

    /// All examples, in front of the mirror at `port`.
    fn examples(port: u16) -> Vec<Self> {
        vec![
            Self::caddy(port),
            Self::nginx("proxy/nginx.conf", port),
            Self::haproxy(port),
            Self::apache("proxy/apache.conf", port),
            Self::nginx("cache/nginx.conf", port),
            Self::apache("cache/apache.conf", port),
            Self::varnish(port, "off"),
        ]
    }

    fn caddy(mirror: u16) -> Self {
        let (folder, port) = (folder(), front_port());
        let site = example(
            "proxy/Caddyfile",
            &[("mirror.example.com", &format!("http://:{port}")), (MIRROR, &format!("127.0.0.1:{mirror}"))],
        );
        let options = "{\n\tadmin off\n\tauto_https off\n}\n";
        write(&folder, "Caddyfile", &format!("{options}{site}"));
        Self::start(
            "Caddy",
            folder,
            port,
            "caddy",
            &["run", "--config", "Caddyfile", "--adapter", "caddyfile"],
        )
    }

    fn nginx(file: &'static str, mirror: u16) -> Self {
        let port = front_port();
        let site = example(
            file,
            &[("443 ssl", &format!("127.0.0.1:{port}")), (MIRROR, &format!("127.0.0.1:{mirror}"))],
        );
        Self::nginx_with(file, port, &site)
    }

    /// nginx with a configuration of its section `http`; its workers are another user's processes.
    fn nginx_with(name: &'static str, port: u16, site: &str) -> Self {
        let folder = folder();
        let site = site.replace("/var/cache/nginx", &folder.path().display().to_string());
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {}/{kind};", folder.path().display()))
            .concat();
        let main = format!(
            "user www-data; daemon off; pid nginx.pid; error_log error.log; events {{}}\nhttp {{ access_log off; {temporary}\n{site} }}"
        );
        write(&folder, "nginx.conf", &main);
        let prefix = folder.path().display().to_string();
        Self::start(name, folder, port, "nginx", &["-e", "error.log", "-p", &prefix, "-c", "nginx.conf"])
    }

    fn haproxy(mirror: u16) -> Self {
        let port = front_port();
        let servers = [("one", mirror), ("two", mirror)];
        Self::haproxy_with(port, &haproxy_example(port, servers))
    }

    fn haproxy_with(port: u16, config: &str) -> Self {
        let folder = folder();
        write(&folder, "haproxy.cfg", config);
        Self::start("HAProxy", folder, port, "haproxy", &["-db", "-f", "haproxy.cfg"])
    }

    fn apache(file: &'static str, mirror: u16) -> Self {
        let (folder, port) = (folder(), front_port());
        let home = folder.path().display().to_string();
        let mut site =
            example(file, &[("*:443", &format!("*:{port}")), (MIRROR, &format!("127.0.0.1:{mirror}"))]);
        site = site.replace("/var/cache/apache2", &home);
        let modules: String = [
            "mpm_event",
            "authz_core",
            "env",
            "headers",
            "deflate",
            "brotli",
            "filter",
            "proxy",
            "proxy_http",
            "cache",
            "cache_disk",
        ]
        .map(|module| format!("LoadModule {module}_module /usr/lib/apache2/modules/mod_{module}.so\n"))
        .concat();
        let cache = folder.path().join("mirror");
        std::fs::create_dir(&cache).unwrap();
        std::fs::set_permissions(&cache, std::fs::Permissions::from_mode(0o777)).unwrap();
        let main = format!(
            "ServerRoot {home}\nPidFile apache.pid\nDefaultRuntimeDir {home}\nErrorLog error.log\nServerName localhost\n{modules}User www-data\nGroup www-data\nListen 127.0.0.1:{port}\nAddOutputFilterByType DEFLATE application/json application/zip\n{site}"
        );
        write(&folder, "apache.conf", &main);
        let config = folder.path().join("apache.conf").display().to_string();
        Self::start(file, folder, port, "apache2", &["-DFOREGROUND", "-f", &config])
    }

    /// Varnish, which decompresses for clients unless its support of gzip is `off`.
    fn varnish(mirror: u16, gzip: &str) -> Self {
        let (folder, port) = (folder(), front_port());
        let vcl = example("cache/varnish.vcl", &[("\"8080\"", &format!("\"{mirror}\""))]);
        write(&folder, "varnish.vcl", &vcl);
        let path = |name| folder.path().join(name).display().to_string();
        let (vcl, work, listen, gzip) = (
            path("varnish.vcl"),
            path("work"),
            format!("127.0.0.1:{port}"),
            format!("http_gzip_support={gzip}"),
        );
        let arguments = ["-F", "-f", &vcl, "-n", &work, "-a", &listen, "-s", "malloc,64m", "-p", &gzip];
        let proxy = Self::start("Varnish", folder, port, "varnishd", &arguments);
        until("Varnish takes the mirror for healthy", || {
            proxy.client().request("GET", "/mirror/packages.json", &[]).status != 503
        });
        proxy
    }
}

/// The example of HAProxy, with plain HTTP and these servers.
fn haproxy_example(port: u16, servers: [(&str, u16); 2]) -> String {
    let [(_, one), (_, two)] = servers;
    example(
        "proxy/haproxy.cfg",
        &[
            (":443 ssl crt /etc/ssl/mirror.example.com.pem alpn h2,http/1.1", &format!("127.0.0.1:{port}")),
            ("one 10.0.0.11:8080", &format!("one 127.0.0.1:{one}")),
            ("two 10.0.0.12:8080", &format!("two 127.0.0.1:{two}")),
        ],
    )
}

/// An example without TLS, in which each of the texts is replaced.
fn example(file: &str, replacements: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let is_plain = |line: &&str| !TLS_LINES.iter().any(|key| line.trim().starts_with(key));
    let mut text: String = text.lines().filter(is_plain).map(|line| format!("{line}\n")).collect();
    for (from, to) in replacements {
        assert!(text.contains(from), "`{from}` in {file}");
        text = text.replace(from, to);
    }
    text
}

/// A free port below those that the system hands out, which no other test gets meanwhile: HAProxy shares a port silently.
fn front_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut ports = std::iter::from_fn(|| {
        let number = std::process::id().wrapping_mul(97) + NEXT.fetch_add(1, Ordering::Relaxed);
        u16::try_from(20_000 + number % 10_000).ok()
    });
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// A folder that other users may enter.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn write(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}
