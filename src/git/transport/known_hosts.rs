//! Whether an ssh server is the one that it should be: its key against a known_hosts file.
//!
//! Lines of certificate authorities (`@cert-authority`) are not understood, so no certificate is asked for.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use russh::Preferred;
use russh::client::Handler;
use russh::keys::known_hosts::known_host_keys_path;
use russh::keys::{Algorithm, PublicKey, PublicKeyOrCertificate};

use super::super::error::FetchErrorKind;
use super::super::url::SshUrl;

/// The keys by which one host is known.
#[derive(Clone)]
pub(super) struct KnownHosts {
    file: PathBuf,
    host: String,
    port: u16,
    keys: Vec<PublicKey>,
}

impl KnownHosts {
    pub(super) fn read(file: &Path, address: &SshUrl) -> Result<Self, FetchErrorKind> {
        let SshUrl { host, port, .. } = address;
        let unreadable = |reason: String| FetchErrorKind::File {
            path: file.to_owned(),
            reason,
        };
        // russh takes a file that it cannot open for an empty one.
        std::fs::File::open(file).map_err(|error| unreadable(error.to_string()))?;
        let keys = known_host_keys_path(host, *port, file).map_err(|error| unreadable(error.to_string()))?;
        Ok(Self {
            file: file.to_owned(),
            host: host.clone(),
            port: *port,
            keys: keys.into_iter().map(|(_, key)| key).collect(),
        })
    }

    /// Host key algorithms with those of the known keys first, so that the server shows the key that we know.
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

/// Lets the known keys pass and remembers why it refused another.
#[derive(Clone)]
pub(super) struct HostKeyCheck {
    known: KnownHosts,
    refused: Arc<Mutex<Option<FetchErrorKind>>>,
}

impl HostKeyCheck {
    pub(super) fn new(known: KnownHosts) -> Self {
        Self {
            known,
            refused: Arc::default(),
        }
    }

    /// Why the key was refused, if it was.
    pub(super) fn refused(&self) -> Option<FetchErrorKind> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Handler for HostKeyCheck {
    type Error = russh::Error;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = offered else {
            return Ok(false);
        };
        if self
            .known
            .keys
            .iter()
            .any(|known| known.key_data() == key.key_data())
        {
            return Ok(true);
        }
        let refusal = self.known.refusal(key)?;
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
        Ok(false)
    }
}
