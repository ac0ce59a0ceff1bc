//! A mirror that lies to its followers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mirror::util::digest::Sha256;
use serde_json::Value;

use crate::fixture::Fixture;
use crate::support::lying_proxy::{Forwarded, LyingProxy};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Archives have other bytes.
    OtherBytes,
    LongerArchives,
    ShorterArchives,
    /// `follow.json` names another digest than the ledger has.
    OtherHead,
    /// The last line has another digest of its archive.
    OtherDigest,
    /// The last line names a package that nobody has released.
    ForgedLine,
    /// The ledger and `follow.json` are older than what the follower has: from a backup.
    Older,
    /// Another ledger from the follower's last line on, with what follows, each line chained to the one before.
    Fork,
    /// The ledger ends within a line.
    Torn,
    /// A page of a login for everything.
    Page,
}

pub const LIES: [Lie; 10] = [
    Lie::OtherBytes,
    Lie::LongerArchives,
    Lie::ShorterArchives,
    Lie::OtherHead,
    Lie::OtherDigest,
    Lie::ForgedLine,
    Lie::Older,
    Lie::Fork,
    Lie::Torn,
    Lie::Page,
];

impl Lie {
    /// Whether it proves that the mirror is wrong, which was asked for its ledger or only for archives: one that is too short may
    /// be asked for again.
    pub fn is_proof(self, is_ledger_asked_for: bool) -> bool {
        match self {
            Self::ShorterArchives => false,
            Self::Page => is_ledger_asked_for,
            _ => true,
        }
    }
}

/// What a mirror publishes to its followers.
#[derive(Clone)]
pub struct Published {
    ledger: Vec<u8>,
    follow: Vec<u8>,
}

impl Published {
    pub fn of(mirror: &Fixture) -> Self {
        let read =
            |path: &str| std::fs::read(mirror.data().join("acme").join(path)).expect("it is published");
        Self { ledger: read("ledger.jsonl"), follow: read("current/follow.json") }
    }

    fn lines(&self) -> Vec<String> {
        let text = std::str::from_utf8(&self.ledger).expect("text");
        text.lines().map(str::to_owned).collect()
    }
}

pub struct Liar {
    proxy: LyingProxy,
    told: Arc<AtomicUsize>,
}

impl Liar {
    pub fn before(mirror: u16) -> Self {
        Self { proxy: LyingProxy::before(mirror), told: Arc::default() }
    }

    pub fn port(&self) -> u16 {
        self.proxy.port
    }

    /// Tells the truth from now on. Returns how often it has lied.
    pub fn be_honest(&self) -> usize {
        self.proxy.be_honest();
        self.told.swap(0, Ordering::Relaxed)
    }

    /// Lies from now on.
    pub fn lie(&self, lie: Lie, mirror: &Fixture, [older, copied]: &[Published; 2]) {
        let now = Published::of(mirror);
        let told = self.told.clone();
        let pretended = match lie {
            Lie::OtherHead => {
                Published { follow: with_head(&now.follow, Sha256::digest(b"another")), ..now.clone() }
            }
            Lie::OtherDigest => Published { ledger: other_digest(&now), ..now.clone() },
            Lie::ForgedLine => Published { ledger: forged_line(&now), ..now.clone() },
            Lie::Older => older.clone(),
            Lie::Fork => fork(&now, copied.lines().len() - 1),
            Lie::Torn => {
                let mut ledger = now.ledger.clone();
                ledger.truncate(now.ledger.len() - 40);
                Published { ledger, ..now.clone() }
            }
            _ => now.clone(),
        };
        self.proxy.lie(move |path, answer| {
            let before = (answer.status, answer.body.clone());
            // Damage in a compressed body may look like a broken transfer.
            let is_plain = !answer.headers.iter().any(|(name, _)| name == "content-encoding");
            match lie {
                Lie::Page => answer.replace(200, "<!DOCTYPE html>\n<title>Welcome</title>\n"),
                _ if path.ends_with(".zip") => spoil(lie, &mut answer.body),
                _ if path.ends_with("/ledger.jsonl") => pretended.answer_rest(answer),
                _ if path.ends_with("/follow.json") => answer.body.clone_from(&pretended.follow),
                _ => {}
            }
            let is_lie = is_plain && before != (answer.status, answer.body.clone());
            told.fetch_add(usize::from(is_lie), Ordering::Relaxed);
        });
    }
}

impl Published {
    /// Answers a request for the ledger as if this were published.
    fn answer_rest(&self, answer: &mut Forwarded) {
        let range = answer.headers.iter().find(|(name, _)| name == "content-range");
        let begin =
            range.and_then(|(_, range)| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
        match self.ledger.get(begin.unwrap_or(0)..) {
            Some(rest) if !rest.is_empty() => answer.body = rest.to_vec(),
            _ => answer.replace(416, ""),
        }
        let digest = Sha256::digest(&self.follow).to_string();
        for (_, value) in answer.headers.iter_mut().filter(|(name, _)| name == "mirror-state") {
            value.clone_from(&digest);
        }
    }
}

fn spoil(lie: Lie, archive: &mut Vec<u8>) {
    match lie {
        Lie::OtherBytes => {
            let middle = archive.len() / 2;
            archive[middle] ^= 1;
        }
        Lie::LongerArchives => archive.extend(b"more"),
        Lie::ShorterArchives => archive.truncate(archive.len() / 2),
        _ => {}
    }
}

fn with_head(follow: &[u8], head: Sha256) -> Vec<u8> {
    let mut state: Value = serde_json::from_slice(follow).expect("JSON");
    state["ledger"]["head"] = head.to_string().into();
    state.to_string().into_bytes()
}

fn other_digest(state: &Published) -> Vec<u8> {
    let mut lines = state.lines();
    let last = lines.last_mut().expect("a line");
    let mut release: Value = serde_json::from_str(last).expect("JSON");
    release["sha256"] = Sha256::digest(b"another").to_string().into();
    *last = release.to_string();
    text(&lines)
}

fn forged_line(state: &Published) -> Vec<u8> {
    let mut lines = state.lines();
    let last = lines.last_mut().expect("a line");
    let mut release: Value = serde_json::from_str(last).expect("JSON");
    release["name"] = "acme/forged".into();
    *last = release.to_string();
    text(&lines)
}

/// Another ledger from the line with this index on, and its `follow.json`.
fn fork(state: &Published, from: usize) -> Published {
    let mut lines = state.lines();
    let mut release: Value = serde_json::from_str(&lines[from]).expect("JSON");
    release["commit"] = "0123456789012345678901234567890123456789".into();
    lines[from] = release.to_string();
    for n in from + 1..lines.len() {
        let before = Sha256::digest(lines[n - 1].as_bytes());
        let mut release: Value = serde_json::from_str(&lines[n]).expect("JSON");
        release["previous"] = before.to_string().into();
        lines[n] = release.to_string();
    }
    let head = Sha256::digest(lines.last().expect("a line").as_bytes());
    Published { ledger: text(&lines), follow: with_head(&state.follow, head) }
}

fn text(lines: &[String]) -> Vec<u8> {
    (lines.join("\n") + "\n").into_bytes()
}
