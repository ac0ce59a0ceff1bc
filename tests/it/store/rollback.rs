//! `mirror rollback`.

use std::process::Command;

use crate::support::http::get;
use crate::support::store::{all_archives_answer, command, ledger, mirror, release, told};
use crate::support::{run, until};
use serde_json::Value;

#[test]
fn rollback_restores_metadata_until_ended() {
    let (env, upstream, port) = mirror();
    command(&env, &["rollback"], 2);
    release(&upstream, "1.2.0", "first");
    env.build(0);
    let _server = env.serve("run", port);
    let versions = || {
        let p2: Value = serde_json::from_slice(&get(port, "/mirror/p2/acme/good.json").body).unwrap();
        p2["packages"]["acme/good"].as_array().unwrap().len()
    };
    let date = || get(port, "/mirror/p2/acme/good.json").header("last-modified").unwrap().to_owned();
    let parse = |date: &str| httpdate(date);
    let root: Value = serde_json::from_slice(&get(port, "/mirror/packages.json").body).unwrap();
    let include = root["includes"].as_object().unwrap().keys().next().unwrap().replace('$', "%24");
    let (before, new) = (date(), versions());
    assert_eq!(new, 3);
    let text = command(&env, &["rollback"], 0);
    assert!(text.contains("snapshot 3 has the content of snapshot 1"), "{text}");
    until("the rollback is served", || versions() == 2);
    assert!(parse(&date()) > parse(&before), "{} > {before}", date());
    assert_eq!(get(port, &format!("/mirror/{include}")).status, 200);
    assert_eq!(all_archives_answer(&env, port), 3);

    // Cycles continue without publishing metadata.
    release(&upstream, "1.3.0", "first");
    let log = env.build(0);
    assert!(log.contains("the content of snapshot 1 is held"), "{log}");
    assert_eq!((ledger(&env).len(), versions()), (4, 2));
    assert!(
        command(&env, &["rollback", "--to", "9"], 2)
            .contains("there is no snapshot 9\nhint: existing snapshots: [1, 2, 3]")
    );
    let text = command(&env, &["rollback", "--to", "2"], 0);
    assert!(text.contains("snapshot 4 has the content of snapshot 2"), "{text}");
    until("the other one is served", || versions() == 3);
    command(&env, &["rollback", "--end"], 0);
    assert!(command(&env, &["rollback", "--end"], 0).contains("no rollback to end"));
    env.build(0);
    until("everything is served", || versions() == 4);
    assert_eq!(all_archives_answer(&env, port), 4);
}

#[test]
fn rollback_sends_no_old_notifications() {
    let (env, upstream, port) = mirror();
    upstream.write("composer.json", "not JSON").release("1.2.0");
    env.build(1);
    upstream.git(&["tag", "-d", "1.2.0"]);
    release(&upstream, "1.3.0", "first");
    env.build(0);
    let _server = env.serve("serve", port);
    assert_eq!(told(port, "/mirror/")["counts"]["failed"], 0);
    command(&env, &["rollback", "--to", "2"], 0);
    until("the rollback is reported", || told(port, "/mirror/")["held_at"] == 2);
    assert_eq!(told(port, "/mirror/")["counts"]["failed"], 0);
}

fn httpdate(date: &str) -> i64 {
    run(Command::new("date").args(["+%s", "-d", date])).trim().parse().unwrap()
}
