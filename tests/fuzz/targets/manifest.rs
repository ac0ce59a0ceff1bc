//! A composer.json: whatever is accepted prints as JSON that reads back the same, and prints the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirror::composer::{Manifest, to_js_string};
use serde_json::Value;

fuzz_target!(|text: &[u8]| {
    let Ok(manifest) = Manifest::parse(text) else {
        return;
    };
    let _ = manifest.validate();
    let _ = (manifest.name(), manifest.version());
    let printed = to_js_string(&Value::Object(manifest.0));
    let again = Manifest::parse(printed.as_bytes()).expect("what was printed is a manifest");
    assert_eq!(to_js_string(&Value::Object(again.0)), printed);
});
