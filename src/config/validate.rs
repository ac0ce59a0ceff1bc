//! From the document to the configuration: what a type alone cannot say is checked here, every value by itself and
//! all of them together, except for `git`'s. Rules never quote a value; see [`Issue`].

use std::path::Path as FilePath;

use jiff::tz::TimeZone;
use url::Url;

use super::listen_address::Address;
use super::raw::{Document, PushEntry, RepositoryEntry, WebhookEntry};
use super::secret::{LITERAL, LITERAL_HINT};
use super::{BUILT_IN_RECIPES, Config, Git, Hints, Push, RecipeRef, Repository, Secret, Serve, Webhook};
use crate::composer::is_valid_constraint;
use crate::schedule::Schedule;
use crate::yaml::{Issue, Path, Report, nearest};

/// Names in the root of the volume that are not repositories; `STORE` on a file system that ignores case.
const RESERVED_NAMES: [&str; 2] = ["git", "store"];

/// First path segments of a repository's own URLs: another repository below them would hide its files.
const OWN_SEGMENTS: [&str; 16] = [
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
    "lastupdate",
    "lastsync",
    "package",
    "pages",
    "project",
    "status.html",
];

/// The configuration, unless a problem was added to the report. Relative paths start at `folder`.
pub(super) fn resolve(document: Document, folder: &FilePath, report: &mut Report) -> Option<Config> {
    check_limits(&document, report);
    let repositories = repositories(document.repositories, folder, report);
    let git = Git::resolve(document.git, folder, report);
    let notify = webhooks(document.notify, report);
    let push = pushes(document.push, folder, report);
    Some(Config {
        site: document.site,
        serve: serve(document.serve, folder),
        data: folder.join(document.data),
        repositories: repositories?,
        git,
        build: document.build,
        limits: document.limits,
        snapshots: document.snapshots,
        verify: document.verify,
        notify: notify?,
        push,
        log: document.log,
    })
}

fn webhooks(entries: Vec<WebhookEntry>, report: &mut Report) -> Option<Vec<Webhook>> {
    let list = Path::default().key("notify");
    let mut all = Some(Vec::new());
    for (index, entry) in entries.into_iter().enumerate() {
        let url = Url::parse(&entry.url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| Issue::new("expected the address of a webhook, `https://…`"));
        let url = check(url, &list.index(index).key("url"), report);
        all = all.zip(url).map(|(mut all, url)| {
            all.push(Webhook { url, on: entry.on });
            all
        });
    }
    all
}

fn pushes(entries: Vec<PushEntry>, folder: &FilePath, report: &mut Report) -> Vec<Push> {
    let list = Path::default().key("push");
    let mut all = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let at = list.index(index);
        let literal = at.key("secret");
        if entry.secret.is_some() && !report.is_reference(&literal) {
            report.add(&literal, Issue::new(LITERAL).hint(LITERAL_HINT));
            continue;
        }
        let file = entry.secret_file.map(|path| Secret::File(folder.join(path)));
        match (entry.secret.map(|secret| Secret::Value(secret.0)), file) {
            (Some(secret), None) | (None, Some(secret)) => all.push(Push {
                from: entry.from,
                secret,
            }),
            _ if report.is_broken(&at) => {}
            _ => report.add(&at, Issue::new("expected one of `secret` and `secret_file`")),
        }
    }
    all
}

fn serve(mut serve: Serve, folder: &FilePath) -> Serve {
    if let Some(tls) = &mut serve.tls {
        tls.certificate = folder.join(&tls.certificate);
        tls.key = folder.join(&tls.key);
    }
    serve
}

/// hyper refuses to read heads into less; every head of Composer fits.
const MIN_HEADER_SIZE: usize = 8 * 1024;

/// Limits that would let nothing pass, and zero, which libgit2 takes for "no limit".
fn check_limits(document: &Document, report: &mut Report) {
    let serve = Path::default().key("serve");
    let tls = document.serve.tls.as_ref();
    for (path, addresses, hint) in [
        (
            serve.key("listen"),
            Some(&document.serve.listen),
            "there is no TLS without plain HTTP: to keep that inside, bind it to 127.0.0.1:8080 or unix:/path/of/a.socket",
        ),
        (
            serve.key("tls").key("listen"),
            tls.map(|tls| &tls.listen),
            "without `serve.tls` there is no TLS",
        ),
    ] {
        if addresses.is_some_and(Vec::is_empty) && !report.is_broken(&path) {
            report.add(&path, Issue::new("expected at least one address").hint(hint));
        }
    }
    check_listen(document, report);
    let git = Path::default().key("git");
    if document.serve.max_header_size < MIN_HEADER_SIZE {
        report.add(
            &serve.key("max_header_size"),
            Issue::new("expected at least 8KiB"),
        );
    }
    for (path, duration) in [
        (serve.key("header_timeout"), document.serve.header_timeout),
        (serve.key("idle_timeout"), document.serve.idle_timeout),
        (git.key("connect_timeout"), document.git.connect_timeout),
        (git.key("timeout"), document.git.timeout),
    ] {
        if duration.is_zero() {
            report.add(&path, Issue::new("expected more than nothing"));
        }
    }
}

/// That no address is listened on twice, but where the machine chooses the port.
fn check_listen(document: &Document, report: &mut Report) {
    let serve = Path::default().key("serve");
    let mut seen: Vec<(&Address, String)> = Vec::new();
    let tls = document.serve.tls.iter().flat_map(|tls| &tls.listen);
    let all = [
        (serve.key("listen"), document.serve.listen.iter().collect()),
        (serve.key("admin"), document.serve.admin.iter().collect()),
        (serve.key("tls").key("listen"), tls.collect::<Vec<_>>()),
    ];
    for (path, addresses) in all {
        for address in addresses {
            let is_any = matches!(address, Address::Tcp(address) if address.port() == 0);
            match seen.iter().find(|(other, _)| *other == address) {
                Some((_, by)) if !is_any => {
                    let issue = Issue::new(format!("`{by}` has this address already"));
                    report.add(&path, issue.found(format!("`{address}`")));
                }
                _ => seen.push((address, path.to_string())),
            }
        }
    }
}

fn repositories(
    entries: Vec<RepositoryEntry>,
    folder: &FilePath,
    report: &mut Report,
) -> Option<Vec<Repository>> {
    let list = Path::default().key("repositories");
    if entries.is_empty() {
        report.add(&list, Issue::new("expected at least one repository"));
        return None;
    }
    unique_names(&entries, &list, report);
    let mut urls = Vec::new();
    let mut all = Some(Vec::new());
    for (index, entry) in entries.into_iter().enumerate() {
        let at = list.index(index);
        let url = check(base_url(&entry.url), &at.key("url"), report);
        if let Some(url) = &url {
            if let Some(issue) = collision(url, &urls) {
                report.add(&at.key("url"), issue);
            }
            urls.push(url.clone());
        }
        let repository = repository(entry, url, folder, &at, report);
        all = all.zip(repository).map(|(mut all, repository)| {
            all.push(repository);
            all
        });
    }
    all
}

fn repository(
    entry: RepositoryEntry,
    base_url: Option<Url>,
    folder: &FilePath,
    at: &Path,
    report: &mut Report,
) -> Option<Repository> {
    let name = check(repository_name(entry.name), &at.key("name"), report);
    let recipe = check(recipe(&entry.recipe, folder), &at.key("recipe"), report);
    let zone = check(zone(&entry.timezone), &at.key("timezone"), report);
    let schedule = check(schedule(&entry.schedule, zone), &at.key("schedule"), report);
    check_hints(&entry.hints, &at.key("hints"), report);
    if entry.only.as_ref().is_some_and(Vec::is_empty) {
        let issue = Issue::new("expected at least one source");
        report.add(
            &at.key("only"),
            issue.hint("without the key, all sources are taken"),
        );
    }
    Some(Repository {
        name: name?,
        base_url: base_url?,
        recipe: recipe?,
        schedule: schedule?,
        metadata: entry.metadata,
        hints: entry.hints,
        users: entry.users.map(|users| folder.join(users)),
        only: entry.only,
    })
}

/// What Composer could not use breaks the update of everybody who asks.
fn check_hints(hints: &Hints, at: &Path, report: &mut Report) {
    for (index, mirror) in hints.mirrors.iter().enumerate() {
        let url = &mirror.dist_url;
        let is_usable = Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
            && url.contains("%package%")
            && (url.contains("%prettyVersion%") || url.contains("%version%"));
        if !is_usable {
            let issue = Issue::new("expected the URL of an archive").found(quoted(url));
            let hint = "such as `https://mirror.example.com/packages/%package%-%prettyVersion%.%type%`";
            report.add(&at.key("mirrors").index(index).key("dist_url"), issue.hint(hint));
        }
    }
    for (key, messages) in [("warnings", &hints.warnings), ("infos", &hints.infos)] {
        for (index, message) in messages.iter().enumerate() {
            if !is_valid_constraint(&message.versions) {
                let issue = Issue::new("expected a constraint on the version of Composer")
                    .found(quoted(&message.versions));
                report.add(&at.key(key).index(index).key("versions"), issue);
            }
        }
    }
}

/// The value, or its issue in the report.
fn check<T>(value: Result<T, Issue>, at: &Path, report: &mut Report) -> Option<T> {
    value.map_err(|issue| report.add(at, issue)).ok()
}

fn quoted(text: &str) -> String {
    format!("`{text}`")
}

fn repository_name(name: String) -> Result<String, Issue> {
    let first = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    if !first || !name.chars().all(rest) {
        let rule = "expected a name of lower-case letters, digits, `.`, `_` and `-` that begins with a letter or digit";
        return Err(Issue::new(rule).found(quoted(&name)));
    }
    if RESERVED_NAMES.contains(&name.as_str()) {
        let issue = Issue::new("the volume needs this name for itself").found(quoted(&name));
        return Err(issue.hint("choose another name"));
    }
    Ok(name)
}

fn unique_names(entries: &[RepositoryEntry], list: &Path, report: &mut Report) {
    for (index, entry) in entries.iter().enumerate() {
        if entries[..index].iter().any(|earlier| earlier.name == entry.name) {
            let issue = Issue::new("each repository needs a name of its own").found(quoted(&entry.name));
            report.add(&list.index(index).key("name"), issue);
        }
    }
}

/// The public URL; its path ends with `/`, because everything in the repository is below it.
fn base_url(text: &str) -> Result<Url, Issue> {
    let issue = |rule: &str| Issue::new(rule).found(quoted(text));
    let expected = "expected an http or https URL such as `https://mirror.example.com/`";
    let mut url = Url::parse(text).map_err(|_| issue(expected))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(issue(expected));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Issue::new("a public URL holds no user name and no password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(issue("a public URL has no query and no fragment"));
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    if url.path().contains('%') || url.path().contains("//") {
        return Err(issue(
            "the path of a public URL has no character that needs an escape, and no empty part",
        ));
    }
    if url.path().starts_with("/-/") {
        return Err(issue("the path `/-/` belongs to the probes"));
    }
    Ok(url)
}

/// Why `url` cannot stand beside the `earlier` ones.
fn collision(url: &Url, earlier: &[Url]) -> Option<Issue> {
    let own = |above: &str, below: &str| {
        let segment = below.strip_prefix(above).and_then(|rest| rest.split('/').next());
        segment.is_some_and(|segment| OWN_SEGMENTS.contains(&segment))
    };
    for other in earlier.iter().map(Url::path) {
        if other == url.path() {
            let issue = Issue::new("each repository needs a path of its own").found(quoted(url.path()));
            return Some(issue.hint("repositories are told apart by path, whatever their host"));
        }
        if own(other, url.path()) || own(url.path(), other) {
            let rule = "a repository cannot lie among the files of another";
            return Some(Issue::new(rule).found(format!("`{}` and `{other}`", url.path())));
        }
    }
    None
}

fn recipe(text: &str, folder: &FilePath) -> Result<RecipeRef, Issue> {
    if BUILT_IN_RECIPES.contains(&text) {
        return Ok(RecipeRef::BuiltIn(text.to_owned()));
    }
    if text.ends_with(".yaml") || text.ends_with(".yml") {
        return Ok(RecipeRef::File(folder.join(text)));
    }
    let names = BUILT_IN_RECIPES.map(quoted).join(", ");
    let rule = format!("expected a built-in recipe ({names}) or the path of a `.yaml` file");
    let issue = Issue::new(rule).found(quoted(text));
    Err(match nearest(text, BUILT_IN_RECIPES) {
        Some(name) => issue.hint(format!("did you mean `{name}`?")),
        None => issue,
    })
}

fn zone(name: &str) -> Result<TimeZone, Issue> {
    TimeZone::get(name).map_err(|_| {
        let issue = Issue::new("expected an IANA time zone such as `Europe/Berlin`").found(quoted(name));
        let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        match nearest(name, names.iter().map(String::as_str)) {
            Some(near) => issue.hint(format!("did you mean `{near}`?")),
            None => issue,
        }
    })
}

fn schedule(line: &str, zone: Option<TimeZone>) -> Result<Schedule, Issue> {
    let zone = zone.unwrap_or(TimeZone::UTC);
    Schedule::parse(line, zone).map_err(|error| {
        Issue::new(error.rule)
            .found(quoted(&error.found))
            .hint(error.hint)
    })
}
