//! The commands of the main page do what they promise: a PHP developer's tasks are copied from it and run by the real Composer.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::env::{MirrorProcess, TestEnv};
use crate::support::http::{get, request};
use crate::support::shop::{PROJECT, SOURCE, configure_repository, shop};
use crate::support::{free_port, missing};
use base64::Engine as _;
use serde_json::Value;

/// A running mirror of the shop, and its main page.
struct Mirror {
    env: TestEnv,
    url: String,
    page: String,
    server: MirrorProcess,
}

impl Mirror {
    fn start(users: Option<&str>) -> Self {
        let (env, port) = (TestEnv::new(), free_port());
        shop(&env);
        let root = r#"{"name": "acme/store", "require": {"acme/shop": "1.0.0"}}"#;
        env.upstream("store").write("composer.json", root).release("1.0.0");
        env.upstream("parts").write("part.json", r#"{"name": "acme/project"}"#).release("1.0.0");
        env.configure(port, &format!("{SOURCE}{PROJECT}"));
        if let Some(users) = users {
            env.write("users", users);
            configure_repository(&env, "users: ./users");
        }
        env.build(0);
        let server = env.serve("serve", port);
        let login = base64::engine::general_purpose::STANDARD.encode("ana:secret");
        let page = match users {
            Some(_) => request(port, "GET", "/mirror/", &format!("Authorization: Basic {login}\r\n")),
            None => get(port, "/mirror/"),
        };
        Self { env, url: format!("http://127.0.0.1:{port}/mirror/"), page: page.into_text(), server }
    }

    /// The commands to copy below the heading that begins with `title`.
    fn commands(&self, title: &str) -> Vec<String> {
        let sections = self.page.split("<h3>").skip(1);
        let section = sections.into_iter().find(|section| section.starts_with(title));
        let section = section.unwrap_or_else(|| panic!("no `{title}` on the page\n{}", self.page));
        copyable(section.split("<h2").next().unwrap())
    }

    /// The commands before the first of these headings.
    fn preparations(&self) -> Vec<String> {
        let usage = self.page.split("How to use this mirror").nth(1).unwrap();
        copyable(usage.split("<h3>").next().unwrap())
    }
}

/// The lines of all blocks with a button that copies them.
fn copyable(html: &str) -> Vec<String> {
    let blocks = html.split("<code>").skip(1).filter_map(|rest| rest.split_once("</code></pre>"));
    let blocks = blocks.map(|(text, _)| text).filter(|text| !text.contains('<'));
    let plain = |text: &str| {
        text.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    };
    blocks.flat_map(|text| plain(text).lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// A developer with a folder and a home of their own, who has no other repository.
struct Developer {
    folder: PathBuf,
    home: PathBuf,
}

impl Developer {
    fn new(env: &TestEnv, name: &str) -> Self {
        let folder = env.path(name);
        env.write(&format!("{name}/.home/config.json"), r#"{"repositories": {"packagist.org": false}}"#);
        Self { home: folder.join(".home"), folder }
    }

    fn in_folder(&self, name: &str) -> Self {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self { folder, home: self.home.clone() }
    }

    fn try_line(&self, line: &str) -> Output {
        let mut shell = Command::new("sh");
        shell.args(["-ec", line]).current_dir(&self.folder);
        shell.env("COMPOSER_HOME", &self.home).env("COMPOSER_NO_INTERACTION", "1").env("NO_COLOR", "1");
        shell.env("COMPOSER_ALLOW_SUPERUSER", "1");
        shell.output().unwrap_or_else(|error| panic!("{}", missing("sh", &error)))
    }

    /// Runs these lines, which must succeed, and returns what they printed.
    fn run(&self, lines: &[String]) -> String {
        let mut said = String::new();
        for line in lines {
            let Output { status, stdout, stderr } = self.try_line(line);
            let text = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
            assert!(status.success(), "{line}\n{text}");
            said.push_str(&text);
        }
        said
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.folder.join(file), text).unwrap();
    }

    fn product(&self) -> String {
        let path = Path::new("vendor/acme/catalog/Model/Product.php");
        std::fs::read_to_string(self.folder.join(path)).unwrap_or_default()
    }

    /// The URLs and checksums of the archives in composer.lock.
    fn locked(&self) -> Vec<(String, String)> {
        let lock = std::fs::read(self.folder.join("composer.lock")).unwrap();
        let lock: Value = serde_json::from_slice(&lock).unwrap();
        let dists = lock["packages"].as_array().unwrap().iter().map(|package| &package["dist"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        dists
            .filter(|dist| dist.is_object())
            .map(|dist| (text(&dist["url"]), text(&dist["shasum"])))
            .collect()
    }
}

#[test]
fn developer_uses_the_mirror_by_the_commands_of_its_page() {
    let mirror = Mirror::start(None);
    let developer = Developer::new(&mirror.env, "work");
    developer.run(&mirror.preparations());

    developer.run(&mirror.commands("A new project from acme/project"));
    let shop = developer.in_folder("shop");
    assert_eq!(shop.product(), "<?php // 1.0.0");

    let own = developer.in_folder("own");
    own.write("composer.json", r#"{"name": "a/own"}"#);
    own.run(&mirror.commands("In an existing project"));
    let search = mirror.commands("Finding packages and versions");
    let found = own.run(&search);
    assert!(search[0].starts_with("composer search ") && found.contains("acme/shop"), "{found}");
    assert!(found.contains("versions : 1.0.0-p1, 1.0.0") || found.contains("1.0.0-p1"), "{found}");
    own.run(&mirror.commands("Adding a package"));
    assert_eq!(own.product(), "<?php // 1.0.0-p1");
    own.run(&mirror.commands("Going back to an earlier version"));
    assert_eq!(own.product(), "<?php // 1.0.0");
    let audit = own.run(&mirror.commands("Checking for known vulnerabilities"));
    assert!(audit.contains("No security vulnerability advisories found"), "{audit}");

    std::fs::remove_dir_all(own.folder.join("vendor")).unwrap();
    own.run(&mirror.commands("In continuous integration"));
    assert_eq!(own.product(), "<?php // 1.0.0");
}

#[test]
fn project_and_its_lock_file_switch_to_the_mirror_and_back() {
    let (old, new) = (Mirror::start(None), Mirror::start(None));
    let developer = Developer::new(&new.env, "work");
    developer.run(&new.preparations());
    let own = developer.in_folder("own");
    own.write("composer.json", r#"{"name": "a/own", "require": {"acme/shop": "1.0.0"}}"#);
    own.run(&[
        format!("composer config repositories.previous composer {}", old.url),
        "composer update".into(),
    ]);
    let before = own.locked();
    assert!(before.len() == 3 && before.iter().all(|(url, _)| url.starts_with(&old.url)), "{before:?}");
    let filled = |title: &str| -> Vec<_> {
        let commands = new.commands(title).into_iter();
        commands.map(|line| line.replace("OLD-URL", &old.url).replace("OLD", "previous")).collect()
    };
    own.run(&filled("Switching a project from another mirror"));
    let after = own.locked();
    let moved = before.iter().map(|(url, sha1)| (url.replace(&old.url, &new.url), sha1.clone()));
    assert_eq!(after, moved.collect::<Vec<_>>(), "only the URLs change");
    assert_eq!(own.product(), "<?php // 1.0.0");

    own.run(&filled("Switching back"));
    assert_eq!(own.locked(), before);

    // Without the old mirror, which nothing names any more.
    own.run(&filled("Switching a project from another mirror").split_off(1));
    assert_eq!(old.server.stop(), Some(0));
    std::fs::remove_dir_all(own.folder.join("vendor")).unwrap();
    std::fs::remove_dir_all(developer.home.join("cache")).unwrap_or_default();
    own.run(&new.commands("In continuous integration"));
    assert_eq!(own.product(), "<?php // 1.0.0");
}

#[test]
fn private_mirror_is_used_with_the_login_that_its_page_stores() {
    let code = "echo password_hash('secret', PASSWORD_BCRYPT, ['cost' => 5]);";
    let hash = Command::new("php").args(["-r", code]).output();
    let hash = hash.unwrap_or_else(|error| panic!("{}", missing("php", &error))).stdout;
    let mirror = Mirror::start(Some(&format!("ana:{}\n", String::from_utf8(hash).unwrap())));
    let developer = Developer::new(&mirror.env, "work");
    let prepare = mirror.preparations();
    let login = prepare.iter().position(|line| line.contains("http-basic")).unwrap();
    developer.run(&prepare[..login]);
    let own = developer.in_folder("own");
    own.write("composer.json", r#"{"name": "a/own"}"#);
    own.run(&mirror.commands("In an existing project"));
    let require = mirror.commands("Adding a package");
    assert!(!own.try_line(&require[0]).status.success(), "nobody is logged in");
    developer.run(&[prepare[login].replace("USER", "ana").replace("PASSWORD", "secret")]);
    own.run(&require);
    assert_eq!(own.product(), "<?php // 1.0.0-p1");
}
