//! Objects as values: what is known of one, what is read, and what is written.

use bytes::Bytes;
use jiff::Timestamp;
use object_store::{Attribute, Attributes, ObjectMeta};

use crate::util::digest::Sha256;

/// The name of the metadata with an object's SHA-256, so that a HEAD request tells it.
const SHA256: &str = "sha256";

/// What is known of an object without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Below the prefix.
    pub key: String,
    /// Bytes.
    pub size: u64,
    pub etag: Option<String>,
    /// By the clock of the store.
    pub modified: Timestamp,
    /// What the writer recorded; not in listings.
    pub sha256: Option<Sha256>,
}

/// An object that was read as a whole.
#[derive(Debug, Clone)]
pub struct Object {
    pub info: ObjectInfo,
    pub bytes: Bytes,
}

/// What is written.
#[derive(Debug, Clone)]
pub struct Upload {
    pub bytes: Bytes,
    pub sha256: Sha256,
    /// For readers that ask the bucket itself, such as CDNs and redirected clients.
    pub headers: UploadHeaders,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct UploadHeaders {
    pub content_type: Option<&'static str>,
    pub content_encoding: Option<&'static str>,
    pub cache_control: Option<&'static str>,
}

/// When an object is written.
#[derive(Debug, Clone, Copy)]
pub enum Condition<'a> {
    /// If there is none.
    New,
    /// If it is still the one with this entity tag.
    Unchanged(&'a str),
    Always,
}

impl Upload {
    /// Bytes whose digest is computed now.
    pub fn new(bytes: impl Into<Bytes>, headers: UploadHeaders) -> Self {
        let bytes = bytes.into();
        Self { sha256: Sha256::digest(&bytes), bytes, headers }
    }
}

/// What an answer of the store says of an object.
pub(super) fn info(key: &str, meta: &ObjectMeta, attributes: Option<&Attributes>) -> ObjectInfo {
    let recorded = attributes.and_then(|attributes| attributes.get(&Attribute::Metadata(SHA256.into())));
    ObjectInfo {
        key: key.to_owned(),
        size: meta.size,
        etag: meta.e_tag.clone(),
        modified: Timestamp::from_second(meta.last_modified.timestamp()).unwrap_or_default(),
        sha256: recorded.and_then(|sha256| sha256.parse().ok()),
    }
}

/// What is stored with an object.
pub(super) fn attributes(upload: &Upload) -> Attributes {
    let mut attributes = Attributes::new();
    attributes.insert(Attribute::Metadata(SHA256.into()), upload.sha256.to_string().into());
    let UploadHeaders { content_type, content_encoding, cache_control } = upload.headers;
    for (name, value) in [
        (Attribute::ContentType, content_type),
        (Attribute::ContentEncoding, content_encoding),
        (Attribute::CacheControl, cache_control),
    ] {
        if let Some(value) = value {
            attributes.insert(name, value.into());
        }
    }
    attributes
}
