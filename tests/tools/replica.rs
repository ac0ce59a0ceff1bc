//! A server without a volume: it answers as one with the volume does, follows publications, and outlives its bucket.

use std::collections::BTreeSet;
use std::process::Command;

use mirror::bucket::{Condition, Upload};
use serde_json::Value;

use crate::composer::ComposerProject;
use crate::support::env::{MirrorProcess, TestEnv};
use crate::support::failing_proxy::FailingProxy;
use crate::support::git::WorkTree;
use crate::support::http::{Response, get, request, try_get};
use crate::support::object_store::{ObjectStore, configure};
use crate::support::shop::{SOURCE, configure_repository, shop};
use crate::support::{free_port, run, until};

/// What Composer with ext-curl sends.
const COMPOSER: &str = "Accept-Encoding: deflate, gzip, br, zstd\r\n";

/// An archive that compresses well.
const LARGE: &str = "/mirror/packages/acme/sales-1.0.1.zip";

/// A mirror that publishes to a bucket, and a replica that serves from there.
struct Mirrors {
    builder: TestEnv,
    replica: TestEnv,
    upstream: WorkTree,
    /// Of the replica, to which the URL of the repository leads.
    port: u16,
    /// Of a server on the volume.
    local: u16,
}

impl Mirrors {
    /// Publishes below `prefix` to the server at `store`, where the replica looks. `keys` are of the repository, `bucket` of the
    /// replica's bucket.
    fn new(prefix: &str, store: u16, keys: &str, bucket: &str) -> Self {
        let (builder, replica, port, local) = (TestEnv::new(), TestEnv::new(), free_port(), free_port());
        let upstream = shop(&builder);
        upstream.write("Sales/Text.php", &"<?php // the same again\n".repeat(4000));
        for env in [&builder, &replica] {
            env.configure(port, SOURCE);
            configure_repository(env, &format!("metadata: lazy{keys}"));
            let token = mirror::util::digest::Sha256::digest(b"long-and-random");
            env.write("users", &format!("ci:sha256:{token}\n"));
        }
        replica.write("recipe.yaml", &builder.read("recipe.yaml"));
        configure(&builder, prefix, store, "");
        configure(&replica, prefix, store, &format!(", poll: 1s{bucket}"));
        let listen = |port: u16| format!("listen: ['127.0.0.1:{port}']");
        builder.write("mirror.yaml", &builder.read("mirror.yaml").replace(&listen(port), &listen(local)));
        let mirrors = Self { builder, replica, upstream, port, local };
        mirrors.release("1.0.1");
        mirrors.builder.build(0);
        mirrors
    }

    /// Another release of one module.
    fn release(&self, version: &str) {
        let manifest =
            format!(r#"{{"name": "acme/sales", "type": "magento2-module", "version": "{version}"}}"#);
        self.upstream.write("Sales/composer.json", &manifest).release(version);
    }

    /// The replica, once it serves.
    fn serve(&self) -> MirrorProcess {
        assert!(!self.replica.path("data").exists());
        self.replica.serve("serve", self.port)
    }

    /// What the replica says about itself.
    fn status(&self) -> Value {
        get(self.port, "/mirror/mirror.json").json()["repository"].take()
    }
}

/// Everything below the base that a server on the volume answers.
pub fn paths(builder: &TestEnv) -> BTreeSet<String> {
    let manifest: Value = serde_json::from_str(&builder.read("data/acme/current/manifest.json")).unwrap();
    let files = manifest["files"].as_object().unwrap().keys().cloned();
    let ledger = builder.read("data/acme/ledger.jsonl");
    let archives = ledger.lines().map(|line| {
        let release: Value = serde_json::from_str(line).unwrap();
        let name = |key: &str| release[key].as_str().unwrap().to_owned();
        format!("packages/{}-{}.zip", name("name"), name("version"))
    });
    let others = [
        "",
        "ledger.jsonl",
        "lastupdate",
        "lastsync",
        "project/trace/127.0.0.1",
        "style.css",
        "search.json?q=sales",
        "list.json?filter=acme/s*",
        "progress.json",
        "missing.json",
        "packages/acme/none-1.0.0.zip",
    ];
    files.chain(archives).chain(others.map(str::to_owned)).collect()
}

/// A response without what differs between two servers and two moments.
pub fn normalized(path: &str, response: Response) -> (u16, Vec<(String, String)>, Vec<u8>) {
    // What tells about the server itself is dated by its process.
    let is_own = ["lastupdate", "lastsync", "project/", "style.css"].iter().any(|own| path.starts_with(own));
    let headers = response.headers.into_iter();
    let headers = headers.filter(|(name, _)| name != "date" && !(is_own && name == "last-modified"));
    (response.status, headers.collect(), response.body)
}

#[test]
fn replica_answers_every_url_as_a_server_with_the_volume_does() {
    let store = ObjectStore::seaweed();
    let mirrors = Mirrors::new("oracle", store.port, "", "");
    let Mirrors { builder, port, local, .. } = &mirrors;
    let withdrawn = builder
        .command(&["withdraw", "acme/catalog", "1.0.0-p1", "--reason", "it is wrong"])
        .output()
        .unwrap();
    assert!(withdrawn.status.success(), "{}", String::from_utf8_lossy(&withdrawn.stderr));
    builder.build(0);
    let _replica = mirrors.serve();
    let _local = builder.serve("serve", *local);
    let (mut compared, mut gone) = (0, 0);
    for path in paths(builder) {
        let url = format!("/mirror/{path}");
        let etag = get(*local, &url).header("etag").unwrap_or("\"none\"").to_owned();
        for headers in [
            String::new(),
            "Accept-Encoding: gzip\r\n".to_owned(),
            COMPOSER.to_owned(),
            format!("If-None-Match: {etag}\r\n"),
            "If-Modified-Since: Fri, 01 Jan 2038 00:00:00 GMT\r\n".to_owned(),
            "If-Match: \"another\"\r\n".to_owned(),
            "Range: bytes=10-200\r\n".to_owned(),
            "Range: bytes=-5\r\n".to_owned(),
            "Range: bytes=99999999-\r\n".to_owned(),
            format!("Range: bytes=1-2\r\nIf-Range: {etag}\r\n{COMPOSER}"),
        ] {
            for method in ["GET", "HEAD"] {
                let [expected, found] = [*local, *port].map(|port| request(port, method, &url, &headers));
                gone += usize::from(expected.status == 410);
                let [expected, found] = [expected, found].map(|response| normalized(&path, response));
                assert_eq!(found, expected, "{method} {url} {headers}");
                compared += 1;
            }
        }
    }
    assert!(compared > 500 && gone > 0, "{compared} responses, {gone} of withdrawn archives");
    let [mut expected, mut found] = [*local, *port].map(|port| get(port, "/mirror/mirror.json").json());
    for document in [&mut expected, &mut found] {
        let repository = document["repository"].as_object_mut().unwrap();
        assert_eq!(repository["bucket"].as_object().unwrap()["error"], Value::Null);
        repository["bucket"]["published"].take();
        document["as_of"].take();
    }
    assert_eq!(found, expected);
    assert_eq!(found["repository"]["state"], "fresh");
    println!("{compared} responses are the same");
}

#[test]
fn replica_follows_a_publication_and_asks_only_for_what_is_new() {
    let store = ObjectStore::seaweed();
    let proxy = FailingProxy::start(store.port, 0);
    let mirrors = Mirrors::new("follow", store.port, "", "");
    configure(&mirrors.replica, "follow", proxy.port, ", poll: 1s");
    let replica = mirrors.serve();
    assert_eq!(mirrors.status()["bucket"]["sequence"], 1);
    let is_poll = |request: &String| request.ends_with("/root") || request.ends_with("/cycles.json");
    proxy.take_requests();
    until("it polls", || {
        let requests = proxy.take_requests();
        assert!(requests.iter().all(is_poll), "{requests:?}");
        !requests.is_empty()
    });
    mirrors.release("1.0.2");
    mirrors.builder.build(0);
    until("the release is served", || {
        get(mirrors.port, "/mirror/packages/acme/sales-1.0.2.zip").status == 200
    });
    let requests = proxy.take_requests();
    let packs = requests.iter().filter(|request| request.contains("/packs/")).count();
    assert_eq!(packs, 1, "{requests:#?}");
    until("the status tells it", || mirrors.status()["bucket"]["sequence"] == 2);
    // Archives of earlier releases stay.
    assert_eq!(get(mirrors.port, "/mirror/packages/acme/sales-1.0.0.zip").status, 200);
    assert_eq!(replica.stop(), Some(0));
}

/// Installs a project with Composer, and returns how many bytes of archives the metadata promises.
fn install(mirrors: &Mirrors) -> u64 {
    let port = mirrors.port;
    mirrors.replica.write("project/composer.json", &format!(
        r#"{{"name": "a/project", "require": {{"acme/sales": "1.0.1"}}, "config": {{"secure-http": false}},
            "repositories": [{{"type": "composer", "url": "http://127.0.0.1:{port}/mirror/"}}, {{"packagist.org": false}}]}}"#
    ));
    let project = mirrors.replica.path("project");
    let log = ComposerProject { folder: &project }.composer(&["update", "-vvv"]);
    assert!(log.contains("Installing acme/sales (1.0.1)"), "{log}");
    let installed = std::fs::read_to_string(project.join("vendor/acme/sales/Text.php")).unwrap();
    assert_eq!(installed, "<?php // the same again\n".repeat(4000));
    request(port, "HEAD", LARGE, "").header("content-length").unwrap().parse().unwrap()
}

#[test]
fn composer_installs_through_signed_redirects_and_through_the_replica() {
    let store = ObjectStore::seaweed();
    let proxy = FailingProxy::start(store.port, 0);
    let mirrors = Mirrors::new("install", store.port, "", "");
    for redirect in ["presigned", "never"] {
        configure(&mirrors.replica, "install", proxy.port, &format!(", redirect: {redirect}"));
        let replica = mirrors.serve();
        run(Command::new("rm").args(["-rf", "project"]).current_dir(mirrors.replica.root()));
        proxy.take_requests();
        let before = proxy.sent();
        let stored = install(&mirrors);
        let (requests, sent) = (proxy.take_requests(), proxy.sent() - before);
        let is_archive = |request: &&String| request.contains("/variants/") || request.contains(".zip");
        let archives: Vec<_> = requests.iter().filter(is_archive).collect();
        let is_signed = archives.iter().any(|request| request.contains("X-Amz-Signature="));
        assert_eq!(is_signed, redirect == "presigned", "{archives:?}");
        assert!(archives.len() == 1 && archives[0].contains("/variants/"), "{archives:?}");
        println!("{redirect}: {sent} of {stored} bytes");
        assert!(sent * 100 <= stored * 30, "{redirect}: {sent} of {stored} bytes");
        assert_eq!(replica.stop(), Some(0));
    }
}

#[test]
fn redirects_choose_the_object_and_never_lead_private_archives_to_a_cdn() {
    let store = ObjectStore::seaweed();
    let mirrors = Mirrors::new("redirect", store.port, "", ", redirect: 'https://cdn.example/mirror/'");
    let replica = mirrors.serve();
    let port = mirrors.port;
    for (accepted, place) in [
        ("", "https://cdn.example/mirror/acme/packages/acme/sales-1.0.1.zip"),
        (COMPOSER, "https://cdn.example/mirror/acme/variants/"),
        ("Accept-Encoding: gzip\r\n", "https://cdn.example/mirror/acme/variants/"),
    ] {
        let response = request(port, "GET", LARGE, accepted);
        assert_eq!(response.status, 302);
        let location = response.header("location").unwrap();
        assert!(location.starts_with(place), "{location}");
        assert_eq!(location.ends_with(".gz"), accepted.ends_with(": gzip\r\n"), "{location}");
        assert_eq!(response.header("cache-control"), Some("no-store"));
        assert_eq!(response.header("vary"), Some("accept-encoding"));
        let etag = request(port, "HEAD", LARGE, accepted).header("etag").unwrap().to_owned();
        let known = request(port, "GET", LARGE, &format!("{accepted}If-None-Match: {etag}\r\n"));
        assert_eq!(known.status, 304);
    }
    assert_eq!(replica.stop(), Some(0));

    let private = Mirrors::new("private", store.port, ", users: users", ", redirect: 'https://cdn.example/'");
    let replica = private.serve();
    assert_eq!(get(private.port, LARGE).status, 401);
    let basic = "Authorization: Basic Y2k6bG9uZy1hbmQtcmFuZG9t\r\n";
    let response = request(private.port, "GET", LARGE, basic);
    assert_eq!((response.status, &response.body[..2]), (200, &b"PK"[..]));
    assert!(response.header("cache-control").unwrap().starts_with("private, "));
    assert_eq!(replica.stop(), Some(0));
}

#[test]
fn replica_serves_on_while_the_store_is_killed_and_starts_without_it() {
    let mut store = ObjectStore::start_seaweed();
    let mirrors = Mirrors::new("killed", store.port, "", "");
    let replica = mirrors.serve();
    let port = mirrors.port;
    let packages = get(port, "/mirror/packages.json").body;
    store.kill();
    until("it tells that the bucket is lost", || !mirrors.status()["bucket"]["failing_since"].is_null());
    assert_eq!(mirrors.status()["state"], "incomplete");
    assert_eq!(get(port, "/mirror/packages.json").body, packages);
    let archive = get(port, LARGE);
    assert_eq!((archive.status, archive.header("retry-after")), (503, Some("1")));
    let ready = get(port, "/-/readyz");
    assert!(
        ready.status == 200 && ready.text().starts_with("ready; the bucket cannot be read since "),
        "{ready:?}"
    );
    let page = get(port, "/mirror/status.html").into_text();
    assert!(page.contains("The bucket that this replica serves from cannot be read since "), "{page}");
    let metrics = get(port, "/-/metrics").into_text();
    assert!(metrics.contains("mirror_bucket_failing{repository=\"acme\"} 1"), "{metrics}");
    assert_eq!(replica.stop(), Some(0));

    let replica = mirrors.replica.start("serve");
    let log = || mirrors.replica.read("log");
    until("it tells why it is not ready", || {
        let log = log();
        log.contains("there is nothing to serve yet: ") && log.contains("s3://packages/killed/acme/root")
    });
    assert_eq!(get(port, "/-/readyz").status, 503);
    assert_eq!(get(port, "/mirror/packages.json").status, 503);
    until("the page tells it", || {
        let page = try_get(port, "/mirror/status.html");
        page.is_some_and(|page| page.text().contains("cannot be read since "))
    });
    store.restart();
    until("it is ready", || get(port, "/-/readyz").text() == "ready");
    assert_eq!(get(port, "/mirror/packages.json").body, packages);
    assert_eq!(get(port, LARGE).status, 200);
    until("the status is well again", || mirrors.status()["bucket"]["failing_since"].is_null());
    assert_eq!(replica.stop(), Some(0));
}

#[test]
fn damaged_objects_are_never_taken_for_whole() {
    let store = ObjectStore::seaweed();
    let mirrors = Mirrors::new("damaged", store.port, "", "");
    let bucket = store.bucket("damaged");
    let _replica = mirrors.serve();
    let port = mirrors.port;
    let key = "acme/packages/acme/sales-1.0.1.zip";
    let good = get(port, LARGE).body;
    let put = |bytes: Vec<u8>| bucket.put(key, &Upload::new(bytes, Default::default()), Condition::Always);
    let mut damaged = good.clone();
    damaged[good.len() / 2] ^= 1;
    for bytes in [damaged, good[..good.len() - 1].to_vec(), [&good[..], b"more"].concat()] {
        put(bytes).unwrap();
        let whole = try_get(port, LARGE);
        assert!(whole.is_none_or(|response| response.status != 200));
    }
    put(good.clone()).unwrap();
    assert_eq!(get(port, LARGE).body, good);
    bucket.delete(key).unwrap();
    assert_eq!(get(port, LARGE).status, 503);
    // A client that takes compressed copies does not need the archive itself.
    assert_eq!(request(port, "GET", LARGE, COMPOSER).status, 200);
}

/// The compose file of the example without its containers: the same commands, with this machine for the hosts in it.
#[test]
fn compose_example_starts_a_store_a_builder_and_a_replica() {
    let folder = tempfile::tempdir().unwrap();
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/bucket");
    let compose = std::fs::read_to_string(example.join("compose.yaml")).unwrap();
    let [master, filer, s3, volume] = [(); 4].map(|()| free_port());
    let [master_grpc, filer_grpc, s3_grpc, volume_grpc] = [(); 4].map(|()| free_port());
    let here = |text: &str| {
        text.replace("store:9333", &format!("127.0.0.1:{master}.{master_grpc}"))
            .replace("store:8888", &format!("127.0.0.1:{filer}.{filer_grpc}"))
            .replace("store:8333", &format!("127.0.0.1:{s3}"))
            .replace("-ip=store -ip.bind=0.0.0.0", "-ip=127.0.0.1 -ip.bind=127.0.0.1")
            .replace("/etc/seaweedfs", example.to_str().unwrap())
            .replace("-dir=/data", &format!("-dir={}", folder.path().display()))
            .replace("$$", "$")
    };
    let service = |name: &str| compose.split_once(&format!("\n  {name}:\n")).unwrap().1;
    let command = service("store").lines().find_map(|line| line.trim().strip_prefix("command: ")).unwrap();
    let weed = crate::support::object_store::program("weed");
    let ports = [
        format!("-master.port={master}"),
        format!("-master.port.grpc={master_grpc}"),
        format!("-filer.port={filer}"),
        format!("-filer.port.grpc={filer_grpc}"),
        format!("-s3.port={s3}"),
        format!("-s3.port.grpc={s3_grpc}"),
        format!("-volume.port={volume}"),
        format!("-volume.port.grpc={volume_grpc}"),
        "-s3.port.iceberg=0".to_owned(),
        "-s3.port.lance=0".to_owned(),
    ];
    let log = std::fs::File::create(folder.path().join("output")).unwrap();
    let store = Command::new(&weed).args(here(command).split(' ')).args(ports).stderr(log).spawn().unwrap();
    let _store = MirrorProcess::new(store);
    let script = service("make-bucket").split_once("      - |\n").unwrap().1;
    let script: String = script
        .lines()
        .take_while(|line| line.starts_with("        "))
        .map(|line| format!("{line}\n"))
        .collect();
    let path = format!("{}:{}", weed.parent().unwrap().display(), std::env::var("PATH").unwrap());
    for _ in 0..2 {
        run(Command::new("sh").args(["-c", &here(&script)]).env("PATH", &path));
    }

    let (builder, replica, port) = (TestEnv::new(), TestEnv::new(), free_port());
    shop(&builder);
    let section = std::fs::read_to_string(example.join("mirror/mirror.yaml")).unwrap();
    let section = section.split_once("repositories:").unwrap().0;
    for env in [&builder, &replica] {
        env.configure(port, SOURCE);
        env.write("mirror.yaml", &format!("{}{}", env.read("mirror.yaml"), here(section)));
        for key in ["bucket-id", "bucket-secret"] {
            std::fs::copy(example.join("mirror").join(key), env.path(key)).unwrap();
        }
    }
    let log = builder.build(0);
    assert!(log.contains("published to the bucket"), "{log}");
    let _replica = replica.serve("serve", port);
    let archive = get(port, "/mirror/packages/acme/sales-1.0.0.zip");
    assert_eq!(archive.body, std::fs::read(builder.path("data/acme/packages/acme/sales-1.0.0.zip")).unwrap());
}
