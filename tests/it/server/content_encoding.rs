//! `Accept-Encoding`, and variants that are lost or damaged.

use crate::support::server::*;
use mirror::server::{ContentKind, Site, Variant};
use mirror::util::compression::Coding;
use mirror::util::digest::Sha256;

/// A variant of `path` with bytes of its own. The server does not decode them.
fn variant(files: &PublishedFiles, path: &str, coding: Coding, body: &str) -> Variant {
    let file = files.path(&format!("{path}.{}", coding.extension()));
    std::fs::write(&file, body).expect("a variant");
    let (size, sha256) = (body.len() as u64, Sha256::digest(body.as_bytes()));
    Variant { coding, location: file.into(), size, sha256 }
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
