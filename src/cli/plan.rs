//! `mirror plan`: what a cycle would build, one line for each version.

use std::collections::BTreeSet;
use std::io::{self, Write};

use super::passed_over;
use super::stdout::Stdout;
use crate::app::App;
use crate::app::cycle_runner::{NO_OBSERVER, OpenRepository};
use crate::app::exit::Exit;
use crate::cycle;
use crate::package::plan::{Notice, Outcome, Plan};
use crate::recipe::Source;
use crate::store::Volume;
use crate::util::cancel::CancelFlag;

pub(super) fn plan(app: &App) -> anyhow::Result<Exit> {
    let volume = Volume::open(&app.config.data)?;
    let mut exit = Exit::Complete;
    for repository in &app.repositories {
        let store = match volume.repository(&repository.name) {
            Ok(store) => store,
            Err(error) => {
                writeln!(Stdout, "{}: failed: {error:#}", repository.name)?;
                exit = Exit::Incomplete;
                continue;
            }
        };
        let opened = OpenRepository { app, volume: &volume, repository, store: &store };
        opened.with_cycle_context(NO_OBSERVER, &CancelFlag::default(), |context| {
            for (source, plan) in cycle::plan(context)? {
                let is_complete = match plan {
                    Ok(plan) => write_plan(&mut Stdout, &repository.name, source, &plan)?,
                    Err(error) => {
                        writeln!(Stdout, "{} {}: failed: {error:#}", repository.name, source.name)?;
                        false
                    }
                };
                if !is_complete {
                    exit = Exit::Incomplete;
                }
            }
            Ok(())
        })?;
    }
    Ok(exit)
}

/// Writes the plan of one source. Returns whether nothing in it failed.
fn write_plan(out: &mut impl Write, repository: &str, source: &Source, plan: &Plan) -> io::Result<bool> {
    let name = &source.name;
    let mut new = BTreeSet::new();
    for build in &plan.builds {
        let (tag, package, version) = (&build.git_ref.tag, &build.name, &build.version);
        new.insert(format!("{package} {version}"));
        write!(out, "{repository} {name} {tag}: build {package} {version}")?;
        let changes = build.changes(source);
        match changes.is_empty() {
            true => writeln!(out)?,
            false => writeln!(out, " ({})", changes.join("; "))?,
        }
    }
    let (mut duplicates, mut published, mut excluded, mut held_back, mut failed) = (0, 0, 0, 0, 0);
    for row in &plan.rows {
        let outcome = match &row.outcome {
            Outcome::Published | Outcome::AlreadyPublished => {
                match new.contains(&row.package) {
                    true => duplicates += 1,
                    false => published += 1,
                }
                continue;
            }
            Outcome::Excluded { reason, .. } => {
                excluded += 1;
                format!("excluded: {reason}")
            }
            Outcome::Failed { reason } => {
                failed += 1;
                format!("failed: {reason}")
            }
            Outcome::HeldBack { reason, .. } => {
                held_back += 1;
                format!("held back: {reason}")
            }
        };
        writeln!(out, "{repository} {name} {}: {} {outcome}", row.tag, row.package)?;
    }
    passed_over::write(out, &format!("{repository} {name}"), &plan.passed_over)?;
    for Notice { tag, package, reason } in &plan.notices {
        writeln!(out, "{repository} {name} {tag}: {package} warning: {reason}")?;
    }
    for unused in &plan.unused {
        writeln!(out, "{repository} {name}: warning: {unused}")?;
    }
    let duplicates = match duplicates {
        0 => String::new(),
        count => format!(" (the same in other refs: {count})"),
    };
    let held_back = match held_back {
        0 => String::new(),
        count => format!(", {count} held back"),
    };
    let new = plan.builds.len();
    writeln!(
        out,
        "{repository} {name}: {new} to build{duplicates}, {published} already published, {excluded} excluded{held_back}, {failed} failed"
    )?;
    Ok(failed == 0)
}
