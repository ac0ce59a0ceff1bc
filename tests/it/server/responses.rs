//! Responses of a running mirror by route, method and condition.
//!
//! The conditions, ranges and paths are those of nginx's tests of not-modified, range, if-range and URI handling; the
//! expected statuses are those of RFC 9110.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::support::env::MirrorProcess;
use crate::support::http::{Response, get, is_ready, request};
use crate::support::served_mirror::ServedMirror;
use crate::support::until;
use serde_json::Value;

const EARLIER: &str = "Mon, 01 Jan 2001 00:00:00 GMT";
const LATER: &str = "Fri, 01 Jan 2100 00:00:00 GMT";

/// Request headers, and the status that GET and HEAD get. ETAG, DATE, EARLIER and LATER are filled in; `\n` separates lines.
const CONDITIONS: [(&str, u16, u16); 88] = [
    ("", 200, 200),
    ("If-None-Match: ETAG", 304, 304),
    ("If-None-Match: W/ETAG", 304, 304),
    ("If-None-Match: \"x\", ETAG", 304, 304),
    ("If-None-Match: \"x\"\nIf-None-Match: ETAG", 304, 304),
    ("If-None-Match: *", 304, 304),
    ("If-None-Match: \"x\"", 200, 200),
    ("If-None-Match: x", 200, 200),
    ("If-None-Match:", 200, 200),
    ("If-None-Match: ETAG\nIf-Modified-Since: EARLIER", 304, 304),
    ("If-None-Match: \"x\"\nIf-Modified-Since: DATE", 200, 200),
    ("If-Modified-Since: DATE", 304, 304),
    ("If-Modified-Since: LATER", 200, 200),
    ("If-Modified-Since: EARLIER", 200, 200),
    ("If-Modified-Since: yesterday", 200, 200),
    ("If-Modified-Since:", 200, 200),
    ("If-Match: ETAG", 200, 200),
    ("If-Match: \"x\", ETAG", 200, 200),
    ("If-Match: *", 200, 200),
    ("If-Match: W/ETAG", 412, 412),
    ("If-Match: \"x\"", 412, 412),
    ("If-Match: \"x\"\nIf-None-Match: ETAG", 412, 412),
    ("If-Match: ETAG\nIf-None-Match: ETAG", 304, 304),
    ("If-Match: ETAG\nIf-Unmodified-Since: EARLIER", 200, 200),
    ("If-Unmodified-Since: DATE", 200, 200),
    ("If-Unmodified-Since: LATER", 200, 200),
    ("If-Unmodified-Since: EARLIER", 412, 412),
    ("If-Unmodified-Since: never", 200, 200),
    ("Range: bytes=0-0", 206, 200),
    ("Range: bytes=1-", 206, 200),
    ("Range: bytes=-1", 206, 200),
    ("Range: BYTES=0-1", 206, 200),
    ("Range: bytes=-99999999", 206, 200),
    ("Range: bytes=0-99999999999999999999", 206, 200),
    ("Range: bytes=99999999-", 416, 200),
    ("Range: bytes=99999999999999999999-", 416, 200),
    ("Range: bytes=-0", 416, 200),
    ("Range: bytes=1-0", 200, 200),
    ("Range: bytes=0-0,2-2", 200, 200),
    ("Range: bytes=", 200, 200),
    ("Range: lines=0-0", 200, 200),
    ("Range: bytes=0-0\nIf-Range: ETAG", 206, 200),
    ("Range: bytes=0-0\nIf-Range: DATE", 200, 200),
    ("Range: bytes=0-0\nIf-Range: W/ETAG", 200, 200),
    ("Range: bytes=0-0\nIf-Range: LATER", 200, 200),
    ("Range: bytes=0-0\nIf-Range: \"x\"", 200, 200),
    ("Range: bytes=0-0\nIf-None-Match: ETAG", 304, 304),
    ("Range: bytes=0-0\nIf-Match: \"x\"", 412, 412),
    ("If-None-Match: \"x\", W/ETAG, \"y\"", 304, 304),
    ("If-None-Match: \"x\" , ETAG , \"y\"", 304, 304),
    ("If-None-Match: ,, ETAG", 304, 304),
    ("If-None-Match: W/\"x\"", 200, 200),
    ("If-None-Match: w/ETAG", 200, 200),
    ("If-None-Match: ETAG\nIf-Modified-Since: LATER", 304, 304),
    ("If-None-Match: \"x\"\nIf-Modified-Since: LATER", 200, 200),
    ("If-None-Match: *\nIf-Modified-Since: EARLIER", 304, 304),
    ("If-Modified-Since: DATE\nIf-Modified-Since: DATE", 200, 200),
    ("If-Modified-Since: Thursday, 01-Jan-70 00:00:00 GMT", 200, 200),
    ("If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT", 200, 200),
    ("If-Modified-Since: 0", 200, 200),
    ("If-Match: \"x\", ETAG , \"y\"", 200, 200),
    ("If-Match: \"x\", W/ETAG , \"y\"", 412, 412),
    ("If-Match: \"x\"\nIf-Match: ETAG", 200, 200),
    ("If-Match:", 412, 412),
    ("If-Match: ETAG\nIf-Modified-Since: DATE", 304, 304),
    ("If-Match: \"x\"\nIf-Modified-Since: DATE", 412, 412),
    ("If-Unmodified-Since: EARLIER\nIf-None-Match: ETAG", 412, 412),
    ("If-Unmodified-Since: LATER\nIf-None-Match: ETAG", 304, 304),
    ("If-Unmodified-Since: DATE\nIf-Modified-Since: DATE", 304, 304),
    ("Range: bytes=0-", 206, 200),
    ("Range: bytes=0-3", 206, 200),
    ("Range: bytes=2-2", 206, 200),
    ("Range: bytes=-5", 206, 200),
    ("Range: bytes=3-99999999", 206, 200),
    ("Range: bytes=9223372036854775807-", 416, 200),
    ("Range: bytes=18446744073709551616-", 416, 200),
    ("Range: bytes=-18446744073709551616", 206, 200),
    ("Range: bytes=-", 200, 200),
    ("Range: bytes=x-1", 200, 200),
    ("Range: bytes=0-x", 200, 200),
    ("Range: bytes=0--1", 200, 200),
    ("Range: bytes=1", 200, 200),
    ("Range: bytes", 200, 200),
    ("Range: bytes=0-1,-1,4-", 200, 200),
    ("Range: bytes=0-0\nRange: bytes=1-1", 200, 200),
    ("Range: bytes=0-0\nIf-Range: EARLIER", 200, 200),
    ("Range: bytes=99999999-\nIf-Range: \"x\"", 200, 200),
    ("If-Range: ETAG", 200, 200),
];

const FOREVER: &str = "max-age=31536000, immutable, no-transform";
const CHECKED: &str = "max-age=0, s-maxage=1, must-revalidate, no-transform";

/// Checks what all responses with a file have in common: whole, partial or not modified.
fn assert_described(answer: &Response, whole: &Response, cache: &str, at: &str) {
    for name in ["etag", "cache-control", "vary"] {
        assert_eq!(answer.header(name), whole.header(name), "{name} of {at}");
    }
    assert_eq!(answer.header("cache-control"), Some(cache), "{at}");
    assert!(answer.header("date").is_some(), "{at}");
}

fn assert_answer(answer: &Response, whole: &Response, head: bool, cache: &str, at: &str) {
    let length = answer.header("content-length").map(|length| length.parse::<usize>().unwrap());
    let size = whole.body.len();
    match answer.status {
        200 | 206 => {
            assert_described(answer, whole, cache, at);
            for name in ["content-encoding", "content-type", "last-modified", "repr-digest"] {
                assert_eq!(answer.header(name), whole.header(name), "{name} of {at}");
            }
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{at}");
            assert_eq!(answer.header("accept-ranges"), Some("bytes"), "{at}");
        }
        304 => {
            assert_described(answer, whole, cache, at);
            assert!(answer.body.is_empty() && length.is_none(), "{at}");
            // The client has them already (RFC 9110 section 15.4.5).
            for name in ["content-type", "last-modified", "repr-digest", "x-content-type-options"] {
                assert_eq!(answer.header(name), None, "{name} of {at}");
            }
        }
        416 => assert_eq!(answer.header("content-range"), Some(&*format!("bytes */{size}")), "{at}"),
        _ => assert_eq!(answer.header("etag"), None, "{at}"),
    }
    match answer.status {
        200 => {
            assert_eq!(length, Some(size), "{at}");
            assert!(head && answer.body.is_empty() || answer.body == whole.body, "{at}");
            assert_eq!(answer.header("content-range"), None, "{at}");
        }
        206 => {
            let range = answer.header("content-range").unwrap().strip_prefix("bytes ").unwrap();
            let (range, of) = range.split_once('/').unwrap();
            let (first, last) = range.split_once('-').unwrap();
            let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
            assert_eq!(of, size.to_string(), "{at}");
            assert_eq!(answer.body, whole.body[first..=last], "{at}");
            assert_eq!(length, Some(answer.body.len()), "{at}");
        }
        _ => {}
    }
    if head {
        assert!(answer.body.is_empty(), "{at}");
    }
}

/// Checks a path in one content encoding with every condition.
fn assert_conditions(port: u16, path: &str, coding: &str, cache: &str) {
    let accept = format!("Accept-Encoding: {coding}\r\n");
    let whole = request(port, "GET", path, &accept);
    assert_eq!(whole.status, 200, "{path}");
    let (etag, date) = (whole.header("etag").unwrap(), whole.header("last-modified").unwrap());
    for (condition, for_get, for_head) in CONDITIONS {
        let headers = condition
            .replace("ETAG", etag)
            .replace("DATE", date)
            .replace("EARLIER", EARLIER)
            .replace("LATER", LATER)
            .replace('\n', "\r\n");
        let headers = if headers.is_empty() { accept.clone() } else { format!("{accept}{headers}\r\n") };
        for (method, status) in [("GET", for_get), ("HEAD", for_head)] {
            let answer = request(port, method, path, &headers);
            let at = format!("{method} {path} in {coding} with {condition:?}");
            assert_eq!(answer.status, status, "{at}");
            assert_answer(&answer, &whole, method == "HEAD", cache, &at);
        }
    }
}

#[test]
fn every_route_answers_every_condition() {
    let mirror = ServedMirror::start();
    let include = mirror.include();
    let routes = [
        ("/mirror/packages.json", CHECKED),
        ("/mirror/p2/acme/a.json", CHECKED),
        ("/mirror/search.json", CHECKED),
        ("/mirror/search.json?q=a&type=", CHECKED),
        ("/mirror/list.json", CHECKED),
        ("/mirror/list.json?filter=acme/*", CHECKED),
        (&*include, FOREVER),
        ("/mirror/packages/acme/a-1.0.0.zip", FOREVER),
        ("/mirror/", CHECKED),
        ("/mirror/index.html", CHECKED),
        ("/mirror/pages/style.css", CHECKED),
        ("/mirror/pages/script.js", CHECKED),
        ("/mirror/package/acme/a.html", CHECKED),
        ("/mirror/lastupdate", CHECKED),
    ];
    for (path, cache) in routes {
        for coding in ["identity", "gzip"] {
            assert_conditions(mirror.port, path, coding, cache);
        }
        for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "CONNECTED"] {
            let answer = request(mirror.port, method, path, "");
            assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
        }
        let options = request(mirror.port, "OPTIONS", path, "");
        assert_eq!((options.status, options.header("allow")), (204, Some("GET, HEAD, OPTIONS")));
    }
}

#[test]
fn request_paths_are_decoded_once_and_never_resolved() {
    let mirror = ServedMirror::start();
    let include = mirror.include();
    for (path, status) in [
        ("/mirror/packages.json", 200),
        ("/mirror/packages.json?", 200),
        ("/mirror/packages.json?a=b&c=%00", 200),
        ("/mirror//packages.json", 200),
        ("//mirror/packages.json", 200),
        ("/%6dirror/%70ackages.json", 200),
        ("/mirror/p%32/acme/a.json", 200),
        (&include, 200),
        (&include.replace("%24", "$"), 200),
        (&include.replace("%24", "%2524"), 404),
        ("http://elsewhere.example/mirror/packages.json", 200),
        ("/mirror", 308),
        ("/mirror?x", 308),
        ("/mirror/packages.json/", 404),
        ("/mirror/Packages.json", 404),
        ("/MIRROR/packages.json", 404),
        ("/mirror/./packages.json", 404),
        ("/mirror/%2e/packages.json", 404),
        ("/mirror/p2/../packages.json", 404),
        ("/mirror/p2/%2e%2e/packages.json", 404),
        ("/mirror%2fpackages.json", 404),
        ("/mirror/packages.json%00", 404),
        ("/mirror/packages.json%20", 404),
        ("/mirror/packages.json.", 404),
        ("/mirror/packages.json;x", 404),
        ("/mirror/packages%2ejson", 200),
        ("/mirror/packages%2", 404),
        ("/mirror/%", 404),
        ("/mirror/%zz", 404),
        ("/mirror/%c0%ae", 404),
        ("/mirror/p2", 404),
        ("/mirror/p2/", 404),
        ("/mirror/packages/", 404),
        ("/mirror/.well-known/x", 404),
        ("*", 404),
        ("/mirror/packages.json?a#b", 200),
        ("/mirror/packages.json??", 200),
        ("/mirror/packages.json?../../x", 200),
        ("/mirror/packages.json%3f", 404),
        ("/mirror/packages.json%23", 404),
        ("/mirror/packages.json%2f", 404),
        ("/mirror/packages.json%5c", 404),
        ("/mirror/packages.json+", 404),
        ("/mirror/packages.json~", 404),
        ("/mirror/packages.json::$DATA", 404),
        ("/mirror/.packages.json", 404),
        ("/mirror/p2//acme///a.json", 200),
        ("/mirror/p2/acme/a%2ejson", 200),
        ("/mirror/p2/%61cme/%61.json", 200),
        ("/mirror/p2/acme%2fa.json", 404),
        ("/mirror/p2/acme\\a.json", 404),
        ("/mirror/p2/ACME/a.json", 404),
        ("/mirror/p2/acme/a~dev.json", 200),
        ("/mirror/p2/acme/a%7Edev.json", 200),
        ("/mirror/p2/acme/.json", 404),
        ("/mirror/p2/acme", 404),
        ("/mirror/packages/acme/a-1.0.0.zip/", 404),
        ("/mirror/packages/acme/a-1.0.0.zip%00.json", 404),
        ("/mirror/include/", 404),
        ("/mirror/index.html/", 404),
        ("/mirror/search.json?q=%", 200),
        ("/mirror/search.json?q=%00&type=%ff", 200),
        ("/mirror/search.json/?q=a", 404),
        ("/mirror/list.json?filter=%2a%2f%2a", 200),
        ("/mirror/providers/", 404),
        ("/mirror/providers/%package%.json", 404),
        ("/mirror/packages%", 404),
        ("/mirror/%00", 404),
        ("/mirror/%ff", 404),
        ("/mirror/%e0%80%af", 404),
        ("/mirror/%ed%a0%80", 404),
        ("/%2f/mirror/packages.json", 404),
        ("/mirror/%2f/packages.json", 404),
        ("/mirrors", 404),
        ("/mirror;x/packages.json", 404),
        ("/-/healthz?x", 200),
        ("/-/%68ealthz", 404),
        ("/-//healthz", 404),
        ("/-/healthz", 200),
        ("/-/healthz/", 404),
        ("/-/", 404),
        ("/-/../-/healthz", 404),
    ] {
        assert_eq!(get(mirror.port, path).status, status, "{path}");
    }
    assert_eq!(get(mirror.port, "/mirror").header("location"), Some("./mirror/"));
}

#[test]
fn blocked_log_does_not_block_responses() {
    let (env, port) = ServedMirror::built();
    let configuration = std::fs::read_to_string(env.path("mirror.yaml")).unwrap();
    env.write("mirror.yaml", &format!("{configuration}log: {{access: full}}\n"));
    let mut mirror = env.command(&["serve"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(mirror.stderr.take().unwrap()).lines();
    let running = MirrorProcess::new(mirror);
    until("it is ready", || is_ready(port));
    // Their log lines exceed the buffer of the pipe.
    let (asked, longest) = mpsc::channel();
    std::thread::spawn(move || {
        let mut longest = Duration::ZERO;
        for _ in 0..2000 {
            let began = Instant::now();
            assert_eq!(get(port, "/mirror/packages.json").status, 200);
            longest = longest.max(began.elapsed());
        }
        asked.send(longest)
    });
    let longest = longest.recv_timeout(Duration::from_secs(60)).expect("answers");
    assert!(longest > Duration::from_millis(900), "the log was not full: {longest:?}");
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    // Continue to read: the buffered lines, then the number of dropped ones.
    let reader = std::thread::spawn(move || {
        let mut answered = 0;
        for line in log.by_ref() {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            match line["message"].as_str() {
                Some("answered") => answered += 1,
                Some(told) if told.contains("log lines were dropped") => {
                    return (answered + line["lines"].as_u64().unwrap(), log);
                }
                _ => {}
            }
        }
        panic!("the log ended")
    });
    while !reader.is_finished() {
        assert_eq!(get(port, "/-/healthz").status, 200);
        std::thread::sleep(Duration::from_millis(20));
    }
    let (told_of, rest) = reader.join().unwrap();
    assert!(told_of >= 2000, "{told_of}");
    std::thread::spawn(move || rest.for_each(drop));
    assert_eq!(running.stop(), Some(0));
}
