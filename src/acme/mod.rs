//! Certificates from an ACME server (RFC 8555): the account, the order, the proof by HTTP-01 and what is kept on the volume.
//!
//! The certificate and its key are one file, which the server reads again when it changes, as it does with one of the operator.

mod certificate;
mod client;
mod order;

pub use certificate::{Validity, validity};
pub use order::{Challenges, order};
