//! `mirror verify`: compares everything that is published with the ledger, with git or with another mirror.

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use url::Url;

use super::stdout::Stdout;
use crate::app::App;
use crate::app::cycle_runner::OpenRepository;
use crate::app::exit::Exit;
use crate::app::site_builder::repository_site;
use crate::cycle::RebuildOutcome;
use crate::ledger::{Ledger, Release, ReleaseKind};
use crate::metadata::reader::{ArchiveUrls, ListedRepository};
use crate::net;
use crate::server::Site;
use crate::store::Volume;
use crate::store::snapshot::Snapshot;
use crate::util::cancel::CancelFlag;
use crate::util::text::plural;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Rebuild damaged archives from git; replace those whose bytes match the ledger
    #[arg(long)]
    repair: bool,
    /// Rebuild all archives from git and compare
    #[arg(long)]
    rebuild: bool,
    /// Compare the checksums of all versions with the mirror at this URL
    #[arg(long, value_name = "URL", value_parser = mirror_url)]
    against: Option<Url>,
    /// Check this repository only
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
    let needs_git = arguments.repair || arguments.rebuild;
    let volume = match needs_git {
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
        let verifier = Verifier(OpenRepository { app, volume: &volume, repository, store: &store });
        problems += match &arguments.against {
            Some(url) => verifier.compare_with(url)?,
            None => verifier.check_all(arguments)?,
        };
        if needs_git {
            store.recheck_damaged(BTreeMap::new())?;
        }
    }
    Ok(match (failed, problems) {
        (true, _) => Exit::Failed,
        (false, 0) => Exit::Complete,
        (false, _) => Exit::Incomplete,
    })
}

/// Checks one repository. Each method returns how many problems remain.
struct Verifier<'a>(OpenRepository<'a>);

impl Verifier<'_> {
    fn check_all(&self, arguments: &Arguments) -> anyhow::Result<usize> {
        let store = self.0.store;
        let releases = store.served_releases()?;
        let damaged = self.check_archives(&releases)?;
        let mut problems = 0;
        if arguments.repair && !damaged.is_empty() {
            problems += self.repair(&damaged)?;
        } else if !damaged.is_empty() {
            problems += damaged.len();
            self.print("hint: `mirror verify --repair` rebuilds damaged archives from git")?;
        }
        for number in store.snapshot_numbers()? {
            if let Err(error) = store.load(number).and_then(|snapshot| snapshot.check_files()) {
                problems += 1;
                self.print(&format!("snapshot {number}: {error:#}"))?;
            }
        }
        let newest = store.newest_snapshot()?;
        let mut urls = 0;
        if let Some(snapshot) = &newest {
            let (count, wrong) = self.check_urls(snapshot, &releases)?;
            urls = count;
            problems += wrong;
        }
        if arguments.rebuild {
            problems += self.rebuild(&releases)?;
        }
        self.print(&format!(
            "{} archives with {} bytes, {} lines of the ledger, snapshot {}, {urls} URLs: {}",
            releases.len(),
            releases.iter().map(|release| release.size).sum::<u64>(),
            store.ledger(Ledger::len),
            newest.map_or("none".to_owned(), |s| s.manifest.number.to_string()),
            match problems {
                0 => "no problems".to_owned(),
                _ => plural(problems, "problem"),
            }
        ))?;
        Ok(problems)
    }

    fn print(&self, line: &str) -> anyhow::Result<()> {
        Ok(writeln!(Stdout, "{}: {line}", self.0.repository.name)?)
    }

    /// Reads all archives and returns the damaged ones.
    fn check_archives(&self, releases: &[Release]) -> anyhow::Result<Vec<Release>> {
        let bar = ProgressBar::new(releases.iter().map(|release| release.size).sum());
        let style = "archives {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {wide_msg}";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        let mut damaged = Vec::new();
        for release in releases {
            if let Err(error) = self.0.store.check_archive(release) {
                bar.suspend(|| self.print(&format!("{error:#}")))?;
                damaged.push(release.clone());
            }
            bar.inc(release.size);
        }
        bar.finish_and_clear();
        Ok(damaged)
    }

    fn repair(&self, damaged: &[Release]) -> anyhow::Result<usize> {
        let mut problems = 0;
        for (release, outcome) in self.0.rebuild(damaged, true, &CancelFlag::default())? {
            let version = format!("{} {}", release.name, release.version);
            match outcome {
                RebuildOutcome::Equal => {}
                RebuildOutcome::Repaired => self.print(&format!("{version}: repaired"))?,
                RebuildOutcome::Different(sha256) => {
                    problems += 1;
                    self.print_different(&release, &sha256.to_string())?;
                }
                RebuildOutcome::Impossible(reason) => {
                    problems += 1;
                    self.print(&format!("{version}: not repaired: {reason}"))?;
                }
            }
        }
        Ok(problems)
    }

    fn rebuild(&self, releases: &[Release]) -> anyhow::Result<usize> {
        let packages = releases.iter().filter(|release| release.kind == ReleaseKind::Package);
        let packages: Vec<_> = packages.cloned().collect();
        let (mut equal, mut problems, mut skipped) = (0, 0, 0);
        for (release, outcome) in self.0.rebuild(&packages, false, &CancelFlag::default())? {
            match outcome {
                RebuildOutcome::Equal | RebuildOutcome::Repaired => equal += 1,
                RebuildOutcome::Different(sha256) => {
                    problems += 1;
                    self.print_different(&release, &sha256.to_string())?;
                }
                // Not a problem: that upstream has changed says nothing about the published bytes.
                RebuildOutcome::Impossible(reason) => {
                    skipped += 1;
                    let (name, version) = (&release.name, &release.version);
                    self.print(&format!("{name} {version}: not compared: {reason}"))?;
                }
            }
        }
        let skipped = match skipped {
            0 => String::new(),
            _ => format!(", {skipped} could not be compared"),
        };
        self.print(&format!("{equal} rebuilt versions are equal{skipped}"))?;
        Ok(problems)
    }

    fn print_different(&self, release: &Release, rebuilt: &str) -> anyhow::Result<()> {
        self.print(&format!(
            "{} {}: the rebuilt archive has SHA-256 {rebuilt}, not {}",
            release.name, release.version, release.sha256
        ))
    }

    /// Checks that the mirror serves each URL in the metadata, with the checksum in the metadata. Returns how many URLs there
    /// are and how many are wrong.
    fn check_urls(&self, snapshot: &Snapshot, releases: &[Release]) -> anyhow::Result<(usize, usize)> {
        let base = &self.0.repository.base_url;
        let site = Site::new([repository_site(self.0.repository, self.0.store)?])?;
        let sha1: BTreeMap<_, _> =
            releases.iter().map(|release| (base.join(&release.path()), release.sha1.to_string())).collect();
        let (root, versions) = read_metadata(snapshot)?;
        let mut urls: Vec<(String, Option<String>)> = Vec::new();
        urls.extend(root.includes.keys().map(|path| (base.join(path), None)));
        for name in &root.available_packages {
            urls.push((base.join(&format!("p2/{name}.json")), None));
            urls.push((base.join(&format!("p2/{name}~dev.json")), None));
        }
        urls.extend(versions.into_values().map(|(url, shasum)| (url, Some(shasum))));
        let prefix = base.to_string();
        let mut wrong = 0;
        for (url, shasum) in &urls {
            let path = url.strip_prefix(&prefix);
            let path = path.map(|rest| format!("{}{rest}", base.path()));
            if !path.is_some_and(|path| site.answers(&path)) {
                wrong += 1;
                self.print(&format!(
                    "the metadata has `{url}`, which is not served\nhint: after a change of `url`, run `mirror build`"
                ))?;
            } else if shasum.is_some() && sha1.get(url) != shasum.as_ref() {
                wrong += 1;
                self.print(&format!("the checksum of `{url}` differs between the metadata and the ledger"))?;
            }
        }
        Ok((urls.len(), wrong))
    }

    fn compare_with(&self, url: &Url) -> anyhow::Result<usize> {
        let snapshot = self.0.store.newest_snapshot()?.context("nothing is published")?;
        let (_, here) = read_metadata(&snapshot)?;
        let git = &self.0.app.config.git;
        let base = format!("{}/", url.as_str().trim_end_matches('/'));
        let get = |path: &str| net::download(&format!("{base}{path}").parse()?, git);
        let root: ListedRepository = serde_json::from_slice(&get("packages.json")?)
            .with_context(|| format!("`{base}packages.json` is not a Composer repository"))?;
        let mut there =
            root.archives(get).with_context(|| format!("failed to list the versions of `{base}`"))?;
        let (mut equal, mut different, mut only_here) = (0, 0, 0);
        for (version, (_, shasum)) in &here {
            match there.remove(version) {
                None => only_here += 1,
                Some((_, other)) if other == *shasum => equal += 1,
                Some((_, other)) => {
                    different += 1;
                    let (name, version) = version;
                    self.print(&format!("{name} {version}: SHA-1 {shasum} here, {other} at {base}"))?;
                }
            }
        }
        self.print(&format!(
            "{equal} versions are equal, {different} differ, {only_here} are only here, {} only at {base}",
            there.len()
        ))?;
        Ok(different)
    }
}

fn read_metadata(snapshot: &Snapshot) -> anyhow::Result<(ListedRepository, ArchiveUrls)> {
    let read = |path: &str| {
        let file = snapshot.folder.join(path);
        std::fs::read(&file).with_context(|| format!("failed to read `{}`", file.display()))
    };
    let root: ListedRepository =
        serde_json::from_slice(&read("packages.json")?).context("failed to parse `packages.json`")?;
    let archives = root.archives(read)?;
    Ok((root, archives))
}
