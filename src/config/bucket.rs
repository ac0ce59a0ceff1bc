//! The section `bucket`: an object store with the S3 interface that everything published is uploaded to.

use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::public_url;
use super::secret::{Secret, SecretReference};
use super::units;
use crate::yaml::{Issue, Path, Report};

/// Each poll is a request to each repository's root, by each replica.
const MIN_POLL: Duration = Duration::from_secs(1);

/// Where everything is uploaded that is published, and how replicas answer from there.
#[derive(Clone, Debug)]
pub struct Bucket {
    pub name: String,
    /// What its keys begin with: nothing, or a path that ends with `/`.
    pub prefix: String,
    /// The server; `None` for Amazon's in the region.
    pub endpoint: Option<Url>,
    pub region: Option<String>,
    /// Whether the bucket is in the path of URLs instead of the host name.
    pub path_style: bool,
    /// Without it, the environment or the cloud gives one.
    pub access_key: Option<AccessKey>,
    pub redirect: Redirect,
    /// How often replicas ask for news.
    pub poll: Duration,
    pub single_writer: bool,
}

/// The name and the secret of a key.
#[derive(Clone, Debug)]
pub struct AccessKey {
    pub id: Secret,
    pub secret: Secret,
}

/// How a replica answers the request for an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// It sends the archive itself.
    Never,
    /// To the bucket, with a signature that expires.
    Presigned,
    /// To this base URL, which ends with `/`.
    To(Url),
}

impl Bucket {
    /// The bucket with its prefix.
    pub fn url(&self) -> String {
        format!("s3://{}/{}", self.name, self.prefix)
    }
}

/// The section as it is written: its keys, or `url` alone.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(super) enum BucketEntry {
    Url(String),
    Keys(BucketKeys),
}

/// Object store with the S3 interface that receives everything that is published, and that replicas serve from: `mirror help
/// bucket`. Each repository has a folder with its name there. `bucket: s3://name/prefix` is short for a section with that `url`
/// alone.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Bucket")]
pub(super) struct BucketKeys {
    /// The bucket and the beginning of all keys: `s3://name` or `s3://name/prefix`.
    #[serde(default)]
    #[schemars(!default)]
    url: String,
    /// URL of the server, such as `https://s3.example.com`. Default: Amazon's server for the region.
    endpoint: Option<String>,
    /// Region of the bucket. Default: the environment variable `AWS_REGION`, else `us-east-1`.
    region: Option<String>,
    /// Whether the bucket is named in the path of a URL instead of the host name. Default: yes if there is an `endpoint`.
    path_style: Option<bool>,
    /// Name of the access key, as a reference to an environment variable: `${NAME}`. Without a key, the usual variables
    /// (`AWS_ACCESS_KEY_ID` and others) or the identity that the cloud gives to the machine are used.
    #[schemars(with = "Option<SecretReference>")]
    access_key_id: Option<String>,
    /// File with the name of the access key; read again at each use.
    access_key_id_file: Option<PathBuf>,
    /// Secret of the access key, as a reference to an environment variable: `${NAME}`.
    #[schemars(with = "Option<SecretReference>")]
    secret_access_key: Option<String>,
    /// File with the secret of the access key; read again at each use.
    secret_access_key_file: Option<PathBuf>,
    /// How replicas answer requests for archives: `never` sends them through the replica, `presigned` redirects to the bucket
    /// with a signature that expires, and a URL, such as that of a CDN, is what clients ask instead of `url`. Private
    /// repositories are never redirected to a URL.
    #[serde(default = "default_redirect")]
    redirect: String,
    /// How often replicas ask the bucket for news.
    #[serde(with = "units::duration", default = "default_poll")]
    #[schemars(with = "units::DurationText")]
    poll: Duration,
    /// Also use a bucket without conditional writes. Only one instance may publish to it then.
    #[serde(default)]
    single_writer: bool,
}

fn default_redirect() -> String {
    "never".to_owned()
}

fn default_poll() -> Duration {
    Duration::from_secs(10)
}

impl BucketEntry {
    /// The checked section; relative paths start at `folder`.
    pub(super) fn resolve(self, at: &Path, folder: &FilePath, report: &mut Report) -> Option<Bucket> {
        match self {
            Self::Url(url) => {
                let location = check(location(&url), at, report);
                BucketKeys::new(url).resolve(location, at, folder, report)
            }
            Self::Keys(keys) => {
                let location = check(location(&keys.url), &at.key("url"), report);
                keys.resolve(location, at, folder, report)
            }
        }
    }
}

impl BucketKeys {
    fn new(url: String) -> Self {
        Self {
            url,
            endpoint: None,
            region: None,
            path_style: None,
            access_key_id: None,
            access_key_id_file: None,
            secret_access_key: None,
            secret_access_key_file: None,
            redirect: default_redirect(),
            poll: default_poll(),
            single_writer: false,
        }
    }

    /// `location`: the name of the bucket and the prefix, if they are right.
    fn resolve(
        self,
        location: Option<(String, String)>,
        at: &Path,
        folder: &FilePath,
        report: &mut Report,
    ) -> Option<Bucket> {
        let endpoint = self.endpoint.as_deref().map(endpoint);
        let endpoint = match endpoint {
            Some(parsed) => check(parsed, &at.key("endpoint"), report).map(Some),
            None => Some(None),
        };
        let redirect = check(redirect(&self.redirect), &at.key("redirect"), report);
        for [value, file] in
            [["access_key_id", "access_key_id_file"], ["secret_access_key", "secret_access_key_file"]]
        {
            if report.contains(&at.key(value)) && report.contains(&at.key(file)) {
                report.add(at, Issue::new(format!("set either `{value}` or `{file}`, not both")));
            }
        }
        if self.poll < MIN_POLL {
            report.add(&at.key("poll"), Issue::new("expected at least 1s"));
        }
        let mut id = Secret::from_keys(self.access_key_id, self.access_key_id_file);
        let mut secret = Secret::from_keys(self.secret_access_key, self.secret_access_key_file);
        id.iter_mut().chain(&mut secret).for_each(|secret| secret.resolve_path(folder));
        let access_key = match (id, secret) {
            (Some(id), Some(secret)) => Some(AccessKey { id, secret }),
            (None, None) => None,
            // A key that is broken is as good as missing here.
            _ if report.is_broken(at) => None,
            _ => {
                let issue = Issue::new("an access key has an id and a secret: set both, or none of them");
                report.add(at, issue.hint("without a key, the environment or the cloud gives one"));
                None
            }
        };
        let (name, prefix) = location?;
        let endpoint = endpoint?;
        Some(Bucket {
            name,
            prefix,
            path_style: self.path_style.unwrap_or(endpoint.is_some()),
            endpoint,
            region: self.region,
            access_key,
            redirect: redirect?,
            poll: self.poll,
            single_writer: self.single_writer,
        })
    }
}

/// The value, or its issue in the report.
fn check<T>(value: Result<T, Issue>, at: &Path, report: &mut Report) -> Option<T> {
    value.map_err(|issue| report.add(at, issue)).ok()
}

/// The name of the bucket, and the prefix with a slash at its end.
fn location(text: &str) -> Result<(String, String), Issue> {
    let Some(rest) = text.strip_prefix("s3://") else {
        let issue = Issue::new("expected the URL of a bucket: `s3://name` or `s3://name/prefix`");
        return Err(issue.found(format!("`{text}`")).hint(meant(text)));
    };
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    // The rules of Amazon, whose names others accept.
    let is_valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    if !(3..=63).contains(&name.len()) || !name.chars().all(is_valid) {
        let rule = "expected the name of a bucket: 3 to 63 lower-case letters, digits, `.`, `-` and `_`";
        return Err(Issue::new(rule).found(format!("`{name}`")));
    }
    let prefix = prefix.trim_end_matches('/');
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_segment =
        |part: &str| !part.is_empty() && part != "." && part != ".." && part.chars().all(is_plain);
    match prefix {
        "" => Ok((name.to_owned(), String::new())),
        _ if prefix.split('/').all(is_segment) => Ok((name.to_owned(), format!("{prefix}/"))),
        _ => {
            let rule = "expected a prefix of letters, digits, `.`, `_` and `-`, with single slashes";
            Err(Issue::new(rule).found(format!("`{prefix}`")))
        }
    }
}

/// What to write instead of a text that does not begin with `s3://`.
fn meant(text: &str) -> String {
    if let Some(server) = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https")) {
        let server = server.origin().ascii_serialization();
        return format!(
            "the server has a key of its own: `bucket: {{ url: s3://name, endpoint: {server} }}`"
        );
    }
    let path = text.trim_start_matches("s3:").trim_start_matches("s3/").trim_start_matches('/');
    let url = format!("s3://{path}");
    match location(&url) {
        Ok(_) => format!("did you mean `{url}`?"),
        Err(_) => "buckets of all providers are named so; `endpoint` is the server with their S3 interface"
            .to_owned(),
    }
}

fn endpoint(text: &str) -> Result<Url, Issue> {
    let expected = "expected the URL of an S3 server without a path, such as `https://s3.example.com`";
    let url = Url::parse(text).map_err(|_| Issue::new(expected).found(format!("`{text}`")))?;
    if !url.username().is_empty() || url.password().is_some() {
        let issue = Issue::new("the URL of a server must not contain a user name or password");
        return Err(issue.hint("use `access_key_id_file` and `secret_access_key_file`"));
    }
    let is_plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    match matches!(url.scheme(), "http" | "https") && is_plain {
        true => Ok(url),
        false => Err(Issue::new(expected).found(format!("`{text}`"))),
    }
}

fn redirect(text: &str) -> Result<Redirect, Issue> {
    match text {
        "never" => Ok(Redirect::Never),
        "presigned" => Ok(Redirect::Presigned),
        _ if text.contains("://") => public_url::parse(text).map(Redirect::To),
        _ => Err(Issue::new("expected `never`, `presigned` or the URL of a CDN")
            .found(format!("`{text}`"))
            .hint_nearest(text, ["never", "presigned"])),
    }
}
