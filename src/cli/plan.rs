//! `mirror plan`: what a cycle would build, one line for each version.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::json_rows;
use super::plan_composer;
use super::stdout::Stdout;
use crate::app::App;
use crate::app::cycle_runner::{NO_OBSERVER, OpenRepository};
use crate::app::exit::Exit;
use crate::cycle::{self, FollowPlan, SourcePlan};
use crate::package::plan::{Build, ExclusionRule, Notice, Outcome, OutcomeRow};
use crate::recipe::Source;
use crate::status::diverged_version;
use crate::store::Volume;
use crate::util::cancel::CancelFlag;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Plan this repository only
    #[arg(long, value_name = "NAME")]
    repository: Option<String>,
    /// Print the counts of each source only
    #[arg(long)]
    summary: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn plan(app: &App, arguments: &Arguments) -> anyhow::Result<Exit> {
    let repositories = app.chosen(arguments.repository.as_deref())?;
    let volume = Volume::open(&app.config.data)?;
    let mut exit = Exit::Complete;
    let mut documents = Vec::new();
    for repository in repositories {
        let name = &repository.name;
        let mut document = json!({ "name": name, "url": repository.base_url.to_string() });
        let store = match volume.repository(name) {
            Ok(store) => store,
            Err(error) => {
                exit = Exit::Incomplete;
                document["error"] = format!("{error:#}").into();
                documents.push(document);
                if !arguments.json {
                    writeln!(Stdout, "{name}: failed: {error:#}")?;
                }
                continue;
            }
        };
        let rollback = json_rows::rollback_target(store.latest_snapshot()?.as_ref());
        let opened = OpenRepository { app, volume: &volume, repository, store: &store };
        let cancel = CancelFlag::default();
        if !repository.follow.is_empty() || repository.is_imported() {
            let planned = opened.with_cycle_context(NO_OBSERVER, &cancel, cycle::plan_follow)?;
            exit = if planned.errors.is_empty() { exit } else { Exit::Incomplete };
            document["error"] = Value::Null;
            document["follow"] = follow_json(&planned);
            documents.push(document);
            if !arguments.json {
                write_follow(name, &planned)?;
            }
            continue;
        }
        let (sources, composer) = opened.with_cycle_context(NO_OBSERVER, &cancel, |context| {
            let plans = cycle::plan(context)?;
            let composer = plan_composer::plan(context, &plans)?;
            let sources = plans.into_iter().map(|(source, plan)| PlannedSource::new(source, plan));
            Ok((sources.collect::<Vec<_>>(), composer))
        })?;
        if !sources.iter().all(PlannedSource::is_complete) || !plan_composer::are_complete(&composer) {
            exit = Exit::Incomplete;
        }
        match arguments.json {
            true => add_sources(&mut document, rollback, &sources, &composer, arguments.summary),
            false => write_sources(name, rollback, &sources, &composer, arguments.summary)?,
        }
        documents.push(document);
    }
    if arguments.json {
        json_rows::print(&documents)?;
    }
    Ok(exit)
}

fn add_sources(
    document: &mut Value,
    rollback: Option<u64>,
    sources: &[PlannedSource],
    composer: &[plan_composer::Planned],
    summary: bool,
) {
    let sources = sources.iter().map(|source| (source.name.clone(), source.to_json(summary)));
    document["error"] = Value::Null;
    document["rollback_to"] = rollback.into();
    document["sources"] = sources.collect::<Map<_, _>>().into();
    for (key, are_closures) in [("closures", true), ("composer", false)] {
        let planned = plan_composer::to_json(composer, are_closures, summary);
        if !planned.is_empty() {
            document[key] = planned.into();
        }
    }
}

fn write_sources(
    repository: &str,
    rollback: Option<u64>,
    sources: &[PlannedSource],
    composer: &[plan_composer::Planned],
    summary: bool,
) -> io::Result<()> {
    if let Some(target) = rollback {
        writeln!(Stdout, "{}", json_rows::rollback_line(repository, target))?;
    }
    sources.iter().try_for_each(|source| source.write(&mut Stdout, repository, summary))?;
    plan_composer::write(&mut Stdout, repository, composer, summary)
}

fn follow_json(planned: &FollowPlan) -> Value {
    let errors = planned.errors.iter().map(|(origin, error)| (origin.clone(), error.clone().into()));
    json!({
        "origin": planned.origin,
        "lines": planned.lines,
        "archives": planned.archives,
        "bytes": planned.bytes,
        "errors": errors.collect::<Map<_, _>>(),
    })
}

fn write_follow(repository: &str, planned: &FollowPlan) -> io::Result<()> {
    for (origin, error) in &planned.errors {
        writeln!(Stdout, "{repository} {origin}: failed: {error}")?;
    }
    let FollowPlan { origin, lines, archives, bytes, errors } = planned;
    match origin {
        Some(origin) => writeln!(
            Stdout,
            "{repository} {origin}: {lines} new lines of the ledger, {archives} archives with {bytes} bytes to fetch"
        ),
        None if errors.is_empty() => writeln!(Stdout, "{repository}: nothing new"),
        None => Ok(()),
    }
}

/// A source, and what a cycle would do with it.
struct PlannedSource {
    name: String,
    plan: anyhow::Result<SourcePlan>,
    /// What the recipe changes in each build.
    changes: Vec<Vec<String>>,
    counts: Counts,
}

/// Package versions, and the tag entries that give them.
#[derive(Default)]
struct Counts {
    build: usize,
    /// Further tag entries that give a version to build.
    duplicates: usize,
    published: usize,
    excluded: usize,
    failed: usize,
    held_back: usize,
    diverged: usize,
    tag_entries: usize,
}

impl Counts {
    fn new(planned: &SourcePlan) -> Self {
        let SourcePlan { plan, diverged } = planned;
        let new: BTreeSet<_> = plan.builds.iter().map(Build::package).collect();
        let (mut duplicates, mut published) = (0, BTreeSet::new());
        let (mut excluded, mut failed, mut held_back) = (Vec::new(), Vec::new(), Vec::new());
        for row in &plan.rows {
            match &row.outcome {
                Outcome::Published | Outcome::AlreadyPublished if new.contains(&row.package) => {
                    duplicates += 1;
                }
                Outcome::Published | Outcome::AlreadyPublished => {
                    published.insert(&row.package);
                }
                Outcome::Excluded { .. } => excluded.push(row),
                Outcome::Failed { .. } => failed.push(row),
                Outcome::HeldBack { .. } => held_back.push(row),
            }
        }
        Self {
            build: plan.builds.len(),
            duplicates,
            published: published.len(),
            excluded: cycle::count_versions(excluded),
            failed: cycle::count_versions(failed),
            held_back: cycle::count_versions(held_back),
            diverged: diverged.len(),
            tag_entries: plan.builds.len() + plan.rows.len(),
        }
    }
}

impl PlannedSource {
    fn new(source: &Source, plan: anyhow::Result<SourcePlan>) -> Self {
        let counts = plan.as_ref().map(Counts::new).unwrap_or_default();
        let builds = plan.iter().flat_map(|planned| &planned.plan.builds);
        let changes = builds.map(|build| build.changes(source)).collect();
        Self { name: source.name.clone(), plan, changes, counts }
    }

    fn is_complete(&self) -> bool {
        self.plan.is_ok() && self.counts.failed == 0
    }

    /// Writes the lines of the source, or with `summary` only the one with the counts.
    fn write(&self, out: &mut impl Write, repository: &str, summary: bool) -> io::Result<()> {
        let (name, counts) = (&self.name, &self.counts);
        let planned = match &self.plan {
            Ok(planned) => planned,
            Err(error) => return writeln!(out, "{repository} {name}: failed: {error:#}"),
        };
        if !summary {
            self.write_details(out, repository, planned)?;
        }
        let duplicates = match counts.duplicates {
            0 => String::new(),
            count => format!(" (the same in other refs: {count})"),
        };
        let held_back = match counts.held_back {
            0 => String::new(),
            count => format!(", {count} held back"),
        };
        let diverged = match counts.diverged {
            0 => String::new(),
            count => format!(", {count} diverged"),
        };
        let Counts { build, published, excluded, failed, .. } = counts;
        writeln!(
            out,
            "{repository} {name}: {build} to build{duplicates}, {published} already published, {excluded} excluded{held_back}, {failed} failed{diverged}"
        )
    }

    fn write_details(&self, out: &mut impl Write, repository: &str, planned: &SourcePlan) -> io::Result<()> {
        let name = &self.name;
        for (build, changes) in planned.plan.builds.iter().zip(&self.changes) {
            write!(out, "{repository} {name} {}: build {}", build.git_ref.tag, build.package())?;
            match changes.is_empty() {
                true => writeln!(out)?,
                false => writeln!(out, " ({})", changes.join("; "))?,
            }
        }
        for row in &planned.plan.rows {
            let outcome = match &row.outcome {
                Outcome::Published | Outcome::AlreadyPublished => continue,
                Outcome::Excluded { reason, .. } => format!("excluded: {reason}"),
                Outcome::Failed { reason } => format!("failed: {reason}"),
                Outcome::HeldBack { reason, .. } => format!("held back: {reason}"),
            };
            writeln!(out, "{repository} {name} {}: {} {outcome}", row.tag, row.package)?;
        }
        write_passed_over(out, &format!("{repository} {name}"), &planned.plan.passed_over)?;
        for diverged in &planned.diverged {
            writeln!(out, "{repository} {name} {}: diverged: {diverged}", diverged.tag)?;
        }
        for Notice { tag, package, reason } in &planned.plan.notices {
            writeln!(out, "{repository} {name} {tag}: {package} warning: {reason}")?;
        }
        for unused in &planned.plan.unused {
            writeln!(out, "{repository} {name}: warning: {unused}")?;
        }
        Ok(())
    }

    fn to_json(&self, summary: bool) -> Value {
        let counts = &self.counts;
        let mut document = json!({
            "error": self.plan.as_ref().err().map(|error| format!("{error:#}")),
            "counts": {
                "build": counts.build,
                "published": counts.published,
                "excluded": counts.excluded,
                "failed": counts.failed,
                "held_back": counts.held_back,
                "diverged": counts.diverged,
                "tag_entries": counts.tag_entries,
            },
        });
        let Some(planned) = self.plan.as_ref().ok().filter(|_| !summary) else {
            return document;
        };
        let rows = |is: fn(&Outcome) -> bool| -> Vec<_> {
            let rows: Vec<&OutcomeRow> = planned.plan.rows.iter().filter(|row| is(&row.outcome)).collect();
            rows.into_iter().map(json_rows::outcome).collect()
        };
        let builds = planned.plan.builds.iter().zip(&self.changes).map(|(build, changes)| {
            json!({
                "tag": build.git_ref.tag,
                "package": build.name.to_string(),
                "version": build.version.to_string(),
                "changes": changes,
            })
        });
        document["build"] = builds.collect();
        document["excluded"] = rows(|outcome| matches!(outcome, Outcome::Excluded { .. })).into();
        document["failed"] = rows(|outcome| matches!(outcome, Outcome::Failed { .. })).into();
        document["held_back"] = rows(|outcome| matches!(outcome, Outcome::HeldBack { .. })).into();
        document["diverged"] = planned.diverged.iter().map(diverged_version).collect();
        document["passed_over"] = planned.plan.passed_over.iter().map(json_rows::outcome).collect();
        document["notices"] = planned.plan.notices.iter().map(json_rows::notice).collect();
        document["warnings"] = planned.plan.unused.clone().into();
        document
    }
}

/// Writes a line for each tag that is not released, and one line for all tags before the first version.
fn write_passed_over(out: &mut impl Write, source: &str, rows: &[OutcomeRow]) -> io::Result<()> {
    let mut before_first = Vec::new();
    for row in rows {
        if let Outcome::Excluded { rule, reason } = &row.outcome {
            match rule {
                ExclusionRule::BeforeFirst => before_first.push((row.tag.as_str(), reason)),
                _ => writeln!(out, "{source} {}: not released: {reason}", row.tag)?,
            }
        }
    }
    if let [(_, reason), ..] = before_first.as_slice() {
        let tags: Vec<_> = before_first.iter().map(|(tag, _)| *tag).collect();
        writeln!(out, "{source}: not released: {reason}: {}", tags.join(", "))?;
    }
    Ok(())
}
