//! A mirror without network: the real Composer installs from what was imported, and imports are killed at every step that they take.

use std::path::Path;
use std::process::Command;

use crate::composer::ComposerProject;
use crate::support::env::TestEnv;
use crate::support::shop::{PROJECT, SOURCE, shop};
use crate::support::store::{command, names, read};
use crate::support::{free_port, missing, run};

/// A mirror that has exported what `acme/project` 1.0.0 needs to `part.tar`, and all to `all.tar`.
fn exporter() -> TestEnv {
    let env = TestEnv::new();
    shop(&env);
    let root =
        r#"{"name": "acme/store", "version": "1.0.0", "require": {"php": ">=7", "acme/shop": "1.0.0"}}"#;
    env.upstream("store").write("composer.json", root).release("1.0.0");
    env.upstream("parts").write("part.json", r#"{"name": "acme/project"}"#).release("1.0.0");
    env.configure(free_port(), &format!("{SOURCE}{PROJECT}"));
    env.build(0);
    let file = |name: &str| env.path(name).display().to_string();
    command(&env, &["export", &file("all.tar")], 0);
    command(&env, &["export", "--for", "acme/project:1.0.0", &file("part.tar")], 0);
    env
}

#[test]
fn composer_installs_from_what_was_imported() {
    let exporter = exporter();
    let (env, port) = TestEnv::importer();
    command(&env, &["import", &exporter.path("part.tar").display().to_string()], 0);
    let _server = env.serve("run", port);
    // A new project, as its template has it.
    env.write("work/.keep", "");
    let url = format!("http://127.0.0.1:{port}/mirror/");
    let repository = format!(r#"--repository={{"type": "composer", "url": "{url}"}}"#);
    let work = env.path("work");
    env.write("work/.home/config.json", r#"{"config": {"secure-http": false}}"#);
    let composer = ComposerProject { folder: &work };
    composer.composer(&["create-project", &repository, "acme/project", "shop", "1.0.0"]);
    let product =
        |project: &Path| std::fs::read_to_string(project.join("vendor/acme/catalog/Model/Product.php"));
    assert!(product(&work.join("shop")).unwrap().starts_with("<?php // 1.0.0"));
    // A project of one's own, by the commands of the handbook.
    env.write("own/composer.json", r#"{"name": "a/own", "require": {"acme/shop": "1.0.0"}}"#);
    let own = env.path("own");
    let composer = ComposerProject { folder: &own };
    composer.composer(&["config", "repositories.magento", "composer", &url]);
    composer.composer(&["config", "repositories.packagist.org", "false"]);
    composer.composer(&["config", "secure-http", "false"]);
    composer.composer(&["install"]);
    assert_eq!(product(&own).unwrap(), "<?php // 1.0.0");
    let lock = env.read("own/composer.lock");
    assert_eq!(lock.matches(&url).count(), 3, "{lock}");
}

/// The system calls by which a writer makes something durable or public.
const CALLS: [&str; 6] = ["mkdir", "fsync", "rename", "renameat2", "link", "linkat"];

#[test]
fn killed_imports_are_finished_by_the_next() {
    let exporter = exporter();
    let file = exporter.path("part.tar").display().to_string();
    let (whole, _) = TestEnv::importer();
    command(&whole, &["import", &file], 0);
    let listed = |env: &TestEnv| names(env, "data/acme/current/p2/acme");
    let mut kills = 0;
    for call in CALLS {
        // Every fourth step, so that it takes seconds.
        for number in (1..).step_by(4) {
            let (env, _) = TestEnv::importer();
            let status = Command::new("strace")
                .args([
                    "-f",
                    "-qq",
                    "-o",
                    "/dev/null",
                    "-e",
                    &format!("inject={call}:signal=KILL:when={number}"),
                ])
                .args([env!("CARGO_BIN_EXE_mirror"), "import", &file, "--config"])
                .arg(env.path("mirror.yaml"))
                .output()
                .unwrap_or_else(|error| panic!("{}", missing("strace", &error)))
                .status;
            if status.success() {
                break;
            }
            kills += 1;
            // A cycle between the two takes nothing that is not there for damaged.
            if kills % 2 == 0 {
                env.mirror("build");
            }
            command(&env, &["import", &file], 0);
            assert_eq!(listed(&env), listed(&whole), "{call} {number}");
            assert_eq!(read(&env, "data/acme/ledger.jsonl"), read(&whole, "data/acme/ledger.jsonl"));
            assert_eq!(read(&env, "data/acme/absent.json"), read(&whole, "data/acme/absent.json"));
            assert_eq!(names(&env, "data/acme/tmp"), Vec::<String>::new(), "{call} {number}");
            command(&env, &["verify"], 0);
        }
    }
    assert!(kills > 8, "{kills} kills");
}

/// A file that another program has packed is read, too.
#[test]
fn bundle_of_gnu_tar_is_imported() {
    let exporter = exporter();
    let folder = exporter.path("unpacked");
    std::fs::create_dir(&folder).unwrap();
    run(Command::new("tar").arg("xf").arg(exporter.path("all.tar")).arg("-C").arg(&folder));
    for format in ["gnu", "posix", "ustar"] {
        let file = exporter.path(&format!("{format}.tar"));
        run(Command::new("tar")
            .arg(format!("--format={format}"))
            .arg("-cf")
            .arg(&file)
            .arg("-C")
            .arg(&folder)
            .arg("."));
        let (env, _) = TestEnv::importer();
        command(&env, &["import", &file.display().to_string()], 0);
        command(&env, &["verify"], 0);
    }
}
