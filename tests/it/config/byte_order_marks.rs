//! Files with a byte order mark, or in UTF-16, as programs on Windows save them.

use std::path::{Path, PathBuf};

use crate::support::certificates::CertificateAuthority;
use crate::support::env::TestEnv;
use crate::support::free_port;

const SOURCE: &str = "  - {name: modules, git: 'https://git.example/modules', packages: [{each: ''}]}\n";

fn with_mark(text: &str) -> Vec<u8> {
    [b"\xef\xbb\xbf", text.as_bytes()].concat()
}

fn in_utf_16(text: &str) -> Vec<u8> {
    let mark = '\u{feff}';
    [mark].into_iter().chain(text.chars()).map(|c| c as u16).flat_map(u16::to_le_bytes).collect()
}

/// A configuration that names a file of every kind, and these files.
fn configured() -> (TestEnv, Vec<PathBuf>) {
    let (env, port) = (TestEnv::new(), free_port());
    let upstream = env.upstream("modules");
    upstream.write("a/composer.json", r#"{"name": "acme/a", "version": "1.0.0"}"#).release("1.0.0");
    env.configure(port, SOURCE);
    let authority = CertificateAuthority::new();
    let (certificate, key) = authority.server_files();
    for (file, name) in [(authority.ca_file(), "ca.pem"), (certificate, "server.pem"), (key, "server.key")] {
        std::fs::copy(file, env.path(name)).unwrap();
    }
    let token = mirror::util::digest::Sha256::digest(b"long-and-random");
    env.write("users", &format!("ci:sha256:{token}\n"));
    env.write("password", "secret\n");
    env.write("hook", "secret\n");
    let config = env.read("mirror.yaml")
        .replace("drain: 5s", "tls: {listen: '127.0.0.1:0', certificate: server.pem, key: server.key}")
        .replace("recipe: ./recipe.yaml", "recipe: ./recipe.yaml, users: users")
        .replace("git:\n", "git:\n  ca_file: ca.pem\n  credentials: [{url: 'https://a.example/', username: a, password_file: password}]\n");
    env.write("mirror.yaml", &format!("{config}push: [{{from: github, secret_file: hook}}]\n"));
    let names =
        ["mirror.yaml", "recipe.yaml", "users", "password", "hook", "ca.pem", "server.pem", "server.key"];
    let files = names.map(|name| env.path(name)).to_vec();
    (env, files)
}

fn check(env: &TestEnv, code: i32) -> String {
    let output = env.mirror("check");
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

fn rewrite(file: &Path, encode: impl Fn(&str) -> Vec<u8>) {
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, encode(&text)).unwrap();
}

#[test]
fn files_with_the_mark_of_utf_8_are_read() {
    let (env, files) = configured();
    check(&env, 0);
    files.iter().for_each(|file| rewrite(file, with_mark));
    check(&env, 0);
    env.build(0);
    let password = mirror::config::Secret::File(env.path("password")).read().unwrap();
    assert_eq!(password, "secret");
}

#[test]
fn files_in_utf_16_are_refused_by_name() {
    let (env, files) = configured();
    for file in files {
        let text = std::fs::read(&file).unwrap();
        rewrite(&file, in_utf_16);
        let said = check(&env, 64);
        let name = file.display();
        assert!(said.contains(&format!("`{name}`")), "{name}: {said}");
        assert!(
            said.contains("it begins with the byte order mark of UTF-16 (little-endian)"),
            "{name}: {said}"
        );
        assert!(said.contains("hint: save it in UTF-8"), "{name}: {said}");
        std::fs::write(&file, text).unwrap();
    }
    check(&env, 0);
}

#[test]
fn manifest_with_a_byte_order_mark_fails_only_its_package() {
    let env = TestEnv::new();
    let upstream = env.upstream("modules");
    for (folder, encode) in
        [("marked", with_mark as fn(&str) -> Vec<u8>), ("wide", in_utf_16), ("good", |text| text.into())]
    {
        let manifest = format!(r#"{{"name": "acme/{folder}", "version": "1.0.0"}}"#);
        upstream.write(&format!("{folder}/composer.json"), &manifest);
        rewrite(&upstream.path.join(folder).join("composer.json"), encode);
    }
    upstream.release("1.0.0");
    env.configure(free_port(), SOURCE);
    let log = env.build(1);
    for (folder, encoding) in [("marked", "UTF-8"), ("wide", "UTF-16 (little-endian)")] {
        let reason =
            format!("{folder}/composer.json: it begins with the byte order mark of {encoding}, and Composer");
        assert!(log.contains(&reason), "{log}");
    }
    assert!(env.path("data/acme/packages/acme/good-1.0.0.zip").exists(), "{log}");
}
