//! A mirror appliance for Composer packages: git repositories in, a Composer repository out.
//!
//! # The stages
//!
//! Data goes one way; each stage hands the next one plain values:
//!
//! ```text
//! mirror.yaml ─► config ─► schedule ──(cycle)──► source ─► package ─► ledger ─► repository ─► store ─► serve
//!                   │                             git2      plan,      append    packages.json  atomic   hyper
//!                   └─ recipe (YAML, built in)    fetch     zip        only      p2/ include/   snapshot
//! ```
//!
//! Only [`cycle`] sees more than one stage; [`cli`] wires it to the clock and to the server.

pub mod cli;
pub mod composer;
pub mod config;
pub mod cycle;
pub mod digest;
pub mod ledger;
pub mod observe;
pub mod package;
pub mod recipe;
pub mod repository;
pub mod schedule;
pub mod serve;
pub mod source;
pub mod store;
pub mod yaml;
