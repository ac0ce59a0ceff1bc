//! Snapshots: damaged ones, the one that is served, and other instances that follow.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::env::MirrorProcess;
use crate::support::http::get;
use crate::support::store::{all_archives_answer, command, mirror, names, read, release, told};
use crate::support::{free_port, run, until};

#[test]
fn newest_intact_snapshot_is_served() {
    let (env, upstream, port) = mirror();
    release(&upstream, "1.2.0", "first");
    env.build(0);
    for damage in ["packages.json", "p2/acme/good.json", "manifest.json", "report.json"] {
        let newest = names(&env, "data/acme/snapshots").pop().unwrap();
        let file = env.path(&format!("data/acme/snapshots/{newest}/{damage}"));
        // Write a new file, because equal files of several snapshots are hard links to one.
        let text = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, &text[..text.len() - 1]).unwrap();
        let server = env.serve("serve", port);
        assert!(get(port, "/mirror/p2/acme/good.json").status == 200, "{damage}");
        server.stop();
        release(&upstream, &format!("1.3.{newest}"), "first");
        let log = env.build(0);
        let words = match damage {
            "report.json" => "failed to read the report",
            _ => "skipping a damaged snapshot",
        };
        assert!(log.contains(words), "{damage}: {log}");
        let next: u64 = newest.parse::<u64>().unwrap() + 1;
        assert!(env.path(&format!("data/acme/snapshots/{next}")).exists(), "{damage}");
    }
    let _server = env.serve("serve", port);
    assert_eq!(all_archives_answer(&env, port), 7);
}

/// Equal files of several snapshots are hard links to one.
#[test]
fn damage_shared_by_all_snapshots_is_repaired() {
    let (env, upstream, port) = mirror();
    for version in ["1.2.0", "1.3.0"] {
        release(&upstream, version, "first");
        env.build(0);
    }
    let includes = || -> Vec<String> { names(&env, "data/acme/current/include") };
    let before = includes();
    assert_eq!(before.len(), 3);
    let style = env.path("data/acme/current/pages/style.css");
    let text = std::fs::read(&style).unwrap();
    run(Command::new("chmod").arg("u+w").arg(&style));
    std::fs::write(&style, [b"x", &text[1..]].concat()).unwrap();
    let server = env.serve("serve", port);
    assert_eq!(all_archives_answer(&env, port), 4);
    assert_eq!(get(port, "/mirror/packages.json").status, 200);
    assert_eq!(get(port, "/mirror/pages/style.css").status, 503);
    server.stop();
    env.build(0);
    assert_eq!(includes(), before, "what is out there keeps answering");
    let _server = env.serve("serve", port);
    let repaired = get(port, "/mirror/pages/style.css");
    assert_eq!((repaired.status, &repaired.body), (200, &text));
    assert_eq!(all_archives_answer(&env, port), 4);
    // A rollback can still be ended.
    release(&upstream, "1.4.0", "first");
    env.build(0);
    command(&env, &["rollback"], 0);
    let style = env.path("data/acme/current/pages/style.css");
    std::fs::write(&style, [b"y", &text[1..]].concat()).unwrap();
    command(&env, &["rollback", "--end"], 0);
    env.build(0);
    assert_eq!(std::fs::read(env.path("data/acme/current/pages/style.css")).unwrap(), text);
}

#[test]
fn running_mirror_repairs_damaged_metadata() {
    let (env, _, port) = mirror();
    let file = env.path("data/acme/current/packages.json");
    let text = std::fs::read(&file).unwrap();
    std::fs::write(&file, [b"x", &text[1..]].concat()).unwrap();
    let _server = env.serve("run", port);
    until("it is repaired", || get(port, "/mirror/packages.json").status == 200);
    until("the status reports it", || told(port, "/mirror/")["state"] == "fresh");
}

#[test]
fn unpublished_snapshot_is_published_once_possible() {
    let (env, _, _) = mirror();
    let zip = env.path("data/acme/packages/acme/good-1.0.0.zip");
    let whole = std::fs::read(&zip).unwrap();
    std::fs::write(&zip, "no archive").unwrap();
    // The previous report, which has the failure, is lost.
    for snapshot in names(&env, "data/acme/snapshots") {
        std::fs::remove_dir_all(env.path("data/acme/snapshots").join(snapshot)).unwrap();
    }
    let has_it = || read(&env, "data/acme/current/p2/acme/good.json").contains("\"1.0.0\"");
    env.build(1);
    assert!(!has_it());
    let log = env.build(1);
    assert!(
        log.contains("good-1.0.0.zip") && log.contains("could not be read"),
        "each says why it is not complete: {log}"
    );
    std::fs::write(&zip, whole).unwrap();
    env.build(0);
    assert!(has_it());
    let before = env.volume();
    env.build(0);
    assert_eq!(env.volume(), before);
}

#[test]
fn current_link_is_repaired() {
    let (env, upstream, _) = mirror();
    release(&upstream, "1.2.0", "first");
    env.build(0);
    let link = env.path("data/acme/current");
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("snapshots/1", &link).unwrap();
    env.build(0);
    assert_eq!(std::fs::read_link(&link).unwrap(), Path::new("snapshots/2"));
}

#[test]
fn older_snapshot_is_not_served_while_a_newer_one_is_away_for_a_moment() {
    let (env, upstream, port) = mirror();
    release(&upstream, "1.2.0", "first");
    env.build(0);
    let server = env.serve("serve", port);
    let is_served = || get(port, "/mirror/p2/acme/good.json").text().contains("\"1.2.0\"");
    assert!(is_served());
    let (newest, away) = (env.path("data/acme/snapshots/2"), env.path("away"));
    // As a builder does that takes over what another one has published, for longer than a server takes to look.
    std::fs::rename(&newest, &away).unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        assert!(is_served(), "after {:?}", began.elapsed());
    }
    std::fs::rename(&away, &newest).unwrap();
    assert!(is_served());
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn other_instances_follow_published_snapshots() {
    let (env, upstream, port) = mirror();
    let _running = env.serve("run", port);
    let other = free_port();
    let yaml = read(&env, "mirror.yaml");
    env.write(
        "other/mirror.yaml",
        &yaml
            .replace(&format!("['127.0.0.1:{port}']"), &format!("['127.0.0.1:{other}']"))
            .replace("./recipe.yaml", "../recipe.yaml"),
    );
    let serving = Command::new(env!("CARGO_BIN_EXE_mirror"))
        .args(["serve", "--config"])
        .arg(env.path("other/mirror.yaml"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _serving = MirrorProcess::new(serving);
    release(&upstream, "1.2.0", "first");
    env.build(0);
    for port in [port, other] {
        until("the new snapshot is followed", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
                && String::from_utf8_lossy(&get(port, "/mirror/p2/acme/good.json").body).contains("1.2.0")
        });
        assert_eq!(all_archives_answer(&env, port), 3);
    }
}

#[test]
fn unservable_newer_snapshot_is_reported() {
    let (env, upstream, port) = mirror();
    let server = env.serve("serve", port);
    assert_eq!(told(port, "/mirror/")["state"], "fresh");
    server.suspend();
    release(&upstream, "1.2.0", "first");
    env.build(0);
    let whole = read(&env, "data/acme/ledger.jsonl");
    env.write("data/acme/ledger.jsonl", &whole[..whole.len() - 100]);
    server.signal("CONT");
    until("it is reported", || told(port, "/mirror/")["state"] == "incomplete");
    let because = told(port, "/mirror/")["unserved"].to_string();
    assert!(because.contains("acme/ledger.jsonl"), "{because}");
    assert!(!because.contains(&*env.path("").to_string_lossy()), "{because}");
    assert_eq!(get(port, "/mirror/packages/acme/good-1.0.0.zip").status, 200);
    env.write("data/acme/ledger.jsonl", &whole);
    until("everything is fresh", || told(port, "/mirror/")["state"] == "fresh");
}
