//! The bucket: an object store with the S3 interface that has everything that is published. It is written by the mirror that
//! builds, and read by replicas without a volume. [`docs::bucket`](crate::docs::bucket) has the protocol.
//!
//! [`client`] knows the few operations on objects, [`root`] the layout and the documents; [`publish`] uploads and
//! [`commit`] decides which of several writers wins; [`reader`] reads what is published, and [`difference`] tells what a builder
//! that has lost has to take over.

pub mod client;
pub mod commit;
pub mod difference;
mod error;
pub mod garbage;
pub mod history;
mod object;
mod object_reader;
mod packs;
mod parallel;
pub mod probe;
pub mod publish;
pub mod reader;
pub mod root;
mod transport;
mod upload;
pub mod verify;

pub use client::Bucket;
pub use error::{BucketError, BucketErrorKind};
pub use object::{Condition, Object, ObjectInfo, Upload, UploadHeaders};
pub use object_reader::ObjectReader;
pub use upload::{Sent, UploadEvent, UploadObserver};

/// 16 random digits.
fn random_name() -> anyhow::Result<String> {
    crate::store::durable_fs::random_name::<8>()
}
