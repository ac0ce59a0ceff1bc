//! Webhook deliveries of GitHub, GitLab and of other mirrors: whether one is authentic, and which repository it is about. Pure.
//!
//! GitHub signs the body (`X-Hub-Signature-256`, HMAC-SHA256 in hexadecimal). GitLab sends its secret token
//! (`X-Gitlab-Token`), or signs with its signing token as Standard Webhooks specifies (`webhook-signature`): the key is
//! the part after `whsec_`, decoded from Base64; HMAC-SHA256 covers `<webhook-id>.<webhook-timestamp>.<body>`.
//!
//! A signature with a time is accepted for five minutes around it, so the clock has to be right. Other deliveries have no
//! time; a replayed one only starts what the schedule would start anyway.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use subtle::ConstantTimeEq as _;

use crate::util::digest::Sha256;

/// The kind of sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Forge {
    #[default]
    GitHub,
    GitLab,
    /// A mirror of this program, which signs as GitHub does.
    Mirror,
}

/// The headers of a delivery.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    pub forge: Forge,
    pub event: &'a str,
    /// GitHub's signature or GitLab's token.
    pub credential: Option<&'a str>,
    /// GitLab's Standard Webhooks signature.
    pub signature: Option<WebhookSignature<'a>>,
}

/// The headers of Standard Webhooks: the signatures, and what they cover besides the body.
#[derive(Clone, Copy, Debug)]
pub struct WebhookSignature<'a> {
    pub id: &'a str,
    pub timestamp: &'a str,
    /// `v1,` and the HMAC-SHA256 in Base64; separated by spaces, if there are several while a secret is rotated.
    pub signatures: &'a str,
}

/// The greatest distance between a signature's time and now; the value of the Standard Webhooks libraries.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// The prefix of a signing token; the key follows in Base64.
const SIGNING: &str = "whsec_";

impl Forge {
    /// The names of the headers with the event and the credential.
    pub const fn headers(self) -> (&'static str, &'static str) {
        match self {
            Self::GitHub => ("x-github-event", "x-hub-signature-256"),
            Self::GitLab => ("x-gitlab-event", "x-gitlab-token"),
            Self::Mirror => ("mirror-event", "mirror-signature-256"),
        }
    }
}

impl Delivery<'_> {
    /// Whether the sender of `body` knows `secret`. An empty secret proves nothing.
    pub fn is_authentic(&self, secret: &str, body: &[u8], now: Timestamp) -> bool {
        if secret.is_empty() {
            return false;
        }
        if let Some(signature) = self.signature.filter(|_| self.forge == Forge::GitLab)
            && signature.is_recent(now)
            && signature.is_by(secret, body)
        {
            return true;
        }
        let Some(credential) = self.credential else {
            return false;
        };
        match self.forge {
            Forge::GitHub | Forge::Mirror => {
                let signature = credential.strip_prefix("sha256=").map(hex::decode);
                let (Some(Ok(signature)), Ok(mut mac)) =
                    (signature, Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()))
                else {
                    return false;
                };
                mac.update(body);
                mac.verify_slice(&signature).is_ok()
            }
            // Digests are compared, so that the time does not depend on the secret's length.
            Forge::GitLab => {
                let (sent, known) =
                    (Sha256::digest(credential.as_bytes()), Sha256::digest(secret.as_bytes()));
                sent.0.ct_eq(&known.0).into()
            }
        }
    }

    /// Whether there is a signature or token to check.
    pub fn has_credential(&self) -> bool {
        self.credential.is_some() || self.signature.is_some()
    }

    /// Whether a ref may have been created or moved.
    pub fn is_push(&self) -> bool {
        match self.forge {
            Forge::GitHub => matches!(self.event, "push" | "create" | "release"),
            Forge::GitLab => matches!(self.event, "Push Hook" | "Tag Push Hook" | "Release Hook"),
            Forge::Mirror => self.event == "release",
        }
    }
}

impl WebhookSignature<'_> {
    fn is_recent(&self, now: Timestamp) -> bool {
        let seconds = self.timestamp.parse().ok();
        let time = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
        time.is_some_and(|time| now.duration_since(time).abs() <= TOLERANCE)
    }

    fn is_by(&self, secret: &str, body: &[u8]) -> bool {
        let key = secret
            .strip_prefix(SIGNING)
            .and_then(|key| STANDARD.decode(key).ok())
            .filter(|key| !key.is_empty());
        let Some(Ok(mut mac)) = key.map(|key| Hmac::<sha2::Sha256>::new_from_slice(&key)) else {
            return false;
        };
        for part in [self.id.as_bytes(), b".", self.timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        let signatures = self.signatures.split(' ').filter_map(|one| one.strip_prefix("v1,"));
        let decoded = signatures.filter_map(|one| STANDARD.decode(one).ok());
        decoded.fold(false, |is, one| is | mac.clone().verify_slice(&one).is_ok())
    }
}

/// GitHub's signature of `body`; `None` for an empty secret, which proves nothing.
pub fn sign(secret: &str, body: &[u8]) -> Option<String> {
    let mut mac =
        Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).ok().filter(|_| !secret.is_empty())?;
    mac.update(body);
    Some(format!("sha256={}", hex::encode(mac.finalize().into_bytes())))
}

/// The normalized URLs of the repository that a body names, a git repository or that of a mirror; `None` if it names none.
pub fn repository_urls(forge: Forge, body: &[u8]) -> Option<BTreeSet<String>> {
    const KEYS: [&str; 7] =
        ["clone_url", "html_url", "ssh_url", "git_url", "git_http_url", "git_ssh_url", "web_url"];
    let body: Value = serde_json::from_slice(body).ok()?;
    if forge == Forge::Mirror {
        return Some([normalize_git_url(body.get("url")?.as_str()?)].into());
    }
    let of = |part: &str| KEYS.map(|key| body.get(part)?.get(key)?.as_str().map(normalize_git_url));
    // GitHub says `repository`, GitLab `project`.
    let found: BTreeSet<_> = ["repository", "project"].into_iter().flat_map(of).flatten().collect();
    (!found.is_empty()).then_some(found)
}

/// `host/path`, which is the same for all URLs of one git repository.
pub fn normalize_git_url(url: &str) -> String {
    let (after_scheme, has_scheme) = match url.split_once("://") {
        Some((_, rest)) => (rest, true),
        None => (url, false),
    };
    let path = after_scheme.find('/').unwrap_or(after_scheme.len());
    let (host, path) = after_scheme.split_at(path);
    let host = host.rsplit('@').next().unwrap_or(host);
    // `git@host:path`, where the colon does not begin a port.
    let host = match has_scheme {
        true => host.to_owned(),
        false => host.replacen(':', "/", 1),
    };
    let whole = format!("{host}{path}").to_lowercase();
    let whole = whole.trim_end_matches('/');
    whole.strip_suffix(".git").unwrap_or(whole).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const GITHUB: Delivery<'_> = Delivery {
        forge: Forge::GitHub,
        event: "push",
        // The example of GitHub's own documentation.
        credential: Some("sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"),
        signature: None,
    };
    const GITLAB: Delivery<'_> = Delivery {
        forge: Forge::GitLab,
        event: "Tag Push Hook",
        credential: Some("a secret"),
        signature: None,
    };

    #[test]
    fn delivery_is_authentic_with_its_secret_and_body_only() {
        let secret = "It's a Secret to Everybody";
        assert!(GITHUB.is_authentic(secret, b"Hello, World!", NOW));
        assert!(!GITHUB.is_authentic(secret, b"Hello, World.", NOW));
        assert!(!GITHUB.is_authentic("another", b"Hello, World!", NOW));
        assert_eq!(sign(secret, b"Hello, World!").as_deref(), GITHUB.credential);
        assert_eq!(sign("", b"Hello, World!"), None);
        assert!(GITLAB.is_authentic("a secret", b"anything", NOW));
        for credential in [None, Some(""), Some("sha256="), Some("sha256=00"), Some("a secre")] {
            assert!(
                !Delivery { credential, ..GITHUB }.is_authentic(secret, b"Hello, World!", NOW),
                "{credential:?}"
            );
            assert!(!Delivery { credential, ..GITLAB }.is_authentic("a secret", b"", NOW), "{credential:?}");
            assert!(!Delivery { credential, ..GITLAB }.is_authentic("", b"", NOW), "{credential:?}");
        }
    }

    #[test]
    fn signing_token_covers_id_time_and_body() {
        // The example of Standard Webhooks' libraries.
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let body = br#"{"test": 2432232314}"#;
        let signed = WebhookSignature {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
            timestamp: "1614265330",
            signatures: "v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        };
        fn by(signature: WebhookSignature<'_>) -> Delivery<'_> {
            Delivery { credential: None, signature: Some(signature), ..GITLAB }
        }
        let sent = Timestamp::from_second(1_614_265_330).unwrap();
        let is_authentic = |signed, secret, body| by(signed).is_authentic(secret, body, sent);
        assert!(is_authentic(signed, secret, body));
        assert!(!is_authentic(signed, secret, b"{}"));
        assert!(!is_authentic(signed, &secret[6..], body));
        for timestamp in ["1614265331", "yesterday", ""] {
            assert!(!is_authentic(WebhookSignature { timestamp, ..signed }, secret, body), "{timestamp}");
        }
        let none = WebhookSignature { signatures: "", ..signed };
        assert!(!is_authentic(none, secret, body));
        for (seconds, is_recent) in [(300, true), (-300, true), (301, false), (-301, false)] {
            let now = sent + SignedDuration::from_secs(seconds);
            assert_eq!(by(signed).is_authentic(secret, body, now), is_recent, "{seconds}");
        }
        // Signed with an empty key, as anybody can.
        let forged =
            WebhookSignature { signatures: "v1,woH/1mJtZGSMCmpFTxRYbStS24eLLD/oXIYr4PYyZ7g=", ..signed };
        assert!(!is_authentic(forged, "whsec_", body));
        let github = Delivery { forge: Forge::GitHub, ..by(signed) };
        assert!(!github.is_authentic(secret, body, sent));
    }

    #[test]
    fn all_urls_of_a_repository_are_normalized_to_one() {
        for url in [
            "https://github.com/Mage-OS/mageos-magento2",
            "https://github.com/mage-os/mageos-magento2.git",
            "git@github.com:mage-os/mageos-magento2.git",
            "ssh://git@github.com/mage-os/mageos-magento2.git",
            "git://github.com/mage-os/mageos-magento2/",
            "https://token:x@github.com/mage-os/mageos-magento2",
        ] {
            assert_eq!(normalize_git_url(url), "github.com/mage-os/mageos-magento2", "{url}");
        }
        assert_eq!(normalize_git_url("https://git.example:8443/a/b.git"), "git.example:8443/a/b");
        let body = br#"{"ref": "refs/tags/1", "project": {"git_http_url": "https://g.example/a/b.git", "git_ssh_url": "git@g.example:a/b.git", "web_url": "https://g.example/a/b"}}"#;
        assert_eq!(repository_urls(Forge::GitLab, body), Some(["g.example/a/b".to_owned()].into()));
        let told = br#"{"event": "release", "repository": "acme", "url": "https://m.example/mirror/"}"#;
        assert_eq!(repository_urls(Forge::Mirror, told), Some(["m.example/mirror".to_owned()].into()));
        for body in ["", "[]", "{}", r#"{"repository": {"clone_url": 1}}"#, r#"{"project": null}"#] {
            assert_eq!(repository_urls(Forge::GitHub, body.as_bytes()), None, "{body}");
            assert_eq!(repository_urls(Forge::Mirror, body.as_bytes()), None, "{body}");
        }
    }
}
