//! Tests of the harness itself: each class catches a program with a bug of its kind.
//!
//! The bugs are edits of a copy of the sources, which is built separately. An edit that no longer applies is an error,
//! so that it is updated.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fixture::Verdict;
use crate::support::run;
use crate::{Figures, error, flip, kill, power, property};

struct Bug {
    name: &'static str,
    /// The file below `src`, a text that occurs there once, and its replacement.
    edits: &'static [(&'static str, &'static str, &'static str)],
    class: fn(&Path, usize) -> Verdict<Figures>,
    /// How many faults the class may need.
    faults: usize,
    /// The expected error of the class: one of these.
    says: &'static [&'static str],
}

const BUGS: &[Bug] = &[
    Bug {
        name: "damaged files are served",
        edits: &[(
            "server/integrity.rs",
            "if found != self.0.sha256 {",
            "if found != self.0.sha256 && sums.is_empty() {",
        )],
        class: flip::everywhere,
        faults: 200,
        says: &["wrong bytes"],
    },
    Bug {
        name: "no fsync of files",
        edits: &[(
            "store/durable_fs.rs",
            "        sync(&file, &self.path)?;\n        close",
            "        close",
        )],
        class: power::states,
        faults: 400,
        says: &["lost", "torn", "wrong bytes", "changed", "not ready", "did not start"],
    },
    Bug {
        name: "no fsync of folders",
        edits: &[(
            "store/durable_fs.rs",
            "    Ok(sync(&folder, path)?)\n",
            "    drop(folder);\n    Ok(())\n",
        )],
        class: power::states,
        faults: 400,
        says: &["not durable"],
    },
    Bug {
        name: "a failed fsync is ignored",
        edits: &[(
            "store/durable_fs.rs",
            "rustix::fs::fsync(file).map_err(",
            "rustix::fs::fsync(file).or(Ok(())).map_err(",
        )],
        class: error::at_each_call,
        faults: 2200,
        says: &["although a sync failed"],
    },
    Bug {
        name: "a short write counts as whole",
        edits: &[("store/durable_fs.rs", "        Ok(written)\n", "        Ok(bytes.len())\n")],
        class: error::short_writes,
        faults: 60,
        says: &["unreported", "after a file size limit"],
    },
    Bug {
        name: "the ledger is overwritten in place",
        edits: &[(
            "store/repository.rs",
            "        durable_fs::replace(&temporary, &path)?;\n",
            "        fs::write(&path, &text)?;\n",
        )],
        class: kill::at_each_call,
        faults: 2200,
        says: &["not ready", "did not start", "did not complete"],
    },
    Bug {
        name: "the ledger follows the snapshot",
        edits: &[
            (
                "store/repository.rs",
                "match known.file {",
                "match known.file.or(temporary.exists().then_some((0, 0))) {",
            ),
            (
                "store/repository.rs",
                "Some(_) => fs::read(&path).with_context",
                "Some(_) => fs::read(if temporary.exists() { &temporary } else { &path }).with_context",
            ),
            ("store/repository.rs", "        durable_fs::replace(&temporary, &path)?;\n", ""),
            (
                "store/commit.rs",
                "        let number = manifest.number;\n        let snapshot",
                "        let _ = durable_fs::replace(&self.staging_path(\"ledger.jsonl\")?, &self.root().join(\"ledger.jsonl\"));\n        let number = manifest.number;\n        let snapshot",
            ),
        ],
        class: kill::at_each_call,
        faults: 2200,
        says: &["not ready", "did not start", "did not complete"],
    },
    Bug {
        name: "left-overs are removed with what is published",
        edits: &[
            ("store/staging.rs", " && !published.contains(&path) {", " && path != root_of(published) {"),
            (
                "store/staging.rs",
                "fn remove_linked(",
                "fn root_of(published: &HashSet<PathBuf>) -> PathBuf {\n    published.iter().next().map(|p| p.join(\"x\")).unwrap_or_default()\n}\n\nfn remove_linked(",
            ),
        ],
        class: kill::at_each_call,
        faults: 2200,
        // The metadata cannot be generated, or names missing files.
        says: &["lost", "which is answered", "could not be read"],
    },
    Bug {
        name: "success before the snapshot",
        edits: &[(
            "cycle/mod.rs",
            "publish(ctx, previous.as_ref(), &mut report)?",
            "publish(ctx, previous.as_ref(), &mut report).unwrap_or_default()",
        )],
        class: error::at_each_call,
        faults: 2200,
        says: &["unreported"],
    },
    Bug {
        name: "a failed source is passed over",
        edits: &[(
            "cli/build.rs",
            "self.result.report.is_complete() && self.damaged.is_empty()",
            "!self.result.report.sources.is_empty()",
        )],
        class: error::at_each_call,
        faults: 2200,
        says: &["unreported"],
    },
    Bug {
        name: "a folder of tags that cannot be listed is empty",
        edits: &[(
            "git/refs.rs",
            "            Some(name) => missing = name,\n",
            "            Some(_) if ATTEMPTS > 0 => return Ok(refs),\n            Some(name) => missing = name,\n",
        )],
        class: error::at_each_call,
        faults: 2200,
        says: &["unreported"],
    },
    Bug {
        name: "a moved tag is published again",
        edits: &[
            (
                "cycle/planning.rs",
                "let Some((_, release)) = same else {",
                "let Some((_, release)) = same.filter(|(_, release)| release.source != source.name) else {",
            ),
            (
                "ledger.rs",
                "        another_url || moves\n",
                "        another_url || moves || self.number != before.number\n",
            ),
        ],
        class: property::sequences,
        faults: 400,
        says: &["lost", "changed"],
    },
];

/// Tests `most` bugs, one after the other, and checks that all edits apply; with `FAULTS_BUG` only those whose name contains it.
pub fn bugs(_: &Path, most: usize) -> Verdict<Figures> {
    let mut figures = Figures::default();
    let (mut missed, all) = (Vec::new(), BUGS.len());
    // Check the edits of bugs that are not built this time, too.
    for bug in BUGS {
        edited(bug)?;
    }
    let of = std::env::var("FAULTS_BUG").unwrap_or_default();
    for bug in BUGS.iter().filter(|bug| bug.name.contains(&of)).take(most) {
        let binary = build(bug)?;
        match (bug.class)(&binary, bug.faults) {
            Err(why) if bug.says.iter().any(|word| why.contains(word)) => {
                figures.faults += 1;
                let first = why.lines().next().unwrap_or_default();
                println!("  caught: {}: {}", bug.name, first.chars().take(150).collect::<String>());
            }
            Err(why) => missed.push(format!("{}: caught for another reason: {why}", bug.name)),
            Ok(found) => missed.push(format!("{}: not caught by {} faults", bug.name, found.faults)),
        }
    }
    figures.count("bugs known", all);
    if missed.is_empty() { Ok(figures) } else { Err(missed.join("\n")) }
}

/// The files that a bug changes, with it in them.
fn edited(bug: &Bug) -> Verdict<BTreeMap<&'static str, String>> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    for (file, from, to) in bug.edits {
        let text = match files.remove(file) {
            Some(text) => text,
            None => std::fs::read_to_string(sources.join(file)).map_err(|e| format!("{file}: {e}"))?,
        };
        if text.matches(from).count() != 1 {
            return Err(format!("`{}` cannot be put into {file}: `{from}`", bug.name));
        }
        files.insert(*file, text.replace(from, to));
    }
    Ok(files)
}

/// The program with a bug, of a copy of the sources beside the others' build.
fn build(bug: &Bug) -> Verdict<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copy = root.join("target/seeded");
    std::fs::create_dir_all(&copy).expect("a folder");
    for entry in std::fs::read_dir(root).expect("the project") {
        let entry = entry.expect("an entry");
        let link = copy.join(entry.file_name());
        if !["src", "target", ".git"].iter().any(|name| entry.file_name() == *name) && !link.exists() {
            symlink(entry.path(), link).expect("a link");
        }
    }
    // Their modification times tell cargo what to compile.
    run(Command::new("rm").arg("-rf").arg(copy.join("src")));
    run(Command::new("cp").arg("-a").arg(root.join("src")).arg(&copy));
    // The same compiled dependencies.
    let (built, target) = (root.join("target/debug"), copy.join("target"));
    if !target.exists() && built.exists() {
        std::fs::create_dir(&target).expect("a folder");
        run(Command::new("cp").arg("-al").arg(&built).arg(&target));
    }
    for (file, text) in edited(bug)? {
        std::fs::write(copy.join("src").join(file), text).expect("written");
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(&copy)
        .args(["build", "--locked", "--quiet", "--bin", "mirror", "--target-dir"])
        .arg(&target)
        .output()
        .expect("cargo starts");
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("`{}` does not compile: {told}", bug.name));
    }
    Ok(target.join("debug/mirror"))
}
