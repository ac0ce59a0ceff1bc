//! The files that a configuration names, as `mirror check` finds them: each is read as its user reads it.
//!
//! A program that runs reads them when it needs them, so that a rotated secret counts at once; what is missing shows only
//! then. Who checks a configuration wants to know before.

use std::collections::BTreeSet;
use std::io::Write as _;

use jiff::Timestamp;

use super::stdout::Stdout;
use crate::app::App;
use crate::app::exit::Exit;
use crate::config::Secret;
use crate::daemon::users_watcher;
use crate::git::check_url;
use crate::net::{read_certificates, redacted};
use crate::recipe::Recipe;
use crate::server;
use crate::status::plural;
use crate::yaml::{Issue, Path, Report};

/// How many broken URLs are named.
const NAMED: usize = 3;

/// Adds what cannot be used to `report`, each at the key that names it.
pub(super) fn check_files(app: &App, report: &mut Report) {
    let (config, root) = (&app.config, Path::default());
    note(Some(folder(&config.data)), &root.key("data"), report);
    for (i, repository) in config.repositories.iter().enumerate() {
        let read = repository
            .users
            .as_ref()
            .map(|file| users_watcher::read(file).map(drop));
        note(read, &root.key("repositories").index(i).key("users"), report);
    }
    for (i, repository) in app.repositories.iter().enumerate() {
        let at = root.key("repositories").index(i).key("recipe");
        note(Some(urls(app, &repository.recipe)), &at, report);
    }
    let pair = config.serve.tls.as_ref().map(server::check_certificate);
    note(pair, &root.key("serve").key("tls"), report);
    let git = root.key("git");
    let authorities = config.git.ca_file.as_deref().map(read_certificates);
    note(
        authorities.map(|read| Ok(drop(read?))),
        &git.key("ca_file"),
        report,
    );
    for (i, credential) in config.git.credentials.iter().enumerate() {
        let at = git.key("credentials").index(i);
        for (key, secret) in [
            ("username_file", &credential.username),
            ("password_file", &credential.password),
            ("passphrase_file", &credential.passphrase),
        ] {
            note(secret.as_ref().map(filled), &at.key(key), report);
        }
        for (key, file) in [
            ("private_key_file", &credential.private_key),
            ("known_hosts_file", &credential.known_hosts),
        ] {
            let secret = file.clone().map(Secret::File);
            note(secret.as_ref().map(filled), &at.key(key), report);
        }
    }
    for (i, push) in config.push.iter().enumerate() {
        note(
            Some(filled(&push.secret)),
            &root.key("push").index(i).key("secret_file"),
            report,
        );
    }
}

fn note(read: Option<anyhow::Result<()>>, at: &Path, report: &mut Report) {
    if let Some(Err(error)) = read {
        report.add(at, Issue::from_error(&error));
    }
}

/// Whether all URLs of a recipe can be fetched from; names the first that cannot.
fn urls(app: &App, recipe: &Recipe) -> anyhow::Result<()> {
    let urls: BTreeSet<_> = recipe.git_urls().map(|url| app.config.git.rewrite(url)).collect();
    let broken = |url: &String| Some(format!("`{}`: {}", redacted(url), check_url(url).err()?));
    let mut broken: Vec<_> = urls.iter().filter_map(broken).collect();
    let others = broken.len().saturating_sub(NAMED);
    if others > 0 {
        broken.truncate(NAMED);
        broken.push(format!("and {others} more"));
    }
    anyhow::ensure!(
        broken.is_empty(),
        "nothing can be fetched from {}",
        broken.join("; ")
    );
    Ok(())
}

/// Whether what is there, if anything is, can hold the data.
fn folder(data: &std::path::Path) -> anyhow::Result<()> {
    let is_other = std::fs::metadata(data).is_ok_and(|found| !found.is_dir());
    anyhow::ensure!(!is_other, "`{}` is not a directory", data.display());
    Ok(())
}

/// Whether there is a secret.
fn filled(secret: &Secret) -> anyhow::Result<()> {
    let is_empty = secret.read()?.is_empty();
    let named = match secret {
        Secret::File(path) => format!("`{}`", path.display()),
        Secret::Value(_) => "its variable".to_owned(),
    };
    anyhow::ensure!(!is_empty, "{named} is empty");
    Ok(())
}

/// The prefixes of `git.rewrite` that no URL of any recipe begins with.
pub(super) fn unused_rewrites(app: &App) -> Vec<&str> {
    let recipes = app.repositories.iter().map(|repository| &repository.recipe);
    let urls: Vec<_> = recipes.flat_map(Recipe::git_urls).collect();
    let prefixes = app.config.git.rewrite.keys().map(String::as_str);
    prefixes
        .filter(|prefix| !urls.iter().any(|url| url.starts_with(prefix)))
        .collect()
}

/// What the configuration means.
pub(super) fn check(app: &App) -> anyhow::Result<Exit> {
    let mut out = Stdout;
    let config = &app.config;
    let listen: Vec<_> = config.serve.listen.iter().map(ToString::to_string).collect();
    writeln!(
        out,
        "The configuration is valid. Data in {}, listening on {}.",
        config.data.display(),
        listen.join(", ")
    )?;
    if let Some(name) = &config.site.name {
        let contact = config
            .site
            .contact
            .as_deref()
            .map(|c| format!(", {c}"))
            .unwrap_or_default();
        writeln!(out, "Run by {name}{contact}.")?;
    }
    for repository in &app.repositories {
        let schedule = &repository.schedule;
        writeln!(
            out,
            "Repository {} at {}: {}.",
            repository.name,
            repository.base_url,
            plural(repository.recipe.sources.len(), "source")
        )?;
        let next = schedule
            .next_after(Timestamp::now())
            .map_or("never".to_owned(), |t| {
                t.strftime("%Y-%m-%d %H:%M %Z").to_string()
            });
        writeln!(out, "  Builds {}; next: {next}.", schedule.describe())?;
        for source in &repository.recipe.sources {
            writeln!(
                out,
                "  {} from {}",
                source.name,
                redacted(&config.git.rewrite(&source.git))
            )?;
        }
    }
    for prefix in unused_rewrites(app) {
        writeln!(
            out,
            "Warning: `git.rewrite` has `{prefix}`, which no URL of a recipe begins with."
        )?;
    }
    Ok(Exit::Complete)
}
