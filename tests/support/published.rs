//! A mirror that has published two versions of a package, and what its volume holds.

use serde_json::Value;

use super::lab::{Lab, Upstream, free_port, get};
use mirror::util::digest::Sha1;

pub const GOOD: &str = "  - name: good\n    git: https://git.example/good\n    packages: [{one: ''}]\n";

pub fn release(upstream: &Upstream, version: &str, text: &str) {
    upstream
        .write(
            "composer.json",
            &format!(r#"{{"name": "acme/good", "version": "{version}"}}"#),
        )
        .write("text", text)
        .release(version);
}

/// A mirror that has published 1.0.0 and 1.1.0 in snapshot 1.
pub fn mirror() -> (Lab, Upstream, u16) {
    let (lab, port) = (Lab::new(), free_port());
    let upstream = lab.upstream("good");
    release(&upstream, "1.0.0", "first");
    release(&upstream, "1.1.0", "first");
    lab.configure(port, GOOD);
    lab.build(0);
    (lab, upstream, port)
}

pub fn read(lab: &Lab, path: &str) -> String {
    std::fs::read_to_string(lab.path(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

pub fn names(lab: &Lab, folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(lab.path(folder)).unwrap();
    let mut names: Vec<_> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub fn ledger(lab: &Lab) -> Vec<Value> {
    read(lab, "data/acme/ledger.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Asks for every archive in the ledger; each must be answered with the ledger's bytes.
pub fn all_archives_answer(lab: &Lab, port: u16) -> usize {
    let releases = ledger(lab);
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
