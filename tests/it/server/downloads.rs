//! Downloads of archives: whole, in ranges, while files change, and of damaged files.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use crate::support::env::MirrorProcess;
use crate::support::http::{Client, is_ready};
use crate::support::server::*;
use crate::support::store;
use crate::support::until;
use mirror::server::{ContentKind, Site};

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
fn downloads_wait_and_are_not_damaged_when_descriptors_run_short() {
    let (env, _, port) = store::mirror();
    let archive = "/mirror/packages/acme/good-1.0.0.zip";
    let log = File::create(env.path("log")).expect("a log");
    let mirror = env.command(&["serve"]);
    let child = Command::new("sh")
        .args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""])
        .arg(mirror.get_program())
        .args(mirror.get_args())
        .stderr(log)
        .spawn()
        .expect("a server");
    let _server = MirrorProcess::new(child);
    until("it is ready", || is_ready(port));
    let log = || env.read("log");
    assert!(log().contains("raise the limit to") && !log().contains("or lower"), "{}", log());
    let mut client = Client::local(port);
    assert_eq!(client.request("GET", archive, &[]).status, 200);
    let mut idle = Vec::new();
    let mut answer = None;
    // Each download gives its descriptor back, and the server waits before it accepts again.
    until("descriptors run short", || {
        if idle.len() < 100 {
            idle.push(TcpStream::connect(("127.0.0.1", port)).expect("a connection"));
        }
        answer = Some(client.request("GET", archive, &[])).filter(|answer| answer.status != 200);
        answer.is_some()
    });
    let answer = answer.expect("an answer");
    assert_eq!((answer.status, answer.text()), (503, "too many downloads"));
    assert!(answer.header("retry-after").is_some());
    drop(idle);
    until("it is sent again", || client.request("GET", archive, &[]).status == 200);
    assert!(!log().contains("failed to serve"), "{}", log());
}
