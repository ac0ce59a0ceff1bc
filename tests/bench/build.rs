//! The cost of building: the real program as a process, beside the limit of this machine in the same run.
//!
//! ```text
//! cargo bench --bench build                             a synthetic upstream at Magento's scale
//! cargo bench --bench build -- --upstreams DIR          bare clones of the sources of the recipe `magento`
//! cargo bench --bench build -- --runs 5                 more runs than 3
//! cargo bench --bench build -- --growth                 the same cycles over 2,500, 10,000, 40,000 and 100,000 releases
//! ```
//!
//! The limit is the work that every builder must do: read every blob of every release once (`git cat-file --batch`), hash as many
//! bytes as the archives have with SHA-1 and SHA-256, and write them, synced. Its parts run one after the other on one
//! processor each; a builder may overlap them.

#[path = "../support/mod.rs"]
mod support;

mod limit;
mod measure;
mod synthetic;
mod upstreams;

use std::path::PathBuf;

use measure::{Measured, Table, measure, ready};
use upstreams::World;

struct Options {
    upstreams: Option<PathBuf>,
    runs: usize,
    growth: bool,
}

fn main() {
    let options = options();
    let table = Table::new();
    match &options.upstreams {
        _ if options.growth => growth(&table),
        Some(folder) => whole(&World::real(folder), &options, &table),
        None => whole(&World::synthetic(&synthetic::Scale::MAGENTO), &options, &table),
    }
}

fn options() -> Options {
    let mut options = Options { upstreams: None, runs: 3, growth: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
        match argument.as_str() {
            "--upstreams" => options.upstreams = Some(value().into()),
            "--runs" => options.runs = value().parse().expect("--runs needs a number"),
            "--growth" => options.growth = true,
            // From cargo.
            "--bench" => {}
            _ => panic!("unknown argument {argument}"),
        }
    }
    options
}

/// The life of a mirror, from the first cycle on.
fn whole(world: &World, options: &Options, table: &Table) {
    let cold: Vec<_> = (0..options.runs)
        .map(|_| {
            world.empty();
            measure(&mut world.mirror("build"))
        })
        .collect();
    let limit = limit::of(world);
    limit.print(table);
    table.row("cold build", &cold, Some(limit.wall()));
    table.row("no-op cycle", &world.again(options.runs), None);
    table.row("start to ready", &starts(world, options.runs), None);
    table.row("metadata alone", &metadata(world, options.runs), None);
    table.row("one new tag", &releases(world, options.runs, upstreams::World::tag_small), None);
    table.row("new large release", &releases(world, options.runs, upstreams::World::tag_large), None);
    table.row("first fetch (http), cold", &[fetch(world)], None);
    println!(
        "{} package versions, {:.2} GB of archives",
        world.releases(),
        world.archive_bytes() as f64 / 1e9
    );
}

fn starts(world: &World, runs: usize) -> Vec<Measured> {
    (0..runs).map(|_| ready(&mut world.mirror("serve"), world.port)).collect()
}

/// A cycle that has to generate all metadata, because there is no snapshot.
fn metadata(world: &World, runs: usize) -> Vec<Measured> {
    let run = |_| {
        std::fs::remove_dir_all(world.repository().join("snapshots")).expect("removed");
        measure(&mut world.mirror("build"))
    };
    (0..runs).map(run).collect()
}

/// Cycles that each find one new tag.
fn releases(world: &World, runs: usize, tag: fn(&World, usize)) -> Vec<Measured> {
    let run = |n| {
        let before = world.releases();
        tag(world, n);
        let measured = measure(&mut world.mirror("build"));
        assert!(world.releases() > before, "the new tag gave no release");
        measured
    };
    (0..runs).map(run).collect()
}

/// A first cycle that downloads everything from a real git server over loopback.
fn fetch(world: &World) -> Measured {
    let server = support::git_server::GitServer::start(world.upstreams());
    world.rewrite(&server.url(""));
    world.empty();
    let measured = measure(&mut world.mirror("build"));
    world.rewrite(&world.local());
    measured
}

/// The same cycles over more and more releases.
fn growth(table: &Table) {
    for times in [1, 4, 16] {
        let world = World::synthetic(&synthetic::Scale { tags: 10 * times, ..synthetic::Scale::SMALL });
        let cold = measure(&mut world.mirror("build"));
        let name = |what: &str| format!("{} releases: {what}", world.releases());
        table.row(&name("cold build"), &[cold], None);
        table.row(&name("no-op cycle"), &world.again(3), None);
        table.row(&name("one new tag"), &releases(&world, 3, World::tag_small), None);
        table.row(&name("start to ready"), &starts(&world, 3), None);
    }
    let world = World::synthetic(&synthetic::Scale { tags: 400, ..synthetic::Scale::SMALL });
    table.row("100,000 releases: cold build", &[measure(&mut world.mirror("build"))], None);
    table.row("100,000 releases: start to ready", &starts(&world, 3), None);
    table.row("100,000 releases: no-op cycle", &world.again(3), None);
}
