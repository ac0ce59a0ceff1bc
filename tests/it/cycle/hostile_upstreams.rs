//! Malicious upstream content fails with a reason, and everything else is published.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::env::TestEnv;
use crate::support::free_port;
use crate::support::git::WorkTree;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use serde_json::Value;

const SOURCES: &str = "  - {name: good, git: 'https://git.example/good', packages: [{one: ''}]}\n  - {name: bad, git: 'https://git.example/bad', packages: [{one: ''}]}\n";

/// An upstream with malicious tags only, beside a good one.
struct Hostile {
    env: TestEnv,
    bad: WorkTree,
}

impl Hostile {
    fn new(more: &str) -> Self {
        let env = TestEnv::new();
        let port = free_port();
        env.configure(port, SOURCES);
        let configuration = fs::read_to_string(env.path("mirror.yaml")).unwrap();
        env.write("mirror.yaml", &format!("{configuration}{more}"));
        let good = env.upstream("good");
        good.write("composer.json", r#"{"name": "acme/good", "version": "1.0.0"}"#);
        good.release("1.0.0");
        let bad = env.upstream("bad");
        bad.write("composer.json", r#"{"name": "acme/bad", "version": "1.0.0"}"#);
        bad.release("1.0.0");
        Self { env, bad }
    }

    /// Writes an object of any content, even one that git would not make, and returns its id.
    fn object(&self, kind: &str, content: &[u8]) -> String {
        let mut git = Command::new("git")
            .current_dir(&self.bad.path)
            .args(["hash-object", "-t", kind, "-w", "--stdin", "--literally"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        git.stdin.take().unwrap().write_all(content).unwrap();
        let output = git.wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A tree of these entries: mode, name, id.
    fn tree(&self, entries: &[(&str, &[u8], &str)]) -> String {
        let mut content = Vec::new();
        for (mode, name, id) in entries {
            content.extend(mode.as_bytes());
            content.push(b' ');
            content.extend(*name);
            content.push(0);
            content.extend((0..40).step_by(2).map(|i| u8::from_str_radix(&id[i..i + 2], 16).unwrap()));
        }
        self.object("tree", &content)
    }

    fn manifest(&self, version: &str) -> String {
        let text = format!(r#"{{"name": "acme/bad", "version": "{version}"}}"#);
        self.object("blob", text.as_bytes())
    }

    /// Tags a commit of this tree.
    fn tag(&self, tag: &str, tree: &str) {
        let commit = self.bad.git(&["commit-tree", "-m", tag, tree]);
        self.bad.git(&["tag", tag, commit.trim()]);
    }

    /// Tags a package with its manifest and these entries.
    fn package(&self, version: &str, entries: &[(&str, &[u8], &str)]) {
        let manifest = self.manifest(version);
        let mut all = vec![("100644", &b"composer.json"[..], manifest.as_str())];
        all.extend(entries);
        let tree = self.tree(&all);
        self.tag(version, &tree);
    }

    /// Builds and returns the failed versions with their reasons. The others must be published.
    fn failures(&self, published: &[&str]) -> Vec<(String, String)> {
        let log = self.env.build(1);
        let base = self.env.path("data/acme");
        let ledger = fs::read_to_string(base.join("ledger.jsonl")).unwrap();
        for version in published {
            assert!(ledger.contains(&format!(r#""version":"{version}""#)), "{version} is lost: {log}");
        }
        assert!(ledger.contains("acme/good"), "{log}");
        let outside = fs::read_dir(self.env.path("data")).unwrap().count();
        assert!(outside <= 5, "something was written where nothing belongs: {}", self.env.volume());
        let report = fs::read(base.join("current/report.json")).unwrap();
        let report: Value = serde_json::from_slice(&report).unwrap();
        let bad = &report["sources"]["bad"];
        let mut failures = vec![];
        failures.extend(bad["error"].as_str().map(|error| ("source".to_owned(), error.to_owned())));
        for line in bad["failed"].as_array().unwrap_or(&Vec::new()) {
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            failures.push((text("ref"), text("because")));
        }
        failures
    }
}

#[track_caller]
fn assert_failed(failures: &[(String, String)], expected: &[(&str, &str)]) {
    for (tag, because) in expected {
        let found = failures.iter().find(|(t, _)| t == tag);
        assert!(
            found.is_some_and(|(_, text)| text.contains(because)),
            "{tag} did not fail with `{because}`: {failures:#?}"
        );
    }
    assert_eq!(failures.len(), expected.len(), "{failures:#?}");
}

#[test]
fn tree_entries_with_unsafe_names_fail() {
    let hostile = Hostile::new("");
    let blob = hostile.object("blob", b"<?php");
    let folder = hostile.tree(&[("100644", b"x.php", &blob)]);
    let file = |version: &str, name: &[u8]| hostile.package(version, &[("100644", name, &blob)]);
    file("2.0.1", b"..");
    file("2.0.2", b"a/../../b");
    file("2.0.3", b"line\nfeed");
    file("2.0.4", b"\xff\xfe");
    file("2.0.5", b"..\\windows");
    hostile.package("2.0.6", &[("40000", b"..", &folder)]);
    hostile.package("2.0.7", &[("40000", b".GIT", &folder)]);
    hostile.package("2.0.8", &[("100644", b"A.php", &blob), ("100644", b"a.php", &blob)]);
    hostile.package("2.0.9", &[("100644", b"Lib", &blob), ("40000", b"lib", &folder)]);
    hostile.package("2.0.10", &[("100644", b"same", &blob), ("100644", b"same", &blob)]);
    // Neither becomes a file of a package.
    let link = hostile.object("blob", b"../../../../etc/passwd");
    hostile.package("2.1.0", &[("120000", b"link", &link)]);
    hostile.package("2.1.1", &[("160000", b"module", "0123456789012345678901234567890123456789")]);
    let failures = hostile.failures(&["1.0.0", "2.1.0", "2.1.1"]);
    assert_failed(
        &failures,
        &[
            ("2.0.1", "unusable name `..`"),
            ("2.0.2", "unusable name `a/../../b`"),
            ("2.0.3", r"`line\nfeed` is unusable"),
            ("2.0.4", "unusable name"),
            ("2.0.5", r"`..\\windows` is unusable"),
            ("2.0.6", "unusable name `..`"),
            ("2.0.7", "unusable name `.GIT`"),
            ("2.0.8", "differ only in upper and lower case"),
            ("2.0.9", "is both a file and a folder"),
            ("2.0.10", "differ only in upper and lower case"),
        ],
    );
    let file = fs::File::open(hostile.env.path("data/acme/packages/acme/bad-2.1.0.zip")).unwrap();
    let archive = zip::ZipArchive::new(file).unwrap();
    assert_eq!(archive.len(), 1, "a link is no file of a package");
}

#[test]
fn packages_beyond_limits_fail() {
    let limits = "limits: {file: 64KiB, package: 256KiB, entries: 5000, depth: 40, manifest: 16KiB}\n";
    let hostile = Hostile::new(limits);
    let large = hostile.object("blob", &vec![b'x'; 70_000]);
    hostile.package("2.0.1", &[("100644", b"large", &large)]);
    let some = hostile.object("blob", &vec![b'x'; 60_000]);
    let names: Vec<_> = (0..5).map(|i| format!("part{i}")).collect();
    let parts: Vec<_> = names.iter().map(|n| ("100644", n.as_bytes(), some.as_str())).collect();
    hostile.package("2.0.2", &parts);
    let empty = hostile.object("blob", b"");
    let names: Vec<_> = (0..6000).map(|i| format!("f{i:05}")).collect();
    let many: Vec<_> = names.iter().map(|n| ("100644", n.as_bytes(), empty.as_str())).collect();
    hostile.package("2.0.3", &many);
    let mut deep = hostile.tree(&[("100644", b"x", &empty)]);
    for _ in 0..300 {
        deep = hostile.tree(&[("40000", b"d", &deep)]);
    }
    hostile.package("2.0.4", &[("40000", b"d", &deep)]);
    // Ten entries for the same folder, twelve levels deep: 10^12 files made of a few objects.
    let mut bomb = hostile.tree(&[("100644", b"x", &empty)]);
    let names: Vec<_> = (0..10).map(|i| format!("d{i}")).collect();
    for _ in 0..12 {
        let entries: Vec<_> = names.iter().map(|n| ("40000", n.as_bytes(), bomb.as_str())).collect();
        bomb = hostile.tree(&entries);
    }
    hostile.package("2.0.5", &[("40000", b"d", &bomb)]);
    let failures = hostile.failures(&["1.0.0"]);
    assert_failed(
        &failures,
        &[
            ("2.0.1", "`large` has 70000 bytes, more than 65536"),
            ("2.0.2", "more than 262144 bytes"),
            ("2.0.3", "more than 5000 files and folders"),
            ("2.0.4", "nested more than 40 deep"),
            ("2.0.5", "more than 5000 files and folders"),
        ],
    );
}

#[test]
fn versions_that_would_bloat_the_metadata_fail() {
    let hostile = Hostile::new("limits: {package_metadata: 20KiB, metadata: 50KiB}\n");
    let manifest = |tag: &str, name: &str, version: &str, length: usize| {
        let text =
            format!(r#"{{"name": "acme/{name}", "version": "{version}", "x": "{}"}}"#, "x".repeat(length));
        let blob = hostile.object("blob", text.as_bytes());
        hostile.tag(tag, &hostile.tree(&[("100644", b"composer.json", &blob)]));
    };
    manifest("2.0.1", "bad", "2.0.1", 12_000);
    manifest("2.0.2", "bad", "2.0.2", 12_000);
    manifest("2.1.0", "other", "1", 18_000);
    manifest("2.2.0", "third", "1", 18_000);
    manifest("2.3.0", "fourth", "1", 18_000);
    let failures = hostile.failures(&["1.0.0", "2.0.1"]);
    assert_failed(
        &failures,
        &[
            ("2.0.2", "the metadata of acme/bad would have"),
            ("2.3.0", "the metadata of the repository would have"),
        ],
    );
    // What is published counts in the next cycle.
    manifest("2.4.0", "bad", "2.4.0", 12_000);
    let failures = hostile.failures(&[]);
    assert!(
        failures.iter().any(|(tag, because)| tag == "2.4.0" && because.contains("limits.package_metadata"))
    );
}

#[test]
fn manifests_that_are_huge_deep_or_mistyped_fail() {
    let hostile = Hostile::new("");
    let manifest = |version: &str, text: &[u8]| {
        let blob = hostile.object("blob", text);
        hostile.tag(version, &hostile.tree(&[("100644", b"composer.json", &blob)]));
    };
    let mut huge = br#"{"name": "acme/bad", "version": "2.0.1", "x": ""#.to_vec();
    huge.resize(100_000_000, b'x');
    huge.extend(b"\"}");
    manifest("2.0.1", &huge);
    let deep = format!("{{\"name\": \"acme/bad\", \"x\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    manifest("2.0.2", deep.as_bytes());
    manifest("2.0.3", br#"{"name": ["acme/bad"], "version": "2.0.3"}"#);
    manifest("2.0.4", br#"{"name": "acme/bad", "version": 2}"#);
    manifest("2.0.5", br#"{"name": "acme/bad", "version": "2.0.5", "require": {"a/b": 1}}"#);
    manifest("2.0.6", br#"[1, 2]"#);
    manifest("2.0.7", br#"{"name": "../../bad", "version": "2.0.7"}"#);
    manifest("2.0.8", br#"{"name": "acme/bad", "version": "../../2.0.8"}"#);
    manifest("2.0.9", b"\xff\xfe\0\0");
    // Of duplicate keys JavaScript takes the last one, and so does Composer.
    manifest("2.1.0", br#"{"name": "acme/other", "name": "acme/bad", "version": "9", "version": "2.1.0"}"#);
    let failures = hostile.failures(&["1.0.0", "2.1.0"]);
    assert_failed(
        &failures,
        &[
            ("2.0.1", "has 100000002 bytes, more than 4194304"),
            ("2.0.2", "recursion limit"),
            ("2.0.3", "`name` is not a string"),
            ("2.0.4", "`version` is not a string"),
            ("2.0.5", "require.a/b: the constraint 1 cannot be read"),
            ("2.0.6", "not a JSON object"),
            ("2.0.7", "bad"),
            ("2.0.8", "2.0.8"),
            ("2.0.9", "the byte order mark of UTF-32"),
        ],
    );
}

#[test]
fn tags_with_unsafe_names_or_too_many_tags_fail() {
    let hostile = Hostile::new("limits: {refs: 1000}\n");
    let head = hostile.bad.git(&["rev-parse", "HEAD"]);
    let packed = hostile.bad.path.join(".git/packed-refs");
    let line = |name: &str| format!("{} refs/tags/{name}\n", head.trim());
    // git itself refuses to create these.
    fs::write(&packed, line("../../x") + &line("1.0.1\u{7}") + &line("a b")).unwrap();
    let log = hostile.env.mirror("build");
    let told = String::from_utf8_lossy(&log.stderr).into_owned();
    let ledger = fs::read_to_string(hostile.env.path("data/acme/ledger.jsonl")).unwrap();
    assert!(ledger.contains("acme/good"), "{told}");
    assert!(!hostile.env.path("data/x").exists() && !hostile.env.path("x").exists());

    let many: String = (0..2000).map(|i| line(&format!("9.{i:04}.0"))).collect();
    fs::write(&packed, many).unwrap();
    let failures = hostile.failures(&[]);
    assert_failed(&failures, &[("source", "branches and tags, more than 1000")]);
}

#[test]
fn million_tags_are_refused() {
    let hostile = Hostile::new("");
    let head = hostile.bad.git(&["rev-parse", "HEAD"]);
    let packed = hostile.bad.path.join(".git/packed-refs");
    let many: String = (0..1_000_000).map(|i| format!("{} refs/tags/x-{i:07}\n", head.trim())).collect();
    fs::write(&packed, many).unwrap();
    let failures = hostile.failures(&[]);
    assert_failed(&failures, &[("source", "has 1000001 branches and tags, more than 100000")]);
}

#[test]
fn malformed_prebuilt_archives_are_refused() {
    let env = TestEnv::new();
    env.configure(free_port(), "");
    env.write("mirror.yaml", &format!("{}limits: {{archive: 2MiB}}\n", env.read("mirror.yaml")));
    env.write(
        "recipe.yaml",
        "resources:\n  extra: {git: 'https://git.example/extra', ref: main}\narchives:\n  - {name: extra, resource: extra, path: zips}\n",
    );
    let extra = env.upstream("extra");
    fs::create_dir(extra.path.join("zips")).unwrap();
    write_archives(&extra.path.join("zips"));
    extra.release("1.0.0");
    let log = env.build(1);
    let ledger = fs::read_to_string(env.path("data/acme/ledger.jsonl")).unwrap();
    assert_eq!(ledger.lines().count(), 1, "{ledger}");
    assert!(ledger.contains("acme/good"));
    for (file, because) in [
        ("twice", "same name"),
        ("overlap", "overlap"),
        ("leaves", "would leave the directory"),
        ("bomb", "unpacks to more than"),
        ("case", "upper and lower case"),
        ("bare", "no composer.json"),
        ("torn", "not a readable zip archive"),
        ("link", "is a link"),
        ("local", "has another name beside its data"),
        ("dotgit", "is `.git` on some file systems"),
        ("folder", "is `.git` on some file systems"),
        ("absolute", "is absolute"),
        ("large", "more than 2097152"),
        ("deep", "nested more than 64 deep"),
        ("more", "something after the end"),
        ("comment", "something after the end"),
    ] {
        let line = log.lines().find(|line| line.contains(&format!("{file}.zip")));
        assert!(line.is_some_and(|line| line.contains(because)), "{file}: {log}");
    }
}

fn write_archives(folder: &Path) {
    let write = |name: &str, zip: &[u8]| fs::write(folder.join(format!("{name}.zip")), zip).unwrap();
    let archive = |name: &str, files: &[(&str, &[u8])]| {
        let manifest = format!(r#"{{"name": "acme/{name}", "version": "1.0.0"}}"#);
        zip(&[&[("composer.json", manifest.as_bytes())], files].concat())
    };
    let good = archive("good", &[("a.php", b"<?php")]);
    write("good", &good);
    write("torn", &good[..good.len() / 2]);
    write("twice", &archive("twice", &[("a.php", b"one"), ("a.php", b"two")]));
    write("leaves", &archive("leaves", &[("../../a.php", b"x")]));
    write("bomb", &archive("bomb", &[("zeros", &vec![0; 80_000_000])]));
    write("case", &archive("case", &[("a.php", b"x"), ("A.php", b"x")]));
    write("bare", &zip(&[("a.php", b"x")]));

    write("dotgit", &archive("dotgit", &[("git~1/config", b"x")]));
    write("folder", &archive("folder", &[("a/.git::$INDEX_ALLOCATION/", b"")]));
    write("absolute", &archive("absolute", &[("/a.php", b"x")]));
    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(3 << 20).collect();
    write("large", &archive("large", &[("noise", &noise)]));
    // Each folder of such a name would be kept with its whole path.
    write("deep", &archive("deep", &[(&"a/".repeat(30_000), b"")]));
    let mut link = archive("link", &[("a", b"../../../etc/passwd")]);
    let entry = link.windows(4).rposition(|bytes| bytes == b"PK\x01\x02").unwrap();
    link[entry + 40..entry + 42].copy_from_slice(&0o120_777_u16.to_le_bytes());
    write("link", &link);
    let mut local = archive("local", &[("a.php", b"x")]);
    let name = local.windows(5).position(|bytes| bytes == b"a.php").unwrap();
    local[name] = b'b';
    write("local", &local);

    // Programs that look for the end of the list otherwise would find other entries.
    let other = archive("other", &[("evil.php", b"x")]);
    write("more", &[&archive("more", &[]), &other[..4]].concat());
    let mut comment = archive("comment", &[]);
    let length = comment.len() - 2;
    comment[length..].copy_from_slice(&u16::try_from(other.len() + 4).unwrap().to_le_bytes());
    write("comment", &[&comment, &other, &b"more"[..]].concat());

    // Two entries of the central directory lead to the same data.
    let mut overlap = archive("overlap", &[("aaa", &[b'x'; 99]), ("bbb", &[b'x'; 99])]);
    let entries = overlap.windows(4).enumerate();
    let entries = entries.filter(|(_, bytes)| bytes == b"PK\x01\x02");
    let entries: Vec<_> = entries.map(|(place, _)| place).collect();
    let offset = entries[1] + 42;
    overlap.copy_within(offset..offset + 4, entries[2] + 42);
    write("overlap", &overlap);
}

/// A zip archive of these files, whatever their names.
fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut zip, mut directory) = (Vec::new(), Vec::new());
    let count = u16::try_from(files.len()).unwrap().to_le_bytes();
    for (name, content) in files {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        let data = encoder.finish().unwrap();
        // Version 2.0, no flags, deflated, 2022-01-01.
        let mut header = b"\x14\0\0\0\x08\0\0\0\x21\x54".to_vec();
        header.extend(crc32fast::hash(content).to_le_bytes());
        header.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        header.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
        header.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
        let offset = u32::try_from(zip.len()).unwrap().to_le_bytes();
        zip.extend([b"PK\x03\x04", &*header, name.as_bytes(), &data].concat());
        // Made on Unix, no comment, first disk, the mode of a regular file.
        let attributes = b"\0\0\0\0\0\0\0\0\xa4\x81";
        directory.extend([b"PK\x01\x02\x14\x03", &*header, attributes, &offset, name.as_bytes()].concat());
    }
    let size = u32::try_from(directory.len()).unwrap().to_le_bytes();
    let offset = u32::try_from(zip.len()).unwrap().to_le_bytes();
    let end = [b"PK\x05\x06\0\0\0\0", &count[..], &count, &size, &offset, b"\0\0"];
    zip.extend([directory, end.concat()].concat());
    zip
}

#[test]
fn package_belongs_to_the_source_that_published_it_first() {
    let hostile = Hostile::new("");
    hostile.env.build(0);
    hostile.bad.write("composer.json", r#"{"name": "acme/good", "version": "9.9.9"}"#).release("9.9.9");
    let log = hostile.env.build(1);
    assert!(log.contains("acme/good 9.9.9") && log.contains("belongs to source `good`"), "{log}");
    let recipe = |env: &TestEnv, bad: &str| {
        let sources = SOURCES.replace("{name: bad,", &format!("{{name: bad, {bad}"));
        env.write("recipe.yaml", &format!("sources:\n{sources}"));
    };
    let versions = |env: &TestEnv| {
        let p2: Value = serde_json::from_str(&env.read("data/acme/current/p2/acme/good.json")).unwrap();
        p2["packages"]["acme/good"].as_array().unwrap().len()
    };
    assert_eq!(versions(&hostile.env), 1);
    recipe(&hostile.env, "takes_over: [other],");
    hostile.env.build(1);
    recipe(&hostile.env, "takes_over: [good],");
    hostile.env.build(0);
    assert_eq!(versions(&hostile.env), 2);
}

#[test]
fn source_with_too_many_tags_to_report_fails_by_name() {
    let hostile = Hostile::new("limits: {report_entries: 30}\n");
    for n in 0..40 {
        hostile.bad.git(&["tag", &format!("nightly-{n}")]);
    }
    let failures = hostile.failures(&[]);
    assert_failed(&failures, &[("source", "`limits.report_entries`")]);
    let ledger = hostile.env.read("data/acme/ledger.jsonl");
    assert!(!ledger.contains("acme/bad"), "nothing of the source is published: {ledger}");
}

/// A git server that answers every request with these packets, and then with the last one again and again.
fn endless_git_server(packets: &[&str]) -> u16 {
    let packets: Vec<_> = packets.iter().map(|line| format!("{:04x}{line}", line.len() + 4)).collect();
    let again = packets.last().unwrap().repeat(1000);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            lines.take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty())).for_each(drop);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\nConnection: close\r\n\r\n";
            let mut sent = stream.write_all(format!("{head}{}", packets.concat()).as_bytes());
            while sent.is_ok() {
                sent = stream.write_all(again.as_bytes());
            }
        }
    });
    port
}

#[test]
fn endless_answers_of_a_git_server_need_little_memory() {
    let id = "d670460b4b4aece5915caf5c68d12f560a9fe3e4";
    let env = TestEnv::new();
    env.upstream("good")
        .write("composer.json", r#"{"name": "acme/good", "version": "1.0.0"}"#)
        .release("1.0.0");
    let refs = format!("{id} refs/tags/a\n");
    let servers = [
        endless_git_server(&["version 2\n", "capability\n"]),
        endless_git_server(&[&format!("{id} HEAD\0{}\n", "a ".repeat(100))]),
        endless_git_server(&[&refs, &format!("shallow {id}\n")]),
    ];
    let source = |port: &u16| {
        format!("  - {{name: s{port}, git: 'http://127.0.0.1:{port}/x.git', packages: [{{one: ''}}]}}\n")
    };
    let good = "  - {name: good, git: 'https://git.example/good', packages: [{one: ''}]}\n";
    env.configure(1, &(good.to_owned() + &servers.iter().map(source).collect::<String>()));
    // All three together send 192 MiB.
    let mirror = env.command(&["build"]);
    let mut build = Command::new("sh");
    build
        .args(["-c", r#"ulimit -d 196608 && exec "$0" "$@""#])
        .arg(mirror.get_program())
        .args(mirror.get_args());
    let output = build.output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{log}");
    let said = log.matches("its list of branches and tags has more than 67108864 bytes").count();
    assert_eq!(said, servers.len(), "{log}");
    assert!(env.path("data/acme/packages/acme/good-1.0.0.zip").exists());
}

#[test]
fn many_tags_of_one_large_manifest_fail_before_they_fill_the_memory() {
    let hostile = Hostile::new("limits: {metadata: 128KiB, report_entries: 200}\n");
    let source = SOURCES.replace("packages: [{one: ''}]", "packages: [{one: '', tag_is_version: true}]");
    hostile.env.write("recipe.yaml", &format!("sources:\n{source}"));
    let package = |kind: &str, count: usize| {
        let requires: Vec<_> = (0..count).map(|n| format!(r#""acme/x{n}": "1.0.{n}""#)).collect();
        let text =
            format!(r#"{{"name": "acme/{kind}", "type": "{kind}", "require": {{{}}}}}"#, requires.join(", "));
        let blob = hostile.object("blob", text.as_bytes());
        hostile.tree(&[("100644", b"composer.json", &blob)])
    };
    // Not all of the manifests fit; nor do the requirements of a second metapackage.
    let (library, metapackage) = (package("library", 1500), package("metapackage", 1500));
    for n in 0..9 {
        hostile.tag(&format!("2.0.{n}"), &library);
    }
    let failures = hostile.failures(&["1.0.0"]);
    let beyond = failures.iter().filter(|(_, because)| because.contains("more than twice 131072"));
    assert!(beyond.count() >= 2, "{failures:#?}");
    for n in 0..9 {
        hostile.bad.git(&["tag", "-d", &format!("2.0.{n}")]);
        hostile.tag(&format!("3.0.{n}"), &metapackage);
    }
    let failures = hostile.failures(&["1.0.0"]);
    let beyond = failures.iter().filter(|(_, because)| because.contains("exact versions together"));
    assert!(beyond.count() >= 3, "{failures:#?}");
}

#[test]
fn folders_of_many_tags_are_too_much_for_a_report() {
    let hostile = Hostile::new("limits: {report_entries: 50}\n");
    let each = |packages: &str| {
        let source = SOURCES.replace("bad', packages: [{one: ''}]", &format!("bad', packages: [{packages}]"));
        hostile.env.write("recipe.yaml", &format!("sources:\n{source}"));
    };
    let folders = |manifest: &dyn Fn(usize) -> String| {
        let trees: Vec<_> = (0..60)
            .map(|n| {
                let blob = hostile.object("blob", manifest(n).as_bytes());
                (format!("m{n:02}"), hostile.tree(&[("100644", b"composer.json", &blob)]))
            })
            .collect();
        let entries: Vec<_> =
            trees.iter().map(|(name, id)| ("40000", name.as_bytes(), id.as_str())).collect();
        hostile.tree(&entries)
    };
    // Each package of each tag is one that another tag has published.
    let same = folders(&|n| format!(r#"{{"name": "acme/m{n}", "version": "1.0.0"}}"#));
    for n in 0..12 {
        hostile.tag(&format!("2.0.{n}"), &same);
    }
    each("{each: ''}");
    assert_failed(&hostile.failures(&[]), &[("source", "more than 500 versions of packages together")]);
    // No rule makes packages of them.
    each("{one: ''}");
    assert_failed(&hostile.failures(&[]), &[("source", "`limits.report_entries`")]);
}

#[test]
fn messages_quote_only_the_beginning_of_what_upstream_wrote() {
    let hostile = Hostile::new("");
    let manifest = |version: &str, text: &str| {
        let blob = hostile.object("blob", text.as_bytes());
        hostile.tag(version, &hostile.tree(&[("100644", b"composer.json", &blob)]));
    };
    let long = "x".repeat(100_000);
    let requires: Vec<_> = (0..3000).map(|n| format!(r#""acme/x{n}": "{n} {long:.500}""#)).collect();
    let start = r#"{"name": "acme/bad""#;
    manifest("2.0.1", &format!(r#"{start}, "version": "2.0.1", "require": {{{}}}}}"#, requires.join(", ")));
    manifest("2.0.2", &format!(r#"{start}, "version": "2.0.2", "require": {{"{long}": 1}}}}"#));
    manifest("2.0.3", &format!(r#"{start}, "version": "1.0.0+{long}"}}"#));
    manifest("2.0.4", &format!(r#"{{"name": "acme/{long}", "version": "2.0.4"}}"#));
    let empty = hostile.object("blob", b"");
    hostile.package("2.0.5", &[("100644", format!("{}\n", &long[..60_000]).as_bytes(), &empty)]);
    let failures = hostile.failures(&["1.0.0"]);
    assert_failed(
        &failures,
        &[
            ("2.0.1", "and 2995 more"),
            ("2.0.2", "xx… ("),
            ("2.0.3", "its version has 100006 bytes"),
            ("2.0.4", "its name has 100005 bytes"),
            ("2.0.5", "unusable"),
        ],
    );
    let longest = failures.iter().map(|(_, because)| because.len()).max();
    assert!(longest.is_some_and(|longest| longest < 6000), "{longest:?}");
}

#[test]
fn source_that_takes_too_long_to_build_fails_by_name() {
    let hostile = Hostile::new("");
    hostile.env.build(0);
    let configuration = hostile.env.read("mirror.yaml");
    hostile.env.write("mirror.yaml", &format!("{configuration}limits: {{source_deadline: 1ms}}\n"));
    let blobs: Vec<_> = (0..60)
        .map(|n| {
            let text = format!(r#"{{"name": "acme/bad", "version": "2.0.{n}"}}"#);
            (n, hostile.object("blob", text.as_bytes()))
        })
        .collect();
    for (n, blob) in &blobs {
        hostile.tag(&format!("2.0.{n}"), &hostile.tree(&[("100644", b"composer.json", blob)]));
    }
    let failures = hostile.failures(&["1.0.0"]);
    assert!(
        failures.iter().any(|(_, because)| because.contains("`limits.source_deadline`")),
        "{failures:#?}"
    );
    // What was not built in time is built by a cycle that has more.
    hostile.env.write("mirror.yaml", &configuration);
    hostile.env.build(0);
    assert!(hostile.env.read("data/acme/ledger.jsonl").contains(r#""version":"2.0.59""#));
}

#[test]
fn names_that_no_volume_can_have_fail_alone() {
    let hostile = Hostile::new("");
    let manifest = |tag: &str, name: &str, version: &str| {
        let text = format!(r#"{{"name": "{name}", "version": "{version}"}}"#);
        let blob = hostile.object("blob", text.as_bytes());
        hostile.tag(tag, &hostile.tree(&[("100644", b"composer.json", &blob)]));
    };
    let long = "x".repeat(150);
    manifest("2.0.1", &format!("acme/{long}"), &format!("1.0.0+{long}"));
    manifest("2.0.2", &format!("acme/{long}"), "1.0.0");
    let failures = hostile.failures(&["1.0.0"]);
    assert_failed(&failures, &[("2.0.1", "the name of its file is too long")]);
    let ledger = hostile.env.read("data/acme/ledger.jsonl");
    assert!(ledger.contains(&format!("acme/{long}")), "{ledger}");
}
