//! Crashes and faults during a cycle, injected by strace, and read-only volumes in mount namespaces.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::env::{MirrorProcess, TestEnv};
use crate::support::http::{get, is_ready};
use crate::support::store::{all_archives_answer, ledger, mirror, names, release, told};
use crate::support::{missing, run, until};

/// `mirror build` under strace, which injects a fault at system calls on the file `on`.
fn traced(env: &TestEnv, inject: &str, on: &Path) -> Child {
    Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-P"])
        .arg(on)
        .args(["-e", &format!("inject={inject}")])
        .args([env!("CARGO_BIN_EXE_mirror"), "build", "--config"])
        .arg(env.path("mirror.yaml"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}", missing("strace", &error)))
}

#[test]
fn unlinkable_files_are_copied() {
    let (env, upstream, port) = mirror();
    release(&upstream, "1.2.0", "first");
    let style = env.path("data/acme/snapshots/1/pages/style.css");
    let output = traced(&env, "linkat:error=EPERM", &style).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let links = |path: &str| std::fs::metadata(env.path(path)).unwrap().nlink();
    assert_eq!(links("data/acme/snapshots/2/pages/style.css"), 1);
    assert!(links("data/acme/snapshots/2/pages/script.js") > 1, "all else is linked");
    let _server = env.serve("serve", port);
    assert_eq!(get(port, "/mirror/pages/style.css").status, 200);
    assert_eq!(all_archives_answer(&env, port), 3);
}

#[test]
fn leftovers_of_a_killed_cycle_are_removed() {
    let (env, upstream, port) = mirror();
    env.write("data/acme/packages/acme/by-hand.zip", "an operator's file");
    release(&upstream, "1.2.0", "first");
    // Killed when the archive is linked, but not in the ledger.
    let killed = traced(&env, "openat:signal=KILL:when=2", &env.path("data/acme/ledger.jsonl"))
        .wait_with_output()
        .unwrap();
    assert!(!killed.status.success());
    let zip = env.path("data/acme/packages/acme/good-1.2.0.zip");
    assert!(zip.exists() && ledger(&env).len() == 2 && names(&env, "data/acme/tmp").len() == 1);
    // It was never published, so upstream may still change it.
    release(&upstream, "1.2.0", "second");
    env.build(0);
    assert_eq!((ledger(&env).len(), names(&env, "data/acme/tmp").len()), (3, 0));
    assert!(env.path("data/acme/packages/acme/by-hand.zip").exists());
    let _server = env.serve("serve", port);
    assert_eq!(all_archives_answer(&env, port), 3);
}

#[test]
fn paused_writer_without_lock_damages_nothing() {
    let (env, upstream, port) = mirror();
    release(&upstream, "1.2.0", "first");
    // It stops when its archive is linked and it has opened the ledger to copy it.
    let first = traced(&env, "openat:signal=STOP:when=2", &env.path("data/acme/ledger.jsonl"));
    let children = format!("/proc/{0}/task/{0}/children", first.id());
    let mut pid = String::new();
    until("the stop", || {
        pid = std::fs::read_to_string(&children).unwrap_or_default().trim().to_owned();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.contains("State:\tT")
            || status.contains("State:\tt (tracing stop)") && {
                env.path("data/acme/packages/acme/good-1.2.0.zip").exists()
            }
    });
    std::fs::remove_file(env.path("data/LOCK")).unwrap();
    release(&upstream, "1.2.0", "second");
    release(&upstream, "1.3.0", "second");
    env.build(0);
    let (before, lines) = (env.volume(), ledger(&env));
    run(Command::new("kill").args(["-CONT", &pid]));
    let output = first.wait_with_output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{log}");
    assert!(log.contains("another instance has taken over"), "{log}");
    assert_eq!((env.volume(), ledger(&env)), (before, lines));
    env.build(0);
    let _server = env.serve("serve", port);
    assert_eq!(all_archives_answer(&env, port), 4);
}

#[test]
fn read_only_volume_is_served_but_not_built() {
    let (env, upstream, port) = mirror();
    release(&upstream, "1.2.0", "first");
    let data = env.path("data");
    let mounted = |mode: &str, command: &str| {
        let script = format!(
            "mount --bind {0} {0} && mount -o remount,bind,{mode} {0} && exec {1} {command} --config {2}",
            data.display(),
            env!("CARGO_BIN_EXE_mirror"),
            env.path("mirror.yaml").display()
        );
        let mut unshare = Command::new("unshare");
        unshare.args(["-m", "sh", "-c", &script]).stderr(Stdio::piped());
        unshare
    };
    let output = mounted("ro", "build").output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "mounting needs root: {log}");
    assert!(log.contains("is read-only\nhint: mount it writable to build"), "{log}");
    let run = |mode: &str| {
        let mirror = mounted(mode, "run").stderr(Stdio::null()).spawn().unwrap();
        let id = mirror.id();
        let running = MirrorProcess::new(mirror);
        until("it serves", || is_ready(port));
        (running, id)
    };
    let (running, _) = run("ro");
    assert_eq!(all_archives_answer(&env, port), 2);
    drop(running);

    // A failing disk becomes read-only while the mirror runs.
    let (running, id) = run("rw");
    assert_eq!(told(port, "/mirror/")["state"], "fresh");
    let remounted = Command::new("nsenter")
        .args(["-m", "-t", &id.to_string(), "mount", "-o", "remount,bind,ro"])
        .arg(&data)
        .status();
    assert!(remounted.unwrap().success());
    // Under another configuration the next cycle is due at once.
    let configuration = std::fs::read_to_string(env.path("mirror.yaml")).unwrap();
    env.write("mirror.yaml", &format!("{configuration}# again\n"));
    until("it is said", || told(port, "/mirror/")["state"] == "incomplete");
    let error = told(port, "/mirror/")["error"].to_string();
    assert!(error.contains("is read-only"), "{error}");
    assert_eq!(all_archives_answer(&env, port), 2);
    drop(running);
}

#[test]
fn failed_sync_ends_the_cycle_without_retry() {
    let (env, upstream, port) = mirror();
    for (number, folder) in ["data/acme", "data/acme/packages", "data/acme/snapshots"].iter().enumerate() {
        release(&upstream, &format!("1.{}.0", number + 2), "first");
        let failed = traced(&env, "fsync:error=EIO:when=1", &env.path(folder)).wait_with_output().unwrap();
        let log = String::from_utf8_lossy(&failed.stderr);
        assert_eq!(failed.status.code(), Some(2), "{folder}: {log}");
        assert!(log.contains("failed to sync"), "{folder}: {log}");
        assert!(!log.contains("cycle finished"), "{folder}: {log}");
    }
    env.build(0);
    let _server = env.serve("serve", port);
    assert_eq!(all_archives_answer(&env, port), 5);
}

#[test]
fn unreadable_upstream_fails_its_source_and_nothing_disappears() {
    let (env, upstream, _) = mirror();
    release(&upstream, "1.2.0", "first");
    upstream.git(&["gc", "-q"]);
    upstream.git(&["tag", "1.2.1"]);
    let git = upstream.path.join(".git");
    let pack = std::fs::read_dir(git.join("objects/pack")).unwrap().map(|entry| entry.unwrap().path());
    let mut files = vec![git.join("packed-refs"), git.join("refs/tags"), git.join("refs/tags/1.2.1")];
    files.extend(pack.filter(|path| path.extension().is_some_and(|end| end == "pack" || end == "idx")));
    let (data, saved) = (env.path("data"), env.path("saved"));
    let copy = |from: &Path, to: &Path| run(Command::new("cp").arg("-a").arg(from).arg(to));
    copy(&data, &saved);
    let mut failed = 0;
    for file in files {
        for call in ["openat", "read,pread64,mmap", "getdents64"] {
            std::fs::remove_dir_all(&data).unwrap();
            copy(&saved, &data);
            let built = traced(&env, &format!("{call}:error=EIO"), &file).wait_with_output().unwrap();
            let log = String::from_utf8_lossy(&built.stderr);
            // Not every call is made on every file.
            if built.status.code() == Some(0) {
                assert_eq!(ledger(&env).len(), 3, "{call} {}: {log}", file.display());
                continue;
            }
            failed += 1;
            assert_eq!(built.status.code(), Some(1), "{call} {}: {log}", file.display());
            assert_eq!(ledger(&env).len(), 2, "{call} {}: {log}", file.display());
            let listed = env.read("data/acme/current/p2/acme/good.json");
            assert!(listed.contains("good-1.0.0.zip") && listed.contains("good-1.1.0.zip"), "{listed}");
        }
    }
    assert!(failed >= 5, "{failed} of these calls failed the source");
    env.build(0);
    assert_eq!(ledger(&env).len(), 3);
}

#[test]
fn unlockable_volume_is_built_with_a_warning() {
    let (env, upstream, port) = mirror();
    release(&upstream, "1.2.0", "first");
    let built = traced(&env, "flock:error=ENOLCK", &env.path("data/LOCK")).wait_with_output().unwrap();
    let log = String::from_utf8_lossy(&built.stderr);
    assert_eq!(built.status.code(), Some(0), "{log}");
    assert!(log.contains("cannot be locked: make sure that only one instance builds"), "{log}");
    let _server = env.serve("serve", port);
    assert_eq!(all_archives_answer(&env, port), 3);
}

/// Runs as root, because only root can start a process of another user. Root itself may write read-only files.
#[test]
fn user_without_privileges_builds_from_nothing() {
    let (env, ..) = mirror();
    std::fs::remove_dir_all(env.path("data")).unwrap();
    let program = env.path("program");
    std::fs::copy(env.command(&[]).get_program(), &program).unwrap();
    run(Command::new("chown").args(["-R", "65534"]).arg(env.root()));
    let mut build = Command::new(program);
    build.args(env.command(&["build"]).get_args()).env("HOME", env.root()).uid(65534);
    let output = build.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(env.read("data/STORE").contains("repository acme"));
}
