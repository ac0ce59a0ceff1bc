//! Publishing to a bucket: what is uploaded, what a second upload sends, and what becomes of it when the bucket fails.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use jiff::SignedDuration;
use mirror::bucket::commit::GRACE;
use mirror::bucket::garbage::{collect, collect_until};
use mirror::bucket::publish::Publisher;
use mirror::bucket::reader::{Loaded, LoadedState, load};
use mirror::bucket::verify::verify;
use mirror::bucket::{Bucket, ObjectInfo, UploadEvent, UploadObserver};
use mirror::store::Volume;
use mirror::util::digest::Sha256;
use serde_json::{Value, json};

use crate::pages::Browser;
use crate::support::env::TestEnv;
use crate::support::failing_proxy::{FailingProxy, Fault, Plan};
use crate::support::git::WorkTree;
use crate::support::http::get;
use crate::support::object_store::{ObjectStore, configure, remove};
use crate::support::shop::{SOURCE, shop};
use crate::support::{free_port, until};

/// A mirror of a shop that publishes below `prefix` to the server at `store`.
fn publisher(prefix: &str, store: u16, keys: &str) -> (TestEnv, WorkTree, u16) {
    let (env, port) = (TestEnv::new(), free_port());
    let upstream = shop(&env);
    env.configure(port, SOURCE);
    configure(&env, prefix, store, keys);
    (env, upstream, port)
}

/// Another release of one module.
pub fn release(upstream: &WorkTree, version: &str) {
    let manifest = format!(r#"{{"name": "acme/sales", "type": "magento2-module", "version": "{version}"}}"#);
    upstream.write("Sales/composer.json", &manifest).release(version);
}

pub fn published(bucket: &Bucket) -> Box<LoadedState> {
    match load(bucket, "acme", None).unwrap() {
        Loaded::New(loaded) => loaded,
        other => panic!("{other:?}"),
    }
}

/// Compares everything that is published with the volume.
pub fn assert_published(env: &TestEnv, bucket: &Bucket) {
    let loaded = published(bucket);
    let folder = env.path("data/acme");
    assert_eq!(loaded.ledger_text()[..], std::fs::read(folder.join("ledger.jsonl")).unwrap());
    let current = folder.join("current");
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(current.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(serde_json::to_value(&loaded.state.snapshot).unwrap(), manifest);
    for (path, file) in &loaded.state.snapshot.files {
        let bytes = loaded.content(file.sha256).unwrap();
        assert_eq!(bytes[..], std::fs::read(current.join(path)).unwrap(), "{path}");
        for copy in loaded.state.variants.get(&file.sha256).into_iter().flatten() {
            assert_eq!(Sha256::digest(&loaded.content(copy.sha256).unwrap()), copy.sha256);
        }
    }
    let mut archives = 0;
    for (release, _) in loaded.ledger().archives(|release| loaded.state.snapshot.serves(release)) {
        for object in loaded.archive_objects(release) {
            let bytes = bucket.get(&object.key).unwrap().bytes;
            assert_eq!((Sha256::digest(&bytes), bytes.len() as u64), (object.sha256, object.size));
        }
        archives += 1;
    }
    assert!(archives > 0);
    let found = verify(bucket, "acme").unwrap();
    assert!(found.problems.is_empty(), "{:?}", found.problems);
}

#[test]
fn build_publishes_to_the_bucket_and_a_second_one_only_reads_the_root_and_records_its_cycle() {
    let store = ObjectStore::seaweed();
    let proxy = FailingProxy::start(store.port, 0);
    let (env, upstream, _) = publisher("build", proxy.port, "");
    let log = env.build(0);
    assert!(log.contains("published to the bucket"), "{log}");
    let bucket = store.bucket("build");
    assert_published(&env, &bucket);
    let first = published(&bucket);
    assert_eq!(first.root().sequence, 1);
    let verified = env.command(&["verify", "--bucket", "--json"]).output().unwrap();
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stderr));
    let found: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(found["repositories"][0]["checked"]["root"], 1, "{found:#}");

    proxy.take_requests();
    env.build(0);
    // Once before the cycle, and once after it.
    let root = "GET /packages/build/acme/root";
    assert_eq!(proxy.take_requests(), [root, root, "PUT /packages/build/acme/cycles.json"]);
    assert!(matches!(load(&bucket, "acme", Some(&first)).unwrap(), Loaded::Unchanged));

    release(&upstream, "1.0.1");
    env.build(0);
    let uploaded = proxy.take_requests();
    let is_sent = |name: &str| uploaded.iter().any(|request| request.contains(name));
    assert!(is_sent("acme/sales-1.0.1.zip") && !is_sent("acme/sales-1.0.0.zip"), "{uploaded:#?}");
    assert_published(&env, &bucket);
    let Loaded::New(second) = load(&bucket, "acme", Some(&first)).unwrap() else { panic!("another state") };
    assert_eq!(second.root().sequence, 2);
    assert_eq!(second.root().replaced[0].nonce, first.root().nonce);
    assert_eq!(second.state.ledger.len(), 2);
}

#[test]
fn running_mirror_publishes_releases_and_then_their_compressed_copies() {
    let store = ObjectStore::seaweed();
    let (env, upstream, port) = publisher("run", store.port, "");
    // More than the smallest file that is compressed.
    upstream.write("Sales/Text.php", &"<?php // the same again\n".repeat(200));
    release(&upstream, "1.0.1");
    let server = env.serve("run", port);
    let bucket = store.bucket("run");
    until("the release is in the bucket with its copies", || {
        let Ok(Loaded::New(loaded)) = load(&bucket, "acme", None) else { return false };
        let archives = loaded.ledger().archives(|_| true).filter(|(release, _)| release.version == "1.0.1");
        let copies: usize = archives.map(|(release, _)| loaded.archive_objects(release).len() - 1).sum();
        copies == 2
    });
    assert_published(&env, &bucket);
    let status = || get(port, "/mirror/mirror.json").json()["repository"]["bucket"].clone();
    until("the status names the bucket", || status()["snapshot"] == 1);
    assert_eq!((status()["url"].as_str(), &status()["error"]), (Some("s3://packages/run/"), &Value::Null));
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn running_mirror_tells_how_far_an_upload_is() {
    let store = ObjectStore::seaweed();
    let proxy = FailingProxy::start(store.port, 0);
    // Tried again for some seconds, which all others are uploaded in.
    let only = "PUT /packages/progress/acme/packages/acme/sales-1.0.0.zip";
    proxy.set(Some(Plan { seed: 0, kinds: &[Fault::Status(503)], only, share: 1000, most: usize::MAX }));
    let (env, _, port) = publisher("progress", proxy.port, "");
    let server = env.serve("run", port);
    let progress = || get(port, "/mirror/progress.json").json()["upload"].clone();
    let count = |upload: &Value, key: &str| upload["objects"][key].as_u64().unwrap_or_default();
    until("some objects are there", || {
        let upload = progress();
        count(&upload, "done") > 0 && count(&upload, "done") < count(&upload, "all")
    });
    let browser = Browser::start(&[], &json!({}));
    browser.open(&format!("http://127.0.0.1:{port}/mirror/status.html"));
    browser.wait("document.getElementById('progress').textContent.startsWith('Uploading to the bucket: ')");
    proxy.set(None);
    until("the upload has ended", || {
        progress().is_null() && load(&store.bucket("progress"), "acme", None).is_ok()
    });
    assert_published(&env, &store.bucket("progress"));
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn failing_bucket_takes_nothing_from_the_mirror_and_is_told() {
    let closed = free_port();
    let (env, _, port) = publisher("failing", closed, "");
    remove(&env);
    env.build(0);
    configure(&env, "failing", closed, "");
    let log = env.build(1);
    assert!(log.contains("failed to publish to the bucket, where the last state stays: "), "{log}");
    assert!(log.contains("`s3://packages/failing/acme/root`") && log.contains("Connection refused"), "{log}");
    assert!(env.path("data/acme/snapshots/1/packages.json").exists());
    let server = env.serve("serve", port);
    let document = get(port, "/mirror/mirror.json").json();
    let repository = &document["repository"];
    assert_eq!(
        (&repository["state"], &repository["bucket"]["snapshot"]),
        (&"incomplete".into(), &Value::Null)
    );
    assert!(repository["bucket"]["error"].as_str().unwrap().contains("Connection refused"), "{document:#}");
    let page = get(port, "/mirror/status.html").into_text();
    assert!(
        page.contains("the upload to the bucket failed") && page.contains("Connection refused"),
        "{page}"
    );
    let metrics = get(port, "/-/metrics").into_text();
    assert!(metrics.contains("mirror_bucket_failing{repository=\"acme\"} 1"), "{metrics}");
    assert_eq!(get(port, "/mirror/packages/acme/sales-1.0.0.zip").status, 200);
    assert_eq!(server.stop(), Some(0));

    let store = ObjectStore::seaweed();
    configure(&env, "failing", store.port, "");
    let log = env.build(0);
    assert!(log.contains("published to the bucket"), "{log}");
    assert_published(&env, &store.bucket("failing"));
    env.write("secret", "another");
    let said = env.command(&["verify", "--bucket"]).output().unwrap();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("hint: check the access key"), "{said}");
}

#[test]
fn what_another_mirror_has_published_is_not_replaced() {
    let store = ObjectStore::seaweed();
    let (env, _, _) = publisher("other", store.port, "");
    env.build(0);
    let bucket = store.bucket("other");
    let before = published(&bucket);
    let (other, _, _) = publisher("other", store.port, "");
    remove(&other);
    other.build(0);
    configure(&other, "other", store.port, "");
    let log = other.build(1);
    assert!(log.contains("was published from another ledger: line"), "{log}");
    assert!(log.contains("hint: choose another prefix in `bucket.url`"), "{log}");
    assert_eq!(published(&bucket).root(), before.root());
    // An archive of its own, which no root names.
    let (third, _, _) = publisher("third", store.port, "");
    let key = "acme/packages/acme/sales-1.0.0.zip";
    let taken = mirror::bucket::Upload::new(&b"other bytes"[..], Default::default());
    let prefix = store.bucket("third");
    prefix.put(key, &taken, mirror::bucket::Condition::New).unwrap();
    let log = third.build(1);
    assert!(log.contains("has other bytes than") && log.contains("published bytes never change"), "{log}");
    assert_eq!(prefix.get(key).unwrap().bytes, taken.bytes);
}

#[test]
fn failing_requests_lose_nothing_and_no_root_names_what_is_missing() {
    let store = ObjectStore::seaweed();
    let seed = std::env::var("FAULTS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("FAULTS_SEED={seed}");
    let proxy = FailingProxy::start(store.port, seed);
    let (env, upstream, _) = publisher("faults", proxy.port, "");
    let bucket = store.bucket("faults");
    proxy.fail(100);
    for round in 1..=8 {
        release(&upstream, &format!("1.1.{round}"));
        let _ = env.mirror("build");
        // Whatever has failed, what the root names is there.
        match load(&bucket, "acme", None).unwrap() {
            Loaded::Nothing => {}
            _ => assert_eq!(verify(&bucket, "acme").unwrap().problems, Vec::<String>::new(), "seed {seed}"),
        }
    }
    let faults = proxy.faults();
    assert!(faults > 10, "{faults} faults, seed {seed}");
    proxy.fail(0);
    env.build(0);
    assert_published(&env, &bucket);
}

#[test]
fn bucket_without_conditional_writes_is_refused_unless_there_is_one_writer() {
    for (store, reason) in [
        (
            ObjectStore::rclone(),
            "it does not create an object only if there is none: the condition was ignored",
        ),
        (ObjectStore::s3s(), "writers at once"),
    ] {
        let (env, upstream, _) = publisher("lesser", store.port, "");
        let log = env.build(1);
        let sentence = "`s3://packages/lesser/` cannot be published to by more than one writer: ";
        assert!(log.contains(sentence) && log.contains(reason), "{log}");
        assert!(log.contains("hint: if this is the only instance"), "{log}");
        assert!(store.bucket("lesser").list("acme/").unwrap().is_empty());
        configure(&env, "lesser", store.port, ", single_writer: true");
        env.build(0);
        release(&upstream, "1.0.1");
        env.build(0);
        let bucket = store.bucket("lesser");
        assert_published(&env, &bucket);
        assert_eq!(published(&bucket).root().sequence, 2);
    }
}

#[test]
fn interrupted_upload_is_continued() {
    let store = ObjectStore::seaweed();
    let proxy = FailingProxy::start(store.port, 0);
    let (env, _, _) = publisher("interrupted", proxy.port, "");
    // One large file, so that its archive is not sent twice.
    let text: String = (0..20_000).map(|number| format!("{}\n", number * number)).collect();
    env.upstream("large")
        .write("composer.json", r#"{"name": "acme/large", "version": "1.0.0"}"#)
        .write("data", &text)
        .release("1.0.0");
    let recipe = env.read("recipe.yaml");
    env.write(
        "recipe.yaml",
        &format!(
            "{recipe}  - name: large\n    git: https://git.example/large\n    packages: [{{one: ''}}]\n"
        ),
    );
    remove(&env);
    env.build(0);
    configure(&env, "interrupted", proxy.port, "");
    let mut build = env.command(&["build"]).stderr(std::process::Stdio::null()).spawn().unwrap();
    until("the archive is there", || {
        store.bucket("interrupted").head("acme/packages/acme/large-1.0.0.zip").unwrap().is_some()
    });
    build.kill().unwrap();
    build.wait().unwrap();
    proxy.take_requests();
    env.build(0);
    let requests = proxy.take_requests();
    let archive = "/packages/interrupted/acme/packages/acme/large-1.0.0.zip";
    assert!(!requests.contains(&format!("PUT {archive}")), "{requests:#?}");
    assert_published(&env, &store.bucket("interrupted"));
}

/// Publishes a volume as the builder that has published to the bucket before.
fn publish(env: &TestEnv, bucket: &Bucket, grace: SignedDuration, observer: UploadObserver<'_>) {
    let volume = Volume::open_read_only(&env.path("data")).unwrap();
    let root = published(bucket).root().clone();
    let publisher = Publisher {
        bucket,
        repository: "acme",
        is_private: false,
        volume: &volume.id(),
        known: Some(root.sequence),
        is_conditional: &|| Ok(true),
        grace,
        observer,
    };
    let published = publisher.publish(&volume.reader("acme")).unwrap().unwrap();
    assert_eq!(published.sequence, root.sequence + 1);
}

#[test]
fn upload_keeps_what_it_relies_on_from_the_removal_by_another_builder() {
    let store = ObjectStore::seaweed();
    let (env, upstream, _) = publisher("relied-on", store.port, "");
    env.build(0);
    let bucket = store.bucket("relied-on");
    let root = bucket.get("acme/root").unwrap().bytes;
    release(&upstream, "1.0.1");
    env.build(0);
    // As an upload leaves it that ended before its commit.
    let root = mirror::bucket::Upload::new(root, Default::default());
    bucket.put("acme/root", &root, mirror::bucket::Condition::Always).unwrap();
    let everything = || bucket.list("acme/").unwrap().into_iter();
    let last = everything().map(|object| object.modified).max().unwrap();
    until("the clock of the store goes on", || {
        let later = mirror::bucket::Upload::new(&b"later"[..], Default::default());
        bucket.put("later", &later, mirror::bucket::Condition::Always).unwrap();
        bucket.head("later").unwrap().unwrap().modified > last
    });
    let (done, removed) = (AtomicU64::new(0), AtomicUsize::new(usize::MAX));
    // When everything is uploaded, and before the commit, another builder removes what was old before the upload.
    publish(&env, &bucket, SignedDuration::ZERO, &|event| match event {
        UploadEvent::Begun { objects } => done.store(objects, Ordering::SeqCst),
        UploadEvent::Uploaded => {
            if done.fetch_sub(1, Ordering::SeqCst) == 1 {
                removed.store(collect_until(&bucket, "acme", last).unwrap(), Ordering::SeqCst);
            }
        }
    });
    assert_eq!(removed.into_inner(), 0);
    assert_published(&env, &bucket);
    // Archives are never removed, so they are not written again.
    let is_new = |object: &ObjectInfo| object.modified > last && object.key.contains("/packages/");
    assert!(!everything().any(|object| is_new(&object)));
}

#[test]
fn unreferenced_objects_are_removed_after_their_grace_and_archives_never() {
    let store = ObjectStore::seaweed();
    let (env, upstream, _) = publisher("garbage", store.port, "");
    env.build(0);
    let bucket = store.bucket("garbage");
    let first = published(&bucket).root().clone();
    // What an interrupted upload leaves, and an archive that no ledger names.
    let left = [format!("acme/packs/{}", Sha256([0; 32])), "acme/packages/acme/left-1.0.0.zip".to_owned()];
    for key in &left {
        let upload = mirror::bucket::Upload::new(&b"left behind"[..], Default::default());
        bucket.put(key, &upload, mirror::bucket::Condition::New).unwrap();
    }
    release(&upstream, "1.0.1");
    env.build(0);
    let is_there = |key: &str| bucket.head(key).unwrap().is_some();
    // Within a day, everything stays.
    assert_eq!(collect(&bucket, "acme", GRACE).unwrap(), 0);
    assert!(is_there(&first.snapshot.key("acme")) && is_there(&left[0]));
    // Without grace, what the root names stays. Times of the store are whole seconds.
    until("what no root names is removed", || {
        collect(&bucket, "acme", SignedDuration::ZERO).unwrap();
        !is_there(&first.snapshot.key("acme")) && !is_there(&left[0])
    });
    assert!(is_there(&left[1]));
    assert_published(&env, &bucket);
}
