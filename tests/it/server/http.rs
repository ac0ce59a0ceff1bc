//! The server as its clients see it: real sockets on loopback, HTTP written and read byte by byte.

use std::io::{BufRead as _, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::num::NonZero;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::support::http::Client;
use crate::support::server::*;
use mirror::cli::healthcheck::check;
use mirror::config::{Address, Serve};
use mirror::server::HealthEndpoint;
use mirror::server::{ContentKind, PublishedSite, Readiness, RepositorySite, Resource, Site, Variant};
use mirror::util::compression::Coding;
use mirror::util::digest::Sha256;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

fn repr_digest(body: &[u8]) -> String {
    use base64::Engine as _;
    let digest = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(body).0);
    format!("sha-256=:{digest}:")
}

#[test]
fn content_kinds_have_their_headers() {
    let files = PublishedFiles::new();
    let mirror = TestServer::start(Some(files.site()));
    let (always, checked) = ("max-age=31536000, immutable", "max-age=0, must-revalidate");
    let disposition = "attachment; filename=\"x-1.0.zip\"";
    for (path, body, media, cache, cors, disposition) in [
        ("/packages.json", PACKAGES, "application/json", checked, Some("*"), None),
        ("/mirror/packages.json", PACKAGES, "application/json", checked, Some("*"), None),
        ("/p2/magento/x.json", "{}", "application/json", checked, Some("*"), None),
        ("/include/all%24ab.json", "{\"a\":1}", "application/json", always, Some("*"), None),
        ("/include/all$ab.json", "{\"a\":1}", "application/json", always, Some("*"), None),
        ("/packages/magento/x-1.0.zip", "0123456789", "application/zip", always, None, Some(disposition)),
        ("/ledger.jsonl", "{\"n\":1}\n", "application/jsonl", checked, Some("*"), None),
        ("/lastupdate", "now", "text/plain; charset=utf-8", checked, None, None),
        ("/", "<p>root", "text/html; charset=utf-8", checked, None, None),
        ("/mirror/", "<p>root", "text/html; charset=utf-8", checked, None, None),
    ] {
        let answer = mirror.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.text(), body, "{path}");
        let etag = format!("\"{}\"", &Sha256::digest(body.as_bytes()).to_string()[..32]);
        for (name, value) in [
            ("content-type", Some(media)),
            ("cache-control", Some(cache)),
            ("access-control-allow-origin", cors),
            ("content-disposition", disposition),
            ("etag", Some(&etag)),
            ("vary", Some("accept-encoding")),
            ("content-encoding", None),
            ("repr-digest", Some(&repr_digest(body.as_bytes()))),
            ("content-security-policy", media.starts_with("text/html").then_some(PAGE_POLICY)),
            ("last-modified", Some(DATE)),
            ("accept-ranges", Some("bytes")),
            ("x-content-type-options", Some("nosniff")),
        ] {
            assert_eq!(answer.header(name), value, "{path} {name}");
        }
        assert!(answer.header("date").is_some(), "{path}");
        let mut head = mirror.client().request("HEAD", path, &[]);
        for headers in [&mut head.headers, &mut answer.headers.clone()] {
            headers.remove("date");
        }
        let mut expected = answer.headers;
        expected.remove("date");
        assert_eq!(head.headers, expected, "HEAD {path}");
    }
}

/// A variant of `path` with bytes of its own. The server does not decode them.
fn variant(files: &PublishedFiles, path: &str, coding: Coding, body: &str) -> Variant {
    let file = files.path(&format!("{path}.{}", coding.extension()));
    std::fs::write(&file, body).expect("a variant");
    let (size, sha256) = (body.len() as u64, Sha256::digest(body.as_bytes()));
    Variant { coding, file, size, sha256 }
}

/// Metadata and a zip, each with variants.
fn compressed(files: &PublishedFiles) -> Site {
    let mut json = files.publish("a.json", ContentKind::Metadata, "identity!");
    json.variants = vec![
        variant(files, "a.json", Coding::Brotli, "br"),
        variant(files, "a.json", Coding::Zstd, "zst"),
        variant(files, "a.json", Coding::Gzip, "gzip"),
    ];
    let mut zip = files.publish("a.zip", ContentKind::Archive, "0123456789");
    zip.variants = vec![
        variant(files, "a.zip", Coding::Zstd, "zstd zip"),
        variant(files, "a.zip", Coding::Gzip, "gzip zip!"),
    ];
    Site::new([repository("/", vec![json, zip])]).expect("a valid site")
}

#[test]
fn content_encoding_follows_client_preference() {
    let files = PublishedFiles::new();
    let mirror = TestServer::start(Some(compressed(&files)));
    let mut client = mirror.client();
    for (path, accepted, coding, body) in [
        ("/a.json", "", None, "identity!"),
        ("/a.json", "gzip", Some("gzip"), "gzip"),
        ("/a.json", "deflate, gzip, br, zstd", Some("br"), "br"),
        ("/a.json", "gzip, br;q=0.9, zstd;q=0.8", Some("gzip"), "gzip"),
        ("/a.json", "br;q=0, *", Some("zstd"), "zst"),
        ("/a.json", "identity", None, "identity!"),
        ("/a.json", "identity, gzip;q=0.5", None, "identity!"),
        ("/a.json", "identity;q=0.5, gzip", Some("gzip"), "gzip"),
        ("/a.json", "compress", None, "identity!"),
        ("/a.json", "identity;q=0, *;q=0", None, "identity!"),
        ("/a.json", "gzip;q=0", None, "identity!"),
        ("/a.zip", "deflate, gzip, br, zstd", Some("zstd"), "zstd zip"),
        ("/a.zip", "gzip, deflate, br", Some("gzip"), "gzip zip!"),
        ("/a.zip", "br", None, "0123456789"),
    ] {
        let answer = client.request("GET", path, &[("Accept-Encoding", accepted)]);
        assert_eq!((answer.status, answer.text()), (200, body), "{path} {accepted}");
        assert_eq!(answer.header("content-encoding"), coding, "{path} {accepted}");
        assert_eq!(answer.header("vary"), Some("accept-encoding"));
        assert_eq!(answer.header("last-modified"), Some(DATE));
        let etag = format!("\"{}\"", &Sha256::digest(body.as_bytes()).to_string()[..32]);
        assert_eq!(answer.header("etag"), Some(&*etag));
        assert_eq!(answer.header("repr-digest"), Some(&*repr_digest(body.as_bytes())));
        for validator in [("If-None-Match", &*etag), ("If-Modified-Since", DATE)] {
            let fresh = client.request("GET", path, &[("Accept-Encoding", accepted), validator]);
            assert_eq!((fresh.status, fresh.header("etag")), (304, Some(&*etag)));
            assert_eq!(fresh.header("vary"), Some("accept-encoding"));
        }
    }
    let gzip = ("Accept-Encoding", "gzip");
    let identity_tag = client.request("GET", "/a.zip", &[]).headers["etag"].clone();
    let other = client.request("GET", "/a.zip", &[gzip, ("If-None-Match", &identity_tag)]);
    assert_eq!((other.status, other.text()), (200, "gzip zip!"));
    let part = client.request("GET", "/a.zip", &[gzip, ("Range", "bytes=5-7")]);
    assert_eq!((part.status, part.text()), (206, "zip"));
    assert_eq!(part.header("content-range"), Some("bytes 5-7/9"));
    assert_eq!(part.header("content-encoding"), Some("gzip"));
    let whole = client.request("GET", "/a.zip", &[gzip, ("Range", "bytes=5-7"), ("If-Range", &identity_tag)]);
    assert_eq!((whole.status, whole.text()), (200, "gzip zip!"));
}

#[test]
fn lost_or_damaged_variant_falls_back_to_identity() {
    let files = PublishedFiles::new();
    let mirror = TestServer::start(Some(compressed(&files)));
    let ask = || mirror.client().request("GET", "/a.zip", &[("Accept-Encoding", "zstd")]);
    assert_eq!(ask().text(), "zstd zip");
    let file = files.path("a.zip.zst");
    std::fs::write(&file, "zstd zap").expect("a damaged variant");
    let answer = ask();
    assert_eq!((answer.status, answer.text()), (200, "0123456789"));
    assert_eq!(answer.header("content-encoding"), None);
    std::fs::remove_file(&file).expect("a lost variant");
    assert_eq!(ask().text(), "0123456789");
    assert_eq!(mirror.published.take_damaged(), [file].into(), "of what was published nothing is damaged");
    let mut json = files.publish("b.json", ContentKind::Metadata, "identity");
    json.variants = vec![variant(&files, "b.json", Coding::Gzip, "gzip")];
    std::fs::write(files.path("b.json.gz"), "gzap").expect("a damaged variant");
    mirror.published.replace(Site::new([repository("/", vec![json])]).expect("a valid site"));
    let answer = mirror.client().request("GET", "/b.json", &[("Accept-Encoding", "gzip")]);
    assert_eq!(answer.text(), "identity");
}

#[test]
fn status_depends_on_method_path_and_condition() {
    let files = PublishedFiles::new();
    let mirror = TestServer::start(Some(files.site()));
    let etag = mirror.get("/packages.json").headers["etag"].clone();
    let zip = "/packages/magento/x-1.0.zip";
    let zip_tag = mirror.get(zip).headers["etag"].clone();
    let mut client = mirror.client();
    for (method, path, headers, status, body) in [
        ("GET", "/packages.json", &[("If-Modified-Since", DATE)][..], 304, ""),
        ("HEAD", "/packages.json", &[("If-Modified-Since", DATE)], 304, ""),
        ("GET", "/packages.json", &[("If-Modified-Since", "Wed, 23 Feb 2022 22:02:22 GMT")], 200, PACKAGES),
        ("GET", "/packages.json", &[("If-None-Match", &etag)], 304, ""),
        ("GET", "/packages.json", &[("If-None-Match", "\"x\""), ("If-Modified-Since", DATE)], 200, PACKAGES),
        ("GET", "/packages.json", &[("If-Match", "\"x\"")], 412, "precondition failed"),
        ("GET", zip, &[("Range", "bytes=2-4")], 206, "234"),
        ("GET", zip, &[("Range", "bytes=-1")], 206, "9"),
        ("GET", zip, &[("Range", "bytes=0-1,3-4")], 200, "0123456789"),
        ("GET", zip, &[("Range", "bytes=10-")], 416, "range not satisfiable"),
        ("GET", zip, &[("Range", "bytes=2-4"), ("If-Range", &zip_tag)], 206, "234"),
        ("GET", zip, &[("Range", "bytes=2-4"), ("If-Range", DATE)], 200, "0123456789"),
        ("GET", zip, &[("Range", "bytes=2-4"), ("If-Range", "\"x\"")], 200, "0123456789"),
        ("GET", zip, &[("Range", "bytes=2-4"), ("If-None-Match", &zip_tag)], 304, ""),
        ("GET", "/packages.json", &[("Range", "bytes=2-4")], 206, "pac"),
        ("HEAD", zip, &[("Range", "bytes=2-4")], 200, ""),
        ("GET", "/packages/magento/empty-1.0.zip", &[], 200, ""),
        ("GET", "/nothing", &[], 404, "not found"),
        ("HEAD", "/nothing", &[], 404, ""),
        ("GET", "/mirror/p2/magento/x.json", &[], 404, "not found"),
        ("GET", "/new/packages.json", &[], 503, "nothing is published here yet; status.html says why"),
        ("GET", "/packages.json?x=1", &[], 200, PACKAGES),
        ("GET", "//mirror///packages.json", &[], 200, PACKAGES),
        ("GET", "/packages.json/", &[], 404, "not found"),
        ("GET", "/-/healthz", &[], 200, "ok"),
        ("GET", "/-/readyz", &[], 200, "ready"),
        ("GET", "/-/else", &[], 404, "not found"),
        ("OPTIONS", "/packages.json", &[], 204, ""),
        ("OPTIONS", "*", &[], 204, ""),
        ("DELETE", "/packages.json", &[], 405, "this server only answers GET and HEAD"),
        ("POST", "/nothing", &[("Content-Length", "0")], 405, "this server only answers GET and HEAD"),
    ] {
        let answer = client.request(method, path, headers);
        assert_eq!((answer.status, answer.text()), (status, body), "{method} {path} {headers:?}");
        let has_length = answer.header("content-length").is_some();
        assert_eq!(has_length, !matches!(status, 204 | 304), "{method} {path} {headers:?}");
    }
    let part = client.request("GET", zip, &[("Range", "bytes=2-4")]);
    assert_eq!(part.header("content-range"), Some("bytes 2-4/10"));
    let beyond = client.request("GET", zip, &[("Range", "bytes=10-")]);
    assert_eq!(beyond.header("content-range"), Some("bytes */10"));
    let fresh = client.request("GET", zip, &[("If-None-Match", "*")]);
    assert_eq!(fresh.header("etag"), Some(zip_tag.as_str()));
    assert_eq!(fresh.header("last-modified"), None);
    assert_eq!(fresh.header("cache-control"), Some("max-age=31536000, immutable"));
    assert_eq!(client.request("PUT", "/", &[]).header("allow"), Some("GET, HEAD, OPTIONS"));
    assert_eq!(client.request("GET", "/new/", &[]).header("retry-after"), Some("10"));
    assert_eq!(client.request("GET", "/no", &[]).header("cache-control"), Some("max-age=10"));
}

#[test]
fn host_header_must_be_single_and_valid() {
    let files = PublishedFiles::new();
    let mirror = TestServer::start(Some(files.site()));
    for (hosts, status) in [
        ("Host: mirror.example.com:8080", 200),
        ("Host: [2001:db8::1]:8080", 200),
        ("Host: a-b_c~d%20!$&'()*+,;=", 200),
        ("Host:", 200),
        ("Host: a b", 400),
        ("Host: a/b", 400),
        ("Host: a?b", 400),
        ("Host: u@a", 400),
        ("Host: \u{e4}.example.com", 400),
        ("Host: a\tb", 400),
        ("Host: a\r\nHost: a", 400),
        ("X: a", 400),
    ] {
        let mut client = mirror.client();
        client.send(format!("GET /packages.json HTTP/1.1\r\n{hosts}\r\n\r\n"));
        assert_eq!(client.read_head().status, status, "{hosts}");
    }
}

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

#[test]
fn connection_serves_many_requests() {
    let files = PublishedFiles::new();
    let mirror = TestServer::start(Some(files.site()));
    let mut client = mirror.client();
    for _ in 0..3 {
        assert_eq!(client.request("GET", "/packages/magento/x-1.0.zip", &[]).text(), "0123456789");
        assert_eq!(client.request("GET", "/nothing", &[]).status, 404);
    }
    let request = "GET /lastupdate HTTP/1.1\r\nHost: x\r\n\r\n";
    client.send(request.repeat(20));
    for _ in 0..20 {
        assert_eq!(client.read_head().status, 200);
        let mut body = [0; 3];
        client.0.read_exact(&mut body).expect("a pipelined answer");
        assert_eq!(&body, b"now");
    }
    let last = client.request("GET", "/lastupdate", &[("Connection", "close")]);
    assert_eq!((last.status, client.rest()), (200, 0));
    let mut old = mirror.client();
    old.send("GET /lastupdate HTTP/1.0\r\n\r\n");
    assert_eq!((old.read_head().status, old.rest()), (200, 3));
}

/// A read from the socket may end with a request, within it or behind it.
#[test]
fn requests_are_answered_at_every_buffer_boundary() {
    let files = PublishedFiles::new();
    let mirror = TestServer::start(Some(files.site()));
    let plain = "GET /lastupdate HTTP/1.1\r\nHost: x\r\n\r\n";
    for size in [4095, 4096, 4097, 8192] {
        let start = "GET /lastupdate HTTP/1.1\r\nHost: x\r\nX-Pad: ";
        let padded = format!("{start}{}\r\n\r\n", "p".repeat(size - start.len() - 4));
        for (requests, answers) in
            [(padded.clone(), 1), (format!("{padded}{plain}"), 2), (format!("{padded}{padded}{plain}"), 3)]
        {
            for closes in [false, true] {
                let mut client = mirror.client();
                client.send(&requests);
                if closes {
                    client.0.get_ref().shutdown(Shutdown::Write).expect("a connection");
                }
                for answer in 0..answers {
                    let at = format!("{answer} of {answers}, {size} bytes, closes: {closes}");
                    assert_eq!(client.read_head().status, 200, "{at}");
                    client.0.read_exact(&mut [0; 3]).expect(&at);
                }
                match closes {
                    true => assert_eq!(client.rest(), 0),
                    false => assert_eq!(client.request("GET", "/lastupdate", &[]).text(), "now"),
                }
            }
        }
    }
}

#[test]
fn large_file_is_served_whole_and_in_ranges() {
    let files = PublishedFiles::new();
    let body = noise(5 << 20);
    let site = Site::new([repository("/", vec![files.publish("a.zip", ContentKind::Archive, &body)])]);
    let mirror = TestServer::start(Some(site.expect("a valid site")));
    assert!(mirror.get("/a.zip").body == body);
    let part = mirror.client().request("GET", "/a.zip", &[("Range", "bytes=1000001-3500000")]);
    assert_eq!(part.status, 206);
    assert!(part.body == body[1_000_001..=3_500_000]);
}

#[test]
fn changed_file_is_not_served() {
    let files = PublishedFiles::new();
    let mirror = TestServer::start(Some(files.site()));
    let zip = "packages/magento/x-1.0.zip";
    let url = format!("/{zip}");
    std::fs::write(files.path(zip), "01234").expect("a truncated file");
    for method in ["GET", "HEAD"] {
        let answer = mirror.client().request(method, &url, &[]);
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{method}");
    }
    std::fs::remove_file(files.path(zip)).expect("a removed file");
    assert_eq!(mirror.get(&url).status, 503);
    // The right size with other bytes, before and after the first time that the whole file is read.
    for _ in 0..2 {
        std::fs::write(files.path(zip), "0123456780").expect("a damaged file");
        assert_eq!(mirror.get(&url).status, 503);
        assert_eq!(mirror.published.take_damaged(), [files.path(zip)].into());
        std::fs::write(files.path(zip), "0123456789").expect("a repaired file");
        assert_eq!(mirror.get(&url).status, 200);
    }
    assert!(mirror.published.take_damaged().is_empty());
    append(&files.path("ledger.jsonl"), "{\"n\":2}\n");
    assert_eq!(mirror.get("/ledger.jsonl").text(), "{\"n\":1}\n", "the ledger as of the snapshot");
}

fn append(file: &Path, text: &str) {
    let mut file = std::fs::File::options().append(true).open(file).expect("a file to append to");
    file.write_all(text.as_bytes()).expect("an appended line");
}

#[test]
fn unpublished_site_is_unavailable_and_not_ready() {
    let files = PublishedFiles::new();
    let mirror = TestServer::start(None);
    assert_eq!(mirror.get("/packages.json").status, 503);
    assert_eq!(mirror.get("/-/healthz").status, 200);
    assert_eq!(mirror.get("/-/readyz").text(), "no snapshot is published yet");
    let refused = check(&mirror.address.into(), HealthEndpoint::Ready, SOON).expect_err("not ready");
    assert_eq!(refused.to_string(), "`/-/readyz` answers 503: no snapshot is published yet");
    mirror.published.replace(Site::new([repository("/", vec![])]).expect("a site without snapshots"));
    assert_eq!(mirror.published.readiness(), Readiness::Unpublished);
    mirror.published.replace(files.site());
    assert_eq!(mirror.published.readiness(), Readiness::Ready);
    assert_eq!(mirror.get("/packages.json").status, 200);
    check(&mirror.address.into(), HealthEndpoint::Ready, SOON).expect("ready");
    check(&mirror.address.into(), HealthEndpoint::Health, SOON).expect("alive");
}

#[test]
fn healthcheck_reaches_wildcard_address() {
    let listen = vec![([0, 0, 0, 0], 0).into()];
    let mirror = TestServer::with(None, Serve { listen, ..settings() });
    check(&mirror.address.into(), HealthEndpoint::Health, SOON).expect("alive");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("an address");
    let error =
        check(&address.into(), HealthEndpoint::Health, Duration::from_millis(50)).expect_err("silence");
    assert!(format!("{error:#}").contains("no answer within 50ms"), "{error:#}");
}

#[test]
fn download_continues_on_the_site_it_started_on() {
    let (files, mirror, mut client) = slow_download(settings());
    std::fs::remove_file(files.path("large.zip")).expect("a removed file");
    let next = files.publish("packages.json", ContentKind::Metadata, PACKAGES);
    mirror.published.replace(Site::new([repository("/", vec![next])]).expect("a valid site"));
    assert_eq!(mirror.get("/large.zip").status, 404);
    assert_eq!(mirror.get("/packages.json").status, 200);
    let mut body = vec![0; large().len()];
    client.0.read_exact(&mut body).expect("the whole old file");
    assert!(body == large());
    assert_eq!(client.request("GET", "/large.zip", &[]).status, 404, "the next request sees the new site");
}

#[test]
fn file_truncated_during_download_aborts_only_that_download() {
    for len in [1, large().len() - 1] {
        let (files, mirror, mut client) = slow_download(settings());
        cut_short(&files.path("large.zip"), len);
        assert!(client.rest() < large().len());
        assert_eq!(mirror.get("/-/healthz").status, 200);
        assert_eq!(mirror.get("/large.zip").status, 503);
    }
}

#[test]
fn repeated_downloads_of_a_large_file_are_identical() {
    let files = PublishedFiles::new();
    let body = noise((5 << 20) + 1);
    let zip = files.publish("a.zip", ContentKind::Archive, &body);
    let mirror = TestServer::start(Some(Site::new([repository("/", vec![zip])]).expect("a valid site")));
    let mut client = mirror.client();
    // Enough downloads to use every way of sending a file.
    for _ in 0..70 {
        assert!(client.request("GET", "/a.zip", &[]).body == body);
    }
}

#[test]
fn flipped_bit_in_large_file_is_never_sent() {
    let (files, body) = (PublishedFiles::new(), large());
    let zip = files.publish("large.zip", ContentKind::Archive, &body);
    let mirror = TestServer::start(Some(Site::new([repository("/", vec![zip])]).expect("a valid site")));
    let ask = |range: &str| mirror.client().request("GET", "/large.zip", &[("range", range)]);
    for place in [0, body.len() / 2, body.len() - 1] {
        let mut damaged = body.clone();
        damaged[place] ^= 1;
        std::fs::write(files.path("large.zip"), &damaged).expect("a damaged file");
        assert_eq!(mirror.get("/large.zip").status, 503, "{place}");
        assert_eq!(ask(&format!("bytes={place}-{place}")).status, 503, "{place}");
        std::fs::write(files.path("large.zip"), &body).expect("a repaired file");
        assert!(mirror.get("/large.zip").body == body, "{place}");
    }
}

#[test]
fn draining_finishes_downloads_and_refuses_connections() {
    let (_files, mut mirror, mut client) = slow_download(settings());
    let mut idle = mirror.client();
    assert_eq!(idle.request("GET", "/-/readyz", &[]).status, 200);
    let mut silent = mirror.client();
    mirror.stop();
    assert_eq!(idle.rest() + silent.rest(), 0, "idle connections end at once");
    assert!(TcpStream::connect(mirror.address).is_err(), "new connections are refused");
    assert_eq!(mirror.published.readiness(), Readiness::Draining);
    assert!(mirror.ended.try_recv().is_err(), "the server waits for the download");
    assert_eq!(client.rest(), large().len());
    assert_eq!(
        mirror.ended.recv_timeout(Duration::from_secs(5)),
        Err(mpsc::RecvTimeoutError::Timeout),
        "somebody between may still have most of it"
    );
    drop(client);
    assert_eq!(mirror.ended.recv_timeout(SOON), Ok(0));
}

#[test]
fn drain_ends_at_its_deadline() {
    let drain = Duration::from_millis(100);
    let (_files, mut mirror, mut client) = slow_download(Serve { drain, ..settings() });
    mirror.stop();
    assert_eq!(mirror.ended.recv_timeout(SOON), Ok(1));
    assert!(client.rest() < large().len());
}

#[test]
fn requests_on_open_connections_are_answered_while_the_server_drains() {
    let files = PublishedFiles::new();
    let mut mirror = TestServer::start(Some(files.site()));
    let mut clients: Vec<_> = (0..3).map(|_| mirror.client()).collect();
    for client in &mut clients {
        assert_eq!(client.request("GET", "/-/readyz", &[]).status, 200);
    }
    mirror.stop();
    let began = Instant::now();
    while mirror.published.readiness() != Readiness::Draining && began.elapsed() < SOON {
        std::thread::yield_now();
    }
    let requests = [("/-/readyz", 503), ("/-/healthz", 200), ("/packages.json", 200)];
    for (client, (path, status)) in clients.iter_mut().zip(requests) {
        let response = client.request("GET", path, &[]);
        assert_eq!((response.status, response.header("connection")), (status, Some("close")), "{path}");
        assert_eq!(client.rest(), 0);
    }
    assert_eq!(mirror.ended.recv_timeout(SOON), Ok(0));
}

#[test]
fn connections_over_the_limit_get_retry_after() {
    let files = PublishedFiles::new();
    let mirror = TestServer::with(
        Some(files.site()),
        Serve { max_connections: NonZero::new(1).unwrap(), ..settings() },
    );
    let mut first = mirror.client();
    assert_eq!(first.request("GET", "/packages.json", &[]).status, 200);
    let mut second = mirror.client();
    assert_eq!(second.request("GET", "/-/healthz", &[]).status, 200, "probes are always answered");
    // A body after the head would be read as the next response.
    for _ in 0..2 {
        assert_eq!(second.request("HEAD", "/-/healthz", &[]).status, 200);
    }
    let turned_away = second.request("GET", "/packages.json", &[]);
    assert_eq!((turned_away.status, turned_away.header("connection")), (503, Some("close")));
    assert_eq!(turned_away.header("retry-after"), Some("10"));
    assert_eq!(second.rest(), 0);
    assert_eq!(first.request("GET", "/packages.json", &[]).status, 200);
    assert_eq!(first.request("GET", "/packages.json", &[("Connection", "close")]).status, 200);
    assert_eq!(first.rest(), 0);
    let began = Instant::now();
    while mirror.get("/packages.json").status != 200 {
        assert!(began.elapsed() < SOON, "the place is given back");
    }
}

#[test]
fn silent_and_stalled_clients_are_disconnected() {
    let short = Duration::from_secs(1);
    let quick = Serve { idle_timeout: short, header_timeout: short, ..settings() };
    let (_files, mirror, mut stalled) = slow_download(quick);
    let mut silent = mirror.client();
    let mut slow = mirror.client();
    slow.send("GET /large.zip HTTP/1.1\r\nHost:");
    let mut idle = mirror.client();
    assert_eq!(idle.request("GET", "/nothing", &[]).status, 404);
    for (name, client) in [("silent", &mut silent), ("idle", &mut idle)] {
        assert_eq!(client.rest(), 0, "{name}");
    }
    assert_eq!(slow.rest(), 0);
    assert_eq!(mirror.client().rest(), 0, "another such silence, in which nothing is read");
    assert!(stalled.rest() < large().len());
}

#[test]
fn idle_connection_outlives_header_timeout() {
    let files = PublishedFiles::new();
    let header_timeout = Duration::from_secs(1);
    let impatient = Serve { header_timeout, ..settings() };
    let mirror = TestServer::with(Some(files.site()), impatient);
    let (mut client, mut dripping) = (mirror.client(), mirror.client());
    for client in [&mut client, &mut dripping] {
        assert_eq!(client.request("GET", "/packages.json", &[]).status, 200);
    }
    std::thread::sleep(2 * header_timeout);
    assert_eq!(client.request("GET", "/packages.json", &[]).status, 200);
    let began = Instant::now();
    client.send("GET /packages.json HTTP/1.1\r\n");
    assert_eq!(client.rest(), 0);
    assert!(began.elapsed() < SOON / 2);
    // Empty lines before a request do not extend the deadline.
    let began = Instant::now();
    while dripping.0.get_mut().write_all(b"\r\n").is_ok() {
        assert!(began.elapsed() < SOON, "it is cut off");
        std::thread::sleep(header_timeout / 5);
    }
}

/// Sends so many requests at once that the connection's task yields among them.
fn say_much(client: &mut Client) {
    client.send("GET /-/livez HTTP/1.1\r\nHost: x\r\n\r\n".repeat(400));
}

#[test]
fn idle_timeout_applies_after_large_input() {
    let short = Duration::from_secs(1);
    let files = PublishedFiles::new();
    let large_zip = files.publish("large.zip", ContentKind::Archive, large());
    let site = Site::new([repository("/", vec![large_zip])]).expect("a valid site");
    let quick = Serve { idle_timeout: short, header_timeout: 2 * short, ..settings() };
    let mirror = TestServer::with(Some(site), quick);
    let (mut stalled, mut idle, mut slow) = (mirror.client(), mirror.client(), mirror.client());
    say_much(&mut stalled);
    stalled.send("GET /large.zip HTTP/1.1\r\nHost: x\r\n\r\n");
    say_much(&mut idle);
    say_much(&mut slow);
    slow.send("GET /large.zip HTTP/1.1\r\nHost:");
    let began = Instant::now();
    idle.rest();
    slow.rest();
    assert!(began.elapsed() < SOON);
    for _ in 0..3 {
        assert_eq!(mirror.client().rest(), 0, "time goes by");
    }
    assert!(stalled.rest() < large().len());
}

#[test]
fn http2_idle_timeout_applies_after_a_request() {
    let idle_timeout = Duration::from_secs(1);
    let mirror = TestServer::with(None, Serve { idle_timeout, ..settings() });
    for requests in [0, 1] {
        let mut client = mirror.client();
        let began = Instant::now();
        client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
        // GET http://x/ (RFC 7541 appendix A).
        let request = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01x".repeat(requests);
        client.0.get_mut().write_all(&request).expect("a request");
        let answered = client.rest();
        assert!(began.elapsed() < SOON / 2, "after {requests} requests");
        assert!(requests == 0 || answered > 100, "{answered} bytes");
    }
}

/// A frame of HTTP/2 (RFC 9113 section 4.1).
fn frame(kind: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let flags = if kind == HEADERS { 5 } else { 0 };
    let length = u8::try_from(payload.len()).expect("a small frame");
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

const HEADERS: u8 = 1;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

// RFC 7541 appendix A.
const GET: u8 = 0x82;
const POST: u8 = 0x83;

/// A request on the first stream.
fn by_http_2(method: u8, path: &str) -> Vec<u8> {
    let length = u8::try_from(path.len()).expect("a short path");
    let fields = [&[method], &b"\x86\x41\x01x\x44"[..], &[length], path.as_bytes()].concat();
    frame(HEADERS, 1, &fields)
}

/// Sends `first` by HTTP/2, then `then` repeatedly. Returns the types of the received frames and the number of bytes if
/// the server has ended the connection within `time`.
fn say_by_http_2(mirror: &TestServer, first: &[u8], then: &[u8], time: Duration) -> Option<(Vec<u8>, usize)> {
    let mut client = TcpStream::connect(mirror.address).expect("a listening server");
    let pause = Duration::from_millis(50);
    client.set_read_timeout(Some(pause)).expect("a socket option");
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("a server");
    client.write_all(&[frame(4, 0, b""), first.to_vec()].concat()).expect("a server");
    let (began, mut said, mut piece) = (Instant::now(), Vec::new(), [0; 1 << 16]);
    while began.elapsed() < time {
        match client.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => said.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                client.write_all(then).ok();
            }
            Err(_) => break,
        }
    }
    let (mut kinds, mut rest) = (Vec::new(), &said[..]);
    while let [a, b, c, kind, ..] = *rest {
        kinds.push(kind);
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        rest = rest.get(9 + length..).unwrap_or_default();
    }
    (began.elapsed() < time).then_some((kinds, said.len()))
}

#[test]
fn http2_pings_do_not_count_as_progress() {
    let files = PublishedFiles::new();
    let site = || {
        let site = vec![
            files.publish("large.zip", ContentKind::Archive, large()),
            files.publish("packages.json", ContentKind::Metadata, noise(1 << 20)),
        ];
        Site::new([repository("/", site)]).expect("a valid site")
    };
    let quick = |min_pace| Serve { idle_timeout: Duration::from_secs(1), min_pace, ..settings() };
    let mirror = TestServer::with(Some(site()), quick(1024));
    let ping = frame(PING, 0, &[0; 8]);
    for first in [vec![], by_http_2(GET, "/-/healthz")] {
        let (kinds, _) = say_by_http_2(&mirror, &first, &ping, SOON).expect("it is idle");
        assert!(kinds.contains(&PING) && kinds.contains(&GOAWAY), "{kinds:?}");
    }
    let more = 4 << 10;
    for path in ["/large.zip", "/packages.json"] {
        let get = by_http_2(GET, path);
        let (_, bytes) = say_by_http_2(&mirror, &get, &ping, SOON).expect("nothing is taken");
        assert!((1 << 15..1 << 17).contains(&bytes), "{bytes} bytes of {path}");
        let window = u32::to_be_bytes(more);
        let take = [frame(WINDOW_UPDATE, 0, &window), frame(WINDOW_UPDATE, 1, &window)].concat();
        let taking = say_by_http_2(&mirror, &get, &take, Duration::from_secs(3));
        assert_eq!(taking, None, "{path} is taken piece by piece");
        let demanding = TestServer::with(Some(site()), quick(16 << 20));
        let slow = say_by_http_2(&demanding, &get, &take, SOON);
        assert!(slow.is_some_and(|(_, bytes)| bytes < 1 << 20), "{path} is taken too slowly");
    }
}

#[test]
fn http2_connections_end_over_the_limit_and_after_last_response() {
    let files = PublishedFiles::new();
    let one = Serve { max_connections: NonZero::new(1).unwrap(), ..settings() };
    let mirror = TestServer::with(Some(files.site()), one);
    let mut first = mirror.client();
    assert_eq!(first.request("GET", "/packages.json", &[]).status, 200);
    let ping = frame(PING, 0, &[0; 8]);
    for (path, is_answered) in [(Some("/packages.json"), true), (Some("/-/healthz"), true), (None, false)] {
        let asked = path.map(|path| by_http_2(GET, path)).unwrap_or_default();
        let (kinds, _) = say_by_http_2(&mirror, &asked, &ping, SOON / 2).expect("an end");
        assert!(kinds.contains(&GOAWAY), "{path:?}: {kinds:?}");
        assert_eq!(kinds.contains(&HEADERS), is_answered, "{path:?}: {kinds:?}");
    }
    let mirror = TestServer::start(Some(files.site()));
    let asked = by_http_2(POST, "/-/push");
    // The server sends this PING to learn that no more requests are in flight. Other PINGs are skipped.
    let mut heard = frame(PING, 0, b"\x0b\x7b\xa2\xf0\x8b\x9b\xfe\x54");
    heard[4] = 1;
    let (kinds, _) = say_by_http_2(&mirror, &asked, &heard, SOON).expect("an end");
    assert!(kinds.contains(&HEADERS) && kinds.contains(&GOAWAY), "{kinds:?}");
}

#[test]
fn shutdown_reaches_connection_after_large_input() {
    let patient = Serve { header_timeout: 100 * SOON, idle_timeout: 100 * SOON, ..settings() };
    let mut mirror = TestServer::with(None, patient);
    let mut client = mirror.client();
    say_much(&mut client);
    for _ in 0..400 {
        let length = client.read_head().header("content-length").map_or(0, |n| n.parse().unwrap());
        client.0.read_exact(&mut vec![0; length]).expect("a body");
    }
    mirror.stop();
    assert_eq!(client.rest(), 0);
    assert_eq!(mirror.ended.recv_timeout(SOON), Ok(0));
}

#[test]
fn port_in_use_is_reported() {
    let mirror = TestServer::start(None);
    let runtime = Runtime::new().expect("a runtime");
    let listen = vec![mirror.address.into()];
    let server = bind(Serve { listen, ..settings() }, PublishedSite::default());
    let error = runtime.block_on(server).err().expect("a port in use").to_string();
    let expected = format!(
        "failed to listen on `{}`: Address already in use (os error 98)\nhint: another process has the port",
        mirror.address
    );
    assert!(error.starts_with(&expected), "{error}");
}

#[test]
fn contradictory_site_is_refused() {
    let files = PublishedFiles::new();
    let root = || files.publish("packages.json", ContentKind::Metadata, PACKAGES);
    let zip = || files.publish("a.zip", ContentKind::Archive, "zip");
    for (repositories, message) in [
        (
            vec![repository("/a", vec![])],
            "failed to publish `/a`: a base path begins and ends with one slash",
        ),
        (
            vec![repository("//", vec![])],
            "failed to publish `//`: a base path begins and ends with one slash",
        ),
        (
            vec![repository("/a/", vec![root()]), repository("/a/", vec![])],
            "failed to publish `/a/`: two repositories are served there",
        ),
        (
            vec![repository("/", vec![zip(), zip()])],
            "failed to publish `/a.zip`: the snapshot names it twice",
        ),
        (
            vec![repository("/", vec![Resource { last_modified: -1, ..zip() }])],
            "failed to publish `/a.zip`: `-1` is not a date of HTTP",
        ),
    ] {
        let error = Site::new(repositories).err().expect(message);
        assert!(format!("{error:#}").starts_with(message), "{error:#}");
    }
}

/// Files that are kept in memory are verified, too.
#[test]
fn damaged_file_does_not_block_other_files() {
    let files = PublishedFiles::new();
    let root = || files.publish("packages.json", ContentKind::Metadata, PACKAGES);
    let missing = Resource { file: files.path("missing"), ..root() };
    let other = Resource { sha256: Sha256::digest(b"other"), ..root() };
    let longer = Resource { size: 5, ..root() };
    for damaged in [missing, other, longer] {
        let file = damaged.file.clone();
        let zip = files.publish("a.zip", ContentKind::Archive, "zip");
        let site = Site::new([repository("/", vec![damaged, zip])]).expect("a valid site");
        let mirror = TestServer::start(Some(site));
        assert_eq!(mirror.get("/a.zip").status, 200);
        assert_eq!(mirror.get("/packages.json").status, 503, "{}", file.display());
        assert_eq!(mirror.published.take_damaged(), [file].into());
    }
}

#[test]
fn repository_without_news_stays_published() {
    let files = PublishedFiles::new();
    let mirror = TestServer::start(Some(files.site()));
    let as_before = |base_path: &str| RepositorySite {
        name: base_path.to_owned(),
        base_path: base_path.to_owned(),
        resources: None,
    };
    let changed = files.publish("packages.json", ContentKind::Metadata, "{\"packages\":{}}");
    for _ in 0..2 {
        let site = Site::new([
            as_before("/"),
            repository(
                "/mirror/",
                vec![Resource {
                    path: "packages.json".to_owned(),
                    file: changed.file.clone(),
                    variants: vec![],
                    ..changed
                }],
            ),
            as_before("/never/"),
        ]);
        mirror.published.replace(site.expect("a valid site"));
        assert_eq!(mirror.get("/packages/magento/x-1.0.zip").text(), "0123456789");
        assert_eq!(mirror.get("/mirror/packages.json").text(), "{\"packages\":{}}");
        assert_eq!(mirror.get("/never/packages.json").status, 503);
    }
}

#[test]
fn hundred_thousand_zips_load_without_reading_them() {
    let zips = (0..100_000).map(|n| Resource {
        path: format!("packages/magento/module-with-a-usual-name-{n}.zip"),
        file: format!("/nowhere/packages/magento/module-with-a-usual-name-{n}.zip").into(),
        size: n,
        sha256: Sha256([7; 32]),
        last_modified: SECONDS,
        kind: ContentKind::Archive,
        variants: vec![],
    });
    let zips = zips.collect();
    let began = Instant::now();
    let site = Site::new([repository("/", zips)]).expect("a valid site");
    let took = began.elapsed();
    assert!(site.is_published());
    assert!(took < Duration::from_secs(20), "{took:?}");
    eprintln!("100,000 zips: {took:?}");
}

#[test]
fn metrics_count_responses() {
    let files = PublishedFiles::new();
    let mirror = TestServer::start(Some(files.site()));
    let mut client = mirror.client();
    let zip = "/packages/magento/x-1.0.zip";
    assert_eq!(client.request("GET", zip, &[]).status, 200);
    assert_eq!(client.request("GET", zip, &[("Range", "bytes=0-1")]).status, 206);
    assert_eq!(client.request("GET", "/packages.json", &[("If-Modified-Since", DATE)]).status, 304);
    assert_eq!(client.request("GET", "/secret-4711", &[]).status, 404);
    assert_eq!(client.request("GET", "/new/packages.json", &[]).status, 503);
    let answer = client.request("GET", "/-/metrics", &[]);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let text = answer.text();
    for line in [
        r#"mirror_http_requests_total{encoding="identity",route="archive",status="200"} 1"#,
        r#"mirror_http_requests_total{encoding="identity",route="archive",status="206"} 1"#,
        r#"mirror_http_requests_total{encoding="identity",route="metadata",status="304"} 1"#,
        r#"mirror_http_requests_total{encoding="identity",route="not_found",status="404"} 1"#,
        r#"mirror_http_requests_total{encoding="identity",route="unpublished",status="503"} 1"#,
        r#"mirror_http_response_body_bytes_total{route="archive"} 12"#,
        r#"mirror_http_request_duration_seconds_count{route="archive"} 2"#,
        "mirror_http_connections 1",
        "mirror_http_connections_total 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(!text.contains("secret-4711"), "no word of a request is a label");
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let value = line.unwrap_or_else(|| panic!("no {name} in\n{text}"));
        value.trim().parse::<f64>().expect("a number")
    };
    assert!(value("process_resident_memory_bytes ") > 1e6);
    assert!(value("process_start_time_seconds ") > 1e9);
    assert!(value("mirror_disk_free_bytes ") <= value("mirror_disk_size_bytes "));
}

#[test]
fn admin_address_serves_only_probes_and_metrics() {
    let files = PublishedFiles::new();
    let mirror = TestServer::with(
        Some(files.site()),
        Serve {
            admin: vec![([127, 0, 0, 1], 0).into()],
            max_connections: NonZero::new(1).unwrap(),
            ..settings()
        },
    );
    let mut only = mirror.client();
    assert_eq!(only.request("GET", "/packages.json", &[]).status, 200);
    let admin = |path: &str| Client::connect(mirror.addresses[1], SOON).request("GET", path, &[]).status;
    assert_eq!(admin("/-/metrics"), 200, "whatever the load on the other address");
    assert_eq!(admin("/-/healthz"), 200);
    assert_eq!(admin("/-/readyz"), 200);
    assert_eq!(admin("/packages.json"), 404);
    assert_eq!(mirror.get("/-/readyz").status, 200);
    let public =
        TestServer::with(Some(files.site()), Serve { admin: vec![([127, 0, 0, 1], 0).into()], ..settings() });
    assert_eq!(public.get("/-/metrics").status, 404);
    assert_eq!(public.get("/packages.json").status, 200);
}

#[test]
fn unix_socket_is_served_replaced_and_removed() {
    let files = PublishedFiles::new();
    let path = files.path("mirror.sock");
    // A killed process leaves its socket behind.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    let listen = vec![([127, 0, 0, 1], 0).into(), Address::Unix(path.clone())];
    let runtime = Runtime::new().expect("a runtime");
    let published = PublishedSite::default();
    let site = vec![
        files.publish("packages.json", ContentKind::Metadata, PACKAGES),
        files.publish("large.zip", ContentKind::Archive, large()),
    ];
    published.replace(Site::new([repository("/", site)]).expect("a valid site"));
    let bind = |listen: &[Address]| {
        let serve = Serve { listen: listen.to_vec(), ..settings() };
        runtime.block_on(bind(serve, published.clone()))
    };
    let server = bind(&listen).expect("both addresses");
    let (stop, stopped) = oneshot::channel::<()>();
    let running = runtime.spawn(server.run(async move { stopped.await.unwrap_or_default() }));
    let socket = Address::Unix(path.clone());
    check(&socket, HealthEndpoint::Ready, SOON).expect("ready");
    let mut stream = std::os::unix::net::UnixStream::connect(&path).expect("a server");
    stream
        .write_all(b"GET /packages.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("a connection");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(PACKAGES), "{answer}");
    let busy = bind(&[socket]).err().expect("a socket in use").to_string();
    assert!(busy.ends_with("another process is listening there"), "{busy}");
    let mut begun = std::os::unix::net::UnixStream::connect(&path).expect("a server");
    begun.write_all(b"GET /large.zip HTTP/1.1\r\nHost: x\r\n\r\n").expect("a connection");
    begun.read_exact(&mut [0]).expect("an answer");
    stop.send(()).expect("a running server");
    let began = Instant::now();
    let successor = loop {
        match bind(&[Address::Unix(path.clone())]) {
            Ok(successor) => break successor,
            Err(_) => assert!(began.elapsed() < SOON, "the address is given up first"),
        }
    };
    begun.read_to_end(&mut Vec::new()).expect("an answer");
    drop(begun);
    assert_eq!(runtime.block_on(running).expect("no panic"), 0);
    assert!(path.exists(), "the socket of a successor is left alone");
    let (stop, stopped) = oneshot::channel::<()>();
    let running = runtime.spawn(successor.run(async move { stopped.await.unwrap_or_default() }));
    stop.send(()).expect("a running server");
    assert_eq!(runtime.block_on(running).expect("no panic"), 0);
    assert!(!path.exists(), "the socket is removed");
    std::fs::write(&path, "").expect("a file in its place");
    let refused = bind(&[Address::Unix(path.clone())]).err().expect("no socket");
    assert!(refused.to_string().contains("the file exists and is not a socket"), "{refused}");
    assert!(path.exists());
}

#[test]
fn oversized_requests_have_their_own_status() {
    let files = PublishedFiles::new();
    let mirror = TestServer::start(Some(files.site()));
    let many: String = (0..120).map(|n| format!("x-{n}: 1\r\n")).collect();
    let long = "a".repeat(9000);
    let huge = "a".repeat(20_000);
    for (request, status) in [
        (format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"), 414),
        (format!("GET /?{long} HTTP/1.1\r\nHost: x\r\n\r\n"), 414),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nx: {huge}\r\n\r\n"), 431),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n".to_owned(), 413),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc".to_owned(), 405),
    ] {
        let mut client = mirror.client();
        client.send(&request);
        assert_eq!(client.read_head().status, status, "{}", &request[..60.min(request.len())]);
    }
    let mut client = mirror.client();
    client.send(format!("HEAD /{long} HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_eq!((client.read_head().status, client.rest()), (414, 0));
    let metrics = mirror.get("/-/metrics");
    let refused = r#"mirror_http_requests_total{encoding="identity",route="refused",status="431"} 2"#;
    assert!(metrics.text().contains(refused), "{}", metrics.text());
}

#[test]
fn connections_per_client_are_limited() {
    let files = PublishedFiles::new();
    let mirror = TestServer::with(
        Some(files.site()),
        Serve { max_connections_per_client: NonZero::new(2).unwrap(), ..settings() },
    );
    let (mut first, mut second) = (mirror.client(), mirror.client());
    assert_eq!(first.request("GET", "/packages.json", &[]).status, 200);
    assert_eq!(second.request("GET", "/packages.json", &[]).status, 200);
    assert_eq!(mirror.get("/packages.json").status, 503);
    let text = first.request("GET", "/-/metrics", &[]);
    let refused = r#"mirror_http_refused_connections_total{limit="client"} 1"#;
    assert!(text.text().contains(refused), "{}", text.text());
}

/// A client that reads a few bytes now and then is not idle, but too slow.
#[test]
fn slow_reader_below_minimum_rate_is_disconnected() {
    let files = PublishedFiles::new();
    let body = vec![7; 32 << 20];
    let mut site = vec![files.publish("large.zip", ContentKind::Archive, &body)];
    site.push(files.publish("packages.json", ContentKind::Metadata, PACKAGES));
    let mirror = TestServer::with(
        Some(Site::new([repository("/", site)]).expect("a valid site")),
        Serve { idle_timeout: Duration::from_secs(1), min_pace: 64 << 20, ..settings() },
    );
    let mut client = mirror.client();
    client.send("GET /large.zip HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.read_head().status, 200);
    let (began, mut read) = (Instant::now(), 0);
    let mut piece = vec![0; 64 << 10];
    while let Ok(count @ 1..) = client.0.read(&mut piece) {
        read += count;
        std::thread::sleep(Duration::from_millis(20));
        assert!(began.elapsed() < 6 * SOON, "it is cut off");
    }
    assert!(read < body.len(), "{read} bytes");
}
