//! Who may read a private repository: users by Basic or Bearer credentials (RFC 7617, RFC 6750), of which only hashes
//! are known here.
//!
//! A password is checked with bcrypt, which takes tens of milliseconds on purpose; so what was checked is remembered
//! under a keyed hash, one is checked at a time, also when who asked has gone, and few may wait for it, of one client fewer
//! still. Wrong ones push no right one out of what is remembered. A token is long and random: a plain SHA-256
//! suffices. Nothing is compared in a time that depends on how much of it is right, and nothing is logged.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::{Choice, ConstantTimeEq as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use super::request::{Fields, Name};
use super::router::is_below;
use crate::util::digest::Sha256;

/// Requests that may wait for the check of a password; more are told to come back.
const WAITING: usize = 256;

/// So many of them of one client, which may be a proxy, or a building full of developers.
const OF_ONE_CLIENT: usize = 64;

/// Remembered credentials, of the right and of the wrong ones each; beyond, those are forgotten and checked anew.
const REMEMBERED: usize = 4096;

/// A check beyond takes a second, and one after the other.
const MOST_ROUNDS: u32 = 14;

/// What a hash of a token begins with.
const TOKEN: &str = "sha256:";

/// The users of a private repository.
pub struct Users {
    passwords: BTreeMap<String, Arc<str>>,
    tokens: Vec<(String, Sha256)>,
    known: Arc<Mutex<Known>>,
    key: [u8; 32],
    check: Arc<Semaphore>,
    waiting: Waiting,
}

/// Marks of credentials that were checked.
#[derive(Default)]
struct Known {
    right: HashSet<Sha256>,
    wrong: HashSet<Sha256>,
}

/// Requests that wait, in all and of each client.
#[derive(Clone)]
struct Waiting {
    all: Arc<Semaphore>,
    clients: Arc<Mutex<HashMap<Option<IpAddr>, usize>>>,
}

/// A place among them, given back when it is dropped.
struct Place {
    waiting: Waiting,
    client: Option<IpAddr>,
    _permit: OwnedSemaphorePermit,
}

/// What a request is to a private repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Admitted,
    Refused,
    /// Too many are being checked.
    Later,
}

impl Users {
    /// Reads lines of `name:hash`, where the hash is bcrypt's (`htpasswd -B`) or, for a token, `sha256:` and its SHA-256
    /// in hexadecimal. Empty lines and those that begin with `#` are skipped.
    ///
    /// # Errors
    ///
    /// With the number of the first line that is none of these, and not a word of it.
    pub fn parse(text: &str) -> Result<Self> {
        let (mut passwords, mut tokens) = (BTreeMap::new(), Vec::new());
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let hint =
                "hint: `htpasswd -nB NAME` prints such a line; a token's is `NAME:sha256:` and its SHA-256";
            let Some((name, hash)) = line.split_once(':').filter(|(name, _)| !name.is_empty()) else {
                bail!("line {number} is not `name:hash`\n{hint}");
            };
            if let Some(digest) = hash.strip_prefix(TOKEN) {
                let digest = digest.parse();
                let digest = digest.map_err(|_| anyhow::anyhow!("line {number} holds no SHA-256\n{hint}"))?;
                tokens.push((name.to_owned(), digest));
                continue;
            }
            let parts = hash.parse::<bcrypt::HashParts>();
            let parts =
                parts.map_err(|_| anyhow::anyhow!("line {number} holds no hash of bcrypt\n{hint}"))?;
            ensure!(
                parts.get_cost() <= MOST_ROUNDS,
                "line {number}: a check would take longer than a second\nhint: use a cost of 10"
            );
            passwords.insert(name.to_owned(), hash.into());
        }
        Ok(Self::of(passwords, tokens))
    }

    /// How many lines.
    pub fn count(&self) -> usize {
        self.passwords.len() + self.tokens.len()
    }

    /// Nobody is admitted.
    pub fn none() -> Self {
        Self::of(BTreeMap::new(), Vec::new())
    }

    fn of(passwords: BTreeMap<String, Arc<str>>, tokens: Vec<(String, Sha256)>) -> Self {
        let mut key = [0; 32];
        // The system's generator does not fail once the system is up; should it, the marks never leave this process.
        let _ = rustix::rand::getrandom(&mut key[..], rustix::rand::GetRandomFlags::empty());
        Self {
            passwords,
            tokens,
            known: Arc::default(),
            key,
            check: Arc::new(Semaphore::new(1)),
            waiting: Waiting {
                all: Arc::new(Semaphore::new(WAITING)),
                clients: Arc::default(),
            },
        }
    }

    /// What a request is with these fields, of a client of this network.
    pub(super) async fn authenticate(&self, fields: &Fields<'_>, client: Option<IpAddr>) -> Admission {
        let Some((scheme, credentials)) = fields
            .only(Name::Authorization)
            .and_then(|value| value.split_once(' '))
        else {
            return Admission::Refused;
        };
        let credentials = credentials.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Admission::of(self.has_token(None, credentials));
        }
        match basic(credentials).filter(|_| scheme.eq_ignore_ascii_case("basic")) {
            Some((user, password)) => self.admit_user(&user, password, client).await,
            None => Admission::Refused,
        }
    }

    /// Whether it is a token, of `user` where there is one.
    fn has_token(&self, user: Option<&str>, token: &str) -> bool {
        let found = Sha256::digest(token.as_bytes());
        let mut has = Choice::from(0);
        for (name, token) in &self.tokens {
            let is_theirs = user.is_none_or(|user| user == name);
            has |= token.0.ct_eq(&found.0) & Choice::from(u8::from(is_theirs));
        }
        has.into()
    }

    async fn admit_user(&self, user: &str, password: String, client: Option<IpAddr>) -> Admission {
        if self.has_token(Some(user), &password) {
            return Admission::Admitted;
        }
        let mark = self.mark(user, &password);
        if let Some(admitted) = Known::of(&self.known).get(&mark) {
            return Admission::of(admitted);
        }
        // For a name that nobody has another's hash is checked, so that the time tells nothing.
        let (own, any) = (self.passwords.get(user), self.passwords.values().next());
        let Some(hash) = own.or(any).map(Arc::clone) else {
            return Admission::Refused;
        };
        let is_own = own.is_some();
        let Some(place) = self.waiting.take(client) else {
            return Admission::Later;
        };
        let Ok(turn) = Arc::clone(&self.check).acquire_owned().await else {
            return Admission::Later;
        };
        // While this one waited, another may have asked the same.
        if let Some(admitted) = Known::of(&self.known).get(&mark) {
            return Admission::of(admitted);
        }
        // What has begun goes on when the request is taken back, and is all that is done until it ends.
        let known = Arc::clone(&self.known);
        let checked = spawn_blocking(move || {
            let admitted = bcrypt::verify(password, &hash).unwrap_or(false) && is_own;
            Known::of(&known).put(mark, admitted);
            drop((turn, place));
            admitted
        });
        Admission::of(checked.await.unwrap_or(false))
    }

    /// Unambiguous: each part is hashed before they are joined. The key is of this process alone.
    fn mark(&self, user: &str, password: &str) -> Sha256 {
        let parts = [
            self.key,
            Sha256::digest(user.as_bytes()).0,
            Sha256::digest(password.as_bytes()).0,
        ];
        Sha256::digest(parts.as_flattened())
    }
}

impl Known {
    fn of(known: &Mutex<Self>) -> MutexGuard<'_, Self> {
        known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, mark: &Sha256) -> Option<bool> {
        let is_right = self.right.contains(mark);
        (is_right || self.wrong.contains(mark)).then_some(is_right)
    }

    fn put(&mut self, mark: Sha256, is_right: bool) {
        let marks = match is_right {
            true => &mut self.right,
            false => &mut self.wrong,
        };
        if marks.len() >= REMEMBERED {
            marks.clear();
        }
        marks.insert(mark);
    }
}

impl Waiting {
    /// A place, unless all are taken, or all that one client may have.
    fn take(&self, client: Option<IpAddr>) -> Option<Place> {
        let permit = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let mut clients = self.clients();
        let count = clients.entry(client).or_default();
        if *count >= OF_ONE_CLIENT {
            return None;
        }
        *count += 1;
        drop(clients);
        Some(Place {
            waiting: self.clone(),
            client,
            _permit: permit,
        })
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<Option<IpAddr>, usize>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut clients = self.waiting.clients();
        if let Some(count) = clients.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&self.client);
            }
        }
    }
}

impl Admission {
    fn of(admitted: bool) -> Self {
        if admitted { Self::Admitted } else { Self::Refused }
    }
}

/// RFC 7617: the user name ends at the first colon.
fn basic(pair: &str) -> Option<(String, String)> {
    let pair = String::from_utf8(STANDARD.decode(pair).ok()?).ok()?;
    let (user, password) = pair.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Who may read a repository.
#[derive(Clone)]
pub struct AccessRule {
    /// The repository's.
    pub name: String,
    /// The path of its base URL, with both slashes.
    pub base: String,
    /// `None` where it is not private.
    pub users: Option<Arc<Users>>,
}

/// Who may read which repository; clones share the users.
#[derive(Clone, Default)]
pub struct AccessRules {
    /// Of all that are configured, the longest base first.
    configured: Vec<AccessRule>,
    /// Of those that were, and may be served still.
    before: Vec<AccessRule>,
}

impl AccessRules {
    /// For all repositories.
    pub fn new(mut configured: Vec<AccessRule>) -> Self {
        configured.sort_by_key(|door| std::cmp::Reverse(door.base.len()));
        Self {
            configured,
            before: Vec::new(),
        }
    }

    /// These, and those of `before` for repositories of other names.
    pub(super) fn and(self, before: &Self) -> Self {
        let is_new = |door: &&AccessRule| self.configured.iter().all(|known| known.name != door.name);
        let all = before.configured.iter().chain(&before.before);
        let before = all.filter(is_new).cloned().collect();
        Self { before, ..self }
    }

    /// Whether any repository is private.
    pub(super) fn has_private(&self) -> bool {
        self.configured.iter().any(|door| door.users.is_some())
    }

    /// Whose users may read a decoded path: those of the repository that is configured there, and those of `owner`, the one
    /// that is served there, which is another one until what a new configuration says is served.
    pub(super) fn of(&self, path: &str, owner: Option<&str>) -> impl Iterator<Item = &Arc<Users>> {
        let configured = self.configured.iter().find(|door| is_below(&door.base, path));
        let is_other = configured.is_none_or(|door| Some(&*door.name) != owner);
        let all = self.configured.iter().chain(&self.before);
        let served = all
            .filter(move |_| is_other)
            .find(|door| Some(&*door.name) == owner);
        let doors = configured.into_iter().chain(served);
        doors.filter_map(|door| door.users.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Users {
        let hash = bcrypt::hash("right", 4).unwrap();
        let token = Sha256::digest(b"long-and-random");
        Users::parse(&format!("# who\n\nana:{hash}\nci:sha256:{token}\n")).unwrap()
    }

    fn admission(users: &Users, authorization: &str) -> Admission {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let fields = Fields::from_iter([("authorization", authorization.as_bytes())]);
        runtime.block_on(users.authenticate(&fields, None))
    }

    #[test]
    fn credentials_are_checked_again_and_again_with_one_result() {
        let users = users();
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for _ in 0..2 {
            for (authorization, admitted) in [
                (basic("ana:right"), true),
                (basic("ana:wrong"), false),
                (basic("ana:"), false),
                (basic("bob:right"), false),
                (basic("ci:long-and-random"), true),
                (basic("ana:long-and-random"), false),
                (basic("ci:right"), false),
                (basic("ana"), false),
                (format!("bAsIc  {}", STANDARD.encode("ana:right")), true),
                ("Basic !".to_owned(), false),
                ("Bearer long-and-random".to_owned(), true),
                ("Bearer right".to_owned(), false),
                ("Digest right".to_owned(), false),
                ("Basic".to_owned(), false),
            ] {
                assert_eq!(
                    admission(&users, &authorization),
                    Admission::of(admitted),
                    "{authorization}"
                );
            }
        }
        assert_eq!(admission(&Users::none(), &basic("ana:right")), Admission::Refused);
    }

    #[test]
    fn a_check_goes_on_alone_when_who_asked_has_gone_and_counts() {
        let hash = bcrypt::hash("right", 10).unwrap();
        let users = Users::parse(&format!("ana:{hash}\n")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let ask = |password: String, seconds: f64| {
            let pair = format!("Basic {}", STANDARD.encode(format!("ana:{password}")));
            let fields = Fields::from_iter([("authorization", pair.as_bytes())]);
            let patience = std::time::Duration::from_secs_f64(seconds);
            runtime
                .block_on(async { tokio::time::timeout(patience, users.authenticate(&fields, None)).await })
        };
        for wrong in 0..3 {
            assert!(ask(wrong.to_string(), 0.001).is_err(), "a check takes longer");
        }
        assert_eq!(users.check.available_permits(), 0, "the first is checked still");
        assert_eq!(ask("right".to_owned(), 60.0), Ok(Admission::Admitted));
        let known = Known::of(&users.known);
        assert_eq!((known.right.len(), known.wrong.len()), (1, 1));
    }

    #[test]
    fn one_client_takes_not_all_places_and_wrong_passwords_forget_no_right_one() {
        let users = users();
        let client = |last: u8| Some(IpAddr::from([192, 0, 2, last]));
        let mut places: Vec<_> = (0..OF_ONE_CLIENT)
            .map(|_| users.waiting.take(client(1)).unwrap())
            .collect();
        assert!(users.waiting.take(client(1)).is_none());
        places.push(users.waiting.take(client(2)).unwrap());
        drop(places);
        assert!(users.waiting.take(client(1)).is_some());
        assert_eq!(users.waiting.all.available_permits(), WAITING);

        let mut known = Known::default();
        let right = Sha256::digest(b"right");
        known.put(right, true);
        for wrong in 0..=REMEMBERED {
            known.put(Sha256::digest(&wrong.to_ne_bytes()), false);
        }
        assert_eq!((known.get(&right), known.wrong.len()), (Some(true), 1));
    }

    #[test]
    fn a_line_that_is_no_user_is_named_and_not_shown() {
        for (text, expected) in [
            ("secret", "line 1 is not `name:hash`"),
            ("\n:secret", "line 2 is not `name:hash`"),
            ("ana:secret", "line 1 holds no hash of bcrypt"),
            ("ana:sha256:secret", "line 1 holds no SHA-256"),
            (
                "ana:$2b$20$abcdefghijklmnopqrstuuMuSo2m0d6rNxrUF4nyFLFIF/H4BUC5S",
                "line 1: a check would take",
            ),
        ] {
            let error = Users::parse(text).err().unwrap().to_string();
            assert!(
                error.starts_with(expected) && !error.contains("secret"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_longest_base_decides() {
        let private = || Some(Arc::new(Users::none()));
        let door = |name: &str, base: &str, users: Option<Arc<Users>>| AccessRule {
            name: name.to_owned(),
            base: base.to_owned(),
            users,
        };
        let doors = AccessRules::new(vec![
            door("a", "/", private()),
            door("b", "/open/", None),
            door("c", "/open/shut/", private()),
        ]);
        for (path, is_private) in [
            ("/", true),
            ("/packages.json", true),
            ("/open", false),
            ("/open/x", false),
            ("/openly", true),
            ("/open/shut", true),
            ("/open/shut/x", true),
        ] {
            assert_eq!(doors.of(path, None).count(), usize::from(is_private), "{path}");
        }
        // Another configuration swaps two, takes one away and puts a public one in its place.
        let changed = AccessRules::new(vec![
            door("a", "/open/", private()),
            door("b", "/", None),
            door("d", "/open/shut/", None),
        ]);
        let changed = changed.and(&doors);
        for (path, owner, guards) in [
            ("/x", "a", 1),
            ("/x", "b", 0),
            ("/open/x", "b", 1),
            ("/open/x", "a", 1),
            ("/open/shut/x", "c", 1),
            ("/open/shut/x", "d", 0),
        ] {
            assert_eq!(changed.of(path, Some(owner)).count(), guards, "{path} of {owner}");
        }
    }
}
