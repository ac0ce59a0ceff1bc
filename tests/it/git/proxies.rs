//! Proxies from the environment, as curl uses them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::Output;
use std::thread::JoinHandle;

use crate::support::env::TestEnv;

/// A proxy that answers one request so, and what it was asked.
fn proxy(answer: &'static str) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // Read the whole request: closing a socket with unread input resets the connection.
        let lines = BufReader::new(&stream).lines().map(Result::unwrap);
        let lines: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
        write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").unwrap();
        lines
    });
    (address, asked)
}

/// The log of a build with a source at `url` and these variables.
fn log_of_build(url: &str, variables: &[(&str, &str)]) -> String {
    let env = TestEnv::new();
    env.configure(1, &format!("  - {{name: s, git: '{url}', packages: [{{one: ''}}]}}\n"));
    let mut build = env.command(&["build"]);
    for name in ["no_proxy", "NO_PROXY", "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
    {
        build.env_remove(name);
    }
    let Output { stderr, .. } = build.envs(variables.iter().copied()).output().unwrap();
    String::from_utf8(stderr).unwrap()
}

#[test]
fn plain_http_asks_the_proxy_for_the_url() {
    let (address, asked) = proxy("502 Bad Gateway");
    let variable = format!("http://joe:s3cr%40t@{address}");
    let log = log_of_build("http://git.invalid/x.git", &[("http_proxy", &variable), ("no_proxy", "other, ")]);
    let asked = asked.join().unwrap();
    assert_eq!(asked[0], "GET http://git.invalid/x.git/info/refs?service=git-upload-pack HTTP/1.1");
    let has = |field: &str| asked.iter().any(|line| line.eq_ignore_ascii_case(field));
    assert!(has("Host: git.invalid"), "{asked:?}");
    assert!(has("Proxy-Authorization: Basic am9lOnMzY3JAdA=="), "{asked:?}");
    assert!(
        log.contains(&format!("`git.invalid` through the proxy `{address}` answered with http status 502")),
        "{log}"
    );
    assert!(!log.contains("s3cr"), "{log}");
}

#[test]
fn https_asks_the_proxy_for_a_tunnel() {
    for (status, hint) in
        [("403 Forbidden", "`no_proxy`"), ("407 Proxy Authentication Required", "asks for a login")]
    {
        let (address, asked) = proxy(status);
        let log = log_of_build("https://git.invalid/x.git", &[("https_proxy", &address)]);
        assert_eq!(asked.join().unwrap()[0], "CONNECT git.invalid:443 HTTP/1.1");
        let said = format!(
            "the proxy `{address}` does not let through to `git.invalid`: http status {}",
            &status[..3]
        );
        assert!(log.contains(&said) && log.contains(hint), "{log}");
    }
}

#[test]
fn proxy_that_cannot_be_reached_is_named() {
    for (url, variable) in [
        ("http://git.invalid/x.git", "http://joe:s3cret@127.0.0.1:1"),
        ("https://git.invalid/x.git", "http://joe:s3cret@127.0.0.1:1/"),
        ("https://git.invalid/x.git", "socks5h://joe:s3cret@127.0.0.1:1"),
        ("http://git.invalid/x.git", "proxy.invalid:1"),
    ] {
        let log = log_of_build(url, &[("all_proxy", variable)]);
        let host = if variable.starts_with("proxy") { "proxy.invalid:1" } else { "127.0.0.1:1" };
        assert!(log.contains(&format!("`git.invalid` through the proxy `{host}`: ")), "{variable}: {log}");
        assert!(!log.contains("s3cret"), "{log}");
    }
}
