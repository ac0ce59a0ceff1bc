//! A finished archive from upstream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirror::package::artifact;

fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = artifact::check(bytes) {
        assert!(!format!("{error:#}").is_empty());
    }
});
