//! An upstream over smart HTTP behind a failing network. In each cycle the good source is published, the failing one is named,
//! and it is published by the next cycle without the fault.

use std::path::Path;

use fastrand::Rng;

use crate::Figures;
use crate::fixture::Verdict;
use crate::liveness::{BOUND, Live};
use crate::proxy::{Fault, KINDS};
use crate::workers;

/// After so many faults a worker begins with a new mirror, since cycles of many versions take longer.
const FAULTS_PER_MIRROR: usize = 20;

/// Longer than a fetch may take.
const DEADLINE: &str = "30s";

pub fn faults(binary: &Path, most: usize) -> Verdict<Figures> {
    let prepare = || Ok((Live::start(binary, DEADLINE)?, 0));
    workers::each(&workers::seeds(most), 4, prepare, |(live, faults), seed, figures| {
        if *faults == FAULTS_PER_MIRROR {
            *live = Live::start(binary, DEADLINE)?;
            *faults = 0;
        }
        *faults += 1;
        let mut rng = Rng::with_seed(*seed);
        let fault = Fault::new(&mut rng, &KINDS, 2);
        inject(live, &mut rng, fault, figures)
            .map_err(|why| workers::with_seed(*seed, &format!("{fault:?}: {why}")))
    })
}

fn inject(live: &mut Live, rng: &mut Rng, fault: Fault, figures: &mut Figures) -> Verdict {
    let (runs, _) = live.runs("acme");
    // A clone can be removed at any time, and is fetched again as a whole.
    if rng.u8(0..4) == 0 {
        remove_clone(live);
        figures.count("whole clones", 1);
    }
    live.proxy.set(Some(fault));
    let version = live.change();
    live.require(&version)?;
    live.within(BOUND, "the cycle ends", |live| live.runs("acme").0 > runs)?;
    let spoiled = live.proxy.set(None);
    if spoiled == 0 {
        return Err("the fault did not happen".into());
    }
    figures.faults += 1;
    live.require_success()?;
    // The server looks for new snapshots every second.
    let is_known = |live: &Live| live.has_tool(&version) || live.error_of_tool().is_some();
    live.within(BOUND, "the failing source is named, or published", is_known)?;
    let is_withstood = live.has_tool(&version);
    figures.count(if is_withstood { "withstood" } else { "named" }, 1);
    live.reload();
    live.require_tool(&version)?;
    live.require_everything()
}

fn remove_clone(live: &Live) {
    for entry in std::fs::read_dir(live.fixture.data().join("git")).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        if name.starts_with("tool-") && name.ends_with(".git") {
            std::fs::remove_dir_all(entry.path()).expect("removed");
        }
    }
}
