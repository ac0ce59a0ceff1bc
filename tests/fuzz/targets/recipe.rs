//! A recipe of an operator's own.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirror::recipe::Recipe;

fuzz_target!(|text: &str| {
    match Recipe::parse("recipe.yaml", text) {
        Ok(recipe) => {
            let _ = recipe.source_names().count();
        }
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
});
