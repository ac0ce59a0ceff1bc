//! Private keys for ssh, in the formats that OpenSSH reads.
//!
//! russh reads most of them, but its errors are those of the encodings inside. So the first and last lines are checked first, to
//! tell apart files that are no private key, keys that need a passphrase, and formats that must be converted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument, pkcs5};
use russh::keys::ssh_key::Cipher;
use russh::keys::{Algorithm, Certificate, Error, PrivateKey, decode_secret_key};

use super::known_hosts::date;
use crate::net::NetworkError;
use crate::util::text_file;

/// A private key and its certificate, which ssh reads from the file next to it.
pub(crate) struct SshIdentity {
    pub(super) key: Arc<PrivateKey>,
    pub(super) certificate: Option<Certificate>,
}

/// Why a private key cannot be used.
#[derive(Debug, thiserror::Error)]
enum KeyError {
    #[error("the key needs a passphrase (`passphrase_file`)")]
    NeedsPassphrase,
    #[error("the passphrase is wrong (`passphrase_file`)")]
    WrongPassphrase,
    #[error("it is {0}, not a private key")]
    NotPrivate(&'static str),
    #[error("{format} is not supported\nhint: {remedy}")]
    Unsupported { format: String, remedy: &'static str },
    #[error("the key is damaged: {0}")]
    Damaged(String),
}

/// Rewrites every format that OpenSSH reads in its own, in place.
const CONVERT: &str = "convert a copy of the key with `ssh-keygen -p -f FILE`";

const REPLACE: &str = "create a key with `ssh-keygen -t ed25519`";

impl SshIdentity {
    /// Reads the key in `file`, and its certificate if there is a `FILE-cert.pub`.
    pub(crate) fn read(file: &Path, passphrase: Option<&str>) -> Result<Self, NetworkError> {
        let text = text_file::read(file).map_err(|error| NetworkError::file(file, &error))?;
        let key = private_key(&String::from_utf8_lossy(&text), passphrase);
        let key = key.map_err(|error| NetworkError::file(file, &error))?;
        let certificate = certificate(file, &key)?;
        Ok(Self { key: Arc::new(key), certificate })
    }

    /// When its certificate has expired.
    pub(super) fn expired(&self) -> Option<String> {
        let end = self.certificate.as_ref()?.valid_before();
        let now = Timestamp::now().as_second().unsigned_abs();
        (end <= now).then(|| format!("its certificate has expired on {}", date(end)))
    }
}

/// The certificate of a key, in the file that `ssh-keygen -s` writes.
fn certificate(key_file: &Path, key: &PrivateKey) -> Result<Option<Certificate>, NetworkError> {
    let mut file = key_file.as_os_str().to_owned();
    file.push("-cert.pub");
    let file = PathBuf::from(file);
    let text = match text_file::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(NetworkError::file(file, &error)),
    };
    let certificate = Certificate::from_openssh(&text).map_err(|error| NetworkError::file(&file, &error))?;
    match certificate.public_key() == key.public_key().key_data() {
        true => Ok(Some(certificate)),
        false => Err(NetworkError::file(file, &"it is not the certificate of the key beside it")),
    }
}

fn private_key(text: &str, passphrase: Option<&str>) -> Result<PrivateKey, KeyError> {
    let is_encrypted = is_encrypted(text)?;
    let passphrase = match (is_encrypted, passphrase) {
        (true, None) => return Err(KeyError::NeedsPassphrase),
        (true, passphrase) => passphrase,
        (false, _) => None,
    };
    let key = decode_secret_key(text, passphrase).map_err(|error| decoding_error(&error, is_encrypted))?;
    match key.algorithm() {
        Algorithm::Dsa => Err(KeyError::Unsupported { format: "a DSA key".into(), remedy: REPLACE }),
        Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256 => Err(KeyError::Unsupported {
            format: "a key on a security token, which somebody has to touch,".into(),
            remedy: REPLACE,
        }),
        _ => Ok(key),
    }
}

/// Whether the key is encrypted. Fails if it is no private key, or in a format that cannot be read.
fn is_encrypted(text: &str) -> Result<bool, KeyError> {
    let text = text.trim_start();
    let unsupported = |format: String| KeyError::Unsupported { format, remedy: CONVERT };
    if text.starts_with("PuTTY-User-Key-File-") {
        return Ok(!text.lines().any(|line| line.trim_end() == "Encryption: none"));
    }
    let (label, text) = private_block(text);
    match label {
        Some("OPENSSH PRIVATE KEY") => {
            match PrivateKey::from_openssh(text.trim_end()).is_ok_and(|key| key.cipher() == Cipher::TdesCbc) {
                true => Err(unsupported(format!("encryption with {}", Cipher::TdesCbc.as_str()))),
                false => Ok(matches!(decode_secret_key(text, None), Err(Error::KeyIsEncrypted))),
            }
        }
        Some("ENCRYPTED PRIVATE KEY") => {
            let document =
                SecretDocument::from_pem(text).map_err(|error| KeyError::Damaged(error.to_string()))?;
            match document.1.decode_msg::<EncryptedPrivateKeyInfoRef<'_>>() {
                Ok(_) => Ok(true),
                Err(error) => Err(unsupported_encryption(&error)),
            }
        }
        Some("PRIVATE KEY") => Ok(false),
        Some("DSA PRIVATE KEY") => Err(KeyError::Unsupported { format: "a DSA key".into(), remedy: REPLACE }),
        Some(kind @ ("RSA PRIVATE KEY" | "EC PRIVATE KEY")) => {
            let cipher = text.lines().find_map(|line| line.strip_prefix("DEK-Info: "));
            let cipher = cipher.map(|cipher| cipher.split_once(',').map_or(cipher, |(cipher, _)| cipher));
            match cipher {
                None => Ok(false),
                Some("AES-128-CBC") if kind.starts_with("RSA") => Ok(true),
                Some(cipher) => Err(unsupported(format!("the old PEM format of {kind} with {cipher}"))),
            }
        }
        Some(label) if label.contains("PUBLIC KEY") => Err(KeyError::NotPrivate("a public key")),
        Some("CERTIFICATE") => Err(KeyError::NotPrivate("an X.509 certificate")),
        Some(label) if label.contains("PRIVATE KEY") => Err(unsupported(format!("the format `{label}`"))),
        _ if text.starts_with("---- BEGIN SSH2 ENCRYPTED PRIVATE KEY") => Err(KeyError::Unsupported {
            format: "the format of SSH2".into(),
            remedy: "convert a copy of the key with `ssh-keygen -i -f FILE`",
        }),
        _ => Err(KeyError::NotPrivate(public_kind(text))),
    }
}

/// The label of the PEM block with the private key, and the text from there on. Parameters or certificates may precede it.
fn private_block(text: &str) -> (Option<&str>, &str) {
    let mut blocks = text.match_indices("-----BEGIN ").map(|(at, begin)| {
        let line = text[at + begin.len()..].lines().next().unwrap_or_default();
        (line.trim_end().strip_suffix("-----"), &text[at..])
    });
    let first = blocks.clone().next();
    let private = blocks.find(|(label, _)| label.is_some_and(|label| label.contains("PRIVATE KEY")));
    private.or(first).unwrap_or((None, text))
}

/// What a text without a private key is.
fn public_kind(text: &str) -> &'static str {
    let first = text.split_whitespace().next().unwrap_or_default();
    if first.contains("-cert-v01@") {
        "a certificate"
    } else if text.starts_with("---- BEGIN SSH2 PUBLIC KEY")
        || first.parse::<Algorithm>().is_ok_and(|kind| !matches!(kind, Algorithm::Other(_)))
    {
        "a public key"
    } else if first.is_empty() {
        "an empty file"
    } else {
        "a file of another kind"
    }
}

fn decoding_error(error: &Error, is_encrypted: bool) -> KeyError {
    match error {
        Error::Pkcs8(pkcs8::Error::EncryptedPrivateKey(error)) if *error != pkcs5::Error::DecryptFailed => {
            unsupported_encryption(error)
        }
        Error::UnknownAlgorithm(oid) => {
            KeyError::Unsupported { format: format!("a key of the kind {oid}"), remedy: REPLACE }
        }
        _ if is_encrypted => KeyError::WrongPassphrase,
        error => KeyError::Damaged(error.to_string()),
    }
}

fn unsupported_encryption(error: &impl std::fmt::Display) -> KeyError {
    KeyError::Unsupported { format: format!("the encryption of this PKCS#8 key ({error})"), remedy: CONVERT }
}
