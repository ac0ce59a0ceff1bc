//! `mirror verify`: against the ledger, git and another mirror.

use crate::support::env::TestEnv;
use crate::support::free_port;
use crate::support::http::get;
use crate::support::store::{GOOD, all_archives_answer, command, flip, mirror, read, release};

#[test]
fn verify_finds_damage_and_repairs_from_git() {
    let (env, upstream, port) = mirror();
    let well = command(&env, &["verify"], 0);
    assert!(
        well.contains(
            "acme: 2 archives with 520 bytes, 2 lines of the ledger, snapshot 1, 5 URLs: no problems"
        ),
        "{well}"
    );
    let well = command(&env, &["verify", "--rebuild"], 0);
    assert!(well.contains("acme: 2 rebuilt versions are equal"), "{well}");

    let zip = |version: &str| env.path(&format!("data/acme/packages/acme/good-{version}.zip"));
    let whole = std::fs::read(zip("1.0.0")).unwrap();
    flip(&zip("1.0.0"));
    std::fs::remove_file(zip("1.1.0")).unwrap();
    let server = env.serve("serve", port);
    for version in ["1.0.0", "1.1.0"] {
        assert_eq!(get(port, &format!("/mirror/packages/acme/good-{version}.zip")).status, 503);
    }
    let text = command(&env, &["verify"], 1);
    assert!(text.contains("good-1.0.0.zip` is damaged: its SHA-256 is"), "{text}");
    assert!(text.contains("good-1.1.0.zip` is missing"), "{text}");
    assert!(text.contains(": 2 problems"), "{text}");

    // An archive whose commit git no longer has stays damaged and is never replaced by other bytes.
    release(&upstream, "1.1.0", "moved");
    let text = command(&env, &["verify", "--repair"], 1);
    assert!(text.contains("acme/good 1.0.0: repaired"), "{text}");
    assert!(text.contains("acme/good 1.1.0: not repaired: upstream moved `1.1.0` to commit"), "{text}");
    assert!(std::fs::read(zip("1.0.0")).unwrap() == whole && !zip("1.1.0").exists());
    assert_eq!(get(port, "/mirror/packages/acme/good-1.0.0.zip").status, 200);
    assert_eq!(get(port, "/mirror/packages/acme/good-1.1.0.zip").status, 503);
    upstream.git(&["tag", "-f", "1.1.0", "HEAD^{tree}"]);
    let text = command(&env, &["verify", "--repair"], 1);
    assert!(text.contains("not repaired: `refs/tags/1.1.0` points to a tree, not to a commit"), "{text}");
    upstream.git(&["tag", "-f", "1.1.0", "HEAD~1"]);
    command(&env, &["verify", "--repair"], 0);
    assert_eq!(all_archives_answer(&env, port), 2);
    server.stop();

    flip(&env.path("data/acme/snapshots/1/p2/acme/good.json"));
    assert!(command(&env, &["verify"], 1).contains("snapshot 1: `"));
    let ledger = read(&env, "data/acme/ledger.jsonl");
    env.write("data/acme/ledger.jsonl", &ledger.replacen("\"size\":260", "\"size\":261", 1));
    assert!(command(&env, &["verify"], 2).contains("line 2 does not follow line 1"));
}

#[test]
fn verify_compares_with_another_mirror() {
    let (one, _, port) = mirror();
    let other = TestEnv::new();
    let upstream = other.upstream("good");
    release(&upstream, "1.0.0", "first");
    release(&upstream, "1.1.0", "something else");
    release(&upstream, "1.2.0", "first");
    other.configure(free_port(), GOOD);
    other.build(0);
    let _server = one.serve("serve", port);
    let url = format!("http://127.0.0.1:{port}/mirror");
    let text = command(&one, &["verify", "--against", &url], 0);
    assert!(text.contains("acme: 2 versions are equal, 0 differ, 0 are only here, 0 only at"), "{text}");
    let text = command(&other, &["verify", "--against", &url], 1);
    assert!(text.contains("acme/good 1.1.0: SHA-1 "), "{text}");
    assert!(text.contains("acme: 1 versions are equal, 1 differ, 1 are only here, 0 only at"), "{text}");
    let text = command(&other, &["verify", "--against", &format!("http://127.0.0.1:{}/", free_port())], 2);
    assert!(text.contains("Connection refused"), "{text}");
    for nonsense in ["nonsense", "127.0.0.1:8080", "localhost:8080", "file:///mirror/"] {
        let text = command(&other, &["verify", "--against", nonsense], 64);
        assert!(text.contains("expected an http or https URL"), "{text}");
    }
}
