//! One bucket: the few operations that are needed, each bounded in time, cancellable, and with errors that name the object.
//!
//! The operations block. [`Bucket::presign`] and [`Bucket::stream`] are for the server, which does not.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, Checksum};
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer as _};
use object_store::{
    BackoffConfig, CredentialProvider, GetOptions, GetRange, ObjectMeta, ObjectStore as _,
    ObjectStoreExt as _, PutMode, PutOptions, PutPayload, RetryConfig, UpdateVersion,
};
use tokio::runtime::{Builder, Handle, Runtime};
use url::Url;

use super::error::{BucketError, BucketErrorKind};
use super::object::{Condition, Object, ObjectInfo, Upload, attributes, info};
use super::transport::Transport;
use crate::config::{self, AccessKey, Git};
use crate::util::cancel::CancelFlag;
use crate::util::digest::Sha256;

/// The header with the digest that a store compares.
static CHECKSUM: HeaderName = HeaderName::from_static("x-amz-checksum-sha256");

/// How often a wait looks whether it was cancelled.
const POLL: Duration = Duration::from_millis(100);

/// A request that failed for a passing reason is sent at most so many more times.
const RETRIES: usize = 4;

/// The signature of a request, and with it each attempt, is valid for five minutes.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

const BACKOFF: BackoffConfig = BackoffConfig {
    init_backoff: Duration::from_millis(100),
    max_backoff: Duration::from_secs(5),
    base: 2.0,
};

/// In bytes. What is read as a whole is metadata; a larger object is something else.
const MAX_READ: u64 = 256 << 20;

/// Threads for requests that run at the same time.
const MAX_REQUESTS: usize = 64;

/// A bucket and the prefix of its keys. It has a runtime of its own, so it must not be dropped in asynchronous code.
pub struct Bucket {
    store: AmazonS3,
    transport: Transport,
    /// Taken when the bucket is dropped.
    runtime: Option<Runtime>,
    handle: Handle,
    name: String,
    prefix: String,
    /// How long one operation may take altogether.
    limit: Duration,
    cancel: CancelFlag,
}

impl Bucket {
    /// Reads no object and sends no request. `git` has the time limits and certificates of all connections.
    pub fn open(config: &config::Bucket, git: &Git, cancel: &CancelFlag) -> anyhow::Result<Self> {
        let failed = || format!("failed to use the bucket `{}`", config.name);
        let region = config.region.clone().or_else(|| environment(["AWS_REGION", "AWS_DEFAULT_REGION"]));
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(&config.name)
            .with_region(region.unwrap_or_else(|| "us-east-1".to_owned()))
            .with_virtual_hosted_style_request(!config.path_style)
            .with_checksum_algorithm(Checksum::SHA256)
            .with_disable_bulk_delete(true)
            .with_retry(RetryConfig { backoff: BACKOFF, max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT });
        let server = endpoint(config);
        if let Some(server) = &server {
            // The key that is stronger than every variable of the environment.
            builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, server.trim_end_matches('/'));
        }
        if let Some(key) = &config.access_key {
            builder = builder.with_credentials(Arc::new(KeyFiles(key.clone())));
        }
        let url = server.as_deref().unwrap_or("https://s3.amazonaws.com/");
        let transport = Transport::new(&Url::parse(url).with_context(failed)?, git, cancel)?;
        let store = builder.with_http_connector(transport.clone()).build().with_context(failed)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(MAX_REQUESTS)
            .thread_name("bucket")
            .enable_time()
            .build()
            .with_context(failed)?;
        Ok(Self {
            store,
            transport,
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
            name: config.name.clone(),
            prefix: config.prefix.clone(),
            limit: git.total_timeout,
            cancel: cancel.clone(),
        })
    }

    /// The whole object, at most 256 MiB.
    pub fn get(&self, key: &str) -> Result<Object, BucketError> {
        let object = self.read(key, GetOptions::default())?;
        object.ok_or_else(|| self.error("read", key, BucketErrorKind::Changed, "it is not modified"))
    }

    /// The object, unless it still has this entity tag.
    pub fn get_changed(&self, key: &str, etag: &str) -> Result<Option<Object>, BucketError> {
        self.read(key, GetOptions { if_none_match: Some(etag.to_owned()), ..GetOptions::default() })
    }

    fn read(&self, key: &str, options: GetOptions) -> Result<Option<Object>, BucketError> {
        let path = self.path("read", key)?;
        let read = async {
            let found = self.store.get_opts(&path, options).await?;
            let info = info(key, &found.meta, Some(&found.attributes));
            if info.size > MAX_READ {
                return Ok(Err(info.size));
            }
            Ok(Ok(Object { info, bytes: found.bytes().await? }))
        };
        match self.wait("read", key, read) {
            Ok(Ok(object)) => Ok(Some(object)),
            Ok(Err(size)) => {
                let reason = format!("it has {size} bytes, and is not what is expected there");
                Err(self.error("read", key, BucketErrorKind::Unknown, reason))
            }
            Err(error) if error.kind == BucketErrorKind::Changed => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What is known of an object; `None` if there is none.
    pub fn head(&self, key: &str) -> Result<Option<ObjectInfo>, BucketError> {
        let path = self.path("look up", key)?;
        let options = GetOptions { head: true, ..GetOptions::default() };
        let found = self.wait("look up", key, self.store.get_opts(&path, options));
        match found {
            Ok(found) => Ok(Some(info(key, &found.meta, Some(&found.attributes)))),
            Err(error) if error.kind == BucketErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes an object and returns its entity tag. The store compares the bytes with their SHA-256, if it can.
    ///
    /// # Errors
    /// [`BucketErrorKind::Exists`] or [`BucketErrorKind::Changed`] if the condition does not hold: perhaps because an earlier
    /// attempt of this call, whose answer was lost, has written it.
    pub fn put(&self, key: &str, upload: &Upload, condition: Condition<'_>) -> Result<String, BucketError> {
        let (verb, mode) = match condition {
            Condition::New => ("create", PutMode::Create),
            Condition::Always => ("write", PutMode::Overwrite),
            Condition::Unchanged(etag) => {
                let version = UpdateVersion { e_tag: Some(etag.to_owned()), version: None };
                ("replace", PutMode::Update(version))
            }
        };
        let path = self.path(verb, key)?;
        let options = PutOptions { mode, attributes: attributes(upload), ..PutOptions::default() };
        let payload = PutPayload::from(upload.bytes.clone());
        let put = self.wait(verb, key, self.store.put_opts(&path, payload, options))?;
        Ok(put.e_tag.unwrap_or_default())
    }

    /// Whether the store compares bytes with the SHA-256 that is sent along: it takes the right one, and refuses another.
    pub(super) fn compares_digests(&self, key: &str) -> Result<bool, BucketError> {
        let body = b"these bytes";
        let is_taken =
            |of: &[u8]| Ok::<_, BucketError>(self.put_signed(key, body, Sha256::digest(of))?.is_success());
        Ok(is_taken(body)? && !is_taken(b"other bytes")?)
    }

    /// Writes an object with a digest that object_store would compute itself, by a signed URL. No answer is as good as a refusal.
    fn put_signed(&self, key: &str, body: &[u8], sha256: Sha256) -> Result<StatusCode, BucketError> {
        const VERB: &str = "write";
        let path = self.path(VERB, key)?;
        let digest = HeaderValue::from_str(&STANDARD.encode(sha256.0));
        let digest =
            digest.map_err(|error| self.error(VERB, key, BucketErrorKind::Unknown, error.to_string()))?;
        let options = SignedUrlOptions::new().with_signed_header(CHECKSUM.clone(), digest.clone());
        let signed = self.store.signed_url_opts(Method::PUT, &path, RETRY_TIMEOUT, &options);
        let url = self.wait(VERB, key, signed)?;
        Ok(self.transport.put(&url, (&CHECKSUM, digest), body).unwrap_or(StatusCode::REQUEST_TIMEOUT))
    }

    /// All objects whose keys begin with `folder`, which ends with a slash or is empty. A server that cuts a listing short makes
    /// it shorter.
    pub fn list(&self, folder: &str) -> Result<Vec<ObjectInfo>, BucketError> {
        let path = self.path("list", folder.trim_end_matches('/'))?;
        let listed = async {
            let objects = self.store.list(Some(&path));
            objects.try_collect::<Vec<ObjectMeta>>().await
        };
        let found = self.wait("list", folder, listed)?;
        let keys = found.iter().filter_map(|meta| {
            let key = meta.location.as_ref().strip_prefix(&self.prefix)?;
            Some(info(key, meta, None))
        });
        Ok(keys.collect())
    }

    /// Removes an object; there may be none.
    pub fn delete(&self, key: &str) -> Result<(), BucketError> {
        let path = self.path("remove", key)?;
        self.wait("remove", key, self.store.delete(&path))
    }

    /// A URL of the object that needs no credentials until `lifetime` is over. Not blocking; it may ask the cloud for credentials.
    pub async fn presign(&self, key: &str, lifetime: Duration) -> Result<Url, BucketError> {
        let path = self.path("sign a URL of", key)?;
        let signed = self.store.signed_url(Method::GET, &path, lifetime).await;
        signed.map_err(|error| BucketError::from_store("sign a URL of", self.object(key), &error))
    }

    /// The bytes of an object, or a range of them, in pieces as they arrive. Not blocking; to be polled on a runtime with time.
    pub async fn stream(
        &self,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes, BucketError>>, BucketError> {
        let path = self.path("read", key)?;
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        let object = self.object(key);
        let failed =
            move |error: object_store::Error| BucketError::from_store("read", object.clone(), &error);
        let found = self.store.get_opts(&path, options).await.map_err(&failed)?;
        Ok(found.into_stream().map_err(failed).boxed())
    }

    /// The URL of the bucket with its prefix, for messages.
    pub fn url(&self) -> String {
        self.object("")
    }

    /// The URL of an object, for messages.
    pub fn object(&self, key: &str) -> String {
        format!("s3://{}/{}{key}", self.name, self.prefix)
    }

    /// Where blocking code runs requests, and how long one may take.
    pub(super) fn runtime(&self) -> (Handle, Duration) {
        (self.handle.clone(), self.limit)
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancel.is_set()
    }

    /// Sleeps, or until the work is cancelled.
    pub(super) fn pause(&self, time: Duration) {
        self.cancel.wait(time);
    }

    pub(super) fn error(
        &self,
        verb: &'static str,
        key: &str,
        kind: BucketErrorKind,
        reason: impl Into<String>,
    ) -> BucketError {
        BucketError::new(verb, self.object(key), kind, reason)
    }

    fn path(&self, verb: &'static str, key: &str) -> Result<Path, BucketError> {
        Path::parse(format!("{}{key}", self.prefix))
            .map_err(|error| self.error(verb, key, BucketErrorKind::Unknown, error.to_string()))
    }

    fn wait<T>(
        &self,
        verb: &'static str,
        key: &str,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, BucketError> {
        let cancelled = async {
            while !self.cancel.is_set() {
                tokio::time::sleep(POLL).await;
            }
        };
        self.handle.block_on(async {
            tokio::select! {
                result = work => {
                    result.map_err(|error| BucketError::from_store(verb, self.object(key), &error))
                }
                () = cancelled => Err(self.error(verb, key, BucketErrorKind::Cancelled, "cancelled")),
                () = tokio::time::sleep(self.limit) => {
                    let reason = format!("it took longer than {:?}", self.limit);
                    Err(self.error(verb, key, BucketErrorKind::Unknown, reason))
                }
            }
        })
    }
}

impl Drop for Bucket {
    /// The last request of a server may drop it, where waiting for the runtime is not allowed.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The first of these variables that is set.
fn environment<const COUNT: usize>(names: [&str; COUNT]) -> Option<String> {
    names.iter().find_map(|name| std::env::var(name).ok()).filter(|value| !value.is_empty())
}

/// The server, with the bucket as its host where it is not in the path.
fn endpoint(config: &config::Bucket) -> Option<String> {
    let endpoint = config.endpoint.as_ref()?;
    match (config.path_style, endpoint.host_str()) {
        (false, Some(host)) => {
            let mut server = endpoint.clone();
            // A host name and a bucket's name make a host name.
            let _ = server.set_host(Some(&format!("{}.{host}", config.name)));
            Some(server.into())
        }
        _ => Some(endpoint.clone().into()),
    }
}

/// A key of the configuration, read at each use, so that a rotated one takes effect.
#[derive(Debug)]
struct KeyFiles(AccessKey);

#[async_trait]
impl CredentialProvider for KeyFiles {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let read = || {
            anyhow::Ok(AwsCredential {
                key_id: self.0.id.read()?,
                secret_key: self.0.secret.read()?,
                token: None,
            })
        };
        let credential = read().map_err(|error| object_store::Error::Generic {
            store: "the access key",
            source: format!("{error:#}").into(),
        })?;
        Ok(Arc::new(credential))
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bucket").field(&self.url()).finish()
    }
}
