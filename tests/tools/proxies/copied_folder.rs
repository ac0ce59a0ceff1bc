//! A mirror's files, copied into a folder that nginx serves, are followed and restored from.

use std::process::Command;

use super::{Proxy, folder};
use crate::support::env::TestEnv;
use crate::support::store::{command, mirror, read, release};
use crate::support::{free_port, run};

#[test]
fn copied_folder_is_followed() {
    let (origin, upstream, _) = mirror();
    let (copy, port) = (folder(), free_port());
    let files = copy.path().join("mirror");
    // As a job that synchronizes a web server's folder does: archives and metadata, then the ledger.
    let publish = || {
        run(Command::new("mkdir").arg("-p").arg(&files));
        run(Command::new("cp").args(["-rLf"]).arg(origin.path("data/acme/current/.")).arg(&files));
        run(Command::new("cp").arg("-f").arg(origin.path("data/acme/ledger.jsonl")).arg(&files));
        run(Command::new("chmod").args(["-R", "a+rX"]).arg(copy.path()));
    };
    publish();
    let root = copy.path().display().to_string();
    let _nginx =
        Proxy::nginx_with("a copy", port, &format!("server {{ listen 127.0.0.1:{port}; root {root}; }}"));
    let env = TestEnv::new();
    let (data, own) = (env.path("data"), free_port());
    let url = format!("http://127.0.0.1:{port}/mirror/");
    env.write(
        "mirror.yaml",
        &format!(
            "data: {}\nserve: {{listen: '127.0.0.1:{own}'}}\nrepositories:\n  - {{name: acme, url: 'http://127.0.0.1:{own}/', follow: ['{url}']}}\n",
            data.display()
        ),
    );
    let same = || assert_eq!(read(&env, "data/acme/ledger.jsonl"), read(&origin, "data/acme/ledger.jsonl"));
    env.build(0);
    same();
    let before = read(&origin, "data/acme/ledger.jsonl");
    let volume = env.volume();
    env.build(0);
    assert_eq!(env.volume(), volume);
    release(&upstream, "1.2.0", "later");
    origin.build(0);
    publish();
    env.build(0);
    same();
    command(&env, &["verify"], 0);
    std::fs::remove_file(env.path("data/acme/packages/acme/good-1.0.0.zip")).unwrap();
    assert!(command(&env, &["restore", "--from", &url], 0).contains("1 damaged archive restored"));
    // An old copy comes back.
    std::fs::remove_file(files.join("ledger.jsonl")).unwrap();
    std::fs::write(files.join("ledger.jsonl"), before).unwrap();
    assert!(env.build(1).contains("is shorter than the one here"));
    same();
}
