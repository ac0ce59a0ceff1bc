//! TLS with a certificate and key from files, which are read again when they change. A pair that cannot be used is logged,
//! and the current one stays in use.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use arc_swap::ArcSwap;
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
use crate::config::Tls;
use crate::util::text_file;

/// How often the files are read.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Whether the certificate and its key can be used.
/// Fails when a file cannot be read, is not PEM, or does not belong to the other.
pub fn check_certificate(tls: &Tls) -> Result<()> {
    Certificate::load(tls.clone()).map(drop)
}

/// A certificate and key in use.
pub(super) struct Certificate {
    tls: Tls,
    provider: Arc<CryptoProvider>,
    current: Arc<Current>,
    /// The contents that were last read, whether they could be used or not.
    last_read: Option<Files>,
}

/// The certificate and the key.
type Files = (Vec<u8>, Vec<u8>);

struct Current(ArcSwap<CertifiedKey>);

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current(…)")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Certificate {
    pub(super) fn load(tls: Tls) -> Result<Self> {
        let provider = Arc::new(default_provider());
        let files = read(&tls)?;
        let pair = parse(&tls, &files, &provider)?;
        Ok(Self {
            tls,
            provider,
            current: Arc::new(Current(ArcSwap::from_pointee(pair))),
            last_read: Some(files),
        })
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
        let found = self.last_read.insert(found?);
        let pair = parse(&self.tls, found, &self.provider)?;
        self.current.0.store(Arc::new(pair));
        tracing::info!(certificate = %self.tls.certificate.display(), "using the new certificate");
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
