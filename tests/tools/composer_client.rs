//! A git repository, the binary and the real Composer client.

use crate::composer::ComposerProject;
use crate::support::env::TestEnv;
use crate::support::http::{get, request};
use crate::support::shop::{SOURCE, configure_repository, shop};
use crate::support::{free_port, run, until};
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn composer_installs_updates_and_reinstalls_after_restart() {
    let (env, port) = (TestEnv::new(), free_port());
    let upstream = shop(&env);
    env.configure(port, SOURCE);
    configure_repository(&env, "metadata: lazy");
    env.build(0);
    let server = env.serve("run", port);

    let project = env.path("project");
    env.write("project/composer.json", &format!(
        r#"{{"name": "a/project", "require": {{"acme/shop": "1.0.0"}}, "config": {{"secure-http": false}},
            "repositories": [{{"type": "composer", "url": "http://127.0.0.1:{port}/mirror/"}}, {{"packagist.org": false}}]}}"#
    ));
    let composer = ComposerProject { folder: &project };
    composer.composer(&["update"]);
    let product = project.join("vendor/acme/catalog/Model/Product.php");
    assert_eq!(std::fs::read_to_string(&product).unwrap(), "<?php // 1.0.0");
    assert!(!project.join("vendor/acme/dev").exists());

    composer.composer(&["require", "acme/shop:^1.0", "--with-all-dependencies"]);
    assert_eq!(std::fs::read_to_string(&product).unwrap(), "<?php // 1.0.0-p1");

    // Nothing is sent twice: every response to an update is 304.
    let log = composer.composer(&["update", "-vvv"]);
    let statuses: Vec<_> = log.lines().filter(|l| l.contains("/mirror/") && l.contains('[')).collect();
    assert!(statuses.iter().filter(|l| l.contains("[304]")).count() >= 4, "{log}");
    assert!(!statuses.iter().any(|l| l.contains("[200]")), "{log}");

    assert_eq!(server.stop(), Some(0));
    upstream
        .write("Catalog/Model/Product.php", "<?php // 1.1.0")
        .write("Catalog/composer.json", r#"{"name": "acme/catalog", "version": "1.1.0"}"#);
    upstream.release("1.1.0");
    env.build(0);
    let _server = env.serve("serve", port);
    run(Command::new("rm").args(["-r", "vendor", ".home"]).current_dir(&project));
    composer.composer(&["install"]);
    assert_eq!(std::fs::read_to_string(&product).unwrap(), "<?php // 1.0.0-p1");
}

#[test]
fn composer_updates_nightly_version_that_moves_within_a_day() {
    let (env, port) = (TestEnv::new(), free_port());
    let upstream = env.upstream("modules");
    upstream.write("composer.json", r#"{"name": "acme/a", "version": "1.0.0"}"#);
    upstream.write("state", "first").release("1.0.0");
    env.configure(
        port,
        "  - {name: modules, git: 'https://git.example/modules', nightly: main, packages: [{one: ''}]}\n",
    );
    env.build(0);
    let _server = env.serve("serve", port);
    let project = env.path("project");
    env.write("project/composer.json", &format!(
        r#"{{"name": "a/project", "require": {{"acme/a": "*@alpha"}}, "config": {{"secure-http": false}},
            "repositories": [{{"type": "composer", "url": "http://127.0.0.1:{port}/mirror/"}}, {{"packagist.org": false}}]}}"#
    ));
    let composer = ComposerProject { folder: &project };
    composer.composer(&["update"]);
    let state = || std::fs::read_to_string(project.join("vendor/acme/a/state")).unwrap();
    assert_eq!(state(), "first");
    upstream.write("state", "second").release("moved");
    env.build(0);
    until("the server follows", || {
        let metadata = get(port, "/mirror/p2/acme/a.json").into_text();
        metadata.contains(upstream.git(&["rev-parse", "HEAD"]).trim())
    });
    composer.composer(&["update"]);
    assert_eq!(state(), "second");
}

#[test]
fn composer_gets_all_metadata_from_one_file() {
    let (env, port) = (TestEnv::new(), free_port());
    let upstream = shop(&env);
    env.configure(port, SOURCE);
    env.build(0);
    let server = env.serve("run", port);
    env.write("project/composer.json", &format!(
        r#"{{"name": "a/project", "require": {{"acme/shop": "1.0.0"}}, "config": {{"secure-http": false}},
            "repositories": [{{"type": "composer", "url": "http://127.0.0.1:{port}/mirror/"}}, {{"packagist.org": false}}]}}"#
    ));
    let project = env.path("project");
    let composer = ComposerProject { folder: &project };
    // Every response in Composer's log, such as "[200] http://...".
    let answers = |arguments: &[&str]| {
        let said = composer.composer(&[arguments, &["-vvv"]].concat());
        let answers = said.lines().filter(|l| l.starts_with("[") && l.contains("/mirror/"));
        let answers = answers.map(|line| line.split("/mirror/").collect::<Vec<_>>());
        let answers: Vec<_> = answers.map(|parts| (parts[0][..5].to_owned(), parts[1].to_owned())).collect();
        (answers, said)
    };
    let root = |status: &str| vec![(status.to_owned(), "packages.json".to_owned())];
    // packages.json, and the file of all versions that it names.
    let all = || {
        let root: serde_json::Value =
            serde_json::from_slice(&get(port, "/mirror/packages.json").body).unwrap();
        let include = root["includes"].as_object().unwrap().keys().next().unwrap().replace('$', "%24");
        vec![("[200]".to_owned(), "packages.json".to_owned()), ("[200]".to_owned(), include)]
    };
    let (cold, said) = answers(&["update", "--no-install"]);
    assert_eq!(cold, all(), "{said}");
    let (warm, said) = answers(&["update", "--no-install"]);
    assert_eq!(warm, root("[304]"), "{said}");
    composer.composer(&["install"]);
    let product = project.join("vendor/acme/catalog/Model/Product.php");
    assert_eq!(std::fs::read_to_string(&product).unwrap(), "<?php // 1.0.0");
    for arguments in [
        &["show", "--available", "acme/sales", "1.0.0-p1"][..],
        &["outdated"],
        &["prohibits", "acme/catalog", "1.0.0-p1"],
        &["update", "--lock"],
        &["require", "acme/shop:^1.0", "--with-all-dependencies", "--no-install"],
    ] {
        let (answers, said) = answers(arguments);
        assert_eq!(answers, root("[304]"), "{said}");
    }
    composer.composer(&["install"]);
    assert_eq!(std::fs::read_to_string(&product).unwrap(), "<?php // 1.0.0-p1");

    // The files of the lazy form exist as well.
    assert_eq!(server.stop(), Some(0));
    upstream.release("1.0.1");
    env.build(0);
    let _server = env.serve("run", port);
    let (changed, said) = answers(&["update", "--no-install"]);
    assert_eq!(changed, all(), "{said}");
    assert_eq!(get(port, "/mirror/p2/acme/sales.json").status, 200);
}

#[test]
fn composer_creates_project_below_sub_path() {
    let (env, port) = (TestEnv::new(), free_port());
    env.upstream("modules")
        .write("composer.json", r#"{"name": "acme/project", "type": "project", "version": "2.0.0"}"#)
        .write("bin/run", "#!/bin/sh\n")
        .release("2.0.0");
    env.configure(
        port,
        "  - name: modules\n    git: https://git.example/modules\n    packages: [{one: ''}]\n",
    );
    env.build(0);
    let _server = env.serve("run", port);
    let folder = env.path("work");
    std::fs::create_dir(&folder).unwrap();
    env.write("work/.home/config.json", r#"{"config": {"secure-http": false}}"#);
    let url = format!("--repository-url=http://127.0.0.1:{port}/mirror");
    ComposerProject { folder: &folder }.composer(&[
        "create-project",
        "--no-secure-http",
        &url,
        "acme/project",
        "shop",
    ]);
    assert!(folder.join("shop/bin/run").exists());
}

#[test]
fn composer_searches_and_finds_providers() {
    let (env, port) = (TestEnv::new(), free_port());
    let upstream = env.upstream("modules");
    let module = |name: &str, more: &str| {
        upstream.write(
            &format!("{name}/composer.json"),
            &format!(r#"{{"name": "acme/{name}", "version": "1.0.0", {more}}}"#),
        );
    };
    module("catalog", r#""type": "magento2-module", "description": "Sells Things", "keywords": ["Product"]"#);
    module(
        "log",
        r#""description": "Notes what is sold", "provide": {"acme/log-implementation": "1.0.0", "ext-log": "*"}, "abandoned": "acme/new-log""#,
    );
    upstream.release("1.0.0");
    env.configure(
        port,
        "  - name: modules\n    git: https://git.example/modules\n    packages: [{each: ''}]\n",
    );
    env.build(0);
    let _server = env.serve("serve", port);
    let root: serde_json::Value = serde_json::from_slice(&get(port, "/mirror/packages.json").body).unwrap();
    assert_eq!(root["search"], "/mirror/search.json?q=%query%&type=%type%");
    assert_eq!(root["list"], "/mirror/list.json");
    assert_eq!(root["providers-api"], "/mirror/providers/%package%.json");

    env.write("project/composer.json", &format!(
        r#"{{"name": "a/project", "require": {{"acme/log": "1.0.0"}}, "config": {{"secure-http": false}},
            "repositories": [{{"type": "composer", "url": "http://127.0.0.1:{port}/mirror/"}}, {{"packagist.org": false}}]}}"#
    ));
    let project = env.path("project");
    let composer = ComposerProject { folder: &project };
    for (query, found) in [
        (&["sells"][..], &["acme/catalog"][..]),
        (&["PRODUCT", "things"], &["acme/catalog"]),
        (&["acme/"], &["acme/catalog", "acme/log"]),
        (&["acme", "--type", "library"], &["acme/log"]),
        (&["acme", "--type", "metapackage"], &[]),
        (&["--only-name", "catalog"], &["acme/catalog"]),
        (&["--only-vendor", "ac"], &["acme"]),
        (&["100% + &?"], &[]),
    ] {
        let said = composer.composer(&[&["search", "--format=json"], query].concat());
        let results = &said[said.find("[").unwrap()..=said.rfind(']').unwrap()];
        let results: Vec<serde_json::Value> = serde_json::from_str(results).unwrap();
        let names: Vec<_> = results.iter().map(|result| &result["name"]).collect();
        assert_eq!(names, found, "{query:?}: {said}");
    }
    let said = composer.composer(&["search", "notes"]);
    assert!(said.contains("! Abandoned ! Notes what is sold"), "{said}");
    let said = composer.composer(&["show", "--available", "acme/*"]);
    assert!(said.contains("acme/catalog") && said.contains("acme/log"), "{said}");

    // Composer accepts a name without versions because the mirror lists its providers.
    composer.composer(&["update"]);
    let said = composer.composer(&["require", "acme/log-implementation"]);
    assert!(said.contains("acme/log-implementation"), "{said}");
    let required = std::fs::read_to_string(project.join("composer.json")).unwrap();
    assert!(required.contains(r#""acme/log-implementation": "*""#), "{required}");
    let providers = get(port, "/mirror/providers/acme/log-implementation.json");
    let providers: serde_json::Value = serde_json::from_slice(&providers.body).unwrap();
    assert_eq!(providers["providers"][0]["name"], "acme/log");
    assert_eq!(get(port, "/mirror/providers/ext-log.json").status, 404);
}

#[test]
fn composer_downloads_are_compressed() {
    let (env, port) = (TestEnv::new(), free_port());
    let upstream = env.upstream("modules");
    let code = "    public function getProduct(): Product { return $this->product; }\n".repeat(2000);
    upstream
        .write("A/composer.json", r#"{"name": "acme/a", "version": "1.0.0", "description": "compressed"}"#)
        .write("A/Model/Product.php", &format!("<?php\n{code}"))
        .release("1.0.0");
    env.configure(
        port,
        "  - name: modules\n    git: https://git.example/modules\n    packages: [{each: ''}]\n",
    );
    env.build(0);
    let _server = env.serve("serve", port);
    let zip = "/mirror/packages/acme/a-1.0.0.zip";
    let (stored, sent) =
        (get(port, zip), request(port, "GET", zip, "Accept-Encoding: deflate, gzip, br, zstd\r\n"));
    assert_eq!(stored.header("content-encoding"), None);
    assert_eq!(sent.header("content-encoding"), Some("zstd"));
    assert!(sent.body.len() * 10 < stored.body.len() * 3);

    env.write("project/composer.json", &format!(
        r#"{{"name": "a/project", "require": {{"acme/a": "1.0.0"}}, "config": {{"secure-http": false}},
            "repositories": [{{"type": "composer", "url": "http://127.0.0.1:{port}/mirror/"}}, {{"packagist.org": false}}]}}"#
    ));
    let project = env.path("project");
    ComposerProject { folder: &project }.composer(&["update"]);
    let installed = std::fs::read_to_string(project.join("vendor/acme/a/Model/Product.php")).unwrap();
    assert_eq!(installed, format!("<?php\n{code}"));
}

#[test]
fn private_repository_requires_password_or_token() {
    use base64::Engine as _;
    let hash = |password: &str| {
        let code = format!("echo password_hash('{password}', PASSWORD_BCRYPT, ['cost' => 5]);");
        run(Command::new("php").args(["-r", &code]))
    };
    let basic = |pair: &str| {
        let pair = base64::engine::general_purpose::STANDARD.encode(pair);
        format!("Authorization: Basic {pair}\r\n")
    };
    let port = free_port();
    let env = TestEnv::new();
    shop(&env);
    env.configure(port, SOURCE);
    let config = std::fs::read_to_string(env.path("mirror.yaml")).unwrap();
    env.write(
        "mirror.yaml",
        &config.replace("recipe: ./recipe.yaml", "recipe: ./recipe.yaml, users: ./users"),
    );
    env.write("users", &format!("ana:{}\n", hash("first")));
    env.build(0);
    let _server = env.serve("serve", port);
    let paths = [
        "/mirror/packages.json",
        "/mirror/packages/acme/catalog-1.0.0.zip",
        "/mirror/mirror.json",
        "/mirror/nothing",
        "/mirror",
        "/mirror/",
        "//mirror/%70ackages.json",
    ];
    for path in paths {
        let refused = get(port, path);
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.header("www-authenticate").unwrap().starts_with("Basic "));
        assert_eq!(request(port, "GET", path, &basic("ana:second")).status, 401);
    }
    let read = request(port, "GET", paths[1], &basic("ana:first"));
    assert_eq!(read.status, 200);
    assert_eq!(
        (read.header("cache-control"), read.header("access-control-allow-origin")),
        (Some("private, max-age=31536000, immutable, no-transform"), None)
    );

    env.write("project/composer.json", &format!(
        r#"{{"name": "a/project", "require": {{"acme/catalog": "1.0.0"}}, "config": {{"secure-http": false}},
            "repositories": [{{"type": "composer", "url": "http://127.0.0.1:{port}/mirror/"}}, {{"packagist.org": false}}]}}"#
    ));
    let project = env.path("project");
    let auth = |kind: &str, value: &str| {
        env.write("project/auth.json", &format!(r#"{{"{kind}": {{"127.0.0.1:{port}": {value}}}}}"#));
    };
    auth("http-basic", r#"{"username": "ana", "password": "first"}"#);
    ComposerProject { folder: &project }.composer(&["update"]);
    assert!(project.join("vendor/acme/catalog/composer.json").exists());

    // A new password and a token take effect while the server runs.
    let token = mirror::util::digest::Sha256::digest(b"long-and-random");
    env.write("users", &format!("ana:{}\nci:sha256:{token}\n", hash("second")));
    let deadline = Instant::now() + Duration::from_secs(60);
    while request(port, "GET", paths[0], &basic("ana:second")).status != 200 {
        assert!(Instant::now() < deadline, "the new password is taken");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(request(port, "GET", paths[0], &basic("ana:first")).status, 401);
    std::fs::remove_dir_all(project.join("vendor")).unwrap();
    std::fs::remove_dir_all(project.join(".home")).unwrap();
    auth("bearer", r#""long-and-random""#);
    ComposerProject { folder: &project }.composer(&["install"]);
    assert!(project.join("vendor/acme/catalog/composer.json").exists());

    // An unreadable users file is reported and changes nothing.
    env.write("users", "ana:second\n");
    while !std::fs::read_to_string(env.path("log")).unwrap().contains("keeping the previous users") {
        assert!(Instant::now() < deadline, "it is named");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(request(port, "GET", paths[0], &basic("ana:second")).status, 200);
}

/// Serves the same bytes for every request.
fn elsewhere(bytes: Vec<u8>) -> u16 {
    use std::io::{BufRead as _, BufReader, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|count| count > 2) {
                line.clear();
            }
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len());
            let stream = stream.get_mut();
            stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&bytes)).ok();
        }
    });
    port
}

#[test]
fn composer_shows_configured_hints() {
    let port = free_port();
    let env = TestEnv::new();
    shop(&env);
    env.configure(port, SOURCE);
    env.build(0);
    let zip = std::fs::read(env.path("data/acme/packages/acme/catalog-1.0.0.zip")).unwrap();
    let other = elsewhere(zip);
    let hints = format!(
        "recipe: ./recipe.yaml, hints: {{mirrors: [{{dist_url: 'http://127.0.0.1:{other}/%package%-%prettyVersion%.%type%'}}], warnings: [{{message: Move on, versions: '>=2'}}, {{message: Not for you, versions: '<2'}}], infos: [{{message: All is well}}]}}"
    );
    let config = std::fs::read_to_string(env.path("mirror.yaml")).unwrap();
    env.write("mirror.yaml", &config.replace("recipe: ./recipe.yaml", &hints));
    let before = env.volume();
    env.build(0);
    let with_hints = env.volume();
    assert_ne!(before, with_hints, "the hints are published");
    env.build(0);
    assert_eq!(env.volume(), with_hints, "once");

    std::fs::remove_dir_all(env.path("data/acme/variants")).unwrap();
    let _server = env.serve("serve", port);
    // The archive is missing here, so Composer downloads it from the URL in `mirrors`.
    std::fs::remove_file(env.path("data/acme/packages/acme/catalog-1.0.0.zip")).unwrap();
    env.write("project/composer.json", &format!(
        r#"{{"name": "a/project", "require": {{"acme/catalog": "1.0.0"}}, "config": {{"secure-http": false}},
            "repositories": [{{"type": "composer", "url": "http://127.0.0.1:{port}/mirror/"}}, {{"packagist.org": false}}]}}"#
    ));
    let project = env.path("project");
    let said = ComposerProject { folder: &project }.composer(&["update"]);
    assert!(said.contains("Move on") && said.contains("All is well"), "{said}");
    assert!(!said.contains("Not for you"), "{said}");
    assert!(project.join("vendor/acme/catalog/Model/Product.php").exists());
    let metrics = get(port, "/-/metrics").into_text();
    let mut refused = metrics.lines().filter(|line| line.contains(r#"route="archive",status="503""#));
    assert!(refused.next().is_some_and(|line| line.ends_with(" 16")), "how often it asks: {metrics}");

    env.write(
        "mirror.yaml",
        &config.replace(
            "recipe: ./recipe.yaml",
            "recipe: ./recipe.yaml, hints: {mirrors: [{dist_url: /x}], infos: [{message: a, versions: '~'}]}",
        ),
    );
    let refused = env.mirror("check");
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.contains("hints.mirrors[0].dist_url: expected the URL of an archive"), "{refused}");
    assert!(refused.contains("hints.infos[0].versions: expected a constraint"), "{refused}");
}
