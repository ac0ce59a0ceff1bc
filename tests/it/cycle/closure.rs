//! The closure of what other repositories publish: what is taken from a repository like Packagist, and what it says later.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::composer_source::zip;
use crate::support::env::TestEnv;
use crate::support::file_server::{Answer, FileServer};
use crate::support::free_port;
use crate::support::git::WorkTree;
use crate::support::http::get;
use crate::support::store::{command, read, told};

/// A repository like Packagist: a file for each package, a feed of changes, archives without checksum.
struct Packagist {
    server: FileServer,
    packages: BTreeMap<String, BTreeMap<String, Value>>,
    filters: BTreeMap<String, Value>,
    changed: BTreeSet<String>,
    timestamp: i64,
}

impl Packagist {
    fn new() -> Self {
        let server = FileServer::start();
        server.write(
            "packages.json",
            json!({"packages": [], "metadata-url": "/p2/%package%.json", "metadata-changes-url": "/changes.json"})
                .to_string(),
        );
        let (packages, filters, changed) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        let packagist = Self { server, packages, filters, changed, timestamp: 15_900_000_000_000 };
        packagist
            .server
            .write("changes.json", json!({"timestamp": packagist.timestamp, "actions": []}).to_string());
        packagist
    }

    fn release(&mut self, name: &str, version: &str, require: &Value) -> &mut Value {
        let path = format!("dist/{name}-{version}.zip");
        let manifest = json!({"name": name, "license": "MIT", "require": require});
        let files = [("x-1/composer.json", &*manifest.to_string()), ("x-1/a.php", version)];
        self.server.write(&path, zip(&files));
        let entry = json!({
            "name": name,
            "version": version,
            "license": ["MIT"],
            "require": require,
            "time": "2025-02-03T04:05:06+00:00",
            "dist": {"type": "zip", "url": self.server.url(&path), "shasum": "", "reference": format!("ref-{version}")},
        });
        self.changed.insert(name.to_owned());
        let versions = self.packages.entry(name.to_owned()).or_default();
        versions.insert(version.to_owned(), entry);
        versions.get_mut(version).unwrap()
    }

    fn entry(&mut self, name: &str, version: &str) -> &mut Value {
        self.changed.insert(name.to_owned());
        self.packages.get_mut(name).unwrap().get_mut(version).unwrap()
    }

    fn withdraw(&mut self, name: &str, version: &str) {
        self.changed.insert(name.to_owned());
        self.packages.get_mut(name).unwrap().remove(version);
    }

    fn filter(&mut self, name: &str, filter: Value) {
        self.changed.insert(name.to_owned());
        self.filters.insert(name.to_owned(), filter);
    }

    fn publish(&mut self) {
        self.timestamp += 10_000;
        let mut actions = Vec::new();
        for name in std::mem::take(&mut self.changed) {
            let versions: Vec<_> = self.packages[&name].values().collect();
            let filter = self.filters.get(&name).cloned().unwrap_or_else(|| json!([]));
            let file = json!({"packages": {&name: versions}, "filter": filter});
            self.server.write(&format!("p2/{name}.json"), file.to_string());
            actions.push(json!({"type": "update", "package": name, "time": self.timestamp / 10_000}));
        }
        let feed = json!({"timestamp": self.timestamp, "actions": actions});
        self.server.write("changes.json", feed.to_string());
    }

    /// A mirror of a shop, and of what it can require from here.
    fn mirror(&self, port: u16, more: &str) -> (TestEnv, WorkTree) {
        let env = TestEnv::new();
        let shop = env.upstream("shop");
        env.write(
            "recipe.yaml",
            "sources:\n  - {name: shop, git: 'https://git.example/shop', packages: [{one: ''}]}\n",
        );
        let url = self.server.url("");
        env.write(
            "third.yaml",
            &format!("composer:\n  - {{name: packagist, url: '{url}', closure_of: [acme]{more}}}\n"),
        );
        env.write(
            "mirror.yaml",
            &format!(
                "data: {data}\nserve: {{listen: ['127.0.0.1:{port}'], drain: 5s, notice: 0s}}\nrepositories:\n  - {{name: acme, url: 'http://127.0.0.1:{port}/mirror/', recipe: ./recipe.yaml}}\n  - {{name: third, url: 'http://127.0.0.1:{port}/third/', recipe: ./third.yaml, schedule: '17 * * * *'}}\ngit:\n  connect_timeout: 2s\n  timeout: 2s\n  rewrite: {{'https://git.example/': 'file://{git}/'}}\n",
                data = env.path("data").display(),
                git = env.path("git").display(),
            ),
        );
        (env, shop)
    }
}

fn release_shop(shop: &WorkTree, version: &str, require: &Value) {
    let manifest = json!({"name": "acme/shop", "version": version, "require": require, "require-dev": {"lib/dev": "^1"}});
    shop.write("composer.json", &manifest.to_string()).release(version);
}

/// All that the closure's metadata lists.
fn listed(env: &TestEnv) -> Vec<String> {
    let root: Value = serde_json::from_str(&read(env, "data/third/current/packages.json")).unwrap();
    let mut all = Vec::new();
    for path in root["includes"].as_object().unwrap().keys() {
        let include: Value = serde_json::from_str(&read(env, &format!("data/third/current/{path}"))).unwrap();
        for (name, versions) in include["packages"].as_object().unwrap() {
            all.extend(versions.as_object().unwrap().keys().map(|version| format!("{name} {version}")));
        }
    }
    all.sort();
    all
}

fn archive(env: &TestEnv, name: &str, version: &str) -> Vec<u8> {
    std::fs::read(env.path(&format!("data/third/packages/{name}-{version}.zip"))).unwrap()
}

#[test]
fn closure_has_what_is_required_and_nothing_else() {
    let mut packagist = Packagist::new();
    packagist.release("lib/a", "1.0.0", &json!({"php": ">=8.1", "lib/b": "^2"}));
    packagist.release("lib/a", "1.1.0-beta1", &json!({}));
    packagist.release("lib/a", "2.0.0", &json!({"lib/dev": "*"}));
    packagist.release("lib/b", "2.3.0", &json!({"acme/shop": "*", "gone/away": "^1"}));
    packagist.release("lib/b", "3.0.0", &json!({}));
    packagist.release("lib/c", "1.0.0", &json!({}));
    packagist.release("lib/dev", "1.0.0", &json!({}));
    // Somebody else has taken the name there.
    packagist.release("acme/shop", "9.9.9", &json!({}));
    packagist.publish();
    let (env, shop) = packagist.mirror(free_port(), "");
    let log = env.build(2);
    assert!(log.contains("none of the repositories in `closure_of` has published anything yet"), "{log}");
    release_shop(&shop, "1.0.0", &json!({"php": ">=8", "ext-json": "*", "lib/a": "^1.0"}));
    packagist.server.take_requests();
    let log = env.build(0);
    assert_eq!(listed(&env), ["lib/a 1.0.0", "lib/b 2.3.0"]);
    assert!(log.contains("no version of `gone/away` that can be taken satisfies `^1`"), "{log}");
    let asked = packagist.server.take_paths();
    let names: Vec<_> = asked.iter().filter(|path| !path.starts_with("/changes.json")).collect();
    assert_eq!(
        names,
        [
            "/dist/lib/a-1.0.0.zip",
            "/dist/lib/b-2.3.0.zip",
            "/p2/gone/away.json",
            "/p2/lib/a.json",
            "/p2/lib/b.json",
            "/packages.json"
        ]
    );
    let sent = std::fs::read(packagist.server.path("dist/lib/a-1.0.0.zip")).unwrap();
    assert_eq!(archive(&env, "lib/a", "1.0.0"), sent);
    // Nothing new: the feed says that all is current, and nothing is written.
    packagist.publish();
    let before = env.volume();
    let log = env.build(0);
    assert!(!log.contains("gone/away"), "it is known: {log}");
    assert_eq!(env.volume(), before);
    let asked = packagist.server.take_paths();
    assert!(
        asked.iter().all(|path| path == "/packages.json" || path.starts_with("/changes.json")),
        "{asked:?}"
    );
    // A release that requires more.
    release_shop(&shop, "1.1.0", &json!({"lib/a": "^1.0", "lib/c": "1.0.0"}));
    env.build(0);
    assert_eq!(listed(&env), ["lib/a 1.0.0", "lib/b 2.3.0", "lib/c 1.0.0"]);
    command(&env, &["verify"], 0);
}

#[test]
fn what_upstream_withdraws_flags_or_abandons_passes_through_and_bytes_stay() {
    let mut packagist = Packagist::new();
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        packagist.release("lib/a", version, &json!({}));
    }
    packagist.release("lib/b", "1.0.0", &json!({}));
    packagist.publish();
    let port = free_port();
    let (env, shop) = packagist.mirror(port, "");
    release_shop(&shop, "1.0.0", &json!({"lib/a": "^1.0", "lib/b": "*"}));
    env.build(0);
    let first = archive(&env, "lib/a", "1.0.0");
    let _server = env.serve("serve", port);
    let status = |version: &str| get(port, &format!("/third/packages/lib/a-{version}.zip")).status;
    let data = |name: &str| -> Value {
        serde_json::from_str(&read(&env, &format!("data/third/current/p2/{name}.json"))).unwrap()
    };
    packagist.withdraw("lib/a", "1.1.0");
    packagist.filter("lib/a", json!({"malware": [{"constraint": "1.2.0", "reason": "steals\nkeys"}]}));
    packagist.entry("lib/b", "1.0.0")["abandoned"] = json!("lib/c");
    // The tag was moved: other bytes under the same version.
    packagist.release("lib/a", "1.0.0", &json!({"lib/evil": "*"}))["dist"]["reference"] = json!("moved");
    packagist.publish();
    let log = env.build(0);
    assert_eq!(listed(&env), ["lib/a 1.0.0", "lib/b 1.0.0"]);
    assert!(log.contains("lib/a 1.0.0: packagist has another archive now"), "{log}");
    assert_eq!(archive(&env, "lib/a", "1.0.0"), first);
    assert_eq!(data("lib/a")["packages"]["lib/a"][0].get("require"), None);
    assert_eq!(data("lib/b")["packages"]["lib/b"][0]["abandoned"], "lib/c");
    crate::support::until("it is served", || status("1.2.0") == 410);
    assert_eq!((status("1.0.0"), status("1.1.0")), (200, 200));
    assert_eq!(told(port, "/third/")["counts"]["unlisted"], 2);
    let page = get(port, "/third/status.html").into_text();
    assert!(page.contains("2 package versions that upstream has removed or flagged"), "{page}");
    let page = get(port, "/third/packages/lib/a-1.2.0.zip").into_text();
    assert!(page.contains("flagged upstream as malware: stealskeys"), "{page}");
    let before = env.volume();
    env.build(0);
    assert_eq!(env.volume(), before);
    // Who follows has the same.
    let (follower, own) = (TestEnv::new(), free_port());
    follower.write(
        "mirror.yaml",
        &format!(
            "data: {}\nserve: {{listen: ['127.0.0.1:{own}']}}\nrepositories:\n  - {{name: third, url: 'http://127.0.0.1:{own}/third/', follow: ['http://127.0.0.1:{port}/third/']}}\n",
            follower.path("data").display()
        ),
    );
    follower.build(0);
    for name in ["lib/a", "lib/b"] {
        let path = format!("data/third/current/p2/{name}.json");
        let origin = read(&env, &path).replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{own}"));
        assert_eq!(read(&follower, &path), origin);
    }
    assert_eq!(archive(&follower, "lib/a", "1.1.0"), archive(&env, "lib/a", "1.1.0"));
    // It was a mistake.
    packagist.release("lib/a", "1.1.0", &json!({}));
    packagist.filter("lib/a", json!([]));
    packagist.entry("lib/b", "1.0.0").as_object_mut().unwrap().remove("abandoned");
    packagist.publish();
    env.build(0);
    assert_eq!(listed(&env), ["lib/a 1.0.0", "lib/a 1.1.0", "lib/a 1.2.0", "lib/b 1.0.0"]);
    assert_eq!(data("lib/b")["packages"]["lib/b"][0].get("abandoned"), None);
    crate::support::until("it is served again", || status("1.2.0") == 200);
    command(&env, &["verify"], 0);
}

#[test]
fn young_flagged_and_proprietary_versions_are_not_taken() {
    let mut packagist = Packagist::new();
    let young = jiff::Timestamp::now().to_string();
    packagist.release("lib/a", "1.0.0", &json!({}));
    packagist.release("lib/a", "1.1.0", &json!({"lib/new": "*"}))["time"] = json!(young);
    packagist.release("lib/new", "1.0.0", &json!({}));
    // Its author says another date.
    packagist.release("lib/a", "1.2.0", &json!({}))["published-time"] = json!(young);
    packagist.release("lib/a", "1.3.0", &json!({}));
    packagist.filter("lib/a", json!({"malware": [{"constraint": ">=1.3"}]}));
    packagist.release("shut/paid", "1.0.0", &json!({}))["license"] = json!(["proprietary"]);
    packagist.release("shut/none", "1.0.0", &json!({})).as_object_mut().unwrap().remove("license");
    packagist.release("shut/dual", "1.0.0", &json!({}))["license"] = json!(["proprietary", "OSL-3.0"]);
    packagist.release("shop/module", "1.0.0", &json!({}))["dist"]["url"] =
        json!("https://repo.magento.com/archives/shop/module-1.0.0.zip");
    packagist.publish();
    let (env, shop) = packagist.mirror(free_port(), "");
    let require =
        json!({"lib/a": "^1.0", "shut/paid": "*", "shut/none": "*", "shut/dual": "*", "shop/module": "*"});
    release_shop(&shop, "1.0.0", &require);
    env.build(0);
    assert_eq!(listed(&env), ["lib/a 1.0.0", "shut/dual 1.0.0"]);
    let plan = command(&env, &["plan", "--repository", "third"], 0);
    for line in [
        "lib/a 1.1.0 excluded: it is of ",
        "lib/a 1.2.0 excluded: it is of ",
        "lib/a 1.3.0 excluded: flagged upstream as malware",
        "shut/paid 1.0.0 excluded: its license is proprietary",
        "shut/none 1.0.0 excluded: its license is missing",
        "shop/module 1.0.0 excluded: its archive is licensed to the owner of the keys",
    ] {
        assert!(plan.contains(line), "{line}: {plan}");
    }
    let (url, text) = (packagist.server.url(""), "minimum_age: 0s, allow_proprietary: ['shut/*']");
    env.write(
        "third.yaml",
        &format!("composer:\n  - {{name: packagist, url: '{url}', closure_of: [acme], {text}}}\n"),
    );
    env.build(0);
    assert_eq!(
        listed(&env),
        [
            "lib/a 1.0.0",
            "lib/a 1.1.0",
            "lib/a 1.2.0",
            "lib/new 1.0.0",
            "shut/dual 1.0.0",
            "shut/none 1.0.0",
            "shut/paid 1.0.0"
        ]
    );
}

#[test]
fn broken_upstream_withdraws_nothing() {
    let mut packagist = Packagist::new();
    packagist.release("lib/a", "1.0.0", &json!({}));
    packagist.release("lib/b", "1.0.0", &json!({}));
    packagist.publish();
    let (env, shop) = packagist.mirror(free_port(), "");
    release_shop(&shop, "1.0.0", &json!({"lib/a": "^1.0", "lib/b": "*"}));
    env.build(0);
    let all = listed(&env);
    std::fs::remove_dir_all(env.path("data/third/composer")).unwrap();
    for (answer, said) in [
        (Answer::new(500, ""), "http status 500"),
        (Answer::new(200, "<html>sign in</html>"), "lib/a"),
        (Answer::new(404, ""), "the metadata would lose 2 of 2 versions"),
        (Answer::new(200, r#"{"packages": {}}"#), "the metadata would lose 2 of 2 versions"),
    ] {
        packagist.server.answer(move |request, _| request.path.starts_with("/p2/").then(|| answer.clone()));
        let output = env.mirror("build");
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && log.contains(said), "{said}: {log}");
        assert_eq!(listed(&env), all);
    }
    packagist.server.answer(|_, _| None);
    env.build(0);
    assert_eq!(listed(&env), all);
}

#[test]
fn plan_says_how_much_there_is_to_take() {
    let mut packagist = Packagist::new();
    packagist.release("lib/a", "1.0.0", &json!({}));
    packagist.release("lib/a", "1.1.0", &json!({"lib/b": "*"}));
    packagist.release("lib/b", "1.0.0", &json!({}))["license"] = json!("proprietary");
    packagist.publish();
    let (env, shop) = packagist.mirror(free_port(), "");
    release_shop(&shop, "1.0.0", &json!({"lib/a": "^1.0"}));
    command(&env, &["build", "--repository", "acme"], 0);
    let plan = command(&env, &["plan", "--summary", "--repository", "third"], 0);
    assert!(
        plan.contains("third packagist: 2 versions of 1 packages, 0 already published; not taken: 1 by license, 0 by age, 0 flagged; 0 failed, 1 requirements unmet"),
        "{plan}"
    );
    assert!(plan.contains("third packagist: 2 packages were asked for in "), "{plan}");
    assert!(plan.contains("2 archives are to be fetched, one request each, 4 at once, about 1 s"), "{plan}");
    let sizes = ["1.0.0", "1.1.0"].map(|version| {
        std::fs::metadata(packagist.server.path(&format!("dist/lib/a-{version}.zip"))).unwrap().len()
    });
    let bytes = (sizes[0] + sizes[1]) / 2 * 2;
    assert!(plan.contains(&format!("about {bytes} B by the sizes of 2 of them")), "{plan}");
    let plan = command(&env, &["plan", "--repository", "third"], 0);
    assert!(plan.contains("third packagist: take lib/a 1.1.0\n"), "{plan}");
    let json: Value =
        serde_json::from_str(&command(&env, &["plan", "--json", "--repository", "third"], 0)).unwrap();
    let closure = &json["repositories"][0]["closures"]["packagist"];
    assert_eq!((&closure["counts"]["new"], &closure["requests"]), (&json!(2), &json!(2)));
    assert_eq!((&closure["bytes"], &closure["sizes_known"]), (&json!(bytes), &json!(2)));
    assert_eq!(closure["take"][0], json!({"package": "lib/a", "version": "1.0.0"}));
    // Of archives nothing but the size is asked for.
    let requests = packagist.server.take_requests().into_iter();
    let archives: Vec<_> = requests.filter(|request| request.path.starts_with("/dist/")).collect();
    assert!(!archives.is_empty());
    assert!(archives.iter().all(|request| request.headers["range"] == "bytes=0-0"), "{archives:?}");
}

/// What a repository flags beside the files of packages counts as what is in them.
#[test]
fn summary_and_answers_about_filter_lists_are_followed() {
    let mut packagist = Packagist::new();
    for version in ["1.0.0", "1.1.0"] {
        packagist.release("lib/a", version, &json!({}));
    }
    packagist.publish();
    let (env, shop) = packagist.mirror(free_port(), "");
    release_shop(&shop, "1.0.0", &json!({"lib/a": "^1.0"}));
    env.build(0);
    let root = |filter: Value| {
        let root = json!({
            "packages": [],
            "metadata-url": "/p2/%package%.json",
            "metadata-changes-url": "/changes.json",
            "filter": filter,
        });
        packagist.server.write("packages.json", root.to_string());
    };
    let summary = |lists: Value| {
        packagist.server.write("summary.json", json!({"filter": lists}).to_string());
    };
    let all = ["lib/a 1.0.0", "lib/a 1.1.0"];
    // Of the last line, which has none when a withdrawal ends.
    let reason = |env: &TestEnv| {
        let text = std::fs::read_to_string(env.path("data/third/withdrawn.jsonl")).unwrap_or_default();
        let line: Value =
            text.lines().last().map(|line| serde_json::from_str(line).unwrap()).unwrap_or_default();
        line["reason"].as_str().map(str::to_owned)
    };
    let flagged = || (vec!["lib/a 1.0.0".to_owned()], Some("flagged upstream as malware".to_owned()));
    // Composer reads an empty list, and what is not an object, as nothing.
    for nothing in [json!([]), json!(false), json!({"metadata": true, "lists": []})] {
        root(nothing);
        env.build(0);
        assert_eq!(listed(&env), all);
    }
    let lists =
        json!({"malware": {"enabled": true}, "abandonware": {"enabled": true}, "off": {"enabled": false}});
    root(json!({"metadata": true, "lists": lists, "summary-url": "/summary.json"}));
    summary(json!({"malware": {"Lib/A": "1.1.0", "other/x": "*"}, "abandonware": []}));
    env.build(0);
    assert_eq!((listed(&env), reason(&env)), flagged());
    // Without an answer nothing changes, and the source has failed.
    for answer in
        [Answer::new(500, ""), Answer::new(404, ""), Answer::new(200, "<html>"), Answer::new(200, "{}")]
    {
        packagist.server.answer(move |request, _| (request.path == "/summary.json").then(|| answer.clone()));
        env.build(1);
        assert_eq!((listed(&env), reason(&env)), flagged());
    }
    packagist.server.answer(|_, _| None);
    // A constraint that nobody can read.
    summary(json!({"malware": {"lib/a": "not a constraint"}}));
    let log = env.build(1);
    assert!(log.contains("the list `malware` flags `not a constraint`"), "{log}");
    assert_eq!((listed(&env), reason(&env)), flagged());
    summary(json!([]));
    env.build(0);
    assert_eq!((listed(&env), reason(&env)), (all.map(str::to_owned).to_vec(), None));
    // A URL that is asked about packages comes before the summary.
    root(json!({"metadata": true, "lists": lists, "summary-url": "/summary.json", "api-url": "/ask"}));
    summary(json!({"malware": {"lib/a": "*"}}));
    let entries = json!({"filter": {"abandonware": [
        {"package": "lib/a", "constraint": "<1.1", "reason": "nobody cares"},
        {"package": "other/x", "constraint": "*"},
        {"constraint": "*"},
    ]}});
    packagist.server.take_requests();
    packagist
        .server
        .answer(move |request, _| (request.path == "/ask").then(|| Answer::new(200, entries.to_string())));
    env.build(0);
    assert_eq!((listed(&env), reason(&env)), (vec!["lib/a 1.1.0".to_owned()], None));
    let asked = packagist.server.take_requests().into_iter().find(|request| request.path == "/ask").unwrap();
    let question: Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!(question, json!({"packages": ["pkg://composer/lib/a"], "lists": ["abandonware", "malware"]}));
}

#[test]
fn mistakes_in_the_recipe_are_named() {
    let packagist = Packagist::new();
    let (env, _) = packagist.mirror(free_port(), "");
    for (text, said) in [
        (
            "closure_of: [acne]",
            "expects names of other repositories of the configuration, found `acne`\n  hint: did you mean `acme`?",
        ),
        ("closure_of: [third]", "expects names of other repositories of the configuration, found `third`"),
        ("closure_of: [acme], packages: {a/b: '*'}", "`packages` cannot be combined with `closure_of`"),
        ("packages: {a/b: '*'}, minimum_age: 1d", "`minimum_age` requires `closure_of`"),
        ("closure_of: [acme], minimum_age: '3'", "expected a duration with its unit"),
        ("closure_of: [acme], allow_proprietary: [Acme]", "expected a package name or a pattern"),
        (
            "closure_of: [acme], url: 'https://repo.magento.com/'",
            "`closure_of` takes nothing from repo.magento.com",
        ),
    ] {
        let url = if text.contains("url:") {
            String::new()
        } else {
            format!("url: '{}', ", packagist.server.url(""))
        };
        env.write("third.yaml", &format!("composer:\n  - {{name: packagist, {url}{text}}}\n"));
        let output = env.mirror("check");
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && log.contains(said), "{said}: {log}");
    }
}
