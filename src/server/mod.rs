//! HTTP: the published repositories, answered from a table in memory.
//!
//! ```text
//! connection ─► respond ─► route ─► negotiate ─► selected ─► conditional, range ─► body ─► account
//! http1, hyper  pipeline   table    coding       headers     304, 412, 206, 416    bytes   metrics, log
//! ```
//!
//! A [`Site`] is everything that is published, as one immutable value; [`PublishedSite`] holds the one that is current.
//! Publication is one pointer switch: a request that began on the old site ends on it.
//!
//! Three rules hold for every answer:
//!
//! - No byte of a request becomes part of a file-system path: a path is looked up, never built.
//! - 404 only where the answer is known. What cannot be answered now is a 503, which Composer tries again; a 429 or
//!   another 4xx would end its run.
//! - Never wrong bytes: a file that is not the one in the table is a 503 too, found before its first byte is sent; who
//!   publishes can ask for such files ([`PublishedSite::take_damaged`]) and mend them.
//!
//! Only this stage names `hyper`, for HTTP/2 and the words of HTTP; HTTP/1.1 it speaks itself ([`http1`]). It reads files and writes none.

mod access_log;
mod body;
mod closing;
mod conditional;
mod connection;
mod connection_limits;
mod content_encoding;
mod content_kind;
mod file;
mod file_response;
mod forge_webhook;
mod handler;
mod head;
mod health;
pub mod healthcheck;
mod http1;
mod http2;
mod integrity;
mod listener;
mod local_socket;
mod mapping;
mod published;
mod range;
mod reply;
mod request;
mod responses;
mod room;
mod router;
mod search;
mod send_progress;
mod server;
mod site;
mod status_files;
mod timeout_stream;
mod tls;
mod transport;
mod users;

pub use access_log::AccessLog;
pub use content_kind::ContentKind;
pub use forge_webhook::{PUSH, WebhookConfig};
pub use health::METRICS;
pub use local_socket::LocalSocket;
pub use published::{PublishedSite, Readiness};
pub use room::OPEN_FILES;
pub use server::{Server, Settings};
pub use site::{RepositorySite, Resource, Site, Variant};
pub use status_files::StatusFile;
pub use tls::Tls;
pub use users::{AccessRule, AccessRules, Users};
