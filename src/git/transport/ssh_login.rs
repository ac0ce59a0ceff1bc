//! Logs in to an ssh server with the certificate, the private key or the password of a credential.

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::agent::AgentIdentity;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode as _;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{self, HashAlg, PrivateKeyWithHashAlg, ssh_key};
use russh::{AgentAuthError, MethodKind, MethodSet, Signer};

use super::known_hosts::HostKeyCheck;
use super::private_key::SshIdentity;
use crate::config::Credential;
use crate::net::{NetworkError, read_secret, redacted};
use crate::util::text::quoted;

/// One login.
pub(super) struct Login<'a> {
    pub(super) host: String,
    /// The user that the URL names.
    pub(super) user: Option<&'a str>,
    pub(super) credential: Option<&'a Credential>,
}

/// An authentication method that did not suffice.
struct Refused {
    method: MethodKind,
    /// The methods that the server accepts next.
    remaining: MethodSet,
    /// Whether it succeeded, but the server requires another one as well.
    is_partial: bool,
}

impl Login<'_> {
    pub(super) async fn run(&self, session: &mut Handle<HostKeyCheck>) -> Result<(), NetworkError> {
        let Some(credential) = self.credential else {
            return Err(self.denied("no credential"));
        };
        let user = match (self.user, read_secret(credential.username.as_ref())?) {
            (Some(user), _) => user.to_owned(),
            (None, Some(user)) => user,
            (None, None) => "git".to_owned(),
        };
        let (mut refused, mut note) = (None, String::new());
        if let Some(file) = &credential.private_key {
            let passphrase = read_secret(credential.passphrase.as_ref())?;
            let identity = SshIdentity::read(file, passphrase.as_deref())?;
            match self.with_key(session, &user, &identity).await? {
                None => return Ok(()),
                refusal => refused = refusal,
            }
            note = identity.expired().map(|expired| format!(", {expired}")).unwrap_or_default();
        }
        if let Some(password) = read_secret(credential.password.as_ref())? {
            match self.with_password(session, &user, &password).await? {
                None => return Ok(()),
                refusal => refused = refusal,
            }
        }
        let unsupported = refused.and_then(|refused| self.unsupported_method(&refused));
        Err(unsupported.unwrap_or_else(|| self.denied(&format!("as user `{user}`{note}"))))
    }

    /// Tries the certificate first, then the key alone, as ssh does. Returns `None` if the server accepted one.
    async fn with_key(
        &self,
        session: &mut Handle<HostKeyCheck>,
        user: &str,
        identity: &SshIdentity,
    ) -> Result<Option<Refused>, NetworkError> {
        let hash = match identity.key.algorithm().is_rsa() {
            true => self.rsa_hash(session).await?,
            false => None,
        };
        let key = PrivateKeyWithHashAlg::new(identity.key.clone(), hash);
        if let Some(certificate) = &identity.certificate {
            let mut signer = CertificateSigner(&key);
            let result = session.authenticate_certificate_with(user, certificate.clone(), hash, &mut signer);
            let result = result.await.map_err(|error| NetworkError::interrupted(&*self.host, &error))?;
            if result.success() {
                return Ok(None);
            }
        }
        self.refused(session.authenticate_publickey(user, key).await, MethodKind::PublicKey)
    }

    /// Sends the password by the method that the server offers, as ssh does: as such, or as the answer to a prompt.
    async fn with_password(
        &self,
        session: &mut Handle<HostKeyCheck>,
        user: &str,
        password: &str,
    ) -> Result<Option<Refused>, NetworkError> {
        let Some(offered) = self.refused(session.authenticate_none(user).await, MethodKind::Password)? else {
            return Ok(None);
        };
        let is_offered = |method| offered.remaining.contains(&method);
        if is_offered(MethodKind::KeyboardInteractive) && !is_offered(MethodKind::Password) {
            return self.with_answer(session, user, password).await;
        }
        self.refused(session.authenticate_password(user, password).await, MethodKind::Password)
    }

    /// Answers the first prompt with the password (RFC 4256). Other prompts have no answer.
    async fn with_answer(
        &self,
        session: &mut Handle<HostKeyCheck>,
        user: &str,
        password: &str,
    ) -> Result<Option<Refused>, NetworkError> {
        use KeyboardInteractiveAuthResponse::{Failure, InfoRequest, Success};
        let mut response = session.authenticate_keyboard_interactive_start(user, None).await;
        let mut answered = None;
        let result = loop {
            let prompts = match response {
                Ok(InfoRequest { prompts, .. }) => prompts,
                Ok(Success) => break Ok(AuthResult::Success),
                Ok(Failure { remaining_methods, partial_success }) => {
                    break Ok(AuthResult::Failure { remaining_methods, partial_success });
                }
                Err(error) => break Err(error),
            };
            let prompts: Vec<_> = prompts.into_iter().map(|prompt| prompt.prompt).collect();
            let answers = match (&*prompts, &answered) {
                ([], _) => Vec::new(),
                ([prompt], None) => {
                    answered = Some(prompt.clone());
                    vec![password.to_owned()]
                }
                // The password was wrong.
                ([prompt], Some(before)) if prompt == before => {
                    return Err(self.denied(&format!("as user `{user}`")));
                }
                _ => return Err(self.asks_for_more(&prompts)),
            };
            response = session.authenticate_keyboard_interactive_respond(answers).await;
        };
        self.refused(result, MethodKind::KeyboardInteractive)
    }

    fn asks_for_more(&self, prompts: &[String]) -> NetworkError {
        let prompts: Vec<_> = prompts.iter().map(|prompt| quoted(prompt.trim())).collect();
        NetworkError::Login {
            host: self.host.clone(),
            used: "a password alone".into(),
            offered: format!("together with an answer to `{}`", prompts.join("`, `")),
        }
    }

    /// The hash that the server prefers for RSA signatures; SHA-1 only if it supports no other.
    async fn rsa_hash(&self, session: &Handle<HostKeyCheck>) -> Result<Option<HashAlg>, NetworkError> {
        let best = session.best_supported_rsa_hash().await;
        let best = best.map_err(|error| NetworkError::interrupted(&*self.host, &error))?;
        Ok(best.unwrap_or(Some(HashAlg::Sha512)))
    }

    /// `None` if the server accepted the method.
    fn refused(
        &self,
        result: Result<AuthResult, russh::Error>,
        method: MethodKind,
    ) -> Result<Option<Refused>, NetworkError> {
        match result {
            Ok(AuthResult::Success) => Ok(None),
            Ok(AuthResult::Failure { remaining_methods: remaining, partial_success: is_partial }) => {
                Ok(Some(Refused { method, remaining, is_partial }))
            }
            // Servers disconnect after too many attempts.
            Err(russh::Error::Disconnect | russh::Error::HUP | russh::Error::RecvError) => {
                Ok(Some(Refused { method, remaining: MethodSet::empty(), is_partial: false }))
            }
            Err(error) => Err(NetworkError::interrupted(&*self.host, &error)),
        }
    }

    /// The error of a credential that may be right, but is of another kind than the server accepts.
    fn unsupported_method(&self, refused: &Refused) -> Option<NetworkError> {
        let used = match refused.method {
            MethodKind::PublicKey => "a private key",
            _ => "a password",
        };
        let is_known = refused.remaining.is_empty() || refused.remaining.contains(&refused.method);
        let remaining: Vec<_> = refused.remaining.iter().map(<&str>::from).collect();
        let remaining = remaining.join(", ");
        let (used, offered) = match (refused.is_partial, is_known) {
            (true, _) => (format!("{used} alone"), format!("together with {remaining}")),
            (false, false) => (used.to_owned(), remaining),
            (false, true) => return None,
        };
        Some(NetworkError::Login { host: self.host.clone(), used, offered })
    }

    fn denied(&self, reason: &str) -> NetworkError {
        NetworkError::Denied {
            host: self.host.clone(),
            reason: reason.to_owned(),
            credential: self.credential.map(|credential| redacted(&credential.url)),
        }
    }
}

/// Signs for a certificate with the negotiated hash; russh itself would announce SHA-1 for RSA.
struct CertificateSigner<'a>(&'a PrivateKeyWithHashAlg);

impl CertificateSigner<'_> {
    fn append_signature(&self, data: &mut Vec<u8>) -> Result<(), ssh_key::Error> {
        let signature = match self.0.key_data() {
            KeypairData::Rsa(pair) => (pair, self.0.hash_alg()).try_sign(data)?,
            other => other.try_sign(data)?,
        };
        Ok(signature.encode_prefixed(data)?)
    }
}

impl Signer for CertificateSigner<'_> {
    type Error = AgentAuthError;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        _: Option<HashAlg>,
        mut data: Vec<u8>,
    ) -> Result<Vec<u8>, AgentAuthError> {
        self.append_signature(&mut data).map_err(keys::Error::from)?;
        Ok(data)
    }
}
