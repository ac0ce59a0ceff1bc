//! Mistakes of operators and upstreams: each has a clear message and affects nothing else.

use crate::support::env::{MirrorProcess, TestEnv};
use crate::support::git::WorkTree;
use crate::support::http::get;
use crate::support::{free_port, run, until};
use std::net::TcpListener;
use std::process::Command;

/// A working source beside the broken ones.
const GOOD: &str = "  - name: good\n    git: https://git.example/good\n    packages: [{one: ''}]\n";

fn good(env: &TestEnv) {
    env.upstream("good")
        .write("composer.json", r#"{"name": "acme/good", "version": "1.0.0"}"#)
        .release("1.0.0");
}

fn one(name: &str, url: &str, more: &str) -> String {
    format!("  - name: {name}\n    git: {url}\n{more}    packages: [{{one: ''}}]\n")
}

/// Builds `sources` beside the good one. The build exits with 1, logs `message` and publishes the good one.
fn fails(env: &TestEnv, sources: &str, message: &str) {
    env.configure(free_port(), &format!("{sources}{GOOD}"));
    let log = env.build(1);
    assert!(log.contains(message), "`{message}` in\n{log}");
    assert!(env.path("data/acme/packages/acme/good-1.0.0.zip").exists(), "{log}");
}

#[test]
fn unreachable_source_is_reported_and_others_are_built() {
    let env = TestEnv::new();
    good(&env);
    let port = free_port();
    for (url, message) in [
        ("http://no-such-host.invalid/x.git".to_owned(), "failed to reach `no-such-host.invalid`"),
        (format!("http://127.0.0.1:{port}/x.git"), "Connection refused"),
        ("https://git.example/missing".to_owned(), "missing` does not exist"),
    ] {
        fails(&env, &one("bad", &url, ""), message);
    }
}

#[test]
fn check_names_unusable_files() {
    let env = TestEnv::new();
    good(&env);
    env.configure(free_port(), GOOD);
    let fine = std::fs::read_to_string(env.path("mirror.yaml")).unwrap();
    let check = || {
        let output = env.mirror("check");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (code, said) = check();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("Warning"), "{said}");

    let unused = fine.replace("rewrite: {", "rewrite: {'https://else.example/': 'x:', ");
    env.write("mirror.yaml", &unused);
    let (code, said) = check();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Warning: `git.rewrite` has `https://else.example/`"), "{said}");

    let recipe = env.read("recipe.yaml");
    env.write("recipe.yaml", &recipe.replacen("packages:", "takes_over: [gone]\n    packages:", 1));
    env.write("mirror.yaml", &fine);
    let (code, said) = check();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("has `gone`, but no source of the recipe has that name"), "{said}");
    env.write("recipe.yaml", &recipe);

    let broken = fine
        .replace("drain: 5s", "tls: {listen: '127.0.0.1:0', certificate: c.pem, key: k.pem}")
        .replace("recipe: ./recipe.yaml", "recipe: ./recipe.yaml, users: ./users")
        .replace("git:\n", "git:\n  ca_file: ca.pem\n  credentials: [{url: 'https://a.example/', username_file: u, password_file: p}]\n");
    env.write("mirror.yaml", &format!("{broken}push: [{{from: github, secret_file: s}}]\n"));
    env.write("ca.pem", "no certificate");
    env.write("u", "\n");
    let (code, said) = check();
    assert_eq!(code, Some(64), "{said}");
    let folder = env.path("");
    for expected in [
        "mirror.yaml:2:43: serve.tls: failed to read",
        "mirror.yaml:4:87: repositories[0].users: failed to read the users in",
        "git.ca_file: failed to read",
        "it contains no certificate in PEM format",
        "git.credentials[0].username_file: ",
        "u` is empty",
        "git.credentials[0].password_file: failed to read",
        "push[0].secret_file: failed to read",
    ] {
        assert!(said.contains(expected), "`{expected}` in\n{said}\n{}", folder.display());
    }

    for (sources, expected) in [
        (
            one("b", "gitea.example/b", ""),
            "cannot fetch from `gitea.example/b`: expected a url with a scheme, or an absolute path",
        ),
        (one("b", "git://git.example/b", ""), "git over `git` is not supported"),
        (one("b", "git@host:22:b", ""), "a port cannot stand there: write `[host:port]:path`"),
        (one("b", "git@::1:b", ""), "an IPv6 address stands in brackets"),
        (one("b", "ssh://host", ""), "the url has no path"),
        (one("b", "git@host:b", ""), "hint: set `known_hosts_file` of the credential for this url"),
        (
            one("b", "https://git.example/b", "") + &one("c", "https://git.example/c", ""),
            "git/c` does not exist",
        ),
        (
            ["b", "c", "d", "e", "f"]
                .map(|name| one(name, &format!("https://git.example/{name}"), ""))
                .concat(),
            "; and 2 more",
        ),
    ] {
        env.configure(free_port(), &format!("{GOOD}{sources}"));
        let (code, said) = check();
        assert_eq!(code, Some(64), "{said}");
        assert!(said.contains("repositories[0].recipe: "), "{said}");
        assert!(said.contains(expected), "{said}");
    }

    env.configure(free_port(), GOOD);
    env.write("data", "a file");
    let (code, said) = check();
    assert_eq!(code, Some(64), "{said}");
    assert!(
        said.contains("mirror.yaml:1:7: data: `") && said.contains("/data` is not a directory"),
        "{said}"
    );
    std::fs::remove_file(env.path("data")).unwrap();

    env.write("mirror.yaml", &fine.replace("./recipe.yaml", "./gone.yaml"));
    let (code, said) = check();
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("repositories[0].recipe: failed to read the recipe `"), "{said}");
}

#[test]
fn preferred_mirror_of_archives_is_warned_of() {
    let env = TestEnv::new();
    good(&env);
    env.configure(free_port(), GOOD);
    let plain = env.read("mirror.yaml");
    for (preferred, is_warned_of) in [("", false), (", preferred: true", true)] {
        let mirror = format!("{{dist_url: 'https://other.example/%package%-%version%.zip'{preferred}}}");
        let hints = format!("recipe: ./recipe.yaml, hints: {{mirrors: [{mirror}]}}");
        env.write("mirror.yaml", &plain.replace("recipe: ./recipe.yaml", &hints));
        let check = String::from_utf8(env.mirror("check").stdout).unwrap();
        let log = env.build(0);
        for said in [check, log] {
            let warning =
                "repository acme: `hints.mirrors` prefers `https://other.example/%package%-%version%.zip`: ";
            assert_eq!(said.contains(warning), is_warned_of, "{said}");
            assert_eq!(said.contains("5 to 15 s"), is_warned_of, "{said}");
            assert!(said.contains("Composer puts `1.0.0.0` for `%version%`"), "{said}");
        }
    }
}

#[test]
fn check_opens_the_files_of_a_build() {
    let env = TestEnv::new();
    good(&env);
    // Only root can change the owner. libgit2 refuses repositories of other owners unless configured otherwise.
    let _ = std::os::unix::fs::chown(env.path("git/good"), Some(12345), None);
    let other = one("other", "https://git.example/good", "")
        .replace("packages: [{one: ''}]", "packages: [{one: '', manifest: [{resource: gone, path: x}]}]");
    env.configure(
        free_port(),
        &format!("{GOOD}{other}resources: {{gone: {{git: 'https://git.example/gone'}}}}\n"),
    );
    let check = || env.mirror("check").status.code();
    assert_eq!(check(), Some(64));
    let all = std::fs::read_to_string(env.path("mirror.yaml")).unwrap();
    env.write("mirror.yaml", &all.replace("recipe: ./recipe.yaml", "recipe: ./recipe.yaml, only: [good]"));
    assert_eq!(check(), Some(0));
    env.build(0);
}

#[test]
fn extra_ref_that_is_missing_or_tagged_is_reported() {
    let env = TestEnv::new();
    good(&env);
    let upstream = env.upstream("extra");
    upstream.write("composer.json", r#"{"name": "acme/extra", "version": "1.0.0"}"#).release("1.0.0");
    let extra = |reference: &str, version: &str| {
        format!("    extra_refs: [{{ref: {reference}, version: {version}, reason: forgotten}}]\n")
    };
    let url = "https://git.example/extra";
    fails(
        &env,
        &one("bad", url, &extra("refs/heads/gone", "1.1.0")),
        "failed to find `refs/heads/gone` in the repository",
    );
    fails(&env, &one("bad", url, &extra("refs/heads/main", "1.0.0")), "the repository now has that tag");

    upstream.write("composer.json", r#"{"name": "acme/extra", "version": "1.0.1"}"#).release("x");
    upstream.git(&["tag", "-d", "x"]);
    env.configure(free_port(), &one("bad", url, &extra("refs/heads/main", "1.0.1")));
    env.build(0);
    assert!(env.path("data/acme/packages/acme/extra-1.0.1.zip").exists());
}

#[test]
fn manifest_refused_by_composer_fails_only_its_package() {
    for (manifest, message) in [
        ("{not json", "not JSON"),
        ("[]", "not a JSON object"),
        (r#"{"version": "1.0.0"}"#, "the manifest has no name"),
        (r#"{"name": 5, "version": "1.0.0"}"#, "`name` is not a string"),
        (r#"{"name": "../x", "version": "1.0.0"}"#, "`../x` is not a package name"),
        (r#"{"name": "a/b/c", "version": "1.0.0"}"#, "`a/b/c` is not a package name"),
        (r#"{"name": "Acme/x", "version": "1.0.0"}"#, "`Acme/x` is not a package name"),
        (
            r#"{"name": "acme/x", "version": "1.0/../../x"}"#,
            "version `1.0/../../x` cannot be part of a file name",
        ),
        (r#"{"name": "acme/x", "version": "nonsense"}"#, "`nonsense` is not a version"),
        (
            r#"{"name": "acme/x", "version": "1.0.0", "require": {"a/b": 5}}"#,
            "require.a/b: the constraint 5 cannot be read",
        ),
        (r#"{"name": "acme/x", "version": "1.0.0", "require": "a/b"}"#, "require: must be a map"),
    ] {
        let env = TestEnv::new();
        good(&env);
        env.upstream("bad").write("composer.json", manifest).release("1.0.0");
        fails(&env, &one("bad", "https://git.example/bad", ""), message);
    }
}

#[test]
fn package_of_two_sources_names_both() {
    let env = TestEnv::new();
    good(&env);
    env.upstream("twin")
        .write("composer.json", r#"{"name": "acme/good", "version": "1.0.0"}"#)
        .release("1.0.0");
    env.configure(free_port(), &format!("{GOOD}{}", one("twin", "https://git.example/twin", "")));
    let log = env.build(1);
    assert!(log.contains("source `good` has published this version"), "{log}");
}

#[test]
fn unusual_tags_and_trees_are_tolerated() {
    let env = TestEnv::new();
    let upstream = env.upstream("odd");
    upstream.write("A/composer.json", r#"{"name": "acme/a", "version": "1.0.0"}"#);
    upstream.write("A/Über.txt", "no newline").write("A/run", "#!/bin/sh").write("B/readme", "no manifest");
    std::os::unix::fs::symlink("/etc/passwd", upstream.path.join("A/link")).unwrap();
    upstream.git(&["add", "-A"]);
    upstream.git(&["update-index", "--chmod=+x", "A/run"]);
    upstream.git(&[
        "update-index",
        "--add",
        "--cacheinfo",
        "160000,1111111111111111111111111111111111111111,A/sub",
    ]);
    upstream.git(&["commit", "-qm", "odd"]);
    upstream.git(&["tag", "-a", "1.0.0", "-m", "annotated"]);
    upstream.git(&["tag", "-a", "1.0.1", "1.0.0", "-m", "a tag of a tag"]);
    upstream.git(&["tag", "1.0.2", "HEAD^{tree}"]);
    env.configure(
        free_port(),
        "  - name: odd\n    git: https://git.example/odd\n    packages: [{each: ''}]\n",
    );
    let log = env.build(1);
    assert!(log.contains("`refs/tags/1.0.2` points to a tree, not to a commit"), "{log}");
    let file = std::fs::File::open(env.path("data/acme/packages/acme/a-1.0.0.zip")).unwrap();
    let mut zip = zip::ZipArchive::new(file).unwrap();
    let entries: Vec<_> = (0..zip.len())
        .map(|i| zip.by_index(i).map(|e| (e.name().unwrap().into_owned(), e.unix_mode())).unwrap())
        .collect();
    let expected = [("composer.json", 0o644), ("run", 0o755), ("Über.txt", 0o644)];
    assert_eq!(entries, expected.map(|(name, mode)| (name.to_owned(), Some(mode))));
}

#[test]
fn empty_upstream_publishes_nothing() {
    let env = TestEnv::new();
    good(&env);
    env.upstream("empty");
    env.configure(free_port(), &format!("{}{GOOD}", one("empty", "https://git.example/empty", "")));
    env.build(0);
}

#[test]
fn moved_and_deleted_tags_keep_published_versions() {
    let env = TestEnv::new();
    let upstream = env.upstream("good");
    good_release(&upstream, "1.0.0", "first");
    good_release(&upstream, "1.1.0", "first");
    env.configure(free_port(), GOOD);
    env.build(0);
    let zips = || {
        ["1.0.0", "1.1.0"]
            .map(|v| std::fs::read(env.path(&format!("data/acme/packages/acme/good-{v}.zip"))).unwrap())
    };
    let before = zips();
    good_release(&upstream, "1.0.0", "moved");
    upstream.git(&["tag", "-d", "1.1.0"]);
    let log = env.build(0);
    assert!(log.contains("upstream moved a tag") && log.contains("upstream deleted a tag"), "{log}");
    assert!(zips() == before);
    let p2 = std::fs::read_to_string(env.path("data/acme/current/p2/acme/good.json")).unwrap();
    assert!(p2.contains("1.0.0") && p2.contains("1.1.0"), "{p2}");
}

fn good_release(upstream: &WorkTree, version: &str, text: &str) {
    let manifest = format!(r#"{{"name": "acme/good", "version": "{version}"}}"#);
    upstream.write("composer.json", &manifest).write("text", text).release(version);
}

#[test]
fn published_bytes_are_never_overwritten() {
    let env = TestEnv::new();
    good(&env);
    env.configure(free_port(), GOOD);
    env.build(0);
    let zip = env.path("data/acme/packages/acme/good-1.0.0.zip");
    // The ledger and the snapshots are lost, and upstream has changed the release.
    for gone in ["data/acme/ledger.jsonl", "data/acme/snapshots"] {
        run(std::process::Command::new("rm").arg("-r").arg(env.path(gone)));
    }
    let before = std::fs::read(&zip).unwrap();
    assert!(env.build(2).contains("the repository `acme` was published on this volume"));
    env.write("data/STORE", "mirror store 2\nid 1\n");
    WorkTree { path: env.path("git/good") }.write("more", "bytes").release("1.0.0");
    let log = env.build(2);
    assert!(log.contains("already exists with different bytes"), "{log}");
    assert_eq!(std::fs::read(&zip).unwrap(), before);
}

#[test]
fn unusable_data_directory_is_reported() {
    let env = TestEnv::new();
    good(&env);
    env.configure(free_port(), GOOD);
    env.write("data", "a file, not a folder");
    let log = env.build(2);
    assert!(log.contains("/data` is a file\nhint: remove the file"), "{log}");
    assert!(!log.contains("chown"), "another owner could do no more: {log}");
    std::fs::remove_file(env.path("data")).unwrap();
    env.write("data/holiday.jpg", "somebody else's");
    assert!(env.build(2).contains("is not a data volume: it has no STORE file, but contains `holiday.jpg`"));
    std::fs::remove_file(env.path("data/holiday.jpg")).unwrap();
    env.write("data/STORE", "mirror store 99\n");
    assert!(env.build(2).contains("says `mirror store 99`"));
}

#[test]
fn rollback_and_verify_create_no_store() {
    let env = TestEnv::new();
    good(&env);
    env.configure(free_port(), GOOD);
    for arguments in [&["rollback"][..], &["rollback", "--end"], &["verify", "--repair"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_mirror"))
            .args(arguments)
            .arg("--config")
            .arg(env.path("mirror.yaml"))
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {log}");
        assert!(log.contains("is not a data volume: it has no STORE file"), "{log}");
        assert!(log.contains("hint: check that the volume is mounted"), "{log}");
        assert!(!env.path("data").exists(), "{arguments:?}");
    }
}

/// As in `mirror plan | head -1`, where the reader exits early.
#[test]
fn closed_stdout_is_no_error() {
    let env = TestEnv::new();
    good(&env);
    env.configure(free_port(), GOOD);
    env.build(0);
    for arguments in [
        &["check"][..],
        &["plan"],
        &["verify"],
        &["schema"],
        &["completions", "bash"],
        &["rollback", "--end"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_mirror"))
            .args(arguments)
            .arg("--config")
            .arg(env.path("mirror.yaml"))
            .stdout(writer)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
        assert_eq!(said, "", "{arguments:?}");
    }
}

#[test]
fn full_volume_fails_packages_and_keeps_published_files() {
    let env = TestEnv::new();
    good(&env);
    env.configure(free_port(), GOOD);
    env.build(0);
    let big = env.upstream("big");
    big.write("composer.json", r#"{"name": "acme/big", "version": "1.0.0"}"#);
    big.write("blob", &"x".repeat(2 << 20)).release("1.0.0");
    env.configure(free_port(), &format!("{GOOD}{}", one("big", "https://git.example/big", "")));
    // A limit on the size of a file, in units of 512 bytes, stands for the volume's: EFBIG where a full one gives ENOSPC.
    let output = with_limits("trap '' XFSZ; ulimit -f 1024", &env, "build").output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("failed to write") || log.contains("File too large"), "{log}");
    assert!(env.path("data/acme/packages/acme/good-1.0.0.zip").exists());
    env.build(0);
    assert!(env.path("data/acme/packages/acme/big-1.0.0.zip").exists());
}

#[test]
fn port_in_use_and_second_writer_are_refused() {
    let env = TestEnv::new();
    good(&env);
    let port = free_port();
    env.configure(port, GOOD);
    env.build(0);
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let output = env.mirror("run");
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(log.contains(&format!("failed to listen on `127.0.0.1:{port}`")), "{log}");
    drop(taken);
    let server = env.serve("run", port);
    let lock = std::fs::File::options().write(true).open(env.path("data/LOCK")).unwrap();
    lock.lock().unwrap();
    assert!(env.build(2).contains("another instance is writing to"));
    drop(lock);
    env.build(0);
    assert!(env.mirror("health").status.success());
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn invalid_configuration_exits_with_64_and_touches_nothing() {
    let env = TestEnv::new();
    env.configure(
        free_port(),
        "  - {name: x, git: 'https://git.example/x', packages: [{each: a, one: b}]}\n",
    );
    let output = env.mirror("check");
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64));
    assert!(log.contains("sources[0].packages[0]: a rule requires exactly one of"), "{log}");
    env.configure(free_port(), "  - {name: x, git: 'https://git.example/x', packages: [{one: .}]}\n");
    let output = env.mirror("check");
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64));
    assert!(
        log.contains("sources[0].packages[0].one: expected the path of a folder")
            && log.contains("the root itself is `''`"),
        "{log}"
    );
    env.write("recipe.yaml", "resources: {r: {git: x}}\narchives: [{name: x, resource: r, path: ''}]\n");
    let log = String::from_utf8(env.mirror("check").stderr).unwrap();
    assert!(log.contains("archives[0].path: expected a folder below the root"), "{log}");
    assert!(!env.path("data").exists());
}

/// The program raises its descriptor limit as far as it may, and warns if that is too low.
#[test]
fn descriptor_limit_is_raised_to_the_hard_limit() {
    for (hard, is_told) in [(3000, true), (9000, false)] {
        let (env, port) = (TestEnv::new(), free_port());
        good(&env);
        env.configure(port, GOOD);
        env.build(0);
        let log = env.path("log");
        let limits = format!("ulimit -S -n 256; ulimit -H -n {hard}");
        let child =
            with_limits(&limits, &env, "serve").stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
        let limits = format!("/proc/{}/limits", child.id());
        let server = MirrorProcess::new(child);
        until("it is ready", || {
            std::fs::read_to_string(&log).unwrap().contains("listening")
                && get(port, "/-/readyz").status == 200
        });
        let limits = std::fs::read_to_string(limits).unwrap();
        let limit = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let soft = limit.split_whitespace().nth(3).unwrap();
        assert_eq!(soft, hard.to_string());
        assert_eq!(server.stop(), Some(0));
        let log = std::fs::read_to_string(log).unwrap();
        let told = log.contains("`serve.max_connections` is 4096, but this process may open 3000 files")
            && log.contains("LimitNOFILE=");
        assert_eq!(told, is_told, "{log}");
    }
}

/// `mirror` started by a shell that sets limits before.
fn with_limits(limits: &str, env: &TestEnv, command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("{limits}; exec \"$@\""), "sh"])
        .args([env!("CARGO_BIN_EXE_mirror"), command, "--config"])
        .arg(env.path("mirror.yaml"));
    shell
}
