//! TLS with a certificate and key from files, which are read again when they change. A pair that cannot be used is logged,
//! and the current one stays in use. Without any certificate yet, handshakes are refused.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use super::transport::ALPN_HTTP2;
use crate::acme::validity;
use crate::config::Tls;
use crate::telemetry::Metrics;
use crate::util::text_file;

/// How often the files are read.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Whether the certificate and its key can be used.
/// Fails when a file cannot be read, is not PEM, or does not belong to the other.
pub fn check_certificate(tls: &Tls) -> Result<()> {
    parse(tls, &read(tls)?, &default_provider()).map(drop)
}

/// A certificate and key, which are in use if there are any.
pub(super) struct Certificate {
    tls: Tls,
    provider: Arc<CryptoProvider>,
    current: Arc<Current>,
    metrics: Metrics,
    /// The contents that were last read, whether they could be used or not.
    last_read: Option<Files>,
}

/// The certificate and the key.
type Files = (Vec<u8>, Vec<u8>);

#[derive(Default)]
struct Current(ArcSwapOption<CertifiedKey>);

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current(…)")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

impl Certificate {
    /// Fails when the pair cannot be used.
    pub(super) fn load(tls: Tls, metrics: Metrics) -> Result<Self> {
        let files = read(&tls)?;
        let mut certificate = Self::without(tls, metrics);
        certificate.switch_to(files)?;
        Ok(certificate)
    }

    /// The files may be missing: [`Certificate::follow`] finds them once they are there.
    pub(super) fn load_later(tls: Tls, metrics: Metrics) -> Result<Self> {
        if tls.certificate.exists() {
            return Self::load(tls, metrics);
        }
        Ok(Self::without(tls, metrics))
    }

    fn without(tls: Tls, metrics: Metrics) -> Self {
        let provider = Arc::new(default_provider());
        Self { tls, provider, current: Arc::default(), metrics, last_read: None }
    }

    /// Accepts connections with the current pair, as long as [`Certificate::follow`] runs.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .context("failed to set up TLS")?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = match self.tls.http2 {
            true => vec![ALPN_HTTP2.to_vec(), b"http/1.1".to_vec()],
            false => vec![b"http/1.1".to_vec()],
        };
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Switches to new pairs as they appear. A pair of which only one file has been replaced is logged once.
    pub(super) async fn follow(mut self) {
        loop {
            sleep(POLL_INTERVAL).await;
            // The files are small: no need for another thread.
            if let Err(error) = self.reload() {
                tracing::error!("keeping the current certificate: {error:#}");
            }
        }
    }

    fn reload(&mut self) -> Result<()> {
        let found = read(&self.tls);
        if found.as_ref().ok() == self.last_read.as_ref() {
            return Ok(());
        }
        self.last_read = None;
        self.switch_to(found?)
    }

    fn switch_to(&mut self, files: Files) -> Result<()> {
        let files = self.last_read.insert(files);
        let pair = parse(&self.tls, files, &self.provider)?;
        if let Ok(end) = validity(&files.0).and_then(|validity| Ok(Timestamp::try_from(validity.until)?)) {
            self.metrics.set_certificate_end(end);
        }
        if self.current.0.swap(Some(Arc::new(pair))).is_some() {
            tracing::info!(certificate = %self.tls.certificate.display(), "using the new certificate");
        }
        Ok(())
    }
}

fn read(tls: &Tls) -> Result<Files> {
    let read = |file: &Path| {
        text_file::read(file).map_err(|error| {
            let file = file.display();
            anyhow!("failed to read `{file}`: {error}\nhint: is it mounted, and may this user read it?")
        })
    };
    Ok((read(&tls.certificate)?, read(&tls.key)?))
}

fn parse(tls: &Tls, (certificate, key): &Files, provider: &CryptoProvider) -> Result<CertifiedKey> {
    let (certificate_file, key_file) = (tls.certificate.display(), tls.key.display());
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
    let chain = chain.with_context(|| format!("`{certificate_file}` is not PEM"))?;
    ensure!(!chain.is_empty(), "`{certificate_file}` has no certificate");
    let key = PrivateKeyDer::from_pem_slice(key)
        .with_context(|| format!("`{key_file}` has no private key in PEM"))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            anyhow!("the key `{key_file}` does not match the certificate `{certificate_file}`")
        }
        error => anyhow!("failed to use `{certificate_file}` and `{key_file}`: {error}"),
    })
}
