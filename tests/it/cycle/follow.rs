//! Repositories that follow other mirrors: real programs on both sides, and a proxy between them that may lie.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::env::{MirrorProcess, TestEnv};
use crate::support::free_port;
use crate::support::git::WorkTree;
use crate::support::http::get;
use crate::support::lying_proxy::{Forwarded, LyingProxy};
use crate::support::store::{command, flip, read, release, told};
use serde_json::Value;

/// The package that `release` makes, and one that contains the base URL.
const SOURCES: &str = "  - {name: good, git: 'https://git.example/good', packages: [{one: ''}]}\n  - name: shop\n    git: https://git.example/shop\n    packages:\n      - derive:\n          package: acme/project\n          part: [{resource: parts, path: part.json}]\n          set: {version: '{tag}', type: project, repositories: [{type: composer, url: '{base_url}'}]}\n          require: [root]\nresources: {parts: {git: 'https://git.example/parts'}}\nnotes: [{package: acme/good, versions: ['1.0.0'], note: Mind the gap}]\nproducts: [{name: Good, package: acme/good}]\n";

/// A mirror that builds, with two versions of `acme/good` and one of `acme/project`.
pub(super) struct Origin {
    pub(super) env: TestEnv,
    good: WorkTree,
    pub(super) port: u16,
    server: Option<MirrorProcess>,
}

impl Origin {
    pub(super) fn start() -> Self {
        Self::compressing("none")
    }

    /// With compressed copies of what it publishes, or without.
    fn compressing(compression: &str) -> Self {
        let (env, port) = (TestEnv::new(), free_port());
        let good = env.upstream("good");
        release(&good, "1.0.0", "first");
        release(&good, "1.1.0", &"second ".repeat(20_000));
        env.upstream("shop")
            .write(
                "composer.json",
                r#"{"name": "acme/shop", "version": "1.0.0", "require": {"acme/good": "1.0.0"}}"#,
            )
            .release("1.0.0");
        env.upstream("parts").write("part.json", r#"{"name": "acme/project"}"#).release("1.0.0");
        env.configure(port, SOURCES);
        let configuration = read(&env, "mirror.yaml");
        let compressing =
            configuration.replace("drain: 5s", &format!("drain: 5s, compression: {compression}"));
        env.write("mirror.yaml", &compressing);
        env.build(0);
        let server = Some(env.serve("serve", port));
        Self { env, good, port, server }
    }

    /// Publishes another version of `acme/good`.
    fn release(&self, version: &str) {
        release(&self.good, version, "later");
        self.env.build(0);
        self.wait();
    }

    /// Waits until what is published is served.
    fn wait(&self) {
        let published = || read(&self.env, "data/acme/current/follow.json").into_bytes();
        crate::support::until("it is served", || get(self.port, "/mirror/follow.json").body == published());
    }

    fn url(&self) -> String {
        url(self.port)
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/mirror/")
}

/// A follower of these mirrors.
pub(super) fn follower(origins: &[&str]) -> (TestEnv, u16) {
    let (env, port) = (TestEnv::new(), free_port());
    configure(&env, port, origins);
    (env, port)
}

fn configure(env: &TestEnv, port: u16, origins: &[&str]) {
    env.write(
        "mirror.yaml",
        &format!(
            "data: {data}\nserve: {{listen: ['127.0.0.1:{port}'], drain: 5s}}\nrepositories:\n  - {{name: acme, url: '{url}', follow: [{origins}]}}\ngit: {{connect_timeout: 2s, timeout: 2s}}\n",
            data = env.path("data").display(),
            url = url(port),
            origins = origins.join(", "),
        ),
    );
}

fn ledger(env: &TestEnv) -> String {
    read(env, "data/acme/ledger.jsonl")
}

/// What the newest snapshot publishes, by path, with `from` replaced by `to`; without what names the digest of the bound
/// package or of the include.
fn published(env: &TestEnv, from: &str, to: &str) -> Vec<(String, String)> {
    let manifest: Value = serde_json::from_str(&read(env, "data/acme/current/manifest.json")).unwrap();
    let files = manifest["files"].as_object().unwrap().keys();
    let bound = ["follow.json", "packages.json", "p2/acme/project.json", "package/acme/project.html"];
    let files = files.filter(|path| !path.starts_with("include/") && !bound.contains(&path.as_str()));
    files.map(|path| (path.clone(), text(env, path, from, to))).collect()
}

fn text(env: &TestEnv, path: &str, from: &str, to: &str) -> String {
    let text = read(env, &format!("data/acme/current/{path}"));
    if from.is_empty() { text } else { text.replace(from, to) }
}

/// The versions of `acme/good` in the newest snapshot.
fn listed(env: &TestEnv) -> Vec<String> {
    let p2: Value = serde_json::from_str(&read(env, "data/acme/current/p2/acme/good.json")).unwrap();
    let versions = p2["packages"]["acme/good"].as_array().unwrap().iter();
    versions.map(|version| version["version"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn follower_publishes_what_its_origin_does() {
    let origin = Origin::start();
    let proxy = LyingProxy::before(origin.port);
    let (env, port) = follower(&[&proxy.url()]);
    let plan = command(&env, &["plan"], 0);
    assert!(plan.contains("3 new lines of the ledger, 3 archives with "), "{plan}");
    env.build(0);
    assert_eq!(ledger(&env), ledger(&origin.env));
    // A mirror at this URL that builds has the same archive of the bound package.
    let builder = TestEnv::new();
    std::fs::remove_dir(builder.path("git")).unwrap();
    std::os::unix::fs::symlink(origin.env.path("git"), builder.path("git")).unwrap();
    builder.configure(port, SOURCES);
    builder.build(0);
    assert_eq!(published(&env, &url(port), &origin.url()), published(&origin.env, "", ""));
    let line: Value = serde_json::from_str(read(&env, "data/acme/bound.jsonl").trim()).unwrap();
    let file = line["file"].as_str().unwrap();
    let bytes = |env: &TestEnv| std::fs::read(env.path(&format!("data/acme/{file}"))).unwrap();
    assert_eq!(bytes(&env), bytes(&builder));
    // Nothing new costs one small request and writes nothing.
    proxy.take_requests();
    let volume = env.volume();
    env.build(0);
    assert_eq!(env.volume(), volume);
    let requests = proxy.take_requests();
    assert!(requests.len() == 1 && requests[0].starts_with("/mirror/ledger.jsonl bytes="), "{requests:?}");
    assert!(command(&env, &["plan"], 0).contains("acme: nothing new"));
    assert!(command(&env, &["check"], 0).contains("follows http://127.0.0.1:"));
    // A release costs the rest of the ledger, the state and the archive.
    proxy.take_requests();
    origin.release("1.2.0");
    env.build(0);
    assert_eq!(proxy.take_requests().len(), 3);
    assert_eq!((ledger(&env), listed(&env).len()), (ledger(&origin.env), 3));
    assert_eq!(command(&env, &["verify"], 0).matches("damaged").count(), 0);
    let server = env.serve("serve", port);
    assert_eq!(get(port, "/mirror/packages/acme/good-1.2.0.zip").status, 200);
    assert_eq!(get(port, &format!("/mirror/{file}")).body, bytes(&env));
    let state = told(port, "/mirror/");
    assert_eq!((&state["state"], &state["follows"]), (&"fresh".into(), &proxy.url().into()));
    assert_eq!(state["ledger"], told(origin.port, "/mirror/")["ledger"]);
    server.stop();
}

#[test]
fn withdrawals_and_rollbacks_are_followed() {
    let origin = Origin::start();
    let proxy = LyingProxy::before(origin.port);
    let (env, _) = follower(&[&proxy.url()]);
    env.build(0);
    command(&origin.env, &["withdraw", "acme/good", "1.0.0", "--reason", "a leak"], 0);
    origin.wait();
    proxy.take_requests();
    env.build(0);
    assert_eq!((listed(&env), proxy.take_requests().len()), (vec!["1.1.0".to_owned()], 2));
    let here = |env: &TestEnv| {
        let manifest: Value = serde_json::from_str(&read(env, "data/acme/current/manifest.json")).unwrap();
        manifest["withdrawals"].clone()
    };
    assert_eq!(here(&env), here(&origin.env));
    // A new follower does not have its archive, and gets it with the undoing.
    let (late, _) = follower(&[&proxy.url()]);
    late.build(0);
    let archive = late.path("data/acme/packages/acme/good-1.0.0.zip");
    assert!(!archive.exists() && ledger(&late) == ledger(&origin.env));
    command(&late, &["verify"], 0);
    command(&env, &["withdraw", "acme/good", "1.1.0", "--reason", "our own"], 0);
    command(&origin.env, &["withdraw", "acme/good", "1.0.0", "--undo"], 0);
    origin.wait();
    env.build(0);
    late.build(0);
    assert_eq!((listed(&env), listed(&late).len()), (vec!["1.0.0".to_owned()], 2));
    assert!(archive.exists());
    command(&env, &["withdraw", "acme/good", "1.1.0", "--undo"], 0);
    // While the origin holds earlier content, its followers do.
    origin.release("1.2.0");
    env.build(0);
    assert_eq!(listed(&env).len(), 3);
    command(&origin.env, &["rollback", "--to", "1"], 0);
    origin.wait();
    env.build(0);
    assert_eq!(listed(&env), ["1.1.0", "1.0.0"]);
    command(&origin.env, &["rollback", "--end"], 0);
    // A release that is withdrawn before anybody has followed is a line without an archive.
    release(&origin.good, "1.1.1", "brief");
    origin.env.build(0);
    command(&origin.env, &["withdraw", "acme/good", "1.1.1", "--reason", "a leak"], 0);
    origin.wait();
    env.build(0);
    assert_eq!((ledger(&env), listed(&env).len()), (ledger(&origin.env), 3));
}

#[test]
fn own_withdrawal_outlives_that_of_the_followed_mirror() {
    let origin = Origin::start();
    let (env, _) = follower(&[&origin.url()]);
    let withdraw = ["withdraw", "acme/good", "1.0.0", "--reason", "a leak"];
    command(&origin.env, &withdraw, 0);
    origin.wait();
    env.build(0);
    // With the same reason, and twice.
    command(&env, &withdraw, 0);
    command(&env, &withdraw, 0);
    command(&origin.env, &["withdraw", "acme/good", "1.0.0", "--undo"], 0);
    origin.wait();
    env.build(0);
    assert_eq!(listed(&env), ["1.1.0"]);
}

#[test]
fn contradicting_ledgers_are_refused_and_the_next_mirror_is_used() {
    let origin = Origin::start();
    let (liar, honest) = (LyingProxy::before(origin.port), LyingProxy::before(origin.port));
    let (env, port) = follower(&[&liar.url()]);
    env.build(0);
    let whole = ledger(&env);
    let change = |change: fn(&mut Vec<u8>)| {
        liar.lie(move |path, answer| {
            if path.ends_with("ledger.jsonl") {
                change(&mut answer.body);
            }
        });
    };
    let refused = |reason: &str| {
        let before = env.volume();
        let log = env.build(1);
        assert!(log.contains(reason) && log.contains(&liar.url()), "{log}");
        assert_eq!(ledger(&env), whole);
        // Only the report may differ.
        assert_eq!(
            before.lines().filter(|line| line.contains("packages/")).count(),
            env.volume().lines().filter(|line| line.contains("packages/")).count()
        );
    };
    change(|body| body.truncate(100));
    refused("is shorter than the one here");
    change(|body| body[80] ^= 1);
    refused("is forked or altered");
    change(|body| *body = b"<html>Please log in</html>".to_vec());
    refused("sent something else than a ledger");
    liar.lie(|_, answer| answer.replace(416, ""));
    refused("is shorter than the one here");
    liar.lie(|_, answer| answer.replace(503, "later"));
    refused("http status 503");
    liar.lie(|_, answer| answer.replace(429, "later"));
    refused("http status 429");
    liar.lie(|_, answer| answer.stall = Duration::from_secs(5));
    refused("did not answer within 2 s");
    // What is new has to continue what is here.
    liar.be_honest();
    origin.release("1.2.0");
    change(|body| {
        let text = String::from_utf8(body.clone()).unwrap();
        *body = text.replace("1.2.0", "6.6.6").into_bytes();
    });
    refused("is altered");
    change(|body| {
        let last = body.iter().rposition(|byte| *byte == b'{').unwrap();
        body.extend(body[last..].to_vec());
    });
    env.build(0);
    assert_eq!((ledger(&env), listed(&env).len()), (ledger(&origin.env), 3));
    // The status names the mirror that fails, and the other one is used.
    configure(&env, port, &[&liar.url(), &honest.url()]);
    liar.lie(|_, answer| answer.replace(200, "<html>"));
    origin.release("1.3.0");
    let log = env.build(1);
    assert!(log.contains("sent something else than a ledger"), "{log}");
    assert_eq!(listed(&env).len(), 4);
    let server = env.serve("serve", port);
    let state = told(port, "/mirror/");
    assert_eq!((&state["state"], &state["follows"]), (&"incomplete".into(), &honest.url().into()));
    let error = state["sources"][liar.url()]["error"].as_str().unwrap();
    assert!(error.contains("something else than a ledger"), "{error}");
    server.stop();
}

#[test]
fn wrong_archives_are_never_published() {
    let origin = Origin::start();
    let (liar, honest) = (LyingProxy::before(origin.port), LyingProxy::before(origin.port));
    type Change = fn(&mut Vec<u8>);
    let changes: [(Change, &str); 3] = [
        (|body| body[50] ^= 1, "has SHA-256"),
        (|body| body.extend(b"more"), "has more than"),
        (|body| *body = b"<html>Please log in</html>".to_vec(), "it ended after 26 of"),
    ];
    for (change, reason) in changes {
        liar.lie(move |path, answer| {
            if path.ends_with("good-1.1.0.zip") {
                change(&mut answer.body);
                answer.status = 200;
                answer.headers.retain(|(name, _)| name != "content-range");
            }
        });
        let (env, port) = follower(&[&liar.url()]);
        let log = env.build(1);
        assert!(log.contains(reason), "{log}");
        // What came before it is published, and it is not there.
        assert_eq!(listed(&env), ["1.0.0"]);
        assert!(!env.path("data/acme/packages/acme/good-1.1.0.zip").exists());
        // Which mirror is asked first is open.
        configure(&env, port, &[&liar.url(), &honest.url()]);
        assert!(matches!(env.mirror("build").status.code(), Some(0 | 1)));
        assert_eq!(ledger(&env), ledger(&origin.env));
        command(&env, &["verify"], 0);
    }
}

#[test]
fn interrupted_downloads_are_continued() {
    let origin = Origin::start();
    let proxy = LyingProxy::before(origin.port);
    proxy.lie(|path, answer| {
        if path.ends_with("good-1.1.0.zip") {
            answer.cut = Some(60_000);
        }
    });
    let (env, _) = follower(&[&proxy.url()]);
    let log = env.build(0);
    assert!(log.contains("was not received completely"), "{log}");
    let requests = proxy.take_requests();
    let ranges: Vec<_> = requests.iter().filter(|request| request.contains("good-1.1.0.zip")).collect();
    assert!(
        ranges.len() == 3 && ranges[1].ends_with(" bytes=60000-") && ranges[2].ends_with(" bytes=120000-"),
        "{ranges:?}"
    );
    assert_eq!(ledger(&env), ledger(&origin.env));
}

#[test]
fn archives_are_copied_compressed_where_the_mirror_has_them_so() {
    let origin = Origin::compressing("all");
    let proxy = LyingProxy::before(origin.port);
    let is_compressed =
        |answer: &Forwarded| answer.headers.contains(&("content-encoding".to_owned(), "zstd".to_owned()));
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&sizes);
    proxy.lie(move |path, answer| {
        if path.ends_with("good-1.1.0.zip") {
            seen.lock().unwrap().push((is_compressed(answer), answer.body.len()));
        }
    });
    let (env, _) = follower(&[&proxy.url()]);
    env.build(0);
    let size = std::fs::metadata(env.path("data/acme/packages/acme/good-1.1.0.zip")).unwrap().len();
    let sizes = sizes.lock().unwrap().clone();
    assert!(size > 100_000 && matches!(sizes[..], [(true, ..10_000)]), "{size} {sizes:?}");
    assert_eq!(ledger(&env), ledger(&origin.env));
    command(&env, &["verify"], 0);
    // What breaks or cannot be decompressed is asked for as it is.
    let spoil: [fn(&mut Forwarded); 2] = [
        |answer| answer.cut = Some(answer.body.len() / 2),
        |answer| answer.body = b"no zstd at all".to_vec(),
    ];
    for spoil in spoil {
        proxy.take_requests();
        proxy.lie(move |path, answer| match (path.ends_with("good-1.1.0.zip"), is_compressed(answer)) {
            (true, true) => spoil(answer),
            (true, false) => answer.cut = Some(100_000),
            _ => {}
        });
        let (env, _) = follower(&[&proxy.url()]);
        let log = env.build(0);
        assert!(log.contains("was not received completely"), "{log}");
        let requests = proxy.take_requests();
        let requests: Vec<_> = requests.iter().filter(|path| path.contains("good-1.1.0.zip")).collect();
        assert!(requests.len() == 3 && requests[2].ends_with(" bytes=100000-"), "{requests:?}");
        assert_eq!(ledger(&env), ledger(&origin.env));
    }
    // More than the ledger says is not decompressed.
    proxy.lie(move |_, answer| {
        if is_compressed(answer) {
            answer.body = zstd::encode_all(&vec![0; 50_000_000][..], 3).unwrap();
        }
    });
    let (env, _) = follower(&[&proxy.url()]);
    let log = env.build(1);
    assert!(log.contains("has more than"), "{log}");
}

#[test]
fn nightly_versions_are_followed_and_expire() {
    let (origin, port) = (TestEnv::new(), free_port());
    let upstream = origin.upstream("good");
    release(&upstream, "1.0.0", "first");
    origin.configure(
        port,
        "  - {name: good, git: 'https://git.example/good', packages: [{one: ''}]}\n  - {name: night, git: 'https://git.example/good', nightly: main, packages: [{one: ''}]}\nretention: {versions: 1}\n",
    );
    let keep_one = |env: &TestEnv| {
        let configuration = read(env, "mirror.yaml");
        env.write("mirror.yaml", &format!("{configuration}snapshots: {{keep: 1, grace: 0s}}\n"));
    };
    keep_one(&origin);
    let (env, own) = follower(&[&url(port)]);
    keep_one(&env);
    let lines = |env: &TestEnv| -> Vec<Value> {
        ledger(env).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let nights = |env: &TestEnv| -> Vec<String> {
        let lines = lines(env);
        let nights = lines.iter().filter(|line| line["kind"] == "dev");
        let file = |line: &Value| match line["file"].as_str() {
            Some(file) => file.to_owned(),
            None => format!("packages/acme/good-{}.zip", line["version"].as_str().unwrap()),
        };
        nights.map(file).collect()
    };
    let there = |env: &TestEnv| -> Vec<bool> {
        nights(env).iter().map(|file| env.path(&format!("data/acme/{file}")).exists()).collect()
    };
    let mut server = None;
    let night = |number: u32| {
        upstream.write("text", &number.to_string());
        upstream.git(&["commit", "-q", "-a", "-m", "later"]);
        origin.build(0);
    };
    for number in 1..=5 {
        night(number);
        server.get_or_insert_with(|| origin.serve("serve", port));
        crate::support::until("the origin serves it", || {
            told(port, "/mirror/")["ledger"]["lines"] == lines(&origin).len()
        });
        // What the origin has removed cannot be fetched; what the follower has goes when no snapshot of it names it.
        env.build(0);
        assert_eq!(ledger(&env), ledger(&origin));
        assert_eq!(listed(&env), listed(&origin));
    }
    assert_eq!(there(&origin), [false, false, true, true, true]);
    assert_eq!(there(&env), [false, false, true, true, true]);
    // One that begins now gets what is served, and the lines of what has expired.
    let (late, _) = follower(&[&url(port)]);
    late.build(0);
    assert_eq!(ledger(&late), ledger(&origin));
    assert_eq!(there(&late)[..2], [false, false]);
    assert_eq!((listed(&late), there(&late)[4]), (listed(&origin), true));
    for env in [&env, &late] {
        command(env, &["verify"], 0);
    }
    let _server = env.serve("serve", own);
    let answers: Vec<_> =
        nights(&env).iter().map(|file| get(own, &format!("/mirror/{file}")).status).collect();
    assert_eq!(answers, [404, 404, 404, 200, 200], "withdrawn ones are not answered");
}

#[test]
fn recipe_and_follow_may_take_turns_until_a_release_of_its_own() {
    let origin = Origin::start();
    let (env, port) = follower(&[&origin.url()]);
    env.build(0);
    let state = |env: &TestEnv| {
        (ledger(env), read(env, "data/acme/bound.jsonl"), published(env, "", ""), archives(env))
    };
    let followed = state(&env);
    std::fs::remove_dir(env.path("git")).unwrap();
    std::os::unix::fs::symlink(origin.env.path("git"), env.path("git")).unwrap();
    env.configure(port, SOURCES);
    env.build(0);
    assert_eq!(state(&env), followed);
    configure(&env, port, &[&origin.url()]);
    env.build(0);
    assert_eq!(state(&env), followed);
    // Each publishes the next release by itself: the chains part.
    origin.release("1.2.0");
    env.configure(port, SOURCES);
    env.build(0);
    configure(&env, port, &[&origin.url()]);
    let own = ledger(&env);
    let log = env.build(1);
    assert!(log.contains("is forked or altered"), "{log}");
    assert!(ledger(&env) == own && own != ledger(&origin.env));
}

fn archives(env: &TestEnv) -> Vec<String> {
    let mut found: Vec<_> =
        env.volume().lines().filter(|line| line.contains("packages/")).map(str::to_owned).collect();
    found.sort();
    found
}

#[test]
fn chains_work_and_loops_are_named() {
    let origin = Origin::start();
    let (first, first_port) = follower(&[&origin.url()]);
    first.build(0);
    let server = first.serve("serve", first_port);
    let (second, second_port) = follower(&[&url(first_port)]);
    second.build(0);
    assert_eq!(ledger(&second), ledger(&origin.env));
    let (ours, theirs) = (url(second_port), url(first_port));
    assert_eq!(published(&second, &ours, &theirs).len(), published(&first, "", "").len());
    let line =
        |env: &TestEnv| serde_json::from_str::<Value>(read(env, "data/acme/bound.jsonl").trim()).unwrap();
    assert_eq!(line(&first)["line"], line(&second)["line"]);
    let _second = second.serve("serve", second_port);
    server.stop();
    configure(&first, first_port, &[&url(second_port)]);
    let log = first.build(1);
    assert!(log.contains("follows this repository itself"), "{log}");
}

#[test]
fn damaged_archives_are_fetched_again() {
    let origin = Origin::start();
    let (env, _) = follower(&[&origin.url()]);
    env.build(0);
    let line: Value = serde_json::from_str(read(&env, "data/acme/bound.jsonl").trim()).unwrap();
    let rendition = env.path(&format!("data/acme/{}", line["file"].as_str().unwrap()));
    let archive = env.path("data/acme/packages/acme/good-1.1.0.zip");
    let intact = [std::fs::read(&archive).unwrap(), std::fs::read(&rendition).unwrap()];
    for file in [&archive, &rendition] {
        let mut permissions = std::fs::metadata(file).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
        std::fs::set_permissions(file, permissions).unwrap();
        flip(file);
    }
    command(&env, &["verify"], 1);
    command(&env, &["verify", "--repair"], 0);
    assert_eq!([std::fs::read(&archive).unwrap(), std::fs::read(&rendition).unwrap()], intact);
    assert!(command(&env, &["verify", "--rebuild"], 0).contains("4 "));
}

#[test]
fn dead_origin_changes_nothing() {
    let mut origin = Origin::start();
    let (env, _) = follower(&[&origin.url()]);
    env.build(0);
    origin.server.take().unwrap().stop();
    let before = env.volume();
    let log = env.build(1);
    assert!(log.contains("failed to reach"), "{log}");
    let packages = |text: &str| {
        text.lines().filter(|line| line.contains("packages/")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(packages(&before), packages(&env.volume()));
    assert_eq!(listed(&env).len(), 2);
}

#[test]
fn dead_mirror_beside_a_good_one_is_named_and_no_failure() {
    let origin = Origin::start();
    let dead = LyingProxy::before(origin.port);
    let (env, port) = follower(&[&dead.url(), &origin.url()]);
    let refusals: [fn(&mut crate::support::lying_proxy::Forwarded); 2] =
        [|answer| answer.replace(503, "later"), |answer| answer.stall = Duration::from_secs(5)];
    for (refusal, reason) in refusals.into_iter().zip(["http status 503", "did not answer within 2 s"]) {
        dead.lie(move |_, answer| refusal(answer));
        let log = env.build(0);
        assert!(log.contains("cannot follow: ") && log.contains(reason), "{log}");
        assert_eq!(ledger(&env), ledger(&origin.env));
    }
    let server = env.serve("serve", port);
    let state = told(port, "/mirror/");
    assert_eq!((&state["state"], &state["follows"]), (&"fresh".into(), &origin.url().into()));
    let of = |url: String| state["sources"][url].clone();
    assert_eq!(of(dead.url())["error"], Value::Null);
    assert!(of(dead.url())["warnings"][0].as_str().unwrap().contains("did not answer within 2 s"), "{state}");
    assert_eq!(of(origin.url())["warnings"], serde_json::json!([]));
    server.stop();
    // If the other one cannot serve everything, both have failed.
    origin.release("1.2.0");
    std::fs::remove_file(origin.env.path("data/acme/packages/acme/good-1.2.0.zip")).unwrap();
    let log = env.build(1);
    assert!(log.contains("not everything could be copied"), "{log}");
}

#[test]
fn release_is_pushed_to_followers() {
    let mut origin = Origin::start();
    origin.server.take().unwrap().stop();
    let (env, port) = follower(&[&origin.url()]);
    let add = |env: &TestEnv, text: &str| {
        let configuration = read(env, "mirror.yaml");
        env.write("mirror.yaml", &format!("{configuration}{text}"));
        env.write("secret", "shared\n");
    };
    add(&env, "push: [{from: mirror, secret_file: secret}]\n");
    add(
        &origin.env,
        &format!("notify: [{{url: 'http://127.0.0.1:{port}/-/push', on: [release], secret_file: secret}}]\n"),
    );
    let _origin = origin.env.serve("run", origin.port);
    let _follower = env.serve("run", port);
    release(&origin.good, "1.2.0", "later");
    origin.env.build(0);
    crate::support::until("the follower has it", || {
        get(port, "/mirror/packages/acme/good-1.2.0.zip").status == 200
    });
    crate::support::until("it is fresh", || told(port, "/mirror/")["state"] == "fresh");
    assert_eq!(ledger(&env), ledger(&origin.env));
    // The next one follows at once, not after the pause between pushes of a forge.
    command(&origin.env, &["withdraw", "acme/good", "1.2.0", "--reason", "a leak"], 0);
    crate::support::until("it is gone there", || {
        get(port, "/mirror/packages/acme/good-1.2.0.zip").status == 410
    });
}

#[test]
fn private_mirror_is_followed_with_credentials() {
    let (origin, upstream, port) = crate::support::store::mirror();
    let configuration = read(&origin, "mirror.yaml")
        .replace("recipe: ./recipe.yaml", "recipe: ./recipe.yaml, users: ./users");
    origin.write("mirror.yaml", &configuration);
    // The SHA-256 of `token`.
    origin.write("users", "joe:sha256:3c469e9d6c5875d37a43f353d4f88e61fcf812c66eee3457465a40b0da4153e0\n");
    origin.build(0);
    let _server = origin.serve("serve", port);
    let (env, _) = follower(&[&url(port)]);
    let log = env.build(2);
    assert!(log.contains("refused access (http status 401") && log.contains("without a credential"), "{log}");
    env.write("token", "token\n");
    let configuration = read(&env, "mirror.yaml");
    let credentials =
        format!("credentials: [{{url: '{}', username: joe, password_file: token}}]}}", url(port));
    env.write("mirror.yaml", &configuration.replace("timeout: 2s}", &format!("timeout: 2s, {credentials}")));
    env.build(0);
    assert_eq!(ledger(&env), ledger(&origin));
    drop(upstream);
}
