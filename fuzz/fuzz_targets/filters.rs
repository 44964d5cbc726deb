//! `tf` of a subscribe: a tree is refused or taken; one that was taken stays itself in the table, and its negation matches what it
//! does not.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use signalbox_protocol::Filter;

fuzz_target!(|input: (&str, BTreeMap<String, String>)| {
    let (json, tags) = input;
    let Ok(filter) = serde_json::from_str::<Filter>(json) else { return };
    let written = serde_json::to_string(&filter).expect("JSON");
    assert_eq!(serde_json::from_str::<Filter>(&written).ok().as_ref(), Some(&filter), "{written}");
    let matches = filter.matches(&tags);
    if filter.check().is_ok() {
        let not = Filter { op: "not".to_owned(), nodes: vec![filter], ..Filter::default() };
        assert_ne!(not.matches(&tags), matches, "{written} {tags:?}");
    }
});
