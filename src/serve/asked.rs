//! Which of the headers that decide over an answer a request has at all: found in one pass, since most have next to none
//! of them, and looking for each costs more than what is then done.

use hyper::HeaderMap;
use hyper::header::{
    ACCEPT_ENCODING, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};

/// By the name of the header.
#[derive(Clone, Copy, Default)]
pub(super) struct Asked {
    pub(super) accept_encoding: bool,
    pub(super) if_match: bool,
    pub(super) if_modified_since: bool,
    pub(super) if_none_match: bool,
    pub(super) if_range: bool,
    pub(super) if_unmodified_since: bool,
    pub(super) range: bool,
}

impl Asked {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut asked = Self::default();
        for name in headers.keys() {
            match *name {
                ACCEPT_ENCODING => asked.accept_encoding = true,
                IF_MATCH => asked.if_match = true,
                IF_MODIFIED_SINCE => asked.if_modified_since = true,
                IF_NONE_MATCH => asked.if_none_match = true,
                IF_RANGE => asked.if_range = true,
                IF_UNMODIFIED_SINCE => asked.if_unmodified_since = true,
                RANGE => asked.range = true,
                _ => {}
            }
        }
        asked
    }
}
