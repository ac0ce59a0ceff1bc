//! The headers of each kind of content.

use crate::support::server::*;
use mirror::util::digest::Sha256;

const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

#[test]
fn content_kinds_have_their_headers() {
    let files = PublishedFiles::new();
    let mirror = TestServer::start(Some(files.site()));
    let always = "max-age=31536000, immutable, no-transform";
    let checked = "max-age=0, s-maxage=1, must-revalidate, no-transform";
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
            ("vary", None),
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
