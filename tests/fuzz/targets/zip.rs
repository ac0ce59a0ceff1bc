//! A prebuilt archive from upstream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirror::config::Limits;
use mirror::package::prebuilt_archive;

fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = prebuilt_archive::check(bytes, &Limits::default()) {
        assert!(!format!("{error:#}").is_empty());
    }
});
