//! Composer repositories in every form that Composer reads, as the library's client sees them.

use mirror::composer::NamePattern;
use mirror::composer_repository::{Access, ComposerRepository, RemoteVersion};
use mirror::config::{Credential, CredentialScheme, Git, Limits, Secret};
use mirror::util::cancel::CancelFlag;
use mirror::util::digest::{Sha1, Sha256};
use url::Url;

use crate::support::file_server::{Answer, FileServer};

/// What a repository is opened with.
struct Client {
    git: Git,
    limits: Limits,
    cancel: CancelFlag,
    cache: tempfile::TempDir,
}

impl Client {
    fn new() -> Self {
        let second = std::time::Duration::from_secs(1);
        Self {
            git: Git { connect_timeout: second, timeout: 5 * second, ..Git::default() },
            limits: Limits::default(),
            cancel: CancelFlag::default(),
            cache: tempfile::tempdir().unwrap(),
        }
    }

    fn open(&self, url: &str) -> anyhow::Result<ComposerRepository<'_>> {
        let access = Access {
            git: &self.git,
            limits: &self.limits,
            cancel: &self.cancel,
            user_agent: "tests (+https://mirror.example/)".to_owned(),
            cache: Some(self.cache.path().to_owned()),
            deadline: None,
        };
        ComposerRepository::open(&Url::parse(url).unwrap(), access)
    }
}

fn patterns(texts: &[&str]) -> Vec<NamePattern> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// `version` of each listed one.
fn versions(repository: &ComposerRepository<'_>, name: &str) -> Vec<String> {
    let versions = repository.versions(name, true).unwrap();
    assert!(versions.unreadable.is_empty(), "{:?}", versions.unreadable);
    versions.versions.into_iter().map(|version| version.version).collect()
}

fn error<T>(result: anyhow::Result<T>) -> String {
    match result {
        Ok(_) => panic!("it did not fail"),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn every_form_gives_the_same_versions() {
    let server = FileServer::start();
    let (one, two, dev) = (
        r#"{"name": "acme/a", "version": "1.0.0", "dist": {"type": "zip", "url": "https://x.example/1.zip"}}"#,
        r#"{"name": "acme/a", "version": "v2.0.0"}"#,
        r#"{"name": "acme/a", "version": "dev-main"}"#,
    );
    let other = r#"{"name": "acme/b", "version": "1.0.0"}"#;
    let all = format!(
        r#"{{"packages": {{"acme/a": {{"1.0.0": {one}, "dev-main": {dev}, "v2.0.0": {two}}}, "acme/b": {{"1.0.0": {other}}}}}}}"#
    );
    server.write("inline/packages.json", &all);
    server.write("includes/include/all$1.json", &all);
    let sha1 = Sha1::digest(all.as_bytes());
    server.write(
        "includes/packages.json",
        format!(r#"{{"packages": [], "includes": {{"include/all$1.json": {{"sha1": "{sha1}"}}}}}}"#),
    );
    server.write(
        "lazy/packages.json",
        r#"{"packages": [], "metadata-url": "/lazy/p2/%package%.json", "available-packages": ["Acme/A", "acme/b"]}"#,
    );
    let expanded = r#"{"minified": "composer/2.0", "packages": {"acme/a": [{"name": "acme/a", "version": "v2.0.0"}, {"version": "1.0.0", "dist": {"type": "zip", "url": "https://x.example/1.zip"}}]}}"#;
    server.write("lazy/p2/acme/a.json", expanded);
    server.write("lazy/p2/acme/a~dev.json", format!(r#"{{"packages": {{"acme/a": [{dev}]}}}}"#));
    server.write("lazy/p2/acme/b.json", format!(r#"{{"packages": {{"acme/b": [{other}]}}}}"#));
    let listed =
        format!(r#"{{"packages": {{"acme/a": {{"1.0.0": {one}, "dev-main": {dev}, "v2.0.0": {two}}}}}}}"#);
    let listed_b = format!(r#"{{"packages": {{"acme/b": {{"1.0.0": {other}}}}}}}"#);
    let hash = |text: &str| Sha256::digest(text.as_bytes());
    let providers = format!(
        r#"{{"providers": {{"acme/a": {{"sha256": "{}"}}, "acme/b": {{"sha256": "{}"}}}}}}"#,
        hash(&listed),
        hash(&listed_b)
    );
    server.write(&format!("providers/p/all${}.json", hash(&providers)), &providers);
    server.write(&format!("providers/p/acme/a${}.json", hash(&listed)), &listed);
    server.write(&format!("providers/p/acme/b${}.json", hash(&listed_b)), &listed_b);
    server.write(
        "providers/packages.json",
        format!(
            r#"{{"packages": [], "providers-url": "/providers/p/%package%$%hash%.json", "provider-includes": {{"p/all$%hash%.json": {{"sha256": "{}"}}}}}}"#,
            hash(&providers)
        ),
    );
    let client = Client::new();
    let folder = format!("file://{}/", server.path("includes").display());
    let urls = ["inline", "includes/", "lazy", "providers/packages.json"].map(|path| server.url(path));
    for url in urls.iter().chain([&folder]) {
        let repository = client.open(url).unwrap();
        let mut found = versions(&repository, "acme/a");
        found.sort();
        assert_eq!(found, ["1.0.0", "dev-main", "v2.0.0"], "{url}");
        assert!(versions(&repository, "acme/none").is_empty(), "{url}");
        let names: Vec<_> =
            repository.names(&patterns(&["acme/*", "acme/none"])).unwrap().into_iter().collect();
        assert_eq!(names, ["acme/a", "acme/b"], "{url}");
        let stable = repository.versions("acme/a", false).unwrap().versions;
        let one: Vec<&RemoteVersion> = stable.iter().filter(|version| version.dist.is_some()).collect();
        assert_eq!((stable.len(), one[0].normalized.as_str()), (2, "1.0.0.0"), "{url}");
        assert_eq!(one[0].urls(), ["https://x.example/1.zip"], "{url}");
        assert_eq!(one[0].text("name"), Some("acme/a"), "{url}");
    }
}

#[test]
fn unchanged_files_are_not_sent_again() {
    let server = FileServer::start();
    server.write("packages.json", r#"{"metadata-url": "/p2/%package%.json"}"#);
    server.write("p2/acme/a.json", r#"{"packages": {"acme/a": [{"version": "1.0.0"}]}}"#);
    let client = Client::new();
    for first in [true, false] {
        let repository = client.open(&server.url("")).unwrap();
        assert_eq!(repository.versions("acme/a", false).unwrap().versions.len(), 1);
        assert!(repository.versions("acme/b", false).unwrap().versions.is_empty());
        repository.finish().unwrap();
        for request in server.take_requests() {
            let is_conditional = request.headers.contains_key("if-modified-since");
            assert_eq!(is_conditional, !first && request.path != "/p2/acme/b.json", "{request:?}");
            assert_eq!(request.headers["user-agent"], "tests (+https://mirror.example/)");
        }
    }
    // What was kept is used only if the server says so.
    server
        .write("p2/acme/a.json", r#"{"packages": {"acme/a": [{"version": "1.0.0"}, {"version": "1.1.0"}]}}"#);
    server.answer(|_, file| (file.status == 304).then(|| Answer::new(500, "")));
    std::fs::File::options()
        .write(true)
        .open(server.path("p2/acme/a.json"))
        .unwrap()
        .set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    assert!(error(client.open(&server.url(""))).contains("http status 500"));
    server.answer(|_, _| None);
    let repository = client.open(&server.url("")).unwrap();
    assert_eq!(versions(&repository, "acme/a"), ["1.0.0", "1.1.0"]);
}

#[test]
fn feed_of_changes_says_what_to_ask_for() {
    let server = FileServer::start();
    let root = r#"{"metadata-url": "/p2/%package%.json", "metadata-changes-url": "/changes.json"}"#;
    server.write("packages.json", root);
    for name in ["a", "b"] {
        let file = format!(r#"{{"packages": {{"acme/{name}": [{{"version": "1.0.0"}}]}}}}"#);
        server.write(&format!("p2/acme/{name}.json"), file);
    }
    let client = Client::new();
    let cycle = |feed: &'static str| {
        server.answer(move |request, _| request.path.starts_with("/changes").then(|| Answer::new(200, feed)));
        let repository = client.open(&server.url("")).unwrap();
        for name in ["acme/a", "acme/b"] {
            assert_eq!(repository.versions(name, false).unwrap().versions.len(), 1);
        }
        repository.finish().unwrap();
        server.take_paths()
    };
    let resync =
        r#"{"timestamp": 16000000000000, "actions": [{"type": "resync", "package": "*", "time": 1}]}"#;
    let all = |since: &str| {
        let changes = format!("/changes.json?since={since}");
        [changes.as_str(), "/p2/acme/a.json", "/p2/acme/b.json", "/packages.json"].map(str::to_owned)
    };
    let sorted = |mut paths: Vec<String>| {
        paths.sort();
        paths
    };
    assert_eq!(cycle(resync), sorted(all("15850612240000").to_vec()));
    let nothing = r#"{"timestamp": 16000000000001, "actions": []}"#;
    assert_eq!(cycle(nothing), ["/changes.json?since=16000000000000", "/packages.json"]);
    let update =
        r#"{"timestamp": 16000000000002, "actions": [{"type": "update", "package": "acme/b", "time": 1}]}"#;
    assert_eq!(
        cycle(update),
        ["/changes.json?since=16000000000000", "/p2/acme/b.json", "/packages.json"].map(str::to_owned)
    );
    assert_eq!(cycle(resync).len(), 4);
    // Without a usable feed everything is asked for.
    assert_eq!(cycle("<html>login</html>").len(), 4);
}

#[test]
fn answers_that_are_no_repository_are_refused_by_name() {
    let server = FileServer::start();
    let client = Client::new();
    let listed = Sha256::digest(b"other");
    for (text, expected) in [
        ("<html>sign in</html>", "it is a web page, perhaps of a login or a proxy"),
        ("{", "EOF while parsing"),
        (r#"{"packages": 1}"#, "its `packages`"),
        (
            r#"{"packages": [], "includes": {"gone.json": {"sha1": "x"}}}"#,
            "the include `gone.json` is missing",
        ),
        (r#"{"packages": [], "metadata-url": "file:///etc/%package%"}"#, "scheme `file` is not followed"),
    ] {
        server.write("packages.json", text);
        let opened = client.open(&server.url(""));
        let error = error(opened.and_then(|repository| repository.versions("acme/a", false)));
        assert!(error.contains(expected), "{text}: {error}");
    }
    // A file named by its digest has to have it.
    server.write(
        "packages.json",
        format!(r#"{{"packages": [], "providers-url": "/p/%package%.json", "providers": {{"acme/a": {{"sha256": "{listed}"}}}}}}"#),
    );
    server.write("p/acme/a.json", r#"{"packages": {}}"#);
    let repository = client.open(&server.url("")).unwrap();
    assert!(error(repository.versions("acme/a", false)).contains("it has SHA-256"));
    // Composer does not mind an include with another SHA-1, and public mirrors have such.
    server.write("packages.json", r#"{"packages": [], "includes": {"all.json": {"sha1": "0000"}}}"#);
    server
        .write("all.json", r#"{"packages": {"acme/a": {"1.0.0": {"name": "acme/a", "version": "1.0.0"}}}}"#);
    assert_eq!(versions(&client.open(&server.url("")).unwrap(), "acme/a"), ["1.0.0"]);
    server.write("packages.json", " ".repeat(2000));
    let small = Client { limits: Limits { upstream_metadata: 1000, ..Limits::default() }, ..Client::new() };
    assert!(error(small.open(&server.url(""))).contains("`limits.upstream_metadata`"));
}

#[test]
fn archives_are_downloaded_whole_or_not_at_all() {
    let server = FileServer::start();
    server.write("packages.json", r#"{"packages": []}"#);
    server.write("a.zip", "0123456789");
    let client = Client { limits: Limits { archive: 10, ..Limits::default() }, ..Client::new() };
    let repository = client.open(&server.url("")).unwrap();
    let download = |url: &str| {
        let mut bytes = Vec::new();
        repository.download(url, &mut bytes).map(|downloaded| (bytes, downloaded.size))
    };
    assert_eq!(download("/a.zip").unwrap(), (b"0123456789".to_vec(), 10));
    server.answer(|_, file| Some(Answer { cut: Some(5), ..file.clone() }));
    assert!(error(download("/a.zip")).contains("failed to download"));
    server.answer(|_, _| None);
    server.write("a.zip", "01234567890");
    assert!(error(download("/a.zip")).contains("`limits.archive`"));
    assert!(error(download("/b.zip")).contains("http status 404"));
}

#[test]
fn busy_server_is_asked_again_when_it_says() {
    let server = FileServer::start();
    server.write("packages.json", r#"{"packages": {"acme/a": [{"version": "1.0.0"}]}}"#);
    let mut left = 2;
    server.answer(move |_, _| {
        left -= 1;
        let status = if left == 1 { 429 } else { 503 };
        (left >= 0).then(|| Answer::new(status, "").with("Retry-After", "0"))
    });
    assert_eq!(versions(&Client::new().open(&server.url("")).unwrap(), "acme/a"), ["1.0.0"]);
    assert_eq!(server.take_requests().len(), 3);
    server.answer(|_, _| Some(Answer::new(429, "").with("Retry-After", "3600")));
    assert!(error(Client::new().open(&server.url(""))).contains("asks to wait for 3600 s"));
}

/// Credentials are sent to what they are configured for, in their form, and to no other host that the metadata names.
#[test]
fn credentials_reach_the_repository_only() {
    let (server, other) = (FileServer::start(), FileServer::start());
    server.write("packages.json", r#"{"packages": {"acme/a": [{"version": "1.0.0"}]}}"#);
    server.write("a.zip", "archive");
    other.write("a.zip", "archive");
    let secret = || Some(Secret::Value("s3cret".into()));
    let credential = |url: String| Credential { url, password: secret(), ..Credential::default() };
    let basic = credential(server.url(""));
    let bearer = Credential { scheme: CredentialScheme::Bearer, ..basic.clone() };
    let header = Credential { header: Some("Private-Token".into()), ..basic.clone() };
    for (credential, name, value) in [
        (
            Credential { username: Some(Secret::Value("joe".into())), ..basic },
            "authorization",
            "Basic am9lOnMzY3JldA==",
        ),
        (bearer, "authorization", "Bearer s3cret"),
        (header, "private-token", "s3cret"),
    ] {
        let mut client = Client::new();
        client.git.credentials.push(credential);
        let repository = client.open(&server.url("")).unwrap();
        repository.download("/a.zip", &mut Vec::new()).unwrap();
        for request in server.take_requests() {
            assert_eq!(request.headers.get(name).map(String::as_str), Some(value), "{request:?}");
        }
        // A private address is as good as none, unless the operator names it.
        let error = error(repository.download(&other.url("a.zip"), &mut Vec::new()));
        assert!(error.contains("`git.redirects`") || error.contains("private address"), "{error}");
        assert!(other.take_requests().is_empty());
    }
    let mut client = Client::new();
    client.git.credentials.push(credential(server.url("")));
    client.git.redirects.push(other.url(""));
    let repository = client.open(&server.url("")).unwrap();
    repository.download(&other.url("a.zip"), &mut Vec::new()).unwrap();
    let location = other.url("a.zip");
    server.answer(move |request, _| {
        (request.path == "/a.zip").then(|| Answer::new(302, "").with("Location", &location))
    });
    repository.download("/a.zip", &mut Vec::new()).unwrap();
    for request in other.take_requests() {
        assert!(!request.headers.contains_key("authorization"), "{request:?}");
    }
    // Its own credential is the operator's word for the other host.
    let mut client = Client::new();
    client.git.credentials.push(credential(other.url("")));
    client.open(&server.url("")).unwrap().download(&other.url("a.zip"), &mut Vec::new()).unwrap();
    assert!(other.take_requests()[0].headers.contains_key("authorization"));
}

#[test]
fn names_are_looked_up_where_the_repository_lists_them() {
    let server = FileServer::start();
    let client = Client::new();
    server.write("packages.json", r#"{"metadata-url": "/p2/%package%.json"}"#);
    let repository = client.open(&server.url("")).unwrap();
    let names = |repository: &ComposerRepository<'_>, texts: &[&str]| {
        repository.names(&patterns(texts)).map(|names| names.into_iter().collect::<Vec<_>>())
    };
    assert_eq!(names(&repository, &["acme/a"]).unwrap(), ["acme/a"]);
    assert!(error(names(&repository, &["acme/*"])).contains("it does not list its packages"));
    server.write("packages.json", r#"{"metadata-url": "/p2/%package%.json", "list": "/list.json"}"#);
    server.write("list.json", r#"{"packageNames": ["acme/b", "Acme/C", "other/d"]}"#);
    let repository = client.open(&server.url("")).unwrap();
    assert_eq!(names(&repository, &["acme/*"]).unwrap(), ["acme/b", "acme/c"]);
    assert!(server.take_paths().contains(&"/list.json?filter=acme%2F*".to_owned()));
    let limited = r#"{"metadata-url": "/p2/%package%.json", "available-package-patterns": ["acme/*"], "list": "/list.json"}"#;
    server.write("packages.json", limited);
    let repository = client.open(&server.url("")).unwrap();
    assert_eq!(names(&repository, &["other/d", "acme/x"]).unwrap(), ["acme/x"]);
    server.take_requests();
    assert!(repository.versions("other/d", false).unwrap().versions.is_empty());
    assert!(server.take_requests().is_empty(), "it says that it does not have it");
}
