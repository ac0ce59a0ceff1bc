//! Queries on `search.json` and `list.json` (`ComposerRepository::{search, loadPackageList}`).
//!
//! An empty query gets the whole resource. Unknown parameters are ignored.

use std::borrow::Cow;

use anyhow::Context as _;
use regex::Regex;
use serde::Deserialize;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::content_kind::ContentKind;

/// More words are ignored: a query must not determine how long the response takes.
const MAX_WORDS: usize = 8;

pub(super) enum SearchIndex {
    Search(Vec<SearchEntry>),
    List(Vec<Box<str>>),
}

/// A package, its texts in lower case.
pub(super) struct SearchEntry {
    name: Box<str>,
    text: Box<str>,
    kind: Box<str>,
    /// As JSON.
    result: Box<str>,
}

#[derive(Deserialize)]
struct Search {
    results: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    package_names: Vec<Box<str>>,
}

impl SearchIndex {
    /// Reads a resource; `None` if its kind has no queries.
    pub(super) fn parse(kind: ContentKind, bytes: &[u8]) -> anyhow::Result<Option<Self>> {
        Ok(match kind {
            ContentKind::Search => {
                let Search { results } =
                    serde_json::from_slice(bytes).context("failed to read `search.json`")?;
                Some(Self::Search(results.iter().map(SearchEntry::new).collect()))
            }
            ContentKind::List => {
                let List { package_names } =
                    serde_json::from_slice(bytes).context("failed to read `list.json`")?;
                Some(Self::List(package_names))
            }
            _ => None,
        })
    }

    /// What a query selects; `None` if that is everything.
    pub(super) fn answer(&self, query: &str) -> Option<Vec<u8>> {
        let answer = match self {
            Self::Search(packages) => {
                let found = search(packages, query)?;
                format!(r#"{{"results":[{}],"total":{}}}"#, found.join(","), found.len())
            }
            Self::List(names) => json!({ "packageNames": list(names, query)? }).to_string(),
        };
        Some(answer.into_bytes())
    }
}

impl SearchEntry {
    fn new(result: &Value) -> Self {
        let text = |key: &str| result[key].as_str().unwrap_or_default().to_lowercase();
        let keywords = result["keywords"].as_array().into_iter().flatten();
        let text_of_all = keywords
            .filter_map(Value::as_str)
            .fold(text("description"), |all, word| all + "\n" + &word.to_lowercase());
        Self {
            name: text("name").into(),
            text: text_of_all.into(),
            kind: text("type").into(),
            result: result.to_string().into(),
        }
    }

    /// How well the package matches, 0 is best: its name is the only word, its name has all words, or they are found in
    /// its name and texts; `None` if a word is missing.
    fn rank(&self, words: &[&str]) -> Option<u8> {
        let is_named = |name: &str| {
            self.name.ends_with(name) && {
                let before = &self.name[..self.name.len() - name.len()];
                before.is_empty() || before.ends_with('/')
            }
        };
        if matches!(words, [only] if is_named(only)) {
            Some(0)
        } else if words.iter().all(|word| self.name.contains(word)) {
            Some(1)
        } else {
            let has = |word: &&str| self.name.contains(*word) || self.text.contains(*word);
            words.iter().all(has).then_some(2)
        }
    }
}

/// The packages that have every word, and the type.
fn search<'p>(packages: &'p [SearchEntry], query: &str) -> Option<Vec<&'p str>> {
    let asked = parameter(query, "q").unwrap_or_default().to_lowercase();
    let kind = parameter(query, "type").unwrap_or_default().to_lowercase();
    let mut words: Vec<_> = asked.split_whitespace().take(MAX_WORDS).collect();
    words.sort_unstable();
    words.dedup();
    if words.is_empty() && kind.is_empty() {
        return None;
    }
    let mut found: Vec<_> = packages
        .iter()
        .filter(|package| kind.is_empty() || *package.kind == *kind)
        .filter_map(|package| Some((package.rank(&words)?, package)))
        .collect();
    found.sort_by_key(|(rank, _)| *rank);
    Some(found.into_iter().map(|(_, package)| &*package.result).collect())
}

/// The names of the vendor that match the filter, where `*` stands for any text.
fn list<'n>(names: &'n [Box<str>], query: &str) -> Option<Vec<&'n str>> {
    let value = |name| parameter(query, name).map(|value| value.to_lowercase());
    let vendor = value("vendor").filter(|vendor| !vendor.is_empty());
    let filter = value("filter").filter(|filter| !filter.is_empty());
    if vendor.is_none() && filter.is_none() {
        return None;
    }
    let has_vendor = |name: &str| vendor.is_none() || name.split('/').next() == vendor.as_deref();
    let parts = filter.as_deref().map(|filter| filter.split('*').collect::<Vec<_>>());
    // A filter longer than every name matches none, and is not compiled: it would take as long as its client likes.
    let longest = names.iter().map(|name| name.len()).max().unwrap_or_default();
    if parts.iter().flatten().map(|part| part.len()).sum::<usize>() > longest {
        return Some(Vec::new());
    }
    let pattern = parts.and_then(|parts| Regex::new(&format!("^{}$", join(&parts))).ok());
    let matches = |name: &str| pattern.as_ref().is_none_or(|pattern| pattern.is_match(name));
    let names = names.iter().map(|name| &**name);
    Some(names.filter(|name| has_vendor(name) && matches(name)).collect())
}

/// A regular expression for the parts between stars; several stars mean what one means.
fn join(parts: &[&str]) -> String {
    let escaped =
        parts.iter().enumerate().filter(|(i, part)| !part.is_empty() || *i == 0 || *i + 1 == parts.len());
    escaped.map(|(_, part)| regex::escape(part)).collect::<Vec<_>>().join(".*")
}

/// The last value of a parameter, as in PHP.
fn parameter<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name).last().map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn names(answer: Option<Vec<u8>>) -> Option<Vec<String>> {
        let answer: Value = serde_json::from_slice(&answer?).unwrap();
        let results = answer["results"].as_array();
        if let Some(results) = results {
            assert_eq!(answer["total"], results.len());
        }
        let name = |value: &Value| value["name"].as_str().or(value.as_str()).map(str::to_owned);
        let values = results.or(answer["packageNames"].as_array()).unwrap();
        Some(values.iter().map(|value| name(value).unwrap()).collect())
    }

    #[test]
    fn search_finds_packages_by_words_and_type_best_first() {
        let file = json!({"results": [
            {"name": "acme/module-catalog", "description": "Sells Products", "type": "magento2-module", "keywords": ["Größe"]},
            {"name": "acme/product", "description": "All of the catalog", "type": "metapackage"},
            {"name": "acme/product-community", "type": "metapackage"},
            {"name": "other/catalog", "description": "", "type": "library"},
        ]});
        let index = SearchIndex::parse(ContentKind::Search, file.to_string().as_bytes()).unwrap().unwrap();
        let (module, product, community, other) =
            ("acme/module-catalog", "acme/product", "acme/product-community", "other/catalog");
        for (query, found) in [
            ("q=catalog&type=", &[other, module, product][..]),
            ("q=CATALOG", &[other, module, product]),
            ("q=acme%2Fproduct&type=", &[product, community]),
            ("q=product&type=", &[product, community, module]),
            ("q=product+catalog", &[module, product]),
            ("q=gr%C3%B6%C3%9Fe", &[module]),
            ("q=&type=metapackage", &[product, community]),
            ("q=catalog&type=Metapackage", &[product]),
            ("q=catalog&q=sells", &[module]),
            ("q=nothing", &[]),
            ("q=%ff%fe", &[]),
            ("q=1+2+3+4+5+6+7+8+9", &[]),
        ] {
            assert_eq!(names(index.answer(query)).unwrap(), found, "{query}");
        }
        for everything in ["", "q=", "q=&type=", "q=+%20", "x=y", "&&", "="] {
            assert_eq!(index.answer(everything), None, "{everything}");
        }
    }

    #[test]
    fn list_is_filtered_by_vendor_and_pattern() {
        let file = br#"{"packageNames": ["acme/a", "acme/ab", "acme/b-a", "other/a"]}"#;
        let index = SearchIndex::parse(ContentKind::List, file).unwrap().unwrap();
        for (query, found) in [
            ("filter=acme%2F*", &["acme/a", "acme/ab", "acme/b-a"][..]),
            ("filter=*/a", &["acme/a", "other/a"]),
            ("filter=*a*", &["acme/a", "acme/ab", "acme/b-a", "other/a"]),
            ("filter=*a*b", &["acme/ab"]),
            ("filter=a*a", &["acme/a", "acme/b-a"]),
            ("filter=ACME/A", &["acme/a"]),
            ("filter=acme/a*a", &[]),
            ("filter=acme", &[]),
            ("vendor=acme", &["acme/a", "acme/ab", "acme/b-a"]),
            ("vendor=acme&filter=acme%2Fa*", &["acme/a", "acme/ab"]),
            ("vendor=acm&filter=*", &[]),
            ("filter=**", &["acme/a", "acme/ab", "acme/b-a", "other/a"]),
            ("filter=a***/**b", &["acme/ab"]),
            ("filter=acme/a*acme/a", &[]),
        ] {
            assert_eq!(names(index.answer(query)).unwrap(), found, "{query}");
        }
        for everything in ["", "filter=", "vendor=&filter=", "type=library"] {
            assert_eq!(index.answer(everything), None, "{everything}");
        }
    }

    #[test]
    fn filter_does_not_determine_time_of_list() {
        let names: Vec<_> = (0..5000).map(|name| format!("acme/module-{name}").into_boxed_str()).collect();
        let begun = Instant::now();
        for (part, found) in [("*", 5000), ("a*", 0), ("ac", 0), ("*acme/module-", 0)] {
            let query = format!("filter={}*", part.repeat(7900 / part.len()));
            assert_eq!(list(&names, &query).unwrap().len(), found, "{part}");
        }
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }

    #[test]
    fn malformed_files_are_errors_and_other_kinds_have_no_index() {
        assert!(SearchIndex::parse(ContentKind::Search, b"{}").is_err());
        assert!(SearchIndex::parse(ContentKind::List, b"[]").is_err());
        assert!(SearchIndex::parse(ContentKind::Metadata, b"{}").unwrap().is_none());
    }
}
