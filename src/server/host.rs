//! Checks that a request names a valid host, in `Host` and in the authority of its target (RFC 9110 section 7.2). Any host will
//! do.

use hyper::header::HOST;
use hyper::{Request, Version};
use url::Host;

use super::header_fields::{single, single_text};

/// The longest name and the longest label of the Domain Name System (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// RFC 9112 section 3.2. HTTP/1.0 needs no Host, and HTTP/2 has `:authority`.
pub(super) fn has_valid_host<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let has_valid_header = match single(headers, HOST) {
        Some(_) => single_text(headers, HOST).is_some_and(is_valid),
        None => !headers.contains_key(HOST) && request.version() != Version::HTTP_11,
    };
    let authority = request.uri().authority();
    has_valid_header && authority.is_none_or(|authority| is_valid(authority.as_str()))
}

/// Whether this is a valid host, with or without a port. RFC 3986 section 3.2.2 also allows names that no host can have, and an
/// empty one, which an http URL must not have (RFC 9110 section 4.2.1).
fn is_valid(authority: &str) -> bool {
    let (host, port) = match authority.rsplit_once(':') {
        // The colons of an IPv6 address precede its bracket.
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, ""),
    };
    is_port(port)
        && match Host::parse(host) {
            Ok(Host::Domain(name)) => is_name(&name),
            Ok(Host::Ipv4(_) | Host::Ipv6(_)) => true,
            Err(_) => false,
        }
}

/// A port may be empty.
fn is_port(port: &str) -> bool {
    port.is_empty() || port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

fn is_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= MAX_NAME && name.split('.').all(|label| (1..=MAX_LABEL).contains(&label.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_is_a_name_or_an_address_with_or_without_port() {
        let long = "a".repeat(64);
        let deep = "a.".repeat(128);
        for (authority, expected) in [
            ("mirror.example.com", true),
            ("mirror.example.com.", true),
            ("mirror.example.com:8080", true),
            ("mirror:", true),
            ("a_b-c", true),
            ("192.0.2.1:80", true),
            ("[2001:db8::1]", true),
            ("[2001:db8::1]:8080", true),
            ("", false),
            (":80", false),
            (".", false),
            ("a..b", false),
            ("a b", false),
            ("a/b", false),
            ("u@a", false),
            ("a,b", true),
            ("a:b", false),
            ("a:+1", false),
            ("a:65536", false),
            ("a:80:80", false),
            ("2001:db8::1", false),
            ("[2001:db8::1", false),
            ("[2001:db8::1]x", false),
            ("[2001:db8::g]", false),
            ("[]", false),
            ("999.1.1.1", false),
            ("a%zz", false),
            ("a%20b", false),
            ("http://a", false),
            (&long, false),
            (&deep, false),
        ] {
            assert_eq!(is_valid(authority), expected, "{authority}");
        }
    }
}
