//! From a git repository to HTTP, by the real binary.

use std::time::{Duration, Instant};

use crate::support::env::TestEnv;
use crate::support::free_port;
use crate::support::http::{get, request};
use crate::support::shop::{SOURCE, shop};

#[test]
fn cycle_without_news_changes_no_file() {
    let (env, port) = (TestEnv::new(), free_port());
    let upstream = shop(&env);
    env.configure(port, SOURCE);
    env.build(0);
    let before = env.volume();
    env.build(0);
    assert_eq!(before, env.volume());

    // A new tag changes the dates of the files that it changes, and no others.
    let server = env.serve("run", port);
    let date = |path: &str| get(port, path).header("last-modified").unwrap().to_owned();
    let paths = [
        "/mirror/p2/acme/catalog.json",
        "/mirror/p2/acme/sales.json",
        "/mirror/packages/acme/sales-1.0.0.zip",
    ];
    let dates = paths.map(date);
    assert_eq!(server.stop(), Some(0));
    upstream
        .write("Catalog/composer.json", r#"{"name": "acme/catalog", "version": "1.2.0"}"#)
        .release("1.2.0");
    env.build(0);
    let _server = env.serve("run", port);
    let now = paths.map(date);
    assert_ne!(now[0], dates[0]);
    assert_eq!(now[1..], dates[1..]);
}

#[test]
fn responses_have_status_and_headers_of_their_kind() {
    let (env, port) = (TestEnv::new(), free_port());
    shop(&env);
    env.configure(port, SOURCE);
    env.build(0);
    let _server = env.serve("run", port);
    let zip = "/mirror/packages/acme/sales-1.0.0.zip";
    let answer = get(port, zip);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/zip")));
    assert_eq!(answer.header("content-length").unwrap(), answer.body.len().to_string());
    assert!(answer.header("cache-control").unwrap().contains("immutable"));
    let (etag, date) = (answer.header("etag").unwrap(), answer.header("last-modified").unwrap());
    for (headers, status) in [
        (format!("If-None-Match: {etag}\r\n"), 304),
        (format!("If-None-Match: \"x\", W/{etag}\r\n"), 304),
        ("If-None-Match: *\r\n".to_owned(), 304),
        ("If-None-Match: \"x\"\r\n".to_owned(), 200),
        (format!("If-Modified-Since: {date}\r\n"), 304),
        ("If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n".to_owned(), 200),
        (format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {date}\r\n"), 200),
    ] {
        let answer = request(port, "GET", zip, &headers);
        assert_eq!(answer.status, status, "{headers}");
        assert_eq!(answer.body.is_empty(), status == 304, "{headers}");
    }
    let head = request(port, "HEAD", zip, "");
    assert_eq!(
        (head.status, head.body.len(), head.header("content-length")),
        (200, 0, answer.header("content-length"))
    );
    for (method, path, status) in [
        ("GET", "/mirror/packages.json", 200),
        ("GET", "/mirror//packages.json", 200),
        ("GET", "/mirror/p2/acme/sales~dev.json", 200),
        ("GET", "/mirror/p2/acme/none.json", 404),
        ("GET", "/packages.json", 404),
        ("GET", "/mirror/../mirror/packages.json", 404),
        ("GET", "/mirror/%2e%2e/%2e%2e/STORE", 404),
        ("GET", "/mirror/packages.json%00", 404),
        ("GET", "/mirror/ledger.jsonl/", 404),
        ("POST", "/mirror/packages.json", 405),
        ("OPTIONS", "/mirror/packages.json", 204),
        ("GET", "/-/healthz", 200),
        ("GET", "/-/readyz", 200),
    ] {
        assert_eq!(request(port, method, path, "").status, status, "{method} {path}");
    }
    let root: serde_json::Value = serde_json::from_slice(&get(port, "/mirror/packages.json").body).unwrap();
    let include = root["includes"].as_object().unwrap().keys().next().unwrap().replace('$', "%24");
    assert_eq!(get(port, &format!("/mirror/{include}")).status, 200);
}

#[test]
fn metrics_report_cycles_and_log_reports_requests() {
    let port = free_port();
    let env = TestEnv::new();
    let upstream = shop(&env);
    upstream.release("not-a-version");
    env.configure(port, SOURCE);
    let config = std::fs::read_to_string(env.path("mirror.yaml")).unwrap();
    env.write("mirror.yaml", &format!("{config}log: {{access: full}}\n"));
    let server = env.serve("run", port);
    let deadline = Instant::now() + Duration::from_secs(120);
    let text = loop {
        let text = String::from_utf8(get(port, "/-/metrics").body).unwrap();
        if text.contains(r#"mirror_state{repository="acme",state="fresh"} 1"#) {
            break text;
        }
        assert!(Instant::now() < deadline, "no fresh repository in\n{text}");
        std::thread::sleep(Duration::from_millis(50));
    };
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let value = line.unwrap_or_else(|| panic!("no {name} in\n{text}"));
        value.trim().parse::<f64>().unwrap()
    };
    assert!(value(r#"mirror_snapshot_number{repository="acme"}"#) >= 1.0);
    assert!(value(r#"mirror_snapshot_age_seconds{repository="acme"}"#) < 3600.0);
    assert!(value(r#"mirror_releases{repository="acme"}"#) >= 5.0);
    assert_eq!(value(r#"mirror_refs{outcome="failed",repository="acme"}"#), 0.0);
    assert!(value(r#"mirror_cycle_stage_duration_seconds{repository="acme",stage="fetch"}"#) > 0.0);
    let success = value(r#"mirror_cycle_last_success_timestamp_seconds{repository="acme"}"#);
    assert!(value(r#"mirror_cycle_next_timestamp_seconds{repository="acme"}"#) > success);
    assert_eq!(value("mirror_scrub_damaged_archives"), 0.0);

    let secret = "Authorization: Basic c2VjcmV0OnNlY3JldA==\r\nUser-Agent: Composer/2\r\n";
    let answer = request(port, "GET", "/mirror/packages.json?token=hidden", secret);
    assert_eq!(answer.status, 200);
    assert_eq!(server.stop(), Some(0));
    let log = std::fs::read_to_string(env.path("log")).unwrap();
    assert!(!log.contains("c2VjcmV0") && !log.contains("hidden"), "{log}");
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<serde_json::Value> = lines.collect();
    let line =
        lines.iter().find(|line| line["path"] == "/mirror/packages.json").unwrap_or_else(|| panic!("{log}"));
    assert_eq!(
        (&line["status"], &line["route"], &line["client"], &line["method"]),
        (&200.into(), &"metadata".into(), &"127.0.0.1".into(), &"GET".into())
    );
    assert_eq!(line["bytes"], answer.body.len());
}
