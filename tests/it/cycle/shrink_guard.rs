//! `build.max_removed`: metadata that would lose too many versions is not published.

use crate::support::git::WorkTree;
use crate::support::store::{all_archives_answer, mirror, names, read, release};
use serde_json::Value;

#[test]
fn shrink_guard_keeps_versions_published() {
    let (env, _, port) = mirror();
    // A version that a snapshot names and the ledger does not have.
    let include = names(&env, "data/acme/snapshots/1/include").pop().unwrap();
    let folder = "data/acme/snapshots/1";
    let path = format!("{folder}/include/{include}");
    let more = read(&env, &path).replacen(r#""1.0.0":"#, r#""0.9.0":{},"0.8.0":{},"1.0.0":"#, 1);
    std::fs::remove_file(env.path(&path)).unwrap();
    env.write(&path, &more);
    let mut manifest: Value = serde_json::from_str(&read(&env, &format!("{folder}/manifest.json"))).unwrap();
    let file = &mut manifest["files"][format!("include/{include}")];
    file["sha256"] = mirror::util::digest::Sha256::digest(more.as_bytes()).to_string().into();
    file["size"] = more.len().into();
    std::fs::remove_file(env.path(&format!("{folder}/manifest.json"))).unwrap();
    env.write(&format!("{folder}/manifest.json"), &manifest.to_string());

    release(&WorkTree { path: env.path("git/good") }, "1.2.0", "first");
    let log = env.build(2);
    assert!(
        log.contains("the metadata would lose 2 of 4 versions (50.0 %, allowed are 3 %), such as acme/good 0.8.0, acme/good 0.9.0"),
        "{log}"
    );
    assert_eq!(names(&env, "data/acme/snapshots"), ["1"]);
    let yaml = read(&env, "mirror.yaml");
    env.write("mirror.yaml", &format!("{yaml}build: {{max_removed: 50%}}\n"));
    env.build(0);
    assert_eq!(names(&env, "data/acme/snapshots"), ["1", "2"]);
    let _server = env.serve("serve", port);
    assert_eq!(all_archives_answer(&env, port), 3);
}
