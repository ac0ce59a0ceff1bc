//! Upstream repositories, made by the real git.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A bare repository named `x.git` in a folder of its own.
pub struct Upstream {
    root: TempDir,
}

/// One file of a commit: mode, path, content (for a submodule, the commit).
pub type File<'a> = (&'a str, &'a str, &'a str);

impl Upstream {
    pub fn new() -> Self {
        let upstream = Self {
            root: tempfile::tempdir().expect("a temporary folder"),
        };
        git(
            upstream.root(),
            &["init", "--quiet", "--bare", "--initial-branch=main", "x.git"],
            b"",
        );
        upstream
    }

    /// With one commit per version, each changing one file of several, and a lightweight tag on it.
    pub fn with_tags(tags: &[&str]) -> Self {
        let upstream = Self::new();
        for tag in tags {
            upstream.release(tag);
        }
        upstream
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn path(&self) -> PathBuf {
        self.root.path().join("x.git")
    }

    pub fn git(&self, args: &[&str]) -> String {
        git(&self.path(), args, b"")
    }

    /// A commit on `main` that holds exactly `files`.
    pub fn commit(&self, files: &[File<'_>]) -> String {
        let mut tree = String::new();
        for (mode, path, content) in files {
            let id = match *mode {
                "160000" => (*content).to_owned(),
                _ => git(
                    &self.path(),
                    &["hash-object", "-w", "--stdin"],
                    content.as_bytes(),
                ),
            };
            tree.push_str(&format!("{mode} {id}\t{path}\n"));
        }
        self.git(&["read-tree", "--empty"]);
        git(
            &self.path(),
            &["update-index", "--add", "--index-info"],
            tree.as_bytes(),
        );
        let tree = self.git(&["write-tree"]);
        self.commit_tree(&tree)
    }

    /// A commit on `main` with this tree.
    pub fn commit_tree(&self, tree: &str) -> String {
        let parent = Command::new("git")
            .current_dir(self.path())
            .args(["rev-parse", "-q", "--verify", "main"])
            .output();
        let parent = String::from_utf8(parent.expect("git").stdout).expect("text");
        let mut args = vec!["commit-tree", "-m", "a change", tree];
        if !parent.is_empty() {
            args.extend(["-p", parent.trim()]);
        }
        let commit = self.git(&args);
        self.git(&["update-ref", "refs/heads/main", &commit]);
        commit
    }

    /// Commits a tree that differs from the one before and tags it.
    pub fn release(&self, tag: &str) -> String {
        let manifest = format!("{{\"version\": \"{tag}\"}}");
        let commit = self.commit(&[
            ("100644", "composer.json", &manifest),
            ("100644", "src/Same.php", "<?php // the same in all versions\n"),
        ]);
        self.git(&["tag", tag, &commit]);
        commit
    }

    /// Writes an object of any content, even one that git would not make.
    pub fn write_object(&self, kind: &str, content: &[u8]) -> String {
        git(
            &self.path(),
            &["hash-object", "-t", kind, "-w", "--stdin", "--literally"],
            content,
        )
    }
}

/// Runs git with `input`, free of the user's configuration, and returns its output without the line end.
pub fn git(dir: &Path, args: &[&str], input: &[u8]) -> String {
    let mut child = Command::new("git")
        .current_dir(dir)
        .args(args)
        .envs(environment())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("failed to run git (is the package `git` installed?)");
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(input)
        .expect("git reads its input");
    let output = child.wait_with_output().expect("git ends");
    assert!(
        output.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .expect("git prints text")
        .trim_end()
        .to_owned()
}

pub fn environment() -> [(&'static str, &'static str); 8] {
    [
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_AUTHOR_NAME", "A. U. Thor"),
        ("GIT_AUTHOR_EMAIL", "author@example.com"),
        ("GIT_AUTHOR_DATE", "1646344942 +0000"),
        ("GIT_COMMITTER_NAME", "C. O. Mitter"),
        ("GIT_COMMITTER_EMAIL", "committer@example.com"),
        ("GIT_COMMITTER_DATE", "1646344942 +0100"),
    ]
}
