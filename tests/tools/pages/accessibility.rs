//! The rules of axe-core (WCAG 2.2 A and AA, and its best practices) for every kind of page, by day, by night and on a phone.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::browser::Browser;
use crate::support::env::TestEnv;
use crate::support::{free_port, run};

/// The package of Python's registry that carries axe-core 4.12.1.
const PACKAGE: &str = "axe-playwright-python==0.1.8";

/// The source of axe-core, from Python's package registry. It is downloaded once.
fn axe() -> String {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("axe");
    let file = folder.join("axe_playwright_python/axe.min.js");
    if !file.exists() {
        let python = folder.join("venv/bin/python");
        run(Command::new("python3").args(["-m", "venv"]).arg(folder.join("venv")));
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "--quiet", "download", "--no-deps", "--dest"]);
        run(pip.arg(&folder).arg(PACKAGE));
        let wheel = |file: &Path| file.extension().is_some_and(|end| end == "whl");
        let files = std::fs::read_dir(&folder).unwrap();
        let wheel = files.map(|file| file.unwrap().path()).find(|file| wheel(file)).unwrap();
        run(Command::new(&python).args(["-m", "zipfile", "-e"]).arg(wheel).arg(&folder));
    }
    std::fs::read_to_string(file).unwrap()
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

const SOURCE: &str = "  - name: good\n    git: https://git.example/good\n    packages: [{one: ''}]\n  - name: gone\n    git: https://git.example/gone\n    packages: [{one: ''}]\n";

#[test]
fn pages_pass_accessibility_rules() {
    let axe = axe();
    let (env, port) = (TestEnv::new(), free_port());
    let upstream = env.upstream("good");
    for version in ["1.0.0", "1.1.0"] {
        let manifest = json!({"name": "acme/good", "version": version, "description": "Something good", "type": "project", "require": {"php": ">=8.1", "acme/other": "1.0.0"}});
        upstream.write("composer.json", &manifest.to_string()).release(version);
    }
    env.configure(port, SOURCE);
    env.build(1);
    let server = env.serve("serve", port);
    let browser = Browser::start(&["--window-size=1280,900"], &json!({}));
    let emulate = |command: &str, parameters: Value| {
        browser.post("/goog/cdp/execute", &json!({"cmd": command, "params": parameters}));
    };
    let mut wrong = Vec::new();
    for (width, mobile) in [(1280, false), (360, true)] {
        let metrics = json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": mobile});
        emulate("Emulation.setDeviceMetricsOverride", metrics);
        for scheme in ["light", "dark"] {
            let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
            emulate("Emulation.setEmulatedMedia", features);
            for page in ["", "package/acme/good.html", "status.html"] {
                browser.open(&format!("http://127.0.0.1:{port}/mirror/{page}"));
                browser.wait("document.getElementById('state').textContent !== ''");
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
