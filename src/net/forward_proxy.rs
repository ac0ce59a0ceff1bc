//! Plain http through an http proxy, in absolute form (RFC 9112 section 3.2.2), as curl and git send it. ureq only tunnels, and
//! proxies refuse tunnels to other ports than 443 by default.

use std::fmt;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::http::uri::Scheme;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, Either, NextTimeout, Transport};
use ureq::{Error, Proxy, ProxyProtocol};

/// Whether a request for `uri` is forwarded by `proxy`, instead of going through a tunnel.
pub(super) fn forwards(proxy: &Proxy, scheme: &str) -> bool {
    scheme == "http" && matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https)
}

/// Connects requests for `http` URLs to their proxy. Each needs a connection of its own (`Connection: close`).
pub(super) struct ForwardProxyConnector {
    /// For the connection with the proxy: without one.
    pub config: Config,
}

impl<In: Transport> Connector<In> for ForwardProxyConnector {
    type Out = Either<In, ForwardTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        if let Some(transport) = chained {
            return Ok(Some(Either::A(transport)));
        }
        let scheme = details.uri.scheme().map(Scheme::as_str).unwrap_or_default();
        let proxy = details.config.proxy().filter(|proxy| forwards(proxy, scheme));
        let Some(proxy) = proxy else { return Ok(None) };
        let to_proxy = ConnectionDetails {
            uri: proxy.uri(),
            addrs: details.resolver.resolve(proxy.uri(), &self.config, details.timeout)?,
            config: &self.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: details.run_connector.clone(),
            register_shutdown: details.register_shutdown.clone(),
        };
        let inner = (details.run_connector)(&to_proxy)?;
        Ok(Some(Either::B(ForwardTransport { inner, origin: Some(origin(details.uri)) })))
    }
}

/// The beginning of the URL, to be inserted before the path of the request line.
fn origin(uri: &Uri) -> String {
    format!("http://{}", uri.authority().map_or("", |authority| authority.as_str()))
}

/// A connection to a proxy, for one request.
#[derive(Debug)]
pub(super) struct ForwardTransport {
    inner: Box<dyn Transport>,
    /// `None` once the request line is sent.
    origin: Option<String>,
}

impl Transport for ForwardTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let Some(origin) = self.origin.take() else {
            return self.inner.transmit_output(amount, timeout);
        };
        let output = self.inner.buffers().output();
        let longer = amount + origin.len();
        let path = output[..amount].iter().position(|byte| *byte == b' ').map(|space| space + 1);
        match path {
            Some(path) if longer <= output.len() => {
                output.copy_within(path..amount, path + origin.len());
                output[path..path + origin.len()].copy_from_slice(origin.as_bytes());
                self.inner.transmit_output(longer, timeout)
            }
            _ => Err(Error::Other("the request does not fit into the buffer".into())),
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        false
    }
}

impl fmt::Debug for ForwardProxyConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForwardProxyConnector")
    }
}
