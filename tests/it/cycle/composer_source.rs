//! Composer repositories as sources of a recipe: what is taken, what is refused, and what stays.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mirror::package::zip_writer::{EntryType, ZipWriter};
use mirror::util::digest::Sha1;
use serde_json::{Value, json};

use crate::support::env::TestEnv;
use crate::support::file_server::{Answer, FileServer};
use crate::support::http::get;
use crate::support::store::{command, flip, ledger, read};
use crate::support::{free_port, until};

/// An archive with these files.
pub(super) fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Vec::new());
    for (name, text) in files {
        zip.add(name, EntryType::File, text.as_bytes()).unwrap();
    }
    zip.finish().unwrap()
}

/// A repository with an inline packages.json.
pub(super) struct Upstream {
    pub(super) server: FileServer,
    packages: BTreeMap<String, BTreeMap<String, Value>>,
}

impl Upstream {
    pub(super) fn new() -> Self {
        Self { server: FileServer::start(), packages: BTreeMap::new() }
    }

    /// Lists a version whose archive has its manifest at the root.
    pub(super) fn release(&mut self, name: &str, version: &str) -> &mut Value {
        let manifest = json!({"name": name, "version": version});
        self.release_archive(
            name,
            version,
            &zip(&[("composer.json", &manifest.to_string()), ("a.php", version)]),
        )
    }

    pub(super) fn release_archive(&mut self, name: &str, version: &str, archive: &[u8]) -> &mut Value {
        let path = format!("dist/{name}-{version}.zip");
        self.server.write(&path, archive);
        let entry = json!({
            "name": name,
            "version": version,
            "time": "2025-02-03T04:05:06+00:00",
            "dist": {"type": "zip", "url": self.server.url(&path), "shasum": Sha1::digest(archive).to_string()},
        });
        let versions = self.packages.entry(name.to_owned()).or_default();
        versions.insert(version.to_owned(), entry);
        versions.get_mut(version).unwrap()
    }

    pub(super) fn entry(&mut self, name: &str, version: &str) -> &mut Value {
        self.packages.get_mut(name).unwrap().get_mut(version).unwrap()
    }

    pub(super) fn publish(&self) {
        self.server.write("packages.json", json!({"packages": self.packages}).to_string());
    }

    /// A mirror that takes these packages.
    fn mirror(&self, packages: &str) -> TestEnv {
        let env = TestEnv::new();
        self.configure(&env, packages);
        env
    }

    fn configure(&self, env: &TestEnv, packages: &str) {
        env.configure(free_port(), "");
        let url = self.server.url("");
        env.write(
            "recipe.yaml",
            &format!("composer:\n  - {{name: others, url: '{url}', packages: {packages}}}\n"),
        );
    }
}

/// The versions of a package in the metadata, newest first.
pub(super) fn listed(env: &TestEnv, name: &str) -> Vec<String> {
    let path = env.path(&format!("data/acme/current/p2/{name}.json"));
    let Ok(text) = std::fs::read_to_string(path) else { return Vec::new() };
    let file: Value = serde_json::from_str(&text).unwrap();
    let versions = file["packages"][name].as_array().unwrap().iter();
    versions.map(|version| version["version"].as_str().unwrap().to_owned()).collect()
}

/// The published data of the only version of a package.
fn data(env: &TestEnv, name: &str) -> Value {
    let file: Value = serde_json::from_str(&read(env, &format!("data/acme/current/p2/{name}.json"))).unwrap();
    file["packages"][name][0].clone()
}

fn archive(env: &TestEnv, name: &str, version: &str) -> Vec<u8> {
    std::fs::read(env.path(&format!("data/acme/packages/{name}-{version}.zip"))).unwrap()
}

#[test]
fn versions_are_taken_by_name_and_constraint_with_their_bytes() {
    let mut upstream = Upstream::new();
    for version in ["1.0.0", "1.1.0", "1.2.0-beta1", "2.0.0", "dev-main"] {
        upstream.release("acme/shop", version);
    }
    upstream.release("acme/theme-dark", "1.0.0");
    upstream.release("other/x", "1.0.0");
    upstream.publish();
    let env = upstream.mirror(r#"{acme/shop: ^1.1, "acme/theme-*": "*"}"#);
    env.build(0);
    assert_eq!(listed(&env, "acme/shop"), ["1.2.0-beta1", "1.1.0"]);
    assert_eq!(listed(&env, "acme/theme-dark"), ["1.0.0"]);
    assert!(listed(&env, "other/x").is_empty());
    let sent = std::fs::read(upstream.server.path("dist/acme/shop-1.1.0.zip")).unwrap();
    assert_eq!(archive(&env, "acme/shop", "1.1.0"), sent);
    let line = ledger(&env).into_iter().find(|line| line["version"] == "1.1.0").unwrap();
    assert_eq!(line["source"], "others");
    assert_eq!(line["committed"], "2025-02-03T04:05:06Z");
    assert_eq!(line["upstream"]["repository"], upstream.server.url(""));
    assert_eq!(line["upstream"]["dist"], upstream.server.url("dist/acme/shop-1.1.0.zip"));
    assert_eq!(line["upstream"].get("manifest"), None, "it says the same as the archive");
    let agent = &upstream.server.take_requests()[0].headers["user-agent"];
    assert!(agent.starts_with("mirror/") && agent.contains("(+http://127.0.0.1:"), "{agent}");
    // Nothing new: one conditional request, and nothing is written.
    let before = env.volume();
    env.build(0);
    assert_eq!(env.volume(), before);
    assert_eq!(upstream.server.take_paths(), ["/packages.json"]);
    upstream.release("acme/shop", "1.3.0");
    upstream.publish();
    env.build(0);
    assert_eq!(listed(&env, "acme/shop"), ["1.3.0", "1.2.0-beta1", "1.1.0"]);
    assert_eq!(upstream.server.take_paths(), ["/dist/acme/shop-1.3.0.zip", "/packages.json"]);
    command(&env, &["verify"], 0);
}

/// As on GitHub: everything in one folder, no version in the manifest, no checksum. What the repository says counts.
#[test]
fn manifest_is_what_the_repository_lists() {
    let mut upstream = Upstream::new();
    let manifest = r#"{"name": "acme/a", "require": {"php": ">=8"}, "description": "From the tag", "scripts": {"x": "y"}}"#;
    let archive = zip(&[("acme-a-1234/composer.json", manifest), ("acme-a-1234/src/a.php", "")]);
    let entry = upstream.release_archive("acme/a", "v1.0.0", &archive);
    entry["dist"]["shasum"] = json!("");
    entry["dist"]["reference"] = json!("1234abcd");
    entry["require"] = json!({"php": ">=8.1"});
    entry["description"] = json!("From the tag");
    entry["support"] = json!({"source": "https://git.example/a"});
    let bare = zip(&[("src/b.php", "")]);
    let entry = upstream.release_archive("acme/bare", "1.0.0", &bare);
    entry["autoload"] = json!({"psr-4": {"Acme\\": "src/"}});
    upstream.release("acme/part", "1.0.0");
    let entry = upstream.release("acme/set", "1.0.0");
    entry["type"] = json!("metapackage");
    entry["require"] = json!({"acme/part": "1.0.0"});
    entry.as_object_mut().unwrap().remove("dist");
    upstream.publish();
    let env = upstream.mirror(r#"{"acme/*": "*"}"#);
    env.build(0);
    let a = data(&env, "acme/a");
    assert_eq!(a["version"], "v1.0.0");
    assert_eq!(a["require"], json!({"php": ">=8.1"}));
    assert_eq!(a["support"], json!({"source": "https://git.example/a"}));
    let line = ledger(&env).into_iter().find(|line| line["name"] == "acme/a").unwrap();
    assert_eq!(
        line["upstream"]["manifest"],
        json!({"require": {"php": ">=8.1"}, "support": {"source": "https://git.example/a"}})
    );
    assert_eq!(line["commit"], "1234abcd");
    assert_eq!(data(&env, "acme/bare")["autoload"], json!({"psr-4": {"Acme\\": "src/"}}));
    let set = data(&env, "acme/set");
    assert_eq!((&set["type"], &set["require"]), (&json!("metapackage"), &json!({"acme/part": "1.0.0"})));
    // The ledger and the archives are all that the metadata is made from.
    let before = [data(&env, "acme/a"), data(&env, "acme/bare"), set];
    let newest = std::fs::canonicalize(env.path("data/acme/current")).unwrap();
    std::fs::remove_dir_all(newest).unwrap();
    env.build(0);
    assert_eq!([data(&env, "acme/a"), data(&env, "acme/bare"), data(&env, "acme/set")], before);
}

#[test]
fn what_cannot_be_had_fails_by_name_and_the_rest_is_published() {
    let mut upstream = Upstream::new();
    upstream.release("acme/good", "1.0.0");
    upstream.release("acme/lie", "1.0.0")["dist"]["shasum"] =
        json!("0123456789012345678901234567890123456789");
    upstream.release("acme/gone", "1.0.0");
    std::fs::remove_file(upstream.server.path("dist/acme/gone-1.0.0.zip")).unwrap();
    upstream.release("acme/tar", "1.0.0")["dist"]["type"] = json!("tar");
    upstream.release("acme/source", "1.0.0").as_object_mut().unwrap().remove("dist");
    upstream.release("acme/cut", "1.0.0");
    upstream.release_archive("acme/page", "1.0.0", b"<html>sign in</html>")["dist"]["shasum"] = json!("");
    upstream.release_archive("acme/dotgit", "1.0.0", &zip(&[("composer.json", "{}"), (".git/config", "x")]));
    upstream.release_archive("acme/up", "1.0.0", &zip(&[("composer.json", "{}"), ("../x", "x")]));
    let mut longer = zip(&[("composer.json", "{}")]);
    longer.extend(b"more");
    upstream.release_archive("acme/longer", "1.0.0", &longer)["dist"]["shasum"] = json!("");
    upstream.release("acme/link", "1.0.0")["require"] = json!({"a/b": "no constraint"});
    upstream.publish();
    upstream.server.answer(|request, file| {
        request.path.ends_with("/cut-1.0.0.zip").then(|| Answer { cut: Some(20), ..file.clone() })
    });
    let env = upstream.mirror(r#"{"acme/*": "*"}"#);
    let log = env.build(1);
    assert_eq!(listed(&env, "acme/good"), ["1.0.0"]);
    for (package, reason) in [
        ("lie", "and the repository lists 0123456789012345678901234567890123456789"),
        ("gone", "http status 404"),
        ("tar", "its archive is of type `tar`"),
        ("source", "the repository has no archive of it"),
        ("cut", "closed the connection"),
        ("page", "not a readable zip archive"),
        ("dotgit", "is `.git` on some file systems"),
        ("up", "would leave the directory"),
        ("longer", "there is something after the end of its list of entries"),
        ("link", "its manifest would break Composer's clients"),
    ] {
        let line = log.lines().find(|line| line.contains(&format!("acme/{package} 1.0.0")));
        assert!(line.is_some_and(|line| line.contains(reason)), "{package}: {log}");
        assert!(listed(&env, &format!("acme/{package}")).is_empty(), "{package}");
    }
    assert_eq!(ledger(&env).len(), 1);
    // Once upstream corrects it, it is published.
    upstream.server.answer(|_, _| None);
    let log = env.build(1);
    assert_eq!(listed(&env, "acme/cut"), ["1.0.0"], "{log}");
}

#[test]
fn first_bytes_are_final_and_changed_ones_diverge() {
    let mut upstream = Upstream::new();
    upstream.release("acme/a", "1.0.0");
    upstream.release("acme/b", "1.0.0")["dist"]["shasum"] = json!("");
    upstream.entry("acme/b", "1.0.0")["dist"]["reference"] = json!("one");
    upstream.publish();
    let env = upstream.mirror(r#"{"acme/*": "*"}"#);
    env.build(0);
    let first = [archive(&env, "acme/a", "1.0.0"), archive(&env, "acme/b", "1.0.0")];
    let other =
        |name: &str| zip(&[("composer.json", &json!({"name": name}).to_string()), ("b.php", "other")]);
    upstream.release_archive("acme/a", "1.0.0", &other("acme/a"));
    let entry = upstream.release_archive("acme/b", "1.0.0", &other("acme/b"));
    entry["dist"]["shasum"] = json!("");
    entry["dist"]["reference"] = json!("two");
    upstream.publish();
    let log = env.build(0);
    assert!(log.contains("acme/a 1.0.0: others has another archive now, SHA-1"), "{log}");
    assert!(log.contains("acme/b 1.0.0: others has another archive now, SHA-1"), "{log}");
    assert_eq!([archive(&env, "acme/a", "1.0.0"), archive(&env, "acme/b", "1.0.0")], first);
    assert_eq!(read(&env, "data/acme/diverged.jsonl").lines().count(), 2);
    upstream.server.take_requests();
    // It is known: nothing is compared or said again.
    let log = env.build(0);
    assert!(!log.contains("diverged:") && log.contains(r#""diverged":2"#), "{log}");
    assert_eq!(upstream.server.take_paths(), ["/packages.json"]);
    // Back to what is published.
    upstream.release_archive("acme/a", "1.0.0", &first[0]);
    let entry = upstream.release_archive("acme/b", "1.0.0", &first[1]);
    entry["dist"]["shasum"] = json!("");
    entry["dist"]["reference"] = json!("one");
    upstream.publish();
    let log = env.build(0);
    assert!(log.contains(r#""diverged":0"#), "{log}");
}

#[test]
fn dead_repository_loses_nothing_and_damaged_archive_is_taken_again() {
    let mut upstream = Upstream::new();
    upstream.release("acme/a", "1.0.0");
    upstream.publish();
    let env = upstream.mirror(r#"{"acme/*": "*"}"#);
    env.build(0);
    let good = archive(&env, "acme/a", "1.0.0");
    for answer in [Answer::new(500, ""), Answer::new(200, "<html>sign in</html>"), Answer::new(404, "")] {
        upstream.server.answer(move |_, _| Some(answer.clone()));
        let log = env.build(1);
        assert!(log.contains("source `others`: "), "{log}");
        assert_eq!(listed(&env, "acme/a"), ["1.0.0"]);
    }
    upstream.server.answer(|_, _| None);
    env.build(0);
    flip(&env.path("data/acme/packages/acme/a-1.0.0.zip"));
    command(&env, &["verify", "--repair"], 0);
    assert_eq!(archive(&env, "acme/a", "1.0.0"), good);
}

#[test]
fn names_belong_to_the_source_that_published_them_first() {
    let mut upstream = Upstream::new();
    upstream.release("acme/shop", "1.0.0");
    upstream.release("acme/shop", "2.0.0");
    upstream.publish();
    let env = TestEnv::new();
    env.upstream("shop")
        .write("composer.json", r#"{"name": "acme/shop", "version": "1.0.0"}"#)
        .release("1.0.0");
    let sources = "  - {name: shop, git: 'https://git.example/shop', packages: [{one: ''}]}\n";
    env.configure(free_port(), sources);
    let composer = |more: &str| {
        let url = upstream.server.url("");
        let recipe = format!(
            "sources:\n{sources}composer:\n  - {{name: others, url: '{url}', packages: {{acme/shop: '*'}}{more}}}\n"
        );
        env.write("recipe.yaml", &recipe);
    };
    composer("");
    let log = env.build(1);
    assert!(
        log.contains("acme/shop 2.0.0: the package belongs to source `shop`")
            || log.contains("`takes_over: [shop]`"),
        "{log}"
    );
    assert_eq!(listed(&env, "acme/shop"), ["1.0.0"]);
    composer(", takes_over: [shop]");
    env.build(0);
    assert_eq!(listed(&env, "acme/shop"), ["2.0.0", "1.0.0"]);
}

#[test]
fn plan_says_what_there_is_to_take() {
    let mut upstream = Upstream::new();
    for version in ["1.0.0", "1.1.0"] {
        upstream.release("acme/shop", version);
    }
    upstream.release("acme/theme", "1.0.0");
    upstream.release("acme/old", "1.0.0")["dist"]["type"] = json!("tar");
    upstream.publish();
    let env = upstream.mirror(r#"{acme/shop: "1.0.0"}"#);
    env.build(0);
    upstream.configure(&env, r#"{"acme/*": "*", gone/away: "*"}"#);
    upstream.server.take_requests();
    let plan = command(&env, &["plan"], 0);
    for line in [
        "acme others: take acme/shop 1.1.0\n",
        "acme others: take acme/theme 1.0.0\n",
        "acme others: warning: the repository has no version of `gone/away`\n",
        "acme others: 4 versions of 3 packages, 1 already published; 0 excluded, 0 failed\n",
        "; 3 archives are to be fetched, one request each, 4 at once",
        " by the sizes of 3 of them\n",
    ] {
        assert!(plan.contains(line), "{line}: {plan}");
    }
    assert!(!command(&env, &["plan", "--summary"], 0).contains("take acme/"));
    let json: Value = serde_json::from_str(&command(&env, &["plan", "--json"], 0)).unwrap();
    let others = &json["repositories"][0]["composer"]["others"];
    assert_eq!(others["counts"]["new"], 3);
    assert_eq!(others["take"][1], json!({"package": "acme/shop", "version": "1.1.0"}));
    assert_eq!(listed(&env, "acme/theme"), Vec::<String>::new());
    upstream.server.answer(|_, _| Some(Answer::new(500, "")));
    let plan = command(&env, &["plan"], 1);
    assert!(plan.contains("acme others: failed: ") && plan.contains("http status 500"), "{plan}");
}

#[test]
fn pattern_without_a_package_is_named() {
    let mut upstream = Upstream::new();
    upstream.release("acme/a", "1.0.0");
    upstream.publish();
    let env = upstream.mirror(r#"{acme/a: "*", acme/b: "*", "shop/*": "*"}"#);
    let log = env.build(0);
    assert!(log.contains("the repository has no version of `acme/b`"), "{log}");
    assert!(log.contains("the repository has no version of `shop/*`"), "{log}");
}

#[test]
fn follower_has_what_its_origin_took() {
    let mut upstream = Upstream::new();
    let archive = zip(&[("a-1/composer.json", r#"{"name": "acme/a"}"#), ("a-1/a.php", "")]);
    upstream.release_archive("acme/a", "1.0.0", &archive)["description"] = json!("Listed");
    upstream.publish();
    let (env, port) = (TestEnv::new(), free_port());
    upstream.configure(&env, r#"{"acme/*": "*"}"#);
    let text = read(&env, "mirror.yaml");
    let configured = text.split("127.0.0.1:").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    env.write("mirror.yaml", &text.replace(&format!("127.0.0.1:{configured}"), &format!("127.0.0.1:{port}")));
    env.build(0);
    let _server = env.serve("serve", port);
    let follower = TestEnv::new();
    let own = free_port();
    follower.write(
        "mirror.yaml",
        &format!(
            "data: {}\nserve: {{listen: ['127.0.0.1:{own}']}}\nrepositories:\n  - {{name: acme, url: 'http://127.0.0.1:{own}/mirror/', follow: ['http://127.0.0.1:{port}/mirror/']}}\n",
            follower.path("data").display()
        ),
    );
    follower.build(0);
    assert_eq!(data(&follower, "acme/a")["description"], "Listed");
    assert_eq!(get(port, "/mirror/packages/acme/a-1.0.0.zip").body, archive);
}

#[test]
fn check_names_repositories_and_warns_of_full_hours() {
    let mut upstream = Upstream::new();
    upstream.release("acme/a", "1.0.0");
    upstream.publish();
    let env = upstream.mirror(r#"{"acme/*": "*"}"#);
    let checked = command(&env, &["check"], 0);
    assert!(checked.contains("others from the Composer repository http://127.0.0.1:"), "{checked}");
    assert!(!checked.contains("at the full hour"), "{checked}");
    let config = read(&env, "mirror.yaml")
        .replace("recipe: ./recipe.yaml", "recipe: ./recipe.yaml, schedule: '@hourly'");
    env.write("mirror.yaml", &config);
    let checked = command(&env, &["check"], 0);
    assert!(checked.contains("at the full hour, when such servers are busiest"), "{checked}");
    assert!(!checked.contains("is served here to everybody"), "{checked}");
    let credential =
        format!("\n  credentials: [{{url: '{}', password: '${{SECRET}}'}}]", upstream.server.url(""));
    env.write("mirror.yaml", &config.replace("git:", &format!("git:{credential}")));
    let check =
        || String::from_utf8(env.command(&["check"]).env("SECRET", "s").output().unwrap().stdout).unwrap();
    let checked = check();
    assert!(checked.contains("sends to those with credentials is served here to everybody"), "{checked}");
    env.write("users", "joe:sha256:2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90\n");
    crate::support::shop::configure_repository(&env, "users: users");
    let checked = check();
    assert!(
        checked.contains("Repository acme at") && !checked.contains("is served here to everybody"),
        "{checked}"
    );
    assert!(upstream.server.take_requests().is_empty(), "a check asks nobody");
}

#[test]
fn releases_from_git_are_published_before_a_composer_repository_is_asked() {
    let mut upstream = Upstream::new();
    upstream.release("acme/shop", "1.0.0");
    upstream.publish();
    let env = upstream.mirror("{acme/shop: '*'}");
    env.upstream("good")
        .write("composer.json", r#"{"name": "acme/good", "version": "1.0.0"}"#)
        .release("1.0.0");
    let recipe = env.read("recipe.yaml");
    env.write(
        "recipe.yaml",
        &format!(
            "{recipe}sources:\n  - {{name: good, git: 'https://git.example/good', packages: [{{one: ''}}]}}\n"
        ),
    );
    let (asked, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (is_asked, may_answer) = (asked.clone(), answered.clone());
    upstream.server.answer(move |_, _| {
        is_asked.store(true, Ordering::Relaxed);
        until("it may answer", || may_answer.load(Ordering::Relaxed));
        None
    });
    std::thread::scope(|scope| {
        let build = scope.spawn(|| env.mirror("build"));
        until("the repository is asked", || asked.load(Ordering::Relaxed));
        assert_eq!(listed(&env, "acme/good"), ["1.0.0"]);
        assert!(read(&env, "data/acme/current/report.json").contains("still being fetched"));
        answered.store(true, Ordering::Relaxed);
        let output = build.join().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    });
    assert_eq!(
        (listed(&env, "acme/good"), listed(&env, "acme/shop")),
        (vec!["1.0.0".to_owned()], vec!["1.0.0".to_owned()])
    );
    assert!(!read(&env, "data/acme/current/report.json").contains("still being fetched"));
    let before = env.volume();
    env.build(0);
    assert_eq!(env.volume(), before, "nothing is left to do");
}

#[test]
fn endless_chain_of_includes_ends_at_the_deadline_of_its_source() {
    let upstream = Upstream::new();
    let env = upstream.mirror("{acme/shop: '*'}");
    env.write("mirror.yaml", &format!("{}limits: {{source_deadline: 1s}}\n", env.read("mirror.yaml")));
    let mut number = 0;
    upstream.server.answer(move |_, _| {
        number += 1;
        let next = format!("include/{number}.json");
        Some(Answer::new(200, json!({"packages": [], "includes": {next: {"sha1": ""}}}).to_string()))
    });
    let log = env.build(2);
    assert!(log.contains("source `others`") && log.contains("`limits.source_deadline`"), "{log}");
}

#[test]
fn versions_with_impossible_names_fail_alone() {
    let mut upstream = Upstream::new();
    upstream.release("acme/shop", "1.0.0");
    let long = format!("1.1.0+{}", "x".repeat(195));
    upstream.release("acme/shop", &long)["dist"]["url"] =
        upstream.server.url("dist/acme/shop-1.0.0.zip").into();
    let endless = "y".repeat(100_000);
    upstream.release("acme/other", "1.0.0")["version"] = endless.clone().into();
    upstream.publish();
    let env = upstream.mirror("{'acme/*': '*'}");
    let log = env.build(1);
    assert!(
        log.contains("its version has 201 bytes") && log.contains("its version has 100000 bytes"),
        "{log}"
    );
    assert!(!log.contains(&endless), "only the beginning is quoted");
    assert_eq!(listed(&env, "acme/shop"), ["1.0.0"]);
}
