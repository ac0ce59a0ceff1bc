//! Releases on the day: a Composer repository stands in for tags that wait for files of a resource.

use serde_json::json;

use super::composer_source::{Upstream, listed, zip};
use crate::support::env::TestEnv;
use crate::support::free_port;
use crate::support::store::{command, ledger};

/// A module that is built from each tag, a base package and a metapackage whose manifests come later.
const SOURCES: &str = "  - name: shop
    git: https://git.example/shop
    packages:
      - {each: modules}
      - {one: base, manifest: [{resource: history, path: 'base/{tag}.json'}]}
      - derive:
          package: acme/edition
          part: [{resource: history, path: 'edition/{tag}.json'}]
          set: {type: metapackage, version: '{tag}'}
          require: [part]
resources: {history: {git: 'https://git.example/history'}}
";

struct Shop {
    env: TestEnv,
    upstream: Upstream,
}

impl Shop {
    /// Tag 1.0.0 of the shop, whose history files are not there.
    fn new() -> Self {
        let (env, upstream) = (TestEnv::new(), Upstream::new());
        env.upstream("shop")
            .write("modules/a/composer.json", r#"{"name": "acme/a", "version": "1.0.0"}"#)
            .write("base/index.php", "<?php")
            .write("composer.json", r#"{"name": "acme/root", "version": "1.0.0"}"#)
            .release("1.0.0");
        env.upstream("history").write("README", "").release("first");
        env.configure(free_port(), "");
        let url = upstream.server.url("");
        env.write(
            "recipe.yaml",
            &format!(
                "sources:\n{SOURCES}composer:\n  - name: releases\n    url: {url}\n    stands_in_for: shop\n    packages: {{acme/base: '*', acme/edition: '*'}}\n"
            ),
        );
        Self { env, upstream }
    }

    /// Publishes what the distribution has released.
    fn release(&mut self, version: &str, text: &str) {
        let base = json!({"name": "acme/base", "version": version});
        self.upstream.release_archive(
            "acme/base",
            version,
            &zip(&[("composer.json", &serde_json::to_string_pretty(&base).unwrap()), ("index.php", text)]),
        );
        let edition = json!({
            "name": "acme/edition", "version": version, "require": {"acme/a": version, "acme/base": version}, "type": "metapackage",
        });
        let text = serde_json::to_string_pretty(&edition).unwrap();
        let entry = self.upstream.release_archive("acme/edition", version, &zip(&[("composer.json", &text)]));
        entry["type"] = json!("metapackage");
        entry["require"] = edition["require"].clone();
        self.upstream.publish();
    }

    /// Adds the history files of a version, as upstream does weeks later.
    fn add_history(&self, version: &str) {
        let history = crate::support::git::WorkTree { path: self.env.path("git/history") };
        history
            .write(
                &format!("base/{version}.json"),
                &json!({"name": "acme/base", "version": version}).to_string(),
            )
            .write(
                &format!("edition/{version}.json"),
                &json!({"name": "acme/edition", "require": {"acme/a": version, "acme/base": version}})
                    .to_string(),
            );
        history.release(&format!("history-{version}"));
    }
}

#[test]
fn waiting_release_is_taken_from_the_repository_and_compared_later() {
    let mut shop = Shop::new();
    shop.release("1.0.0", "<?php");
    // Versions that no tag waits for are not taken.
    shop.release("0.9.0", "<?php");
    let plan = command(&shop.env, &["plan"], 0);
    assert!(plan.contains("acme releases: take acme/base 1.0.0\n") && !plan.contains("0.9.0"), "{plan}");
    let log = shop.env.build(0);
    assert_eq!(listed(&shop.env, "acme/a"), ["1.0.0"]);
    assert_eq!(listed(&shop.env, "acme/base"), ["1.0.0"], "{log}");
    assert_eq!(listed(&shop.env, "acme/edition"), ["1.0.0"], "{log}");
    let lines = ledger(&shop.env);
    let base = lines.iter().find(|line| line["name"] == "acme/base").unwrap();
    assert_eq!(
        (&base["source"], &base["upstream"]["repository"]),
        (&json!("releases"), &json!(shop.upstream.server.url("")))
    );
    let before = shop.env.volume();
    shop.env.build(0);
    assert_eq!(shop.env.volume(), before);
    // Git can build both now: what it builds is compared, and nothing is published twice.
    shop.add_history("1.0.0");
    shop.upstream.server.take_requests();
    let plan = command(&shop.env, &["plan"], 0);
    assert!(plan.contains("acme releases: 0 versions of 0 packages, 0 already published"), "{plan}");
    let log = shop.env.build(0);
    assert_eq!(ledger(&shop.env), lines);
    assert!(log.contains(r#""failed":0"#) && log.contains(r#""held_back":0"#), "{log}");
    assert!(shop.upstream.server.take_requests().is_empty(), "nothing waits");
    assert!(log.contains(r#""diverged":0"#), "{log}");
}

#[test]
fn what_git_builds_otherwise_is_diverged_and_not_replaced() {
    let mut shop = Shop::new();
    shop.release("1.0.0", "<?php // changed before the release");
    shop.env.build(0);
    let lines = ledger(&shop.env);
    shop.add_history("1.0.0");
    let log = shop.env.build(0);
    assert!(log.contains("acme/base 1.0.0: built from tag 1.0.0 of shop it has SHA-1"), "{log}");
    assert_eq!(ledger(&shop.env), lines);
    assert!(log.contains(r#""diverged":1"#), "{log}");
    let log = shop.env.build(0);
    assert!(!log.contains("diverged: ") && log.contains(r#""diverged":1"#), "{log}");
}

#[test]
fn release_that_nobody_has_waits_and_an_unreachable_repository_stops_nothing() {
    let mut shop = Shop::new();
    shop.release("0.9.0", "<?php");
    let log = shop.env.build(0);
    assert_eq!(listed(&shop.env, "acme/a"), ["1.0.0"]);
    assert!(listed(&shop.env, "acme/base").is_empty());
    assert!(log.contains(r#""held_back":1"#), "{log}");
    shop.upstream.server.answer(|_, _| Some(crate::support::file_server::Answer::new(500, "")));
    let log = shop.env.build(1);
    assert!(log.contains("source `releases`: "), "{log}");
    assert_eq!(listed(&shop.env, "acme/a"), ["1.0.0"]);
}
