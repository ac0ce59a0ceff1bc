//! git's smart HTTP transport over ureq and rustls: no OpenSSL in the binary, proxies from the environment.
//!
//! libgit2 asks for two things: the list of refs (a GET) and a pack (a POST with what it wrote before).

use std::io::{self, Read, Write};
use std::sync::Arc;

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport};
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

use super::Settings;

/// Makes this the transport of `http://` and `https://`.
pub(super) fn register(settings: &Settings) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let found = rustls_native_certs::load_native_certs();
    let roots: Vec<_> = found
        .certs
        .iter()
        .map(|c| ureq::tls::Certificate::from_der(c).to_owned())
        .collect();
    if roots.is_empty() {
        tracing::warn!(
            "no certificate authorities found: https sources will fail\nhint: mount a bundle and set SSL_CERT_FILE"
        );
    }
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .build();
    let agent: Agent = Agent::config_builder()
        .tls_config(tls)
        .timeout_connect(Some(settings.connect_timeout))
        .timeout_recv_response(Some(settings.timeout))
        .http_status_as_error(false)
        .user_agent(concat!("git/2.0 (mirror ", env!("CARGO_PKG_VERSION"), ")"))
        .build()
        .into();
    for scheme in ["http", "https"] {
        let agent = agent.clone();
        // SAFETY: called once, before any other use of git2, by `init`.
        let registered = unsafe {
            git2::transport::register(scheme, move |remote| {
                Transport::smart(remote, true, Subtransport { agent: agent.clone() })
            })
        };
        if let Err(error) = registered {
            tracing::error!("failed to register the transport for {scheme}: {error}");
        }
    }
}

struct Subtransport {
    agent: Agent,
}

impl SmartSubtransport for Subtransport {
    fn action(&self, url: &str, action: Service) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let url = url.trim_end_matches('/');
        let (url, post) = match action {
            Service::UploadPackLs => (format!("{url}/info/refs?service=git-upload-pack"), None),
            Service::UploadPack => (format!("{url}/git-upload-pack"), Some(Vec::new())),
            Service::ReceivePackLs | Service::ReceivePack => {
                return Err(git2::Error::from_str("pushing is not supported"));
            }
        };
        Ok(Box::new(Exchange {
            agent: self.agent.clone(),
            url,
            post,
            body: None,
        }))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// One request and its response: what is written is sent at the first read.
struct Exchange {
    agent: Agent,
    url: String,
    /// The body to send; `None` asks with GET.
    post: Option<Vec<u8>>,
    body: Option<Box<dyn Read + Send>>,
}

impl Exchange {
    fn send(&mut self) -> io::Result<Box<dyn Read + Send>> {
        let answer = match self.post.take() {
            None => self.agent.get(&self.url).call(),
            Some(body) => self
                .agent
                .post(&self.url)
                .header("Content-Type", "application/x-git-upload-pack-request")
                .header("Accept", "application/x-git-upload-pack-result")
                .send(&body[..]),
        };
        let answer = answer.map_err(io::Error::other)?;
        match answer.status().as_u16() {
            200 => {}
            401 | 403 => {
                return Err(io::Error::other(
                    "the server refused the credentials, or wants some",
                ));
            }
            404 => return Err(io::Error::other("the server knows no such repository (404)")),
            status => {
                return Err(io::Error::other(format!(
                    "the server answered with status {status}"
                )));
            }
        }
        let kind = answer
            .headers()
            .get("content-type")
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        if !kind.starts_with("application/x-git-upload-pack") {
            return Err(io::Error::other(format!(
                "not a git repository: the server answered with {kind:?}"
            )));
        }
        Ok(Box::new(answer.into_body().into_reader()))
    }
}

impl Read for Exchange {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.body.is_none() {
            self.body = Some(self.send()?);
        }
        self.body.as_mut().map_or(Ok(0), |body| body.read(buffer))
    }
}

impl Write for Exchange {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.post.get_or_insert_default().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
