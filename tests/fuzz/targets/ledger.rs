//! The ledger: whole lines are read, and written again they are the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirror::ledger::Ledger;

fuzz_target!(|text: &[u8]| {
    if let Ok((ledger, whole)) = Ledger::parse(text) {
        assert!(whole <= text.len());
        assert!(whole == 0 || text[whole - 1] == b'\n');
        let (again, read) = Ledger::parse(&text[..whole]).expect("the part that was read");
        assert_eq!((again.len(), again.head(), read), (ledger.len(), ledger.head(), whole));
    }
});
