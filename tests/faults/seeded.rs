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
use crate::{
    Figures, bucket, composer, error, flip, follow, kill, network, operation, power, process, property,
    read_error, server_limit,
};

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
            "        durable_fs::replace(temporary, &path)?;\n",
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
                "            Some(_) => {\n                durable_fs::read(&path)",
                "            Some(_) => {\n                durable_fs::read(if temporary.exists() { temporary } else { &path })",
            ),
            ("store/repository.rs", "        durable_fs::replace(temporary, &path)?;\n", ""),
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
            "cycle/pass.rs",
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
        class: read_error::at_each_read,
        faults: 3000,
        says: &["unreported"],
    },
    Bug {
        name: "a moved tag is published again",
        edits: &[
            (
                "cycle/planning.rs",
                "let Some((_, release)) = same else {",
                "let Some((_, release)) = same.filter(|(_, release)| release.source != source) else {",
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
    Bug {
        name: "a record of withdrawals that cannot be read is absent",
        edits: &[(
            "store/withdrawals.rs",
            "json_lines::read(&root.join(FILE), HINT)?",
            "json_lines::read(&root.join(FILE), HINT).unwrap_or_default()",
        )],
        class: read_error::at_each_read,
        faults: 3000,
        says: &["wrong: packages/acme/tool-1.0.0.zip is published"],
    },
    Bug {
        name: "a file whose reading ends too early is whole",
        edits: &[("store/durable_fs.rs", "    if read < size {", "    if read > size {")],
        class: read_error::at_each_read,
        faults: 3000,
        says: &["wrong: packages/acme/"],
    },
    Bug {
        name: "a failed fetch is forgotten",
        edits: &[(
            "cycle/mod.rs",
            "(SourceReport { error, ..known.cloned().unwrap_or_default() }, 0)",
            "(SourceReport { error: error.filter(|_| known.is_none()), ..known.cloned().unwrap_or_default() }, 0)",
        )],
        class: network::faults,
        faults: 40,
        says: &["the failing source is named, or published"],
    },
    Bug {
        name: "a fetch has neither a deadline nor a least pace",
        edits: &[
            (
                "net/transfer_watch.rs",
                "match self.0.began.elapsed() >= self.0.total {",
                "match self.0.began.elapsed() >= 1000 * self.0.total {",
            ),
            ("net/transfer_watch.rs", "match (received as f64) < ", "match (received as f64 * 1e9) < "),
        ],
        class: network::faults,
        faults: 100,
        says: &["the cycle failed as a whole", "stuck"],
    },
    Bug {
        name: "users are read with the configuration only",
        edits: &[(
            "daemon/users_watcher.rs",
            "            if poll(&mut repositories) {",
            "            if stop.is_set() && poll(&mut repositories) {",
        )],
        class: network::faults,
        faults: 10,
        says: &["the good source is published", "the revoked token is refused"],
    },
    Bug {
        name: "the death of a child counts as success",
        edits: &[(
            "daemon/jobs.rs",
            "        Err(error) if error.is::<Cancelled>() => return Err(error),\n",
            "        Err(error) if error.is::<Cancelled>() => return Err(error),\n        Err(error) if error.to_string().contains(\"ended by\") => return Ok(BTreeMap::new()),\n",
        )],
        class: process::kills,
        faults: 100,
        // The cycle is not tried again.
        says: &["is recorded", "source is published"],
    },
    Bug {
        name: "a cycle has no deadline",
        edits: &[(
            "daemon/cycle_process.rs",
            "began.elapsed() > deadline => self",
            "began.elapsed() > 1000 * deadline => self",
        )],
        class: process::kills,
        faults: 100,
        says: &["is recorded"],
    },
    Bug {
        name: "a reload waits for the cycles of all repositories",
        edits: &[
            (
                "daemon/scheduler.rs",
                "new.is_awaited = all && self.is_awaited(&new);",
                "new.is_awaited = all;",
            ),
            ("daemon/scheduler.rs", "            repository.is_awaited = self.is_awaited(repository);\n", ""),
        ],
        class: process::kills,
        faults: 100,
        says: &["beside a process that stands still"],
    },
    Bug {
        name: "two repositories share their staging folder",
        edits: &[
            (
                "store/staging.rs",
                "        let tmp = root.join(\"tmp\");\n        let folder",
                "        let tmp = root.with_file_name(\"tmp\");\n        durable_fs::create_directory(&tmp)?;\n        let folder",
            ),
            (
                "store/staging.rs",
                "fs::read_dir(root.join(\"tmp\"))",
                "fs::read_dir(root.with_file_name(\"tmp\"))",
            ),
        ],
        class: process::kills,
        faults: 100,
        says: &["another instance has taken over", "No such file"],
    },
    Bug {
        name: "a file that cannot be opened for lack of descriptors is damaged",
        edits: &[(
            "server/body.rs",
            "Some(Errno::MFILE | Errno::NFILE) => OpenError",
            "Some(Errno::NFILE) => OpenError",
        )],
        class: server_limit::small,
        faults: 100,
        says: &["taken for damaged"],
    },
    Bug {
        name: "the server accepts nothing more once descriptors have run out",
        edits: &[("server/server.rs", "sleep(ACCEPT_BACKOFF).await;", "break;")],
        class: server_limit::small,
        faults: 100,
        says: &["not served again"],
    },
    Bug {
        name: "a withdrawal is recorded after the metadata",
        edits: &[
            (
                "cli/withdraw.rs",
                "    record(&store, name, version, reason.as_deref())?;\n",
                "    store.assume_withdrawal(name, version, reason.as_deref());\n",
            ),
            (
                "cli/withdraw.rs",
                "    let state = if arguments.undo",
                "    store.record_withdrawal(name, version, reason.as_deref())?;\n    let state = if arguments.undo",
            ),
            (
                "store/withdrawals.rs",
                "    fn append_withdrawals(",
                "    pub fn assume_withdrawal(&self, name: &str, version: &str, reason: Option<&str>) {\n        let mut known = self.withdrawals.lock();\n        known.retain(|withdrawal| !withdrawal.is_of(name, version));\n        let (name, version) = (name.to_owned(), version.to_owned());\n        known.extend(reason.map(|reason| Withdrawal { name, version, reason: reason.to_owned(), time: Timestamp::now() }));\n    }\n\n    fn append_withdrawals(",
            ),
        ],
        class: operation::sequences,
        faults: 600,
        says: &["is withdrawn", "lost"],
    },
    Bug {
        name: "the archive of a nightly version goes while an earlier snapshot names it",
        edits: &[(
            "store/nightly_retention.rs",
            "Ok(snapshot) => removable.retain(|number| snapshot.manifest.withdraws(*number)),",
            "Ok(_) => {}",
        )],
        class: operation::sequences,
        faults: 200,
        says: &["lost"],
    },
    Bug {
        name: "the digest of a fetched archive is not compared",
        edits: &[(
            "cycle/follow/archives.rs",
            "let Err(error) = check(&staged, release) else",
            "let Err(error) = check(&staged, release).or(anyhow::Ok(())) else",
        )],
        class: follow::faults,
        faults: 300,
        // The commit compares it once more, but no longer knows the mirror.
        says: &["wrong bytes", "the cycle failed as a whole", "the failing mirror is not named"],
    },
    Bug {
        name: "a shorter ledger than the own one is accepted",
        edits: &[
            (
                "cycle/follow/check.rs",
                "        else {\n            bail!(self.shorter(origin));",
                "        else {\n            return Ok((Vec::new(), None));",
            ),
            (
                "cycle/follow/check.rs",
                "        ensure!(\n            state.ledger.lines >= own,",
                "        if state.ledger.lines < own {\n            return Ok((new, ledger));\n        }\n        ensure!(\n            state.ledger.lines >= own,",
            ),
        ],
        class: follow::faults,
        faults: 300,
        says: &["is not named", "the other mirror is not used"],
    },
    Bug {
        name: "a ledger that does not continue the own one is accepted",
        edits: &[
            ("cycle/follow/check.rs", "if !bytes.starts_with(known) {", "if !bytes.starts_with(b\"{\") {"),
            (
                "ledger.rs",
                "if release.previous != self.head() {",
                "if number == 1 && release.previous != self.head() {",
            ),
        ],
        class: follow::faults,
        faults: 300,
        says: &["forked"],
    },
    Bug {
        name: "a mirror that cannot be followed is not named",
        edits: &[(
            "cycle/follow/mod.rs",
            "if is_spare { (error, None) }",
            "if is_spare || followed.is_some() { (error, None) }",
        )],
        class: follow::faults,
        faults: 60,
        says: &["is not named", "unreported"],
    },
    Bug {
        name: "only the first mirror is asked",
        edits: &[(
            "cycle/follow/mod.rs",
            "                origins.exclude(index, &error);\n",
            "                origins.exclude(index, &error);\n                return None;\n",
        )],
        class: follow::faults,
        faults: 60,
        says: &["the other mirror is not used"],
    },
    Bug {
        name: "the checksum that a Composer repository lists is not compared",
        edits: &[(
            "cycle/composer_source/archive.rs",
            "match dist.shasum.filter(|sha1| *sha1 != archive.digests.sha1) {",
            "match dist.shasum.filter(|_| archive.digests.size == 0) {",
        )],
        class: composer::faults,
        faults: 100,
        says: &["wrong bytes"],
    },
    Bug {
        name: "what a Composer repository sends is kept before it is read",
        edits: &[(
            "composer_repository/transport.rs",
            "                let value = read(&body).map_err(|error| describe(error, &body)).with_context(failed)?;\n                self.cache.write(url, validators, Some(&body))?;\n",
            "                self.cache.write(url, validators, Some(&body))?;\n                let value = read(&body).map_err(|error| describe(error, &body)).with_context(failed)?;\n",
        )],
        class: composer::faults,
        faults: 100,
        says: &["the cycle without a fault did not complete"],
    },
    Bug {
        name: "a file of a package that is missing once is taken for current",
        edits: &[(
            "composer_repository/repository.rs",
            "            None if !was_there => changes.set_missing(file),\n",
            "            None if !was_there => changes.set_missing(file),\n            None if was_there => changes.set_current(file, Some(u64::MAX)),\n",
        )],
        class: composer::faults,
        faults: 200,
        says: &["lost"],
    },
    Bug {
        name: "a version that a Composer repository does not send is passed over",
        edits: &[(
            "cycle/composer_source/mod.rs",
            "            Err(error) => batch.add_row(wanted.version.as_str(), wanted.package(), Outcome::failed(&error)),\n",
            "            Err(error) => tracing::debug!(\"{error:#}\"),\n",
        )],
        class: composer::faults,
        faults: 100,
        says: &["unreported"],
    },
    Bug {
        name: "the root is replaced whatever it is",
        edits: &[(
            "bucket/commit.rs",
            "        Some(current) => Condition::Unchanged(&current.etag),\n",
            "        Some(_) => Condition::Always,\n",
        )],
        class: bucket::processes::faults,
        faults: 100,
        says: &["lost", "forked"],
    },
    Bug {
        name: "a commit that another mirror has won counts as one's own",
        edits: &[(
            "bucket/commit.rs",
            "        _ => Some(Committed::Overtaken(now)),\n",
            "        _ => Some(Committed::Done(now.root)),\n",
        )],
        class: bucket::processes::faults,
        faults: 100,
        says: &["lost"],
    },
    Bug {
        name: "archives that were not uploaded are named",
        edits: &[(
            "bucket/publish.rs",
            "sent += uploader.upload_all(&wanted)?;",
            "sent += uploader.upload_all(&wanted).unwrap_or_default();",
        )],
        class: bucket::processes::faults,
        faults: 100,
        says: &["`root` names what is not there"],
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
