//! Requests to a repository: with its credentials, within the limits, conditional where an answer was kept.
//!
//! What the operator named are the repository's own host and what credentials are configured for. Another host that the metadata
//! names is asked as if a redirect led there: without credentials, and not in a private network.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use anyhow::{Context as _, anyhow, bail, ensure};
use jiff::Timestamp;
use parking_lot::Mutex;
use ureq::Body;
use ureq::http::Response;
use url::Url;

use super::address::Address;
use super::cache::{Cache, KeptAnswer, Validators};
use super::weight::weight;
use crate::config::{Git, Limits};
use crate::net::{HttpClient, NetworkError, RootCertificates, covers, file_path, is_not_found, redacted};
use crate::util::cancel::CancelFlag;

const BUFFER: usize = 128 << 10;

/// How a repository is reached.
pub struct Access<'a> {
    pub git: &'a Git,
    pub limits: &'a Limits,
    pub cancel: &'a CancelFlag,
    /// Says who asks, and how to reach them.
    pub user_agent: String,
    /// The folder of what is kept for conditional requests.
    pub cache: Option<PathBuf>,
    /// When nothing more is asked for.
    pub deadline: Option<Instant>,
}

/// What is known of a file that was downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    /// Where it came from, after redirects; without credentials.
    pub url: String,
    pub size: u64,
    pub last_modified: Option<Timestamp>,
}

pub(super) struct Transport<'a> {
    pub(super) address: Address,
    access: Access<'a>,
    certificates: RootCertificates,
    pub(super) cache: Cache,
    /// Clients that no thread uses now. Each knows where its request was redirected to, so it serves one thread at a time.
    idle: Mutex<Vec<HttpClient>>,
}

enum Answer {
    Found(Validators, Vec<u8>),
    /// What was kept is current.
    Unchanged,
    Missing,
}

impl<'a> Transport<'a> {
    pub(super) fn new(address: Address, access: Access<'a>) -> Self {
        let certificates = RootCertificates::new(access.git.ca_file.clone());
        let cache = Cache::new(access.cache.clone());
        Self { address, access, certificates, cache, idle: Mutex::default() }
    }

    /// What `read` makes of a file; `None` if there is none. Only an answer that can be read is kept.
    pub(super) fn get<T>(
        &self,
        url: &Url,
        read: impl Fn(&[u8]) -> anyhow::Result<T>,
    ) -> anyhow::Result<Option<T>> {
        let failed = || format!("failed to read `{}`", redacted(url.as_str()));
        if let Some(file) = file_path(url) {
            return self.read_file(&file)?.map(|body| read(&body)).transpose().with_context(failed);
        }
        let kept = self.cache.read(url).and_then(|KeptAnswer { validators, body }| Some((validators, body?)));
        let mut headers = Vec::new();
        if let Some((validators, _)) = &kept {
            headers.extend(validators.last_modified.as_deref().map(|date| ("If-Modified-Since", date)));
            headers.extend(validators.etag.as_deref().map(|tag| ("If-None-Match", tag)));
        }
        match (self.request(url, &headers).with_context(failed)?, kept) {
            (Answer::Found(validators, body), _) => {
                let value = read(&body).map_err(|error| describe(error, &body)).with_context(failed)?;
                self.cache.write(url, validators, Some(&body))?;
                Ok(Some(value))
            }
            (Answer::Unchanged, Some((_, body))) => read(&body).map(Some).with_context(failed),
            (Answer::Unchanged, None) => bail!("{}: http status 304 to the first request", failed()),
            (Answer::Missing, _) => {
                self.cache.write(url, Validators::default(), None)?;
                Ok(None)
            }
        }
    }

    /// The same, and nothing is kept.
    pub(super) fn get_once<T>(
        &self,
        url: &Url,
        read: impl Fn(&[u8]) -> anyhow::Result<T>,
    ) -> anyhow::Result<Option<T>> {
        let failed = || format!("failed to read `{}`", redacted(url.as_str()));
        match self.request(url, &[]).with_context(failed)? {
            Answer::Found(_, body) => {
                read(&body).map(Some).map_err(|error| describe(error, &body)).with_context(failed)
            }
            Answer::Unchanged | Answer::Missing => Ok(None),
        }
    }

    /// What `read` makes of the answer to JSON.
    pub(super) fn post<T>(
        &self,
        url: &Url,
        json: &[u8],
        read: impl Fn(&[u8]) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let headers = [("Content-Type", "application/json"), ("Accept", "*/*")];
        let answer = self.ask(url, &headers, Some(json), |client, answered, response| {
            match response.status().as_u16() {
                200 => self.body(client, answered, response),
                status => Err(unexpected(answered, status)),
            }
        });
        let value = answer.and_then(|body| read(&body).map_err(|error| describe(error, &body)));
        value.with_context(|| format!("failed to ask `{}`", redacted(url.as_str())))
    }

    /// How many bytes a file has, if the server says so. Its first byte is asked for.
    pub(super) fn size(&self, url: &Url) -> anyhow::Result<Option<u64>> {
        if let Some(file) = file_path(url) {
            return Ok(Some(file.metadata()?.len()));
        }
        self.ask(url, &[("Range", "bytes=0-0")], None, |_, answered, response| {
            let range = response.headers().get("content-range").and_then(|range| range.to_str().ok());
            match response.status().as_u16() {
                206 => Ok(range.and_then(|range| range.rsplit('/').next()?.parse().ok())),
                200 => Ok(content_length(&response)),
                status => Err(unexpected(answered, status)),
            }
        })
    }

    /// The most that a file may have.
    pub(super) fn metadata_limit(&self) -> usize {
        self.access.limits.upstream_metadata
    }

    fn request(&self, url: &Url, headers: &[(&str, &str)]) -> anyhow::Result<Answer> {
        let answer = self.ask(url, headers, None, |client, answered, response| {
            let validators = validators(&response);
            match response.status().as_u16() {
                304 => Ok(Answer::Unchanged),
                200 => Ok(Answer::Found(validators, self.body(client, answered, response)?)),
                status => Err(unexpected(answered, status)),
            }
        });
        match answer {
            Err(error) if is_not_found(&error) => Ok(Answer::Missing),
            answer => answer,
        }
    }

    /// The same of a file that cannot have changed since it was kept, if `is_it` knows it by a digest.
    pub(super) fn get_fixed<T>(
        &self,
        url: &Url,
        is_it: impl Fn(&[u8]) -> bool,
        read: impl Fn(&[u8]) -> anyhow::Result<T>,
    ) -> anyhow::Result<Option<T>> {
        match self.cache.read(url) {
            Some(KeptAnswer { body: Some(body), .. }) if is_it(&body) => read(&body).map(Some),
            _ => self.get(url, read),
        }
    }

    /// The same of what was kept, without a request. `None` if nothing was.
    pub(super) fn kept<T>(
        &self,
        url: &Url,
        read: impl Fn(&[u8]) -> anyhow::Result<T>,
    ) -> anyhow::Result<Option<Option<T>>> {
        match self.cache.read(url) {
            None => Ok(None),
            Some(KeptAnswer { body, .. }) => Ok(Some(body.map(|body| read(&body)).transpose()?)),
        }
    }

    /// When what was kept was changed at the server, in seconds since 1970.
    pub(super) fn date_of_kept(&self, url: &Url) -> Option<u64> {
        let date = httpdate::parse_http_date(&self.cache.read(url)?.validators.last_modified?).ok()?;
        Some(date.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
    }

    /// Writes an archive of at most `limits.archive` bytes.
    pub(super) fn download(&self, url: &Url, into: &mut dyn Write) -> anyhow::Result<Downloaded> {
        let limit = self.access.limits.archive as u64;
        if let Some(path) = file_path(url) {
            let failed = || format!("failed to read `{}`", path.display());
            let file = File::open(&path).with_context(failed)?;
            let modified = file.metadata().and_then(|metadata| metadata.modified()).ok();
            let size = copy(file, into, limit, Into::into).with_context(failed)?;
            let last_modified = modified.and_then(|time| Timestamp::try_from(time).ok());
            return Ok(Downloaded { url: url.to_string(), size, last_modified });
        }
        let failed = || format!("failed to download `{}`", redacted(url.as_str()));
        let download = |client: &HttpClient, answered: &Url, response: Response<Body>| {
            if response.status() != 200 {
                return Err(unexpected(answered, response.status().as_u16()));
            }
            let length = content_length(&response);
            ensure!(length.is_none_or(|length| length <= limit), TooLarge(limit));
            let last_modified = validators(&response).last_modified;
            let error = |error: io::Error| anyhow::Error::from(client.error(answered, error.into(), true));
            let size = copy(response.into_body().into_reader(), into, limit, error)?;
            ensure!(length.is_none_or(|length| length == size), "it ended after {size} bytes");
            let last_modified = last_modified.and_then(|date| httpdate::parse_http_date(&date).ok());
            Ok(Downloaded {
                url: redacted(answered.as_str()),
                size,
                last_modified: last_modified.and_then(|time| Timestamp::try_from(time).ok()),
            })
        };
        self.ask(url, &[], None, download).with_context(failed)
    }

    /// Asks for a URL, or posts `body` to it.
    fn ask<T>(
        &self,
        url: &Url,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
        read: impl FnOnce(&HttpClient, &Url, Response<Body>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        ensure!(
            self.access.deadline.is_none_or(|deadline| Instant::now() < deadline),
            "its repository took too long\nhint: the limit is `limits.source_deadline` in the configuration"
        );
        let root = &self.address.root;
        let is_own = root.origin() == url.origin();
        let is_named_by_operator = is_own
            || root.scheme() == "file"
            || self.access.git.credentials.iter().any(|credential| covers(&credential.url, url));
        let first = if is_own || !is_named_by_operator { root } else { url };
        let client = self.client(first)?;
        let named_by = (!is_named_by_operator).then_some(root);
        let answer = match (body, named_by) {
            (Some(body), _) => client.post_named(named_by, url, headers, body),
            (None, None) => client.get(url, headers),
            (None, Some(root)) => client.get_named(root, url, headers),
        };
        let (answered, response) = answer?;
        let value = read(&client, &answered, response)?;
        self.idle.lock().push(client);
        Ok(value)
    }

    fn client(&self, url: &Url) -> Result<HttpClient, NetworkError> {
        let mut idle = self.idle.lock();
        idle.retain(HttpClient::is_fresh);
        if let Some(at) = idle.iter().position(|client| client.is_for(url)) {
            return Ok(idle.swap_remove(at));
        }
        drop(idle);
        let Access { git, user_agent, cancel, .. } = &self.access;
        HttpClient::new(url, git, &self.certificates, user_agent, cancel)
    }

    fn body(&self, client: &HttpClient, url: &Url, response: Response<Body>) -> anyhow::Result<Vec<u8>> {
        let limit = self.access.limits.upstream_metadata as u64;
        let length = content_length(&response);
        ensure!(length.is_none_or(|length| length <= limit), TooMuchMetadata(limit));
        let mut body = Vec::new();
        let mut reader = response.into_body().into_reader().take(limit + 1);
        reader.read_to_end(&mut body).map_err(|error| client.error(url, error.into(), true))?;
        ensure!(body.len() as u64 <= limit, TooMuchMetadata(limit));
        ensure!(
            length.is_none_or(|length| length == body.len() as u64),
            "it ended after {} bytes",
            body.len()
        );
        ensure!(weight(&body) as u64 <= limit, TooManyValues(limit));
        Ok(body)
    }

    fn read_file(&self, path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
        let failed = || format!("failed to read `{}`", path.display());
        let limit = self.access.limits.upstream_metadata as u64;
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.with_context(failed)?,
        };
        let mut body = Vec::new();
        file.take(limit + 1).read_to_end(&mut body).with_context(failed)?;
        ensure!(body.len() as u64 <= limit, TooMuchMetadata(limit));
        ensure!(weight(&body) as u64 <= limit, TooManyValues(limit));
        Ok(Some(body))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("it has more than {0} bytes\nhint: `limits.upstream_metadata` in the configuration")]
struct TooMuchMetadata(u64);

#[derive(Debug, thiserror::Error)]
#[error("its values need more than {0} bytes\nhint: `limits.upstream_metadata` in the configuration")]
struct TooManyValues(u64);

#[derive(Debug, thiserror::Error)]
#[error("it has more than {0} bytes\nhint: `limits.archive` in the configuration")]
struct TooLarge(u64);

fn unexpected(url: &Url, status: u16) -> anyhow::Error {
    anyhow!("`{}` answered with http status {status}", redacted(url.as_str()))
}

fn content_length(response: &Response<Body>) -> Option<u64> {
    response.headers().get("content-length")?.to_str().ok()?.parse().ok()
}

fn validators(response: &Response<Body>) -> Validators {
    let header = |name| response.headers().get(name).and_then(|value| Some(value.to_str().ok()?.to_owned()));
    Validators { last_modified: header("last-modified"), etag: header("etag") }
}

/// A page instead of the file that was asked for usually comes from a login or a proxy.
fn describe(error: anyhow::Error, body: &[u8]) -> anyhow::Error {
    match body.trim_ascii_start().first() {
        Some(b'<') => error.context("it is a web page, perhaps of a login or a proxy, and no JSON"),
        _ => error,
    }
}

fn copy(
    mut from: impl Read,
    into: &mut dyn Write,
    limit: u64,
    failed: impl Fn(io::Error) -> anyhow::Error,
) -> anyhow::Result<u64> {
    let (mut buffer, mut size) = (vec![0; BUFFER], 0);
    loop {
        let read = from.read(&mut buffer).map_err(&failed)?;
        if read == 0 {
            return Ok(size);
        }
        size += read as u64;
        if size > limit {
            bail!(TooLarge(limit));
        }
        into.write_all(&buffer[..read]).context("failed to write the archive")?;
    }
}
