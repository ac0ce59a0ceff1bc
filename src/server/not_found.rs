//! 404, for browsers as a page in the design of the repository.

use bytes::Bytes;
use hyper::header::{ACCEPT, CONTENT_SECURITY_POLICY, HeaderValue, VARY};
use hyper::{Request, Response};
use maud::html;

use super::body::Body;
use super::content_kind::ContentKind;
use super::file_response::PAGE_POLICY;
use super::responses::{self, SHORT_MAX_AGE};
use super::site::Site;
use super::url_path::decode;
use crate::config;
use crate::metadata::pages;

/// The response to a path of the site where nothing is.
pub(super) fn respond<B>(site: &Site, request: &Request<B>) -> Response<Body> {
    let root = wants_page(request).then(|| root(site, request.uri().path())).flatten();
    let mut response = match root {
        Some(root) => page(&root),
        None => responses::not_found(),
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    response
}

fn page(root: &str) -> Response<Body> {
    let body = html! {
        h1 { "Not found" }
        p { "There is nothing at this address: perhaps the version was never published here." }
        p { a href=(root) { "All packages" } }
    };
    let page = pages::page(root, &config::Site::default(), "Not found", &body).into_string();
    let kind = ContentKind::Page.media_type();
    let mut response =
        responses::with_body(hyper::StatusCode::NOT_FOUND, kind, Bytes::from(page), SHORT_MAX_AGE);
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    response
}

/// Whether a person is likely to read the response. Composer accepts anything, but names no HTML.
fn wants_page<B>(request: &Request<B>) -> bool {
    let accepted = request.headers().get_all(ACCEPT).iter();
    accepted.filter_map(|value| value.to_str().ok()).any(|value| value.contains("text/html"))
}

/// The relative path from a path to the base of its repository.
fn root(site: &Site, path: &str) -> Option<String> {
    let path = decode(path)?;
    let mut repositories = site.repositories.iter();
    let rest = repositories.find_map(|repository| path.strip_prefix(&*repository.base))?;
    match rest.matches('/').count() {
        0 => Some("./".to_owned()),
        folders => Some("../".repeat(folders)),
    }
}
