//! What the commands print, for people and as JSON.

use std::process::Output;

use crate::support::env::TestEnv;
use crate::support::http::get;
use crate::support::store::{mirror, read, release};
use crate::support::{free_port, until};
use serde_json::{Value, json};

struct Printed {
    stdout: String,
    log: String,
}

/// Runs `mirror` with these arguments, which must exit with `code`.
fn command(env: &TestEnv, arguments: &[&str], code: i32) -> Printed {
    let Output { status, stdout, stderr } = env.command(arguments).output().unwrap();
    let (stdout, log) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert_eq!(status.code(), Some(code), "{arguments:?}\n{stdout}\n{log}");
    Printed { stdout, log }
}

/// The one document on the standard output.
fn document(env: &TestEnv, arguments: &[&str], code: i32) -> Value {
    let printed = command(env, arguments, code).stdout;
    let document: Value = serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
    assert_eq!(document["schema"], 1);
    document
}

/// Two repositories `acme` and `other`, neither of them built.
fn two_repositories() -> TestEnv {
    let env = TestEnv::new();
    env.upstream("good")
        .write("composer.json", r#"{"name": "acme/good", "version": "1.0.0"}"#)
        .release("1.0.0");
    env.configure(free_port(), "  - {name: good, git: 'https://git.example/good', packages: [{one: ''}]}\n");
    let config = read(&env, "mirror.yaml");
    let second = config.lines().find(|line| line.contains("name: acme")).unwrap();
    let second = second.replace("acme", "other").replace("/mirror/", "/other/");
    env.write("mirror.yaml", &config.replace("git:\n", &format!("{second}\ngit:\n")));
    env
}

#[test]
fn build_and_plan_take_one_repository() {
    let env = two_repositories();
    let plan = command(&env, &["plan", "--repository", "other"], 0).stdout;
    assert!(
        plan.contains("other good 1.0.0: build acme/good 1.0.0") && !plan.contains("acme good"),
        "{plan}"
    );
    command(&env, &["build", "--repository", "other"], 0);
    assert!(env.path("data/other/current").exists() && !env.path("data/acme/current").exists());
    let unknown = command(&env, &["build", "--repository", "third"], 2).log;
    assert!(
        unknown.contains("unknown repository `third`\nhint: the repositories are acme, other"),
        "{unknown}"
    );
    let summary = command(&env, &["plan", "--summary"], 0).stdout;
    let lines: Vec<_> = summary.lines().collect();
    assert_eq!(
        lines,
        [
            "acme good: 1 to build, 0 already published, 0 excluded, 0 failed",
            "other good: 0 to build, 1 already published, 0 excluded, 0 failed"
        ]
    );
}

#[test]
fn what_upstream_wrote_does_not_reach_the_terminal_raw() {
    let env = two_repositories();
    let name = r"acme/\u001b]0;title\u0007\u009b31m\r\nother good: forged\nhint: forged";
    env.upstream("good")
        .write("composer.json", &format!(r#"{{"name": "{name}", "version": "1.1.0"}}"#))
        .release("1.1.0");
    let config = read(&env, "mirror.yaml");
    env.write("mirror.yaml", &format!("{config}log: {{format: text}}\n"));
    let escaped = r"acme/\u001b]0;title\u0007\u009b31m\u000d\nother good: forged\nhint: forged";
    let plan = command(&env, &["plan", "--repository", "acme"], 1).stdout;
    let build = command(&env, &["build", "--repository", "acme"], 1).log;
    for printed in [plan, build] {
        assert!(printed.contains(escaped), "{printed}");
        assert!(!printed.contains(|c: char| c.is_control() && c != '\n'), "{printed:?}");
        assert!(
            !printed.contains("\nother good: forged") && !printed.contains("\nhint: forged"),
            "{printed}"
        );
    }
    let json = document(&env, &["plan", "--json", "--repository", "acme"], 1);
    let failed = json["repositories"][0]["sources"]["good"]["failed"][0]["reason"].as_str().unwrap();
    assert!(failed.contains(escaped), "{failed}");
}

#[test]
fn plan_prints_json() {
    let (env, upstream, _) = mirror();
    // The same version again, a broken manifest, a new version and a moved tag.
    upstream.git(&["tag", "1.1.0-again"]);
    upstream.write("composer.json", "not JSON").release("1.2.0");
    release(&upstream, "1.3.0", "first");
    release(&upstream, "1.0.0", "moved");
    let whole = document(&env, &["plan", "--json"], 1);
    let repository = &whole["repositories"][0];
    assert_eq!((&repository["name"], &repository["error"]), (&json!("acme"), &Value::Null));
    let source = &repository["sources"]["good"];
    assert_eq!(
        source["build"],
        json!([{"tag": "1.3.0", "package": "acme/good", "version": "1.3.0", "changes": []}])
    );
    assert_eq!(
        (&source["failed"][0]["tag"], &source["failed"][0]["source"]),
        (&json!("1.2.0"), &json!("good"))
    );
    assert!(source["failed"][0]["reason"].is_string(), "{source:#}");
    let diverged = &source["diverged"][0];
    assert_eq!(
        (&diverged["package"], &diverged["version"], &diverged["tag"]),
        (&json!("acme/good"), &json!("1.0.0"), &json!("1.0.0"))
    );
    let counts = &source["counts"];
    assert_eq!(
        (&counts["build"], &counts["published"], &counts["failed"], &counts["diverged"]),
        (&json!(1), &json!(2), &json!(1), &json!(1))
    );
    let summary = document(&env, &["plan", "--json", "--summary"], 1);
    assert_eq!(summary["repositories"][0]["sources"]["good"], json!({ "error": null, "counts": counts }));
    assert!(!env.path("data/acme/diverged.jsonl").exists(), "a plan records nothing");
    std::fs::rename(&upstream.path, env.path("away")).unwrap();
    let broken = document(&env, &["plan", "--json"], 1);
    let error = broken["repositories"][0]["sources"]["good"]["error"].as_str().unwrap();
    assert!(error.contains("does not exist"), "{error}");
}

#[test]
fn build_prints_json() {
    let env = two_repositories();
    let built = document(&env, &["build", "--json"], 0);
    let [acme, other] = built["repositories"].as_array().unwrap().as_slice() else { panic!("{built:#}") };
    for (repository, name) in [(acme, "acme"), (other, "other")] {
        assert_eq!((&repository["name"], &repository["complete"]), (&json!(name), &json!(true)));
        assert_eq!(
            (&repository["new"], &repository["published"], &repository["snapshot"]),
            (&json!(1), &json!(1), &json!(1))
        );
        assert_eq!(repository["sources"]["good"]["published"], 1);
        assert!(repository["seconds"].as_f64().unwrap() > 0.0, "{repository:#}");
    }
    let again = document(&env, &["build", "--json", "--repository", "acme"], 0);
    let repository = &again["repositories"][0];
    assert_eq!(
        (&repository["new"], &repository["published"], &repository["snapshot"]),
        (&json!(0), &json!(1), &Value::Null)
    );
    std::fs::rename(env.path("git/good"), env.path("away")).unwrap();
    let failed = document(&env, &["build", "--json", "--repository", "acme"], 1);
    let repository = &failed["repositories"][0];
    assert_eq!((&repository["complete"], &repository["error"]), (&json!(false), &Value::Null));
    assert!(
        repository["sources"]["good"]["error"].as_str().unwrap().contains("does not exist"),
        "{repository:#}"
    );
    std::fs::write(env.path("data/acme/ledger.jsonl"), "nonsense\n").unwrap();
    let refused = document(&env, &["build", "--json", "--repository", "acme"], 2);
    assert!(refused["repositories"][0]["error"].as_str().unwrap().contains("ledger"), "{refused:#}");
}

/// A version in several tags is one version and several tag entries.
#[test]
fn counts_are_of_package_versions_everywhere() {
    let (env, upstream, port) = mirror();
    upstream.git(&["tag", "1.1.1"]);
    upstream.write("composer.json", "not JSON").release("1.2.0");
    let log = env.build(1);
    let line = log.lines().find(|line| line.contains("cycle finished")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(
        (&line["published"], &line["failed"], &line["tag_entries"]),
        (&json!(2), &json!(1), &json!(4))
    );
    let plan = command(&env, &["plan", "--summary"], 1).stdout;
    assert_eq!(plan, "acme good: 0 to build, 2 already published, 0 excluded, 1 failed\n");
    let built = document(&env, &["build", "--json"], 1);
    assert_eq!(built["repositories"][0]["published"], 2);
    let _server = env.serve("serve", port);
    let status: Value = get(port, "/mirror/mirror.json").json();
    let repository = &status["repository"];
    for counts in [&repository["counts"], &repository["sources"]["good"]] {
        assert_eq!((&counts["published"], &counts["failed"]), (&json!(2), &json!(1)), "{counts:#}");
        assert_eq!(
            counts["tag_entries"],
            json!({"published": 3, "excluded": 0, "failed": 1, "held_back": 0})
        );
    }
    let metrics = get(port, "/-/metrics").into_text();
    for line in [
        r#"mirror_releases{repository="acme"} 2"#,
        r#"mirror_refs{outcome="published",repository="acme"} 3"#,
        r#"mirror_refs{outcome="failed",repository="acme"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let page = get(port, "/mirror/status.html").into_text();
    assert!(page.contains("<dd>2 package versions</dd>"), "{page}");
    assert!(page.contains(
            "\"Published\">2</td><td data-label=\"Excluded\">0</td><td data-label=\"Failed\">1</td><td data-label=\"Tag entries\">4</td>"
        ), "{page}");
}

#[test]
fn verify_says_what_could_not_be_compared() {
    let (env, upstream, _) = mirror();
    let well = document(&env, &["verify", "--rebuild", "--json"], 0);
    let repository = &well["repositories"][0];
    assert_eq!(
        repository["rebuilt"],
        json!({"equal": 2, "different": 0, "not_compared": [], "not_rebuilt": 0})
    );
    assert_eq!(repository["checked"]["archives"], 2);
    upstream.git(&["tag", "-d", "1.0.0"]);
    let Printed { stdout, log } = command(&env, &["verify", "--rebuild"], 1);
    for words in [
        "acme: acme/good 1.0.0: not compared: upstream no longer has `1.0.0`\n",
        "acme: 1 rebuilt versions are equal, 1 could not be compared\n",
        "5 URLs: 1 version could not be compared\n",
    ] {
        assert!(stdout.contains(words), "{words}: {stdout}");
    }
    assert_eq!(log.matches("1.0.0").count(), 1, "the deleted tag is reported once: {log}");
    let document = document(&env, &["verify", "--rebuild", "--json"], 1);
    let repository = &document["repositories"][0];
    assert_eq!(repository["problems"], json!([]));
    assert_eq!(
        repository["rebuilt"]["not_compared"],
        json!([{"package": "acme/good", "version": "1.0.0", "reason": "upstream no longer has `1.0.0`"}])
    );
}

#[test]
fn verify_prints_json() {
    let (env, _, _) = mirror();
    std::fs::remove_file(env.path("data/acme/packages/acme/good-1.0.0.zip")).unwrap();
    let damaged = document(&env, &["verify", "--json"], 1);
    let problem = &damaged["repositories"][0]["problems"][0];
    assert_eq!(problem["kind"], "archive");
    assert!(problem["message"].as_str().unwrap().contains("good-1.0.0.zip` is missing"), "{problem:#}");
    let repaired = document(&env, &["verify", "--repair", "--json"], 0);
    assert_eq!(
        repaired["repositories"][0]["repaired"],
        json!([{"package": "acme/good", "version": "1.0.0"}])
    );
    assert_eq!(repaired["repositories"][0]["problems"], json!([]));
}

#[test]
fn rollback_is_said_in_log_plan_check_and_page_until_the_cycle_after_its_end() {
    let (env, upstream, port) = mirror();
    release(&upstream, "1.2.0", "first");
    env.build(0);
    let list = || command(&env, &["rollback", "--list"], 0).stdout;
    let listed = list();
    let lines: Vec<_> = listed.lines().collect();
    assert!(
        lines[0].starts_with("acme: snapshot 2, 20")
            && lines[0].contains(" UTC (served): 1 package, 3 versions; added: acme/good 1.2.0"),
        "{listed}"
    );
    assert!(lines[1].ends_with(": 1 package, 2 versions; the oldest one kept"), "{listed}");

    command(&env, &["rollback"], 0);
    let listed = list();
    assert!(
        listed.contains("(served, rollback to 1): 1 package, 2 versions; removed: acme/good 1.2.0"),
        "{listed}"
    );
    let said = "acme: a rollback to snapshot 1 is in force";
    for arguments in [&["plan"][..], &["check"], &["plan", "--summary"]] {
        let printed = command(&env, arguments, 0).stdout;
        assert!(printed.contains(said), "{arguments:?}: {printed}");
    }
    assert_eq!(document(&env, &["plan", "--json"], 0)["repositories"][0]["rollback_to"], 1);
    upstream.git(&["tag", "-d", "1.1.0"]);
    release(&upstream, "1.3.0", "first");
    let log = env.build(0);
    let cycle = log.lines().filter(|line| !line.contains("compressed"));
    let cycle: Vec<Value> = cycle.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        cycle.iter().any(|line| line["message"].as_str().unwrap().contains("upstream deleted a tag")),
        "{log}"
    );
    for line in &cycle {
        assert_eq!(line["spans"], json!([{"rollback_to": 1, "name": "cycle"}]), "{line}");
    }
    let _server = env.serve("serve", port);
    let page = || get(port, "/mirror/status.html").into_text();
    assert!(page().contains("A rollback to snapshot 1 is active"), "{}", page());
    command(&env, &["rollback", "--end"], 0);
    let state = || -> Value { get(port, "/mirror/mirror.json").json()["repository"]["state"].clone() };
    until("the end is said", || page().contains("A rollback has ended; the next cycle publishes"));
    assert_eq!(state(), "incomplete");
    let log = env.build(0);
    assert!(!log.contains("rollback"), "{log}");
    until("the next cycle is reported", || state() == "fresh");
    let listed = list();
    assert!(
        listed.contains("added: acme/good 1.2.0, acme/good 1.3.0") && listed.contains("(end of a rollback)"),
        "{listed}"
    );
}

#[test]
fn diverged_versions_are_named_everywhere() {
    let (env, upstream, port) = mirror();
    release(&upstream, "1.0.0", "moved");
    let moved = upstream.git(&["rev-parse", "HEAD"]).trim().to_owned();
    let named = "upstream moved tag 1.0.0 of good from ".to_owned();
    let plan = command(&env, &["plan"], 0).stdout;
    assert!(plan.contains(&format!("acme good 1.0.0: diverged: acme/good 1.0.0: {named}")), "{plan}");
    assert!(plan.contains("2 already published, 0 excluded, 0 failed, 1 diverged"), "{plan}");
    env.build(0);
    assert!(command(&env, &["plan"], 0).stdout.contains(&named));
    let server = env.serve("serve", port);
    let text = |path: &str| get(port, path).into_text();
    assert!(text("/mirror/status.html").contains(&format!("acme/good 1.0.0: {named}")));
    let package = text("/mirror/package/acme/good.html");
    assert!(
        package.contains(&format!("upstream moved tag 1.0.0 to commit <code>{moved}</code>")),
        "{package}"
    );
    let status: Value = serde_json::from_str(&text("/mirror/mirror.json")).unwrap();
    let diverged = &status["repository"]["diverged"];
    assert_eq!(
        (
            &diverged[0]["package"],
            &diverged[0]["version"],
            &diverged[0]["tag"],
            &diverged[0]["upstream_commit"]
        ),
        (&json!("acme/good"), &json!("1.0.0"), &json!("1.0.0"), &json!(moved))
    );
    assert_eq!(server.stop(), Some(0));

    // Upstream moves it back.
    upstream.git(&["tag", "-f", "1.0.0", "1.1.0~1"]);
    env.build(0);
    let _server = env.serve("serve", port);
    assert!(!text("/mirror/package/acme/good.html").contains("upstream moved"));
    let status: Value = serde_json::from_str(&text("/mirror/mirror.json")).unwrap();
    assert_eq!(
        (&status["repository"]["diverged"], &status["repository"]["counts"]["diverged"]),
        (&json!([]), &json!(0))
    );
}

#[test]
fn failed_cycle_is_a_warning_grouped_by_reason() {
    let env = TestEnv::new();
    let upstream = env.upstream("modules");
    for name in ["a", "b", "c", "d", "e"] {
        upstream.write(
            &format!("{name}/composer.json"),
            &format!(r#"{{"name": "acme/{name}", "version": "no version"}}"#),
        );
    }
    upstream.write("f/composer.json", r#"{"name": "acme/f", "version": "1.0.0"}"#);
    upstream.release("1.0.0");
    let missing = |i| {
        format!("  - {{name: missing{i}, git: 'https://git.example/missing{i}', packages: [{{one: ''}}]}}\n")
    };
    let missing: String = (0..5).map(missing).collect();
    env.configure(
        free_port(),
        &format!(
            "  - {{name: modules, git: 'https://git.example/modules', packages: [{{each: ''}}]}}\n{missing}"
        ),
    );
    let log = env.build(1);
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let with = |words: &str| -> Vec<&Value> {
        lines.iter().filter(|line| line["message"].as_str().unwrap().contains(words)).collect()
    };
    let finished = with("cycle finished with failures");
    assert_eq!(
        (finished.len(), &finished[0]["level"], &finished[0]["failed"], &finished[0]["failed_sources"]),
        (1, &json!("WARN"), &json!(5), &json!(5))
    );
    let sources = with("5 sources: ");
    assert_eq!((sources.len(), with("does not exist").len()), (1, 1), "{log}");
    assert_eq!(sources[0]["sources"], "missing0, missing1, missing2, missing3, missing4");
    let packages = with("5 failed: ");
    assert_eq!(packages.len(), 1, "{log}");
    assert!(packages[0]["packages"].as_str().unwrap().starts_with("modules 1.0.0: "), "{log}");
}

#[test]
fn page_names_the_replacement_of_an_abandoned_package() {
    let env = TestEnv::new();
    let upstream = env.upstream("modules");
    for (name, abandoned) in [("old", r#""acme/new""#), ("gone", "true"), ("new", "false")] {
        let manifest = format!(r#"{{"name": "acme/{name}", "version": "1.0.0", "abandoned": {abandoned}}}"#);
        upstream.write(&format!("{name}/composer.json"), &manifest);
    }
    upstream.release("1.0.0");
    env.configure(
        free_port(),
        "  - {name: modules, git: 'https://git.example/modules', packages: [{each: ''}]}\n",
    );
    env.build(0);
    let page = |name: &str| read(&env, &format!("data/acme/current/package/acme/{name}.html"));
    assert!(
        page("old").contains(r#"abandoned; use <a href="../../package/acme/new.html">acme/new</a> instead."#),
        "{}",
        page("old")
    );
    assert!(page("gone").contains("abandoned and no replacement was suggested."), "{}", page("gone"));
    assert!(!page("new").contains("abandoned"), "{}", page("new"));
}

#[test]
fn version_says_the_newest_format_of_volumes() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_mirror")).arg("--version").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.first(), Some(&concat!("mirror ", env!("CARGO_PKG_VERSION"))));
    assert_eq!(lines.last(), Some(&"volume format 4"));
    // The commit is between them if the build was told it.
    assert!(lines.iter().all(|line| !line.contains("unknown")), "{said}");
}

#[test]
fn check_warns_of_what_this_machine_lacks_and_notes_nested_urls() {
    let env = two_repositories();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = read(&env, "mirror.yaml").replace("/other/", "/mirror/other/");
    let line = config.lines().find(|line| line.starts_with("serve:")).unwrap();
    let config = config.replace(line, &format!("serve: {{listen: ['{address}']}}"));
    env.write("mirror.yaml", &config);
    let said = command(&env, &["check"], 0).stdout;
    assert!(
        said.contains(&format!("Warning: listening on `{address}` fails here: Address already in use.\n")),
        "{said}"
    );
    assert!(said.contains("Note: the URL of repository other is below that of acme: what is below /mirror/other/ is served by other.\n"), "{said}");
    drop(taken);
    let said = command(&env, &["check"], 0).stdout;
    assert!(!said.contains("fails here") && !said.contains("may not write"), "{said}");
}
