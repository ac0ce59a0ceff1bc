//! Configurations as people write them, and the messages about broken ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mirror::config::{
    Config, LoadError, LogFormat, RecipeRef, RepositoryContent, Secret, json_schema, load_from, parse,
};

fn environment(name: &str) -> Option<String> {
    match name {
        "HOST" => Some("mirror.example.org".into()),
        "GIT_TOKEN" => Some("t0psecret".into()),
        "BAD_URL" => Some("ftp://t0psecret/".into()),
        _ => None,
    }
}

fn config(text: &str) -> Config {
    match parse(Path::new("/etc/mirror/mirror.yaml"), text, &environment) {
        Ok((config, _)) => config,
        Err(problems) => panic!("{problems}"),
    }
}

fn problems(text: &str) -> String {
    parse(Path::new("mirror.yaml"), text, &environment).expect_err("a broken configuration").to_string()
}

const MAGENTO: &str = "repositories: [{name: magento, url: 'https://example.com/', recipe: magento}]\n";

/// A valid configuration with a section added.
fn with(section: &str) -> String {
    format!("{MAGENTO}{section}")
}

/// A repository in a list of its own, with some keys added.
fn repository(keys: &str) -> String {
    format!("repositories:\n- name: magento\n  url: https://example.com/\n  recipe: magento\n{keys}")
}

#[test]
fn examples_are_valid() {
    for name in ["minimal.yaml", "mirror.yaml"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
        let loaded = load_from(Some(&file), Path::new("/nonexistent"), &environment);
        assert_eq!(loaded.expect(name).config.repositories[0].name, "magento");
    }
}

#[test]
fn commented_values_of_the_example_are_the_defaults() {
    let text = include_str!("../../../examples/mirror.yaml");
    let commented = regex::Regex::new("(?m)^  # ([a-z_]+: )").unwrap();
    assert_eq!(commented.find_iter(text).count(), 40);
    let spelt_out = config(&commented.replace_all(text, "  $1"));
    let left_out = config(text);
    assert_eq!(format!("{spelt_out:?}"), format!("{left_out:?}"));
}

#[test]
fn all_keys_but_repositories_have_defaults() {
    let config = config(MAGENTO);
    let repository = &config.repositories[0];
    assert_eq!(config.data, PathBuf::from("/data"));
    assert_eq!(config.serve.listen, ["[::]:8080".parse().unwrap()]);
    assert_eq!(config.serve.idle_timeout, Duration::from_secs(75));
    assert_eq!(config.git.timeout, Duration::from_secs(60));
    assert!(config.git.shallow);
    assert!((1..=4).contains(&config.build.workers().get()));
    assert_eq!(config.log.format, LogFormat::Auto);
    assert_eq!(repository.content, RepositoryContent::Recipe(RecipeRef::BuiltIn("magento".into())));
    assert_eq!(repository.schedule.describe(), "at 03:17 (UTC)");
    assert_eq!(repository.only, None);
}

#[test]
fn relative_paths_units_and_defaults_are_resolved() {
    let config = config(
        "data: ../data\n\
         serve: {listen: ['127.0.0.1:1', '[::1]:2'], drain: 1m30s, max_header_size: 64KiB}\n\
         repositories:\n\
         - {name: one, url: 'https://${HOST}/sub', recipe: ./my.yaml, only: [inventory]}\n\
         - {name: two, url: 'http://localhost:8080', recipe: /recipes/two.yml, schedule: '@hourly', timezone: Europe/Berlin}\n",
    );
    assert_eq!(config.data, PathBuf::from("/etc/mirror/../data"));
    assert_eq!(config.serve.listen.len(), 2);
    assert_eq!(config.serve.drain, Duration::from_secs(90));
    assert_eq!(config.serve.max_header_size, 65536);
    let [one, two] = config.repositories.as_slice() else { panic!("two repositories") };
    assert_eq!(one.base_url.as_str(), "https://mirror.example.org/sub/");
    assert_eq!(one.content, RepositoryContent::Recipe(RecipeRef::File("/etc/mirror/./my.yaml".into())));
    assert_eq!(one.only.as_deref(), Some(&["inventory".to_owned()][..]));
    assert_eq!(two.base_url.as_str(), "http://localhost:8080/");
    assert_eq!(two.content, RepositoryContent::Recipe(RecipeRef::File("/recipes/two.yml".into())));
    assert_eq!(two.schedule.to_string(), "@hourly");
}

#[test]
fn longest_prefix_is_rewritten() {
    let git = config(&with(
        "git: {rewrite: {'https://github.com/': 'https://git.local/', 'https://github.com/mage-os/': 'file:///srv/git/'}}",
    ))
    .git;
    assert_eq!(git.rewrite("https://github.com/mage-os/inventory.git"), "file:///srv/git/inventory.git");
    assert_eq!(git.rewrite("https://github.com/composer/composer"), "https://git.local/composer/composer");
    assert_eq!(git.rewrite("https://gitlab.com/a/b"), "https://gitlab.com/a/b");
}

#[test]
fn credentials_are_references_and_never_printed() {
    let config = config(&with(
        "git:\n  credentials:\n  \
         - {url: 'https://git.local', username: ci, password: '${GIT_TOKEN}'}\n  \
         - {url: 'https://git.local/team/', password_file: token}\n  \
         - {url: 'git@git.local:', private_key_file: /run/key}\n",
    ));
    let [named, team, key] = &config.git.credentials[..] else { panic!("three") };
    assert_eq!(named.password.as_ref().unwrap().read().unwrap(), "t0psecret");
    assert!(matches!(&team.password, Some(Secret::File(file)) if file == Path::new("/etc/mirror/token")));
    assert_eq!(key.private_key.as_deref(), Some(Path::new("/run/key")));
    assert!(!format!("{config:?}").contains("t0psecret"));
}

#[test]
fn webhook_secrets_are_references() {
    let config =
        config(&with("push: [{from: github, secret: '${GIT_TOKEN}'}, {from: gitlab, secret_file: token}]\n"));
    assert_eq!(config.push[0].secret.read().unwrap(), "t0psecret");
    assert!(matches!(&config.push[1].secret, Secret::File(file) if file == Path::new("/etc/mirror/token")));
    assert!(!format!("{config:?}").contains("t0psecret"));
    let literal = problems(&with("push: [{from: github, secret: hunter2}]\n"));
    assert!(
        literal.contains("push[0].secret: a secret must not stand in the file")
            && !literal.contains("hunter2"),
        "{literal}"
    );
    for keys in ["", ", secret: '${GIT_TOKEN}', secret_file: token"] {
        let problem = problems(&with(&format!("push: [{{from: gitlab{keys}}}]\n")));
        assert!(problem.contains("push[0]: expected one of `secret` and `secret_file`"), "{problem}");
    }
}

#[test]
fn line_end_of_a_secret_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    fs::write(&path, "t0p secret\r\n").unwrap();
    for secret in [Secret::File(path), Secret::Value("t0p secret\r\n".into())] {
        assert_eq!(secret.read().unwrap(), "t0p secret");
    }
    let missing = Secret::File("/nonexistent/token".into()).read().unwrap_err();
    assert_eq!(missing.to_string(), "failed to read `/nonexistent/token`");
}

#[test]
fn configuration_file_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let load = |named: Option<&Path>, usual: &Path| load_from(named, usual, &environment);

    for usual in [nowhere.as_path(), folder.path()] {
        assert!(load(None, usual).unwrap_err().is_absent());
    }
    assert!(matches!(load(Some(&nowhere), folder.path()), Err(LoadError::Unreadable { .. })));
    assert!(matches!(load(Some(folder.path()), &nowhere), Err(LoadError::Missing { .. })));
    // A mounted folder with another file is a mistake, not a trial.
    let other = folder.path().join("config.yaml");
    fs::write(&other, MAGENTO).unwrap();
    let error = load(None, folder.path()).unwrap_err();
    assert!(!error.is_absent() && error.to_string().contains(", which has `config.yaml`\nhint: "), "{error}");
    fs::remove_file(other).unwrap();

    let yml = folder.path().join("mirror.yml");
    fs::write(&yml, MAGENTO).unwrap();
    assert_eq!(load(None, folder.path()).unwrap().file, Some(yml.clone()));
    assert_eq!(load(Some(folder.path()), &nowhere).unwrap().file, Some(yml.clone()));
    assert_eq!(load(Some(&yml), &nowhere).unwrap().file, Some(yml));

    std::os::unix::fs::symlink(&nowhere, folder.path().join("mirror.yaml")).unwrap();
    assert!(matches!(load(None, folder.path()), Err(LoadError::Unreadable { .. })), "not a trial");
}

/// Each configuration and the whole report about it.
fn assert_reports<const N: usize>(cases: [(String, &str); N]) {
    for (text, expected) in cases {
        assert_eq!(problems(&text), expected, "{text}");
    }
}

#[test]
fn mistakes_in_keys_have_messages() {
    assert_reports([
        (with("serv: {drain: 30s}\n"), "mirror.yaml:2:1: serv: unknown key\n  hint: did you mean `serve`?"),
        (
            repository("  shedule: '@daily'\n"),
            "mirror.yaml:5:3: repositories[0].shedule: unknown key\n  hint: did you mean `schedule`?",
        ),
        (
            repository("  recipe: magento\n"),
            "mirror.yaml:5:3: repositories[0].recipe: duplicate key, first set at line 4\n  hint: keep one of the two",
        ),
        (
            "# nothing yet\n".into(),
            "mirror.yaml:1:1: the document is empty\n  hint: begin with `repositories: [{ name: magento, url: 'http://localhost:8080/', recipe: magento }]`",
        ),
        ("data: /data\n".into(), "mirror.yaml:1:1: the key `repositories` is missing"),
        ("repositories: []\n".into(), "mirror.yaml:1:15: repositories: expected at least one repository"),
        (
            "repositories:\n- url: https://example.com/\n".into(),
            "mirror.yaml:2:3: repositories[0]: the key `name` is missing\nmirror.yaml:2:3: repositories[0]: expected `recipe`, `follow` or `import`",
        ),
    ]);
}

#[test]
fn mistakes_in_types_have_messages() {
    assert_reports([
        (
            with("serve: {listen: 8080}\n"),
            "mirror.yaml:2:17: serve.listen: expected an address and a port, such as [::]:8080 or 127.0.0.1:8080, or unix:/path/of/a.socket, found the number 8080",
        ),
        (
            with("serve: {listen: ['[::]:8080', localhost]}\n"),
            "mirror.yaml:2:31: serve.listen[1]: expected an address and a port, such as [::]:8080 or 127.0.0.1:8080, or unix:/path/of/a.socket, found `localhost`",
        ),
        (
            with("serve: {listen: []}\n"),
            "mirror.yaml:2:17: serve.listen: expected at least one address\n  hint: plain HTTP is always on; to keep it private, bind it to 127.0.0.1:8080 or unix:/path/of/a.socket",
        ),
        (
            with("serve: {listen: 'unix:/a.sock,mode=9'}\n"),
            "mirror.yaml:2:17: serve.listen: expected the mode of a Unix socket in octal, such as 0660, found `9`",
        ),
        (
            with("serve: {listen: 'unix:/a.sock,owner=me'}\n"),
            "mirror.yaml:2:17: serve.listen: expected mode=0660 or group=NAME after the path of a Unix socket, found `owner=me`",
        ),
        (
            with("serve: {listen: ['unix:/a.sock', 'unix:/a.sock,mode=0600']}\n"),
            "mirror.yaml:2:17: serve.listen: `serve.listen` already has this address, found `unix:/a.sock,mode=0600`",
        ),
        (
            with("serve: {trusted_proxies: [10.0.0.0/8, proxy]}\n"),
            "mirror.yaml:2:39: serve.trusted_proxies[1]: expected a network or an address, such as 10.0.0.0/8 or 2001:db8::1, or unix: for Unix sockets, found `proxy`",
        ),
        (
            with("serve: {tls: {listen: [], certificate: c, key: k}}\n"),
            "mirror.yaml:2:23: serve.tls.listen: expected at least one address\n  hint: remove `serve.tls` to turn TLS off",
        ),
        (
            with("serve: {acme: {directory: stagging}}\n"),
            "mirror.yaml:2:27: serve.acme.directory: expected `production`, `staging` or the https URL of an ACME server's directory, found `stagging`",
        ),
        (
            with("serve: {acme: {hosts: ['*.example.com']}}\n"),
            "mirror.yaml:2:24: serve.acme.hosts[0]: a wildcard cannot be proven by a file on a web server, found `*.example.com`\n  hint: name each host",
        ),
        (
            with("serve: {acme: {hosts: ['https://example.com/']}}\n"),
            "mirror.yaml:2:24: serve.acme.hosts[0]: expected a host name in lower case, such as `mirror.example.com`, found `https://example.com/`",
        ),
        (
            with("serve: {acme: {}}\n").replace("https://", "http://"),
            "mirror.yaml:2:15: serve.acme: there is no host name to get a certificate for\n  hint: set the `url` of a repository to `https://…`, or set `hosts`",
        ),
        (
            with(
                "serve: {acme: {hosts: [a.example.com]}, tls: {certificate: c, key: k, listen: '[::]:9443'}}\n",
            ),
            "mirror.yaml:2:15: serve.acme: `serve.tls` has a certificate already\n  hint: remove one of the two",
        ),
        (
            with("data: 7\n"),
            "mirror.yaml:2:7: data: expected a string, found the number 7\n  hint: put it in quotes",
        ),
        (
            with("log: {level: verbose}\n"),
            "mirror.yaml:2:14: log.level: expected one of `error`, `warn`, `info`, `debug`, `trace`, found `verbose`",
        ),
        (
            with("git: {shallow: no}\n"),
            "mirror.yaml:2:16: git.shallow: expected true or false, found `no`\n  hint: write false",
        ),
        (
            with("build: {workers: 0}\n"),
            "mirror.yaml:2:18: build.workers: expected a whole number above 0, found the number 0",
        ),
        (
            with("serve:\n"),
            "mirror.yaml:2:6: serve: expected a mapping, found nothing\n  hint: give it a value or remove the key",
        ),
    ]);
}

#[test]
fn mistakes_in_units_have_messages() {
    assert_reports([
        (
            with("serve: {drain: 30}\n"),
            "mirror.yaml:2:16: serve.drain: expected a duration with its unit, such as 30s or 1h30m, found the number 30\n  hint: write 30s; the units are d, h, m, s, ms",
        ),
        (
            with("serve: {drain: 30 secs}\n"),
            "mirror.yaml:2:16: serve.drain: expected a duration with its unit, such as 30s or 1h30m, found `30 secs`",
        ),
        (
            with("serve: {max_header_size: 16}\n"),
            "mirror.yaml:2:26: serve.max_header_size: expected a size with its unit, such as 64MiB, found the number 16\n  hint: write 16MiB; the units are GiB, MiB, KiB, GB, MB, kB, B",
        ),
        (
            with("serve: {max_header_size: 1KiB, idle_timeout: 0s}\n"),
            "mirror.yaml:2:26: serve.max_header_size: expected at least 8KiB\nmirror.yaml:2:46: serve.idle_timeout: expected a duration above zero",
        ),
        (
            with("limits: {cycle_memory: 1MiB, cycle_deadline: 0s}\n"),
            "mirror.yaml:2:24: limits.cycle_memory: expected at least 64MiB\nmirror.yaml:2:46: limits.cycle_deadline: expected a duration above zero",
        ),
        (
            with("limits: {source_deadline: 0s}\n"),
            "mirror.yaml:2:27: limits.source_deadline: expected a duration above zero",
        ),
        (
            with("limits: {cycle_memory: 256}\n"),
            "mirror.yaml:2:24: limits.cycle_memory: expected a size with its unit, such as 64MiB, found the number 256\n  hint: write 256MiB; the units are GiB, MiB, KiB, GB, MB, kB, B",
        ),
        (
            with("serve: {listen: ['127.0.0.1:80', '127.0.0.1:0', '127.0.0.1:0'], admin: '127.0.0.1:80'}\n"),
            "mirror.yaml:2:72: serve.admin: `serve.listen` already has this address, found `127.0.0.1:80`",
        ),
    ]);
}

#[test]
fn mistakes_in_buckets_have_messages() {
    let bucket = |keys: &str| with(&format!("bucket: {{{keys}}}\n"));
    assert_reports([
        (bucket("region: eu"), "mirror.yaml:2:9: bucket: the key `url` is missing"),
        (
            bucket("url: 'https://s3.example.com/packages'"),
            "mirror.yaml:2:15: bucket.url: expected the URL of a bucket: `s3://name` or `s3://name/prefix`, found `https://s3.example.com/packages`\n  hint: the server has a key of its own: `bucket: { url: s3://name, endpoint: https://s3.example.com }`",
        ),
        (
            bucket("url: 's3://Packages/a'"),
            "mirror.yaml:2:15: bucket.url: expected the name of a bucket: 3 to 63 lower-case letters, digits, `.`, `-` and `_`, found `Packages`",
        ),
        (
            bucket("url: 's3://packages/a//b'"),
            "mirror.yaml:2:15: bucket.url: expected a prefix of letters, digits, `.`, `_` and `-`, with single slashes, found `a//b`",
        ),
        (
            bucket("url: 's3://packages', endpoint: 'https://key@s3.example.com'"),
            "mirror.yaml:2:42: bucket.endpoint: the URL of a server must not contain a user name or password\n  hint: use `access_key_id_file` and `secret_access_key_file`",
        ),
        (
            bucket("url: 's3://packages', endpoint: 'https://s3.example.com/packages'"),
            "mirror.yaml:2:42: bucket.endpoint: expected the URL of an S3 server without a path, such as `https://s3.example.com`, found `https://s3.example.com/packages`",
        ),
        (
            bucket("url: 's3://packages', access_key_id: mine, secret_access_key_file: secret"),
            "mirror.yaml:2:47: bucket.access_key_id: a secret must not stand in the file\n  hint: use the key that ends in `_file`, or a reference such as `${SECRET}`",
        ),
        (
            bucket("url: 's3://packages', access_key_id_file: id"),
            "mirror.yaml:2:9: bucket: an access key has an id and a secret: set both, or none of them\n  hint: without a key, the environment or the cloud gives one",
        ),
        (
            bucket("url: 's3://packages', redirect: presined"),
            "mirror.yaml:2:42: bucket.redirect: expected `never`, `presigned` or the URL of a CDN, found `presined`\n  hint: did you mean `presigned`?",
        ),
    ]);
}

#[test]
fn bucket_can_be_written_as_its_url_alone() {
    let bucket = |text: &str| format!("{:?}", config(&with(text)).bucket.unwrap());
    let short = bucket("bucket: s3://packages/mirror\n");
    assert_eq!(short, bucket("bucket: {url: s3://packages/mirror}\n"));
    assert!(short.contains(r#"name: "packages", prefix: "mirror/""#), "{short}");
    assert!(config(&with("bucket:\n")).bucket.is_none());
    let expected =
        "mirror.yaml:2:9: bucket: expected the URL of a bucket: `s3://name` or `s3://name/prefix`, found";
    let server =
        "the server has a key of its own: `bucket: { url: s3://name, endpoint: https://s3.example.com }`";
    let meant = "did you mean `s3://packages/mirror`?";
    let other = "buckets of all providers are named so; `endpoint` is the server with their S3 interface";
    for (text, hint) in [
        ("s3//packages/mirror", meant),
        ("s3:/packages/mirror", meant),
        ("packages/mirror", meant),
        ("https://s3.example.com/packages", server),
        ("gs://packages/mirror", other),
        ("s3//x", other),
    ] {
        assert_reports([(
            with(&format!("bucket: {text}\n")),
            &*format!("{expected} `{text}`\n  hint: {hint}"),
        )]);
    }
    assert_reports([
        (
            with("bucket: s3://p\n"),
            "mirror.yaml:2:9: bucket: expected the name of a bucket: 3 to 63 lower-case letters, digits, `.`, `-` and `_`, found `p`",
        ),
        (
            with("bucket: [s3://packages]\n"),
            "mirror.yaml:2:9: bucket: expected a string or a mapping, found a list",
        ),
        (
            with("bucket: 7\n"),
            "mirror.yaml:2:9: bucket: expected a string or a mapping, found the number 7\n  hint: put it in quotes",
        ),
    ]);
}

#[test]
fn mistakes_in_schedules_have_messages() {
    assert_reports([
        (
            repository("  schedule: 0 25 * * *\n"),
            "mirror.yaml:5:13: repositories[0].schedule: invalid hour field: number out of bounds, found `25`\n  hint: the fields are minute (0-59), hour (0-23), day of month (1-31), month (1-12 or jan-dec) and day of week (0-7 or sun-sat), as in `17 3 * * *`",
        ),
        (
            repository("  schedule: '@reboot'\n"),
            "mirror.yaml:5:13: repositories[0].schedule: unknown name of a schedule, found `@reboot`\n  hint: the names are @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually",
        ),
        (
            repository("  timezone: Europe/Berln\n"),
            "mirror.yaml:5:13: repositories[0].timezone: expected an IANA time zone such as `Europe/Berlin`, found `Europe/Berln`\n  hint: did you mean `Europe/Berlin`?",
        ),
        (
            repository("  only: []\n"),
            "mirror.yaml:5:9: repositories[0].only: expected at least one source\n  hint: remove the key to build all sources",
        ),
    ]);
}

#[test]
fn mistakes_in_urls_have_messages() {
    assert_reports([
        (
            MAGENTO.replace("https:", "ftp:"),
            "mirror.yaml:1:37: repositories[0].url: expected an http or https URL such as `https://mirror.example.com/`, found `ftp://example.com/`",
        ),
        (
            MAGENTO.replace("https://", ""),
            "mirror.yaml:1:37: repositories[0].url: expected an http or https URL such as `https://mirror.example.com/`, found `example.com/`",
        ),
        (
            MAGENTO.replace(".com/", ".com/?a"),
            "mirror.yaml:1:37: repositories[0].url: a public URL must not contain a query or fragment, found `https://example.com/?a`",
        ),
        (
            MAGENTO.replace("//", "//me:pw@"),
            "mirror.yaml:1:37: repositories[0].url: a public URL must not contain a user name or password",
        ),
        (
            MAGENTO.replace(".com/", ".com/-/x"),
            "mirror.yaml:1:37: repositories[0].url: the path `/-/` is reserved for health checks and metrics, found `https://example.com/-/x`",
        ),
        (
            MAGENTO.replace(".com/", ".com/my%20mirror/"),
            "mirror.yaml:1:37: repositories[0].url: the path of a public URL must not contain percent-encoded characters or empty segments, found `https://example.com/my%20mirror/`",
        ),
        (
            MAGENTO.replace(".com/", ".com/a//b/"),
            "mirror.yaml:1:37: repositories[0].url: the path of a public URL must not contain percent-encoded characters or empty segments, found `https://example.com/a//b/`",
        ),
    ]);
}

#[test]
fn mistakes_between_repositories_have_messages() {
    assert_reports([
        (
            repository("- {name: two, url: 'http://other.org', recipe: magento}\n"),
            "mirror.yaml:5:20: repositories[1].url: repositories must have different paths, found `/`\n  hint: the path alone selects the repository, whatever the host",
        ),
        (
            repository("- {name: magento, url: 'https://example.com/b/', recipe: magento}\n"),
            "mirror.yaml:5:10: repositories[1].name: repository names must be unique, found `magento`",
        ),
        (
            repository("- {name: two, url: 'https://example.com/p2/', recipe: magento}\n"),
            "mirror.yaml:5:20: repositories[1].url: the path of a repository is among the files of another one, found `/p2/` and `/`",
        ),
        (
            MAGENTO.replace("name: magento", "name: git"),
            "mirror.yaml:1:23: repositories[0].name: the name is reserved on the volume, found `git`\n  hint: choose another name",
        ),
        (
            MAGENTO.replace("name: magento", "name: Magento"),
            "mirror.yaml:1:23: repositories[0].name: expected a name of lower-case letters, digits, `.`, `_` and `-` that begins with a letter or digit, found `Magento`",
        ),
        (
            MAGENTO.replace("recipe: magento", "recipe: magneto"),
            "mirror.yaml:1:69: repositories[0].recipe: expected a built-in recipe (`magento`, `mage-os`, `demo`) or the path of a `.yaml` file, found `magneto`\n  hint: did you mean `magento`?",
        ),
    ]);
}

#[test]
fn mistakes_in_environment_references_have_messages() {
    assert_reports([
        (
            with("site: {name: 'by ${NOBODY}'}\n"),
            "mirror.yaml:2:14: site.name: the environment variable `NOBODY` is not set\n  hint: set it, or write `$${` for a literal `${`",
        ),
        (
            MAGENTO.replace("https://example.com/", "${BAD_URL}"),
            "mirror.yaml:1:37: repositories[0].url: expected an http or https URL such as `https://mirror.example.com/`, found the value of `${BAD_URL}`",
        ),
        (
            with("serve: {drain: '${GIT_TOKEN}'}\n"),
            "mirror.yaml:2:16: serve.drain: expected a duration with its unit, such as 30s or 1h30m, found the value of `${GIT_TOKEN}`",
        ),
    ]);
}

#[test]
fn mistakes_in_credentials_have_messages() {
    assert_reports([
        (
            with("git: {credentials: [{url: 'https://a/', password: hunter2}]}\n"),
            "mirror.yaml:2:51: git.credentials[0].password: a secret must not stand in the file\n  hint: use the key that ends in `_file`, or a reference such as `${SECRET}`",
        ),
        (
            with("git: {credentials: [{url: 'https://a/', password: 12345}]}\n"),
            "mirror.yaml:2:51: git.credentials[0].password: a secret must not stand in the file\n  hint: use the key that ends in `_file`, or a reference such as `${SECRET}`",
        ),
        (
            with("git: {credentials: [{url: 'https://a/', password: 'x${GIT_TOKEN}'}]}\n"),
            "mirror.yaml:2:51: git.credentials[0].password: a secret must not stand in the file",
        ),
        (
            with("git: {credentials: [{url: 'https://a/', username: me}]}\n"),
            "mirror.yaml:2:21: git.credentials[0]: expected a password or a private key",
        ),
        (
            with("git: {credentials: [{url: 'https://a/', pasword_file: a, private_key_file: b}]}\n"),
            "mirror.yaml:2:21: git.credentials[0]: set either a password or a private key, not both\nmirror.yaml:2:41: git.credentials[0].pasword_file: unknown key\n  hint: did you mean `password_file`?",
        ),
        (
            with("git: {credentials: [{url: 'https://a/', password_file: a, header: 'X: y'}]}\n"),
            "mirror.yaml:2:67: git.credentials[0].header: expected the name of a header",
        ),
        (
            with("git: {credentials: [{url: 'https://a/', password_file: a, header: X, scheme: bearer}]}\n"),
            "mirror.yaml:2:21: git.credentials[0]: set either `scheme` or `header`, not both",
        ),
        (
            with("git: {rewrite: {'https://a/': 'https://t0ken@b/'}}\n"),
            "mirror.yaml:2:31: git.rewrite[\"https://a/\"]: a URL must not contain a password or token\n  hint: use `git.credentials`",
        ),
    ]);
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let text = "\
site: {name: 42}
serve:
  drain: 30
  listn: '[::]:80'
repositories:
  - name: magento
    url: https://mirror.example.com/
    recipe: magento
    schedule: 61 3 * * *
  - name: magento
    url: mirror.example.com
    recipe: magento
git: {timeout: 1 minute}
";
    let expected = "\
mirror.yaml:1:14: site.name: expected a string, found the number 42
  hint: put it in quotes
mirror.yaml:3:10: serve.drain: expected a duration with its unit, such as 30s or 1h30m, found the number 30
  hint: write 30s; the units are d, h, m, s, ms
mirror.yaml:4:3: serve.listn: unknown key
  hint: did you mean `listen`?
mirror.yaml:9:15: repositories[0].schedule: invalid minute field: number out of bounds, found `61`
  hint: the fields are minute (0-59), hour (0-23), day of month (1-31), month (1-12 or jan-dec) and day of week (0-7 or sun-sat), as in `17 3 * * *`
mirror.yaml:10:11: repositories[1].name: repository names must be unique, found `magento`
mirror.yaml:11:10: repositories[1].url: expected an http or https URL such as `https://mirror.example.com/`, found `mirror.example.com`
mirror.yaml:13:16: git.timeout: expected a duration with its unit, such as 30s or 1h30m, found `1 minute`";
    assert_eq!(problems(text), expected);
}

#[test]
fn checks_after_parsing_report_locations() {
    let (_, mut report) =
        parse(Path::new("mirror.yaml"), &repository("  only: [invntory]\n"), &environment).unwrap();
    let source = mirror::yaml::Path::default().key("repositories").index(0).key("only").index(0);
    report.add(&source, mirror::yaml::Issue::new("the recipe has no such source").found("`invntory`"));
    let problems = report.finish(Some(())).unwrap_err().to_string();
    assert_eq!(
        problems,
        "mirror.yaml:5:10: repositories[0].only[0]: the recipe has no such source, found `invntory`"
    );
}

#[test]
fn schema_has_defaults_and_descriptions() {
    let schema = json_schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["title"], "mirror.yaml");
    assert!(schema["$id"].is_string());
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["required"], serde_json::json!(["repositories"]));
    let serve = &schema["$defs"]["Serve"]["properties"];
    assert_eq!(serve["drain"]["default"], "30s");
    assert_eq!(serve["listen"]["default"], "[::]:8080");
    assert_eq!(serve["max_header_size"]["default"], "16KiB");
    assert_described("", &schema);
}

/// Every key has a description: together they are the reference of the file.
fn assert_described(path: &str, schema: &serde_json::Value) {
    for (name, definition) in schema["$defs"].as_object().into_iter().flatten() {
        assert_described(name, definition);
    }
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        assert!(property["description"].is_string(), "{path}.{key} has no description");
    }
}
