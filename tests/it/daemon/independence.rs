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
