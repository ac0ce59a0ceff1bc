//! Sources that are fetched well and give nothing: a complete cycle, but no mirror that anybody wants.

use serde_json::Value;

use crate::support::env::TestEnv;
use crate::support::free_port;
use crate::support::http::get;

const EMPTY: &str = "nothing is released: the repository has no tags";
const PASSED_OVER: &str = "nothing is released: the recipe releases none of the repository's tags";

/// The source, its rule, and what is said of it; nothing for the last one.
const SOURCES: [(&str, &str, &str); 7] = [
    ("empty", "one: ''", EMPTY),
    ("untagged", "one: ''", EMPTY),
    ("unusual", "one: ''", PASSED_OVER),
    ("files", "each: ''", "no ref has a folder with a package in the root of the repository"),
    ("excluded", "each: lib, exclude: [lib/a/]", "no ref has a folder with a package in `lib`"),
    ("bare", "one: lib", "no ref has a composer.json in `lib`"),
    ("good", "each: lib", ""),
];

fn configured() -> (TestEnv, u16) {
    let (env, port) = (TestEnv::new(), free_port());
    let mut sources = String::new();
    for (name, rule, _) in SOURCES {
        let upstream = env.upstream(name);
        let manifest = format!(r#"{{"name": "acme/{name}", "version": "1.0.0"}}"#);
        match name {
            "empty" => {}
            "untagged" => {
                upstream.write("composer.json", &manifest).release("x").git(&["tag", "-d", "x"]);
            }
            "unusual" => {
                upstream.write("composer.json", &manifest).release("latest");
            }
            "bare" => {
                upstream.write("lib/readme", "-").release("1.0.0");
            }
            "files" => {
                upstream.write("composer.json", &manifest).release("1.0.0");
            }
            _ => {
                upstream.write("lib/a/composer.json", &manifest).release("1.0.0");
            }
        }
        sources.push_str(&format!(
            "  - {{name: {name}, git: 'https://git.example/{name}', packages: [{{{rule}}}]}}\n"
        ));
    }
    env.configure(port, &sources);
    (env, port)
}

fn stdout(env: &TestEnv, arguments: &[&str]) -> String {
    let output = env.command(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn source_without_releases_and_rule_without_packages_are_said() {
    let (env, port) = configured();
    let check = stdout(&env, &["check"]);
    assert!(check.contains(&format!("/empty\n    Warning: {EMPTY}.\n")), "{check}");
    assert!(check.contains(&format!("/unusual\n    Warning: {PASSED_OVER}.\n")), "{check}");
    assert_eq!(check.matches("Warning").count(), 3, "before the first cycle, the rest is not known: {check}");

    let log = env.build(0);
    for (name, _, said) in SOURCES.into_iter().filter(|(.., said)| !said.is_empty()) {
        let of_source =
            |line: &&str| line.contains("\"WARN\"") && line.contains(&format!("\"source\":\"{name}\""));
        let lines: Vec<_> = log.lines().filter(of_source).collect();
        assert!(lines.len() == 1 && lines[0].contains(said), "{name}: {lines:?}");
    }
    let again = env.build(0);
    assert!(!again.contains("no ref has") && !again.contains("nothing is released"), "once: {again}");

    let _server = env.serve("serve", port);
    let state = get(port, "/mirror/mirror.json").json();
    let page = get(port, "/mirror/status.html").into_text();
    let check = stdout(&env, &["check"]);
    let plan = stdout(&env, &["plan"]);
    for (name, _, said) in SOURCES {
        let warnings = &state["repository"]["sources"][name]["warnings"];
        let expected: Vec<_> = [said].into_iter().filter(|said| !said.is_empty()).map(Value::from).collect();
        assert_eq!(*warnings, Value::from(expected), "{name}");
        if !said.is_empty() {
            assert!(page.contains(&format!("{name}: {said}")), "{page}");
            assert!(check.contains(&format!("/{name}\n    Warning: {said}.\n")), "{check}");
            assert!(plan.contains(&format!("acme {name}: warning: {said}\n")), "{plan}");
        }
    }
    // Upstream releases, and nothing is odd any more.
    let upstream = crate::support::git::WorkTree { path: env.path("git/untagged") };
    upstream.release("1.0.0");
    env.build(0);
    let check = stdout(&env, &["check"]);
    assert_eq!(check.matches("Warning").count(), 5, "{check}");
}

#[test]
fn folder_without_archives_and_repository_without_versions_are_said() {
    let env = TestEnv::new();
    env.upstream("resource").write("zips/readme", "-").release("1.0.0");
    env.configure(free_port(), "");
    env.write(
        "recipe.yaml",
        "resources: {r: {git: 'https://git.example/resource', ref: main}}\narchives: [{name: old, resource: r, path: zips}]\n",
    );
    let log = env.build(0);
    assert!(log.contains("nothing is released: the folder has no archives"), "{log}");
    assert!(log.contains("no source gives a version to publish\\nhint: `mirror plan`"), "{log}");
    let again = env.build(0);
    assert!(again.contains("no source gives a version"), "it is said as long as nothing is served: {again}");
}
