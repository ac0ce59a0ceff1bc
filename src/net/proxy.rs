//! The proxy for a URL, from the environment variables that curl (and therefore git) reads (curl(1), "ENVIRONMENT").
//!
//! `http_proxy` is read in lower case only, `https_proxy` before `HTTPS_PROXY`; `all_proxy` applies to both schemes.
//! `no_proxy` lists what is reached directly: hosts with their subdomains, addresses and networks, each optionally with a port,
//! or `*`. hyper-util matches them, but supports neither blanks between entries nor brackets, ports and stars in them.

use hyper_util::client::proxy::matcher::Matcher;
use ureq::Proxy;
use url::Url;

use super::error::NetworkError;

/// The proxy for `url`, if the environment names one.
pub(super) fn for_url(url: &Url) -> Result<Option<Proxy>, NetworkError> {
    let Some((variable, value)) = choose(url, |name| std::env::var(name).ok()) else {
        return Ok(None);
    };
    // The value may contain a password, so the message names the variable only.
    Proxy::new(&value).map(Some).map_err(|_| NetworkError::Unreachable {
        host: url.host_str().unwrap_or_default().to_owned(),
        reason: format!("the proxy in `{variable}` is not a url"),
    })
}

/// The host and port of a proxy, for messages: its URL may contain a password.
pub(super) fn name(proxy: &Proxy) -> String {
    format!("{}:{}", proxy.host(), proxy.port())
}

fn choose(url: &Url, variable: impl Fn(&str) -> Option<String>) -> Option<(&'static str, String)> {
    let set = |name: &&'static str| {
        let value = variable(name)?.trim().to_owned();
        (!value.is_empty()).then_some((*name, value))
    };
    if let Some((_, list)) = ["no_proxy", "NO_PROXY"].iter().find_map(set)
        && is_exempt(url, &list)
    {
        return None;
    }
    let names: &[&'static str] = match url.scheme() {
        "https" => &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
        _ => &["http_proxy", "all_proxy", "ALL_PROXY"],
    };
    names.iter().find_map(set)
}

/// Whether a `no_proxy` list covers the host of `url`.
fn is_exempt(url: &Url, list: &str) -> bool {
    let (Some(host), port) = (url.host_str(), url.port_or_known_default()) else {
        return false;
    };
    let entries = list.split(|c: char| c == ',' || c.is_whitespace()).map(split_port);
    let counting = entries.filter(|(_, only)| only.is_none() || *only == port).map(|(entry, _)| entry);
    let hosts: Vec<_> = counting.collect();
    if hosts.contains(&"*") {
        return true;
    }
    let hosts: Vec<_> =
        hosts.into_iter().map(|host| host.trim_start_matches(['*', '.']).trim_end_matches('.')).collect();
    // Any proxy will do.
    let matcher = Matcher::builder().all("http://proxy.invalid").no(hosts.join(",")).build();
    let target = format!("http://{}/", host.trim_end_matches('.'));
    target.parse().is_ok_and(|target| matcher.intercept(&target).is_none())
}

/// An entry without its port and without the brackets of an IPv6 address.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    let (host, port) = match entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => (address, rest.strip_prefix(':')),
        None => match entry.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            _ => (entry, None),
        },
    };
    match port.map(str::parse) {
        None => (host, None),
        Some(Ok(port)) => (host, Some(port)),
        // Without a valid port, the entry matches no host.
        Some(Err(_)) => (entry, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(url: &str, environment: &[(&str, &str)]) -> Option<String> {
        let url = Url::parse(url).expect(url);
        let variable =
            |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        choose(&url, variable).map(|(_, value)| value)
    }

    #[test]
    fn scheme_selects_the_variable() {
        let environment = [("https_proxy", "s"), ("http_proxy", "h"), ("ALL_PROXY", "a")];
        assert_eq!(chosen("https://host/", &environment).as_deref(), Some("s"));
        assert_eq!(chosen("http://host/", &environment).as_deref(), Some("h"));
        assert_eq!(chosen("http://host/", &[("HTTP_PROXY", "h")]), None);
        assert_eq!(chosen("https://host/", &[("https_proxy", ""), ("ALL_PROXY", "a")]).as_deref(), Some("a"));
        assert_eq!(chosen("http://host/", &[("http_proxy", " http://p:1\n")]).as_deref(), Some("http://p:1"));
    }

    #[test]
    fn no_proxy_hosts_are_reached_directly() {
        for (list, host, direct) in [
            ("git.example.com", "git.example.com", true),
            ("example.com", "git.example.com", true),
            (".example.com, other", "git.example.com", true),
            ("other .example.com", "git.example.com", true),
            (".example.com", "example.com", true),
            ("*.example.com", "GIT.example.com", true),
            ("example.com.", "git.example.com", true),
            ("example.com", "git.example.com.", true),
            ("EXAMPLE.com", "git.example.com", true),
            ("ample.com", "git.example.com", false),
            ("git.example.com", "example.com", false),
            ("*", "git.example.com", true),
            ("*", "10.1.2.3", true),
            ("other", "git.example.com", false),
            // Empty entries are no hosts.
            ("other,", "git.example.com", false),
            (", other", "git.example.com", false),
            ("other, another,,\tthird", "git.example.com", false),
            (".", "git.example.com", false),
            // Ports.
            ("git.example.com:80", "git.example.com", true),
            ("git.example.com:8080", "git.example.com", false),
            ("git.example.com:8080", "git.example.com:8080", true),
            (".example.com:8080", "git.example.com:8080", true),
            ("10.1.2.3:8080", "10.1.2.3:8080", true),
            ("10.1.2.3:8080", "10.1.2.3", false),
            ("*:8080", "git.example.com:8080", true),
            ("git.example.com", "git.example.com:8080", true),
            ("git.example.com:x", "git.example.com", false),
            // Addresses and networks.
            ("10.1.2.3", "10.1.2.3", true),
            ("1.2.3", "10.1.2.3", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.1.2.3/0", "192.168.1.1", true),
            ("192.168.0.0/33", "192.168.0.1", false),
            ("::1", "[::1]", true),
            ("[::1]", "[::1]:8080", true),
            ("[::1]:8080", "[::1]:8080", true),
            ("[::1]:8080", "[::1]", false),
            ("0:0:0:0:0:0:0:1", "[::1]", true),
            ("fd00::/8", "[fd12::1]", true),
            ("fd00::/8", "[fe80::1]", false),
            ("2001:db8::1", "[2001:db8::2]", false),
        ] {
            let proxy = chosen(&format!("http://{host}/"), &[("http_proxy", "p"), ("no_proxy", list)]);
            assert_eq!(proxy.is_none(), direct, "{list} {host}");
        }
    }
}
