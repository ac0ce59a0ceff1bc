//! The client of a request behind trusted proxies, from `X-Forwarded-For` or `Forwarded` (RFC 7239); pure.
//!
//! Each proxy appends the address of its own client. So the last address comes from our peer, and each one before it counts if
//! the next one is a trusted proxy, too. A proxy writes one of the two headers and passes on the other as its client sent it:
//! if they name different clients, neither counts.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{FORWARDED, HeaderMap, HeaderName};

use crate::config::TrustedProxies;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client of a request from `peer`, a trusted proxy: `peer` itself if the headers name no client.
pub(super) fn client_address(
    peer: Option<IpAddr>,
    proxies: &TrustedProxies,
    headers: &HeaderMap,
) -> Option<IpAddr> {
    let named = |name: HeaderName, read| {
        headers.contains_key(&name).then(|| first_untrusted(peer, proxies, headers, &name, read))
    };
    match (named(X_FORWARDED_FOR, address), named(FORWARDED, forwarded_for)) {
        (Some(client), Some(other)) if client != other => peer,
        (Some(client), _) | (None, Some(client)) => client,
        (None, None) => peer,
    }
}

/// The last address that is not a trusted proxy. A malformed element ends the search at the proxy that wrote it.
fn first_untrusted(
    peer: Option<IpAddr>,
    proxies: &TrustedProxies,
    headers: &HeaderMap,
    name: &HeaderName,
    read: fn(&[u8]) -> Option<IpAddr>,
) -> Option<IpAddr> {
    let values = headers.get_all(name).iter().rev();
    let elements = values.flat_map(|value| split_from_end(value.as_bytes(), b','));
    let mut client = peer;
    for element in elements.filter(|element| !element.is_empty()) {
        let Some(ip) = read(element) else { break };
        client = Some(ip.to_canonical());
        if !proxies.includes(client) {
            break;
        }
    }
    client
}

/// The trimmed parts of a list, the last one first. Quotes are matched from the end as well, so that an unclosed one from the
/// client does not extend into what its proxy appended.
fn split_from_end(list: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut is_quoted = false;
    let parts = list.rsplit(move |byte| {
        is_quoted ^= *byte == b'"';
        *byte == separator && !is_quoted
    });
    parts.map(<[u8]>::trim_ascii)
}

/// An element of `X-Forwarded-For`. Some proxies write the port, too, as in a URL.
fn address(element: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(element).ok()?;
    let with_port = || Some(text.parse::<SocketAddr>().ok()?.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    text.parse().ok().or_else(with_port).or_else(in_brackets)
}

/// The `for` of an element of `Forwarded`, if there is exactly one. The element is split here, because the crate also splits
/// within quotes, where a client controls the text: in the host.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let is_for =
        |parameter: &&[u8]| parameter.get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"for="));
    let mut parameters = split_from_end(element, b';').filter(is_for);
    let parameter = parameters.next().filter(|_| parameters.next().is_none())?;
    let parsed = rfc7239::parse(str::from_utf8(parameter).ok()?).next()?.ok()?;
    parsed.forwarded_for?.ip().copied()
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn client(lines: &[(HeaderName, &str)]) -> String {
        let proxies = ["10.0.0.0/8", "unix:"].map(|text| text.parse().unwrap());
        let lines = lines.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
        let mut headers = HeaderMap::new();
        lines.for_each(|(name, value)| {
            headers.append(name, value);
        });
        let peer = Some("10.0.0.1".parse().unwrap());
        client_address(peer, &proxies.into_iter().collect(), &headers).unwrap().to_string()
    }

    #[test]
    fn last_untrusted_address_is_the_client() {
        const XFF: HeaderName = X_FORWARDED_FOR;
        for (lines, expected) in [
            (&[][..], "10.0.0.1"),
            (&[(XFF, "203.0.113.7")], "203.0.113.7"),
            (&[(XFF, "198.51.100.9, 203.0.113.7")], "203.0.113.7"),
            (&[(XFF, "198.51.100.9"), (XFF, "203.0.113.7")], "203.0.113.7"),
            (&[(XFF, "198.51.100.9, 203.0.113.7,10.0.0.3 , 10.0.0.2")], "203.0.113.7"),
            (&[(XFF, "10.0.0.3, 10.0.0.2")], "10.0.0.3"),
            (&[(XFF, "203.0.113.7, , ")], "203.0.113.7"),
            (&[(XFF, "203.0.113.7:4711")], "203.0.113.7"),
            (&[(XFF, "2001:db8::7")], "2001:db8::7"),
            (&[(XFF, "[2001:db8::7]:4711")], "2001:db8::7"),
            (&[(XFF, "[2001:db8::7]")], "2001:db8::7"),
            (&[(XFF, "::ffff:203.0.113.7")], "203.0.113.7"),
            (&[(XFF, "203.0.113.7, unknown")], "10.0.0.1"),
            (&[(XFF, "203.0.113.7, unknown, 10.0.0.2")], "10.0.0.2"),
            (&[(XFF, "\u{e4}\", 203.0.113.7")], "203.0.113.7"),
            (&[(XFF, "")], "10.0.0.1"),
            (&[(FORWARDED, "for=203.0.113.7")], "203.0.113.7"),
            (&[(FORWARDED, "For=\"[2001:db8::7]:4711\";proto=https")], "2001:db8::7"),
            (&[(FORWARDED, "for=198.51.100.9, by=10.0.0.1; for=203.0.113.7 ,for=10.0.0.2")], "203.0.113.7"),
            (&[(FORWARDED, "for=unknown")], "10.0.0.1"),
            (&[(FORWARDED, "for=_hidden")], "10.0.0.1"),
            (&[(FORWARDED, "for=203.0.113.7, proto=https")], "10.0.0.1"),
            (&[(FORWARDED, "for=203.0.113.7;for=198.51.100.9")], "10.0.0.1"),
            // A client cannot name another one from within quotes.
            (&[(FORWARDED, "for=203.0.113.7;host=\"a,for=198.51.100.9\"")], "203.0.113.7"),
            (&[(FORWARDED, "for=203.0.113.7;host=\"a;for=198.51.100.9\"")], "203.0.113.7"),
            (&[(FORWARDED, "for=\"198.51.100.9, for=203.0.113.7")], "203.0.113.7"),
            // Which of the two is the proxy's is not known.
            (&[(XFF, "203.0.113.7"), (FORWARDED, "for=203.0.113.7")], "203.0.113.7"),
            (&[(XFF, "203.0.113.7"), (FORWARDED, "for=198.51.100.9")], "10.0.0.1"),
            (&[(XFF, "203.0.113.7"), (FORWARDED, "for=unknown")], "10.0.0.1"),
        ] {
            assert_eq!(client(lines), expected, "{lines:?}");
        }
    }
}
