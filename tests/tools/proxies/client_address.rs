//! Who the client is, behind each of the examples: in the access log of the mirror.

use std::process::Command;

use super::{Proxy, front_port};
use crate::support::certificates::CertificateAuthority;
use crate::support::free_port;
use crate::support::run;
use crate::support::served_mirror::ServedMirror;

fn trusting_config(config: &str, more: &str) -> String {
    let config = config.replace("notice: 0s", &format!("notice: 0s, trusted_proxies: [127.0.0.1]{more}"));
    format!("{config}log: {{access: full, format: json}}\n")
}

/// The clients of requests for `path`, in the log.
fn clients(log: &str, path: &str) -> Vec<String> {
    let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let lines = lines.filter(|line| line["path"] == path);
    lines.map(|line| line["client"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_example_names_the_client_and_nobody_else() {
    let (env, port) = ServedMirror::built();
    env.write("mirror.yaml", &trusting_config(&env.read("mirror.yaml"), ""));
    let running = env.serve("serve", port);
    let proxies = Proxy::examples(port);
    for (number, proxy) in proxies.iter().enumerate() {
        let path = format!("/mirror/{number}");
        let spoofed = [("X-Forwarded-For", "198.51.100.9"), ("Forwarded", "for=198.51.100.9")];
        assert_eq!(proxy.stranger().request("GET", &path, &spoofed).status, 404, "{}", proxy.name);
        assert!(
            matches!(proxy.client().request("GET", "/-/metrics", &[]).status, 403 | 404),
            "{}",
            proxy.name
        );
    }
    assert_eq!(running.stop(), Some(0));
    let log = env.read("log");
    for (number, proxy) in proxies.iter().enumerate() {
        assert_eq!(clients(&log, &format!("/mirror/{number}")), ["127.0.0.2"], "{}", proxy.name);
    }
}

#[test]
fn haproxy_names_the_client_by_the_proxy_protocol() {
    let (env, port) = ServedMirror::built();
    let (tls_port, authority) = (free_port(), CertificateAuthority::new());
    let (certificate, key) = authority.server_files();
    let tls = format!(
        ", tls: {{listen: '127.0.0.1:{tls_port}', certificate: '{}', key: '{}', http2: true}}",
        certificate.display(),
        key.display()
    );
    env.write("mirror.yaml", &trusting_config(&env.read("mirror.yaml"), &tls));
    let running = env.serve("serve", port);
    let mut paths = Vec::new();
    for (version, header) in [(1, "send-proxy"), (2, "send-proxy-v2")] {
        for (scheme, server) in [("http", port), ("https", tls_port)] {
            let front = front_port();
            let proxy = Proxy::haproxy_with(
                front,
                &format!(
                    "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\nlisten mirror\n bind 127.0.0.1:{front}\n server one 127.0.0.1:{server} {header} check check-send-proxy\n"
                ),
            );
            for protocol in ["--http1.1", "--http2"] {
                let protocol = match (scheme, protocol) {
                    ("http", "--http2") => "--http2-prior-knowledge",
                    _ => protocol,
                };
                let path = format!("/mirror/{version}/{scheme}/{protocol}");
                let mut curl = Command::new("curl");
                curl.args([
                    "-ksS",
                    "--interface",
                    "127.0.0.2",
                    "-H",
                    "X-Forwarded-For: 198.51.100.9",
                    protocol,
                ]);
                curl.args(["-o", "/dev/null", "-w", "%{http_code}"]);
                curl.arg(format!("{scheme}://127.0.0.1:{}{path}", proxy.port));
                assert_eq!(run(&mut curl), "404", "{path}");
                paths.push(path);
            }
        }
    }
    assert_eq!(running.stop(), Some(0));
    let log = env.read("log");
    for path in paths {
        assert_eq!(clients(&log, &path), ["127.0.0.2"], "{path}");
    }
}
