//! A closure mirror: the real Composer installs a project whose third parties come from it, with their own repository switched off.

use mirror::package::zip_writer::{EntryType, ZipWriter};
use serde_json::{Value, json};

use crate::composer::ComposerProject;
use crate::support::env::TestEnv;
use crate::support::file_server::{Answer, FileServer};
use crate::support::free_port;

/// A package as a repository like Packagist lists it: no checksum, one folder in the archive, no version in its manifest.
fn release(upstream: &FileServer, name: &str, require: &Value, class: &str) {
    let autoload = json!({"psr-4": {"Lib\\": "src/"}});
    let manifest = json!({"name": name, "license": "MIT", "require": require, "autoload": autoload});
    let mut zip = ZipWriter::new(Vec::new());
    let code = format!("<?php\nnamespace Lib;\n{class}\n");
    let file = class.split(' ').nth(1).unwrap();
    for (path, text) in
        [("x-1/composer.json".to_owned(), manifest.to_string()), (format!("x-1/src/{file}.php"), code)]
    {
        zip.add(&path, EntryType::File, text.as_bytes()).unwrap();
    }
    let path = format!("dist/{name}.zip");
    upstream.write(&path, zip.finish().unwrap());
    let mut entry = manifest;
    entry["version"] = json!("v1.2.0");
    entry["time"] = json!("2025-02-03T04:05:06+00:00");
    entry["dist"] = json!({"type": "zip", "url": upstream.url(&path), "shasum": "", "reference": "0123abcd"});
    let file = json!({"packages": {name: [entry]}});
    upstream.write(&format!("p2/{name}.json"), file.to_string());
}

#[test]
fn composer_installs_third_parties_from_a_closure() {
    let upstream = FileServer::start();
    upstream.write("packages.json", r#"{"packages": [], "metadata-url": "/p2/%package%.json"}"#);
    release(
        &upstream,
        "lib/log",
        &json!({"php": ">=7.4", "lib/contract": "^1.0"}),
        "class Log implements Logs {}",
    );
    release(&upstream, "lib/contract", &json!({}), "interface Logs {}");
    let (env, port) = (TestEnv::new(), free_port());
    env.upstream("shop")
        .write(
            "composer.json",
            r#"{"name": "acme/shop", "version": "1.0.0", "require": {"lib/log": "~1.1"}}"#,
        )
        .release("1.0.0");
    env.configure(port, "  - {name: shop, git: 'https://git.example/shop', packages: [{one: ''}]}\n");
    let third = format!(
        "recipe: ./recipe.yaml}}\n  - {{name: third, url: 'http://127.0.0.1:{port}/third/', recipe: ./third.yaml}}"
    );
    env.write("mirror.yaml", &env.read("mirror.yaml").replace("recipe: ./recipe.yaml}", &third));
    let url = upstream.url("");
    env.write("third.yaml", &format!("composer: [{{name: packagist, url: '{url}', closure_of: [acme]}}]\n"));
    env.build(0);
    let _server = env.serve("serve", port);
    upstream.answer(|_, _| Some(Answer::new(503, "switched off")));
    upstream.take_requests();
    let project = json!({
        "name": "a/project",
        "require": {"acme/shop": "1.0.0"},
        "repositories": [
            {"type": "composer", "url": format!("http://127.0.0.1:{port}/mirror/")},
            {"type": "composer", "url": format!("http://127.0.0.1:{port}/third/")},
            {"packagist.org": false},
        ],
        "config": {"secure-http": false},
    });
    env.write("project/composer.json", &project.to_string());
    let folder = env.path("project");
    let composer = ComposerProject { folder: &folder };
    composer.composer(&["install"]);
    let code = "require 'vendor/autoload.php'; exit(new Lib\\Log() instanceof Lib\\Logs ? 0 : 1);";
    let php = std::process::Command::new("php").args(["-r", code]).current_dir(&folder).status().unwrap();
    assert!(php.success());
    let lock: Value = serde_json::from_str(&env.read("project/composer.lock")).unwrap();
    for package in lock["packages"].as_array().unwrap() {
        let dist = &package["dist"];
        assert!(dist["url"].as_str().unwrap().starts_with(&format!("http://127.0.0.1:{port}/")), "{dist}");
        assert_eq!(dist["shasum"].as_str().unwrap().len(), 40, "{dist}");
    }
    assert_eq!(upstream.take_paths(), Vec::<String>::new());
}
