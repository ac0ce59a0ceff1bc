//! `mirror plan`: what a cycle would build, a line each.

use std::collections::BTreeSet;
use std::io::{self, Write};

use super::stdout::Stdout;
use crate::app::App;
use crate::app::cycle_runner::{NO_OBSERVER, with_cycle_context};
use crate::app::exit::Exit;
use crate::cycle;
use crate::package::plan::{Outcome, Plan};
use crate::recipe::Source;
use crate::store::Volume;
use crate::util::cancel::CancelFlag;

/// What a cycle would build.
pub(super) fn plan(app: &App) -> anyhow::Result<Exit> {
    let volume = Volume::open(&app.config.data)?;
    let mut out = Stdout;
    let mut exit = Exit::Complete;
    for repository in &app.repositories {
        let store = match volume.repository(&repository.name) {
            Ok(store) => store,
            Err(error) => {
                writeln!(out, "{}: failed: {error:#}", repository.name)?;
                exit = Exit::Incomplete;
                continue;
            }
        };
        let cancel = CancelFlag::default();
        with_cycle_context(app, &volume, repository, &store, NO_OBSERVER, &cancel, |job| {
            for (source, plan) in cycle::plan(job)? {
                let complete = match plan {
                    Ok(plan) => write_plan(&mut out, &repository.name, source, &plan)?,
                    Err(error) => {
                        writeln!(out, "{} {}: failed: {error:#}", repository.name, source.name)?;
                        false
                    }
                };
                if !complete {
                    exit = Exit::Incomplete;
                }
            }
            Ok(())
        })?;
    }
    Ok(exit)
}

/// Writes the plan of one source, a line each; answers whether nothing in it failed.
fn write_plan(out: &mut impl Write, repository: &str, source: &Source, plan: &Plan) -> io::Result<bool> {
    let name = &source.name;
    for build in &plan.builds {
        let (tag, package, version) = (&build.git_ref.tag, &build.name, &build.version);
        write!(out, "{repository} {name} {tag}: build {package} {version}")?;
        let changes = build.changes(source);
        match changes.is_empty() {
            true => writeln!(out)?,
            false => writeln!(out, " ({})", changes.join("; "))?,
        }
    }
    let new: BTreeSet<_> = plan
        .builds
        .iter()
        .map(|build| format!("{} {}", build.name, build.version))
        .collect();
    let (mut again, mut already, mut excluded, mut failed) = (0, 0, 0, 0);
    for line in &plan.rows {
        let because = match &line.outcome {
            Outcome::Published | Outcome::AlreadyPublished => {
                match new.contains(&line.package) {
                    true => again += 1,
                    false => already += 1,
                }
                continue;
            }
            Outcome::Excluded { reason } => {
                excluded += 1;
                format!("excluded: {reason}")
            }
            Outcome::Failed { reason } => {
                failed += 1;
                format!("failed: {reason}")
            }
        };
        let (tag, package) = (&line.tag, &line.package);
        writeln!(out, "{repository} {name} {tag}: {package} {because}")?;
    }
    for unused in &plan.unused {
        writeln!(out, "{repository} {name}: warning: {unused}")?;
    }
    let new = plan.builds.len();
    let again = match again {
        0 => String::new(),
        again => format!(" (the same in other refs: {again})"),
    };
    writeln!(
        out,
        "{repository} {name}: {new} to build{again}, {already} already published, {excluded} excluded, {failed} failed"
    )?;
    Ok(failed == 0)
}
