//! What users and monitors rely on works whatever an upstream or a receiver of notifications does, also while the configuration
//! changes.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use mirror::util::digest::Sha256;

use crate::support::env::TestEnv;
use crate::support::http::{get, request};
use crate::support::{free_port, until};

/// How soon a change of the users takes effect. The machine may be busy.
const SOON: Duration = Duration::from_secs(10);

fn within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn removed_user_is_refused_while_upstream_and_receiver_hang_and_the_configuration_changes() {
    let (env, port) = (TestEnv::new(), free_port());
    // The system accepts connections, and nobody answers on them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
    env.configure(port, "  - {name: modules, git: 'https://git.example/modules', packages: [{one: ''}]}\n");
    let modules = env.upstream("modules");
    modules.write("composer.json", r#"{"name": "acme/a", "version": "1.0.0"}"#).release("1.0.0");
    for (recipe, git) in [
        ("stalled.yaml", format!("http://{}/x", silent.local_addr().unwrap())),
        ("broken.yaml", "https://git.example/missing".to_owned()),
    ] {
        let source = format!("sources: [{{name: one, git: '{git}', packages: [{{one: ''}}]}}]\n");
        env.write(recipe, &source);
    }
    let users = |token: &str| format!("ci:sha256:{}\n", Sha256::digest(token.as_bytes()));
    env.write("users", &users("token-0"));
    let repositories = format!(
        "repositories:\n  - {{name: stalled, url: 'http://127.0.0.1:{port}/stalled/', recipe: ./stalled.yaml}}\n  - {{name: broken, url: 'http://127.0.0.1:{port}/broken/', recipe: ./broken.yaml}}\n"
    );
    let config = env.read("mirror.yaml");
    let config = config.replace("recipe: ./recipe.yaml", "recipe: ./recipe.yaml, users: ./users");
    let config = config.replace("repositories:\n", &repositories).replace("timeout: 2s", "timeout: 600s");
    let config = format!(
        "{config}build: {{parallel_repositories: 3}}\nnotify: [{{url: 'http://{}/hook'}}]\n",
        receiver.local_addr().unwrap()
    );
    env.write("mirror.yaml", &config);

    let server = env.start("run");
    let authorization = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let status = |token: &str| request(port, "GET", "/mirror/packages.json", &authorization(token)).status;
    until("the repository is published", || status("token-0") == 200);
    // The failure of the broken repository is being reported.
    let _hook = receiver.accept().unwrap();

    for round in 1..=3 {
        let (old, new) = (format!("token-{}", round - 1), format!("token-{round}"));
        env.write("mirror.yaml", &format!("{config}site: {{name: Round {round}}}\n"));
        env.write("users", &users(&new));
        within(SOON, "the removed user is refused", || status(&old) == 401);
        within(SOON, "the new user is admitted", || status(&new) == 200);
        within(SOON, "the status is that of the new configuration", || {
            let state = get(port, "/stalled/mirror.json");
            state.status == 200 && state.json()["site"]["name"] == format!("Round {round}")
        });
    }
    // The repository without a hanging source goes on, too.
    modules.write("composer.json", r#"{"name": "acme/a", "version": "2.0.0"}"#).release("2.0.0");
    env.write("mirror.yaml", &config);
    within(SOON * 2, "a new version is published", || {
        let path = "/mirror/packages/acme/a-2.0.0.zip";
        request(port, "HEAD", path, &authorization("token-3")).status == 200
    });
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn moved_repository_is_served_under_its_new_url_although_every_upstream_hangs() {
    let (env, port) = (TestEnv::new(), free_port());
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    env.configure(port, "");
    env.upstream("parts").write("part.json", r#"{"name": "acme/project"}"#).release("1.0.0");
    env.upstream("shop")
        .write(
            "composer.json",
            r#"{"name": "acme/shop", "version": "1.0.0", "require": {"acme/x": "1.0.0"}}"#,
        )
        .release("1.0.0");
    env.write(
        "recipe.yaml",
        "resources: {parts: {git: 'https://git.example/parts'}}\nsources:\n  - name: shop\n    git: https://git.example/shop\n    packages:\n      - {one: ''}\n      - derive:\n          package: acme/project\n          part: [{resource: parts, path: part.json}]\n          set: {version: '{tag}', type: project, repositories: [{type: composer, url: '{base_url}'}]}\n          require: [root]\n",
    );
    env.build(0);

    let stalled = format!(
        "sources: [{{name: one, git: 'http://{}/x', packages: [{{one: ''}}]}}]\n",
        silent.local_addr().unwrap()
    );
    env.write("stalled.yaml", &stalled);
    let before = env.read("mirror.yaml");
    let other = format!(
        "repositories:\n  - {{name: stalled, url: 'http://127.0.0.1:{port}/stalled/', recipe: ./stalled.yaml}}\n"
    );
    let files = format!("file://{}/", env.path("git").display());
    let working = before.replace("repositories:\n", &other).replace("timeout: 2s", "timeout: 600s");
    // The other repository takes the only place for a cycle.
    let working = format!("{working}build: {{parallel_repositories: 1}}\n");
    let hanging = working.replace(&files, &format!("http://{}/", silent.local_addr().unwrap()));
    env.write("mirror.yaml", &hanging);
    let server = env.start("run");
    until("the repository is served", || get(port, "/mirror/packages.json").status == 200);

    env.write("mirror.yaml", &hanging.replace("/mirror/", "/elsewhere/"));
    within(SOON, "it is served under its new URL", || get(port, "/elsewhere/packages.json").status == 200);
    assert_eq!(get(port, "/mirror/packages.json").status, 404);
    for package in ["shop", "project"] {
        let metadata = get(port, &format!("/elsewhere/p2/acme/{package}.json")).json();
        let url =
            metadata["packages"][format!("acme/{package}")][0]["dist"]["url"].as_str().unwrap().to_owned();
        let path = url.strip_prefix(&format!("http://127.0.0.1:{port}")).unwrap();
        assert!(path.starts_with("/elsewhere/"), "{path}");
        assert_eq!(get(port, path).status, 200, "{path}");
    }
    assert_eq!(server.stop(), Some(0));

    // What was made from the archives is what a build from git gives.
    env.write("mirror.yaml", &before.replace("/mirror/", "/elsewhere/"));
    env.build(0);
    assert_eq!(
        env.read("data/acme/ledger.jsonl").lines().count(),
        3,
        "the project has one line for each URL"
    );
    let verified = env.command(&["verify", "--rebuild"]).output().unwrap();
    let said = String::from_utf8_lossy(&[verified.stdout, verified.stderr].concat()).into_owned();
    assert!(!said.contains("different") && said.contains("another base URL"), "{said}");
}

#[test]
fn snapshot_that_cannot_be_served_concerns_its_own_repository_only() {
    let (env, port) = (TestEnv::new(), free_port());
    env.configure(port, "  - {name: modules, git: 'https://git.example/modules', packages: [{one: ''}]}\n");
    let modules = env.upstream("modules");
    modules.write("composer.json", r#"{"name": "acme/a", "version": "1.0.0"}"#).release("1.0.0");
    let other = format!(
        "repositories:\n  - {{name: other, url: 'http://127.0.0.1:{port}/other/', recipe: ./recipe.yaml}}\n"
    );
    env.write("mirror.yaml", &env.read("mirror.yaml").replace("repositories:\n", &other));
    env.build(0);
    // HTTP has no such date.
    let manifest = "data/other/snapshots/1/manifest.json";
    let mut json: serde_json::Value = serde_json::from_str(&env.read(manifest)).unwrap();
    json["files"]["packages.json"]["last_modified"] = (-1).into();
    env.write(manifest, &json.to_string());
    let server = env.start("serve");
    until("the good repository is served", || get(port, "/mirror/packages.json").status == 200);
    assert_eq!(get(port, "/other/packages.json").status, 503);
    until("the other one is named", || {
        let log = env.read("log");
        log.contains("not a date of HTTP") && log.contains("other")
    });
    server.stop();
}
