//! Checks the host key of an ssh server against a known_hosts file.
//!
//! `@cert-authority` lines are not supported, so no host certificate is accepted.

use std::path::{Path, PathBuf};

use russh::Preferred;
use russh::client::Handler;
use russh::keys::known_hosts::known_host_keys_path;
use russh::keys::{Algorithm, PublicKey, PublicKeyOrCertificate};

use super::super::error::FetchErrorKind;
use super::super::url::SshUrl;
use super::smart_transport::ErrorSlot;
use crate::net::NetworkError;

/// The known keys of one host.
#[derive(Clone)]
pub(super) struct KnownHosts {
    file: PathBuf,
    host: String,
    port: u16,
    keys: Vec<PublicKey>,
}

impl KnownHosts {
    pub(super) fn read(file: &Path, url: &SshUrl) -> Result<Self, NetworkError> {
        let SshUrl { host, port, .. } = url;
        // russh treats a file that it cannot open as an empty one.
        std::fs::File::open(file).map_err(|error| NetworkError::file(file, &error))?;
        let keys =
            known_host_keys_path(host, *port, file).map_err(|error| NetworkError::file(file, &error))?;
        Ok(Self {
            file: file.to_owned(),
            host: host.clone(),
            port: *port,
            keys: keys.into_iter().map(|(_, key)| key).collect(),
        })
    }

    /// Host key algorithms, those of the known keys first, so that the server presents a key that we know.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let is_known = |algorithm: &Algorithm| {
            let mut known = self.keys.iter().map(PublicKey::algorithm);
            known.any(|known| known == *algorithm || (known.is_rsa() && algorithm.clone().is_rsa()))
        };
        let (mut first, rest): (Vec<_>, Vec<_>) = Preferred::DEFAULT.key.iter().cloned().partition(is_known);
        first.extend(rest);
        first
    }

    fn refusal(&self, offered: &PublicKey) -> Result<FetchErrorKind, russh::Error> {
        // sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".
        let name = match self.port {
            22 => self.host.clone(),
            port => format!("[{}]:{port}", self.host),
        };
        let line = format!("{name} {}", offered.to_openssh()?);
        let (host, file) = (self.host.clone(), self.file.clone());
        Ok(match self.keys.is_empty() {
            true => FetchErrorKind::HostKeyUnknown { host, file, line },
            false => FetchErrorKind::HostKeyChanged { host, file, line },
        })
    }
}

/// Accepts known keys and remembers why it refused another.
#[derive(Clone)]
pub(super) struct HostKeyCheck {
    known: KnownHosts,
    refusal: ErrorSlot,
}

impl HostKeyCheck {
    pub(super) fn new(known: KnownHosts) -> Self {
        let refusal = ErrorSlot::default();
        Self { known, refusal }
    }

    pub(super) fn take_refusal(&self) -> Option<FetchErrorKind> {
        self.refusal.take()
    }
}

impl Handler for HostKeyCheck {
    type Error = russh::Error;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = offered else {
            return Ok(false);
        };
        let mut known = self.known.keys.iter();
        if known.any(|known| known.key_data() == key.key_data()) {
            return Ok(true);
        }
        self.refusal.set(self.known.refusal(key)?);
        Ok(false)
    }
}
