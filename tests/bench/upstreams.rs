//! A configuration and a volume over upstreams, real or synthetic, and new tags in them.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::measure::{Measured, measure};
use crate::support::env::TestEnv;
use crate::support::{free_port, run};
use crate::synthetic::{self, Scale};

/// The prefix of the URLs of the recipe.
enum Kind {
    Real,
    Synthetic(Scale),
}

pub struct World {
    env: TestEnv,
    pub port: u16,
    kind: Kind,
}

/// The sources of the recipe `magento` that get new tags.
const LARGE: &str = "mirror-magento2.git";
const SMALL: &str = "mirror-security-package.git";

impl World {
    /// Bare clones. Those that get new tags are used through alternates.
    pub fn real(folder: &Path) -> Self {
        let world = Self::new(Kind::Real);
        for entry in std::fs::read_dir(folder).expect("the upstreams") {
            let entry = entry.expect("an entry");
            let to = world.upstreams().join(entry.file_name());
            if [LARGE, SMALL].iter().any(|name| entry.file_name() == *name) {
                run(Command::new("git")
                    .args(["clone", "-q", "--mirror", "--shared"])
                    .arg(entry.path())
                    .arg(to));
            } else {
                symlink(entry.path().canonicalize().expect("a path"), to).expect("a link");
            }
        }
        world.rewrite(&world.local());
        world
    }

    pub fn synthetic(scale: &Scale) -> Self {
        let world = Self::new(Kind::Synthetic(*scale));
        synthetic::make(&world.upstreams().join("modules.git"), scale);
        world.rewrite(&world.local());
        world
    }

    fn new(kind: Kind) -> Self {
        Self { env: TestEnv::new(), port: free_port(), kind }
    }

    /// The folder of the upstreams.
    pub fn upstreams(&self) -> &Path {
        Box::leak(self.env.path("git").into_boxed_path())
    }

    /// Their URL without a network.
    pub fn local(&self) -> String {
        format!("file://{}/", self.upstreams().display())
    }

    /// Takes the upstreams from this URL.
    pub fn rewrite(&self, to: &str) {
        let (recipe, prefix) = match self.kind {
            Kind::Real => ("magento", "https://github.com/mage-os/"),
            Kind::Synthetic(_) => ("./recipe.yaml", "https://git.example/"),
        };
        self.env.write(
            "recipe.yaml",
            "sources:\n  - {name: modules, git: 'https://git.example/modules.git', packages: [{each: app/code/Acme}]}\n",
        );
        // Without compression, which follows the publication.
        self.env.write(
            "mirror.yaml",
            &format!(
                "data: '{}'\nserve: {{listen: ['127.0.0.1:{port}'], compression: none}}\nrepositories:\n  - {{name: bench, url: 'http://127.0.0.1:{port}/', recipe: {recipe}}}\ngit: {{connect_timeout: 2s, rewrite: {{'{prefix}': '{to}'}}}}\n",
                self.env.path("data").display(),
                port = self.port,
            ),
        );
    }

    pub fn mirror(&self, command: &str) -> Command {
        let mut mirror = Command::new(env!("CARGO_BIN_EXE_mirror"));
        mirror.arg(command).arg("--config").arg(self.env.path("mirror.yaml"));
        mirror.env_remove("RUST_LOG");
        mirror
    }

    /// Removes everything that was built and fetched.
    pub fn empty(&self) {
        let data = self.env.path("data");
        if data.exists() {
            std::fs::remove_dir_all(data).expect("removed");
        }
    }

    /// Cycles that find nothing new.
    pub fn again(&self, runs: usize) -> Vec<Measured> {
        measure(&mut self.mirror("build"));
        (0..runs).map(|_| measure(&mut self.mirror("build"))).collect()
    }

    /// The folder of the repository on the volume.
    pub fn repository(&self) -> PathBuf {
        self.env.path("data/bench")
    }

    fn ledger(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.repository().join("ledger.jsonl")).expect("a ledger");
        text.lines().map(|line| serde_json::from_str(line).expect("a release")).collect()
    }

    /// How many package versions are published.
    pub fn releases(&self) -> usize {
        self.ledger().len()
    }

    /// Bytes of all archives.
    pub fn archive_bytes(&self) -> u64 {
        self.ledger().iter().filter_map(|release| release["size"].as_u64()).sum()
    }

    /// The published commits of each upstream; a commit of one that is not there belongs to a resource.
    pub fn commits(&self) -> BTreeMap<PathBuf, BTreeSet<String>> {
        let folders: Vec<_> = std::fs::read_dir(self.upstreams())
            .expect("the upstreams")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        let mut commits = BTreeMap::<PathBuf, BTreeSet<String>>::new();
        let published: BTreeSet<_> = self
            .ledger()
            .iter()
            .filter_map(|release| release["commit"].as_str().map(str::to_owned))
            .collect();
        for folder in folders {
            let tags = run(Command::new("git").current_dir(&folder).args([
                "for-each-ref",
                "--format=%(objectname) %(*objectname)",
                "refs/tags",
                "refs/heads",
            ]));
            for id in tags.split_whitespace().filter(|id| published.contains(*id)) {
                commits.entry(folder.clone()).or_default().insert(id.to_owned());
            }
        }
        commits
    }

    /// A new tag with a few packages.
    pub fn tag_small(&self, n: usize) {
        match &self.kind {
            Kind::Real => retag(&self.upstreams().join(SMALL), n),
            Kind::Synthetic(scale) => self.tag_synthetic(scale, &format!("2.0.{n}"), 10),
        }
    }

    /// A new tag in which every package is new.
    pub fn tag_large(&self, n: usize) {
        match &self.kind {
            Kind::Real => retag(&self.upstreams().join(LARGE), n),
            Kind::Synthetic(scale) => self.tag_synthetic(scale, &format!("3.0.{n}"), scale.modules),
        }
    }

    fn tag_synthetic(&self, scale: &Scale, tag: &str, modules: usize) {
        let last = format!("1.{}.0", scale.tags - 1);
        synthetic::tag(&self.upstreams().join("modules.git"), tag, &last, modules);
    }
}

/// Tags a patch of the newest release in which every manifest has another version.
fn retag(folder: &Path, n: usize) {
    let git = |arguments: &[&str]| run(Command::new("git").current_dir(folder).args(arguments));
    let tags = git(&["tag", "--sort=version:refname"]);
    let stable =
        |tag: &&str| tag.split(['.', '-']).all(|part| part.parse::<u32>().is_ok() || part.starts_with('p'));
    let newest = tags.lines().filter(stable).rfind(|tag| !tag.contains("-p9")).expect("a tag").to_owned();
    let suffix = format!("-p9{n}");
    let tag = format!("{}{suffix}", newest.split('-').next().expect("a version"));
    let listed = git(&["ls-tree", "-r", "--name-only", &newest]);
    let manifests: Vec<_> = listed.lines().filter(|path| path.ends_with("composer.json")).collect();
    synthetic::import(folder, |to| {
        synthetic::commit(to, &tag, Some(&newest))?;
        for path in manifests {
            let text = git(&["show", &format!("{newest}:{path}")]);
            let Ok(mut manifest) = serde_json::from_str::<Value>(&text) else {
                continue;
            };
            if let Some(version) = manifest["version"].as_str() {
                let core = version.split('-').next().unwrap_or_default();
                manifest["version"] = format!("{core}{suffix}").into();
                synthetic::file(to, path, manifest.to_string().as_bytes())?;
            }
        }
        Ok(())
    });
}
