//! The metadata equals what Composer itself generates from the archives, and so what satis would publish.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::support::env::TestEnv;
use crate::support::{free_port, run};
use serde_json::Value;

/// The public files of the newest snapshot in a data folder, and its number.
fn newest(data: &Path) -> (u64, BTreeMap<String, Vec<u8>>) {
    let folder = data.join("acme/snapshots");
    let numbers = std::fs::read_dir(&folder).unwrap();
    let numbers = numbers.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let number: u64 = numbers.max().unwrap();
    let folder = folder.join(number.to_string());
    let manifest = std::fs::read(folder.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let paths = manifest["files"].as_object().unwrap().keys();
    let files = paths.map(|path| (path.clone(), std::fs::read(folder.join(path)).unwrap()));
    (number, files.collect())
}

/// The name of a step, the change before its cycle, further keys of the repository's configuration, and the package whose
/// archives the cycle need not read.
type Step<'a> = (&'a str, &'a dyn Fn(), &'a str, Option<&'a str>);

#[test]
fn reused_metadata_equals_newly_rendered_metadata() {
    let env = TestEnv::new();
    let upstream = env.upstream("modules");
    let write = |name: &str, version: &str, more: &str| {
        let manifest = format!(r#"{{"name": "acme/{name}", "version": "{version}"{more}}}"#);
        upstream.write(&format!("{name}/composer.json"), &manifest);
    };
    write("a", "1.0.0", r#", "provide": {"acme/virtual": "1"}, "description": "The <first>""#);
    write("b", "1.0.0", r#", "require": {"acme/a": "^1", "acme/c": "*"}"#);
    write("all", "1.0.0", r#", "type": "metapackage", "require": {"acme/a": "1.0.0", "acme/z": "1.0.0"}"#);
    upstream.release("1.0.0");
    env.configure(
        free_port(),
        "  - {name: modules, git: 'https://git.example/modules', packages: [{each: ''}]}\n",
    );
    let configuration = std::fs::read_to_string(env.path("mirror.yaml")).unwrap();
    let configure = |more: &str| {
        let with = configuration.replace("recipe: ./recipe.yaml", &format!("recipe: ./recipe.yaml{more}"));
        env.write("mirror.yaml", &with);
        with
    };
    env.write("users", "");
    env.build(0);
    let (mut before, _) = newest(&env.path("data"));
    let mut state = "";
    let steps: [Step<'_>; 7] = [
        ("a version", &|| write("a", "1.1.0", ""), "", Some("b")),
        (
            "a package that requires another",
            &|| write("c", "1.2.0", r#", "require": {"acme/b": "*"}"#),
            "",
            Some("a"),
        ),
        ("a message", &|| (), ", hints: {infos: [{message: hello, versions: '*'}]}", None),
        ("lazy", &|| (), ", metadata: lazy", None),
        ("a version, lazily", &|| write("a", "1.3.0", ""), ", metadata: lazy", Some("b")),
        ("private", &|| (), ", users: ./users", None),
        (
            "a version older than another",
            &|| write("b", "0.9.0", r#", "require": {"acme/d": "1"}"#),
            ", users: ./users",
            Some("c"),
        ),
    ];
    for (n, (what, change, configured, untouched)) in steps.into_iter().enumerate() {
        change();
        if configured == state {
            upstream.release(&format!("1.0.{}", n + 1));
        }
        state = configured;
        let configuration = configure(configured);
        let archives = untouched.map(|name| env.path(&format!("data/acme/packages/acme/{name}-1.0.0.zip")));
        let archives = archives.filter(|archive| archive.exists());
        let hide = |hidden: bool| {
            if let Some(archive) = &archives {
                let away = archive.with_extension("away");
                let (from, to) = if hidden { (archive, &away) } else { (&away, archive) };
                std::fs::rename(from, to).unwrap();
            }
        };
        hide(true);
        // The missing archive is reported, but the cycle does not need to read it.
        env.build(i32::from(archives.is_some()));
        hide(false);
        let (number, files) = newest(&env.path("data"));
        assert_eq!(number, before + 1, "{what}");
        run(Command::new("cp").arg("-a").arg(env.path("data")).arg(env.path("rebuilt")));
        let snapshot = |number: u64| env.path(&format!("rebuilt/acme/snapshots/{number}"));
        std::fs::remove_dir_all(snapshot(number)).unwrap();
        std::fs::remove_file(snapshot(before).join("made.json")).unwrap();
        let data = |name: &str| env.path(name).display().to_string();
        env.write("mirror.yaml", &configuration.replace(&data("data"), &data("rebuilt")));
        env.build(0);
        let (again, rebuilt) = newest(&env.path("rebuilt"));
        assert_eq!(again, number, "{what}");
        assert_eq!(files.keys().collect::<Vec<_>>(), rebuilt.keys().collect::<Vec<_>>(), "{what}");
        for (path, text) in &files {
            let [text, other] = [text, &rebuilt[path]].map(|text| String::from_utf8_lossy(text));
            assert_eq!(text, other, "{what}: {path}");
        }
        std::fs::remove_dir_all(env.path("rebuilt")).unwrap();
        env.write("mirror.yaml", &configuration);
        before = number;
    }
    let (_, files) = newest(&env.path("data"));
    let page =
        |name: &str| String::from_utf8_lossy(&files[&format!("package/acme/{name}.html")]).into_owned();
    assert!(page("b").contains(r#"<a href="../../package/acme/c.html">"#));
    assert!(page("c").contains("Required by"), "{}", page("c"));
    let main = String::from_utf8_lossy(&files["index.html"]).into_owned();
    assert!(main.contains("composer config --global --auth http-basic.127.0.0.1:"), "{main}");
}
