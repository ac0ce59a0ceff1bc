//! Real packages of third parties that Magento requires, as Debian has them: a project is installed from a closure mirror with
//! Packagist switched off, all its bytes are those that upstream sent, and its classes load.

use std::path::Path;
use std::process::Command;

use mirror::package::zip_writer::{EntryType, ZipWriter};
use mirror::util::digest::{Sha1, Sha256};
use serde_json::{Map, Value, json};

use crate::composer::ComposerProject;
use crate::support::env::TestEnv;
use crate::support::file_server::{Answer, FileServer};
use crate::support::store::command;
use crate::support::{free_port, run};

/// A Debian package with a package of Composer.
struct ThirdParty {
    debian: &'static str,
    name: &'static str,
    /// Where its code is, below `/usr/share/php`.
    folder: &'static str,
    namespace: &'static str,
    /// Files that are always loaded.
    files: &'static [&'static str],
    requires: &'static [&'static str],
}

const fn third(
    debian: &'static str,
    name: &'static str,
    (folder, namespace): (&'static str, &'static str),
    files: &'static [&'static str],
    requires: &'static [&'static str],
) -> ThirdParty {
    ThirdParty { debian, name, folder, namespace, files, requires }
}

const PACKAGES: [ThirdParty; 17] = [
    third("php-psr-log", "psr/log", ("Psr/Log", "Psr\\Log\\"), &[], &[]),
    third("php-psr-container", "psr/container", ("Psr/Container", "Psr\\Container\\"), &[], &[]),
    third(
        "php-psr-http-client",
        "psr/http-client",
        ("Psr/Http/Client", "Psr\\Http\\Client\\"),
        &[],
        &["psr/http-message"],
    ),
    third(
        "php-psr-http-factory",
        "psr/http-factory",
        ("Psr/Http/Message", "Psr\\Http\\Message\\"),
        &[],
        &["psr/http-message"],
    ),
    third("php-psr-http-message", "psr/http-message", ("Psr/Http/Message", "Psr\\Http\\Message\\"), &[], &[]),
    third(
        "php-getallheaders",
        "ralouphie/getallheaders",
        ("getallheaders", "none\\"),
        &["getallheaders.php"],
        &[],
    ),
    third(
        "php-symfony-deprecation-contracts",
        "symfony/deprecation-contracts",
        ("Symfony/Contracts/Deprecation", "none\\"),
        &["function.php"],
        &[],
    ),
    third(
        "php-guzzlehttp-promises",
        "guzzlehttp/promises",
        ("GuzzleHttp/Promise", "GuzzleHttp\\Promise\\"),
        &["functions_include.php"],
        &[],
    ),
    third(
        "php-guzzlehttp-psr7",
        "guzzlehttp/psr7",
        ("GuzzleHttp/Psr7", "GuzzleHttp\\Psr7\\"),
        &[],
        &["psr/http-factory", "psr/http-message", "ralouphie/getallheaders"],
    ),
    third(
        "php-guzzlehttp-guzzle",
        "guzzlehttp/guzzle",
        ("GuzzleHttp", "GuzzleHttp\\"),
        &["functions_include.php"],
        &["guzzlehttp/promises", "guzzlehttp/psr7", "psr/http-client", "symfony/deprecation-contracts"],
    ),
    third("php-monolog", "monolog/monolog", ("Monolog", "Monolog\\"), &[], &["psr/log"]),
    third("php-brick-math", "brick/math", ("Brick/Math", "Brick\\Math\\"), &[], &[]),
    third(
        "php-ramsey-collection",
        "ramsey/collection",
        ("Ramsey/Collection", "Ramsey\\Collection\\"),
        &[],
        &[],
    ),
    third(
        "php-ramsey-uuid",
        "ramsey/uuid",
        ("Ramsey/Uuid", "Ramsey\\Uuid\\"),
        &["functions.php"],
        &["brick/math", "ramsey/collection"],
    ),
    third("php-zend-stdlib", "laminas/laminas-stdlib", ("Laminas/Stdlib", "Laminas\\Stdlib\\"), &[], &[]),
    third("php-zend-code", "laminas/laminas-code", ("Laminas/Code", "Laminas\\Code\\"), &[], &[]),
    third(
        "php-zend-eventmanager",
        "laminas/laminas-eventmanager",
        ("Laminas/EventManager", "Laminas\\EventManager\\"),
        &[],
        &[],
    ),
];

/// What Magento's framework requires of them; the rest follows from that.
const REQUIRED: [(&str, &str); 5] = [
    ("guzzlehttp/guzzle", "^7.4.2"),
    ("laminas/laminas-code", "^4.5"),
    ("laminas/laminas-stdlib", "^3.7.1"),
    ("monolog/monolog", ">=2.7"),
    ("ramsey/uuid", "^4.2"),
];

impl ThirdParty {
    /// Its files by their paths below its folder.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let listed = Command::new("dpkg").args(["-L", self.debian]).output().expect("dpkg");
        assert!(listed.status.success(), "{} is missing\nhint: `tests/run tools` installs it", self.debian);
        let folder = format!("/usr/share/php/{}/", self.folder);
        let text = String::from_utf8(listed.stdout).expect("text");
        let paths = text.lines().filter_map(|path| Some((path, path.strip_prefix(&folder)?)));
        let is_code = |path: &str| path.ends_with(".php") && !path.ends_with("autoload.php");
        let code = paths.filter(|(_, below)| is_code(below));
        code.map(|(path, below)| (below.to_owned(), std::fs::read(path).expect("a file"))).collect()
    }

    /// The upstream version.
    fn version(&self) -> String {
        let version = run(Command::new("dpkg-query").args(["-W", "-f", "${Version}", self.debian]));
        let version = version.rsplit(':').next().unwrap_or_default();
        version.split(['-', '+', '~']).next().unwrap_or_default().to_owned()
    }

    /// Lists it as a repository like Packagist does: no checksum, one folder in the archive, no version in its manifest. Returns
    /// the archive.
    fn publish(&self, upstream: &FileServer) -> Vec<u8> {
        let requires: Map<_, _> = self.requires.iter().map(|name| ((*name).to_owned(), json!("*"))).collect();
        let load: Vec<_> = self.files.iter().map(|file| format!("src/{file}")).collect();
        let manifest = json!({
            "name": self.name,
            "license": "MIT",
            "require": requires,
            "autoload": {"psr-4": {self.namespace: "src/"}, "files": load},
        });
        let mut zip = ZipWriter::new(Vec::new());
        zip.add("release-1a2b/composer.json", EntryType::File, manifest.to_string().as_bytes()).unwrap();
        for (path, code) in self.files() {
            zip.add(&format!("release-1a2b/src/{path}"), EntryType::File, &code).unwrap();
        }
        let (archive, version) = (zip.finish().unwrap(), self.version());
        let path = format!("dist/{}.zip", self.name);
        upstream.write(&path, &archive);
        let mut entry = manifest;
        entry["version"] = json!(version);
        entry["time"] = json!("2025-02-03T04:05:06+00:00");
        entry["dist"] = json!({"type": "zip", "url": upstream.url(&path), "shasum": "", "reference": "1a2b"});
        let file = json!({"minified": "composer/2.0", "packages": {self.name: [entry]}});
        upstream.write(&format!("p2/{}.json", self.name), file.to_string());
        archive
    }
}

/// A mirror of a module that requires them, and of their closure.
fn mirror(upstream: &FileServer, port: u16) -> TestEnv {
    let env = TestEnv::new();
    let requires: Map<_, _> =
        REQUIRED.iter().map(|(name, constraint)| ((*name).to_owned(), json!(constraint))).collect();
    let manifest = json!({"name": "acme/framework", "version": "1.0.0", "require": requires});
    env.upstream("framework").write("composer.json", &manifest.to_string()).release("1.0.0");
    env.configure(
        port,
        "  - {name: framework, git: 'https://git.example/framework', packages: [{one: ''}]}\n",
    );
    let third = format!(
        "recipe: ./recipe.yaml}}\n  - {{name: third, url: 'http://127.0.0.1:{port}/third/', recipe: ./third.yaml}}"
    );
    env.write("mirror.yaml", &env.read("mirror.yaml").replace("recipe: ./recipe.yaml}", &third));
    let url = upstream.url("");
    env.write("third.yaml", &format!("composer: [{{name: packagist, url: '{url}', closure_of: [acme]}}]\n"));
    env.build(0);
    env
}

#[test]
fn real_packages_are_installed_from_a_closure_with_packagist_switched_off() {
    let (upstream, port) = (FileServer::start(), free_port());
    upstream.write(
        "packages.json",
        r#"{"packages": [], "metadata-url": "/p2/%package%.json", "metadata-changes-url": "/changes.json"}"#,
    );
    upstream.write("changes.json", r#"{"timestamp": 15900000000000, "actions": []}"#);
    let archives: Vec<_> = PACKAGES.iter().map(|package| (package, package.publish(&upstream))).collect();
    let env = mirror(&upstream, port);
    let ledger = env.read("data/third/ledger.jsonl");
    // Nothing requires this one.
    let (unwanted, wanted): (Vec<_>, Vec<_>) = archives
        .iter()
        .partition(|(package, _)| matches!(package.name, "psr/container" | "laminas/laminas-eventmanager"));
    assert_eq!((unwanted.len(), wanted.len(), ledger.lines().count()), (2, 15, 15), "{ledger}");
    let _server = env.serve("serve", port);
    upstream.answer(|_, _| Some(Answer::new(503, "switched off")));
    upstream.take_requests();
    let project = json!({
        "name": "a/project",
        "require": {"acme/framework": "1.0.0"},
        "repositories": [
            {"type": "composer", "url": format!("http://127.0.0.1:{port}/mirror/")},
            {"type": "composer", "url": format!("http://127.0.0.1:{port}/third/")},
            {"packagist.org": false},
        ],
        "config": {"secure-http": false},
    });
    env.write("project/composer.json", &project.to_string());
    let folder = env.path("project");
    ComposerProject { folder: &folder }.composer(&["install"]);
    assert_eq!(upstream.take_paths(), Vec::<String>::new());
    let lock: Value = serde_json::from_str(&env.read("project/composer.lock")).unwrap();
    for (package, archive) in wanted {
        let name = package.name;
        let line = ledger.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let line = line.into_iter().find(|line| line["name"] == name).unwrap();
        assert_eq!(line["sha256"], Sha256::digest(archive).to_string(), "{name}");
        let locked =
            lock["packages"].as_array().unwrap().iter().find(|locked| locked["name"] == name).unwrap();
        assert_eq!(locked["dist"]["shasum"], Sha1::digest(archive).to_string(), "{name}");
        for (path, code) in package.files() {
            assert_eq!(
                std::fs::read(folder.join(format!("vendor/{name}/src/{path}"))).unwrap(),
                code,
                "{name} {path}"
            );
        }
    }
    assert_eq!(run_project(&folder), "15\n");
    command(&env, &["verify"], 0);
}

/// Uses the packages, whose classes have to be those of the project, and prints how many packages of third parties are installed.
fn run_project(folder: &Path) -> String {
    let code = r#"
        require 'vendor/autoload.php';
        $logger = new Monolog\Logger('test', [$handler = new Monolog\Handler\TestHandler()]);
        $logger->info('a');
        $uuid = Ramsey\Uuid\Uuid::fromString('ff6f8cb0-c57d-11e1-9b21-0800200c9a66');
        $class = (new Laminas\Code\Generator\ClassGenerator('A'))->generate();
        $request = new GuzzleHttp\Psr7\Request('GET', 'https://mirror.example/');
        $right = $handler->hasInfoRecords()
            && $uuid->getVersion() === 1
            && Laminas\Stdlib\ArrayUtils::merge(['a' => 1], ['b' => 2]) === ['a' => 1, 'b' => 2]
            && str_contains($class, 'class A')
            && (new GuzzleHttp\Client()) instanceof Psr\Http\Client\ClientInterface
            && (string) $request->getUri() === 'https://mirror.example/';
        foreach (get_declared_classes() as $class) {
            $file = (new ReflectionClass($class))->getFileName();
            $right = $right && ($file === false || str_starts_with($file, getcwd() . '/vendor/'));
        }
        $installed = array_diff(Composer\InstalledVersions::getInstalledPackages(), ['a/project', 'acme/framework']);
        echo $right ? count($installed) : 'wrong', "\n";
    "#;
    run(Command::new("php").args(["-d", "include_path=.", "-r", code]).current_dir(folder))
}
