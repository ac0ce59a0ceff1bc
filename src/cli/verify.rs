//! `mirror verify`: compares everything that is published with the ledger, with git or with another mirror.

use std::collections::BTreeMap;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use url::Url;

use super::json_rows;
use super::verify_findings::{Findings, ProblemKind, Rebuilt};
use crate::app::cycle_runner::OpenRepository;
use crate::app::exit::Exit;
use crate::app::site_builder::repository_site;
use crate::app::{App, Repository};
use crate::bucket::verify::Verified;
use crate::bucket::{self, Bucket};
use crate::cycle::RebuildOutcome;
use crate::ledger::{Ledger, Release, ReleaseKind};
use crate::metadata::reader::{ArchiveUrls, ListedRepository};
use crate::net;
use crate::server::Site;
use crate::store::Volume;
use crate::store::snapshot::Snapshot;
use crate::util::cancel::CancelFlag;
use crate::util::digest::Sha256;
use crate::util::text::{plural, quoted};

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
    /// Check what is published in the bucket instead of the volume
    #[arg(long, conflicts_with_all = ["repair", "rebuild", "against"])]
    bucket: bool,
    /// Check this repository only
    #[arg(long, value_name = "NAME")]
    repository: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

fn mirror_url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).ok();
    url.filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or("expected an http or https URL such as `https://mirror.example.com/`")
}

pub(super) fn verify(app: &App, arguments: &Arguments) -> anyhow::Result<Exit> {
    let repositories: Vec<_> = match (&arguments.repository, &arguments.against) {
        (None, None) => app.repositories.iter().collect(),
        (name, _) => vec![app.repository(name.as_deref())?],
    };
    if arguments.bucket {
        return verify_bucket(app, &repositories, arguments.json);
    }
    let needs_git = arguments.repair || arguments.rebuild;
    let volume = match needs_git {
        true => Volume::open_existing(&app.config.data)?,
        false => Volume::open_read_only(&app.config.data)?,
    };
    let (mut all, mut failed) = (Vec::new(), false);
    for repository in repositories {
        let mut findings = Findings::new(&repository.name, &repository.base_url.to_string(), arguments.json);
        match volume.repository(&repository.name) {
            Ok(store) => {
                let opened = OpenRepository { app, volume: &volume, repository, store: &store };
                let mut verifier = Verifier { opened, findings: &mut findings };
                match &arguments.against {
                    Some(url) => verifier.compare_with(url)?,
                    None => verifier.check_all(arguments)?,
                }
                if needs_git {
                    store.recheck_damaged(BTreeMap::new())?;
                }
            }
            Err(error) => {
                findings.problem(ProblemKind::Repository, format!("{error:#}"))?;
                failed = true;
            }
        }
        all.push(findings);
    }
    finish(&all, arguments.json, failed)
}

fn finish(all: &[Findings], json: bool, failed: bool) -> anyhow::Result<Exit> {
    if json {
        let documents = all.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?;
        json_rows::print(&documents)?;
    }
    Ok(match failed {
        true => Exit::Failed,
        false if all.iter().all(Findings::is_well) => Exit::Complete,
        false => Exit::Incomplete,
    })
}

/// Checks what the bucket has; needs no volume.
fn verify_bucket(app: &App, repositories: &[&Repository], json: bool) -> anyhow::Result<Exit> {
    let config = app.config.bucket.as_ref().context("the configuration has no `bucket`")?;
    let bucket = Bucket::open(config, &app.config.git, &CancelFlag::default())?;
    let mut all = Vec::new();
    for repository in repositories {
        let mut findings = Findings::new(&repository.name, &repository.base_url.to_string(), json);
        let Verified { published, objects, problems } = bucket::verify::verify(&bucket, &repository.name)?;
        for problem in problems {
            findings.problem(ProblemKind::Bucket, problem)?;
        }
        let place = bucket.object(&repository.name);
        let line = match published {
            Some((sequence, snapshot)) => {
                format!(
                    "{place}: root {sequence}, snapshot {snapshot}, {objects} archives and compressed copies"
                )
            }
            None => format!("{place}: nothing is published"),
        };
        let figures = json!({
            "bucket": place,
            "root": published.map(|(sequence, _)| sequence),
            "snapshot": published.map(|(_, snapshot)| snapshot),
            "objects": objects,
        });
        findings.checked(&line, figures)?;
        all.push(findings);
    }
    finish(&all, json, false)
}

/// Checks one repository.
struct Verifier<'a> {
    opened: OpenRepository<'a>,
    findings: &'a mut Findings,
}

impl Verifier<'_> {
    fn check_all(&mut self, arguments: &Arguments) -> anyhow::Result<()> {
        let store = self.opened.store;
        let releases = store.served_releases()?;
        let damaged = self.check_archives(&releases)?;
        if arguments.repair && !damaged.is_empty() {
            self.repair(&damaged)?;
        } else if !damaged.is_empty() {
            for (_, reason) in damaged {
                self.findings.add(ProblemKind::Archive, reason);
            }
            self.findings.print("hint: `mirror verify --repair` rebuilds damaged archives from git")?;
        }
        for number in store.snapshot_numbers()? {
            if let Err(error) = store.load(number).and_then(|snapshot| snapshot.check_files()) {
                self.findings.problem(ProblemKind::Snapshot, format!("snapshot {number}: {error:#}"))?;
            }
        }
        let newest = store.newest_snapshot()?;
        let urls = match &newest {
            Some(snapshot) => self.check_urls(snapshot, &releases)?,
            None => 0,
        };
        if arguments.rebuild {
            self.rebuild(&releases)?;
        }
        let bytes = releases.iter().map(|release| release.size).sum::<u64>();
        let (archives, lines) = (releases.len(), store.ledger(Ledger::len));
        let withdrawn = newest.as_ref().map_or(0, |snapshot| snapshot.manifest.withdrawals.len());
        if withdrawn > 0 {
            let are = if withdrawn == 1 { "is" } else { "are" };
            self.findings.print(&format!("{} {are} withdrawn", plural(withdrawn, "version")))?;
        }
        let snapshot = newest.map(|snapshot| snapshot.manifest.number);
        let number = snapshot.map_or("none".to_owned(), |number| number.to_string());
        let figures = json!({
            "archives": archives,
            "bytes": bytes,
            "ledger_lines": lines,
            "withdrawn": withdrawn,
            "snapshot": snapshot,
            "urls": urls,
        });
        let line = format!(
            "{archives} archives with {bytes} bytes, {lines} lines of the ledger, snapshot {number}, {urls} URLs"
        );
        Ok(self.findings.checked(&line, figures)?)
    }

    /// Reads all archives. Prints and returns the damaged ones with the reasons.
    fn check_archives(&self, releases: &[Release]) -> anyhow::Result<Vec<(Release, String)>> {
        let bar = ProgressBar::new(releases.iter().map(|release| release.size).sum());
        let style = "archives {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {wide_msg}";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        let mut damaged = Vec::new();
        for release in releases {
            if let Err(error) = self.opened.store.check_archive(release) {
                let reason = format!("{error:#}");
                bar.suspend(|| self.findings.print(&reason))?;
                damaged.push((release.clone(), reason));
            }
            bar.inc(release.size);
        }
        bar.finish_and_clear();
        Ok(damaged)
    }

    fn repair(&mut self, damaged: &[(Release, String)]) -> anyhow::Result<()> {
        let releases: Vec<_> = damaged.iter().map(|(release, _)| release.clone()).collect();
        for (release, outcome) in self.opened.rebuild(&releases, true, &CancelFlag::default())? {
            match outcome {
                RebuildOutcome::Equal => {}
                RebuildOutcome::Repaired => self.findings.repaired(&release)?,
                RebuildOutcome::Different(digests) => self.report_different(&release, digests.sha256)?,
                RebuildOutcome::Impossible(reason) => {
                    let message = format!("{} {}: not repaired: {reason}", release.name, release.version);
                    self.findings.problem(ProblemKind::Archive, message)?;
                }
            }
        }
        Ok(())
    }

    fn rebuild(&mut self, releases: &[Release]) -> anyhow::Result<()> {
        let packages = releases.iter().filter(|release| release.kind == ReleaseKind::Package);
        let packages: Vec<_> = packages.cloned().collect();
        let mut rebuilt = Rebuilt::new(releases.len() - packages.len());
        for (release, outcome) in self.opened.rebuild(&packages, false, &CancelFlag::default())? {
            match outcome {
                RebuildOutcome::Equal | RebuildOutcome::Repaired => rebuilt.equal += 1,
                RebuildOutcome::Different(digests) => {
                    rebuilt.different += 1;
                    self.report_different(&release, digests.sha256)?;
                }
                // A change of upstream says nothing about the published bytes.
                RebuildOutcome::Impossible(reason) => {
                    self.findings.not_compared(&mut rebuilt, &release, reason)?;
                }
            }
        }
        Ok(self.findings.rebuilt(rebuilt)?)
    }

    fn report_different(&mut self, release: &Release, rebuilt: Sha256) -> anyhow::Result<()> {
        let message = format!(
            "{} {}: the rebuilt archive has SHA-256 {rebuilt}, not {}",
            release.name, release.version, release.sha256
        );
        Ok(self.findings.problem(ProblemKind::Rebuild, message)?)
    }

    /// Checks that each URL in the metadata is served with the checksum in the metadata. Returns the number of URLs.
    fn check_urls(&mut self, snapshot: &Snapshot, releases: &[Release]) -> anyhow::Result<usize> {
        let base = &self.opened.repository.base_url;
        let site = Site::new([repository_site(self.opened.repository, self.opened.store)?])?;
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
        for (url, shasum) in &urls {
            let path = url.strip_prefix(&prefix);
            let path = path.map(|rest| format!("{}{rest}", base.path()));
            if !path.is_some_and(|path| site.answers(&path)) {
                let message = format!(
                    "the metadata has `{url}`, which is not served\nhint: after a change of `url`, run `mirror build`"
                );
                self.findings.problem(ProblemKind::Url, message)?;
            } else if shasum.is_some() && sha1.get(url) != shasum.as_ref() {
                let message = format!("the checksum of `{url}` differs between the metadata and the ledger");
                self.findings.problem(ProblemKind::Checksum, message)?;
            }
        }
        Ok(urls.len())
    }

    fn compare_with(&mut self, url: &Url) -> anyhow::Result<()> {
        let snapshot = self.opened.store.newest_snapshot()?.context("nothing is published")?;
        let (_, here) = read_metadata(&snapshot)?;
        let git = &self.opened.app.config.git;
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
                    let message =
                        format!("{name} {version}: SHA-1 {shasum} here, {} at {base}", quoted(&other));
                    self.findings.problem(ProblemKind::Mirror, message)?;
                }
            }
        }
        let only_there = there.len();
        let figures = json!({
            "url": base,
            "equal": equal,
            "different": different,
            "only_here": only_here,
            "only_there": only_there,
        });
        let line = format!(
            "{equal} versions are equal, {different} differ, {only_here} are only here, {only_there} only at {base}"
        );
        Ok(self.findings.compared(&line, figures)?)
    }
}

/// The root of a snapshot's metadata, and the archive of each version.
pub(super) fn read_metadata(snapshot: &Snapshot) -> anyhow::Result<(ListedRepository, ArchiveUrls)> {
    let read = |path: &str| {
        let file = snapshot.folder.join(path);
        std::fs::read(&file).with_context(|| format!("failed to read `{}`", file.display()))
    };
    ListedRepository::read_own(read)
}
