//! `serve.acme`: HTTPS with certificates from an ACME server, such as Let's Encrypt.

use std::collections::BTreeSet;
use std::path::{Path as FilePath, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::listen_address::{self, Address, Addresses};
use super::repository::RepositoryConfig;
use super::serve::{Tls, default_tls_listen};
use crate::yaml::{Issue, Path, Report};

/// Let's Encrypt (`letsencrypt.org/docs/acme-protocol-updates`, `letsencrypt.org/docs/staging-environment`).
const PRODUCTION: &str = "https://acme-v02.api.letsencrypt.org/directory";
const STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// The name of the folder on the volume. No repository can have it.
const FOLDER: &str = ".acme";

/// HTTPS with a certificate that an ACME server (RFC 8555) gives and renews, by the challenge HTTP-01: the server asks for a file on
/// port 80 of each host, which has to lead to `serve.listen`. By setting this section you accept the terms of service of the server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Acme {
    /// Address and port to listen on with TLS, or a list of them.
    #[serde(with = "listen_address")]
    #[schemars(with = "Addresses")]
    pub listen: Vec<Address>,
    /// The ACME server: `production` or `staging` (certificates for tests, with generous limits) of Let's Encrypt, or the URL of the
    /// directory of another one. Its certificate may be signed by `git.ca_file`.
    pub directory: String,
    /// E-mail address that the server may write to.
    pub contact: Option<String>,
    /// The host names of the certificate. Default: the hosts of the repositories whose `url` begins with `https`.
    pub hosts: Vec<String>,
    /// Whether HTTP/2 is offered. Composer sometimes stalls on it with libcurl up to the one of Debian 13.
    pub http2: bool,
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            listen: default_tls_listen(),
            directory: "production".to_owned(),
            contact: None,
            hosts: Vec::new(),
            http2: false,
        }
    }
}

impl Acme {
    /// The URL of the directory.
    pub fn directory_url(&self) -> &str {
        match &*self.directory {
            "production" => PRODUCTION,
            "staging" => STAGING,
            url => url,
        }
    }

    /// The folder on the volume for what this server has given: each has accounts of its own.
    pub fn folder(&self, data: &FilePath) -> PathBuf {
        let url = self.directory_url();
        let name = url.split_once("://").map_or(url, |(_, rest)| rest);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        data.join(FOLDER).join(name.replace(|c| !is_plain(c), "_"))
    }

    /// Where the server finds the certificate and its key: one file, so that both are replaced at once.
    pub fn tls(&self, data: &FilePath) -> Tls {
        let file = self.folder(data).join(Self::CERTIFICATE);
        Tls { listen: self.listen.clone(), certificate: file.clone(), key: file, http2: self.http2 }
    }

    /// The name of the file in the folder.
    pub const CERTIFICATE: &str = "certificate.pem";

    /// The host names of the certificate, sorted.
    pub fn host_names(&self, repositories: &[RepositoryConfig]) -> BTreeSet<String> {
        let urls = repositories.iter().map(|repository| &repository.base_url);
        let of_urls = urls.filter(|url| url.scheme() == "https").filter_map(Url::domain);
        match self.hosts.is_empty() {
            true => of_urls.map(str::to_owned).collect(),
            false => self.hosts.iter().cloned().collect(),
        }
    }

    /// Checks what the type cannot express.
    pub(super) fn check(&self, repositories: &[RepositoryConfig], at: &Path, report: &mut Report) {
        if !matches!(&*self.directory, "production" | "staging") && !is_https(&self.directory) {
            let expected = "expected `production`, `staging` or the https URL of an ACME server's directory";
            report.add(&at.key("directory"), Issue::new(expected).found(format!("`{}`", self.directory)));
        }
        for (index, host) in self.hosts.iter().enumerate() {
            if let Err(issue) = check_host(host) {
                report.add(&at.key("hosts").index(index), issue.found(format!("`{host}`")));
            }
        }
        if self.host_names(repositories).is_empty() && !report.is_broken(&at.key("hosts")) {
            let issue = Issue::new("there is no host name to get a certificate for");
            report.add(at, issue.hint("set the `url` of a repository to `https://…`, or set `hosts`"));
        }
    }
}

fn is_https(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| url.scheme() == "https" && url.host().is_some())
}

fn check_host(host: &str) -> Result<(), Issue> {
    if host.starts_with("*.") {
        let issue = Issue::new("a wildcard cannot be proven by a file on a web server");
        return Err(issue.hint("name each host"));
    }
    match Host::parse(host) {
        Ok(Host::Domain(name)) if name == host => Ok(()),
        _ => Err(Issue::new("expected a host name in lower case, such as `mirror.example.com`")),
    }
}
