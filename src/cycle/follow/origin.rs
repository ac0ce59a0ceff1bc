//! One mirror that is followed: its ledger from a position on, its `follow.json`, its archives. For `mirror restore` and `mirror
//! import` it may be a folder or a bundle; archives may also come from the bucket.

use std::cell::RefCell;
use std::io::{self, Read};

use anyhow::{Context as _, anyhow, bail, ensure};
use ureq::http::Response;
use ureq::{Body, BodyReader};
use url::Url;

use super::local::Local;
use crate::bucket::BucketErrorKind;
use crate::config::Git;
use crate::cycle::context::{CycleContext, PublishedBucket};
use crate::ledger::Release;
use crate::net::{HttpClient, NetworkError, RootCertificates, USER_AGENT, file_path, redacted};
use crate::util::cancel::CancelFlag;
use crate::util::compression::{Coding, decode_zstd};
use crate::util::digest::Sha256;

/// The header of a ledger with the digest of the snapshot's `follow.json`.
const STATE: &str = "mirror-state";

/// A mirror that is followed.
pub(in crate::cycle) struct Origin<'a> {
    url: &'a Url,
    /// The folder or file that the URL names, if it is a `file` URL.
    local: Option<Local>,
    /// What has the archives instead of a server.
    bucket: Option<PublishedBucket<'a>>,
    git: &'a Git,
    /// The most bytes of a text.
    limit: u64,
    cancel: &'a CancelFlag,
    client: RefCell<Option<HttpClient>>,
}

/// The part of a text file that an origin sent.
pub(super) struct Part {
    pub(super) bytes: Vec<u8>,
    /// Whether it is the whole file instead of the requested rest.
    pub(super) is_whole: bool,
    /// The digest of the origin's `follow.json`, if it says so.
    pub(super) state: Option<Sha256>,
}

/// What an origin answers to the request for the rest of a file.
pub(super) enum Rest {
    Part(Part),
    /// The file is shorter than the position.
    TooShort,
}

/// What an archive is asked for.
#[derive(Clone, Copy)]
pub(in crate::cycle) enum ArchiveRequest {
    /// All of it, compressed where the mirror has it so.
    Compressed,
    /// What follows this position.
    From(u64),
}

/// The body of an archive, decompressed.
pub(in crate::cycle) struct ArchiveBody {
    pub(in crate::cycle) bytes: Box<dyn Read>,
    /// Whether it begins at the requested position instead of the first byte.
    pub(super) is_rest: bool,
}

/// A body whose errors name what it was requested from.
struct ResponseBody {
    client: HttpClient,
    url: Url,
    body: BodyReader<'static>,
}

impl<'a> Origin<'a> {
    pub(in crate::cycle) fn new(ctx: &CycleContext<'a>, url: &'a Url) -> Self {
        let (local, client) = (file_path(url).map(Local::new), RefCell::default());
        let limit = ctx.limits.upstream_metadata as u64;
        Self { url, local, bucket: ctx.bucket, git: ctx.network, limit, cancel: ctx.cancel, client }
    }

    /// Its URL for reports and logs; the public need not know where a folder or file is.
    pub(in crate::cycle) fn name(&self) -> String {
        let local = self.local.as_ref().and_then(|local| local.path().file_name());
        local.map_or_else(|| redacted(self.url.as_str()), |name| name.to_string_lossy().into_owned())
    }

    /// Whether it is a folder or a bundle.
    pub(super) fn is_local(&self) -> bool {
        self.local.is_some()
    }

    fn client(&self) -> Result<HttpClient, NetworkError> {
        let mut kept = self.client.borrow_mut();
        if let Some(client) = kept.as_ref().filter(|client| client.is_fresh()) {
            return Ok(client.clone());
        }
        let roots = RootCertificates::new(self.git.ca_file.clone());
        let client = HttpClient::new(self.url, self.git, &roots, USER_AGENT, self.cancel)?;
        Ok(kept.insert(client).clone())
    }

    fn join(&self, path: &str) -> anyhow::Result<Url> {
        let mut url = self.url.clone();
        let mut segments = url.path_segments_mut().ok().context("the URL cannot have a path")?;
        segments.pop_if_empty().extend(path.split('/'));
        drop(segments);
        Ok(url)
    }

    /// A small file; `None` if there is none.
    pub(super) fn get(&self, path: &str) -> anyhow::Result<Option<Vec<u8>>> {
        if let Some(local) = &self.local {
            return local.read_from(path, 0);
        }
        let url = self.join(path)?;
        let client = self.client()?;
        match client.get(&url, &[]) {
            Ok((url, response)) => Ok(Some(self.text(&client, &url, response)?)),
            Err(NetworkError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A text file from `position` on.
    pub(super) fn rest(&self, path: &str, position: u64) -> anyhow::Result<Rest> {
        if let Some(local) = &self.local {
            let shown = local.path().display();
            let missing = || {
                anyhow!(NetworkError::NotFound { status: 404 }).context(format!("`{shown}` has no `{path}`"))
            };
            let section = local.open(path)?.ok_or_else(missing)?;
            if section.size <= position && position > 0 {
                return Ok(Rest::TooShort);
            }
            let bytes = local.read_from(path, position)?.unwrap_or_default();
            return Ok(Rest::Part(Part { bytes, is_whole: position == 0, state: None }));
        }
        let url = self.join(path)?;
        let client = self.client()?;
        let (url, response) = match client.get(&url, &headers(&range(position))) {
            Ok(answered) => answered,
            Err(NetworkError::Status { status: 416, .. }) => return Ok(Rest::TooShort),
            Err(error) => return Err(error.into()),
        };
        let is_whole = is_whole(&url, &response, position)?;
        let state = response.headers().get(STATE).and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = self.text(&client, &url, response)?;
        Ok(Rest::Part(Part { bytes, is_whole, state }))
    }

    fn text(&self, client: &HttpClient, url: &Url, response: Response<Body>) -> anyhow::Result<Vec<u8>> {
        let mut text = Vec::new();
        let mut body = response.into_body().into_reader().take(self.limit + 1);
        body.read_to_end(&mut text).map_err(|error| client.error(url, error.into(), true))?;
        ensure!(
            text.len() as u64 <= self.limit,
            "`{}` has more than {} bytes\nhint: `limits.upstream_metadata` in the configuration",
            redacted(url.as_str()),
            self.limit
        );
        Ok(text)
    }

    /// What is wanted of an archive, or all of it.
    pub(in crate::cycle) fn archive(
        &self,
        release: &Release,
        wanted: ArchiveRequest,
    ) -> anyhow::Result<ArchiveBody> {
        if let Some(published) = self.bucket {
            return archive_in_bucket(published, release, wanted);
        }
        let path = &*release.path();
        let position = match wanted {
            ArchiveRequest::Compressed => 0,
            ArchiveRequest::From(position) => position,
        };
        if let Some(local) = &self.local {
            let section = local.open(path)?.ok_or(NetworkError::NotFound { status: 404 })?;
            let failed = || format!("failed to read `{path}` in `{}`", local.path().display());
            let bytes = Box::new(section.read_from(position).with_context(failed)?);
            return Ok(ArchiveBody { bytes, is_rest: position > 0 });
        }
        let url = self.join(path)?;
        let client = self.client()?;
        let range = range(position);
        let mut headers = headers(&range);
        if let ArchiveRequest::Compressed = wanted {
            headers.push(("Accept-Encoding", Coding::Zstd.name()));
        }
        let (url, response) = client.get(&url, &headers)?;
        let is_rest = !is_whole(&url, &response, position)?;
        let coding = response.headers().get("content-encoding");
        let is_compressed = coding.is_some_and(|coding| coding == Coding::Zstd.name());
        let body = ResponseBody { client, url, body: response.into_body().into_reader() };
        let bytes: Box<dyn Read> = if is_compressed { Box::new(decode_zstd(body)?) } else { Box::new(body) };
        Ok(ArchiveBody { bytes, is_rest })
    }

    /// Forgets the connection, after a failure.
    pub(super) fn disconnect(&self) {
        *self.client.borrow_mut() = None;
    }
}

/// What is wanted of an archive in the bucket, or all of it.
fn archive_in_bucket(
    PublishedBucket { bucket, loaded }: PublishedBucket<'_>,
    release: &Release,
    wanted: ArchiveRequest,
) -> anyhow::Result<ArchiveBody> {
    let (position, coding) = match wanted {
        ArchiveRequest::Compressed => (0, Some(Coding::Zstd)),
        ArchiveRequest::From(position) => (position, None),
    };
    let objects = loaded.archive_objects(release);
    let compressed = objects.iter().find(|object| object.coding == coding);
    let object = compressed.or(objects.first()).context("the bucket has no such archive")?;
    let range = (position > 0).then_some(position..object.size);
    let reader = bucket.reader(&object.key, range).map_err(|error| match error.kind {
        BucketErrorKind::NotFound => anyhow!(NetworkError::NotFound { status: 404 }).context(error),
        _ => error.into(),
    })?;
    let bytes: Box<dyn Read> = match object.coding {
        Some(_) => Box::new(decode_zstd(reader)?),
        None => Box::new(reader),
    };
    Ok(ArchiveBody { bytes, is_rest: position > 0 })
}

/// The value of `Range` for the bytes from `position` on; `None` for all.
fn range(position: u64) -> Option<String> {
    (position > 0).then(|| format!("bytes={position}-"))
}

fn headers(range: &Option<String>) -> Vec<(&'static str, &str)> {
    range.iter().map(|range| ("Range", range.as_str())).collect()
}

/// Whether a response to a request from `position` on is the whole file. Fails if it is another part.
fn is_whole(url: &Url, response: &Response<Body>, position: u64) -> anyhow::Result<bool> {
    let shown = redacted(url.as_str());
    match response.status().as_u16() {
        200 => Ok(true),
        206 => {
            let range = response.headers().get("content-range").and_then(|range| range.to_str().ok());
            let expected = format!("bytes {position}-");
            ensure!(
                range.is_some_and(|range| range.starts_with(&expected)),
                "`{shown}` was asked for the bytes from {position} on and sent others"
            );
            Ok(position == 0)
        }
        status => bail!("`{shown}` answered with http status {status}"),
    }
}

impl Read for ResponseBody {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Self { client, url, body } = self;
        body.read(into).map_err(|error| io::Error::other(client.error(url, error.into(), true)))
    }
}
