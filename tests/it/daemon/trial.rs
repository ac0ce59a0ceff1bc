//! Trials: `mirror demo` with the example that is part of the program, and volumes that a trial must leave alone.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::env::{MirrorProcess, TestEnv};
use crate::support::http::{get, is_ready};
use crate::support::{free_port, until};

/// Starts `mirror demo`, with its data in `data` and its log in `log`. Requests to other machines go to a proxy at `proxy`.
fn demo(env: &TestEnv, port: u16, proxy: u16, options: &[&str]) -> MirrorProcess {
    let log = std::fs::File::create(env.path("log")).unwrap();
    MirrorProcess::new(spawn(env, port, proxy, options, log.into()))
}

fn spawn(env: &TestEnv, port: u16, proxy: u16, options: &[&str], log: Stdio) -> Child {
    let address = format!("127.0.0.1:{port}");
    let mut mirror = Command::new(env!("CARGO_BIN_EXE_mirror"));
    mirror.args(["demo", "--listen", &address, "--url", &format!("http://{address}/"), "--data"]);
    mirror.arg(env.path("data")).args(options);
    mirror
        .env("HTTPS_PROXY", format!("http://127.0.0.1:{proxy}"))
        .env_remove("NO_PROXY")
        .env_remove("no_proxy");
    mirror.env_remove("RUST_LOG").stderr(log).spawn().unwrap()
}

fn text(port: u16, path: &str) -> String {
    String::from_utf8(get(port, path).body).unwrap()
}

fn state(port: u16) -> Value {
    serde_json::from_str(&text(port, "/mirror.json")).unwrap()
}

#[test]
fn offline_demo_publishes_example_packages_without_network() {
    let (env, port) = (TestEnv::new(), free_port());
    // Nobody listens there.
    let mirror = demo(&env, port, free_port(), &["--offline"]);
    until("it is ready", || is_ready(port));
    until("the cycle is recorded", || state(port)["repository"]["state"] == "fresh");
    let packages = text(port, "/p2/demo/shop.json");
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        assert!(packages.contains(version), "{packages}");
        assert_eq!(get(port, &format!("/packages/demo/module-checkout-{version}.zip")).status, 200);
    }
    for path in ["/", "/status.html"] {
        let page = text(port, path);
        assert!(
            page.contains("This is a trial") && page.contains("mirror init &gt; conf/mirror.yaml"),
            "{page}"
        );
        assert!(page.contains("20 GB of disk"), "{page}");
    }
    assert_eq!(mirror.stop(), Some(0));
    let log = env.read("log");
    for said in [
        "this is a trial",
        "20 GB of disk",
        "mount a folder with mirror.yaml at /etc/mirror",
        "init > conf/mirror.yaml",
    ] {
        assert!(log.contains(said), "{log}");
    }

    // The next trial on this volume publishes nothing else.
    let ledger = env.read("data/mirror-demo/ledger.jsonl");
    let mirror = demo(&env, port, free_port(), &["--offline"]);
    until("it is ready again", || is_ready(port));
    mirror.signal("HUP");
    until("it waits", || env.read("log").contains("waiting for the next cycle"));
    assert!(is_ready(port));
    assert_eq!(mirror.stop(), Some(0));
    assert_eq!(env.read("data/mirror-demo/ledger.jsonl"), ledger);
}

#[test]
fn demo_serves_its_page_at_once_and_does_without_a_network_that_fails() {
    let (env, port) = (TestEnv::new(), free_port());
    // Takes connections, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let _mirror = demo(&env, port, silent.local_addr().unwrap().port(), &[]);
    until("it answers", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    until("it has a page", || get(port, "/").status == 200);
    assert!(!is_ready(port), "the first cycle waits for the network");
    let page = text(port, "/");
    assert!(page.contains("This is a trial") && page.contains("Nothing is published yet"), "{page}");
    until("the example is published", || is_ready(port));
    until("the cycle is recorded", || state(port)["repository"]["state"] == "incomplete");
    assert!(text(port, "/p2/demo/shop.json").contains("1.2.0"));
}

#[test]
fn demo_leaves_the_volume_of_a_mirror_alone() {
    let (env, port) = (TestEnv::new(), free_port());
    env.upstream("good")
        .write("composer.json", r#"{"name": "acme/good", "version": "1.0.0"}"#)
        .release("1.0.0");
    env.configure(port, "  - {name: good, git: 'https://git.example/good', packages: [{one: ''}]}\n");
    env.build(0);
    let before = env.volume();
    let refused = spawn(&env, port, port, &["--offline"], Stdio::piped()).wait_with_output().unwrap();
    let error = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(64), "{error}");
    assert!(error.contains("has published repositories: acme\nhint: choose another folder"), "{error}");
    assert_eq!(env.volume(), before);
}

#[test]
fn mirror_with_a_configuration_takes_over_from_a_trial() {
    let (env, port) = (TestEnv::new(), free_port());
    let trial = demo(&env, port, free_port(), &["--offline"]);
    until("it is ready", || is_ready(port));
    assert_eq!(trial.stop(), Some(0));
    env.configure(port, "  - {name: example, git: 'built-in:example', packages: [{each: modules}]}\n");
    let config = env.read("mirror.yaml").replace("/mirror/'", "/'");
    env.write("mirror.yaml", &config);
    let log = env.build(0);
    assert!(log.contains("`mirror-demo`"), "it names what is left over: {log}");
    let _mirror = env.serve("run", port);
    let page = text(port, "/");
    assert!(page.contains("demo/module-catalog") && !page.contains("This is a trial"), "{page}");
}

#[test]
fn recipe_demo_is_built_by_a_configuration() {
    let (env, port) = (TestEnv::new(), free_port());
    env.configure(port, "");
    let config = env.read("mirror.yaml").replace("recipe: ./recipe.yaml", "recipe: demo, only: [example]");
    env.write("mirror.yaml", &config);
    env.build(0);
    let checked = env.mirror("check");
    let printed = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.status.success() && printed.contains("example from built-in:example"), "{printed}");
    let rebuilt = env.command(&["verify", "--rebuild"]).output().unwrap();
    assert_eq!(rebuilt.status.code(), Some(0), "{}", String::from_utf8_lossy(&rebuilt.stderr));
    // A clone is a cache, and so is what it was made of.
    std::fs::remove_dir_all(env.path("data/git")).unwrap();
    env.build(0);
}

#[test]
fn missing_configuration_that_is_named_is_an_error() {
    let env = TestEnv::new();
    for (name, says) in [("none.yaml", "failed to read"), ("", "failed to find mirror.yaml in the folder")] {
        let mut mirror = Command::new(env!("CARGO_BIN_EXE_mirror"));
        let output = mirror.arg("run").arg("--config").arg(env.path(name)).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{error}");
        assert!(error.contains(says) && error.contains("hint: mount or create the file"), "{error}");
    }
}

#[test]
fn folder_that_cannot_be_used_has_a_remedy() {
    let (env, port) = (TestEnv::new(), free_port());
    let error = || {
        let output = spawn(&env, port, port, &["--offline"], Stdio::piped()).wait_with_output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    env.write("data", "a file");
    let file = error();
    assert!(file.contains("hint: choose another folder with `--data`"), "{file}");
    assert_eq!(env.read("data"), "a file");
    std::fs::remove_file(env.path("data")).unwrap();
    std::os::unix::fs::symlink("/proc/none", env.path("data")).unwrap();
    let unwritable = error();
    assert!(unwritable.contains("`mirror demo --data FOLDER`"), "{unwritable}");
}
