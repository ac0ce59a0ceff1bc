//! The pages in a real browser: Debian's chromium without a screen, driven over WebDriver.

mod accessibility;
mod browser;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::env::{MirrorProcess, TestEnv};
use crate::support::free_port;
use crate::support::http::{Response, get, request};
use crate::support::until;
pub use browser::Browser;
use browser::LONG;
use jiff::Timestamp;
use mirror::composer::Manifest;
use mirror::config::Serve;
use mirror::config::{Hints, Metadata};
use mirror::metadata::{BaseUrl, PackageSummary, PackageVersion, RepositoryInfo, pages};
use mirror::recipe::{Note, Product, Recipe};
use mirror::server::{ContentKind, PublishedSite, RepositorySite, Resource, Server, Settings, Site};
use mirror::telemetry::Metrics;
use mirror::util::compression::{Coding, Effort};
use mirror::util::digest::{Sha1, Sha256};
use serde_json::{Value, json};

const HOSTILE: &str =
    r#"<script>document.title='pwned'</script><img src=x onerror="document.title='pwned'">"</title>'&lt;"#;

fn version(name: &str, version: &str, manifest: Value) -> PackageVersion {
    let mut manifest = manifest;
    manifest["name"] = name.into();
    PackageVersion {
        number: 1,
        manifest: Manifest::parse(manifest.to_string().as_bytes()).unwrap(),
        version: version.parse().unwrap(),
        path: format!("packages/{name}-{version}.zip"),
        sha1: Sha1([7; 20]),
        committed: "2024-05-06T07:08:09Z".parse::<Timestamp>().unwrap(),
        size: 12_345,
        commit: "c0ffee".into(),
        is_nightly: false,
        upstream: None,
        source: "upstream".into(),
        published: "2024-05-07T07:08:09Z".parse().unwrap(),
    }
}

/// One about an existing version, one about a missing one.
fn notes() -> Vec<Note> {
    let note = |versions: &str, text: &str| {
        serde_json::from_value(json!({"package": "acme/framework", "versions": [versions], "note": text, "see": "https://upstream.example/1"}))
            .unwrap()
    };
    vec![note("1.0.0", "Install it <b>twice</b>."), note("9.9.9", "Nobody has it.")]
}

fn product() -> Product {
    Product { name: "Acme Suite".into(), package: "acme/suite".into(), project: None }
}

/// A server with the pages of `packages` packages, among them a project and one with a hostile description.
struct Mirror {
    port: u16,
    files: BTreeMap<String, Vec<u8>>,
    _folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Mirror {
    fn of(packages: usize) -> Self {
        let mut all = BTreeMap::new();
        for i in 0..packages {
            let name = format!("acme/module-{}-{i:04}", ["catalog", "sales", "checkout", "store"][i % 4]);
            let text = json!({"type": "magento2-module", "description": format!("Part {i} of the shop"), "require": {"acme/framework": "1.0.0"}});
            all.insert(name.clone(), vec![version(&name, "1.0.0", text)]);
        }
        let framework =
            json!({"type": "magento2-library", "description": HOSTILE, "require": {"php": HOSTILE}});
        all.insert(
            "acme/framework".into(),
            vec![
                version("acme/framework", "1.1.0", framework.clone()),
                version("acme/framework", "1.0.0", framework),
            ],
        );
        let project = version("acme/project", "2.4.8", json!({"type": "project"}));
        all.insert("acme/project".into(), vec![project]);
        let suite = |number: &str, require: Value| {
            version("acme/suite", number, json!({"type": "metapackage", "require": require}))
        };
        let suites = vec![
            suite(
                "1.1.0",
                json!({"php": "~8.3.0", "acme/framework": "1.1.0", "acme/project": "2.4.8", "ext-new": "*"}),
            ),
            suite("1.1.0-beta1", json!({"php": "~8.2.0", "acme/framework": "1.1.0"})),
            suite(
                "1.0.0",
                json!({"php": "~8.2.0", "acme/framework": "1.0.0", "acme/module-catalog-0000": "1.0.0"}),
            ),
        ];
        all.insert("acme/suite".into(), suites);
        let port = free_port();
        let base = BaseUrl::new(format!("http://127.0.0.1:{port}/shop/").parse().unwrap());
        let recipe = Recipe { notes: notes(), products: vec![product()], ..Recipe::default() };
        let (site, hints) = (mirror::config::Site::default(), Hints::default());
        let said = RepositoryInfo {
            base: &base,
            metadata: Metadata::Inline,
            hints: &hints,
            site: &site,
            recipe: &recipe,
            is_private: false,
            is_trial: false,
        };
        let of = |(name, versions): (&String, &Vec<_>)| Some((name.clone(), PackageSummary::new(versions)?));
        let summaries = all.iter().filter_map(of).collect();
        let view = pages::View::new(&said, &summaries, pages::Findings::default());
        let files = pages::render(&view, |name| Ok(all.get(name).cloned())).unwrap();
        let files = files.into_iter().map(|(path, text)| (path, text.unwrap()));
        Self::serve(port, files.collect())
    }

    fn serve(port: u16, files: BTreeMap<String, Vec<u8>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut resources = Vec::new();
        for (path, bytes) in &files {
            let file = folder.path().join(path.replace('/', "_"));
            std::fs::write(&file, bytes).unwrap();
            resources.push(Resource {
                path: path.clone(),
                location: file.into(),
                size: bytes.len() as u64,
                sha256: Sha256::digest(bytes),
                last_modified: 1_645_567_342,
                kind: match path.rsplit('.').next() {
                    Some("css") => ContentKind::Style,
                    Some("js") => ContentKind::Script,
                    _ => ContentKind::Page,
                },
                variants: Vec::new(),
            });
        }
        let published = PublishedSite::default();
        published.replace(
            Site::new([RepositorySite {
                name: "shop".into(),
                base_path: "/shop/".into(),
                resources: Some(resources),
                gone: Vec::new(),
            }])
            .unwrap(),
        );
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let settings = Settings {
            serve: Serve { listen: vec![([127, 0, 0, 1], port).into()], ..Serve::default() },
            ..Settings::default()
        };
        let server = runtime
            .block_on(Server::bind(settings, published, Metrics::new(Path::new("/")).unwrap()))
            .unwrap();
        runtime.spawn(server.run(std::future::pending()));
        Self { port, files, _folder: folder, _runtime: runtime }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/shop/{path}", self.port)
    }
}

const SHOWN: &str = "[...document.querySelectorAll('#list li')].filter(row => !row.hidden).length";

#[test]
fn search_works_with_typing_and_keyboard() {
    let mirror = Mirror::of(5000);
    let browser = Browser::start(&["--window-size=1280,900"], &json!({}));
    browser.open(&mirror.url(""));
    assert_eq!(browser.value(SHOWN), 5003);
    browser.picture("main-wide.png");
    browser.keys("/");
    assert_eq!(browser.text("document.activeElement.id"), "query");
    browser.keys("SALES 0001");
    browser.wait(&format!("{SHOWN} === 1"));
    assert_eq!(browser.text("document.getElementById('found').textContent"), "1 of 5003 packages");
    browser.picture("search.png");
    // Arrow down, then escape (WebDriver's codes).
    browser.keys("\u{e015}");
    assert_eq!(browser.text("document.activeElement.textContent"), "acme/module-sales-0001");
    browser.keys("\u{e00c}");
    browser.wait(&format!("{SHOWN} === 5003"));
    // By type, and by description.
    browser.keys("magento2-library");
    browser.wait(&format!("{SHOWN} === 1"));
    browser.keys("\u{e00c}0017 shop");
    browser.wait(&format!("{SHOWN} === 1"));
    browser.keys("\u{e007}");
    browser.wait("document.querySelector('h1').textContent === 'acme/module-sales-0017'");
}

#[test]
fn copy_button_copies_commands() {
    let mirror = Mirror::of(3);
    let browser = Browser::start(&[], &json!({}));
    browser.open(&mirror.url(""));
    browser.post(
        "/goog/cdp/execute",
        &json!({"cmd": "Browser.grantPermissions", "params": {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}}),
    );
    let command = format!("composer create-project --repository={} acme/project=2.4.8 shop", mirror.url(""));
    let block = "[...document.querySelectorAll('.copy')].find(b => b.textContent.includes('create-project'))";
    assert_eq!(browser.text(&format!("{block}.querySelector('code').textContent")), command);
    browser.value(&format!("{block}.querySelector('button').focus()"));
    browser.keys("\u{e007}");
    browser.wait(&format!("{block}.querySelector('button').textContent === 'Copied'"));
    let read = json!({"script": "const done = arguments[0]; navigator.clipboard.readText().then(done, e => done(String(e)))", "args": []});
    assert_eq!(browser.post("/execute/async", &read), command);
}

#[test]
fn upstream_text_is_escaped() {
    let mirror = Mirror::of(3);
    let browser = Browser::start(&[], &json!({}));
    for path in ["", "package/acme/framework.html"] {
        browser.open(&mirror.url(path));
        browser.wait("document.readyState === 'complete'");
        assert_eq!(browser.value("document.querySelectorAll('main script, main img').length"), 0);
        assert!(
            browser.text("document.body.textContent").contains("<script>document.title='pwned'"),
            "{path}"
        );
        assert_ne!(browser.text("document.title"), "pwned", "{path}");
    }
    // The page of a package: versions, requirements and dependents.
    assert_eq!(browser.value("document.querySelectorAll('details').length"), 2);
    assert_eq!(
        browser.text("document.querySelector('.copy code').textContent"),
        "composer require acme/framework"
    );
    assert!(
        browser
            .text("document.querySelector('#required-by').parentElement.textContent")
            .contains("acme/module-sales-0001")
    );
    browser.picture("package.png");
    // The content security policy applies even if a page contained a script.
    browser.value("document.body.append(Object.assign(document.createElement('script'), {textContent: \"document.title='pwned'\"}))");
    assert_ne!(browser.text("document.title"), "pwned");
}

#[test]
fn pages_fit_phones_and_dark_mode() {
    let mirror = Mirror::of(30);
    let browser = Browser::start(&["--window-size=500,800"], &json!({}));
    let emulate = |command: &str, parameters: Value| {
        browser.post("/goog/cdp/execute", &json!({"cmd": command, "params": parameters}));
    };
    emulate(
        "Emulation.setDeviceMetricsOverride",
        json!({"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true}),
    );
    let ground = "getComputedStyle(document.body).backgroundColor";
    for path in ["", "package/acme/framework.html"] {
        browser.open(&mirror.url(path));
        assert_eq!(browser.value("innerWidth"), 360);
        assert_eq!(
            browser.value("document.documentElement.scrollWidth"),
            360,
            "{path} is wider than the phone"
        );
        assert_eq!(browser.text(ground), "rgb(255, 255, 255)");
    }
    emulate(
        "Emulation.setEmulatedMedia",
        json!({"features": [{"name": "prefers-color-scheme", "value": "dark"}]}),
    );
    assert_eq!(browser.text(ground), "rgb(20, 23, 28)");
    browser.open(&mirror.url(""));
    browser.picture("phone-dark.png");
}

#[test]
fn pages_work_without_javascript() {
    let mirror = Mirror::of(30);
    let browser = Browser::start(&[], &json!({"profile.managed_default_content_settings.javascript": 2}));
    browser.open(&mirror.url(""));
    // WebDriver's own script still runs. The script of the page did not run, or its buttons would exist.
    assert_eq!(browser.value("document.querySelectorAll('.copy button:not([hidden])').length"), 0);
    assert_eq!(browser.value("document.getElementById('search').hidden"), true);
    assert_eq!(browser.value("document.querySelectorAll('#list a').length"), 33);
    browser.open(&mirror.url("package/acme/framework.html"));
    assert_eq!(browser.value("document.querySelectorAll('details dl').length"), 2);
}

#[test]
fn main_page_of_five_thousand_packages_is_small() {
    let mirror = Mirror::of(5000);
    for coding in Coding::ALL {
        let packed = |path: &str| {
            let text = &mirror.files[path];
            let packed = coding.encode(Effort::Thorough, text.len() as u64, &mut text.as_slice(), Vec::new());
            packed.unwrap().len()
        };
        let wire = packed("index.html") + packed("pages/style.css") + packed("pages/script.js");
        println!("{}: {wire} bytes", coding.name());
        assert!(wire < 100_000, "{}: {wire} bytes", coding.name());
    }
}

#[test]
fn versions_with_notes_show_them() {
    let mirror = Mirror::of(1);
    let page = |path: &str| String::from_utf8(mirror.files[path].clone()).unwrap();
    let (main, package) = (page("index.html"), page("package/acme/framework.html"));
    assert!(main.contains("acme/framework</a> 1.0.0: Install it &lt;b&gt;twice&lt;/b&gt;."), "{main}");
    assert!(main.contains(r#"href="https://upstream.example/1""#), "{main}");
    assert!(!main.contains("Nobody has it"), "{main}");
    assert_eq!(package.matches("Install it &lt;b&gt;twice&lt;/b&gt;.").count(), 1);
    let (_, old) = package.split_once(r#"id="v1.0.0""#).expect("the older version is the last");
    assert!(old.contains("Install it"), "{package}");
}

const SOURCE: &str = "  - name: good\n    git: https://git.example/good\n    packages: [{one: ''}]\n  - name: gone\n    git: https://git.example/gone\n    packages: [{one: ''}]\n";

#[test]
fn mirror_json_and_status_page_report_the_state() {
    let (env, port) = (TestEnv::new(), free_port());
    let upstream = env.upstream("good");
    upstream.write("composer.json", r#"{"name": "acme/good", "version": "1.0.0"}"#).release("1.0.0");
    env.configure(port, SOURCE);
    env.build(1);
    let server = env.serve("serve", port);
    let told = |path: &str| {
        let until = Instant::now() + LONG;
        loop {
            let answer = get(port, path);
            if answer.status == 200 {
                return answer;
            }
            assert!(Instant::now() < until, "{path}: {}", answer.status);
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let answer = told("/mirror/mirror.json");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let parse = |answer: &Response| serde_json::from_slice::<Value>(&answer.body).unwrap();
    let state = parse(&answer);
    assert_eq!(state["schema"], 1);
    let repository = &state["repository"];
    assert_eq!(repository["state"], "incomplete");
    assert_eq!(repository["succeeded"], Value::Null);
    assert_eq!(repository["counts"]["releases"], 1);
    assert_eq!(repository["sources"]["good"]["newest_ref"], "1.0.0");
    // The internal URL of the source is not public.
    let error = repository["sources"]["gone"]["error"].as_str().unwrap();
    assert!(error.contains("`(internal URL)`"), "{error}");
    let local = env.path("git").display().to_string();
    for path in ["mirror.json", "status.html"] {
        let said = String::from_utf8(told(&format!("/mirror/{path}")).body).unwrap();
        assert!(!said.contains(&local) && !said.contains("git.example"), "{path}: {said}");
    }
    assert_eq!(repository["newest"][0]["name"], "acme/good");
    // No check was complete yet, so there is no last one.
    assert_eq!(get(port, "/mirror/lastsync").status, 404);

    let browser = Browser::start(&["--window-size=1280,900"], &json!({}));
    browser.open(&format!("http://127.0.0.1:{port}/mirror/status.html"));
    assert!(browser.text("document.querySelector('.verdict').textContent").contains("1 source failed"));
    assert!(browser.text("document.querySelector('tbody').textContent").contains("gone"));
    browser.wait("document.querySelector('dd').textContent.includes(' ago')");
    browser.picture("status.png");

    // After a repair another process builds. This one reports it and does not touch unchanged metadata.
    env.upstream("gone")
        .write("composer.json", r#"{"name": "acme/gone", "version": "1.0.0"}"#)
        .release("1.0.0");
    env.build(0);
    let until = Instant::now() + LONG;
    let fresh = loop {
        let state = parse(&get(port, "/mirror/mirror.json"));
        if state["repository"]["state"] == "fresh" {
            break state;
        }
        assert!(Instant::now() < until, "{state:#}");
        std::thread::sleep(Duration::from_millis(20));
    };
    let seconds = |path: &str| String::from_utf8(told(path).body).unwrap().trim().parse::<i64>().unwrap();
    let succeeded: Timestamp = fresh["repository"]["succeeded"].as_str().unwrap().parse().unwrap();
    assert_eq!(seconds("/mirror/lastsync"), succeeded.as_second());
    assert!(seconds("/mirror/lastupdate") > 0);
    let trace = String::from_utf8(told("/mirror/project/trace/127.0.0.1").body).unwrap();
    assert!(trace.contains("Upstream-Complete: yes\n"), "{trace}");

    // A cycle without news changes the time of the last check, but no date of the metadata.
    let dated = || {
        let answer = get(port, "/mirror/p2/acme/good.json");
        answer.header("last-modified").unwrap().to_owned()
    };
    let before = (dated(), env.volume());
    env.build(0);
    assert_eq!((dated(), env.volume()), before);
    let conditional =
        request(port, "GET", "/mirror/p2/acme/good.json", &format!("If-Modified-Since: {}\r\n", before.0));
    assert_eq!(conditional.status, 304);
    assert_eq!(server.stop(), Some(0));
}

/// Upstream does not answer: a git server that takes connections and says nothing.
#[test]
fn status_page_shows_progress_of_running_cycle() {
    let (env, port) = (TestEnv::new(), free_port());
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = env.upstream("good");
    upstream.write("composer.json", r#"{"name": "acme/good", "version": "1.0.0"}"#).release("1.0.0");
    env.configure(
        port,
        &SOURCE.replace("https://git.example/gone", &format!("http://{}/gone", silent.local_addr().unwrap())),
    );
    let config = std::fs::read_to_string(env.path("mirror.yaml")).unwrap();
    env.write("mirror.yaml", &config.replace("timeout: 2s", "timeout: 60s"));
    let mut mirror = Command::new(env!("CARGO_BIN_EXE_mirror"));
    mirror.arg("run").arg("--config").arg(env.path("mirror.yaml")).stderr(Stdio::null());
    let server = MirrorProcess::new(mirror.spawn().unwrap());
    let until = Instant::now() + LONG;
    let said = loop {
        assert!(Instant::now() < until, "no cycle runs");
        std::thread::sleep(Duration::from_millis(20));
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            continue;
        }
        let answer = get(port, "/mirror/progress.json");
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if said["running"]["sources"]["done"] == 1 {
            break said;
        }
    };
    assert_eq!((&said["schema"], &said["running"]["stage"]), (&json!(1), &json!("fetch")));
    assert_eq!(said["running"]["sources"]["all"], 2);
    let metrics = String::from_utf8(get(port, "/-/metrics").body).unwrap();
    assert!(metrics.contains(r#"mirror_cycle_fetched_sources{repository="acme"} 1"#), "{metrics}");

    let browser = Browser::start(&["--window-size=1280,900"], &json!({}));
    browser.open(&format!("http://127.0.0.1:{port}/mirror/status.html"));
    let place = "document.getElementById('progress')";
    browser.wait(&format!("{place}.textContent.startsWith('Fetching: 1 of 2 sources')"));
    assert_eq!(browser.value(&format!("{place}.hidden")), false);
    // The connection ends, so the source fails and the cycle ends.
    drop(silent.accept().unwrap());
    drop(silent);
    browser.wait(&format!("{place}.textContent.startsWith('The cycle has finished')"));
    let said: Value = serde_json::from_slice(&get(port, "/mirror/progress.json").body).unwrap();
    assert_eq!(said["running"], Value::Null);
    let next: Timestamp = said["next"].as_str().unwrap().parse().unwrap();
    assert!(next > Timestamp::now(), "{next}");
    let metrics = String::from_utf8(get(port, "/-/metrics").body).unwrap();
    assert!(!metrics.contains("mirror_cycle_fetched_sources{"), "{metrics}");
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn page_of_product_release_says_what_is_in_it_and_what_changed() {
    let mirror = Mirror::of(1);
    let browser = Browser::start(&["--window-size=1280,900"], &json!({}));
    browser.open(&mirror.url(""));
    assert_eq!(browser.text("document.querySelector('h1').textContent"), "Acme Suite");
    let newest = "[...document.querySelectorAll('.newest a')].map(a => a.textContent).join()";
    assert_eq!(browser.text(newest), "Acme Suite 1.1.0,Acme Suite 1.0.0,Acme Suite 1.1.0-beta1");
    browser.value("document.querySelector('.newest a').click()");
    browser.wait("document.querySelector('h1').textContent === 'Acme Suite 1.1.0'");
    browser.picture("release.png");
    assert_eq!(
        browser.text("document.querySelector('.copy code').textContent"),
        "composer require acme/suite:1.1.0"
    );
    // Since the stable release before, not since the beta.
    assert_eq!(browser.text("document.querySelector('#changes').textContent"), "Changes since 1.0.0");
    let rows = |place: &str| {
        browser.text(&format!(
            "[...document.querySelectorAll('{place} tbody tr')].map(row => [...row.children].map(cell => cell.textContent).join(' ')).join('; ')"
        ))
    };
    assert_eq!(
        rows("[aria-labelledby=changes]"),
        "acme/framework 1.0.0 1.1.0; acme/module-catalog-0000 1.0.0 removed; acme/project – 2.4.8 new; ext-new – * new; php ~8.2.0 ~8.3.0"
    );
    assert_eq!(rows("section[aria-labelledby=packages]"), "acme/framework 1.1.0 ; acme/project 2.4.8 ");
    // The links lead to the package, and back to the release.
    browser.value("document.querySelector('section[aria-labelledby=packages] a').click()");
    browser.wait("document.querySelector('h1').textContent === 'acme/framework'");
    assert_eq!(browser.value("document.getElementById('v1.1.0').open"), true);
    browser.open(&mirror.url("package/acme/suite.html"));
    browser.value("document.querySelector('#versions ~ div td a').click()");
    browser.wait("document.querySelector('h1').textContent === 'Acme Suite 1.1.0'");
}

#[test]
fn list_is_filtered_and_sorted_and_keeps_that_in_the_url() {
    let mirror = Mirror::of(8);
    let browser = Browser::start(&["--window-size=1280,900"], &json!({}));
    browser.open(&mirror.url("?type=magento2-library"));
    browser.wait(&format!("{SHOWN} === 1"));
    assert_eq!(browser.text("document.getElementById('type').value"), "magento2-library");
    browser.open(&mirror.url("?type=nothing"));
    browser.wait(&format!("{SHOWN} === 11"));
    let choose = |id: &str, value: &str| {
        browser.value(&format!(
            "(() => {{ const field = document.getElementById('{id}'); field.value = '{value}'; field.dispatchEvent(new Event('input', {{bubbles: true}})); }})()"
        ));
    };
    choose("vendor", "acme");
    choose("type", "project");
    choose("sort", "date");
    browser.wait(&format!("{SHOWN} === 1"));
    assert_eq!(browser.text("location.search"), "?vendor=acme&type=project&sort=date");
    assert_eq!(browser.text("document.getElementById('found').textContent"), "1 of 11 packages");
    browser.value("document.getElementById('query').focus()");
    browser.keys("nothing at all");
    browser.wait("document.getElementById('found').textContent.startsWith('No package matches')");
    browser.keys("\u{e00c}");
    browser.wait(&format!("{SHOWN} === 11"));
    assert_eq!(browser.text("location.search"), "");
}

#[test]
fn a_key_is_answered_within_50_milliseconds_among_five_thousand_packages() {
    let mirror = Mirror::of(5000);
    let browser = Browser::start(&["--window-size=1280,900"], &json!({}));
    browser.open(&mirror.url(""));
    browser.wait("!document.getElementById('search').hidden");
    // The time of the handler, with the layout that it causes. A busy machine gets several attempts.
    let script = "const field = document.getElementById('query'); let best = Infinity;
        for (const text of ['s', 'sa', 'sal', 'sale', 'sales', '']) { field.value = text; const begun = performance.now();
            field.dispatchEvent(new Event('input', {bubbles: true})); document.body.offsetHeight; best = Math.min(best, performance.now() - begun); }
        return best";
    until("a key is answered within 50 ms", || {
        browser.post("/execute/sync", &json!({"script": script, "args": []})).as_f64().unwrap() < 50.0
    });
}

#[test]
fn missing_page_leads_home() {
    let mirror = Mirror::of(1);
    let browser = Browser::start(&[], &json!({}));
    for path in ["package/acme/gone.html", "gone"] {
        browser.open(&mirror.url(path));
        assert_eq!(browser.text("document.querySelector('h1').textContent"), "Not found");
        browser.value("document.querySelector('main a').click()");
        browser.wait("document.querySelector('h1').textContent === 'Acme Suite'");
    }
    // Composer accepts everything and gets a word.
    let answer = request(mirror.port, "GET", "/shop/p2/acme/gone.json", "Accept: */*\r\n");
    assert_eq!((answer.status, answer.into_text()), (404, "not found".into()));
}
