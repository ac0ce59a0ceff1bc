//! To which source each package belongs: to the one that published it first.

use std::collections::HashMap;

use super::confirm_imports::IMPORTED;
use super::context::CycleContext;
use crate::ledger::{Release, ReleaseKind};
use crate::util::text::first_of;

/// How many replaced packages a notice names.
const NAMED: usize = 3;

/// The sources by the packages that belong to them.
pub(super) struct NameOwners(HashMap<String, String>);

/// Nobody owns the name of an alias, or of what was imported from somewhere.
fn is_owned(release: &Release) -> bool {
    release.kind != ReleaseKind::Alias && release.source != IMPORTED
}

impl NameOwners {
    pub(super) fn new(ctx: &CycleContext<'_>) -> Self {
        let mut owners = HashMap::new();
        ctx.store.ledger(|ledger| {
            for release in ledger.releases().iter().filter(|release| is_owned(release)) {
                owners.entry(release.name.clone()).or_insert_with(|| release.source.clone());
            }
        });
        Self(owners)
    }

    /// The source that a package belongs to, if `source` may not publish it.
    pub(super) fn other_than(&self, ctx: &CycleContext<'_>, source: &str, package: &str) -> Option<&String> {
        self.0.get(package).filter(|owner| !ctx.recipe.may_share(source, owner))
    }

    /// Says that a package of `source` replaces packages of other sources. That is no claim on their names, since Composer takes a
    /// replacement only if something requires it, but their users should know.
    pub(super) fn describe_replaced(
        &self,
        ctx: &CycleContext<'_>,
        source: &str,
        replaced: &[String],
    ) -> Option<String> {
        let of_others = |package: &String| {
            self.other_than(ctx, source, package).map(|owner| format!("{package} of source `{owner}`"))
        };
        let named: Vec<_> = replaced.iter().filter_map(of_others).collect();
        (!named.is_empty())
            .then(|| format!("it replaces packages of other sources: {}", first_of(&named, NAMED)))
    }
}
