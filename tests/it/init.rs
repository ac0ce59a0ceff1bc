//! `mirror init`: what it writes is a valid configuration, and it overwrites nothing.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use crate::support::env::TestEnv;

fn init(env: &TestEnv, arguments: &[&str]) -> Output {
    let mut mirror = Command::new(env!("CARGO_BIN_EXE_mirror"));
    mirror.arg("init").args(arguments).current_dir(env.root()).stdin(Stdio::null()).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn configuration_that_is_written_passes_check() {
    let env = TestEnv::new();
    for recipe in ["magento", "mage-os", "demo"] {
        let data = env.path("data").display().to_string();
        let options =
            ["--recipe", recipe, "--timezone", "Europe/Berlin", "--operator", "Example: \"Hosting\""];
        let output = init(&env, &[&["mirror.yaml", "--force", "--data", &data], &options[..]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(
            stderr(&output).contains("using the defaults: --url http://localhost:8080/"),
            "{}",
            stderr(&output)
        );
        let checked = env.mirror("check");
        let printed = String::from_utf8(checked.stdout).unwrap();
        assert!(checked.status.success(), "{printed}{}", String::from_utf8_lossy(&checked.stderr));
        assert!(printed.contains(&format!("Repository {recipe} at http://localhost:8080/")), "{printed}");
        assert!(!printed.contains("Warning"), "{printed}");
    }
}

#[test]
fn existing_file_stays_unless_forced() {
    let env = TestEnv::new();
    env.write("mirror.yaml", "mine\n");
    let refused = init(&env, &["mirror.yaml"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("`mirror.yaml` exists\nhint: overwrite it with `--force`"));
    assert_eq!(env.read("mirror.yaml"), "mine\n");
    assert!(init(&env, &["mirror.yaml", "--force"]).status.success());
    assert!(env.read("mirror.yaml").contains("recipe: \"magento\""));
}

#[test]
fn standard_output_gets_the_configuration_alone() {
    let env = TestEnv::new();
    let [named, default] = [&["-"][..], &[]].map(|arguments| init(&env, arguments));
    assert!(named.status.success() && !named.stdout.is_empty());
    assert_eq!(named.stdout, default.stdout);
    let text = String::from_utf8(named.stdout).unwrap();
    mirror::config::parse(std::path::Path::new("mirror.yaml"), &text, &|_| None).unwrap();
    let wrong = init(&env, &["-", "--url", "mirror.example.com"]);
    assert_eq!((wrong.status.code(), wrong.stdout.len()), (Some(64), 0));
    assert!(stderr(&wrong).starts_with("--url: expected"), "{}", stderr(&wrong));
}

/// `script` runs a command on a terminal of its own.
#[test]
fn questions_are_asked_on_a_terminal() {
    let env = TestEnv::new();
    let command = format!("{} init mirror.yaml --data /srv/mirror", env!("CARGO_BIN_EXE_mirror"));
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).current_dir(env.root());
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let answers = b"mage-os\nhttps://mirror.example.com/\n\n@hourly\nUTC\nExample\n\n";
    child.stdin.as_mut().unwrap().write_all(answers).unwrap();
    let output = child.wait_with_output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}");
    assert!(printed.contains("recipe [magento]: ") && printed.contains("wrote `mirror.yaml`"), "{printed}");
    let text = env.read("mirror.yaml");
    for line in ["- name: \"mage-os\"", "schedule: \"@hourly\"", "name: \"Example\"", "data: \"/srv/mirror\""]
    {
        assert!(text.contains(line), "{line}\n{text}");
    }
}
