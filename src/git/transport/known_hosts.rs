//! Which host keys and certificates a known_hosts file accepts (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"), as ssh decides it.
//!
//! Lines for `[host]:port` take precedence over those for the host alone. A certificate of an unknown authority is treated as
//! the key that it contains. A revoked key is refused, whatever other lines say.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use parking_lot::Mutex;
use regex::RegexBuilder;
use russh::Preferred;
use russh::client::Handler;
use russh::keys::ssh_key::known_hosts::{Entry, HostPatterns, Marker};
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKeyOrCertificate};
use sha1::Sha1;

use super::super::error::FetchErrorKind;
use super::super::url::SshUrl;

use crate::net::NetworkError;
use crate::util::text_file;

/// The lines of a known_hosts file that concern one host.
#[derive(Clone)]
pub(super) struct KnownHosts {
    file: PathBuf,
    host: String,
    /// The name of this host and port in the file.
    name: String,
    lines: Vec<Line>,
}

#[derive(Clone)]
struct Line {
    entry: Entry,
    /// Whether it names the port as well as the host.
    with_port: bool,
}

impl KnownHosts {
    /// Ignores malformed lines, as ssh does, unless they revoke a key.
    pub(super) fn read(file: &Path, url: &SshUrl) -> Result<Self, NetworkError> {
        let text = text_file::read(file).map_err(|error| NetworkError::file(file, &error))?;
        let name = match url.port {
            22 => url.host.clone(),
            port => format!("[{}]:{port}", url.host),
        };
        let mut lines = Vec::new();
        for (index, line) in String::from_utf8_lossy(&text).lines().enumerate() {
            let words: Vec<_> = line.split_whitespace().collect();
            let Some(first) = words.first().filter(|word| !word.starts_with('#')) else { continue };
            match words.join(" ").parse::<Entry>() {
                Ok(entry) if names(&entry, &name) => lines.push(Line { entry, with_port: true }),
                Ok(entry) if names(&entry, &url.host) => lines.push(Line { entry, with_port: false }),
                Ok(_) => {}
                Err(error) if *first == Marker::Revoked.as_str() => {
                    let reason = format!("line {} revokes a key that cannot be read: {error}", index + 1);
                    return Err(NetworkError::file(file, &reason));
                }
                Err(_) => {}
            }
        }
        Ok(Self { file: file.to_owned(), host: url.host.clone(), name, lines })
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Whether no key of this host can be accepted.
    pub(super) fn is_empty(&self) -> bool {
        self.keys(None).is_empty() && self.authorities().is_empty()
    }

    /// Host key algorithms, those of the known keys first, so that the server presents a known key.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let (mut first, rest): (Vec<_>, Vec<_>) =
            Preferred::DEFAULT.key.iter().cloned().partition(|algorithm| self.has_key_for(algorithm));
        first.extend(rest);
        first
    }

    /// Algorithms of certificates, which are preferred to plain keys: all if an authority is known, else those of known keys.
    pub(super) fn certificate_algorithms(&self) -> Vec<Algorithm> {
        let has_authority = !self.authorities().is_empty();
        let all = Preferred::DEFAULT.key.iter().filter(|algorithm| !is_sha1(algorithm));
        all.filter(|algorithm| has_authority || self.has_key_for(algorithm)).cloned().collect()
    }

    fn has_key_for(&self, algorithm: &Algorithm) -> bool {
        let is_rsa = algorithm.clone().is_rsa();
        let is_for = |key: &&KeyData| key.algorithm() == *algorithm || (is_rsa && key.algorithm().is_rsa());
        self.keys(None).into_iter().filter(is_for).any(|key| !self.is_revoked(key))
    }

    fn authorities(&self) -> Vec<&KeyData> {
        self.keys(Some(Marker::CertAuthority))
    }

    /// The keys of the lines with this marker: of those with the port, else of those with the host alone.
    fn keys(&self, marker: Option<Marker>) -> Vec<&KeyData> {
        let marked = || self.lines.iter().filter(move |line| line.entry.marker() == marker.as_ref());
        let with_port = marked().any(|line| line.with_port);
        marked()
            .filter(|line| line.with_port == with_port)
            .map(|line| line.entry.public_key().key_data())
            .collect()
    }

    fn is_revoked(&self, key: &KeyData) -> bool {
        let mut revoked = self.lines.iter().filter(|line| line.entry.marker() == Some(&Marker::Revoked));
        revoked.any(|line| line.entry.public_key().key_data() == key)
    }

    /// Fails unless the known hosts accept this key or certificate.
    pub(super) fn check(&self, offered: &PublicKeyOrCertificate) -> Result<(), FetchErrorKind> {
        let key = offered.public_key();
        let certificate = offered.certificate();
        let (host, file) = (self.host.clone(), self.file.clone());
        if self.is_revoked(key.key_data())
            || certificate.is_some_and(|certificate| self.is_revoked(certificate.signature_key()))
        {
            return Err(FetchErrorKind::HostKeyRevoked { host, file });
        }
        let objection = certificate.map(|certificate| self.objection(certificate));
        if matches!(objection, Some(None)) || self.keys(None).contains(&key.key_data()) {
            return Ok(());
        }
        let line = format!("{} {}", self.name, key.to_openssh().unwrap_or_default());
        Err(match objection.flatten() {
            Some(reason) if !self.authorities().is_empty() => {
                FetchErrorKind::HostCertificate { host, file, reason }
            }
            _ if self.keys(None).is_empty() => FetchErrorKind::HostKeyUnknown { host, file, line },
            _ => FetchErrorKind::HostKeyChanged { host, file, line },
        })
    }

    /// Why a host certificate is not accepted (PROTOCOL.certkeys).
    fn objection(&self, certificate: &Certificate) -> Option<String> {
        let authorities = self.authorities().into_iter().map(|key| key.fingerprint(HashAlg::Sha256));
        let authorities: Vec<_> = authorities.collect();
        let authority = certificate.signature_key().fingerprint(HashAlg::Sha256);
        let principals = certificate.valid_principals();
        let now = Timestamp::now().as_second().unsigned_abs();
        if !authorities.contains(&authority) {
            Some(format!("it is signed by another authority ({authority})"))
        } else if !certificate.cert_type().is_host() {
            Some("it is a certificate for users".into())
        } else if !principals.is_empty() && !principals.contains(&self.host) {
            Some(format!("it is for {}", principals.join(", ")))
        } else if now < certificate.valid_after() {
            Some(format!("it is valid only from {}", date(certificate.valid_after())))
        } else if now >= certificate.valid_before() {
            Some(format!("it has expired on {}", date(certificate.valid_before())))
        } else if let Some(option) = certificate.critical_options().keys().next() {
            Some(format!("it has the option `{option}`, which is not known for hosts"))
        } else if is_sha1(&certificate.signature().algorithm()) {
            Some("it is signed with SHA-1".into())
        } else if certificate.validate(&authorities).is_err() {
            Some("its signature is wrong".into())
        } else {
            None
        }
    }
}

/// Accepts the keys that the known hosts accept. Keeps the reason of a refusal, because russh's error has none.
#[derive(Clone)]
pub(super) struct HostKeyCheck {
    known: KnownHosts,
    refusal: Arc<Mutex<Option<FetchErrorKind>>>,
}

impl HostKeyCheck {
    pub(super) fn new(known: KnownHosts) -> Self {
        Self { known, refusal: Arc::default() }
    }

    pub(super) fn take_refusal(&self) -> Option<FetchErrorKind> {
        self.refusal.lock().take()
    }
}

impl Handler for HostKeyCheck {
    type Error = russh::Error;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let checked = self.known.check(offered);
        let is_accepted = checked.is_ok();
        if let Err(refusal) = checked {
            *self.refusal.lock() = Some(refusal);
        }
        Ok(is_accepted)
    }
}

/// The day of a certificate's time limit.
pub(super) fn date(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "a distant day".into(), |time| time.strftime("%Y-%m-%d").to_string())
}

fn is_sha1(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::Rsa { hash: None })
}

/// Whether a line is for the host with this name.
fn names(entry: &Entry, name: &str) -> bool {
    match entry.host_patterns() {
        HostPatterns::HashedName { salt, hash } => Hmac::<Sha1>::new_from_slice(salt)
            .is_ok_and(|hmac| hmac.chain_update(name).verify_slice(hash).is_ok()),
        HostPatterns::Patterns(patterns) => {
            let (negated, patterns): (Vec<_>, Vec<_>) =
                patterns.iter().partition(|pattern| pattern.starts_with('!'));
            patterns.iter().any(|pattern| matches(pattern, name))
                && !negated.iter().any(|pattern| matches(&pattern[1..], name))
        }
    }
}

/// Whether a pattern with `*` and `?` matches this host, ignoring case (ssh_config(5), "PATTERNS").
fn matches(pattern: &str, name: &str) -> bool {
    let expression = regex::escape(pattern).replace(r"\*", ".*").replace(r"\?", ".");
    let expression = RegexBuilder::new(&format!("^{expression}$")).case_insensitive(true).build();
    expression.is_ok_and(|expression| expression.is_match(name))
}
