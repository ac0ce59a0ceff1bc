//! The certificate authorities that are trusted: the system's, and those in the operator's file.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::error::NetworkError;
use crate::util::text_file;

/// The root certificates, read at first use and then kept: the system's folder holds hundreds of files.
#[derive(Default)]
pub(crate) struct RootCertificates {
    roots: OnceLock<Vec<Certificate<'static>>>,
    ca_file: Option<PathBuf>,
}

impl RootCertificates {
    pub(crate) fn new(ca_file: Option<PathBuf>) -> Self {
        Self { roots: OnceLock::new(), ca_file }
    }

    pub(super) fn tls_config(&self) -> Result<TlsConfig, NetworkError> {
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

    /// `SSL_CERT_FILE` and `SSL_CERT_DIR` replace the system's certificates.
    fn read(&self) -> Result<Vec<Certificate<'static>>, NetworkError> {
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::warn!(%error, "failed to read a certificate of the system");
        }
        let mut certificates = system.certs;
        if let Some(path) = &self.ca_file {
            certificates.extend(read_certificates(path)?);
        }
        let owned = |certificate: &CertificateDer<'_>| Certificate::from_der(certificate).to_owned();
        Ok(certificates.iter().map(owned).collect())
    }
}

/// The certificates in a PEM file.
///
/// # Errors
/// The file cannot be read, or contains no certificate.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, NetworkError> {
    let text = text_file::read(path).map_err(|error| NetworkError::file(path, &error))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(|error| NetworkError::file(path, &error))?;
    match certificates.is_empty() {
        true => Err(NetworkError::file(path, &"it contains no certificate in PEM format")),
        false => Ok(certificates),
    }
}
