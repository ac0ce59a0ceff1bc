//! The limits of open connections, in all and per client.

use std::num::NonZero;
use std::time::Instant;

use crate::support::server::*;
use mirror::config::Serve;

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
    assert_eq!(turned_away.header("retry-after"), Some("1"));
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
