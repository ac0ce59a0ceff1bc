//! A certificate authority and a certificate for 127.0.0.1 and localhost, made by the real openssl.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

use super::run;

/// Files of a private certificate authority.
pub struct Authority {
    dir: TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let authority = Self {
            dir: tempfile::tempdir().expect("a temporary folder"),
        };
        std::fs::write(
            authority.file("server.ext"),
            "subjectAltName=IP:127.0.0.1,DNS:localhost\n",
        )
        .expect("written");
        let key = [
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ];
        authority.openssl(
            &[
                "req",
                "-x509",
                "-days",
                "2",
                "-subj",
                "/CN=Test CA",
                "-keyout",
                "ca.key",
                "-out",
                "ca.pem",
            ],
            &key,
        );
        authority.openssl(
            &[
                "req",
                "-subj",
                "/CN=localhost",
                "-keyout",
                "server.key",
                "-out",
                "server.csr",
            ],
            &key,
        );
        authority.openssl(
            &[
                "x509",
                "-req",
                "-days",
                "2",
                "-in",
                "server.csr",
                "-CA",
                "ca.pem",
                "-CAkey",
                "ca.key",
            ],
            &["-CAcreateserial", "-extfile", "server.ext", "-out", "server.pem"],
        );
        authority
    }

    fn openssl(&self, args: &[&str], more: &[&str]) {
        run(
            Command::new("openssl")
                .current_dir(self.dir.path())
                .args(args)
                .args(more),
            "openssl",
        );
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

    /// For a server that shows the certificate.
    pub fn server(&self) -> Arc<rustls::ServerConfig> {
        self.shows("server")
    }

    /// For a server that shows the certificate of the authority as its own.
    pub fn server_with_own(&self) -> Arc<rustls::ServerConfig> {
        self.shows("ca")
    }

    fn shows(&self, name: &str) -> Arc<rustls::ServerConfig> {
        let chain = CertificateDer::pem_file_iter(self.file(&format!("{name}.pem")))
            .expect("a file")
            .map(|c| c.expect("PEM"));
        let key = PrivateKeyDer::from_pem_file(self.file(&format!("{name}.key"))).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_no_client_auth()
                    .with_single_cert(chain.collect(), key)
            });
        Arc::new(config.expect("a TLS configuration"))
    }
}
