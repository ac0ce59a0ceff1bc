//! The settings of the server, from the configuration.

use std::time::Duration;

use crate::config;
use crate::server::{self, AccessLog, LocalSocket};

pub(crate) fn tls(configured: &config::Tls) -> server::Tls {
    server::Tls {
        listen: configured.listen.clone(),
        certificate: configured.certificate.clone(),
        key: configured.key.clone(),
        http2: configured.http2,
    }
}

pub(crate) fn server_settings(
    configured: &config::Serve,
    own: LocalSocket,
    log: config::Log,
) -> server::Settings {
    server::Settings {
        listen: configured.listen.clone(),
        admin: configured.admin.clone(),
        tls: configured.tls.as_ref().map(tls),
        own: Some(own),
        notice: Duration::ZERO,
        drain: configured.drain,
        header_timeout: configured.header_timeout,
        idle_timeout: configured.idle_timeout,
        min_pace: configured.min_pace as u64,
        max_connections: configured.max_connections.get(),
        max_connections_per_client: configured.max_connections_per_client.get(),
        max_header_size: configured.max_header_size,
        access_log: match log.access {
            config::AccessLog::Off => AccessLog::Off,
            config::AccessLog::Sampled => AccessLog::Sampled(log.access_sample.0.get()),
            config::AccessLog::Full => AccessLog::Full,
        },
    }
}
