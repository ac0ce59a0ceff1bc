//! Builders that share a bucket: one with an empty volume is restored, one that was overtaken takes over what is there, and of
//! several that publish at once none loses anything.

use std::process::{Command, Output, Stdio};

use mirror::ledger::Ledger;
use serde_json::Value;

use crate::bucket::{assert_published, published, release};
use crate::replica::{normalized, paths};
use crate::support::env::TestEnv;
use crate::support::failing_proxy::{FailingProxy, Fault, Plan};
use crate::support::git::WorkTree;
use crate::support::http::get;
use crate::support::object_store::{ObjectStore, configure};
use crate::support::shop::{SOURCE, shop};
use crate::support::{free_port, run, until};

/// Two builders of one mirror, whose volumes are empty.
struct Builders {
    first: TestEnv,
    second: TestEnv,
    upstream: WorkTree,
    /// Where the second one listens.
    port: u16,
    /// Where the first one listens, and where the URL of the repository leads.
    public: u16,
}

impl Builders {
    /// Both publish below `prefix` to the server at `store`.
    fn new(prefix: &str, store: u16) -> Self {
        let (first, second, public, port) = (TestEnv::new(), TestEnv::new(), free_port(), free_port());
        let upstream = shop(&first);
        for env in [&first, &second] {
            env.configure(public, SOURCE);
        }
        let git = |env: &TestEnv| format!("file://{}/", env.path("git").display());
        let listen = |port: u16| format!("listen: ['127.0.0.1:{port}']");
        let config = second.read("mirror.yaml").replace(&git(&second), &git(&first));
        second.write("mirror.yaml", &config.replace(&listen(public), &listen(port)));
        for env in [&first, &second] {
            configure(env, prefix, store, "");
        }
        Self { first, second, upstream, port, public }
    }

    /// Compares both volumes with each other and, in their files, with what they publish.
    fn assert_same(&self) {
        let [first, second] = [&self.first, &self.second].map(|env| {
            let verified = env.mirror("verify");
            assert_eq!(verified.status.code(), Some(0), "{}", log(&verified));
            let manifest: Value = serde_json::from_str(&env.read("data/acme/current/manifest.json")).unwrap();
            (env.read("data/acme/ledger.jsonl"), manifest)
        });
        assert_eq!(first, second);
    }
}

fn log(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `name version` of all releases, of which none may be there twice.
fn releases(ledger: &Ledger) -> Vec<String> {
    let mut releases: Vec<_> = ledger.releases().iter().map(mirror::ledger::Release::package).collect();
    releases.sort();
    let count = releases.len();
    releases.dedup();
    assert_eq!(releases.len(), count);
    releases
}

#[test]
fn empty_volume_is_restored_and_builds_on() {
    let store = ObjectStore::seaweed();
    let builders = Builders::new("restore", store.port);
    let Builders { first, second, upstream, .. } = &builders;
    upstream.write("Sales/Text.php", &"<?php // the same again\n".repeat(4000));
    release(upstream, "1.0.1");
    first.build(0);
    let withdrawn =
        first.command(&["withdraw", "acme/catalog", "1.0.0-p1", "--reason", "it is wrong"]).output().unwrap();
    assert!(withdrawn.status.success(), "{}", log(&withdrawn));
    first.build(0);
    let bucket = store.bucket("restore");
    let before = published(&bucket);

    let built = second.command(&["build", "--json"]).output().unwrap();
    assert_eq!(built.status.code(), Some(0), "{}", log(&built));
    assert!(log(&built).contains("from `s3://packages/restore/acme`"), "{}", log(&built));
    let document: Value = serde_json::from_slice(&built.stdout).unwrap();
    assert_eq!(document["repositories"][0]["new"], 0, "{document:#}");
    // What was restored is what is published, down to the compressed copies.
    assert_eq!(published(&bucket).root(), before.root());
    builders.assert_same();
    // The archive of a withdrawn version is not restored.
    let list = "find packages variants withdrawn.jsonl -type f ! -name catalog-1.0.0-p1.zip -exec sha256sum {} + | sort";
    let files = |env: &TestEnv| run(Command::new("sh").args(["-c", list]).current_dir(env.path("data/acme")));
    assert_eq!(files(second), files(first));

    let (_first, _second) = (first.serve("serve", builders.public), second.serve("serve", builders.port));
    // Each tells when its own cycle has run.
    let is_own = |path: &&String| *path == "lastsync" || path.starts_with("project/");
    for path in paths(first).iter().filter(|path| !is_own(path)) {
        let url = format!("/mirror/{path}");
        let [expected, found] =
            [builders.public, builders.port].map(|port| normalized(path, get(port, &url)));
        assert_eq!(found, expected, "{url}");
    }

    release(upstream, "1.0.2");
    second.build(0);
    assert_published(second, &bucket);
    let after = published(&bucket);
    assert_eq!(after.root().sequence, before.root().sequence + 1);
    assert!(after.ledger_text().starts_with(before.ledger_text()));
}

#[test]
fn restoration_that_is_interrupted_goes_on_and_without_the_bucket_nothing_is_begun() {
    let store = ObjectStore::seaweed();
    let proxy = FailingProxy::start(store.port, fastrand::u64(..));
    let builders = Builders::new("interrupted-restore", store.port);
    let Builders { first, second, .. } = &builders;
    first.build(0);
    configure(second, "interrupted-restore", free_port(), "");
    let output = second.mirror("build");
    assert_ne!(output.status.code(), Some(0));
    assert!(log(&output).contains("so nothing was built: failed to read `s3://"), "{}", log(&output));
    assert!(!second.path("data/acme/ledger.jsonl").exists());
    configure(second, "interrupted-restore", proxy.port, "");
    proxy.fail(300);
    until("it is restored in spite of failures", || second.mirror("build").status.success());
    assert!(proxy.faults() > 0);
    builders.assert_same();
}

#[test]
fn builder_that_is_behind_takes_over_what_another_one_has_published() {
    let store = ObjectStore::seaweed();
    let builders = Builders::new("behind", store.port);
    let Builders { first, second, upstream, .. } = &builders;
    for env in [first, second] {
        // Nightly versions expire with time, so each cycle makes the metadata.
        env.write("recipe.yaml", &format!("{}retention: {{versions: 2}}\n", env.read("recipe.yaml")));
    }
    first.build(0);
    second.build(0);
    release(upstream, "1.0.1");
    first.build(0);
    release(upstream, "1.0.2");
    let log = second.build(0);
    assert!(log.contains("taking over 2 releases that `s3://packages/behind/acme` has"), "{log}");
    let log = first.build(0);
    assert!(log.contains("taking over 2 releases that"), "{log}");
    builders.assert_same();
    let bucket = store.bucket("behind");
    assert_published(first, &bucket);
    let found = releases(published(&bucket).ledger());
    assert!(
        ["acme/sales 1.0.1", "acme/sales 1.0.2"].iter().all(|release| found.contains(&(*release).into()))
    );
    // Without news nobody publishes anything, nor names itself as the publisher.
    let root = published(&bucket).root().clone();
    second.build(0);
    first.build(0);
    assert_eq!(*published(&bucket).root(), root);
}

#[test]
fn what_was_built_without_the_bucket_follows_what_is_published() {
    let store = ObjectStore::seaweed();
    let builders = Builders::new("apart", store.port);
    let Builders { first, second, upstream, .. } = &builders;
    first.build(0);
    second.build(0);
    configure(first, "apart", free_port(), "");
    for version in ["1.1.0", "1.1.1"] {
        release(upstream, version);
        first.build(1);
    }
    // The other one does not see one of the releases, and has another one.
    upstream.git(&["tag", "-d", "1.1.1"]);
    release(upstream, "1.1.2");
    second.build(0);
    let bucket = store.bucket("apart");
    let before = published(&bucket);
    configure(first, "apart", store.port, "");
    first.build(0);
    let after = published(&bucket);
    assert!(after.ledger_text().starts_with(before.ledger_text()));
    let found = releases(after.ledger());
    for version in ["1.1.0", "1.1.1", "1.1.2"] {
        assert!(found.contains(&format!("acme/sales {version}")), "{version}: {found:?}");
    }
    second.build(0);
    builders.assert_same();
    assert_published(second, &bucket);

    // The same version with other bytes.
    configure(first, "apart", free_port(), "");
    release(upstream, "1.2.0");
    first.build(1);
    upstream.git(&["tag", "-d", "1.2.0"]);
    upstream.write("Sales/Other.php", "<?php // moved");
    release(upstream, "1.2.0");
    second.build(0);
    configure(first, "apart", store.port, "");
    let log = first.build(1);
    assert!(log.contains("is acme/sales 1.2.0 with SHA-256"), "{log}");
    assert!(log.contains("give this builder an empty volume"), "{log}");
    assert_published(second, &bucket);
    std::fs::remove_dir_all(first.path("data")).unwrap();
    first.build(0);
    builders.assert_same();
}

#[test]
fn racing_builders_publish_every_release_once() {
    let store = ObjectStore::seaweed();
    let builders = Builders::new("race-of-builders", store.port);
    let Builders { first, second, upstream, .. } = &builders;
    let mut overtaken = 0;
    for round in 1..=5 {
        release(upstream, &format!("1.1.{round}"));
        let start = |env: &TestEnv| env.command(&["build"]).stderr(Stdio::piped()).spawn().unwrap();
        let one = start(first);
        // What the second one fetches may have this release, too.
        release(upstream, &format!("1.2.{round}"));
        let two = start(second);
        for child in [one, two] {
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(0), "round {round}: {}", log(&output));
            overtaken += usize::from(log(&output).contains("another builder has published first"));
        }
    }
    first.build(0);
    second.build(0);
    first.build(0);
    builders.assert_same();
    let bucket = store.bucket("race-of-builders");
    assert_published(first, &bucket);
    let found = releases(published(&bucket).ledger());
    for round in 1..=5 {
        for minor in 1..=2 {
            let release = format!("acme/sales 1.{minor}.{round}");
            assert!(found.contains(&release), "{release} is not published: {found:?}");
        }
    }
    println!("{overtaken} of 10 builds were overtaken");
}

#[test]
fn running_builder_is_restored_and_takes_over_what_was_published_before_its_upload() {
    let store = ObjectStore::seaweed();
    let proxy = FailingProxy::start(store.port, 0);
    let builders = Builders::new("running", store.port);
    let Builders { first, second, upstream, port, .. } = &builders;
    first.build(0);
    configure(second, "running", proxy.port, "");
    let server = second.serve("run", *port);
    let is_served =
        |version: &str| get(*port, &format!("/mirror/packages/acme/sales-{version}.zip")).status == 200;
    assert!(is_served("1.0.0"));
    assert_eq!(second.read("data/acme/ledger.jsonl"), first.read("data/acme/ledger.jsonl"));
    // Both build the same release, and the other one publishes it.
    let kinds = &[Fault::ResetBefore];
    proxy.set(Some(Plan { seed: 0, kinds, only: "", share: 1000, most: usize::MAX }));
    release(upstream, "1.0.1");
    second.write("mirror.yaml", &format!("{}# changed\n", second.read("mirror.yaml")));
    until("it is built without the bucket", || is_served("1.0.1"));
    first.build(0);
    assert_ne!(second.read("data/acme/ledger.jsonl"), first.read("data/acme/ledger.jsonl"));
    proxy.set(None);
    second.write("mirror.yaml", &format!("{}# again\n", second.read("mirror.yaml")));
    until("what was published first is taken over", || {
        second.read("data/acme/ledger.jsonl") == first.read("data/acme/ledger.jsonl")
    });
    assert!(is_served("1.0.1"));
    assert_eq!(server.stop(), Some(0));
    second.build(0);
    first.build(0);
    builders.assert_same();
}
