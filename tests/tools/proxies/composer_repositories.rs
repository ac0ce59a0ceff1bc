//! Repositories that Composer's own classes make of archives, in every form, behind nginx: Composer reads the same from the
//! mirror that takes them as from them, and installs from it.

use std::process::Command;

use mirror::package::zip_writer::{EntryType, ZipWriter};

use super::{Proxy, folder};
use crate::composer::ComposerProject;
use crate::support::env::TestEnv;
use crate::support::{free_port, run};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/composer_repository.php");

/// Manifests of the archives, with what occurs in practice.
const MANIFESTS: [&str; 7] = [
    r#"{"name": "acme/plain", "version": "1.0.0"}"#,
    r#"{"name": "acme/plain", "version": "1.1.0-beta2", "require": {"acme/links": "^2"}}"#,
    r#"{"name": "acme/links", "version": "v2.0.0-p11", "require": {"php": ">=7.1"}, "conflict": {"c/c": "<1"},
        "replace": {"d/d": "self.version"}, "suggest": {"z/z": "for z"}}"#,
    r#"{"name": "acme/people", "version": "1.0.0", "license": "MIT", "type": "Magento2-Module", "description": "Grüße",
        "keywords": ["zebra", "Apple"], "authors": [{"name": "A", "email": "a@b.example"}], "homepage": "https://acme.example"}"#,
    r#"{"name": "acme/paths", "version": "3.1", "bin": ["bin/run"], "autoload": {"psr-4": {"Acme\\": "src/"}},
        "extra": {"map": [["*", "x"]], "n": 5}, "include-path": ["lib"]}"#,
    r#"{"name": "acme/set", "version": "1.0.0", "type": "metapackage", "require": {"acme/plain": "1.0.0", "acme/links": "v2.0.0-p11"}}"#,
    r#"{"name": "other/x", "version": "9.0"}"#,
];

fn write_archives(folder: &std::path::Path) {
    std::fs::create_dir_all(folder).unwrap();
    for (index, manifest) in MANIFESTS.iter().enumerate() {
        let mut zip = ZipWriter::new(Vec::new());
        // Every other one has everything in one folder.
        let within = if index % 2 == 0 { "" } else { "package-1a2b/" };
        zip.add(&format!("{within}composer.json"), EntryType::File, manifest.as_bytes()).unwrap();
        zip.add(&format!("{within}bin/run"), EntryType::Executable, b"#!/bin/sh\n").unwrap();
        std::fs::write(folder.join(format!("{index}.zip")), zip.finish().unwrap()).unwrap();
    }
}

#[test]
fn composer_reads_from_the_mirror_what_it_reads_from_the_repository() {
    let (files, port) = (folder(), free_port());
    let archives = files.path().join("archives");
    write_archives(&archives);
    let base = format!("http://127.0.0.1:{port}/sub");
    let out = files.path().join("sub");
    run(Command::new("php")
        .arg(SCRIPT)
        .args(["make".as_ref(), archives.as_os_str(), out.as_os_str()])
        .arg(&base));
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(files.path()));
    let root = files.path().display().to_string();
    let _nginx =
        Proxy::nginx_with("a satis", port, &format!("server {{ listen 127.0.0.1:{port}; root {root}; }}"));
    for form in ["inline", "includes", "lazy", "providers"] {
        let (env, own) = (TestEnv::new(), free_port());
        env.configure(own, "");
        env.write(
            "recipe.yaml",
            &format!(
                "composer:\n  - {{name: others, url: '{base}/{form}', packages: {{'acme/*': '*', other/x: '>=9'}}}}\n"
            ),
        );
        env.build(0);
        let before = env.volume();
        env.build(0);
        assert_eq!(env.volume(), before, "{form}");
        let _mirror = env.serve("serve", own);
        let verdict = Command::new("php")
            .arg(SCRIPT)
            .args(["compare", &format!("http://127.0.0.1:{own}/mirror"), &format!("{base}/{form}")])
            .arg(out.join("inline/packages.json"))
            .output()
            .unwrap();
        let verdict = String::from_utf8_lossy(&[verdict.stdout, verdict.stderr].concat()).into_owned();
        assert_eq!(verdict, "7 versions, 0 different\n", "{form}");
        let project = tempfile::tempdir().unwrap();
        std::fs::write(
            project.path().join("composer.json"),
            format!(
                r#"{{"repositories": [{{"type": "composer", "url": "http://127.0.0.1:{own}/mirror/"}}, {{"packagist.org": false}}],
                    "config": {{"secure-http": false}}, "require": {{"acme/set": "1.0.0", "other/x": "*"}}}}"#
            ),
        )
        .unwrap();
        ComposerProject { folder: project.path() }.composer(&["update"]);
        for file in ["acme/plain/composer.json", "acme/links/bin/run", "other/x/composer.json"] {
            assert!(project.path().join("vendor").join(file).exists(), "{form} {file}");
        }
    }
}
