//! The users of a private repository: passwords hashed by bcrypt, and tokens, stored as SHA-256.
//!
//! bcrypt takes tens of milliseconds. Results are cached under a keyed hash, accepted and rejected ones separately, so that
//! guesses cannot evict valid credentials. One check runs at a time, even if its request was cancelled, and clients take turns.
//! Each client may have a limited number of waiting checks, and fewer if many clients wait. A token is long and random, so a
//! plain SHA-256 suffices. Comparisons take constant time.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail, ensure};
use parking_lot::Mutex;
use subtle::{Choice, ConstantTimeEq as _};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::connection_limits::PerClientCounter;
use crate::util::digest::Sha256;

/// How many requests of one client may wait for a bcrypt check. It may be a proxy, or an office.
const MAX_WAITING_PER_CLIENT: usize = 64;

/// When this many requests wait, only clients with few waiting requests may add one, so that others cannot keep them out.
const MAX_WAITING: usize = 256;

/// The number of Composer's connections.
const FEW_WAITING: usize = 12;

/// Accepted, and rejected, credentials that are cached. When there are more, all of the kind are dropped.
const CACHE_SIZE: usize = 4096;

/// A check with a higher cost takes longer than a second.
const MAX_COST: u32 = 14;

/// bcrypt ignores all further bytes, so longer passwords would be interchangeable.
const MAX_PASSWORD: usize = 72;

/// The prefix of a token's hash.
const TOKEN_PREFIX: &str = "sha256:";

pub struct Users {
    passwords: BTreeMap<String, Arc<str>>,
    tokens: Vec<(String, Sha256)>,
    cache: Arc<Mutex<CredentialCache>>,
    cache_secret: [u8; 32],
    check: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    waiting_clients: PerClientCounter,
}

/// The result of checking credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthOutcome {
    Granted,
    Denied,
    /// Too many checks are waiting.
    Busy,
}

impl From<bool> for AuthOutcome {
    fn from(is_granted: bool) -> Self {
        if is_granted { Self::Granted } else { Self::Denied }
    }
}

/// The keyed hashes of credentials that were checked.
#[derive(Default)]
struct CredentialCache {
    accepted: HashSet<Sha256>,
    rejected: HashSet<Sha256>,
}

impl Users {
    /// Reads lines of `name:hash`, where the hash is bcrypt's (`htpasswd -B`) or, for a token, `sha256:` and its SHA-256
    /// in hexadecimal. Empty lines and those that begin with `#` are skipped.
    /// Fails with the number of the first invalid line, and nothing of its text.
    pub fn parse(text: &str) -> Result<Self> {
        let (mut passwords, mut tokens) = (BTreeMap::new(), Vec::new());
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let hint =
                "hint: `htpasswd -nB NAME` prints such a line; a token's is `NAME:sha256:` and its SHA-256";
            let Some((name, hash)) = line.split_once(':').filter(|(name, _)| !name.is_empty()) else {
                bail!("line {number}: not `name:hash`\n{hint}");
            };
            if let Some(digest) = hash.strip_prefix(TOKEN_PREFIX) {
                let digest = digest.parse();
                let digest = digest.map_err(|_| anyhow!("line {number}: not a SHA-256\n{hint}"))?;
                tokens.push((name.to_owned(), digest));
                continue;
            }
            let parts = hash.parse::<bcrypt::HashParts>();
            let parts = parts.map_err(|_| anyhow!("line {number}: not a bcrypt hash\n{hint}"))?;
            ensure!(
                parts.get_cost() <= MAX_COST,
                "line {number}: a check would take longer than a second\nhint: use a cost of 10"
            );
            passwords.insert(name.to_owned(), hash.into());
        }
        Ok(Self::new(passwords, tokens))
    }

    /// The number of users and tokens.
    pub fn count(&self) -> usize {
        self.passwords.len() + self.tokens.len()
    }

    /// An empty list: everybody is denied.
    pub fn none() -> Self {
        Self::new(BTreeMap::new(), Vec::new())
    }

    fn new(passwords: BTreeMap<String, Arc<str>>, tokens: Vec<(String, Sha256)>) -> Self {
        let mut cache_secret = [0; 32];
        // It does not fail once the system is up; if it did, the hashes would still not leave this process.
        let _ = rustix::rand::getrandom(&mut cache_secret[..], rustix::rand::GetRandomFlags::empty());
        Self {
            passwords,
            tokens,
            cache: Arc::default(),
            cache_secret,
            check: Arc::new(Semaphore::new(1)),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            waiting_clients: PerClientCounter::new(MAX_WAITING_PER_CLIENT),
        }
    }

    pub(super) fn check_token(&self, token: &str) -> AuthOutcome {
        self.has_token(None, token).into()
    }

    /// Whether it is a valid token, and if a user is given, theirs.
    fn has_token(&self, user: Option<&str>, token: &str) -> bool {
        let digest = Sha256::digest(token.as_bytes());
        let mut is_known = Choice::from(0);
        for (name, token) in &self.tokens {
            let is_theirs = user.is_none_or(|user| user == name);
            is_known |= token.0.ct_eq(&digest.0) & Choice::from(u8::from(is_theirs));
        }
        is_known.into()
    }

    /// Checks a password, or a token that is given as one.
    pub(super) async fn check_password(
        &self,
        user: &str,
        password: String,
        client: Option<IpAddr>,
    ) -> AuthOutcome {
        if self.has_token(Some(user), &password) {
            return AuthOutcome::Granted;
        }
        if password.len() > MAX_PASSWORD {
            return AuthOutcome::Denied;
        }
        let key = self.cache_key(user, &password);
        if let Some(is_granted) = self.cache.lock().get(&key) {
            return is_granted.into();
        }
        // For an unknown name another user's hash is checked, so that the time does not reveal who exists.
        let (own, any) = (self.passwords.get(user), self.passwords.values().next());
        let Some(hash) = own.or(any).map(Arc::clone) else {
            return AuthOutcome::Denied;
        };
        let is_known = own.is_some();
        let Some(client) = self.waiting_clients.acquire(client) else {
            return AuthOutcome::Busy;
        };
        let waiting = Arc::clone(&self.waiting).try_acquire_owned().ok();
        if waiting.is_none() && client.number > FEW_WAITING {
            return AuthOutcome::Busy;
        }
        // Only one check of each client is in the common queue, so that a client with many delays the others by one.
        let own_turn = Arc::clone(&client.turn).lock_owned().await;
        let Ok(turn) = Arc::clone(&self.check).acquire_owned().await else {
            return AuthOutcome::Busy;
        };
        // Another request may have had the same credentials.
        if let Some(is_granted) = self.cache.lock().get(&key) {
            return is_granted.into();
        }
        // The check goes on when the request is cancelled, and no other runs until it ends.
        let cache = Arc::clone(&self.cache);
        let checked = spawn_blocking(move || {
            let is_granted = bcrypt::verify(password, &hash).unwrap_or(false) && is_known;
            cache.lock().insert(key, is_granted);
            drop((turn, own_turn, client, waiting));
            is_granted
        });
        checked.await.unwrap_or(false).into()
    }

    /// Unambiguous, since each part is hashed before they are joined. The secret is of this process alone.
    fn cache_key(&self, user: &str, password: &str) -> Sha256 {
        let parts =
            [self.cache_secret, Sha256::digest(user.as_bytes()).0, Sha256::digest(password.as_bytes()).0];
        Sha256::digest(parts.as_flattened())
    }
}

impl CredentialCache {
    fn get(&self, key: &Sha256) -> Option<bool> {
        let is_accepted = self.accepted.contains(key);
        (is_accepted || self.rejected.contains(key)).then_some(is_accepted)
    }

    fn insert(&mut self, key: Sha256, is_accepted: bool) {
        let keys = match is_accepted {
            true => &mut self.accepted,
            false => &mut self.rejected,
        };
        if keys.len() >= CACHE_SIZE {
            keys.clear();
        }
        keys.insert(key);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[test]
    fn check_continues_alone_after_its_request_is_cancelled() {
        let hash = bcrypt::hash("right", 10).unwrap();
        let users = Users::parse(&format!("ana:{hash}\n")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let check = |password: &str, seconds: f64| {
            let check = users.check_password("ana", password.to_owned(), None);
            runtime.block_on(async { timeout(Duration::from_secs_f64(seconds), check).await })
        };
        for wrong in ["0", "1", "2"] {
            assert!(check(wrong, 0.001).is_err(), "a check takes longer");
        }
        assert_eq!(users.check.available_permits(), 0, "the first is still checked");
        assert_eq!(check("right", 60.0), Ok(AuthOutcome::Granted));
        let cache = users.cache.lock();
        assert_eq!((cache.accepted.len(), cache.rejected.len()), (1, 1));
    }

    #[test]
    fn client_with_few_checks_is_not_kept_out_by_those_with_many() {
        let hash = bcrypt::hash("right", 4).unwrap();
        let users = Users::parse(&format!("ana:{hash}\n")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let client = Some(IpAddr::from([203, 0, 113, 7]));
        let check =
            |password: &str| runtime.block_on(users.check_password("ana", password.to_owned(), client));
        let _others = Arc::clone(&users.waiting).try_acquire_many_owned(256).unwrap();
        let wait = || users.waiting_clients.acquire(client).unwrap();
        let mut own: Vec<_> = (1..FEW_WAITING).map(|_| wait()).collect();
        assert_eq!(check("wrong"), AuthOutcome::Denied);
        own.push(wait());
        assert_eq!(check("right"), AuthOutcome::Busy);
        own.pop();
        assert_eq!(check("right"), AuthOutcome::Granted);
    }

    #[test]
    fn password_longer_than_bcrypt_reads_is_denied() {
        let (longest, token) = ("p".repeat(MAX_PASSWORD), "t".repeat(100));
        let hash = bcrypt::hash(&longest, 4).unwrap();
        let digest = Sha256::digest(token.as_bytes());
        let users = Users::parse(&format!("ana:{hash}\nci:sha256:{digest}\n")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let check =
            |user, password: &str| runtime.block_on(users.check_password(user, password.to_owned(), None));
        assert_eq!(check("ana", &longest), AuthOutcome::Granted);
        assert_eq!(check("ana", &format!("{longest}x")), AuthOutcome::Denied);
        assert_eq!(check("ci", &token), AuthOutcome::Granted);
    }

    #[test]
    fn rejected_credentials_do_not_evict_accepted_ones() {
        let mut cache = CredentialCache::default();
        let accepted = Sha256::digest(b"right");
        cache.insert(accepted, true);
        for wrong in 0..=CACHE_SIZE {
            cache.insert(Sha256::digest(&wrong.to_ne_bytes()), false);
        }
        assert_eq!((cache.get(&accepted), cache.rejected.len()), (Some(true), 1));
    }

    #[test]
    fn invalid_line_is_named_and_not_shown() {
        for (text, expected) in [
            ("secret", "line 1: not `name:hash`"),
            ("\n:secret", "line 2: not `name:hash`"),
            ("ana:secret", "line 1: not a bcrypt hash"),
            ("ana:sha256:secret", "line 1: not a SHA-256"),
            (
                "ana:$2b$20$abcdefghijklmnopqrstuuMuSo2m0d6rNxrUF4nyFLFIF/H4BUC5S",
                "line 1: a check would take",
            ),
        ] {
            let error = Users::parse(text).err().unwrap().to_string();
            assert!(error.starts_with(expected) && !error.contains("secret"), "{error}");
        }
    }
}
