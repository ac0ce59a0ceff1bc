//! A ledger that is torn, cut short or changed, and its date.

use crate::support::http::get;
use crate::support::store::{all_archives_answer, mirror, read, release, told};
use crate::support::until;

#[test]
fn torn_ledger_line_is_skipped_unless_a_snapshot_needs_it() {
    let (env, upstream, port) = mirror();
    let whole = read(&env, "data/acme/ledger.jsonl");
    env.write("data/acme/ledger.jsonl", &format!("{whole}{{\"number\":3,\"prev"));
    release(&upstream, "1.2.0", "first");
    assert!(env.build(0).contains("ignoring an incomplete last line"));
    let text = read(&env, "data/acme/ledger.jsonl");
    assert!(text.starts_with(&whole) && text.lines().count() == 3, "{text}");

    let first: String = text.split_inclusive('\n').take(1).collect();
    env.write("data/acme/ledger.jsonl", &first);
    let before = env.volume();
    let log = env.build(2);
    assert!(log.contains("has lost lines: it has 1, and snapshot 2 needs 3"), "{log}");
    assert_eq!(env.volume(), before);
    env.write("data/acme/ledger.jsonl", &text);
    env.build(0);
    let _server = env.serve("serve", port);
    assert_eq!(all_archives_answer(&env, port), 3);
}

/// Two cycles within a second give two dates; otherwise a client with the old file would get 304.
#[test]
fn ledger_date_changes_with_its_bytes() {
    let (env, upstream, port) = mirror();
    let dates = ["1.2.0", "1.3.0", "1.4.0"].map(|version| {
        release(&upstream, version, "first");
        env.build(0);
        let _server = env.serve("serve", port);
        let answer = get(port, "/mirror/ledger.jsonl");
        answer.header("last-modified").unwrap().to_owned()
    });
    let distinct: std::collections::BTreeSet<_> = dates.iter().collect();
    assert_eq!(distinct.len(), 3, "{dates:?}");
}

#[test]
fn repository_with_damaged_ledger_stops_alone_and_recovers() {
    let (env, _, port) = mirror();
    let config = read(&env, "mirror.yaml");
    let second = format!(
        "\n  - {{name: second, url: 'http://127.0.0.1:{port}/second/', recipe: ./recipe.yaml}}\ngit:"
    );
    env.write("mirror.yaml", &config.replace("\ngit:", &second));
    env.build(0);
    let whole = read(&env, "data/acme/ledger.jsonl");
    let cut = whole.lines().next().unwrap().to_owned() + "\n";
    let changed = whole.replacen("\"size\":", "\"size\":1", 1);
    for (ledger, words) in [(cut, "has lost lines"), (changed, "line 2 does not follow line 1")] {
        env.write("data/acme/ledger.jsonl", &ledger);
        let log = env.build(1);
        assert!(log.contains(words), "{log}");
        let server = env.serve("run", port);
        assert_eq!(get(port, "/second/p2/acme/good.json").status, 200);
        assert_eq!(get(port, "/mirror/p2/acme/good.json").status, 503);
        until("the status reports it", || told(port, "/mirror/")["error"].to_string().contains(words));
        assert_eq!(told(port, "/second/")["state"], "fresh");
        assert!(get(port, "/mirror/status.html").text().contains(words));
        env.write("data/acme/ledger.jsonl", &whole);
        until("it is served again", || get(port, "/mirror/p2/acme/good.json").status == 200);
        until("the status reports it", || told(port, "/mirror/")["state"] == "fresh");
        server.stop();
    }
    assert_eq!(read(&env, "data/acme/ledger.jsonl"), whole);
}
