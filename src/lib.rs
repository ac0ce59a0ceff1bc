//! A mirror for Composer packages: git repositories in, a Composer repository out, in one program. Upstream data is handled in
//! separate processes, so that it cannot harm the server.
//!
//! ```text
//! mirror.yaml ─► config ─► daemon ─► app ──(cycle)──► git ─► package ─► store ─► metadata ─► store ─► server
//!                  │       when      one run          fetch  plan,      zips,    packages.json snap-   HTTP
//!                  └─ recipe (YAML, built in)                build      ledger   p2/ include/  shot
//! ```
//!
//! Data goes one way; each stage hands plain values to the next one. Modules import downwards only, in the order of this table:
//!
//! | module | does |
//! |---|---|
//! | [`cli`] | arguments in, exit code out; one file for each command |
//! | `daemon` | what `mirror run` and `mirror serve` do besides serving: scheduler, reload, repair, notifications |
//! | `app` | a configuration with its recipes, and one cycle under it |
//! | [`server`] | HTTP from a table in memory |
//! | [`cycle`] | fetch, plan, build, publish: where these stages meet |
//! | [`acme`] | certificates from Let's Encrypt and other ACME servers |
//! | [`status`] | the state of a mirror: `mirror.json`, status page, alerts; pure |
//! | [`metadata`] | packages.json, p2, include and pages from releases; values in, bytes out |
//! | [`package`] | which versions a ref gives, their manifests, the archive's bytes |
//! | [`store`] | the data volume: the only module that writes to it, but for the clones |
//! | [`bucket`] | the object store that replicas serve from: uploads, the commit there, reading what is published |
//! | [`git`] | bare clones, their refs, trees and blobs; the only module that names git2 |
//! | [`composer_repository`] | Composer repositories of others: their packages and archives, in every form that Composer reads |
//! | [`telemetry`] | the log and the metrics |
//! | [`net`] | the HTTP client of git, of Composer repositories and of the notifier |
//! | [`config`], [`recipe`] | the configuration and recipes as valid values |
//! | [`schedule`], [`webhook`] | crontab lines; webhook deliveries of GitHub, GitLab and mirrors |
//! | [`composer`] | Composer's names, versions, constraints and manifests; pure |
//! | [`ledger`] | the lines of the append-only record of releases, and their chain; pure |
//! | [`yaml`], [`help`], [`util`] | strict YAML with locations; the handbook; digests, compression, cancellation |
//!
//! Git and zip work is blocking code on its own threads, in the processes of [the cycles](docs::cycle); only serving is async.
//! Global mutable state is rare, and each piece stands where it is used: libgit2's options, the log, the limits of webhook
//! deliveries, run histories that could not be written.
//!
//! # Words
//!
//! They are Composer's and git's. A *source* is a git repository, a folder of prebuilt archives, or a Composer repository. A *recipe* says how sources become packages. A *release* is one
//! published package version, a line of the *ledger*. A *snapshot* is one complete published state of a repository's metadata. A
//! *cycle* is one run of fetch, plan, build, publish. A version is *diverged* if upstream would change it now. A version is *held back*
//! while something that it needs does not exist. A *gap* is a version that a published metapackage pins and no source provides. A
//! *variant* is a compressed copy.
//!
//! A mirror *follows* others, its *origins*: their ledger becomes its own. A *rendition* is what it makes of an archive that is bound
//! to an origin's base URL. A *bundle* is what `mirror export` writes; the releases of its ledger that it lacks are *absent* where it
//! was imported. A release is *imported* if it was restored, until it was built again with the same bytes. A *closure* is all that
//! the packages of some repositories can require of others. A *stand-in* is a version from a Composer repository in the place of
//! one that git does not give yet.
//!
//! # What must never break
//!
//! - Published bytes never change. An archive is linked into place without ever overwriting, and a name and version in
//!   the ledger is never built again, whatever upstream does to its tags.
//! - The archives equal the reference generator's, byte for byte: [`package::zip_writer`] and `package/manifest.rs`.
//! - A reader never sees half a publication: archives, then the ledger, then the snapshot, each durable before the next;
//!   the rename of the snapshot is the commit ([`store`]).
//! - Bytes leave the server only after they were compared with the ledger's digest, at most ten seconds before and with the
//!   file unchanged since ([`server`]); a damaged file is a 503, and repaired.
//! - Nothing is lost silently: each (source, tag, package) ends as a [`package::plan::Outcome`], and failures reach the
//!   log, the report of the snapshot and the exit code.
//! - A cycle that finds nothing new writes nothing but the record that it ran.
//!
//! # Read on
//!
//! - [The commit](docs::commit): how new versions become public, and why a crash is harmless
//! - [The cycle](docs::cycle): the way of a tag through the stages
//! - [A connection](docs::connection): the way of a request
//! - [The bucket](docs::bucket): how it becomes public in an object store, for replicas without a volume
//! - [Decisions](docs::decisions): what was chosen, when, and for which figure
//!
//! `.github/CONTRIBUTING.md` says how to build, test and extend this.

#![warn(
    unreachable_pub,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::unwrap_used
)]

pub mod acme;
mod app;
pub mod bucket;
pub mod cli;
pub mod composer;
pub mod composer_repository;
pub mod config;
pub mod cycle;
mod daemon;
pub mod docs;
pub mod git;
pub mod help;
pub mod ledger;
pub mod metadata;
pub mod net;
pub mod package;
pub mod recipe;
pub mod schedule;
pub mod server;
pub mod status;
pub mod store;
pub mod telemetry;
pub mod util;
pub mod webhook;
pub mod yaml;
