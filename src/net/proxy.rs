//! The proxy for a URL, from the environment variables that curl (and therefore git) reads (curl(1), "ENVIRONMENT").
//!
//! `http_proxy` is read in lower case only, `https_proxy` before `HTTPS_PROXY`; `all_proxy` applies to both schemes.
//! `no_proxy` lists hosts and domains that are reached directly, or `*`. ureq's own matcher takes `example.com` for that
//! one host, while curl includes `git.example.com`.

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

fn choose(url: &Url, variable: impl Fn(&str) -> Option<String>) -> Option<(&'static str, String)> {
    let set =
        |name: &&'static str| variable(name).filter(|value| !value.is_empty()).map(|value| (*name, value));
    let host = url.host_str()?;
    if let Some((_, list)) = ["no_proxy", "NO_PROXY"].iter().find_map(set)
        && list.split([',', ' ']).any(|entry| is_exempt(host, entry.trim()))
    {
        return None;
    }
    let names: &[&'static str] = match url.scheme() {
        "https" => &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
        _ => &["http_proxy", "all_proxy", "ALL_PROXY"],
    };
    names.iter().find_map(set)
}

fn is_exempt(host: &str, entry: &str) -> bool {
    let entry = entry.trim_start_matches('*').trim_start_matches('.');
    let Some(split) = host.len().checked_sub(entry.len()) else {
        return false;
    };
    if entry.is_empty() {
        return true;
    }
    host.is_char_boundary(split)
        && host[split..].eq_ignore_ascii_case(entry)
        && (split == 0 || host[..split].ends_with('.'))
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
    }

    #[test]
    fn no_proxy_hosts_are_reached_directly() {
        for (list, host, direct) in [
            ("git.example.com", "git.example.com", true),
            ("example.com", "git.example.com", true),
            (".example.com, other", "git.example.com", true),
            ("*.example.com", "GIT.example.com", true),
            ("ample.com", "git.example.com", false),
            ("*", "git.example.com", true),
            ("other", "git.example.com", false),
        ] {
            let proxy = chosen(&format!("http://{host}/"), &[("http_proxy", "p"), ("no_proxy", list)]);
            assert_eq!(proxy.is_none(), direct, "{list} {host}");
        }
    }
}
