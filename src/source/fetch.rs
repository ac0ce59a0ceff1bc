//! Brings a clone up to date: lists the remote's refs, picks what is wanted, fetches what is new or moved.
//!
//! Only differing refs are asked for, by name, at depth 1 where the transport can: a package needs its tag's tree and
//! date, never the history, and a repeated shallow fetch of unchanged refs would move everything again. Nothing is
//! written when nothing differs. A local repository is borrowed through `objects/info/alternates`, because libgit2's
//! own local transport packs everything anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use anyhow::{Context as _, bail};
use git2::{AutotagOption, Direction, FetchOptions, Oid, Remote, RemoteCallbacks, Repository};

use super::EXTRA;

/// How to fetch.
#[derive(Debug, Clone)]
pub struct Settings {
    pub connect_timeout: Duration,
    /// The longest time without progress.
    pub timeout: Duration,
    /// Fetch trees without history.
    pub shallow: bool,
}

/// A commit or ref that is released as if it bore a tag.
#[derive(Debug, Clone)]
pub struct ExtraRef {
    /// A commit's id or the full name of a ref.
    pub reference: String,
    /// The tag that it stands for.
    pub version: String,
}

/// What a fetch changed, by the refs' names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fetched {
    pub new: Vec<String>,
    pub moved: Vec<String>,
    pub deleted: Vec<String>,
    pub unchanged: usize,
    pub received_bytes: usize,
}

/// Sets libgit2 up for this process: timeouts, reading speed, bounded mappings, the transport for HTTP.
pub fn init(settings: &Settings) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let millis = |time: Duration| i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: these write libgit2's global options, and `Once` keeps every other use of git2 behind this call.
        unsafe {
            let _ = git2::opts::set_server_connect_timeout_in_milliseconds(millis(settings.connect_timeout));
            let _ = git2::opts::set_server_timeout_in_milliseconds(millis(settings.timeout));
            // Bounds what packs take of a container's memory.
            let _ = git2::opts::set_mwindow_mapped_limit(64 << 20);
            // A source on this machine may belong to another user: only its objects are read.
            let _ = git2::opts::set_verify_owner_validation(false);
        }
        // Twice the speed; what is read is hashed into the ledger's own digests.
        git2::opts::strict_hash_verification(false);
        super::http::register(settings);
    });
}

/// Fetches into the clone at `folder` the tags that `wanted` picks, and the extra refs.
///
/// # Errors
/// A source that cannot be reached or read, or that lacks an extra ref. The refs of the clone then stay as they were.
pub fn fetch(
    folder: &Path,
    url: &str,
    wanted: &dyn Fn(&str) -> bool,
    extra: &[ExtraRef],
    settings: &Settings,
) -> anyhow::Result<Fetched> {
    let repository = open_or_create(folder)?;
    let local = local_path(url);
    if let Some(path) = &local {
        borrow_objects(&repository, path)?;
    }
    let mut remote = repository
        .remote_anonymous(url)
        .with_context(|| format!("`{}` is no URL of a git repository", redacted(url)))?;
    let advertised = list(&mut remote, url)?;
    let mut targets = BTreeMap::new();
    for (name, id) in &advertised {
        if name
            .strip_prefix("refs/tags/")
            .is_some_and(|tag| !tag.ends_with("^{}") && wanted(tag))
        {
            targets.insert(name.clone(), (name.clone(), *id));
        }
    }
    for wish in extra {
        if advertised
            .iter()
            .any(|(name, _)| *name == format!("refs/tags/{}", wish.version))
        {
            bail!(
                "extra ref `{}` stands for tag `{}`, but the repository has that tag now\nhint: remove it from the recipe's extra_refs",
                wish.reference,
                wish.version
            );
        }
        let found = advertised
            .iter()
            .find(|(name, id)| *name == wish.reference || id.to_string() == wish.reference);
        let (asked, id) = match (found, Oid::from_str(&wish.reference)) {
            (Some((name, id)), _) => (name.clone(), *id),
            (None, Ok(id)) if wish.reference.len() == 40 => (wish.reference.clone(), id),
            _ => bail!(
                "extra ref `{}` (for version {}) is not in the repository",
                wish.reference,
                wish.version
            ),
        };
        targets.insert(format!("{EXTRA}{}", wish.version), (asked, id));
    }

    let mut fetched = Fetched::default();
    let mut refspecs = Vec::new();
    for (name, (asked, id)) in &targets {
        match repository.refname_to_id(name) {
            Ok(known) if known == *id => {
                fetched.unchanged += 1;
                continue;
            }
            Ok(_) => fetched.moved.push(name.clone()),
            Err(_) => fetched.new.push(name.clone()),
        }
        refspecs.push(format!("+{asked}:{name}"));
    }
    if local.is_some() {
        // The objects are there already through the alternates: only refs are written.
        for name in fetched.new.iter().chain(&fetched.moved) {
            let (_, id) = &targets[name];
            repository.reference(name, *id, true, "fetch").with_context(|| {
                format!(
                    "`{}` names {id} as `{name}`, but has no such object",
                    redacted(url)
                )
            })?;
        }
    } else if !refspecs.is_empty() {
        fetched.received_bytes = download(&mut remote, &refspecs, settings)
            .with_context(|| format!("failed to fetch {} refs from `{}`", refspecs.len(), redacted(url)))?;
        for name in targets.keys() {
            if repository.refname_to_id(name).is_err() {
                bail!("`{}` did not send `{name}`", redacted(url));
            }
        }
    }
    fetched.deleted = delete_others(&repository, &targets)?;
    Ok(fetched)
}

fn list(remote: &mut Remote<'_>, url: &str) -> anyhow::Result<Vec<(String, Oid)>> {
    let failed = || format!("failed to list the refs of `{}`", redacted(url));
    let mut proxy = git2::ProxyOptions::new();
    proxy.auto();
    let connection = remote
        .connect_auth(Direction::Fetch, None, Some(proxy))
        .with_context(failed)?;
    let heads = connection.list().with_context(failed)?;
    Ok(heads
        .iter()
        .map(|head| {
            (
                String::from_utf8_lossy(head.name().as_bytes()).into_owned(),
                head.oid(),
            )
        })
        .collect())
}

fn download(remote: &mut Remote<'_>, refspecs: &[String], settings: &Settings) -> anyhow::Result<usize> {
    let mut options = FetchOptions::new();
    let mut proxy = git2::ProxyOptions::new();
    proxy.auto();
    options
        .proxy_options(proxy)
        .download_tags(AutotagOption::None)
        .update_fetchhead(false);
    if settings.shallow {
        options.depth(1);
    }
    options.remote_callbacks(RemoteCallbacks::new());
    remote.fetch(refspecs, Some(&mut options), None)?;
    Ok(remote.stats().received_bytes())
}

fn delete_others(
    repository: &Repository,
    targets: &BTreeMap<String, (String, Oid)>,
) -> anyhow::Result<Vec<String>> {
    let mut deleted = Vec::new();
    for reference in repository
        .references()
        .context("failed to list the refs of the clone")?
    {
        let mut reference = reference.context("failed to read a ref of the clone")?;
        let name = String::from_utf8_lossy(reference.name_bytes()).into_owned();
        if !targets.contains_key(&name) {
            reference
                .delete()
                .with_context(|| format!("failed to delete `{name}` from the clone"))?;
            deleted.push(name);
        }
    }
    Ok(deleted)
}

fn open_or_create(folder: &Path) -> anyhow::Result<Repository> {
    if let Ok(repository) = Repository::open_bare(folder) {
        return Ok(repository);
    }
    if folder.exists() {
        tracing::warn!(folder = %folder.display(), "not a usable clone: made anew");
        fs::remove_dir_all(folder).with_context(|| format!("failed to remove `{}`", folder.display()))?;
    }
    Repository::init_bare(folder)
        .with_context(|| format!("failed to create the clone `{}`", folder.display()))
}

/// The folder that a `file://` URL or a plain path names.
fn local_path(url: &str) -> Option<PathBuf> {
    match url.strip_prefix("file://") {
        Some(path) => Some(PathBuf::from(
            percent_encoding::percent_decode_str(path)
                .decode_utf8_lossy()
                .into_owned(),
        )),
        None => url.starts_with('/').then(|| PathBuf::from(url)),
    }
}

/// Points the clone's alternates at the object database of a repository on this machine.
fn borrow_objects(repository: &Repository, source: &Path) -> anyhow::Result<()> {
    let found = Repository::open(source)
        .with_context(|| format!("`{}` is not a git repository", source.display()))?;
    let objects = fs::canonicalize(found.commondir().join("objects"))
        .with_context(|| format!("`{}` has no objects", source.display()))?;
    let alternates = repository.path().join("objects/info/alternates");
    let line = format!("{}\n", objects.display());
    if fs::read_to_string(&alternates).is_ok_and(|there| there == line) {
        return Ok(());
    }
    fs::write(&alternates, line).with_context(|| format!("failed to write `{}`", alternates.display()))?;
    repository
        .odb()
        .and_then(|odb| odb.refresh())
        .context("failed to read the borrowed objects")
}

/// A URL without its password.
pub fn redacted(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut parsed) if parsed.password().is_some() => {
            let _ = parsed.set_password(Some("***"));
            parsed.into()
        }
        _ => url.to_owned(),
    }
}
