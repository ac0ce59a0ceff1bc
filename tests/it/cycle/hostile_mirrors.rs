//! A followed mirror that wants to harm: what it says becomes no path outside of the repository, no control of a terminal, and no
//! more memory than the limit.

use mirror::util::digest::Sha256;
use serde_json::{Value, json};

use super::follow::{Origin, follower};
use crate::support::env::TestEnv;
use crate::support::http::get;
use crate::support::lying_proxy::LyingProxy;
use crate::support::store::read;

/// A mirror whose ledger and `follow.json` are what `change` makes of them, and a follower of it with its port.
fn hostile(
    origin: &Origin,
    change: impl Fn(&mut Vec<Value>, &mut Value) + Send + 'static,
) -> (LyingProxy, TestEnv, u16) {
    let proxy = LyingProxy::before(origin.port);
    let mut lines: Vec<Value> = read(&origin.env, "data/acme/ledger.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut state = serde_json::from_str(&read(&origin.env, "data/acme/current/follow.json")).unwrap();
    change(&mut lines, &mut state);
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let last = lines.last().unwrap().to_string();
    state["ledger"]["head"] = Sha256::digest(last.as_bytes()).to_string().into();
    proxy.lie(move |path, answer| match path.rsplit('/').next() {
        Some("ledger.jsonl") => answer.replace(200, text.clone()),
        Some("follow.json") => answer.replace(200, state.to_string()),
        _ => {}
    });
    let (env, port) = follower(&[&proxy.url()]);
    (proxy, env, port)
}

fn withdrawal(name: &str, version: &str, reason: &str) -> Value {
    json!([{"name": name, "version": version, "reason": reason, "time": "2026-01-02T03:04:05Z"}])
}

#[test]
fn names_of_another_mirror_become_no_path_outside() {
    let origin = Origin::start();
    let outside = "../../../../../../outside/x";
    type Change = Box<dyn Fn(&mut Vec<Value>, &mut Value) + Send>;
    let changes: [(Change, &str); 7] = [
        (Box::new(move |_, state| state["claimed"] = json!([outside])), "is not a package name"),
        (Box::new(|_, state| state["claimed"] = json!(["/outside/x"])), "is not a package name"),
        (
            Box::new(move |_, state| state["withdrawn"] = withdrawal(outside, "1.0.0", "r")),
            "is not a package name",
        ),
        (Box::new(|_, state| state["withdrawn"] = withdrawal("acme/good", "../x", "r")), "is not a version"),
        (Box::new(|lines, _| lines[2]["version"] = "1\u{1b}[31m".into()), "which this program would not"),
        (
            Box::new(|lines, _| lines[2]["file"] = "packages/../../x.zip".into()),
            "which this program would not",
        ),
        (Box::new(move |lines, _| lines[2]["name"] = outside.into()), "which this program would not"),
    ];
    for (change, reason) in changes {
        let (_, env, _) = hostile(&origin, change);
        let log = env.build(2);
        assert!(log.contains(reason) && log.contains("nothing was copied"), "{log}");
        assert!(!log.contains('\u{1b}'), "{log}");
        assert!(!env.path("data/acme/snapshots/1").exists(), "{log}");
        assert!(!env.path("outside").exists() && !env.path("data/outside").exists());
    }
}

#[test]
fn state_that_would_fill_the_memory_of_the_server_is_refused() {
    let origin = Origin::start();
    type Change = fn(&mut Vec<Value>, &mut Value);
    let changes: [(Change, &str); 4] = [
        (|_, state| state["external_packages"] = vec![""; 200_000].into(), "entries, more than"),
        (|_, state| state["notes"] = json!([vec![1; 2000]]), "a note has too many values"),
        (|_, state| state["products"] = json!([vec![1; 2000]]), "a product has too many values"),
        (|_, state| state["abandoned"] = json!({"acme/good": [1, 2]}), "`abandoned` has other values"),
    ];
    for (change, reason) in changes {
        let (_proxy, env, _) = hostile(&origin, change);
        let log = env.build(2);
        assert!(log.contains(reason), "{log}");
    }
}

#[test]
fn releases_that_no_server_could_serve_are_refused() {
    let origin = Origin::start();
    let (_, env, _) = hostile(&origin, |lines, _| lines[2]["time"] = "1960-01-01T00:00:00Z".into());
    let log = env.build(2);
    assert!(log.contains("line 3 has the time 1960-01-01T00:00:00Z"), "{log}");
    let (_, env, _) = hostile(&origin, |lines, _| {
        let path = format!("packages/acme/good-{}.zip", lines[0]["version"].as_str().unwrap());
        lines[2]["file"] = path.into();
        for key in ["sha1", "sha256", "size"] {
            lines[2][key] = lines[0][key].clone();
        }
    });
    let log = env.build(2);
    assert!(log.contains("lines 1 and 3 name the same archive"), "{log}");
}

#[test]
fn reasons_of_another_mirror_control_no_terminal() {
    let origin = Origin::start();
    let reason = "a\u{1b}[31m leak\u{202e}\nERROR forged";
    let (_, env, port) =
        hostile(&origin, move |_, state| state["withdrawn"] = withdrawal("acme/good", "1.0.0", reason));
    env.build(0);
    let server = env.serve("serve", port);
    let answer = get(port, "/mirror/packages/acme/good-1.0.0.zip");
    let body = String::from_utf8(answer.body).unwrap();
    assert_eq!(answer.status, 410);
    let warning: Value = serde_json::from_str(&body).unwrap();
    let warning = warning["warning"].as_str().unwrap();
    assert!(warning.contains(r"a\u001b[31m leak\u202e\nERROR forged"), "{warning}");
    server.stop();
}

#[test]
fn endless_texts_of_another_mirror_end_at_a_limit() {
    let origin = Origin::start();
    for file in ["ledger.jsonl", "follow.json"] {
        let proxy = LyingProxy::before(origin.port);
        proxy.lie(move |path, answer| {
            if path.ends_with(file) {
                answer.replace(200, format!("{{{}", " ".repeat(70_000)));
            }
        });
        let (env, _) = follower(&[&proxy.url()]);
        env.write(
            "mirror.yaml",
            &format!("{}limits: {{upstream_metadata: 64KiB}}\n", env.read("mirror.yaml")),
        );
        let log = env.build(2);
        assert!(log.contains(file) && log.contains("`limits.upstream_metadata`"), "{log}");
    }
}
