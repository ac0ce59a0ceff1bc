//! One request, one response: method, path, conditions, headers.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE,
    ETAG, HeaderValue, LAST_MODIFIED, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};

use super::State;
use super::conditional::not_modified;
use super::site::{Kind, Page};

type Answer = Response<Full<Bytes>>;

/// Answers a request; its body is not looked at.
pub fn respond<B>(state: &State, request: &Request<B>) -> Answer {
    let mut answer = match *request.method() {
        Method::GET | Method::HEAD => get(state, request),
        Method::OPTIONS => allow(StatusCode::NO_CONTENT),
        _ => allow(StatusCode::METHOD_NOT_ALLOWED),
    };
    answer
        .headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if request.method() == Method::HEAD {
        *answer.body_mut() = Full::default();
    }
    answer
}

fn get<B>(state: &State, request: &Request<B>) -> Answer {
    match request.uri().path() {
        "/-/healthz" => return text(StatusCode::OK, "ok\n"),
        "/-/readyz" => {
            return match state.not_ready() {
                None => text(StatusCode::OK, "ready\n"),
                Some(why) => unavailable(&format!("{why}\n")),
            };
        }
        _ => {}
    }
    let Some(site) = state.site.load_full() else {
        return unavailable("nothing is published yet\n");
    };
    let decoded = percent_encoding::percent_decode_str(request.uri().path()).decode_utf8();
    let page = decoded.ok().and_then(|path| {
        // Composer joins a base URL with a slash at its end and a path with one at its beginning.
        site.find(&path)
            .or_else(|| site.find(&path.replacen("//", "/", 1)))
    });
    match page {
        Some(page) => serve(page, request),
        None => text(StatusCode::NOT_FOUND, "not found\n"),
    }
}

fn serve<B>(page: &Page, request: &Request<B>) -> Answer {
    let mut answer = if not_modified(request.headers(), &page.etag, &page.last_modified) {
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        answer
    } else {
        match page.body() {
            Ok(body) => with_body(page, body, request.uri().path()),
            Err(error) => {
                tracing::error!(file = %page.file().display(), "a published file cannot be served: {error}");
                return unavailable("this file is damaged on the mirror\n");
            }
        }
    };
    let headers = answer.headers_mut();
    for (name, value) in [(ETAG, &page.etag), (LAST_MODIFIED, &page.last_modified)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache_control(page.kind)));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    answer
}

fn with_body(page: &Page, body: Bytes, path: &str) -> Answer {
    let mut answer = Response::new(Full::new(body));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_LENGTH, page.size.into());
    let media_type = if page.kind == Kind::Archive {
        "application/zip"
    } else {
        "application/json"
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    if page.kind == Kind::Archive {
        let name = path.rsplit('/').next().unwrap_or_default();
        if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
            headers.insert(CONTENT_DISPOSITION, value);
        }
    }
    answer
}

fn cache_control(kind: Kind) -> &'static str {
    match kind {
        Kind::Metadata => "public, max-age=0, must-revalidate",
        Kind::AddressedMetadata | Kind::Archive => "public, max-age=31536000, immutable",
    }
}

fn allow(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    answer
}

fn text(status: StatusCode, message: &str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::copy_from_slice(message.as_bytes())));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_LENGTH, message.len().into());
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// 503, which Composer tries again and which makes it ask the next mirror.
fn unavailable(message: &str) -> Answer {
    let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, message);
    answer
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("10"));
    answer
}
