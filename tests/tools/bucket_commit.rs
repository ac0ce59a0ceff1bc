//! The commit in a bucket under races and lost answers: against a real server, against one that ignores conditions, and against one
//! that holds them only while nobody else writes.

use std::sync::Mutex;

use mirror::bucket::commit::{Committed, NewRoot, commit, read_root};
use mirror::bucket::probe::{Abilities, probe, require};
use mirror::bucket::root::{LedgerEnd, StateObject};
use mirror::bucket::{Bucket, BucketErrorKind};
use mirror::util::digest::Sha256;

use crate::support::failing_proxy::{FailingProxy, Fault, Plan};
use crate::support::object_store::{ObjectStore, open};

const WRITERS: usize = 4;

/// Of each writer.
const COMMITS: u64 = 15;

fn new(volume: &str, number: u64) -> NewRoot<'_> {
    let digest = Sha256::digest(format!("{volume} {number}").as_bytes());
    NewRoot {
        repository: "acme",
        snapshot: StateObject { number, sha256: digest, size: 1 },
        state: digest,
        ledger: LedgerEnd { lines: 0, head: Sha256([0; 32]) },
        volume,
    }
}

/// Lets several writers commit until each has done so often enough. Returns the sequence numbers of all commits.
fn race(bucket: impl Fn() -> Bucket + Sync) -> Vec<u64> {
    let sequences = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (bucket, sequences) = (&bucket, &sequences);
            scope.spawn(move || {
                let (bucket, volume) = (bucket(), format!("volume {writer}"));
                for number in 1..=COMMITS {
                    let mut current = None;
                    // What fails is tried again, as an upload is.
                    loop {
                        match commit(&bucket, &new(&volume, number), current.as_ref(), true) {
                            Ok(Committed::Done(root)) => {
                                sequences.lock().unwrap().push(root.sequence);
                                break;
                            }
                            Ok(Committed::Overtaken(by)) => current = Some(by),
                            Err(_) => current = read_root(&bucket, "acme").ok().flatten(),
                        }
                    }
                }
            });
        }
    });
    let mut sequences = sequences.into_inner().unwrap();
    sequences.sort_unstable();
    sequences
}

#[test]
fn of_several_writers_each_commit_is_won_by_one() {
    let store = ObjectStore::seaweed();
    let sequences = race(|| store.bucket("race"));
    assert_eq!(sequences, (1..=WRITERS as u64 * COMMITS).collect::<Vec<_>>());
    let root = read_root(&store.bucket("race"), "acme").unwrap().unwrap().root;
    assert_eq!(root.sequence, WRITERS as u64 * COMMITS);
}

#[test]
fn commits_whose_answers_are_lost_are_neither_lost_nor_made_twice() {
    let store = ObjectStore::seaweed();
    let seed = fastrand::u64(..);
    let proxy = FailingProxy::start(store.port, seed);
    proxy.fail(150);
    let sequences = race(|| open("lost-answers", proxy.port));
    assert!(proxy.faults() > 10, "{} faults, seed {seed}", proxy.faults());
    // A commit that was reported as failed may have happened; one that was acknowledged happened once.
    let mut distinct = sequences.clone();
    distinct.dedup();
    assert_eq!(distinct, sequences, "seed {seed}");
    let root = read_root(&store.bucket("lost-answers"), "acme").unwrap().unwrap().root;
    assert!(root.sequence >= WRITERS as u64 * COMMITS, "seed {seed}");
}

#[test]
fn server_with_conditional_writes_passes_the_probe() {
    let store = ObjectStore::seaweed();
    let bucket = store.bucket("probe");
    let abilities = probe(&bucket, "acme").unwrap();
    assert_eq!((abilities.unconditional, abilities.compares_digests), (None, true));
    assert!(bucket.list("acme/").unwrap().is_empty());
}

#[test]
fn race_whose_answers_are_lost_does_not_make_the_probe_refuse_a_server() {
    let store = ObjectStore::seaweed();
    let proxy = FailingProxy::start(store.port, 0);
    // Those to the writers of the first race.
    let plan = Plan { seed: 0, kinds: &[Fault::LoseAnswer], only: "/race-", share: 1000, most: 8 };
    proxy.set(Some(plan));
    let abilities = probe(&open("lost-races", proxy.port), "acme").unwrap();
    assert_eq!((abilities.unconditional, proxy.faults()), (None, 8));
}

#[test]
fn probe_tells_that_a_server_compares_no_digests() {
    let store = ObjectStore::moto();
    let abilities = probe(&store.bucket("probe"), "acme").unwrap();
    assert!(!abilities.compares_digests);
    // It checks a condition and writes in two steps of Python, so on a busy machine two writers can win.
    let reason = abilities.unconditional.unwrap_or_default();
    assert!(reason.is_empty() || reason.contains("writers at once"), "{reason}");
}

#[test]
fn errors_name_the_object_and_a_remedy() {
    let closed = open("closed", crate::support::free_port());
    let error = closed.get("acme/root").unwrap_err();
    assert_eq!(error.kind, BucketErrorKind::Unknown);
    assert!(error.to_string().contains("failed to read `s3://packages/closed/acme/root`: "), "{error}");
    assert!(error.to_string().contains("Connection refused"), "{error}");
    let store = ObjectStore::seaweed();
    let missing = store.bucket("none").get("acme/root").unwrap_err();
    assert_eq!(missing.kind, BucketErrorKind::NotFound, "{missing}");
}

/// Fails unless the probe refuses the store in one sentence with this reason, and commits of several writers are lost without it.
fn assert_control(store: &ObjectStore, reason: &str) -> Abilities {
    let bucket = store.bucket("control");
    let abilities = probe(&bucket, "acme").unwrap();
    let refused = require(&abilities, &bucket, false).unwrap_err().to_string();
    let sentence = refused.lines().next().unwrap();
    assert!(sentence.contains("`s3://packages/control/`") && sentence.contains(reason), "{refused}");
    assert!(refused.contains("hint: if this is the only instance"), "{refused}");
    require(&abilities, &bucket, true).unwrap();
    // Nothing is left behind.
    assert!(bucket.list("acme/").unwrap().is_empty());
    let acknowledged = race(|| store.bucket("control"));
    assert_ne!(acknowledged, (1..=WRITERS as u64 * COMMITS).collect::<Vec<_>>());
    let root = read_root(&bucket, "acme").unwrap().unwrap().root;
    assert!(root.sequence < acknowledged.len() as u64, "{} of {acknowledged:?}", root.sequence);
    abilities
}

#[test]
fn store_that_ignores_conditions_loses_commits_and_is_refused() {
    let abilities = assert_control(
        &ObjectStore::rclone(),
        "create an object only if there is none: the condition was ignored",
    );
    assert!(!abilities.compares_digests);
}

#[test]
fn store_that_holds_conditions_but_not_at_once_loses_commits_and_is_refused() {
    let abilities = assert_control(&ObjectStore::s3s(), "of 8 writers at once");
    assert!(abilities.compares_digests);
}
