//! Why an operation on a bucket failed: what a caller can act on, and a message that names the object and a remedy.

use std::error::Error as _;
use std::fmt;

use crate::util::text::without_error_numbers;

/// A failed operation on one object, or on the bucket.
#[derive(Debug)]
pub struct BucketError {
    /// As in "failed to …".
    verb: &'static str,
    /// `s3://bucket/key`.
    object: String,
    pub kind: BucketErrorKind,
    reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketErrorKind {
    NotFound,
    /// There is no such bucket.
    NoBucket,
    /// The object to create exists already, or another writer is creating it.
    Exists,
    /// An object that was to be replaced is another one now.
    Changed,
    /// The credentials are wrong, or not sufficient.
    Denied,
    /// There are no credentials.
    NoCredentials,
    /// The transfer was cancelled.
    Cancelled,
    /// No answer, or one that says nothing about the result: the operation may have succeeded.
    Unknown,
}

impl BucketError {
    pub(super) fn new(
        verb: &'static str,
        object: String,
        kind: BucketErrorKind,
        reason: impl Into<String>,
    ) -> Self {
        Self { verb, object, kind, reason: reason.into() }
    }

    pub(super) fn from_store(verb: &'static str, object: String, error: &object_store::Error) -> Self {
        use object_store::Error;
        let reason = reason(error);
        let kind = match error {
            _ if reason.contains("NoSuchBucket") => BucketErrorKind::NoBucket,
            Error::NotFound { .. } => BucketErrorKind::NotFound,
            Error::AlreadyExists { .. } => BucketErrorKind::Exists,
            Error::Precondition { .. } | Error::NotModified { .. } => BucketErrorKind::Changed,
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => BucketErrorKind::Denied,
            // The address of the service that gives a machine in a cloud its identity.
            _ if reason.contains("169.254.169.254") => BucketErrorKind::NoCredentials,
            _ => BucketErrorKind::Unknown,
        };
        Self { verb, object, kind, reason }
    }

    /// Whether another attempt would fail in the same way.
    pub(super) fn is_final(&self) -> bool {
        use BucketErrorKind::{Cancelled, Denied, NoBucket, NoCredentials};
        matches!(self.kind, Cancelled | Denied | NoBucket | NoCredentials)
    }

    fn hint(&self) -> Option<&'static str> {
        match self.kind {
            BucketErrorKind::Denied => Some(
                "check the access key, and that it may get, put, list and delete objects below `bucket.url`",
            ),
            BucketErrorKind::NoCredentials => Some(
                "set `access_key_id_file` and `secret_access_key_file` in `bucket`, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment",
            ),
            BucketErrorKind::NoBucket => {
                Some("create the bucket, or check `bucket.url` and `bucket.endpoint`")
            }
            _ => None,
        }
    }
}

impl fmt::Display for BucketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to {} `{}`: {}", self.verb, self.object, self.reason)?;
        self.hint().map_or(Ok(()), |hint| write!(f, "\nhint: {hint}"))
    }
}

impl std::error::Error for BucketError {}

/// The innermost cause; of an answer of S3 its code and message instead of the XML around them.
fn reason(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = cause.to_string();
        source = cause.source();
    }
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once("</")?.0.to_owned())
    };
    let text = match (element("Code"), element("Message")) {
        (Some(code), Some(message)) => format!("the server answers {code}: {message}"),
        (Some(code), None) => format!("the server answers {code}"),
        _ => text,
    };
    without_error_numbers(&text)
}
