//! HTTP: the published repositories, answered from a table in memory.
//!
//! ```text
//! connection ─► handler ─► authorization ─► router ─► content_encoding ─► file_response ─► body ─► access_log
//! hyper                    who may read     path       which variant      conditional,     bytes   metrics, log
//!                                           to entry                      range
//! ```
//!
//! A [`Site`] is everything that is published, as one immutable value; [`PublishedSite`] holds the current one. A
//! publication replaces one pointer: a request that began on the old site ends on it.
//!
//! Three rules hold for every response:
//!
//! - No byte of a request becomes part of a file-system path: paths are looked up, never built.
//! - 404 only if nothing is published there. What cannot be answered now is a 503, which makes Composer try again; a 429 or
//!   another 4xx would end its run.
//! - Never wrong bytes: a file that is not the published one is a 503, too, before its first byte is sent. The daemon takes such
//!   files ([`PublishedSite::take_damaged`]) and repairs them.

mod access_log;
mod authorization;
mod body;
mod client_address;
mod conditional;
mod connection;
mod connection_limits;
mod content_encoding;
mod content_kind;
mod context;
mod file_response;
mod forge_webhook;
mod handler;
mod header_fields;
mod health;
mod host;
mod integrity;
mod lingering_close;
mod listener;
mod local_socket;
mod not_found;
mod proxy_protocol;
mod published;
mod range;
mod request_line;
mod responses;
mod router;
mod search;
mod send_progress;
#[expect(clippy::module_inception, reason = "it holds the type `Server`")]
mod server;
mod site;
mod socket_activation;
mod status_files;
mod stored_object;
mod timeout_stream;
mod tls;
mod transport;
mod unix_socket;
mod url_path;
mod users;

pub use authorization::{AccessRule, AccessRules};
pub use content_kind::ContentKind;
pub use context::Settings;
pub use health::HealthEndpoint;
pub use local_socket::LocalSocket;
pub use published::{PublishedSite, Readiness, WebhookConfig};
pub use server::Server;
pub use site::{Location, RepositorySite, Resource, Site, Variant, check_resources};
pub use status_files::{STATUS, StatusFile};
pub use stored_object::{ArchiveBucket, StoredObject};
pub use tls::check_certificate;
pub use users::Users;
