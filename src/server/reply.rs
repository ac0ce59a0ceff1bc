//! An answer as the pipeline makes it, whichever version of HTTP it goes out in.

use std::cell::Cell;
use std::fmt::{Display, Write as _};
use std::mem;
use std::ops::Range;

use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};

use super::body::Body;
use super::handler::Answer;
use crate::util::compression::Coding;

pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) header: Header,
    pub(super) body: Body,
    /// Of the representation that was selected.
    pub(super) coding: Option<Coding>,
    /// The connection ends with it.
    pub(super) is_last: bool,
}

impl Reply {
    pub(super) fn new(status: StatusCode, header: Header, body: Body) -> Self {
        Self {
            status,
            header,
            body,
            coding: None,
            is_last: false,
        }
    }

    /// The name of its coding.
    pub(super) fn encoding(&self) -> &'static str {
        self.coding.map_or("identity", Coding::name)
    }
}

/// Answers are handed on from function to function, and so much is moved by a few instructions in a program that is built to
/// be small; of more, every move costs as much as parsing a field.
const _: () = assert!(size_of::<Answer>() <= 64);

/// The fields of its header as HTTP/1.1 sends them, each a line with its end: what most answers have in common is put
/// together once, and copied.
#[derive(Clone, Default)]
pub(super) struct Header(String);

/// Bytes of the header of an answer, as good as ever.
const ROOM: usize = 1 << 9;

thread_local! {
    /// The memory of the answer before: to give it back and take it again costs as much as to fill it.
    static SPARE: Cell<String> = const { Cell::new(String::new()) };
}

impl Drop for Header {
    fn drop(&mut self) {
        if self.0.capacity() >= ROOM {
            SPARE.set(mem::take(&mut self.0));
        }
    }
}

impl Header {
    /// With all that is in `common`, and room for more.
    pub(super) fn from(common: &Self) -> Self {
        let mut lines = SPARE.take();
        lines.clear();
        lines.reserve(ROOM);
        lines.push_str(&common.0);
        Self(lines)
    }

    /// Adds a field, but not one with a value that would end its line; tells where in the lines its value is.
    pub(super) fn add(&mut self, name: HeaderName, value: impl Display) -> Range<usize> {
        let before = self.0.len();
        self.0.push_str(name.as_str());
        self.0.push_str(": ");
        let start = self.0.len();
        let written = write!(self.0, "{value}");
        let is_line = self.0[start..].bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if written.is_err() || !is_line {
            self.0.truncate(before);
            return before..before;
        }
        let value = start..self.0.len();
        self.0.push_str("\r\n");
        value
    }

    /// Adds what [`Header::lines`] of another one answered.
    pub(super) fn append(&mut self, lines: &str) {
        self.0.push_str(lines);
    }

    pub(super) fn get(&self, name: HeaderName) -> Option<&str> {
        self.fields()
            .find_map(|(found, value)| (name == found).then_some(value))
    }

    pub(super) fn remove(&mut self, name: HeaderName) {
        let lines = self.0.split_inclusive("\r\n");
        self.0 = lines
            .filter(|line| field(line).is_none_or(|(found, _)| name != found))
            .collect();
    }

    pub(super) fn lines(&self) -> &str {
        &self.0
    }

    fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.split_terminator("\r\n").filter_map(field)
    }
}

fn field(line: &str) -> Option<(&str, &str)> {
    line.trim_end().split_once(": ")
}

impl From<Reply> for Response<Body> {
    fn from(reply: Reply) -> Self {
        let mut headers = HeaderMap::with_capacity(16);
        for (name, value) in reply.header.fields() {
            let (name, value) = (HeaderName::try_from(name), HeaderValue::try_from(value));
            if let (Ok(name), Ok(value)) = (name, value) {
                headers.append(name, value);
            }
        }
        let mut response = Self::new(reply.body);
        *response.status_mut() = reply.status;
        *response.headers_mut() = headers;
        response
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::{CACHE_CONTROL, LOCATION, WWW_AUTHENTICATE};

    use super::*;

    #[test]
    fn a_header_is_its_lines_and_no_value_makes_another_one() {
        let mut header = Header::default();
        header.add(CACHE_CONTROL, "no-store");
        header.add(LOCATION, "/a\r\nset-cookie: b");
        header.add(LOCATION, "/ä");
        header.add(WWW_AUTHENTICATE, "Basic");
        header.add(WWW_AUTHENTICATE, "Bearer");
        assert_eq!(
            header.lines(),
            "cache-control: no-store\r\nwww-authenticate: Basic\r\nwww-authenticate: Bearer\r\n"
        );
        assert_eq!(header.get(CACHE_CONTROL), Some("no-store"));
        header.remove(CACHE_CONTROL);
        assert_eq!(header.get(CACHE_CONTROL), None);
        let reply = Reply::new(StatusCode::UNAUTHORIZED, header, Body::Empty);
        let response = Response::from(reply);
        assert_eq!(response.headers().get_all(WWW_AUTHENTICATE).iter().count(), 2);
    }
}
