//! Deltas of all kinds of documents, applied by us and by centrifuge-js.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use proptest::{prelude::*, sample::Index, strategy::ValueTree as _, test_runner::TestRunner};
use signalbox_fossil::{apply, create};

/// So many of those characters. (A regular expression as a strategy is parsed anew for each value.)
fn characters(of: &str, length: std::ops::Range<usize>) -> impl Strategy<Value = String> + use<> {
    let one = prop::sample::select(of.chars().collect::<Vec<_>>());
    prop::collection::vec(one, length).prop_map(String::from_iter)
}

fn any_text() -> impl Strategy<Value = String> {
    prop::collection::vec(any::<char>(), 0..30).prop_map(String::from_iter)
}

/// Text in which the same pieces come again, and characters of each length that share their first bytes.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => Just(r#"{"id":17,"name":""#.to_owned()),
        4 => Just(r#"","score":[0,12],"#.to_owned()),
        2 => characters("abc", 1..20),
        2 => characters("äöüß東京都🦀🦁", 1..9),
        1 => Just("東".repeat(30)),
        1 => characters("0123456789", 1..4),
        1 => any_text(),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Bytes, many of which look like parts of characters.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_map(|byte| if byte < 0xB0 { [0x80, 0xC3, 0x61][usize::from(byte % 3)] } else { byte });
    prop::collection::vec(byte, 0..200)
}

/// A text and what becomes of it when pieces of it are replaced, removed, inserted or moved.
fn edited() -> impl Strategy<Value = (String, String)> {
    let edit = (
        any::<Index>(),
        any::<Index>(),
        any::<Index>(),
        prop_oneof![Just(String::new()), characters("abcöü🦀", 1..10)],
    );
    (text(), prop::collection::vec(edit, 0..6)).prop_map(|(origin, edits)| {
        let mut characters: Vec<char> = origin.chars().collect();
        for (from, length, to, inserted) in edits {
            let from = from.index(characters.len() + 1);
            let length = length.index((characters.len() - from).min(40) + 1);
            let removed: Vec<char> = characters.splice(from..from + length, inserted.chars()).collect();
            if inserted.is_empty() {
                let to = to.index(characters.len() + 1);
                characters.splice(to..to, removed);
            }
        }
        (origin, characters.into_iter().collect())
    })
}

fn pair() -> impl Strategy<Value = (String, String)> {
    prop_oneof![3 => edited(), 1 => (text(), text()), 1 => (any_text(), any_text())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_delta_of_texts_is_text_that_makes_the_target((origin, target) in pair(), at in any::<Index>()) {
        let delta = create(origin.as_bytes(), target.as_bytes());
        prop_assert!(std::str::from_utf8(&delta).is_ok(), "{}", delta.escape_ascii());
        // what is more than the target: three numbers and their signs
        prop_assert!(delta.len() <= target.len() + 15, "{}", delta.escape_ascii());
        prop_assert!(apply(origin.as_bytes(), &delta[..at.index(delta.len())]).is_err());
        prop_assert_eq!(apply(origin.as_bytes(), &delta), Ok(target.into_bytes()));
    }

    #[test]
    fn a_delta_of_bytes_makes_the_target(
        origin in bytes(),
        target in bytes(),
        (from, to) in any::<(Index, Index)>(),
    ) {
        prop_assert_eq!(apply(&origin, &create(&origin, &target)), Ok(target.clone()));
        // and of some that have something in common, cut anywhere
        let (from, to) = (from.index(origin.len() + 1), to.index(target.len() + 1));
        let target = [&target[..to], &origin[from..], &target[to..]].concat();
        prop_assert_eq!(apply(&origin, &create(&origin, &target)), Ok(target));
    }

    #[test]
    fn what_is_no_delta_is_refused_or_applied_without_a_panic(
        origin in bytes(),
        delta in prop_oneof![
            any::<Vec<u8>>(),
            "[0-9A-Za-z_~]{1,3}\n([0-3]@[0-3],|[0-3]:[a-c]{0,3}){0,4}[0-9]?;?".prop_map(String::into_bytes),
        ],
    ) {
        let _ = apply(&origin, &delta);
    }
}

#[test]
fn centrifuge_js_makes_the_same_of_a_delta() {
    let centrifuge = match centrifuge_js() {
        Ok(module) => module,
        Err(lacking) => {
            let required = std::env::var("SIGNALBOX_REQUIRE_BROWSER").is_ok_and(|value| value == "true");
            assert!(!required, "centrifuge-js: {lacking}");
            // past the test harness, which keeps what is printed to itself
            std::io::stderr().write_all(format!("centrifuge-js: SKIPPED, {lacking}\n").as_bytes()).unwrap();
            return;
        }
    };
    let mut runner = TestRunner::deterministic();
    // publications are JSON documents
    let documents = pair().prop_map(|(origin, target)| {
        (serde_json::to_string(&origin).unwrap(), serde_json::json!({ "id": 17, "data": target }).to_string())
    });
    let mut pairs: Vec<(String, String)> =
        (0..4_000).map(|_| documents.new_tree(&mut runner).unwrap().current()).collect();
    let row = |id: u32| format!("{{\"id\":{id},\"náme\":\"東{}\"}}", id * 7_919 % 1_000);
    let large = format!("[{}]", (0..4_500).map(row).collect::<Vec<_>>().join(","));
    pairs.push((large.clone(), large.replace("\"id\":59", "\"id\":6")));
    pairs.push((large.clone(), "[]".to_owned()));
    pairs.push(("[]".to_owned(), large));

    let lines: String = pairs
        .iter()
        .map(|(origin, target)| {
            let delta = String::from_utf8(create(origin.as_bytes(), target.as_bytes())).unwrap();
            serde_json::json!({ "origin": origin, "delta": delta }).to_string() + "\n"
        })
        .collect();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/decode.cjs");
    let mut node = Command::new("node")
        .arg(script)
        .arg(centrifuge)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node starts");
    node.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success(), "node: {}", output.status);

    let decoded = String::from_utf8(output.stdout).unwrap();
    assert_eq!(decoded.lines().count(), pairs.len());
    for ((origin, target), line) in pairs.iter().zip(decoded.lines()) {
        assert_eq!(&serde_json::from_str::<String>(line).unwrap(), target, "from {origin:?}");
    }
}

/// The SDK that the board is built with, if it and node are here. CI sets `SIGNALBOX_REQUIRE_BROWSER`: there they must be.
fn centrifuge_js() -> Result<PathBuf, &'static str> {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/node_modules/centrifuge");
    if !Command::new("node").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return Err("no node here");
    }
    if module.join("package.json").exists() { Ok(module) } else { Err("no node_modules in web/ (npm ci)") }
}
