//! Rewrites requests of HTTP/1.2 to HTTP/1.9 to HTTP/1.1.
//!
//! A recipient processes such a request as if it had the highest minor version that it knows (RFC 9110 section 2.5), but
//! hyper's parser rejects it and has no setting for it.

/// What precedes the minor version. The target before it has no space.
const MAJOR: &[u8] = b" HTTP/1.";

/// The state of reading a request line.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestLine {
    /// The bytes of [`MAJOR`] that were read; `None` after the minor version or the end of the line.
    matched: Option<usize>,
}

impl RequestLine {
    /// At the first byte of a request.
    pub(super) const START: Self = Self { matched: Some(0) };

    /// After the request line.
    pub(super) const END: Self = Self { matched: None };

    /// Reads more of the request, and replaces a higher minor version by 1.
    pub(super) fn read(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            let Some(matched) = self.matched else { return };
            self.matched = match *byte {
                b'\n' => None,
                b'0'..=b'9' if matched == MAJOR.len() => {
                    *byte = (*byte).min(b'1');
                    None
                }
                byte if MAJOR.get(matched) == Some(&byte) => Some(matched + 1),
                byte => Some(usize::from(byte == MAJOR[0])),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn higher_minor_version_becomes_1_at_every_boundary() {
        for (request, expected) in [
            ("GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"),
            ("GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"),
            ("GET / HTTP/1.2\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"),
            ("GET /HTTP/1.2 HTTP/1.9\r\n\r\n", "GET /HTTP/1.2 HTTP/1.1\r\n\r\n"),
            ("GET / HTTP/1.23\r\n\r\n", "GET / HTTP/1.13\r\n\r\n"),
            ("GET / HTTP/2.2\r\nx: HTTP/1.2\r\n\r\n", "GET / HTTP/2.2\r\nx: HTTP/1.2\r\n\r\n"),
            ("GET /  HTTP/1.2\n\n", "GET /  HTTP/1.1\n\n"),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ] {
            for boundary in 0..=request.len() {
                let mut bytes = request.as_bytes().to_vec();
                let mut line = RequestLine::START;
                let (first, rest) = bytes.split_at_mut(boundary);
                line.read(first);
                line.read(rest);
                assert_eq!(String::from_utf8(bytes).unwrap(), expected, "{boundary}");
            }
        }
    }
}
