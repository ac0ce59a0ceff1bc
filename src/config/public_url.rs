//! The public URLs of repositories: which ones are valid, and which ones can coexist.

use url::Url;

use crate::yaml::Issue;

/// First path segments of a repository's own URLs: another repository below them would hide its files.
const OWN_SEGMENTS: [&str; 17] = [
    "p2",
    "include",
    "packages",
    "packages.json",
    "search.json",
    "list.json",
    "providers",
    "mirror.json",
    "progress.json",
    "ledger.jsonl",
    "follow.json",
    "lastupdate",
    "lastsync",
    "package",
    "pages",
    "project",
    "status.html",
];

/// The URL with a path that ends with `/`, because everything in the repository is below it.
pub(super) fn parse(text: &str) -> Result<Url, Issue> {
    let issue = |rule: &str| Issue::new(rule).found(format!("`{text}`"));
    let expected = "expected an http or https URL such as `https://mirror.example.com/`";
    let mut url = Url::parse(text).map_err(|_| issue(expected))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(issue(expected));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Issue::new("a public URL must not contain a user name or password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(issue("a public URL must not contain a query or fragment"));
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    if url.path().contains('%') || url.path().contains("//") {
        return Err(issue(
            "the path of a public URL must not contain percent-encoded characters or empty segments",
        ));
    }
    if url.path().starts_with("/-/") {
        return Err(issue("the path `/-/` is reserved for health checks and metrics"));
    }
    Ok(url)
}

/// Why `url` cannot coexist with the `earlier` ones.
pub(super) fn collision(url: &Url, earlier: &[Url]) -> Option<Issue> {
    let hides_files = |above: &str, below: &str| {
        let segment = below.strip_prefix(above).and_then(|rest| rest.split('/').next());
        segment.is_some_and(|segment| OWN_SEGMENTS.contains(&segment))
    };
    for other in earlier.iter().map(Url::path) {
        if other == url.path() {
            let issue =
                Issue::new("repositories must have different paths").found(format!("`{}`", url.path()));
            return Some(issue.hint("the path alone selects the repository, whatever the host"));
        }
        if hides_files(other, url.path()) || hides_files(url.path(), other) {
            let issue = Issue::new("the path of a repository is among the files of another one");
            return Some(issue.found(format!("`{}` and `{other}`", url.path())));
        }
    }
    None
}
