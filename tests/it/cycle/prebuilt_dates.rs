//! The dates of prebuilt archives: those of the commits that added them.

use std::process::Command;

use mirror::package::zip_writer::{EntryType, ZipWriter};
use serde_json::Value;

use crate::support::env::TestEnv;
use crate::support::free_port;
use crate::support::git::{WorkTree, environment, git};

const RECIPE: &str = "resources:
  extra: {git: 'https://git.example/extra', ref: main}
archives:
  - {name: extra, resource: extra, path: zips}
";

fn add_archive(upstream: &WorkTree, name: &str) {
    let mut zip = ZipWriter::new(Vec::new());
    let manifest = format!(r#"{{"name": "acme/{name}", "version": "1.0.0"}}"#);
    zip.add("composer.json", EntryType::File, manifest.as_bytes()).unwrap();
    std::fs::create_dir_all(upstream.path.join("zips")).unwrap();
    std::fs::write(upstream.path.join(format!("zips/{name}-1.0.0.zip")), zip.finish().unwrap()).unwrap();
}

/// Commits everything on a day of 2025.
fn commit(upstream: &WorkTree, day: &str) {
    upstream.git(&["add", "-A"]);
    run_git(upstream, day, &["commit", "-q", "--allow-empty", "-m", day]);
}

fn run_git(upstream: &WorkTree, day: &str, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.current_dir(&upstream.path).args(arguments).envs(environment());
    command.env("GIT_COMMITTER_DATE", format!("2025-{day}T12:00:00Z"));
    assert!(command.status().unwrap().success());
}

fn times(env: &TestEnv, names: &[&str]) -> Vec<String> {
    let time = |name: &&str| {
        let text = env.read(&format!("data/acme/current/p2/acme/{name}.json"));
        let file: Value = serde_json::from_str(&text).unwrap();
        file["packages"][format!("acme/{name}")][0]["time"].as_str().unwrap()[..10].to_owned()
    };
    names.iter().map(time).collect()
}

fn configured() -> TestEnv {
    let env = TestEnv::new();
    env.configure(free_port(), "");
    env.write("recipe.yaml", RECIPE);
    env
}

#[test]
fn archive_has_the_date_of_the_commit_that_added_it() {
    let env = configured();
    let extra = env.upstream("extra");
    add_archive(&extra, "first");
    commit(&extra, "01-01");
    extra.write("README", "more");
    commit(&extra, "01-15");
    // On a branch that is merged later, and moved into the folder after it.
    extra.git(&["checkout", "-q", "-b", "branch"]);
    add_archive(&extra, "second");
    commit(&extra, "02-01");
    extra.git(&["checkout", "-q", "main"]);
    add_archive(&extra, "third");
    commit(&extra, "03-01");
    run_git(&extra, "04-01", &["merge", "-q", "--no-edit", "branch"]);
    extra.write("README", "still more");
    commit(&extra, "05-01");
    env.build(0);
    let names = ["first", "second", "third"];
    assert_eq!(times(&env, &names), ["2025-01-01", "2025-02-01", "2025-03-01"]);
    let before = env.volume();
    env.build(0);
    assert_eq!(env.volume(), before);
    add_archive(&extra, "fourth");
    commit(&extra, "06-01");
    env.build(0);
    assert_eq!(times(&env, &["third", "fourth"]), ["2025-03-01", "2025-06-01"]);
}

#[test]
fn date_is_corrected_once_the_history_is_known() {
    let env = configured();
    let whole = WorkTree::init(env.path("whole"));
    add_archive(&whole, "first");
    commit(&whole, "01-01");
    whole.write("README", "more");
    commit(&whole, "05-01");
    let url = format!("file://{}", whole.path.display());
    git(env.root(), &["clone", "-q", "--depth", "1", &url, "git/extra"]);
    let log = env.build(0);
    assert!(log.contains("1 archives were added before the history begins"), "{log}");
    assert_eq!(times(&env, &["first"]), ["2025-05-01"]);
    let ledger = env.read("data/acme/ledger.jsonl");
    let before = env.volume();
    env.build(0);
    assert_eq!(env.volume(), before, "what is not known is not looked for in each cycle");

    whole.write("README", "still more");
    commit(&whole, "06-01");
    git(&env.path("git/extra"), &["pull", "-q", "--unshallow"]);
    env.build(0);
    assert_eq!(times(&env, &["first"]), ["2025-01-01"]);
    assert_eq!(env.read("data/acme/ledger.jsonl"), ledger, "the ledger is never changed");
}
