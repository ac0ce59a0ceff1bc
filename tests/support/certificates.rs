//! A certificate authority and a certificate of it for 127.0.0.1 and localhost.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

/// Files of a private certificate authority.
pub struct CertificateAuthority {
    dir: TempDir,
}

impl CertificateAuthority {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "Test CA");
        let ca_key = KeyPair::generate().unwrap();
        write("ca.pem", ca.self_signed(&ca_key).unwrap().pem());
        write("ca.key", ca_key.serialize_pem());
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut server = CertificateParams::new(names).unwrap();
        server.use_authority_key_identifier_extension = true;
        let server_key = KeyPair::generate().unwrap();
        let issuer = Issuer::new(ca, ca_key);
        write("server.pem", server.signed_by(&server_key, &issuer).unwrap().pem());
        write("server.key", server_key.serialize_pem());
        Self { dir }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The authority's certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// The certificate and its key.
    pub fn server_files(&self) -> (PathBuf, PathBuf) {
        (self.file("server.pem"), self.file("server.key"))
    }

    /// For a server that presents the certificate.
    pub fn server(&self) -> Arc<rustls::ServerConfig> {
        self.server_config("server")
    }

    /// For a server that presents the certificate of the authority as its own.
    pub fn server_with_ca_certificate(&self) -> Arc<rustls::ServerConfig> {
        self.server_config("ca")
    }

    fn server_config(&self, name: &str) -> Arc<rustls::ServerConfig> {
        let chain =
            CertificateDer::pem_file_iter(self.file(&format!("{name}.pem"))).unwrap().map(Result::unwrap);
        let key = PrivateKeyDer::from_pem_file(self.file(&format!("{name}.key"))).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain.collect(), key));
        Arc::new(config.unwrap())
    }
}
