//! `mirror check`: checks the configuration and the files that it names, and summarizes what it means.
//!
//! A running mirror reads users, secrets and keys when it needs them, so that changes take effect at once. This command reads all
//! of them, so that a missing file is found in advance.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;

use anyhow::ensure;
use jiff::Timestamp;

use super::check_machine;
use super::json_rows;
use super::stdout::Stdout;
use crate::app::cycle_runner::check_not_renamed;
use crate::app::exit::Exit;
use crate::app::{App, Repository};
use crate::config::{Credential, Secret};
use crate::cycle::{self, SourceReport, nothing_released};
use crate::daemon::users_watcher;
use crate::git::{check_private_key, check_url, local_tags};
use crate::net::{read_certificates, redacted};
use crate::recipe::{Recipe, Source};
use crate::server;
use crate::store::{RepositoryStore, Volume};
use crate::util::text::plural;
use crate::yaml::{self, Issue, Report};

/// Broken URLs that an issue names; it counts the rest.
const MAX_LISTED: usize = 3;

/// `path` is where the configuration was searched.
pub(super) fn check(app: &App, path: Option<&Path>) -> anyhow::Result<Exit> {
    let config = &app.config;
    let listen: Vec<_> = config.serve.listen.iter().map(ToString::to_string).collect();
    writeln!(
        Stdout,
        "The configuration is valid. Data in {}, listening on {}.",
        config.data.display(),
        listen.join(", ")
    )?;
    if let Some(name) = &config.site.name {
        let contact = config.site.contact.as_ref();
        let contact = contact.map(|contact| format!(", {contact}")).unwrap_or_default();
        writeln!(Stdout, "Run by {name}{contact}.")?;
    }
    let volume = Volume::open_read_only(&config.data).ok();
    for (repository, configured) in app.repositories.iter().zip(&config.repositories) {
        let store = volume.as_ref().map(|volume| volume.reader(&repository.name));
        let latest = store.as_ref().and_then(|store| store.latest_snapshot().ok()?);
        let history = store.as_ref().map(RepositoryStore::run_history).unwrap_or_default();
        summarize(app, repository, &cycle::Report::last(latest.as_ref(), &history))?;
        if let Some(target) = json_rows::rollback_target(latest.as_ref()) {
            writeln!(Stdout, "{}", json_rows::rollback_line(&repository.name, target))?;
        }
        let renamed = volume.as_ref().and_then(|volume| check_not_renamed(app, volume, repository).err());
        if let Some(error) = renamed {
            writeln!(Stdout, "Warning: {error:#}")?;
        }
        // `only` leaves sources out.
        if configured.only.is_none() {
            warn_unknown_predecessors(&repository.recipe, store.as_ref())?;
        }
    }
    for remark in overlaps(app) {
        writeln!(Stdout, "Note: {remark}.")?;
    }
    let machine = check_machine::warnings(&app.config, path);
    for warning in app.warnings().into_iter().chain(machine) {
        writeln!(Stdout, "Warning: {warning}.")?;
    }
    for prefix in unused_rewrites(app) {
        writeln!(Stdout, "Warning: `git.rewrite` has `{prefix}`, but no URL of a recipe begins with it.")?;
    }
    Ok(Exit::Complete)
}

/// `last` is the report of the last cycle.
fn summarize(app: &App, repository: &Repository, last: &cycle::Report) -> anyhow::Result<()> {
    let schedule = &repository.schedule;
    let follow: Vec<_> = repository.follow.iter().map(|url| redacted(url.as_str())).collect();
    let content = match follow.as_slice() {
        [] if repository.is_imported() => "has what `mirror import` brings".to_owned(),
        [] => plural(repository.recipe.sources.len() + repository.recipe.composer.len(), "source"),
        _ => format!("follows {}", follow.join(", then ")),
    };
    writeln!(Stdout, "Repository {} at {}: {content}.", repository.name, repository.base_url)?;
    let next = match schedule.next_after(Timestamp::now()) {
        Some(time) => time.strftime("%Y-%m-%d %H:%M %Z").to_string(),
        None => "never".to_owned(),
    };
    let is_built = follow.is_empty() && !repository.is_imported();
    let verb = if is_built { "Builds" } else { "Checks" };
    writeln!(Stdout, "  {verb} {}; next: {next}.", schedule.describe())?;
    for source in &repository.recipe.sources {
        let url = app.config.git.rewrite(&source.git);
        writeln!(Stdout, "  {} from {}", source.name, redacted(&url))?;
        for warning in source_warnings(source, &url, last.sources.get(&source.name)) {
            writeln!(Stdout, "    Warning: {warning}.")?;
        }
    }
    for source in &repository.recipe.composer {
        let url = app.config.git.rewrite(&source.url);
        let stands_in = source.stands_in_for.as_ref();
        let when = match source.is_closure() {
            true => format!(", what {} can require", source.closure_of.join(" and ")),
            false => {
                stands_in.map(|source| format!(", while a release of {source} waits")).unwrap_or_default()
            }
        };
        writeln!(Stdout, "  {} from the Composer repository {}{when}", source.name, redacted(&url))?;
        for warning in last.sources.get(&source.name).iter().flat_map(|report| report.warnings()) {
            writeln!(Stdout, "    Warning: {warning}.")?;
        }
    }
    Ok(())
}

/// Warnings about a source, from the last cycle and, for a local repository, from its tags.
fn source_warnings(source: &Source, url: &str, last: Option<&SourceReport>) -> Vec<String> {
    let nothing = match local_tags(url) {
        Ok(Some(tags)) => {
            let is_released = tags.iter().any(|tag| source.tags.admits(tag).is_ok());
            let has_refs = is_released || source.nightly.is_some() || !source.extra_refs.is_empty();
            nothing_released(has_refs, !tags.is_empty())
        }
        _ => last.and_then(SourceReport::nothing_released),
    };
    let unused = last.iter().flat_map(|last| &last.unused);
    nothing.map(str::to_owned).into_iter().chain(unused.cloned()).collect()
}

/// Warns of names in `takes_over` that neither a source of the recipe nor the source of a published release has.
fn warn_unknown_predecessors(recipe: &Recipe, store: Option<&RepositoryStore>) -> anyhow::Result<()> {
    let published: BTreeSet<_> = store.map_or_else(BTreeSet::new, |store| {
        store.ledger(|ledger| ledger.releases().iter().map(|release| release.source.clone()).collect())
    });
    for source in &recipe.sources {
        let is_unknown =
            |name: &&String| recipe.source_names().all(|known| known != **name) && !published.contains(*name);
        for unknown in source.takes_over.iter().filter(is_unknown) {
            let source = &source.name;
            writeln!(
                Stdout,
                "Warning: `takes_over` of the source `{source}` has `{unknown}`, but no source of the recipe has that name."
            )?;
        }
    }
    Ok(())
}

/// Repositories below another one. The path alone decides which one answers, because the Host header does not matter.
fn overlaps(app: &App) -> Vec<String> {
    let all = || app.repositories.iter();
    let pairs = all().flat_map(|outer| all().map(move |inner| (outer, inner)));
    let is_below = |(outer, inner): &(&Repository, &Repository)| {
        let (outer, inner) = (outer.base_url.path(), inner.base_url.path());
        outer != "/" && outer != inner && inner.starts_with(outer)
    };
    let remark = |(outer, inner): (&Repository, &Repository)| {
        let (path, inner, outer) = (inner.base_url.path(), &inner.name, &outer.name);
        format!(
            "the URL of repository {inner} is below that of {outer}: what is below {path} is served by {inner}"
        )
    };
    pairs.filter(is_below).map(remark).collect()
}

/// The prefixes of `git.rewrite` that no URL of any recipe begins with.
fn unused_rewrites(app: &App) -> Vec<&str> {
    let recipes = app.repositories.iter().map(|repository| &repository.recipe);
    let urls: Vec<_> = recipes.flat_map(Recipe::urls).collect();
    let prefixes = app.config.git.rewrite.keys().map(String::as_str);
    prefixes.filter(|prefix| !urls.iter().any(|url| url.starts_with(prefix))).collect()
}

/// Adds an issue for each file that cannot be used, at the key that names it.
pub(super) fn check_files(app: &App, report: &mut Report) {
    let (config, root) = (&app.config, yaml::Path::default());
    add(report, &root.key("data"), check_folder(&config.data));
    for (i, repository) in config.repositories.iter().enumerate() {
        if let Some(file) = &repository.users {
            let at = root.key("repositories").index(i).key("users");
            add(report, &at, users_watcher::read(file).map(drop));
        }
    }
    for (i, repository) in app.repositories.iter().enumerate() {
        let at = root.key("repositories").index(i).key("recipe");
        add(report, &at, check_urls(app, &repository.recipe));
    }
    if let Some(pair) = &config.serve.tls {
        let at = root.key("serve").key("tls");
        add(report, &at, server::check_certificate(pair));
    }
    let git = root.key("git");
    if let Some(file) = &config.git.ca_file {
        let certificates = read_certificates(file).map(drop);
        add(report, &git.key("ca_file"), certificates.map_err(Into::into));
    }
    for (i, credential) in config.git.credentials.iter().enumerate() {
        check_credential(credential, &git.key("credentials").index(i), report);
    }
    if let Some(key) = config.bucket.as_ref().and_then(|bucket| bucket.access_key.as_ref()) {
        let at = root.key("bucket");
        add(report, &at.key("access_key_id_file"), check_secret(&key.id));
        add(report, &at.key("secret_access_key_file"), check_secret(&key.secret));
    }
    for (i, push) in config.push.iter().enumerate() {
        let at = root.key("push").index(i).key("secret_file");
        add(report, &at, check_secret(&push.secret));
    }
}

fn check_credential(credential: &Credential, at: &yaml::Path, report: &mut Report) {
    let file = |path: &Option<_>| path.clone().map(Secret::File);
    for (key, secret) in [
        ("username_file", credential.username.clone()),
        ("password_file", credential.password.clone()),
        ("passphrase_file", credential.passphrase.clone()),
        ("known_hosts_file", file(&credential.known_hosts)),
    ] {
        if let Some(secret) = secret {
            add(report, &at.key(key), check_secret(&secret));
        }
    }
    let key = match credential.passphrase.as_ref().is_none_or(|passphrase| check_secret(passphrase).is_ok()) {
        true => check_private_key(credential).map_err(Into::into),
        // The passphrase cannot be read, so only the file itself is checked.
        false => file(&credential.private_key).map_or(Ok(()), |key| check_secret(&key)),
    };
    add(report, &at.key("private_key_file"), key);
}

fn add(report: &mut Report, at: &yaml::Path, result: anyhow::Result<()>) {
    if let Err(error) = result {
        report.add(at, Issue::from_error(&error));
    }
}

fn check_urls(app: &App, recipe: &Recipe) -> anyhow::Result<()> {
    let urls: BTreeSet<_> = recipe.git_urls().map(|url| app.config.git.rewrite(url)).collect();
    let git = &app.config.git;
    let errors = urls.iter().filter_map(|url| Some((url, check_url(url, git).err()?)));
    let errors: Vec<_> = errors.collect();
    let hint = errors.iter().find_map(|(_, error)| error.hint());
    let hint = hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    let mut broken: Vec<_> =
        errors.iter().map(|(url, error)| format!("`{}`: {error}", redacted(url))).collect();
    let others = broken.len().saturating_sub(MAX_LISTED);
    if others > 0 {
        broken.truncate(MAX_LISTED);
        broken.push(format!("and {others} more"));
    }
    ensure!(broken.is_empty(), "cannot fetch from {}{hint}", broken.join("; "));
    Ok(())
}

/// The data folder may be missing, but must not be a file.
fn check_folder(path: &Path) -> anyhow::Result<()> {
    let is_file = std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_dir());
    ensure!(
        !is_file,
        "`{}` is not a directory but a file\nhint: remove the file, or name another folder",
        path.display()
    );
    Ok(())
}

fn check_secret(secret: &Secret) -> anyhow::Result<()> {
    let is_empty = secret.read()?.is_empty();
    let name = match secret {
        Secret::File(path) => format!("`{}`", path.display()),
        Secret::Value(_) => "its variable".to_owned(),
    };
    ensure!(!is_empty, "{name} is empty");
    Ok(())
}
