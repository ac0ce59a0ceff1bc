//! HTTP: the published repositories, answered from a table in memory.
//!
//! ```text
//! connection ─► respond ─► route ─► negotiate ─► selected ─► conditional, range ─► body ─► account
//! http1, hyper  pipeline   table    coding       headers     304, 412, 206, 416    bytes   metrics, log
//! ```
//!
//! A [`Site`] is everything that is published, as one immutable value; [`Published`] holds the one that is current.
//! Publication is one pointer switch: a request that began on the old site ends on it.
//!
//! Three rules hold for every answer:
//!
//! - No byte of a request becomes part of a file-system path: a path is looked up, never built.
//! - 404 only where the answer is known. What cannot be answered now is a 503, which Composer tries again; a 429 or
//!   another 4xx would end its run.
//! - Never wrong bytes: a file that is not the one in the table is a 503 too, found before its first byte is sent; who
//!   publishes can ask for such files ([`Published::take_damaged`]) and mend them.
//!
//! Only this stage names `hyper`, for HTTP/2 and the words of HTTP; HTTP/1.1 it speaks itself ([`http1`]). It reads files and writes none.

mod access;
mod account;
mod answer;
mod body;
mod closing;
mod conditional;
mod connection;
mod file;
mod head;
pub mod health;
mod http1;
mod http2;
mod integrity;
mod kind;
mod limits;
mod listen;
mod live;
mod mapping;
mod negotiate;
mod own;
mod patience;
mod probes;
mod progress;
mod published;
mod push;
mod query;
mod range;
mod reply;
mod request;
mod respond;
mod room;
mod route;
mod selected;
mod server;
mod site;
mod tls;
mod transport;

pub use access::{Door, Doors, Users};
pub use account::AccessLog;
pub use kind::Kind;
pub use live::Live;
pub use own::OwnName;
pub use probes::METRICS;
pub use published::{Published, Readiness};
pub use push::{PUSH, Pushes};
pub use room::OPEN_FILES;
pub use server::{Server, Settings};
pub use site::{RepositorySite, Resource, Site, Variant};
pub use tls::Tls;
