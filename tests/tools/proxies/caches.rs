//! What clients get through each of the examples: true entity tags and digests, 304, and nothing that is private.

use base64::Engine as _;

use super::Proxy;
use crate::support::http::{Client, Response};
use crate::support::served_mirror::ServedMirror;
use crate::support::server::repr_digest;
use crate::support::until;

const CACHES: [&str; 3] = ["cache/nginx.conf", "cache/apache.conf", "Varnish"];

const ACCEPTED: [&str; 7] = [
    "",
    "gzip",
    "br",
    "gzip, deflate, br",
    "deflate, gzip, br, zstd",
    "identity",
    "gzip;q=0, br;q=0, zstd;q=0",
];

fn get(client: &mut Client, path: &str, headers: &[(&str, &str)]) -> Response {
    let headers = headers.iter().copied().filter(|(_, value)| !value.is_empty());
    client.request("GET", path, &headers.collect::<Vec<_>>())
}

/// The requests that have reached the mirror.
fn requests(mirror: u16, route: &str) -> u64 {
    let metrics = crate::support::http::get(mirror, "/-/metrics");
    let lines = metrics.text().lines().filter(|line| line.starts_with("mirror_http_requests_total{"));
    let lines = lines.filter(|line| line.contains(&format!("route=\"{route}\"")));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn entity_tags_and_digests_are_those_of_the_received_bytes() {
    let mirror = ServedMirror::start();
    let paths = ["/mirror/packages.json", "/mirror/", &mirror.include(), "/mirror/packages/acme/a-1.0.0.zip"];
    let mut codings = std::collections::BTreeSet::new();
    for proxy in Proxy::examples(mirror.port) {
        let mut direct = Client::local(mirror.port);
        for (path, accepted) in paths.iter().flat_map(|path| ACCEPTED.map(|accepted| (*path, accepted))) {
            let at = format!("{} {path} `{accepted}`", proxy.name);
            let encoding = ("Accept-Encoding", accepted);
            let expected = get(&mut direct, path, &[encoding]);
            for _ in 0..2 {
                let answer = get(&mut proxy.client(), path, &[encoding]);
                assert_eq!((answer.status, &answer.body), (200, &expected.body), "{at}");
                for name in ["content-encoding", "etag", "repr-digest", "last-modified"] {
                    assert_eq!(answer.header(name), expected.header(name), "{at} {name}");
                }
                assert_eq!(answer.header("repr-digest"), Some(&*repr_digest(&answer.body)), "{at}");
                codings.insert(answer.header("content-encoding").map(str::to_owned));
                for (name, validator) in [("If-None-Match", "etag"), ("If-Modified-Since", "last-modified")] {
                    let condition = (name, answer.header(validator).unwrap());
                    let fresh = get(&mut proxy.client(), path, &[encoding, condition]);
                    assert_eq!(
                        (fresh.status, fresh.header("vary")),
                        (304, expected.header("vary")),
                        "{at} {name}"
                    );
                }
                let part = get(&mut proxy.client(), path, &[encoding, ("Range", "bytes=0-9")]);
                assert_eq!((part.status, &*part.body), (206, &answer.body[..10]), "{at}");
                for name in ["content-encoding", "etag", "repr-digest"] {
                    assert_eq!(part.header(name), expected.header(name), "{at} {name}");
                }
            }
        }
    }
    assert_eq!(codings.len(), 4, "{codings:?}");
}

/// With its defaults it asks for gzip and decompresses. No digest is better than a wrong one.
#[test]
fn varnish_that_decompresses_sends_no_digest_of_other_bytes() {
    let mirror = ServedMirror::start();
    let proxy = Proxy::varnish(mirror.port, "on");
    for accepted in ACCEPTED {
        let answer = get(&mut proxy.client(), &mirror.include(), &[("Accept-Encoding", accepted)]);
        assert_eq!(answer.status, 200);
        if let Some(digest) = answer.header("repr-digest") {
            assert_eq!(digest, repr_digest(&answer.body), "{accepted}");
        }
    }
}

/// An archive that has one form is kept once, whatever clients accept.
#[test]
fn cache_keeps_one_copy_of_archive_without_variants() {
    let (env, port) = ServedMirror::built();
    std::fs::remove_dir_all(env.path("data/acme/variants")).unwrap();
    let running = env.serve("serve", port);
    let zip = "/mirror/packages/acme/a-1.0.0.zip";
    for proxy in Proxy::examples(port).iter().filter(|proxy| CACHES.contains(&proxy.name)) {
        let direct = crate::support::http::get(port, zip);
        assert_eq!((direct.status, direct.header("vary")), (200, None));
        let ask = |accepted: &str| {
            assert_eq!(get(&mut proxy.client(), zip, &[("Accept-Encoding", accepted)]).status, 200);
        };
        until(&format!("{} keeps the archive", proxy.name), || {
            let before = requests(port, "archive");
            ask("");
            requests(port, "archive") == before
        });
        let before = requests(port, "archive");
        ACCEPTED.iter().for_each(|accepted| ask(accepted));
        assert_eq!(requests(port, "archive"), before, "{}", proxy.name);
    }
    assert_eq!(running.stop(), Some(0));
}

#[test]
fn caches_keep_archives_and_revalidate_metadata() {
    let mirror = ServedMirror::start();
    for proxy in Proxy::examples(mirror.port).iter().filter(|proxy| CACHES.contains(&proxy.name)) {
        let count = |route: &str, path: &str, times: usize| {
            let before = requests(mirror.port, route);
            for accepted in ["", "gzip", "", "gzip"].iter().cycle().take(times) {
                assert_eq!(get(&mut proxy.client(), path, &[("Accept-Encoding", accepted)]).status, 200);
            }
            requests(mirror.port, route) - before
        };
        let zip = "/mirror/packages/acme/a-1.0.0.zip";
        // A cache may store a file only after it has sent it.
        until(&format!("{} keeps the archive", proxy.name), || count("archive", zip, 4) == 0);
        let unmodified = || {
            let metrics = crate::support::http::get(mirror.port, "/-/metrics").into_text();
            let mut lines = metrics.lines().filter(|line| line.contains("route=\"metadata\",status=\"304\""));
            lines.next().map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
        };
        let before: u64 = unmodified();
        until(&format!("{} asks with a condition", proxy.name), || {
            count("metadata", "/mirror/packages.json", 2);
            unmodified() > before
        });
    }
}

#[test]
fn private_responses_are_cached_by_none() {
    let (env, port) = ServedMirror::built();
    let hash = bcrypt::hash("right", 4).unwrap();
    env.write("users", &format!("ana:{hash}\n"));
    let config =
        env.read("mirror.yaml").replace("recipe: ./recipe.yaml", "recipe: ./recipe.yaml, users: ./users");
    env.write("mirror.yaml", &config);
    let running = env.serve("serve", port);
    let basic = |pair: &str| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
    let (right, wrong) = (basic("ana:right"), basic("ana:wrong"));
    for proxy in Proxy::examples(port) {
        for path in ["/mirror/packages.json", "/mirror/packages/acme/a-1.0.0.zip"] {
            let ask =
                |credentials: &str| get(&mut proxy.client(), path, &[("Authorization", credentials)]).status;
            for _ in 0..2 {
                let answers = [ask(&right), ask(""), ask(&wrong), ask(&right)];
                assert_eq!(answers, [200, 401, 401, 200], "{} {path}", proxy.name);
            }
        }
    }
    assert_eq!(running.stop(), Some(0));
}
