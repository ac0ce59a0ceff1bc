//! `mirror status` asks the running server, and nothing but the server.

use std::process::Output;

use crate::support::env::TestEnv;
use crate::support::free_port;
use crate::support::http::get;
use crate::support::store::mirror;
use crate::support::until;
use mirror::util::digest::Sha256;
use serde_json::Value;

/// Runs `mirror status` with these arguments; returns its exit code and what it printed.
fn status(env: &TestEnv, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = env.command(&[&["status"], arguments].concat()).output().unwrap();
    (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

#[test]
fn status_shows_what_the_server_publishes_and_what_fails() {
    let (env, upstream, port) = mirror();
    let (code, said) = status(&env, &[]);
    assert_eq!(code, Some(2), "no server runs: {said}");
    assert!(said.contains(&format!("failed to ask `127.0.0.1:{port}`")), "{said}");

    let server = env.serve("serve", port);
    let (code, said) = status(&env, &[]);
    assert_eq!(code, Some(0), "{said}");
    for line in ["acme: fresh", "  Published            2 package versions of 1 package"] {
        assert!(said.lines().any(|found| found == line), "{line}\n{said}");
    }
    assert!(!said.contains("Needs attention") && !said.contains("\n  Failed\n"), "{said}");
    let (_, json) = status(&env, &["--json", "--repository", "acme"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["repositories"][0]["status"], get(port, "/mirror/mirror.json").json());
    let (code, said) = status(&env, &["--repository", "other"]);
    assert_eq!((code, said.trim()), (Some(2), "unknown repository `other`\nhint: the repositories are acme"));

    upstream.write("composer.json", "not JSON").release("1.2.0");
    env.build(1);
    until("the server knows of the failure", || status(&env, &[]).0 == Some(1));
    let (_, said) = status(&env, &[]);
    let failed = said.split("\n  Failed\n").nth(1).unwrap_or_else(|| panic!("{said}"));
    assert!(failed.starts_with("    good 1.2.0: "), "{said}");
    // Also if the configuration has become invalid meanwhile.
    env.write("mirror.yaml", "repositories: nonsense\n");
    assert_eq!(status(&env, &[]).0, Some(1));
    assert_eq!(server.stop(), Some(0));
    assert_eq!(status(&env, &[]).0, Some(64));
}

#[test]
fn status_of_a_private_repository_is_for_the_servers_user() {
    let (env, _, port) = mirror();
    env.write("users", &format!("ci:sha256:{}\n", Sha256::digest(b"token")));
    let config =
        env.read("mirror.yaml").replace("recipe: ./recipe.yaml", "recipe: ./recipe.yaml, users: ./users");
    env.write("mirror.yaml", &config);
    env.build(0);
    let _server = env.serve("serve", port);
    assert_eq!(get(port, "/mirror/mirror.json").status, 401);
    let (code, said) = status(&env, &[]);
    assert!(code == Some(0) && said.starts_with("acme: fresh\n"), "{said}");
    // With another path of the configuration, the server is asked at its address.
    let elsewhere = env.path("copy.yaml");
    std::fs::write(&elsewhere, config).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mirror"));
    let output = command.arg("status").arg("--config").arg(&elsewhere).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("`/mirror/mirror.json` is private\nhint: run `mirror status` where"), "{said}");
}

#[test]
fn status_is_asked_at_the_address_without_a_local_socket() {
    let (env, _, port) = mirror();
    let _server = env.serve("serve", port);
    let elsewhere = env.path("copy.yaml");
    std::fs::copy(env.path("mirror.yaml"), &elsewhere).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mirror"));
    let output = command.arg("status").arg("--config").arg(&elsewhere).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.starts_with("acme: fresh\n"), "{said}");
}

#[test]
fn errors_at_the_start_of_a_server_have_the_format_of_its_log() {
    let (env, port) = (TestEnv::new(), free_port());
    env.configure(port, "  - {name: good, git: 'https://git.example/good', packages: [{one: ''}]}\n");
    env.write("data", "a file, not a folder");
    let output = env.mirror("run");
    assert_eq!(output.status.code(), Some(2));
    let line: Value = serde_json::from_slice(&output.stderr).unwrap();
    let message = line["message"].as_str().unwrap();
    assert!(line["level"] == "ERROR" && message.contains("is a file\nhint: remove the file"), "{line}");
}
