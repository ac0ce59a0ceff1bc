//! A prebuilt archive from upstream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirror::package::{Limits, prebuilt_archive};

/// The limits that the configuration has by default.
const LIMITS: Limits = Limits {
    manifest: 4 << 20,
    file: 64 << 20,
    package: 1 << 30,
    entries: 200_000,
    depth: 64,
};

fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = prebuilt_archive::check(bytes, &LIMITS) {
        assert!(!format!("{error:#}").is_empty());
    }
});
