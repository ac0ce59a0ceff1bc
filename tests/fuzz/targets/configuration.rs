//! The configuration file.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let environment = |name: &str| (name == "HOME").then(|| "/root".to_owned());
    match mirror::config::parse(Path::new("/etc/mirror/mirror.yaml"), text, &environment) {
        Ok((config, _)) => assert!(!config.repositories.is_empty()),
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
});
