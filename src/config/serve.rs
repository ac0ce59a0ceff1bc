//! The section `serve`: how HTTP is served, and its limits.

use std::net::Ipv6Addr;
use std::num::NonZeroUsize;
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::acme::Acme;
use super::listen_address::{Address, Addresses};
use super::repository::RepositoryConfig;
use super::trusted_proxies::TrustedProxies;
use super::units::{check_positive, count};
use super::{listen_address, units};
use crate::yaml::{Issue, Path, Report};

/// The smallest limit for a request head: every head of Composer fits.
const MIN_HEADER_SIZE: usize = 8 * 1024;

/// The HTTP server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Serve {
    /// Address and port to listen on, or a list of them. `[::]` includes IPv4; `unix:/path` is a Unix socket. Every
    /// user of the machine may connect to it, or with `unix:/path,group=NAME` that group; `,mode=0600` sets its permissions.
    #[serde(with = "listen_address")]
    #[schemars(with = "Addresses")]
    pub listen: Vec<Address>,
    /// Separate address that serves only health checks and metrics; metrics are then served nowhere else.
    #[serde(with = "listen_address", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Addresses")]
    pub admin: Vec<Address>,
    /// HTTPS: where to listen, and the certificate.
    pub tls: Option<Tls>,
    /// HTTPS with a certificate from an ACME server, such as Let's Encrypt.
    pub acme: Option<Acme>,
    /// Networks of proxies in front. In their requests the client is the one that `X-Forwarded-For` or `Forwarded` names, and
    /// on connections that begin with a PROXY header (version 1 or 2) the one that it names: in the access log and in limits per
    /// client. `unix:` stands for proxies on Unix sockets.
    pub trusted_proxies: TrustedProxies,
    /// How long new connections are still taken after the signal to stop, while `/-/readyz` answers 503, so that balancers turn
    /// away first. A second signal ends it, a third one ends `drain`.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub notice: Duration,
    /// How long running responses may take after that.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub drain: Duration,
    /// Time limit for a complete request head; for the first request it starts with the connection.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub header_timeout: Duration,
    /// How long a connection may stay open without a request.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub idle_timeout: Duration,
    /// Minimum transfer rate per client in bytes per second, averaged over `idle_timeout`; slower clients are
    /// disconnected.
    #[serde(with = "units::size")]
    #[schemars(with = "units::SizeText")]
    pub min_pace: usize,
    /// Maximum number of open connections.
    pub max_connections: NonZeroUsize,
    /// Maximum number of open connections per client: an IPv4 address, or a /64 network of IPv6. Of a client behind a trusted
    /// proxy, its concurrent requests are counted.
    pub max_connections_per_client: NonZeroUsize,
    /// Maximum size of a request head.
    #[serde(with = "units::size")]
    #[schemars(with = "units::SizeText")]
    pub max_header_size: usize,
    /// Which files are also stored compressed, for clients that accept it.
    pub compression: Compression,
}

/// HTTPS with a certificate and its key; both files are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct Tls {
    /// Address and port to listen on, or a list of them.
    #[serde(with = "listen_address", default = "default_tls_listen")]
    #[schemars(with = "Addresses")]
    pub listen: Vec<Address>,
    /// PEM file with the certificate chain, the server's certificate first.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
    /// Whether HTTP/2 is offered. Composer sometimes stalls on it with libcurl up to the one of Debian 13.
    #[serde(default)]
    pub http2: bool,
}

pub(super) fn default_tls_listen() -> Vec<Address> {
    vec![(Ipv6Addr::UNSPECIFIED, 8443).into()]
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Compression {
    /// Metadata and archives: half as much disk space again, a quarter of the traffic.
    #[default]
    All,
    Metadata,
    None,
}

impl Default for Serve {
    fn default() -> Self {
        Self {
            listen: vec![(Ipv6Addr::UNSPECIFIED, 8080).into()],
            admin: Vec::new(),
            tls: None,
            acme: None,
            trusted_proxies: TrustedProxies::default(),
            // Kubernetes takes a pod out of its services within a second or two, a health check every second within
            // three. An idle server ends in less than the ten seconds of `docker stop`.
            notice: Duration::from_secs(5),
            drain: Duration::from_secs(30),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            min_pace: 1024,
            max_connections: count(4096),
            // All clients behind a proxy that is not trusted count as one client.
            max_connections_per_client: count(2048),
            max_header_size: 16 * 1024,
            compression: Compression::All,
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self { listen: default_tls_listen(), certificate: PathBuf::new(), key: PathBuf::new(), http2: false }
    }
}

impl Serve {
    /// Resolves relative paths against `folder`.
    pub(super) fn resolve_paths(&mut self, folder: &FilePath) {
        if let Some(tls) = &mut self.tls {
            tls.certificate = folder.join(&tls.certificate);
            tls.key = folder.join(&tls.key);
        }
    }

    /// Where TLS is spoken, and the files of its certificate; `data` is the volume.
    pub fn tls(&self, data: &FilePath) -> Option<Tls> {
        self.tls.clone().or_else(|| self.acme.as_ref().map(|acme| acme.tls(data)))
    }

    pub(super) fn check(&self, repositories: &[RepositoryConfig], at: &Path, report: &mut Report) {
        let tls_listen = self.tls.as_ref().map(|tls| &tls.listen);
        let acme_listen = self.acme.as_ref().map(|acme| &acme.listen);
        if let Some(acme) = &self.acme {
            acme.check(repositories, &at.key("acme"), report);
            if self.tls.is_some() {
                let issue = Issue::new("`serve.tls` has a certificate already");
                report.add(&at.key("acme"), issue.hint("remove one of the two"));
            }
        }
        for (path, addresses, hint) in [
            (
                at.key("listen"),
                Some(&self.listen),
                "plain HTTP is always on; to keep it private, bind it to 127.0.0.1:8080 or unix:/path/of/a.socket",
            ),
            (at.key("tls").key("listen"), tls_listen, "remove `serve.tls` to turn TLS off"),
            (at.key("acme").key("listen"), acme_listen, "remove `serve.acme` to turn TLS off"),
        ] {
            if addresses.is_some_and(Vec::is_empty) && !report.is_broken(&path) {
                report.add(&path, Issue::new("expected at least one address").hint(hint));
            }
        }
        self.check_duplicate_addresses(at, report);
        if self.max_header_size < MIN_HEADER_SIZE {
            report.add(&at.key("max_header_size"), Issue::new("expected at least 8KiB"));
        }
        check_positive(self.header_timeout, &at.key("header_timeout"), report);
        check_positive(self.idle_timeout, &at.key("idle_timeout"), report);
    }

    fn check_duplicate_addresses(&self, at: &Path, report: &mut Report) {
        let mut seen: Vec<(&Address, String)> = Vec::new();
        let tls = self.tls.iter().flat_map(|tls| &tls.listen);
        let acme = self.acme.iter().flat_map(|acme| &acme.listen);
        for (path, addresses) in [
            (at.key("listen"), self.listen.iter().collect()),
            (at.key("admin"), self.admin.iter().collect()),
            (at.key("tls").key("listen"), tls.collect::<Vec<_>>()),
            (at.key("acme").key("listen"), acme.collect()),
        ] {
            for address in addresses {
                match seen.iter().find(|(other, _)| other.conflicts_with(address)) {
                    Some((_, key)) => {
                        let issue = Issue::new(format!("`{key}` already has this address"));
                        report.add(&path, issue.found(format!("`{address}`")));
                    }
                    None => seen.push((address, path.to_string())),
                }
            }
        }
    }
}
