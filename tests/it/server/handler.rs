//! The status of requests by method, path, precondition, range, Host and size.

use crate::support::server::*;

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
    assert_eq!(fresh.header("cache-control"), Some("max-age=31536000, immutable, no-transform"));
    assert_eq!(client.request("PUT", "/", &[]).header("allow"), Some("GET, HEAD, OPTIONS"));
    assert_eq!(client.request("GET", "/new/", &[]).header("retry-after"), Some("1"));
    assert_eq!(client.request("GET", "/no", &[]).header("cache-control"), Some("max-age=10"));
}

#[test]
fn host_header_must_be_single_and_valid() {
    let files = PublishedFiles::new();
    let mirror = TestServer::start(Some(files.site()));
    for (hosts, status) in [
        ("Host: mirror.example.com:8080", 200),
        ("Host: [2001:db8::1]:8080", 200),
        ("Host: a-b_c~d!$&'()*+,;=", 200),
        ("Host:", 400),
        ("Host: a%20b", 400),
        ("Host: a:b", 400),
        ("Host: a:65536", 400),
        ("Host: 2001:db8::1", 400),
        ("Host: [2001:db8::1", 400),
        ("Host: 999.1.1.1", 400),
        ("Host: a..b", 400),
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
