use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{Merged, Problem, ProblemState, ProblemView, fixtures};

/// The recorded bodies of `events` or `history`, in their order.
fn recorded(kind: &str) -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/connector");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(kind)).collect();
    files.sort();
    files.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// All recorded events.
fn recorded_events() -> Vec<StatusChanged> {
    recorded("events").iter().flat_map(|body| events(body, 7).unwrap().messages).collect()
}

fn lines_of(body: &[u8]) -> usize {
    body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count()
}

fn joined(lines: &[String]) -> Vec<u8> {
    lines.join("\n").into_bytes()
}

const PROBLEM: &str = concat!(
    r#"{"clock":1795249005,"ns":846953845,"value":1,"eventid":19,"name":"Down","severity":4,"#,
    r#""hosts":[{"host":"web-01","name":"Web 01"}],"groups":["B","A"],"tags":[{"tag":"t","value":"v"}]}"#,
);
const RECOVERY: &str = r#"{"clock":1795249052,"ns":597344357,"value":0,"eventid":28,"p_eventid":19}"#;
const ITEM: &str = concat!(
    r#"{"host":{"host":"web-01","name":"Web 01"},"groups":["A"],"item_tags":[{"tag":"t","value":"v"}],"#,
    r#""itemid":50668,"name":"Status","clock":1795249002,"ns":812681529,"value":0,"type":3}"#,
);

const AN_ITEM_VALUE: &str =
    "an item's value where events are taken: the connector's data type and its URL do not belong together";
const AN_EVENT: &str =
    "an event where item values are taken: the connector's data type and its URL do not belong together";

/// A recorded line with a field changed, or left out.
fn with(line: &str, field: &str, value: Option<Json>) -> String {
    let mut line: Map<String, Json> = serde_json::from_str(line).unwrap();
    match value {
        Some(value) => line.insert(field.to_owned(), value),
        None => line.remove(field),
    };
    Json::Object(line).to_string()
}

#[test]
fn every_recorded_line_is_taken() {
    let (mut lines, mut ids) = (0, BTreeSet::new());
    for body in recorded("events") {
        let taken = events(&body, 7).unwrap();
        assert_eq!((taken.accepted, taken.messages.len(), taken.refused), (lines_of(&body), lines_of(&body), vec![]));
        lines += taken.accepted;
        ids.extend(taken.messages.into_iter().map(|message| message.id));
    }
    assert_eq!((lines, ids.len()), (47, 47));
    let taken: usize = recorded("history").iter().map(|body| item_values(body, 7).unwrap().accepted).sum();
    assert_eq!(taken, 8);
}

#[test]
fn a_problem_and_its_recovery_are_messages_with_exact_times() {
    let events = recorded_events();
    let [problem, recovery] = &events[..2] else { unreachable!() };
    assert_eq!(
        serde_json::to_value(problem).unwrap(),
        json!({
            "id": "19-problem-connector", "kind": "problem", "event_id": "19", "problem": true, "at": 1_795_249_005,
            "exact": true, "opened_at": 1_795_249_005, "accepted_at_ms": 7,
            "detail": {
                "name": "Web application down on Web 01 – Schaufenster", "severity": 4, "acknowledged": false,
                "host": {"id": "", "host": "web-01", "name": "Web 01 – Schaufenster"}, "groups": ["Site A/Web servers"],
                "tags": [
                    {"tag": "component", "value": "app"}, {"tag": "env", "value": "prod"},
                    {"tag": "scope", "value": "availability"}, {"tag": "service", "value": "shop"},
                    {"tag": "site", "value": "A"},
                ],
            },
        })
    );
    assert_eq!((&*recovery.id, &*recovery.event_id, recovery.problem), ("19-recovery-28-connector", "19", false));
    assert_eq!((recovery.kind, recovery.at, recovery.exact), (ChangeKind::Recovery, 1_795_249_052, true));
    assert_eq!(recovery.recovery, Some(Recovery { at: 1_795_249_052, event_id: "28".to_owned() }));
    assert_eq!(recovery.detail, Detail::default(), "it describes nothing");
}

/// Fails if a connector's message has the id of the webhook's about the same event: the record keeps one message of
/// an id.
#[test]
fn no_message_of_a_connector_has_the_id_of_a_webhook_s() {
    let webhook: BTreeSet<String> = fixtures::all("v7.0").iter().map(|fixture| fixture.message().id).collect();
    assert!(recorded_events().iter().all(|event| !webhook.contains(&event.id)));
    assert!(webhook.contains("19-recovery-28"));
}

#[test]
fn the_values_of_a_post_are_one_message_a_host() {
    let taken = item_values(&recorded("history")[0], 7).unwrap();
    assert_eq!((taken.accepted, taken.refused), (3, vec![]));
    let [web_01, web_02] = &taken.messages[..] else { panic!("{:?}", taken.messages) };
    let tags = json!([{"tag": "component", "value": "app"}]);
    assert_eq!(
        serde_json::to_value(web_01).unwrap(),
        json!({
            "id": web_01.id, "host": {"id": "", "host": "web-01", "name": "Web 01 – Schaufenster"},
            "groups": ["Site A/Web servers"], "accepted_at_ms": 7,
            "values": [
                {"item_id": "50668", "name": "Application status", "clock": 1_795_249_002, "ns": 812_681_529,
                 "value": 0, "type": 3, "tags": tags},
                {"item_id": "50669", "name": "Response time", "clock": 1_795_249_002, "ns": 812_685_756,
                 "value": 100, "type": 0, "tags": tags},
            ],
        })
    );
    assert_eq!((&*web_02.host.host, web_02.values.len()), ("web-02", 1));
    assert_ne!(web_01.id, web_02.id);
    assert_eq!(item_values(&recorded("history")[0], 9).unwrap().messages[0].id, web_01.id, "repeated later");
}

#[test]
fn values_stay_the_numbers_and_texts_that_they_are() {
    let value = |json: Json, value_type: u64| {
        let line = with(&with(ITEM, "value", Some(json)), "type", Some(value_type.into()));
        item_values(line.as_bytes(), 7).map(|taken| taken.messages[0].values[0].value.clone())
    };
    assert_eq!(value(json!(u64::MAX), 3), Ok(Value::Unsigned(u64::MAX)));
    assert_eq!(value(json!(-0.5), 0), Ok(Value::Float(-0.5)));
    assert_eq!(value(json!(-3), 0), Ok(Value::Float(-3.0)));
    assert_eq!(value(json!(812.4), 0), Ok(Value::Float(812.4)));
    for value_type in [1, 2, 4] {
        assert_eq!(
            value(json!(" {HOST.NAME}\u{0}\n\u{1b}[0m "), value_type),
            Ok(Value::Text(" {HOST.NAME}\n\u{1b}[0m ".to_owned()))
        );
        assert!(value(json!(1), value_type).is_err());
    }
    for (json, value_type) in
        [(json!("1"), 0), (json!("1"), 3), (json!(0.5), 3), (json!(-1), 3), (json!(true), 0), (json!("AA=="), 5)]
    {
        assert!(value(json.clone(), value_type).is_err(), "{json} of type {value_type}");
    }
}

#[test]
fn a_bad_line_is_told_by_its_number_and_the_others_are_taken() {
    let p = |field: &str, value: Json| with(PROBLEM, field, Some(value));
    #[rustfmt::skip]
    let cases: Vec<(String, &str)> = vec![
        ("<html>".into(), "not JSON"),
        (PROBLEM[..100].into(), "not JSON"),
        ("[".repeat(10_000), "not JSON"),
        ("[1]".into(), "not a JSON object"),
        ("{}".into(), "`eventid` is missing"),
        (p("eventid", json!("19")), r#"`eventid` is "\"19\"", expected an id (a number)"#),
        (p("eventid", json!(0)), r#"`eventid` is "0", expected an id (a number)"#),
        (p("eventid", json!(-1)), r#"`eventid` is "-1", expected an id (a number)"#),
        (p("eventid", json!(1.5)), r#"`eventid` is "1.5", expected an id (a number)"#),
        (p("clock", json!(null)), "`clock` is missing"),
        (p("clock", json!(7_258_118_400_u64)), r#"`clock` is "7258118400", expected unix seconds (a number)"#),
        (p("value", json!(2)), r#"`value` is "2", expected 0 or 1"#),
        (p("severity", json!(6)), r#"`severity` is "6", expected 0 to 5"#),
        (with(PROBLEM, "severity", None), "`severity` is missing"),
        (p("name", json!(" \u{0}")), "`name` is missing"),
        (p("name", json!(["x"])), r#"`name` is "[\"x\"]", expected text"#),
        (p("hosts", json!("web-01")), r#"`hosts` is "\"web-01\"", expected a list"#),
        (p("groups", json!({})), r#"`groups` is "{}", expected a list"#),
        (with(RECOVERY, "p_eventid", None), "`p_eventid` is missing"),
        (ITEM.into(), AN_ITEM_VALUE),
        (p("x", json!("x".repeat(MAX_LINE_BYTES))), "longer than 262144 bytes"),
    ];
    let mut body = format!("{PROBLEM}\r\n\n  \n{RECOVERY}\n");
    for (line, _) in &cases {
        body += line;
        body += "\n";
    }
    let mut last: Map<String, Json> = serde_json::from_str(PROBLEM).unwrap();
    last.insert("eventid".to_owned(), json!(99));
    body += &Json::Object(last).to_string();
    let taken = events(body.as_bytes(), 7).unwrap();
    let ids: Vec<&str> = taken.messages.iter().map(|message| &*message.id).collect();
    assert_eq!(ids, ["19-problem-connector", "19-recovery-28-connector", "99-problem-connector"]);
    assert_eq!(taken.refused.len(), cases.len());
    for ((refused, (_, reason)), line) in taken.refused.iter().zip(&cases).zip(5..) {
        assert_eq!((refused.line, &*refused.reason.to_string()), (line, *reason));
    }

    let i = |field: &str, value: Option<Json>| with(ITEM, field, value);
    #[rustfmt::skip]
    let cases = [
        (PROBLEM.to_owned(), AN_EVENT),
        (i("itemid", None), "`itemid` is missing"),
        (i("host", None), "`host` is missing"),
        (i("host", Some(json!("web-01"))), "`host` is missing"),
        (i("ns", Some(json!(1_000_000_000))), r#"`ns` is "1000000000", expected nanoseconds (a number)"#),
        (i("type", Some(json!(5))), r#"`type` is "5", expected 0 to 4"#),
        (i("value", Some(json!("up"))), r#"`value` is "\"up\"", expected a whole number, as its type is 3"#),
    ];
    let mut lines: Vec<String> = cases.iter().map(|(line, _)| line.clone()).collect();
    lines.push(ITEM.to_owned());
    let taken = item_values(&joined(&lines), 7).unwrap();
    assert_eq!((taken.accepted, taken.messages[0].values.len()), (1, 1));
    for ((refused, (_, reason)), line) in taken.refused.iter().zip(&cases).zip(1..) {
        assert_eq!((refused.line, &*refused.reason.to_string()), (line, *reason));
    }
}

#[test]
fn a_line_of_a_windows_event_log_is_an_item_value() {
    let line = with(&with(ITEM, "eventid", Some(json!(4624))), "type", Some(json!(2)));
    let line = with(&line, "value", Some(json!("An account was logged on")));
    assert_eq!(item_values(line.as_bytes(), 7).unwrap().accepted, 1);
}

#[test]
fn names_are_kept_in_any_script_trimmed_and_bounded() {
    let name = |text: &str| {
        events(with(PROBLEM, "name", Some(json!(text))).as_bytes(), 7).unwrap().messages[0].detail.name.clone()
    };
    for text in ["Сервер не отвечает", "خادم", "服务器", "🔥 \u{202e}evil", "a\u{7}b", "{ALERT}", "*UNKNOWN*"]
    {
        assert_eq!(name(text), text);
    }
    assert_eq!(name(" a\u{0}b "), "ab");
    assert_eq!(name(&"ü".repeat(3_000)), "ü".repeat(2_048) + "…");
}

#[test]
fn a_body_that_holds_nothing_for_us_says_why() {
    for body in ["", "\n\n \r\n"] {
        assert_eq!(events(body.as_bytes(), 7).unwrap(), Taken { messages: vec![], accepted: 0, refused: vec![] });
    }
    for body in ["<html>\n<body>\n", "[]", "a=b", "\u{0}", "null\n1"] {
        assert_eq!(events(body.as_bytes(), 7), Err(BodyError::NotNdjson), "{body}");
    }
    assert_eq!(events(b"\xff\xfe{}", 7), Err(BodyError::NotNdjson));
    let missing = RefusedLine { line: 1, reason: LineError::Missing { field: "eventid" } };
    assert_eq!(events(b"{}", 7), Err(BodyError::NothingTaken(vec![missing])));
    assert_eq!(
        events(ITEM.as_bytes(), 7),
        Err(BodyError::NothingTaken(vec![RefusedLine { line: 1, reason: LineError::ItemValue }]))
    );

    assert_eq!(events(&vec![b' '; MAX_BODY_BYTES + 1], 7), Err(BodyError::TooLarge));
    assert!(events(&vec![b' '; MAX_BODY_BYTES], 7).is_ok());
    let most = format!("{RECOVERY}\n").repeat(MAX_LINES);
    assert_eq!(events(most.as_bytes(), 7).unwrap().accepted, MAX_LINES);
    assert_eq!(events((most + RECOVERY).as_bytes(), 7), Err(BodyError::TooManyLines));
}

/// Fails if a message is filled by the number of its values, or if the frame around them is not counted.
#[test]
fn what_is_more_than_a_publication_comes_in_several_messages() {
    let text = |n: usize, bytes: usize| {
        let line = with(&with(ITEM, "type", Some(json!(4))), "value", Some(json!("\"".repeat(bytes / 2))));
        with(&line, "ns", Some(json!(n)))
    };
    let mut lines: Vec<String> = (0..300).map(|n| with(ITEM, "ns", Some(json!(n)))).collect();
    lines.extend((300..320).map(|n| text(n, 30_000)));
    let taken = item_values(&joined(&lines), 7).unwrap();
    assert_eq!(taken.accepted, 320);
    assert!(taken.messages.len() > 6, "{}", taken.messages.len());
    let sizes: Vec<usize> = taken.messages.iter().map(json_bytes).collect();
    assert!(sizes.iter().all(|size| *size <= MAX_MESSAGE_BYTES), "{sizes:?}");
    assert!(sizes.iter().rev().skip(1).all(|size| *size > MAX_MESSAGE_BYTES / 2), "they are filled: {sizes:?}");
    let order: Vec<u32> = taken.messages.iter().flat_map(|message| &message.values).map(|value| value.ns).collect();
    assert_eq!(order, (0..320).collect::<Vec<_>>());
    let ids: BTreeSet<&str> = taken.messages.iter().map(|message| &*message.id).collect();
    assert_eq!(ids.len(), taken.messages.len());

    let refused = item_values(&joined(&[text(1, 110_000), ITEM.to_owned()]), 7).unwrap().refused;
    assert!(
        matches!(refused[..], [RefusedLine { line: 1, reason: LineError::ValueTooLarge { bytes } }] if bytes > 110_000)
    );
    let fitting = item_values(text(1, 102_000).as_bytes(), 7).unwrap();
    assert!(json_bytes(&fitting.messages[0]) <= MAX_MESSAGE_BYTES);
}

/// A recorded body with some bytes replaced, removed or doubled.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let bodies: Vec<Vec<u8>> = recorded("events").into_iter().chain(recorded("history")).collect();
    let bytes = prop_oneof![any::<u8>(), prop::sample::select(b"\n\r\0{}[]\",:0189eE.-\\u \xff\xc3".to_vec()),];
    let change = (any::<prop::sample::Index>(), 0..3_u8, bytes);
    (prop::sample::select(bodies), prop::collection::vec(change, 1..12)).prop_map(|(mut body, changes)| {
        for (at, what, byte) in changes {
            if body.is_empty() {
                break;
            }
            let at = at.index(body.len());
            match what {
                0 => body[at] = byte,
                1 => drop(body.remove(at)),
                _ => body.insert(at, byte),
            }
        }
        body
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    /// Fails if anything from outside can reach a panic, or if a line is neither taken nor told.
    #[test]
    fn of_whatever_is_sent_each_line_is_taken_or_told(
        body in prop_oneof![mutated(), prop::collection::vec(any::<u8>(), 0..300)],
    ) {
        let told = |taken: Result<(usize, Vec<RefusedLine>), BodyError>| match taken {
            Ok((accepted, refused)) => accepted + refused.len(),
            Err(BodyError::NothingTaken(refused)) => refused.len(),
            Err(_) => lines_of(&body),
        };
        let taken = events(&body, 7);
        if let Ok(taken) = &taken {
            prop_assert_eq!(taken.messages.len(), taken.accepted);
            prop_assert!(taken.messages.iter().all(|message| message.problem != message.detail.name.is_empty()));
        }
        prop_assert_eq!(told(taken.map(|taken| (taken.accepted, taken.refused))), lines_of(&body));
        let taken = item_values(&body, 7);
        if let Ok(taken) = &taken {
            let values: usize = taken.messages.iter().map(|message| message.values.len()).sum();
            prop_assert_eq!(values, taken.accepted);
        }
        prop_assert_eq!(told(taken.map(|taken| (taken.accepted, taken.refused))), lines_of(&body));
    }

    /// Fails if a bad line costs a neighbour, or if lines are counted without the empty ones.
    #[test]
    fn a_bad_line_changes_nothing_of_the_others(
        bad in prop::collection::btree_map(
            0..10_usize, prop::sample::select(vec!["{", "{}", "[]", "\u{0}", ITEM]), 0..6,
        ),
        empty in 0..10_usize,
    ) {
        let lines: Vec<String> = (0..10).map(|n| with(RECOVERY, "eventid", Some(json!(100 + n)))).collect();
        let good = events(&joined(&lines), 7).unwrap().messages;
        let mut mixed = lines;
        for (&at, bad) in &bad {
            mixed[at] = (*bad).to_owned();
        }
        mixed[empty] = String::new();
        let taken = events(&joined(&mixed), 7).unwrap();
        let left = good.into_iter().enumerate().filter(|(n, _)| !bad.contains_key(n) && *n != empty);
        let expected: Vec<_> = left.map(|(_, message)| message).collect();
        prop_assert_eq!(taken.messages, expected);
        let refused: Vec<usize> = taken.refused.iter().map(|refused| refused.line).collect();
        let told: Vec<usize> = bad.keys().filter(|n| **n != empty).map(|n| n + 1).collect();
        prop_assert_eq!(refused, told);
    }
}

proptest! {
    // a megabyte each
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Fails if the size of a message is guessed, or if a value gets lost between two of them.
    #[test]
    fn any_values_come_whole_in_messages_that_fit(
        values in prop::collection::vec(
            (0..3_u8, 0..40_000_usize, prop::sample::select(vec!["x", "\"", "ü", "\u{1}"])), 1..40,
        ),
    ) {
        let lines: Vec<String> = values
            .iter()
            .zip(0..)
            .map(|((host, length, text), ns)| {
                let line = with(&with(ITEM, "type", Some(json!(4))), "value", Some(json!(text.repeat(length / 6))));
                with(&with(&line, "host", Some(json!({"host": format!("h{host}")}))), "ns", Some(json!(ns)))
            })
            .collect();
        let taken = item_values(&joined(&lines), 7).unwrap();
        prop_assert_eq!((taken.accepted, taken.refused.len()), (values.len(), 0));
        prop_assert!(taken.messages.iter().all(|message| json_bytes(message) <= MAX_MESSAGE_BYTES));
        for host in 0..3_u8 {
            let host = format!("h{host}");
            let sent = values.iter().zip(0..).filter(|((of, ..), _)| format!("h{of}") == host).map(|(_, ns)| ns);
            let came = taken.messages.iter().filter(|message| message.host.host == host);
            let came = came.flat_map(|message| &message.values);
            prop_assert_eq!(came.map(|value| value.ns).collect::<Vec<u32>>(), sent.collect::<Vec<u32>>());
        }
        prop_assert_eq!(item_values(&joined(&lines), 7).unwrap().messages, taken.messages, "a repetition is the same");
    }
}

/// What both ways in told of each problem of the 7.0 run: the webhook's messages and the connector's.
fn told_twice() -> Vec<Vec<StatusChanged>> {
    let mut stories = BTreeMap::<String, Vec<StatusChanged>>::new();
    for message in fixtures::all("v7.0").iter().map(fixtures::Fixture::message).chain(recorded_events()) {
        stories.entry(message.event_id.clone()).or_default().push(message);
    }
    let both = |story: &Vec<StatusChanged>| {
        story.iter().any(is_connector) && story.iter().any(|message| !is_connector(message))
    };
    stories.into_values().filter(both).collect()
}

fn is_connector(message: &StatusChanged) -> bool {
    message.id.ends_with("-connector")
}

/// A problem that both told, with its messages in some order, each at least once.
fn interleaved() -> impl Strategy<Value = (Vec<StatusChanged>, Vec<StatusChanged>)> {
    prop::sample::select(told_twice()).prop_flat_map(|story| {
        let repeated = prop::collection::vec(prop::sample::select(story.clone()), 0..8);
        (Just(story.clone()), repeated).prop_flat_map(|(story, repeated)| {
            let all: Vec<_> = story.iter().cloned().chain(repeated).collect();
            (Just(story), Just(all).prop_shuffle())
        })
    })
}

fn merged(messages: &[StatusChanged]) -> Problem {
    let mut problem = Problem::first(&messages[0]);
    for message in &messages[1..] {
        problem.merge(message);
    }
    problem.set_version(0);
    problem
}

fn status(view: &ProblemView) -> (ProblemState, u8, bool, bool) {
    (view.state, view.severity, view.acknowledged, view.suppressed)
}

/// What a webhook knows of a problem and a connector does not.
fn webhook_s(view: &ProblemView) -> (&str, &Option<String>, &Option<String>, &Option<String>) {
    (&view.host.id, &view.trigger_id, &view.url, &view.opdata)
}

#[test]
fn both_ways_in_told_of_twelve_problems() {
    let stories = told_twice();
    assert_eq!(stories.len(), 12);
    let longest = stories.iter().max_by_key(|story| story.len()).unwrap();
    assert_eq!((longest[0].event_id.as_str(), longest.len()), ("19", 10));
}

/// With a connector alone the board has all but the host's id, the trigger, its URL and the operational data.
#[test]
fn a_connector_alone_tells_a_problem_and_its_end() {
    let events = recorded_events();
    let mut problem = Problem::first(&events[0]);
    assert_eq!((problem.is_open(), problem.view().severity, &*problem.view().host.host), (true, 4, "web-01"));
    assert_eq!(problem.merge(&events[1]), Merged::Changed);
    assert_eq!((problem.is_open(), problem.resolved_at(), problem.version()), (false, Some(1_795_249_052), 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    /// Fails if a connector's problem, which knows less, can beat a webhook's, or if a recovery that describes
    /// nothing takes a part of what is known.
    #[test]
    fn webhook_and_connector_in_any_order_and_any_number_end_in_one_state((story, shuffled) in interleaved()) {
        let (expected, problem) = (merged(&story), merged(&shuffled));
        prop_assert_eq!(problem.is_open(), story.iter().all(|message| message.problem));
        prop_assert_eq!(problem.view().host.id.is_empty(), false);
        prop_assert_eq!(problem, expected);
    }

    /// A viewer gets each version. No status comes twice in a row, unless a webhook adds what the connector had left
    /// out, or tells what somebody did that changes no status (a comment). What a connector says is a version only
    /// when the status is another.
    ///
    /// Fails if exact times make a version though they are the same (`Merged::Noted`).
    #[test]
    fn viewers_see_no_status_twice_in_a_row((_, shuffled) in interleaved()) {
        let mut problem = Problem::first(&shuffled[0]);
        for message in &shuffled[1..] {
            let (was_shown, before) = (problem.is_described(), problem.view());
            if problem.merge(message) != Merged::Changed || !was_shown {
                continue;
            }
            let now = problem.view();
            let same = status(&before) == status(&now);
            if is_connector(message) {
                prop_assert!(!same, "{}: {:?} again", message.id, status(&now));
            } else {
                let news = before.last_update != now.last_update || webhook_s(&before) != webhook_s(&now);
                prop_assert!(!same || news, "{}: {:?} again", message.id, status(&now));
            }
        }
    }
}
