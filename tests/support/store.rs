//! A mirror that has published two versions of a package, and what its volume holds.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::env::TestEnv;
use super::free_port;
use super::git::WorkTree;
use super::http::get;
use mirror::util::digest::Sha1;

pub const GOOD: &str = "  - name: good\n    git: https://git.example/good\n    packages: [{one: ''}]\n";

pub fn release(upstream: &WorkTree, version: &str, text: &str) {
    upstream
        .write("composer.json", &format!(r#"{{"name": "acme/good", "version": "{version}"}}"#))
        .write("text", text)
        .release(version);
}

/// A mirror that has published 1.0.0 and 1.1.0 in snapshot 1.
pub fn mirror() -> (TestEnv, WorkTree, u16) {
    let (env, port) = (TestEnv::new(), free_port());
    let upstream = env.upstream("good");
    release(&upstream, "1.0.0", "first");
    release(&upstream, "1.1.0", "first");
    env.configure(port, GOOD);
    env.build(0);
    (env, upstream, port)
}

pub fn read(env: &TestEnv, path: &str) -> String {
    std::fs::read_to_string(env.path(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

pub fn names(env: &TestEnv, folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(env.path(folder)).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub fn ledger(env: &TestEnv) -> Vec<Value> {
    read(env, "data/acme/ledger.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Requests every archive in the ledger and checks its bytes. Returns their number.
pub fn all_archives_answer(env: &TestEnv, port: u16) -> usize {
    let releases = ledger(env);
    for release in &releases {
        let path = format!(
            "/mirror/packages/{}-{}.zip",
            release["name"].as_str().unwrap(),
            release["version"].as_str().unwrap()
        );
        let answer = get(port, &path);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(Sha1::digest(&answer.body).to_string(), release["sha1"], "{path}");
    }
    releases.len()
}

/// What `mirror.json` says of the repository.
pub fn told(port: u16, base: &str) -> Value {
    let answer = get(port, &format!("{base}mirror.json"));
    serde_json::from_slice::<Value>(&answer.body).unwrap_or_default()["repository"].take()
}

/// Runs `mirror` with these arguments, which must exit with `code`, and returns what it printed.
pub fn command(env: &TestEnv, arguments: &[&str], code: i32) -> String {
    let mut mirror = Command::new(env!("CARGO_BIN_EXE_mirror"));
    let output = mirror.args(arguments).arg("--config").arg(env.path("mirror.yaml")).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

/// Flips one bit of a file in place and keeps its date.
pub fn flip(path: &Path) {
    let found = std::fs::metadata(path).unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(found.modified().unwrap()).unwrap();
}
