//! The paths of URLs: redirects, and paths that lead nowhere.

use std::io::{BufRead as _, Write as _};

use crate::support::server::*;
use mirror::server::{ContentKind, Site};

#[test]
fn base_path_without_slash_redirects_to_same_host() {
    let files = PublishedFiles::new();
    let page = files.publish("index.html", ContentKind::Page, "page");
    let odd = files.publish("index.html", ContentKind::Page, "page");
    let site = Site::new([repository("/a/mirror/", vec![page]), repository("/x:y z/", vec![odd])]);
    let mirror = TestServer::start(Some(site.expect("a valid site")));
    for (path, location) in [
        ("/a/mirror", "./mirror/"),
        ("/a/mirror?to=//evil.example", "./mirror/"),
        ("//a//mirror", "./mirror/"),
        ("/x:y%20z", "./x%3Ay%20z/"),
    ] {
        let answer = mirror.get(path);
        assert_eq!((answer.status, answer.header("location")), (308, Some(location)), "{path}");
    }
    assert_eq!(mirror.get("/a").status, 404);
    assert_eq!(mirror.get("/a/mirrors").status, 404);
}

#[test]
fn hostile_paths_are_refused() {
    let files = PublishedFiles::new();
    let mirror = TestServer::start(Some(files.site()));
    let long = format!("/{}", "a/".repeat(10_000));
    let too_long = format!("/{}", "a".repeat(60_000));
    let endless = format!("/{}", "a".repeat(300_000));
    for path in [
        "/../packages.json",
        "/p2/../packages.json",
        "/./packages.json",
        "/%2e%2e/packages.json",
        "/%2E%2E%2Fpackages.json",
        "/mirror/..%2f..%2fpackages.json",
        "/..%5c..%5cpackages.json",
        "/..\\packages.json",
        "/mirror\\packages.json",
        "/packages.json%00",
        "/packages.json%00.zip",
        "/%c0%ae%c0%ae/packages.json",
        "/%252e%252e/packages.json",
        "/packages.json%2f",
        "/%2Fpackages.json",
        "/%",
        "/%2",
        "/etc/passwd",
        "//etc/passwd",
        "//evil.example/",
        "//evil.example/%2e%2e",
        "/%2f%2fevil.example/",
        "/\\evil.example",
        "/mirror%2f",
        "http://evil.example/etc/passwd",
        "http://evil.example//evil.example/..",
        "/packages.json;x",
        "/packages.json%23",
        "/PACKAGES.JSON",
        "/ packages.json",
        "packages.json",
        "",
        &long,
        &too_long,
        &endless,
    ] {
        let shown = &path[..path.len().min(60)];
        let mut client = mirror.client();
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        // The server may close the connection before it has read all of a request that is too long.
        client.0.get_mut().write_all(head.as_bytes()).ok();
        let mut status = String::new();
        if client.0.read_line(&mut status).is_err() {
            continue;
        }
        let code = status.split(' ').nth(1).unwrap_or_else(|| panic!("{shown}: {status:?}"));
        assert!(matches!(code, "400" | "404" | "414" | "431"), "{shown}: {status:?}");
    }
    assert_eq!(mirror.get("/packages.json").status, 200, "the server answers");
    assert_eq!(mirror.get("http://other.example/packages.json").status, 200, "RFC 9112 section 3.2.2");
}
