//! `mirror status`: what the status page says, from `mirror.json` and `progress.json` of the running server.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::healthcheck::volume_owner;
use super::json_rows;
use super::running_server::{LOCAL, Request, Response};
use super::status_text::StatusText;
use super::stdout::Stdout;
use crate::app::App;
use crate::app::exit::Exit;
use crate::config::Address;
use crate::server::STATUS;
use crate::util::clock::now;

const TIMEOUT: Duration = Duration::from_secs(10);

const MAX_RESPONSE: u64 = 64 << 20;

/// The state of a repository that needs nobody.
const FRESH: &str = "fresh";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Show this repository only
    #[arg(long, value_name = "NAME")]
    repository: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// What the server says about one repository.
struct Repository {
    mirror: Value,
    /// `Null` from a server that does not build.
    progress: Value,
}

impl Repository {
    fn text(&self, key: &str) -> &str {
        self.mirror["repository"][key].as_str().unwrap_or_default()
    }
}

/// Asks the server that runs with the configuration at `path`; `None` if none runs in this container.
pub(super) fn ask_local(path: Option<&Path>, arguments: &Arguments) -> Option<Result<Exit>> {
    let request = Request { path: STATUS, timeout: TIMEOUT, max_response: MAX_RESPONSE };
    let response = request.ask_local(path)?;
    Some(response.and_then(|response| show(local_status(&response)?, arguments)))
}

/// Asks at the configured address.
pub(super) fn ask_configured(app: &App, arguments: &Arguments) -> Result<Exit> {
    let address = app.config.serve.listen.first().context("`serve.listen` names no address")?;
    let owner = volume_owner(app);
    let chosen = app.chosen(arguments.repository.as_deref())?;
    let asked = chosen.into_iter().map(|repository| {
        let base = repository.base_url.path();
        let mirror = document(address, owner, &format!("{base}mirror.json"))?;
        let progress = document(address, owner, &format!("{base}progress.json"))?;
        let mirror =
            mirror.with_context(|| format!("`{address}` serves no repository `{}`", repository.name))?;
        Ok(Repository { mirror, progress: progress.unwrap_or_default() })
    });
    show(asked.collect::<Result<_>>()?, arguments)
}

/// A document of the server at `address`; `None` if it has none.
fn document(address: &Address, owner: Option<u32>, path: &str) -> Result<Option<Value>> {
    let request = Request { path, timeout: TIMEOUT, max_response: MAX_RESPONSE };
    let Response { status, body } = request.ask(address, owner)?;
    match status.as_str() {
        "200" => Ok(Some(parse(&body, &format!("`{address}`"))?)),
        "404" | "503" => Ok(None),
        "401" => bail!(
            "`{path}` is private\nhint: run `mirror status` where the server runs, as its user and with the same `--config`"
        ),
        _ => bail!("`{path}` answers {status}: {body}"),
    }
}

fn local_status(Response { status, body }: &Response) -> Result<Vec<Repository>> {
    ensure!(
        status == "200",
        "{LOCAL} does not tell its status\nhint: run `mirror status` as its user or as root; a server of an older version does not know this command"
    );
    let mut documents: BTreeMap<String, Value> = serde_json::from_value(parse(body, LOCAL)?)?;
    let mirrors: Vec<_> = documents.keys().filter(|path| path.ends_with("/mirror.json")).cloned().collect();
    let repositories = mirrors.into_iter().filter_map(|path| {
        let progress = documents.remove(&path.replace("/mirror.json", "/progress.json"));
        Some(Repository { mirror: documents.remove(&path)?, progress: progress.unwrap_or_default() })
    });
    Ok(repositories.collect())
}

fn parse(body: &str, server: &str) -> Result<Value> {
    serde_json::from_str(body).with_context(|| format!("failed to read the answer of {server}"))
}

fn show(mut repositories: Vec<Repository>, arguments: &Arguments) -> Result<Exit> {
    ensure!(!repositories.is_empty(), "the server has just started and does not know its status yet");
    if let Some(name) = &arguments.repository {
        let all: Vec<_> = repositories.iter().map(|repository| repository.text("name").to_owned()).collect();
        repositories.retain(|repository| repository.text("name") == name);
        let names = all.join(", ");
        ensure!(!repositories.is_empty(), "unknown repository `{name}`\nhint: the repositories are {names}");
    }
    match arguments.json {
        true => {
            let row = |Repository { mirror, progress }: &Repository| json!({ "name": mirror["repository"]["name"], "status": mirror, "progress": progress });
            json_rows::print(&repositories.iter().map(row).collect::<Vec<_>>())?;
        }
        false => {
            for (i, Repository { mirror, progress }) in repositories.iter().enumerate() {
                let separator = if i == 0 { "" } else { "\n" };
                let text = StatusText::new(mirror, progress, now()).render();
                Stdout.write_all(format!("{separator}{text}").as_bytes())?;
            }
        }
    }
    let is_fresh = repositories.iter().all(|repository| repository.text("state") == FRESH);
    Ok(if is_fresh { Exit::Complete } else { Exit::Incomplete })
}
