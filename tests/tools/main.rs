//! Tests with programs of others: Composer, PHP, sshd, curl, openssl, strace, promtool,
//! Chromium, proxies and caches. `tests/run tools` installs them.

#[path = "../support/mod.rs"]
mod support;

mod acme;
mod addresses;
mod air_gap;
mod bucket;
mod bucket_commit;
mod builders;
mod closure;
mod composer;
mod composer_client;
mod composer_loader;
mod follow;
mod git_servers;
mod git_ssh;
mod hostile_requests;
mod how_to;
mod metadata;
mod package_claims;
mod pages;
mod proxies;
mod replica;
mod resolution;
mod server;
mod squid;
mod store;
mod third_parties;
mod tls;
mod withdrawal;
