//! `mirror verify`: everything that is published, compared with the ledger, with itself, with git, with another mirror.

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use url::Url;

use super::stdout::Stdout;
use crate::app::exit::Exit;
use crate::app::{App, Repository, cycle_runner, site_builder};
use crate::cycle::RebuildOutcome;
use crate::ledger::{Release, ReleaseKind};
use crate::metadata::reader::{ArchiveUrls, ListedRepository};
use crate::net;
use crate::server::Site;
use crate::store::snapshot::Snapshot;
use crate::store::{self, Volume};
use crate::util::cancel::CancelFlag;

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Arguments {
    /// Build damaged archives again from git, and replace those that give exactly the ledger's bytes
    #[arg(long)]
    repair: bool,
    /// Build everything again from git and compare
    #[arg(long)]
    rebuild: bool,
    /// Compare the checksums of all versions with those of the mirror at this URL
    #[arg(long, value_name = "URL", value_parser = mirror_url)]
    against: Option<Url>,
    /// Only this repository
    #[arg(long, value_name = "NAME")]
    repository: Option<String>,
}

fn mirror_url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).ok();
    url.filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or("expected an http or https URL such as `https://mirror.example.com/`")
}

pub(super) fn verify(app: &App, arguments: &Arguments) -> anyhow::Result<Exit> {
    let repositories = match (&arguments.repository, &arguments.against) {
        (None, None) => app.repositories.iter().collect(),
        (name, _) => vec![app.repository(name.as_deref())?],
    };
    let git = arguments.repair || arguments.rebuild;
    let volume = match git {
        true => Volume::open_existing(&app.config.data)?,
        false => Volume::open_read_only(&app.config.data)?,
    };
    let (mut problems, mut failed) = (0, false);
    for repository in repositories {
        let store = match volume.repository(&repository.name) {
            Ok(store) => store,
            Err(error) => {
                writeln!(Stdout, "{}: {error:#}", repository.name)?;
                failed = true;
                continue;
            }
        };
        let checked = Checked {
            app,
            volume: &volume,
            repository,
            store: &store,
        };
        problems += match &arguments.against {
            Some(url) => checked.against(url)?,
            None => checked.all(arguments)?,
        };
        if git {
            store.recheck_damaged(BTreeMap::new())?;
        }
    }
    Ok(match (failed, problems) {
        (true, _) => Exit::Failed,
        (false, 0) => Exit::Complete,
        (false, _) => Exit::Incomplete,
    })
}

struct Checked<'a> {
    app: &'a App,
    volume: &'a Volume,
    repository: &'a Repository,
    store: &'a store::RepositoryStore,
}

impl Checked<'_> {
    /// Checks one repository and answers how many problems are left.
    fn all(&self, arguments: &Arguments) -> anyhow::Result<usize> {
        let releases = self.store.served_releases()?;
        let damaged = self.archives(&releases)?;
        let mut problems = 0;
        if arguments.repair && !damaged.is_empty() {
            problems += self.again(&damaged, true)?;
        } else if !damaged.is_empty() {
            problems += damaged.len();
            self.say("hint: `mirror verify --repair` builds damaged archives again from git")?;
        }
        let newest = self.store.newest_snapshot()?;
        let mut urls = 0;
        for number in self.store.snapshot_numbers()? {
            if let Err(error) = self.store.load(number).and_then(|s| s.check_files()) {
                problems += self.say(&format!("snapshot {number}: {error:#}"))?;
            }
        }
        if let Some(snapshot) = &newest {
            let (asked, wrong) = self.urls(snapshot, &releases)?;
            urls = asked;
            problems += wrong;
        }
        if arguments.rebuild {
            let built: Vec<_> = releases
                .iter()
                .filter(|release| release.kind == ReleaseKind::Package)
                .cloned()
                .collect();
            problems += self.again(&built, false)?;
        }
        writeln!(
            Stdout,
            "{}: {} archives with {} bytes, {} lines of the ledger, snapshot {}, {urls} URLs: {}",
            self.repository.name,
            releases.len(),
            releases.iter().map(|release| release.size).sum::<u64>(),
            self.store.ledger(|ledger| ledger.len()),
            newest.map_or("none".to_owned(), |s| s.manifest.number.to_string()),
            match problems {
                0 => "all is well".to_owned(),
                1 => "1 problem".to_owned(),
                many => format!("{many} problems"),
            }
        )?;
        Ok(problems)
    }

    /// Answers that it is one problem.
    fn say(&self, problem: &str) -> anyhow::Result<usize> {
        writeln!(Stdout, "{}: {problem}", self.repository.name)?;
        Ok(1)
    }

    /// Reads all archives and answers the damaged ones.
    fn archives(&self, releases: &[Release]) -> anyhow::Result<Vec<Release>> {
        let bar = ProgressBar::new(releases.iter().map(|release| release.size).sum());
        let style = "archives {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {wide_msg}";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        let mut damaged = Vec::new();
        for release in releases {
            if let Err(error) = self.store.check_archive(release) {
                bar.suspend(|| self.say(&format!("{error:#}")))?;
                damaged.push(release.clone());
            }
            bar.inc(release.size);
        }
        bar.finish_and_clear();
        Ok(damaged)
    }

    /// Builds releases again, and answers how many do not end well.
    fn again(&self, releases: &[Release], mend: bool) -> anyhow::Result<usize> {
        let cancel = CancelFlag::default();
        let results = cycle_runner::rebuild(
            self.app,
            self.volume,
            self.repository,
            self.store,
            releases,
            mend,
            &cancel,
        )?;
        let mut problems = 0;
        let mut equal = 0;
        for (release, result) in results {
            let what = format!("{} {}", release.name, release.version);
            match result {
                RebuildOutcome::Equal => equal += 1,
                RebuildOutcome::Repaired => {
                    self.say(&format!("{what}: repaired"))?;
                }
                RebuildOutcome::Different(sha256) => {
                    problems += self.say(&format!(
                        "{what}: built again it has SHA-256 {sha256}, not {}",
                        release.sha256
                    ))?;
                }
                // What upstream has changed or removed since says nothing of the published bytes.
                RebuildOutcome::Impossible(because) if !mend => {
                    self.say(&format!("{what}: not compared: {because}"))?;
                }
                RebuildOutcome::Impossible(because) => {
                    problems += self.say(&format!("{what}: not repaired: {because}"))?;
                }
            }
        }
        if !mend {
            writeln!(
                Stdout,
                "{}: {equal} versions built again are equal",
                self.repository.name
            )?;
        }
        Ok(problems)
    }

    /// Whether every URL in the metadata is answered, with the checksum that the metadata says; how many there are.
    fn urls(&self, snapshot: &Snapshot, releases: &[Release]) -> anyhow::Result<(usize, usize)> {
        let base = &self.repository.base_url;
        let site = Site::new([site_builder::repository_site(self.repository, self.store)?])?;
        let sha1: BTreeMap<_, _> = releases
            .iter()
            .map(|release| (base.join(&release.path()), release.sha1.to_string()))
            .collect();
        let (root, versions) = own(snapshot)?;
        let mut urls: Vec<(String, Option<String>)> = Vec::new();
        urls.extend(root.includes.keys().map(|path| (base.join(path), None)));
        for name in &root.available_packages {
            urls.push((base.join(&format!("p2/{name}.json")), None));
            urls.push((base.join(&format!("p2/{name}~dev.json")), None));
        }
        urls.extend(versions.into_values().map(|(url, shasum)| (url, Some(shasum))));
        let mut wrong = 0;
        for (url, shasum) in &urls {
            let prefix = base.to_string();
            let path = url
                .strip_prefix(&prefix)
                .map(|rest| format!("{}{rest}", base.path()));
            if !path.is_some_and(|path| site.answers(&path)) {
                wrong += self.say(&format!("`{url}` is in the metadata, and is not answered: after a change of `url`, `mirror build` makes the metadata anew"))?;
            } else if shasum.is_some() && sha1.get(url) != shasum.as_ref() {
                wrong += self.say(&format!(
                    "`{url}` has another checksum in the metadata than in the ledger"
                ))?;
            }
        }
        Ok((urls.len(), wrong))
    }

    /// Compares with another mirror; answers how many versions differ.
    fn against(&self, url: &Url) -> anyhow::Result<usize> {
        let snapshot = self.store.newest_snapshot()?.context("nothing is published")?;
        let (_, own) = own(&snapshot)?;
        let git = &self.app.config.git;
        let base = format!("{}/", url.as_str().trim_end_matches('/'));
        let get = |path: &str| net::download(&format!("{base}{path}").parse()?, git);
        let root: ListedRepository = serde_json::from_slice(&get("packages.json")?)
            .with_context(|| format!("`{base}packages.json` is no Composer repository"))?;
        let mut other = root
            .archives(get)
            .with_context(|| format!("failed to list what `{base}` has"))?;
        let (mut same, mut different, mut here) = (0, 0, 0);
        for (version, (_, shasum)) in &own {
            match other.remove(version) {
                None => here += 1,
                Some((_, there)) if there == *shasum => same += 1,
                Some((_, there)) => {
                    let (name, version) = version;
                    different += self.say(&format!(
                        "{name} {version}: SHA-1 {shasum} here, {there} at {base}"
                    ))?;
                }
            }
        }
        writeln!(
            Stdout,
            "{}: {same} versions are equal, {different} differ, {here} are only here, {} only at {base}",
            self.repository.name,
            other.len()
        )?;
        Ok(different)
    }
}

fn own(snapshot: &Snapshot) -> anyhow::Result<(ListedRepository, ArchiveUrls)> {
    let read = |path: &str| {
        let file = snapshot.folder.join(path);
        std::fs::read(&file).with_context(|| format!("failed to read `{}`", file.display()))
    };
    let root: ListedRepository = serde_json::from_slice(&read("packages.json")?).context("packages.json")?;
    let archives = root.archives(read)?;
    Ok((root, archives))
}
