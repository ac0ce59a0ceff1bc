//! What a repository flags beside the files of its packages (`filter` in packages.json, `ComposerRepository::getFilter`): a
//! summary of all its lists, or a URL that is asked about packages.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use url::Url;

use super::packages::{FilterEntry, filter_entries};
use super::root::PhpMap;
use super::transport::Transport;
use crate::net::redacted;

/// A list that Composer asks for, whether or not the repository names it.
const MALWARE: &str = "malware";

/// `filter` of packages.json.
#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct FilterInformation {
    summary_url: Option<String>,
    api_url: Option<String>,
    /// By name, each with `enabled`.
    lists: Value,
}

/// The answer of a summary: constraints by list and package.
#[derive(Deserialize)]
struct Summary {
    filter: PhpMap<PhpMap<String>>,
}

/// The answer to a question: entries by list.
#[derive(Deserialize)]
struct Entries {
    filter: Value,
}

/// What is flagged beside the files of packages.
pub struct FilterLists<'r> {
    transport: &'r Transport<'r>,
    form: Form,
}

enum Form {
    Nothing,
    /// Entries by package.
    Summary(BTreeMap<String, Vec<FilterEntry>>),
    /// A URL that is asked about packages and lists.
    Asked(Url, BTreeSet<String>),
}

impl<'r> FilterLists<'r> {
    /// `filter` is that of packages.json. A summary is read now.
    pub(super) fn new(transport: &'r Transport<'r>, filter: Option<&RawValue>) -> anyhow::Result<Self> {
        let form = form(transport, filter).context("its `filter`")?;
        Ok(Self { transport, form })
    }

    /// What is flagged of these packages, by name.
    pub fn of(&self, names: &[String]) -> anyhow::Result<BTreeMap<String, Vec<FilterEntry>>> {
        match &self.form {
            Form::Summary(summary) => {
                let entries = |name: &String| Some((name.clone(), summary.get(name)?.clone()));
                Ok(names.iter().filter_map(entries).collect())
            }
            Form::Asked(url, lists) if !names.is_empty() => self.ask(url, lists, names),
            Form::Asked(..) | Form::Nothing => Ok(BTreeMap::new()),
        }
    }

    /// As `FilterListApiClient` asks.
    fn ask(
        &self,
        url: &Url,
        lists: &BTreeSet<String>,
        names: &[String],
    ) -> anyhow::Result<BTreeMap<String, Vec<FilterEntry>>> {
        let packages: Vec<_> = names.iter().map(|name| format!("pkg://composer/{name}")).collect();
        let question = json!({ "packages": packages, "lists": lists }).to_string();
        let read = |body: &[u8]| Ok(serde_json::from_slice::<Entries>(body)?.filter);
        let filter = self.transport.post(url, question.as_bytes(), read)?;
        let entries = |name: &String| {
            let named = filter_entries(&filter).filter(|(package, _)| package.is_some());
            let of = named
                .filter(|(package, _)| package.is_some_and(|package| package.eq_ignore_ascii_case(name)));
            let entries: Vec<_> = of.map(|(_, entry)| entry).collect();
            (!entries.is_empty()).then(|| (name.clone(), entries))
        };
        Ok(names.iter().filter_map(entries).collect())
    }
}

fn form(transport: &Transport<'_>, filter: Option<&RawValue>) -> anyhow::Result<Form> {
    // As PHP reads it: an empty list, or false, says nothing.
    let Some(filter) = filter.filter(|filter| filter.get().starts_with('{')) else {
        return Ok(Form::Nothing);
    };
    let FilterInformation { summary_url, api_url, lists } = serde_json::from_str(filter.get())?;
    let resolve = |url: Option<String>| {
        url.filter(|url| !url.is_empty()).map(|url| transport.address.resolve(&url)).transpose()
    };
    if let Some(url) = resolve(api_url)? {
        let lists = lists.as_object().into_iter().flatten();
        let enabled = lists.filter(|(_, list)| list["enabled"] == true).map(|(name, _)| name.clone());
        return Ok(Form::Asked(url, enabled.chain([MALWARE.to_owned()]).collect()));
    }
    let Some(url) = resolve(summary_url)? else { return Ok(Form::Nothing) };
    let summary = transport.get(&url, |body| Ok(serde_json::from_slice::<Summary>(body)?))?;
    let summary = summary.with_context(|| format!("`{}` is missing", redacted(url.as_str())))?;
    let mut entries = BTreeMap::<_, Vec<_>>::new();
    for (list, packages) in summary.filter.into_map() {
        for (name, constraint) in packages.into_map() {
            let entry = FilterEntry { list: list.clone(), constraint, reason: None };
            entries.entry(name.to_ascii_lowercase()).or_default().push(entry);
        }
    }
    Ok(Form::Summary(entries))
}
