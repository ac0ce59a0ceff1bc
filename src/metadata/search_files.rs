//! The list of package names, the search index and the providers of virtual packages
//! (`ComposerRepository::{loadPackageList, search, getProviders}`).
//!
//! Each is a file with the complete result, which any web server can serve; this mirror's server filters it by the query.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::base_url::BaseUrl;
use super::package_summary::{Newest, Summaries};
use super::pages;
use crate::composer::PackageName;

/// The path of the search index below the base URL.
pub const SEARCH: &str = "search.json";

/// The path of the list of names below the base URL.
pub const LIST: &str = "list.json";

/// The files, by path.
pub(super) fn render(base: &BaseUrl, packages: &Summaries) -> serde_json::Result<BTreeMap<String, Vec<u8>>> {
    let described: BTreeMap<_, _> =
        packages.iter().map(|(name, summary)| (name.as_str(), describe(name, &summary.newest))).collect();
    let names: Vec<_> = described.keys().collect();
    let results = described.iter().map(|(name, description)| {
        let mut result = description.clone();
        result.insert("url".into(), base.join(&pages::package_path(name)).into());
        Value::Object(result)
    });
    let search = json!({ "results": results.collect::<Vec<_>>(), "total": names.len() });
    let mut files = BTreeMap::from([
        (SEARCH.to_owned(), serde_json::to_vec(&search)?),
        (LIST.to_owned(), serde_json::to_vec(&json!({ "packageNames": names }))?),
    ]);
    for (target, providers) in providers(packages) {
        let providers: Vec<_> = providers.iter().filter_map(|name| described.get(name)).collect();
        files.insert(
            format!("providers/{target}.json"),
            serde_json::to_vec(&json!({ "providers": providers }))?,
        );
    }
    Ok(files)
}

/// The keys of packages.json for these files.
pub(super) fn urls(base: &BaseUrl) -> [(&'static str, String); 2] {
    [
        ("search", base.host_relative(&format!("{SEARCH}?q=%query%&type=%type%"))),
        ("list", base.host_relative(LIST)),
    ]
}

/// The template of `providers-api`.
pub(super) fn providers_api(base: &BaseUrl) -> String {
    base.host_relative("providers/%package%.json")
}

/// Whether any version provides another package.
pub(super) fn has_providers(packages: &Summaries) -> bool {
    !providers(packages).is_empty()
}

/// The packages that provide another package in any version, by that package's name.
fn providers(packages: &Summaries) -> BTreeMap<PackageName, Vec<&str>> {
    let mut providers = BTreeMap::<_, Vec<_>>::new();
    for (name, summary) in packages {
        for target in &summary.provides {
            // Platform packages such as `ext-intl` are not looked up.
            let Ok(target) = target.to_lowercase().parse::<PackageName>() else {
                continue;
            };
            let names = providers.entry(target).or_default();
            if names.last() != Some(&name.as_str()) {
                names.push(name.as_str());
            }
        }
    }
    providers
}

fn describe(name: &str, newest: &Newest) -> Map<String, Value> {
    let mut description = Map::from_iter([
        ("name".to_owned(), name.into()),
        ("description".to_owned(), newest.description.as_deref().unwrap_or_default().into()),
        ("type".to_owned(), newest.kind.to_ascii_lowercase().into()),
    ]);
    for (key, value) in [("keywords", &newest.keywords), ("abandoned", &newest.abandoned)] {
        description.extend(value.iter().map(|value| (key.to_owned(), value.clone())));
    }
    description
}
