//! Composer installs from the mirror what it installs from a repository of its own: cases of priorities, stabilities, aliases,
//! replaced and locked packages, partial updates and conflicts, published from git in both forms of the metadata.
//!
//! `resolution_cases.json` has a case in each line: the packages of its repositories in their order, the project, and what is
//! locked and installed before. The operations of most are known from Composer's own tests of its installer, whose cases these
//! are in other words. All packages have the vendor `v`; here each case gets a vendor of its own, so one repository holds
//! the packages of all cases.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

use crate::support::env::TestEnv;
use crate::support::{free_port, run};
use serde_json::Value;

const CASES: &str = include_str!("resolution_cases.json");

#[test]
fn composer_resolves_from_the_mirror_as_from_its_own_repository() {
    let (env, port) = (TestEnv::new(), free_port());
    let cases = cases();
    env.write("cases.json", &serde_json::to_string(&cases).unwrap());
    let upstream = env.upstream("cases");
    let mut ranks = 0;
    for (name, case) in &cases {
        let repositories = case["repositories"].as_array().unwrap();
        ranks = ranks.max(repositories.len());
        for (rank, repository) in repositories.iter().enumerate() {
            for (number, package) in repository["packages"].as_array().unwrap().iter().enumerate() {
                let path = format!("{rank}/{name}-{number}/composer.json");
                upstream.write(&path, &package.to_string());
            }
        }
    }
    upstream.release("1.0.0");
    env.configure(port, "");
    let configuration = env.read("mirror.yaml");
    let (before, rest) = configuration.split_once("  - {name: acme").unwrap();
    let after = rest.split_once('\n').unwrap().1;
    for rank in 0..ranks {
        let source =
            format!("{{name: cases, git: 'https://git.example/cases', packages: [{{each: '{rank}'}}]}}");
        env.write(&format!("recipe-{rank}.yaml"), &format!("sources: [{source}]\n"));
    }
    for metadata in ["inline", "lazy"] {
        let mut repositories = String::new();
        for rank in 0..ranks {
            let url = format!("http://127.0.0.1:{port}/{rank}/");
            let keys = format!("url: '{url}', recipe: ./recipe-{rank}.yaml, metadata: {metadata}");
            writeln!(repositories, "  - {{name: r{rank}, {keys}}}").unwrap();
        }
        // Compressed copies would take ten times as long as the rest.
        let before = before.replace("drain: 5s", "drain: 5s, compression: none");
        env.write("mirror.yaml", &format!("{before}{repositories}{after}"));
        env.build(0);
        let _server = env.serve("serve", port);
        let verdict = run(Command::new("php")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/resolution.php"))
            .arg(env.path("cases.json"))
            .arg(format!("http://127.0.0.1:{port}"))
            .arg(env.path("composer")));
        print!("{metadata}: {verdict}");
        assert!(verdict.ends_with(" 0 different\n"), "{metadata}: {verdict}");
    }
}

/// The cases by name, each with its own vendor.
fn cases() -> BTreeMap<String, Value> {
    let cases: BTreeMap<String, Value> = serde_json::from_str(CASES).unwrap();
    let with_vendor = |(name, case): (String, Value)| {
        let text =
            case.to_string().replace("\"v/", &format!("\"{name}/")).replace(" v/", &format!(" {name}/"));
        let case = serde_json::from_str(&text).unwrap();
        (name, case)
    };
    cases.into_iter().map(with_vendor).collect()
}
