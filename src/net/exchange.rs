//! Requests that are sent as they are, for protocols that have their own credentials and read every status, such as that of
//! object stores.

use std::time::Duration;

use ureq::http::{HeaderValue, Method, Request, Response};
use ureq::{AsSendBody, Body, Proxy};
use url::Url;

use super::client::{HttpClient, forwarding_headers, host};
use super::error::NetworkError;
use super::forward_proxy::forwards;
use super::proxy;

/// The time limit for connecting to a service on the link, which most machines do not have.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(1);

impl HttpClient {
    /// Sends a request once and as it is: whatever the status, without credentials of the configuration and without redirects.
    /// Returns the URL for errors of the body.
    pub(crate) fn exchange(&self, request: Request<&[u8]>) -> Result<(Url, Response<Body>), NetworkError> {
        let url = Url::parse(&request.uri().to_string())
            .map_err(|error| NetworkError::unreachable(request.uri().to_string(), &error))?;
        // The services of clouds that give credentials are on the link, where no proxy is.
        let is_local = url.host_str().is_some_and(|host| host.starts_with("169.254."));
        let proxy = if is_local { None } else { proxy::for_url(&url)? };
        let timeout = if is_local { LOCAL_TIMEOUT } else { self.connect_timeout };
        let (mut parts, body) = request.into_parts();
        if let Some(proxy) = proxy.as_ref().filter(|proxy| forwards(proxy, url.scheme())) {
            for (name, value) in forwarding_headers(proxy) {
                let value = HeaderValue::from_str(&value);
                let value = value.map_err(|error| NetworkError::unreachable(host(&url), &error))?;
                parts.headers.insert(name, value);
            }
        }
        let sent = match parts.method {
            Method::PUT | Method::POST => self.run(Request::from_parts(parts, body), proxy, timeout),
            _ => self.run(Request::from_parts(parts, ()), proxy, timeout),
        };
        let response = sent.map_err(|error| self.error(&url, error, false))?;
        Ok((url, response))
    }

    fn run(
        &self,
        request: Request<impl AsSendBody>,
        proxy: Option<Proxy>,
        connect_timeout: Duration,
    ) -> Result<Response<Body>, ureq::Error> {
        let request = self.agent.configure_request(request).proxy(proxy);
        self.agent.run(request.timeout_connect(Some(connect_timeout)).build())
    }
}
