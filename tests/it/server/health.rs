//! Health checks, `mirror health`, metrics and the admin address.

use std::num::NonZero;
use std::time::Duration;

use crate::support::http::Client;
use crate::support::server::*;
use mirror::cli::healthcheck::check;
use mirror::config::Serve;
use mirror::server::HealthEndpoint;
use mirror::server::{Readiness, Site};

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
