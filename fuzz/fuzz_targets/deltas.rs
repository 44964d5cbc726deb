//! Fossil deltas: what is made applies and gives its target; what comes from anywhere is refused or applied, and takes no more memory
//! than its commands make.

#![no_main]

use libfuzzer_sys::fuzz_target;
use signalbox_fossil::{apply, create};

fuzz_target!(|input: (&[u8], &[u8])| {
    let (origin, other) = input;
    let delta = create(origin, other);
    assert_eq!(apply(origin, &delta).as_deref(), Ok(other));
    if let (Ok(_), Ok(_)) = (std::str::from_utf8(origin), std::str::from_utf8(other)) {
        assert!(std::str::from_utf8(&delta).is_ok(), "a delta of texts is text");
        assert!(delta.len() <= other.len() + 15, "{} bytes for {}", delta.len(), other.len());
    }
    if let Ok(target) = apply(origin, other) {
        // four bytes are the shortest copy, of the whole origin at most
        assert!(target.len() <= other.len() + other.len() / 4 * origin.len());
    }
});
