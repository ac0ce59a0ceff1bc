//! Which certificate authorities are trusted: the system's, and the operator's own file in addition.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::super::error::FetchErrorKind;

/// The roots, read at first use and then kept: a folder of certificates takes some 60 ms to read.
#[derive(Default)]
pub(in super::super) struct RootCertificates {
    roots: OnceLock<Vec<Certificate<'static>>>,
    ca_file: Option<PathBuf>,
}

impl RootCertificates {
    pub(in super::super) fn new(ca_file: Option<PathBuf>) -> Self {
        Self {
            roots: OnceLock::new(),
            ca_file,
        }
    }

    pub(super) fn tls(&self) -> Result<TlsConfig, FetchErrorKind> {
        let roots = match self.roots.get() {
            Some(roots) => roots,
            None => {
                let read = self.read()?;
                self.roots.get_or_init(|| read)
            }
        };
        Ok(TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(roots))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build())
    }

    /// The system's roots honour `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    fn read(&self) -> Result<Vec<Certificate<'static>>, FetchErrorKind> {
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::warn!(%error, "failed to read a certificate of the system");
        }
        let mut roots: Vec<_> = system.certs.iter().map(own).collect();
        if let Some(path) = &self.ca_file {
            roots.extend(certificates(path)?.iter().map(own));
        }
        Ok(roots)
    }
}

/// The certificates in a file, of which there is at least one.
pub(in super::super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FetchErrorKind> {
    let unreadable = |reason: String| FetchErrorKind::File {
        path: path.to_owned(),
        reason,
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let found = found.map_err(|error| unreadable(error.to_string()))?;
    match found.is_empty() {
        true => Err(unreadable("it holds no certificate in PEM format".into())),
        false => Ok(found),
    }
}

fn own(certificate: &CertificateDer<'_>) -> Certificate<'static> {
    Certificate::from_der(certificate).to_owned()
}
