//! A package of the mirror never comes from a repository of lower priority: such a repository offers newer stable versions
//! of every name, and the real Composer takes none of them.

use crate::composer::ComposerProject;
use crate::support::env::TestEnv;
use crate::support::free_port;
use crate::support::shop::configure_repository;
use serde_json::{Value, json};

/// Manifests of the mirror's packages. `acme/base` is required a second time, with a wider constraint, when all its versions
/// are loaded already. The version of `acme/failed` cannot be published.
const MANIFESTS: [&str; 7] = [
    r#"{"name": "acme/alpha", "version": "1.0.0-alpha1"}"#,
    r#"{"name": "acme/dev", "version": "1.0.0-dev"}"#,
    r#"{"name": "acme/failed", "version": "first"}"#,
    r#"{"name": "acme/base", "version": "1.0.0"}"#,
    r#"{"name": "acme/narrow", "version": "1.0.0", "require": {"acme/base": "1.0.0 || 1.5.0"}}"#,
    r#"{"name": "acme/middle", "version": "1.0.0", "require": {"acme/wide": "*"}}"#,
    r#"{"name": "acme/wide", "version": "1.0.0", "require": {"acme/base": ">=1"}}"#,
];

#[test]
fn composer_takes_no_package_of_the_mirror_from_elsewhere() {
    let (env, port) = (TestEnv::new(), free_port());
    let upstream = env.upstream("modules");
    for (number, manifest) in MANIFESTS.iter().enumerate() {
        upstream.write(&format!("{number}/composer.json"), manifest);
    }
    upstream.release("1.0.0");
    env.configure(port, "  - {name: modules, git: 'https://git.example/modules', packages: [{each: ''}]}\n");
    let configuration = env.read("mirror.yaml");
    let manifests = MANIFESTS.map(|manifest| serde_json::from_str::<Value>(manifest).unwrap());
    let elsewhere: Vec<_> = manifests
        .iter()
        .flat_map(|manifest| {
            ["1.5.0", "2.0.0"]
                .map(|version| json!({ "name": manifest["name"], "version": version, "type": "metapackage" }))
        })
        .collect();
    let project = env.path("project");
    let composer = ComposerProject { folder: &project };
    for metadata in ["inline", "lazy"] {
        env.write("mirror.yaml", &configuration);
        configure_repository(&env, &format!("metadata: {metadata}"));
        env.build(1);
        let _server = env.serve("serve", port);
        let update = |require: Value, stability: &str| {
            let repositories = json!([
                { "type": "composer", "url": format!("http://127.0.0.1:{port}/mirror/") },
                { "type": "package", "package": elsewhere },
                { "packagist.org": false },
            ]);
            let root = json!({
                "name": "a/project", "require": require, "minimum-stability": stability,
                "repositories": repositories, "config": { "secure-http": false },
            });
            env.write("project/composer.json", &root.to_string());
            let _ = std::fs::remove_file(project.join("composer.lock"));
            let output = composer.try_composer(&["update", "--no-install"]);
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            (output.status.code(), said)
        };
        for (name, stability) in [
            ("alpha", "stable"),
            ("dev", "stable"),
            ("dev", "alpha"),
            ("failed", "stable"),
            ("failed", "dev"),
        ] {
            let (code, said) = update(json!({ format!("acme/{name}"): "*" }), stability);
            assert_eq!(code, Some(2), "{metadata} {name} {stability}: {said}");
        }
        let (code, said) = update(json!({ "acme/narrow": "*", "acme/middle": "*" }), "stable");
        assert_eq!(code, Some(0), "{metadata}: {said}");
        assert!(said.contains("Locking acme/base (1.0.0)"), "{metadata}: {said}");
        let (code, said) = update(json!({ "acme/alpha": "*", "acme/dev": "*" }), "dev");
        assert_eq!(code, Some(0), "{metadata}: {said}");
        for locked in ["acme/alpha (1.0.0-alpha1)", "acme/dev (1.0.0-dev)"] {
            assert!(said.contains(&format!("Locking {locked}")), "{metadata}: {said}");
        }
    }
}
