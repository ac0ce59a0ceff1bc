//! A mirror appliance for Composer packages: git repositories in, a Composer repository out, in one process.
//!
//! # The stages
//!
//! Data goes one way; each stage hands the next one plain values:
//!
//! ```text
//! mirror.yaml ─► config ─► schedule ──(cycle)──► source ─► package ─► store ─► repository ─► store ─► serve
//!                  │                              git2      plan,     zips,    packages.json  snap-    hyper
//!                  └─ recipe (YAML, built in)     fetch     archive   ledger   p2/ include/   shot
//! ```
//!
//! | module | does | knows |
//! |---|---|---|
//! | [`yaml`] | strict documents with the place of every problem | the YAML crate |
//! | [`config`] | the configuration as valid values | |
//! | [`recipe`] | how a source becomes packages, as data; the built-in recipes | |
//! | [`composer`] | names, versions, constraints, manifests: Composer's vocabulary, pure | |
//! | [`source`] | bare clones, their refs, trees and blobs | git2, ureq, russh |
//! | [`package`] | what each ref would give, its manifest, its archive's bytes | |
//! | [`ledger`] | the append-only record of releases: its lines and their chain | |
//! | [`store`] | the data volume: the only place that writes to it | its layout |
//! | [`repository`] | metadata and pages from releases: values in, bytes out | |
//! | [`status`] | what is said of a mirror's state: `mirror.json`, the status page; pure | |
//! | [`cycle`] | fetch, plan, build, publish: the only place where these stages meet | |
//! | [`serve`] | HTTP from a table in memory | tokio, httparse, hyper |
//! | [`schedule`], [`observe`] | crontab lines; the log and the metrics | cron, tracing, prometheus |
//! | [`coding`], [`digest`], [`memory`] | content codings; SHA-1 and SHA-256; memory that is given back | brotli, zstd, flate2, libc |
//! | [`push`] | deliveries of GitHub and GitLab: genuine or not, and about what; pure | hmac |
//! | [`cli`] | arguments in, exit code out; joins cycles, clock and server | clap |
//!
//! Git and zip work is blocking code on threads of its own; only serving is async. There is no global mutable state but
//! libgit2's options, which [`source`] sets once.
//!
//! # The words
//!
//! They are Composer's and git's. A *source* is a git repository; a *release* is one published package version, a line of
//! the *ledger*; a *snapshot* is one complete published state of a repository's metadata; a *cycle* is one run of fetch,
//! plan, build, publish. A *recipe* says how sources become packages.
//!
//! # What must never break
//!
//! - Published bytes never change. An archive is linked into place without ever overwriting, and a name and version in
//!   the ledger is never built again, whatever upstream does to its tags.
//! - The archives equal the reference generator's, byte for byte: [`package::archive`] and [`package::manifest`].
//! - A reader never sees half a publication: archives, then the ledger, then the snapshot, each durable before the next;
//!   the rename of the snapshot is the commit ([`store`]).
//! - Bytes leave the server only after they were compared with the ledger's digest, for archives at most ten seconds before
//!   and with the file unchanged since ([`serve`]); what is damaged is a 503, and mended.
//! - Nothing is lost silently: each (source, tag, package) ends as an [`package::plan::Outcome`], and failures reach the
//!   log, the report of the snapshot and the exit code.
//! - A cycle that finds nothing new writes nothing but the record that it ran.
//!
//! # Choices
//!
//! - Metadata is made from the ledger and the archives alone: a snapshot can be lost and made again. What has not changed is
//!   taken over from the snapshot before, as long as program and configuration are the same: see [`repository::Before`].
//! - A source whose refs and rules are those of its last complete report is passed over without a look at its trees; with only
//!   new refs beside them, only those are planned.
//! - The ledger is replaced whole, and writers are fenced off by their own folders, not by a lock: see [`store`].
//! - The highest whole snapshot is the current one; the link `current` is for other web servers only.
//! - A clone belongs to a URL, not to a source: it holds what all recipes want of it, so repositories share downloads.
//! - A recipe's pinned versions, corrections and replacements that match nothing are warnings: stale data is found.
//! - Nightly versions are made as the reference makes them, but only when a branch has moved. They and aliases are the
//!   only releases whose content may move; each state has a file of its own, so published bytes stay here, too.
//! - A metapackage that pins what the repository lacks (a *gap*) is a warning, not a failure: the packages that are there
//!   are whole, and `only` leaves sources out on purpose.
//! - Upstream is not trusted to be reasonable: what is beyond `limits`, or has names that not every machine can have, fails
//!   by name before it is read into memory ([`package::Limits`]).
//! - Half of the processors serve, at least one: with two threads on two processors, 81,000 requests a second of p2 metadata
//!   become 73,000, and the 99th percentile 2.0 ms instead of 0.7. Digests and passwords have threads of their own.
//! - HTTP/1.1 is spoken by [`serve`] itself, with httparse for its grammar, HTTP/2 by hyper: a request and its answer need no
//!   tables of headers then, and a 304 takes 5,800 instructions of ours where it took 16,400.
//! - An answer is handed on in 64 bytes at most: a program that is built to be small moves what is larger by string
//!   instructions, and those of a 304 took a tenth of our part of its time. One serving thread is a runtime of its own, without
//!   the means to share work; requests of HTTP/1.1 on TCP are received, and their heads sent, by system calls that the C library
//!   does not make ones that can be cancelled.
//! - One type carries every connection, with TLS or without, over TCP or a Unix socket: what is said there is in the program
//!   once. In four copies it had 0.15 MB more.
//! - Answers are counted by two additions that other threads see, three with a body, and summed up when somebody asks: counters
//!   and a histogram of the library take five, and the lock that kept them at hand took two more.
//! - The end of the server answers who is connected by then, and waits beyond its last byte for as long as a proxy at a container's
//!   port may hand on an archive: what the proxy has goes with the container. Who downloads 24 MB at 3 MB/s through docker's lost
//!   the end of it.
//! - A log that nobody reads loses lines, which are counted, and holds nobody who serves: the pipe of a container that is full
//!   stopped everything.
//! - Published bytes are compared through reads of a file, not through its mapping: that somebody cuts the file short is an
//!   error of a read, and a fatal signal in a mapping.
//! - packages.json holds the versions of all packages unless configured otherwise: with 40 ms to the client, an update takes a
//!   quarter of the time of one request for each package.
//! - The includes of the last `snapshots.keep` states stay reachable, older ones go: clients ask for them within minutes.
//! - Fetching takes the tags that the recipe wants, without history, and asks again only for refs that are new or moved.

#![warn(
    unreachable_pub,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::unwrap_used
)]

mod app;
pub mod cli;
pub mod composer;
pub mod config;
pub mod cycle;
mod daemon;
pub mod git;
pub mod help;
pub mod ledger;
pub mod metadata;
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
