//! Versions, constraints and names: the order is total, and the text of a version is preserved.
#![no_main]

use std::cmp::Ordering;

use libfuzzer_sys::fuzz_target;
use mirror::composer::{PackageName, Version, is_valid_constraint};

fuzz_target!(|text: &str| {
    let _ = is_valid_constraint(text);
    if let Ok(name) = text.parse::<PackageName>() {
        assert_eq!(name.to_string(), text);
    }
    let (left, right) = text.split_once('\n').unwrap_or((text, text));
    if let (Ok(left), Ok(right)) = (left.parse::<Version>(), right.parse::<Version>()) {
        assert_eq!(left.precedence(&left), Ordering::Equal);
        assert_eq!(left.precedence(&right), right.precedence(&left).reverse());
    }
});
