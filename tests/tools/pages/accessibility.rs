//! The rules of axe-core (WCAG 2.2 A and AA, and its best practices) for every kind of page, by day, by night and on a phone.

use std::path::PathBuf;
use std::process::Command;

use mirror::util::digest::Sha256;
use serde_json::{Value, json};

use super::browser::Browser;
use crate::support::env::TestEnv;
use crate::support::{free_port, run};

/// The package of npm's registry, and the SHA-256 of its file.
const PACKAGE: &str = "axe-core@4.12.1";
const DIGEST: &str = "66a8aaa95a8b044a7fd74a5435873bf04ff65a1ca75567c921b7509742085a14";

/// The source of axe-core. It is downloaded once.
fn axe() -> String {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("axe-core");
    let file = folder.join("package/axe.min.js");
    if !file.exists() {
        std::fs::create_dir_all(&folder).unwrap();
        run(Command::new("npm").args(["pack", "--silent", PACKAGE]).current_dir(&folder));
        let tarball = format!("{}.tgz", PACKAGE.replace('@', "-"));
        run(Command::new("tar").args(["-xzf", &tarball]).current_dir(&folder));
    }
    let text = std::fs::read_to_string(file).unwrap();
    assert_eq!(Sha256::digest(text.as_bytes()).to_string(), DIGEST);
    text
}

/// The violations on the open page, one per line.
fn violations(browser: &Browser, axe: &str) -> Vec<String> {
    browser.post("/execute/sync", &json!({"script": axe, "args": []}));
    let script = "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then(done, (error) => done({failed: `${error}`}))";
    let found = browser.post("/execute/async", &json!({"script": script, "args": []}));
    let list = found["violations"].as_array().unwrap_or_else(|| panic!("axe: {found:#}"));
    assert_eq!(found["testEngine"]["name"], "axe-core");
    let line =
        |rule: &Value, node: &Value| format!("{}: {} {}", rule["id"], node["html"], node["failureSummary"]);
    let of = |rule: &Value| -> Vec<_> {
        let nodes = rule["nodes"].as_array().unwrap();
        nodes.iter().map(|node| line(rule, node)).collect()
    };
    list.iter().flat_map(of).collect()
}

/// Of every kind: below the host, then below the repository.
const PAGES: [&str; 7] = [
    "",
    "-/help/",
    "mirror/",
    "mirror/package/acme/good.html",
    "mirror/release/acme/good/1.1.0.html",
    "mirror/status.html",
    "mirror/gone",
];

const SOURCE: &str = "  - name: good\n    git: https://git.example/good\n    packages: [{one: ''}]\n  - name: gone\n    git: https://git.example/gone\n    packages: [{one: ''}]\n";

#[test]
fn pages_pass_accessibility_rules() {
    let axe = axe();
    let (env, port) = (TestEnv::new(), free_port());
    let upstream = env.upstream("good");
    for version in ["1.0.0", "1.1.0"] {
        let manifest = json!({
            "name": "acme/good", "version": version, "description": "Something good", "type": "metapackage",
            "keywords": ["good"], "license": "MIT", "authors": [{"name": "A", "homepage": "https://a.example/"}],
            "support": {"email": "a@a.example"}, "abandoned": "acme/better",
            "require": {"php": format!(">={version}"), "other/library": "^1.0"},
        });
        upstream.write("composer.json", &manifest.to_string()).release(version);
    }
    env.configure(port, &format!("{SOURCE}products: [{{name: Good, package: acme/good}}]\n"));
    env.build(1);
    let server = env.serve("serve", port);
    let browser = Browser::start(&["--window-size=1280,900"], &json!({}));
    let emulate = |command: &str, parameters: Value| {
        browser.post("/goog/cdp/execute", &json!({"cmd": command, "params": parameters}));
    };
    let mut wrong = Vec::new();
    for (width, mobile) in [(1280, false), (390, true)] {
        let metrics = json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": mobile});
        emulate("Emulation.setDeviceMetricsOverride", metrics);
        for scheme in ["light", "dark"] {
            let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
            emulate("Emulation.setEmulatedMedia", features);
            for page in PAGES {
                browser.open(&format!("http://127.0.0.1:{port}/{page}"));
                browser.wait("!document.getElementById('state') || document.getElementById('state').textContent !== ''");
                let overflow = "document.documentElement.scrollWidth > document.documentElement.clientWidth";
                assert_eq!(browser.value(overflow), false, "{page} is wider than {width} px");
                let found = violations(&browser, &axe).into_iter();
                wrong.extend(found.map(|found| format!("{page} {width} {scheme}: {found}")));
            }
        }
    }
    // The check itself works.
    browser.value("document.querySelector('h1').style.color = 'inherit', document.body.style.color = '#888'");
    browser.value("document.body.style.background = '#777'");
    assert!(!violations(&browser, &axe).is_empty());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(server.stop(), Some(0));
}
