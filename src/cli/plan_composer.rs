//! Composer repositories in `mirror plan`: what would be taken from whom, how much that is, and how long it takes.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::json_rows;
use crate::cycle::{self, ComposerPlan, CycleContext, SourcePlan};
use crate::metadata::pages::size;
use crate::package::plan::{ExclusionRule, Outcome};
use crate::recipe::Source;

/// A Composer repository of a recipe, and what a cycle would take from it.
pub(super) struct Planned {
    name: String,
    is_closure: bool,
    plan: anyhow::Result<ComposerPlan>,
}

/// `sources` are the plans of the recipe's git sources.
pub(super) fn plan(
    context: &CycleContext<'_>,
    sources: &[(&Source, anyhow::Result<SourcePlan>)],
) -> anyhow::Result<Vec<Planned>> {
    let plans = cycle::plan_composer(context, sources)?.into_iter();
    let planned = plans.map(|(source, plan)| Planned {
        name: source.name.clone(),
        is_closure: source.is_closure(),
        plan,
    });
    Ok(planned.collect())
}

/// Whether nothing failed.
pub(super) fn are_complete(plans: &[Planned]) -> bool {
    plans.iter().all(|planned| planned.plan.as_ref().is_ok_and(|plan| plan.failed() == 0))
}

/// Writes what is taken, what is not and why, or with `summary` only the counts.
pub(super) fn write(
    out: &mut impl Write,
    repository: &str,
    plans: &[Planned],
    summary: bool,
) -> io::Result<()> {
    plans.iter().try_for_each(|planned| planned.write(out, repository, summary))
}

/// Those with `closure_of`, or the others, by name.
pub(super) fn to_json(plans: &[Planned], are_closures: bool, summary: bool) -> Map<String, Value> {
    let chosen = plans.iter().filter(|planned| planned.is_closure == are_closures);
    chosen.map(|planned| (planned.name.clone(), planned.to_json(summary))).collect()
}

impl Planned {
    fn write(&self, out: &mut impl Write, repository: &str, summary: bool) -> io::Result<()> {
        let name = &self.name;
        let plan = match &self.plan {
            Ok(plan) => plan,
            Err(error) => return writeln!(out, "{repository} {name}: failed: {error:#}"),
        };
        if !summary {
            write_details(out, &format!("{repository} {name}"), plan)?;
        }
        let ComposerPlan { packages, versions, published, asked, at_once, .. } = plan;
        write!(
            out,
            "{repository} {name}: {versions} versions of {packages} packages, {published} already published; "
        )?;
        match self.is_closure {
            true => writeln!(
                out,
                "not taken: {} by license, {} by age, {} flagged; {} failed, {} requirements unmet",
                plan.excluded(ExclusionRule::License),
                plan.excluded(ExclusionRule::MinimumAge),
                plan.excluded(ExclusionRule::FilterList),
                plan.failed(),
                plan.unmet.len(),
            )?,
            false => writeln!(out, "{} excluded, {} failed", plan.rows.len() - plan.failed(), plan.failed())?,
        }
        let new = plan.new.len();
        if new == 0 {
            let took = plan.took.as_millis();
            return writeln!(
                out,
                "{repository} {name}: {asked} packages were asked for in {took} ms; nothing is to be fetched"
            );
        }
        let time = plan.estimated_time().map(|time| time.as_secs().max(1));
        let time =
            time.map(|seconds| format!(", about {seconds} s at the pace of this plan")).unwrap_or_default();
        let bytes = match (plan.estimated_size(), plan.sample) {
            (Some(bytes), Some((_, sampled))) => {
                format!("about {} by the sizes of {sampled} of them", size(bytes))
            }
            _ => "their sizes are not known, and none may have more than `limits.archive`".to_owned(),
        };
        writeln!(
            out,
            "{repository} {name}: {asked} packages were asked for in {} ms; {new} archives are to be fetched, one request each, {at_once} at once{time}; {bytes}",
            plan.took.as_millis(),
        )
    }

    fn to_json(&self, summary: bool) -> Value {
        let error = self.plan.as_ref().err().map(|error| format!("{error:#}"));
        let Ok(plan) = &self.plan else { return json!({ "error": error }) };
        let mut counts = json!({
            "packages": plan.packages,
            "versions": plan.versions,
            "published": plan.published,
            "new": plan.new.len(),
            "failed": plan.failed(),
        });
        match self.is_closure {
            true => {
                counts["license"] = plan.excluded(ExclusionRule::License).into();
                counts["minimum_age"] = plan.excluded(ExclusionRule::MinimumAge).into();
                counts["filter_list"] = plan.excluded(ExclusionRule::FilterList).into();
                counts["unmet"] = plan.unmet.len().into();
            }
            false => counts["excluded"] = (plan.rows.len() - plan.failed()).into(),
        }
        let mut document = json!({
            "error": error,
            "counts": counts,
            "requests": plan.new.len(),
            "requests_at_once": plan.at_once,
            "seconds": plan.estimated_time().map(|time| time.as_secs()),
            "bytes": plan.estimated_size(),
            "sizes_known": plan.sample.map_or(0, |(_, count)| count),
        });
        if !summary {
            document["take"] =
                plan.new.iter().map(|new| json!({ "package": new.name, "version": new.version })).collect();
            document["not_taken"] = plan.rows.iter().map(json_rows::outcome).collect();
            document["warnings"] = plan.unmet.clone().into();
        }
        document
    }
}

/// `source` is the beginning of each line.
fn write_details(out: &mut impl Write, source: &str, plan: &ComposerPlan) -> io::Result<()> {
    for new in &plan.new {
        writeln!(out, "{source}: take {new}")?;
    }
    for row in &plan.rows {
        let outcome = match &row.outcome {
            Outcome::Failed { reason } => format!("failed: {reason}"),
            outcome => format!("excluded: {}", outcome.reason().unwrap_or_default()),
        };
        writeln!(out, "{source}: {} {outcome}", row.package)?;
    }
    plan.unmet.iter().try_for_each(|unmet| writeln!(out, "{source}: warning: {unmet}"))
}
