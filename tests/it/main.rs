//! Tests of the program and of its library that need Rust and git only. `tests/README.md` names the other rungs.

#[path = "../support/mod.rs"]
mod support;

mod architecture;
mod cli;
mod config {
    mod byte_order_marks;
    mod configuration;
    mod misconfiguration;
    mod yaml_documents;
}
mod composer_repository;
mod cycle {
    mod base_url_and_nightly_changes;
    mod closure;
    mod composer_grammar;
    mod composer_source;
    mod composer_stand_ins;
    mod divergence;
    mod follow;
    mod held_back;
    mod hostile_mirrors;
    mod hostile_upstreams;
    mod nothing_released;
    mod package_owners;
    mod planner;
    mod prebuilt_dates;
    mod recipes;
    mod shrink_guard;
    mod slow_sources;
    mod tags;
    mod uncovered_manifests;
}
mod daemon {
    mod cycle_process;
    mod independence;
    mod notifications;
    mod reload;
    mod schedule;
    mod service_manager;
    mod status_command;
    mod trial;
}
mod documents;
mod end_to_end;
mod git {
    mod http;
    mod limits;
    mod local;
    mod objects;
    mod protocol;
    mod proxies;
    mod refs;
    mod time;
}
mod init;
mod metadata;
mod server {
    mod connection;
    mod connection_limits;
    mod content_encoding;
    mod downloads;
    mod file_response;
    mod forge_webhook;
    mod handler;
    mod health;
    mod http2;
    mod listener;
    mod responses;
    mod router;
    mod shutdown;
    mod site;
    mod timeouts;
    mod trusted_proxies;
}
mod store {
    mod bundle;
    mod composer_restore;
    mod ledger;
    mod read_errors;
    mod repair;
    mod restore;
    mod retention;
    mod rollback;
    mod snapshots;
    mod verify;
    mod volume;
    mod withdrawal;
}
