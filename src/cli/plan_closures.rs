//! The closures in `mirror plan`: how much would be taken from whom, and how long that takes.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::json_rows;
use crate::cycle::{self, ClosurePlan, CycleContext};
use crate::package::plan::{ExclusionRule, Outcome};

/// A closure of a recipe by its name.
pub(super) type Planned = (String, anyhow::Result<ClosurePlan>);

pub(super) fn plan(context: &CycleContext<'_>) -> anyhow::Result<Vec<Planned>> {
    let plans = cycle::plan_closures(context)?.into_iter();
    Ok(plans.map(|(source, plan)| (source.name.clone(), plan)).collect())
}

/// Whether nothing failed.
pub(super) fn are_complete(plans: &[Planned]) -> bool {
    plans.iter().all(|(_, plan)| plan.as_ref().is_ok_and(|plan| plan.failed() == 0))
}

/// Writes what is not taken and why, or with `summary` only the counts.
pub(super) fn write(
    out: &mut impl Write,
    repository: &str,
    plans: &[Planned],
    summary: bool,
) -> io::Result<()> {
    plans.iter().try_for_each(|plan| write_one(out, repository, plan, summary))
}

fn write_one(
    out: &mut impl Write,
    repository: &str,
    (name, plan): &Planned,
    summary: bool,
) -> io::Result<()> {
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => return writeln!(out, "{repository} {name}: failed: {error:#}"),
    };
    for row in plan.rows.iter().filter(|_| !summary) {
        let outcome = match &row.outcome {
            Outcome::Failed { reason } => format!("failed: {reason}"),
            outcome => format!("excluded: {}", outcome.reason().unwrap_or_default()),
        };
        writeln!(out, "{repository} {name}: {} {outcome}", row.package)?;
    }
    for unmet in plan.unmet.iter().filter(|_| !summary) {
        writeln!(out, "{repository} {name}: warning: {unmet}")?;
    }
    let ClosurePlan { packages, versions, new, asked, at_once, .. } = plan;
    writeln!(
        out,
        "{repository} {name}: {versions} versions of {packages} packages, {} already published; not taken: {} by license, {} by age, {} flagged; {} failed, {} requirements unmet",
        versions - new,
        plan.excluded(ExclusionRule::License),
        plan.excluded(ExclusionRule::MinimumAge),
        plan.excluded(ExclusionRule::FilterList),
        plan.failed(),
        plan.unmet.len(),
    )?;
    let time =
        plan.estimate().map(|time| format!(", about {} s at the pace of this plan", time.as_secs().max(1)));
    writeln!(
        out,
        "{repository} {name}: {asked} packages were asked for in {} ms; {new} archives are to be fetched, one request each, {at_once} at once{}; sizes are not listed upstream, and none may have more than `limits.archive`",
        plan.took.as_millis(),
        time.filter(|_| *new > 0).unwrap_or_default(),
    )
}

pub(super) fn to_json(plans: &[Planned], summary: bool) -> Value {
    let plan = |plan: &anyhow::Result<ClosurePlan>| {
        let error = plan.as_ref().err().map(|error| format!("{error:#}"));
        let Ok(plan) = plan else { return json!({ "error": error }) };
        let mut document = json!({
            "error": error,
            "counts": {
                "packages": plan.packages,
                "versions": plan.versions,
                "new": plan.new,
                "license": plan.excluded(ExclusionRule::License),
                "minimum_age": plan.excluded(ExclusionRule::MinimumAge),
                "filter_list": plan.excluded(ExclusionRule::FilterList),
                "failed": plan.failed(),
                "unmet": plan.unmet.len(),
            },
            "requests": plan.new,
            "requests_at_once": plan.at_once,
            "seconds": plan.estimate().map(|time| time.as_secs()),
        });
        if !summary {
            document["not_taken"] = plan.rows.iter().map(json_rows::outcome).collect();
            document["warnings"] = plan.unmet.clone().into();
        }
        document
    };
    plans.iter().map(|(name, planned)| (name.clone(), plan(planned))).collect::<Map<_, _>>().into()
}
