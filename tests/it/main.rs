//! Tests of the program and of its library that need Rust and git only. `tests/README.md` names the other rungs.

#[path = "../support/mod.rs"]
mod support;

mod architecture;
mod config {
    mod configuration;
    mod misconfiguration;
    mod yaml_documents;
}
mod cycle {
    mod base_url_and_nightly_changes;
    mod hostile_upstreams;
    mod recipes;
}
mod daemon {
    mod notifications;
    mod reload;
    mod schedule;
}
mod documents;
mod end_to_end;
mod git {
    mod http;
    mod local;
    mod objects;
    mod refs;
}
mod metadata;
mod server {
    mod forge_webhook;
    mod http;
    mod responses;
}
mod store;
