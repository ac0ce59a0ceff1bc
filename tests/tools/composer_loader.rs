//! Composer's loaders and version parser agree with ours, on thousands of generated manifests, constraints and versions.
//!
//! `MIRROR_TEST_SEED` is the seed, `MIRROR_TEST_PHP` the command that runs PHP, with another Composer for example.

use std::io::Write as _;
use std::process::{Command, Stdio};

use jiff::Timestamp;
use mirror::composer::{Constraint, Manifest, Version};
use mirror::metadata::{BaseUrl, PackageVersion};
use mirror::util::digest::Sha1;
use serde_json::{Map, Value, json};

const CASES: usize = 20_000;

/// Parts of constraints and versions, valid and not.
const PARTS: &str = r##"[
    "1", "2.0", "1.2.3", "1.2.3.4", "v1", "V2.1", "0", "00", "10", "2024", "20240131", "2010-01-02", "2010.01.02.03",
    "123456", "x", "X", "*", ".x", ".*", ".X", "-dev", ".dev", "dev", "xdev", "dev-main", "dev-", "main", "master",
    "trunk", "default", "@", "@dev", "@stable", "@RC", "@rc", "@beta", "@alpha", "#abc", "#", " ", "  ", "\t", "\n",
    "\u00a0", "\u2003", "\u000b", "\f", "\r", ",", "|", "||", " || ", ">=", "<=", "<>", "!=", "=", "==", ">", "<",
    "~", "^", "~>", "-", " - ", " as ", " AS ", "+", "+build", "+b.1", "-beta", "-beta1", "-RC2", "rc1", "-p1",
    "patch", "pl", "a", "-alpha.1", "stable", "-STABLE", "_p1", ".RC1", "/", "\u00e9", "\u017ftable", "K", "\u0000"
]"##;

/// Normalized versions, which constraints may allow.
const VERSIONS: [&str; 24] = [
    "0.0.0.0",
    "0.0.1.0",
    "0.9.9.0-beta1",
    "1.0.0.0-dev",
    "1.0.0.0-alpha1",
    "1.0.0.0-beta1",
    "1.0.0.0-RC2",
    "1.0.0.0",
    "1.0.0.0-patch1",
    "1.2.0.0-dev",
    "1.2.3.0",
    "1.2.3.4",
    "1.2.9999999.9999999-dev",
    "1.3.0.0-dev",
    "2.0.0.0-dev",
    "2.0.0.0",
    "2.1.0.0",
    "3.0.0.0-alpha2",
    "10.0.0.0",
    "11.0.0.0",
    "2024.0.0.0",
    "dev-main",
    "dev-master",
    "dev-1",
];

/// A manifest with a valid value for each field that Composer's loaders know.
const FULL_MANIFEST: &str = r#"{
    "type": "library", "description": "words", "homepage": "https://example.org", "keywords": ["b", "a"], "license": ["MIT"],
    "authors": [{"name": "A", "email": "a@example.org", "homepage": "https://example.org", "role": "dev"}],
    "support": {"issues": "https://example.org", "email": "a@example.org", "rss": "https://example.org", "else": "x"},
    "funding": [{"type": "other", "url": "https://example.org"}], "abandoned": "v/new",
    "require": {"php": ">=8.1", "a/b": "^1.0", "A/C": "self.version"}, "require-dev": {"d/d": "*"},
    "conflict": {"e/e": "<2"}, "replace": {"f/f": "self.version"}, "provide": {"g/g": "1.0"},
    "suggest": {"h/h": "words", "i/i": " self.version "}, "bin": ["/bin/a", "bin/b"],
    "autoload": {
        "psr-0": {"A_": "src/", "": ["lib"]}, "psr-4": {"A\\": "src/", "B\\": ["b", "c"]},
        "classmap": ["c/", "d"], "files": ["f.php"], "exclude-from-classmap": ["/Tests/"]
    },
    "autoload-dev": {"psr-4": {"T\\": "tests/"}}, "include-path": ["lib"],
    "extra": {"branch-alias": {"dev-main": "1.x-dev"}, "map": [["*", "x"]]},
    "scripts": {"post-install-cmd": "echo", "x": ["a", "b"]}, "archive": {"name": "x", "exclude": ["/tests"]},
    "config": {"platform": {"php": "8.1", "ext-x": false}}, "minimum-stability": "dev",
    "repositories": [{"type": "vcs", "url": "u"}], "transport-options": {"x": {}},
    "source": {"type": "git", "url": "u", "reference": "r"}, "dist": {"type": "zip", "url": "u"},
    "php-ext": {
        "extension-name": "x", "priority": 80, "support-zts": true, "support-nts": false, "build-path": "p",
        "download-url-method": ["composer-default"], "os-families": ["linux"],
        "configure-options": [{"name": "o", "needs-value": true, "description": "d"}]
    }
}"#;

/// Values that are wrong for most fields.
const WRONG_VALUES: &str = r#"[
    null, true, false, 0, 1, 1.5, "", "0", "x", "../x", "a/../b", "a\\..\\b", "..x", "project", "Php-Ext", "php-ext", "php-ext-zend",
    "self.version", [], {}, ["x"], ["x", 1], [1], [["x"]], [null], [{}], {"x": "y"}, {"x": 1}, {"x": null}, {"x": ["y"]},
    {"x": {"y": "z"}}, {"1": "1.0"}, {"a b": "1.0"}, {"": "1.0"}, {"v/P": "1.0"}, {"f/f": "1.0"}, {"psr-4": {"A\\": "src/"}},
    {"branch-alias": 1}, {"branch-alias": {"dev-main": 1}}, {"branch-alias": {"1": "1.x-dev"}}, {"branch-alias": ["1.x-dev"]}
]"#;

/// Replaces a value somewhere in the manifest, adds one, or removes one.
fn mutate(value: &mut Value, random: &mut fastrand::Rng, wrong: &[Value]) {
    let any = |random: &mut fastrand::Rng| wrong[random.usize(..wrong.len())].clone();
    let is_empty = value.as_object().is_none_or(Map::is_empty) && value.as_array().is_none_or(Vec::is_empty);
    if is_empty || random.u8(..3) == 0 {
        *value = any(random);
        return;
    }
    match value {
        Value::Array(items) => match random.u8(..6) {
            0 => items.push(any(random)),
            _ => {
                let index = random.usize(..items.len());
                mutate(&mut items[index], random, wrong);
            }
        },
        Value::Object(map) => match random.u8(..12) {
            0 => {
                map.insert(["x", "1", "X/y", "", "v/p"][random.usize(..5)].to_owned(), any(random));
            }
            _ => {
                let index = random.usize(..map.len());
                mutate(map.values_mut().nth(index).unwrap(), random, wrong);
            }
        },
        _ => {}
    }
}

struct Case {
    text: String,
    manifest: Map<String, Value>,
    problems: Option<String>,
    omitted: Vec<String>,
    entry: Option<Value>,
}

/// What cases are made of.
struct Material {
    parts: Vec<String>,
    full: Map<String, Value>,
    wrong: Vec<Value>,
}

fn generate(random: &mut fastrand::Rng, material: &Material) -> Case {
    let Material { parts, full, wrong } = material;
    let count = 1 + random.usize(..6);
    let text: String = (0..count).map(|_| parts[random.usize(..parts.len())].as_str()).collect();
    let version = ["1.0.0", "dev-main", "2.x-dev", "1.0.0+b5"][random.usize(..4)];
    let mut manifest = Map::from_iter([("name".into(), json!("v/p")), ("version".into(), json!(version))]);
    let keep = [2, 6, 12][random.usize(..3)];
    for (field, value) in full {
        if random.u8(..12) < keep {
            manifest.insert(field.clone(), value.clone());
        }
    }
    for _ in 0..random.usize(..4) {
        let index = 2 + random.usize(..full.len());
        match manifest.values_mut().nth(index) {
            Some(value) => mutate(value, random, wrong),
            None => {
                let field = full.keys().nth(random.usize(..=full.len())).map_or("target-dir", String::as_str);
                manifest.insert(field.to_owned(), wrong[random.usize(..wrong.len())].clone());
            }
        }
    }
    if random.u8(..4) == 0 {
        manifest.insert("require".into(), json!({ "a/b": text }));
    }
    let ours = Manifest(manifest.clone());
    let problems = ours.validate().err().map(|error| error.to_string());
    let omitted = ours.omitted_fields().into_iter().map(|problem| problem.field).collect();
    let entry = problems.is_none().then(|| Value::Object(entry(ours, version)));
    Case { text, manifest, problems, omitted, entry }
}

fn entry(manifest: Manifest, version: &str) -> Map<String, Value> {
    let version = PackageVersion {
        number: 1,
        manifest,
        version: version.parse().unwrap(),
        path: "packages/v/p-1.zip".into(),
        sha1: Sha1::digest(b""),
        committed: Timestamp::UNIX_EPOCH,
        size: 0,
        commit: String::new(),
        is_nightly: false,
        upstream: None,
        source: String::new(),
        published: Timestamp::UNIX_EPOCH,
    };
    version.data(&BaseUrl::new("https://mirror.example/".parse().unwrap()))
}

fn ask_composer(cases: &[Case]) -> Vec<Value> {
    let code = include_str!("composer_loader.php").trim_start_matches("<?php");
    let php = std::env::var("MIRROR_TEST_PHP").unwrap_or("php".to_owned());
    let mut words = php.split(' ');
    let mut php = Command::new(words.next().unwrap())
        .args(words)
        .args(["-r", code])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = php.stdin.take().unwrap();
    let lines: Vec<String> = cases
        .iter()
        .map(|case| {
            let Case { text, manifest, omitted, entry, .. } = case;
            let case = json!({"text": text, "versions": VERSIONS, "manifest": manifest, "omitted": omitted, "entry": entry});
            case.to_string() + "\n"
        })
        .collect();
    let writer =
        std::thread::spawn(move || lines.iter().for_each(|line| stdin.write_all(line.as_bytes()).unwrap()));
    let output = php.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    let output = String::from_utf8(output.stdout).unwrap();
    output.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

#[test]
fn loaders_and_version_parser_agree_with_composer() {
    let seed = std::env::var("MIRROR_TEST_SEED").map_or(20_261_130, |seed| seed.parse().unwrap());
    let mut random = fastrand::Rng::with_seed(seed);
    let material = Material {
        parts: serde_json::from_str(PARTS).unwrap(),
        full: serde_json::from_str(FULL_MANIFEST).unwrap(),
        wrong: serde_json::from_str(WRONG_VALUES).unwrap(),
    };
    let cases: Vec<Case> = (0..CASES).map(|_| generate(&mut random, &material)).collect();
    let verdicts = ask_composer(&cases);
    assert_eq!(verdicts.len(), CASES);
    let mut wrong = Vec::new();
    let (mut accepted, mut omitting, mut rejected) = (0, 0, 0);
    for (case, verdict) in cases.iter().zip(&verdicts) {
        // Debian's Composer has composer/semver 3.3; since 3.4 date versions may have two more numbers.
        let parsed = case.text.parse::<Constraint>().ok();
        let constraint = parsed.is_some();
        if let (Some(parsed), Value::Array(theirs)) = (&parsed, &verdict["allowed"])
            && !has_long_date(&case.text)
        {
            let ours: Vec<_> = VERSIONS.into_iter().filter(|version| parsed.allows(version)).collect();
            if ours != *theirs {
                wrong
                    .push(format!("constraint {:?} allows: ours {ours:?}, Composer's {theirs:?}", case.text));
            }
        }
        if constraint != verdict["constraint"] && !(constraint && has_long_date(&case.text)) {
            wrong.push(format!("constraint {:?}: ours {constraint}", case.text));
        }
        if let Ok(version) = case.text.parse::<Version>()
            && *version.normalized() != verdict["version"]
            && !has_long_date(&case.text)
        {
            let (ours, theirs) = (version.normalized(), &verdict["version"]);
            wrong.push(format!("version {:?}: ours {ours}, Composer's {theirs}", case.text));
        }
        let manifest = json!(case.manifest);
        match (&case.problems, &verdict["refusal"], &verdict["entry"]) {
            // An older Composer cannot read what newer ones can.
            (None, _, Value::String(_))
                if constraint != verdict["constraint"] && has_long_date(&case.text) => {}
            (None, _, Value::String(reason)) | (None, Value::String(reason), Value::Null)
                if OLD_REFUSALS.iter().any(|old| reason.contains(old)) =>
            {
                accepted += 1;
            }
            (None, _, Value::String(reason)) => wrong.push(format!("published, but {reason}: {manifest}")),
            (None, Value::String(reason), _) if case.omitted.is_empty() => {
                wrong.push(format!("published without a warning, but {reason}: {manifest}"));
            }
            (Some(problems), Value::Null, _)
                if verdict["strict"] == true && !is_rejected_on_purpose(problems) =>
            {
                wrong.push(format!("rejected without need, {problems}: {manifest}"));
            }
            (None, ..) => {
                accepted += 1;
                omitting += usize::from(!case.omitted.is_empty());
            }
            (Some(_), ..) => rejected += 1,
        }
    }
    println!(
        "seed {seed}: {CASES} cases; {accepted} manifests accepted, {omitting} of them without some field, {rejected} rejected; {} differences",
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong[..wrong.len().min(40)].join("\n"));
}

/// What only older validating loaders refuse: names of links that are no names, before 2.3, and `false` as a platform, in 2.0.
const OLD_REFUSALS: [&str; 3] = ["is invalid, it should", "is invalid, package names", "config.platform"];

/// What is rejected although some Composer accepts it: others die of it, or refuse it.
fn is_rejected_on_purpose(problems: &str) -> bool {
    let reasons = [
        "leaves the package",
        "php-ext",
        "is a number and not the name",
        "extra.branch-alias",
        "autoload.psr-0",
    ];
    reasons.iter().any(|reason| problems.contains(reason))
}

fn has_long_date(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() >= 4)
}
