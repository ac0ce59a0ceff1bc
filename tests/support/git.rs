//! Git repositories, made by the real git.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// When every commit is made: 2024-05-06T07:08:09+02:00.
pub const COMMIT_TIME: i64 = 1_714_972_089;

/// Runs git, free of the user's configuration, and returns what it printed without the line end.
pub fn git(dir: &Path, args: &[&str]) -> String {
    git_with_input(dir, args, b"")
}

/// The same with something to read.
pub fn git_with_input(dir: &Path, args: &[&str], input: &[u8]) -> String {
    let mut child = Command::new("git")
        .current_dir(dir)
        .args(args)
        .envs(environment())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}", super::missing("git", &error)));
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

pub fn environment() -> [(&'static str, String); 8] {
    let date = format!("{COMMIT_TIME} +0200");
    [
        ("GIT_CONFIG_GLOBAL", "/dev/null".into()),
        ("GIT_CONFIG_NOSYSTEM", "1".into()),
        ("GIT_AUTHOR_NAME", "a".into()),
        ("GIT_AUTHOR_EMAIL", "a@b".into()),
        ("GIT_AUTHOR_DATE", date.clone()),
        ("GIT_COMMITTER_NAME", "a".into()),
        ("GIT_COMMITTER_EMAIL", "a@b".into()),
        ("GIT_COMMITTER_DATE", date),
    ]
}

/// A repository with a work tree.
pub struct WorkTree {
    pub path: PathBuf,
}

impl WorkTree {
    pub fn init(path: PathBuf) -> Self {
        std::fs::create_dir_all(&path).unwrap();
        git(&path, &["init", "-q", "-b", "main"]);
        Self { path }
    }

    pub fn git(&self, args: &[&str]) -> String {
        git(&self.path, args)
    }

    pub fn write(&self, name: &str, text: &str) -> &Self {
        let path = self.path.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// Commits all files and tags the commit.
    pub fn release(&self, tag: &str) -> &Self {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", tag]);
        self.git(&["tag", "-f", tag]);
        self
    }
}

/// A bare repository named `x.git` in a folder of its own, whose commits are made of single objects: they may hold what git
/// would not put into a work tree.
pub struct BareRepository {
    root: TempDir,
}

/// One file of a commit: mode, path, content (for a submodule, the commit).
pub type File<'a> = (&'a str, &'a str, &'a str);

impl BareRepository {
    pub fn new() -> Self {
        let repository = Self { root: tempfile::tempdir().unwrap() };
        git(repository.root(), &["init", "--quiet", "--bare", "--initial-branch=main", "x.git"]);
        repository
    }

    /// With one commit per version, each changing one file of several, and a lightweight tag on it.
    pub fn with_tags(tags: &[&str]) -> Self {
        let repository = Self::new();
        for tag in tags {
            repository.release(tag);
        }
        repository
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn path(&self) -> PathBuf {
        self.root.path().join("x.git")
    }

    pub fn git(&self, args: &[&str]) -> String {
        git(&self.path(), args)
    }

    /// A commit on `main` that holds exactly `files`.
    pub fn commit(&self, files: &[File<'_>]) -> String {
        let mut tree = String::new();
        for (mode, path, content) in files {
            let id = match *mode {
                "160000" => (*content).to_owned(),
                _ => self.write_object("blob", content.as_bytes()),
            };
            tree.push_str(&format!("{mode} {id}\t{path}\n"));
        }
        self.git(&["read-tree", "--empty"]);
        git_with_input(&self.path(), &["update-index", "--add", "--index-info"], tree.as_bytes());
        self.commit_tree(&self.git(&["write-tree"]))
    }

    /// A commit on `main` with this tree.
    pub fn commit_tree(&self, tree: &str) -> String {
        let parent = self.git(&["for-each-ref", "--format=%(objectname)", "refs/heads/main"]);
        let mut args = vec!["commit-tree", "-m", "a change", tree];
        if !parent.is_empty() {
            args.extend(["-p", &parent]);
        }
        let commit = self.git(&args);
        self.git(&["update-ref", "refs/heads/main", &commit]);
        commit
    }

    /// Tags so many commits of nothing, each of its own.
    pub fn add_empty_tags(&self, number: usize) {
        let commit = |n: usize| format!("commit refs/tags/0.0.{n}\ncommitter a <a@b> {n} +0000\ndata 0\n\n");
        let commits: String = (0..number).map(commit).collect();
        git_with_input(&self.path(), &["fast-import", "--quiet"], commits.as_bytes());
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
        git_with_input(&self.path(), &["hash-object", "-t", kind, "-w", "--stdin", "--literally"], content)
    }
}
