use ChangeKind::{Internal, Problem, Recovery, Update as UpdateKind};
use proptest::prelude::*;
use serde_json::{Map, json};
use signalbox_messages::Suppression;

use super::*;
use crate::fixtures;

/// Fixture, id (an update's without its digest), kind, problem, `at` and `opened_at` (of 2026-11-21, UTC), seq, severity,
/// acknowledged, host.
type Row = (&'static str, &'static str, ChangeKind, bool, &'static str, &'static str, u32, u8, bool, &'static str);

#[rustfmt::skip]
const EXPECTED: &[Row] = &[
    ("recommended/v6.0-problem", "147-problem", Problem, true, "08:24:09", "08:24:09", 0, 4, false, "web-01"),
    ("recommended/v6.0-recovery", "147-recovery-148", Recovery, false, "08:24:18", "08:24:09", 0, 4, true, "web-01"),
    ("recommended/v6.0-update", "147-update-20261121082412-", UpdateKind, true, "08:24:12", "08:24:09", 0, 4, true, "web-01"),
    ("recommended/v7.0-problem", "87-problem", Problem, true, "08:24:45", "08:24:45", 0, 4, false, "web-01"),
    ("recommended/v7.0-recovery", "87-recovery-88", Recovery, false, "08:24:52", "08:24:45", 0, 4, true, "web-01"),
    ("recommended/v7.0-update", "87-update-20261121082446-", UpdateKind, true, "08:24:46", "08:24:45", 0, 4, true, "web-01"),
    ("v6.0/01-problem-high", "98-problem", Problem, true, "08:14:56", "08:14:56", 0, 4, false, "web-01"),
    ("v6.0/02-update-acknowledge-with-message", "98-update-20261121081458-", UpdateKind, true, "08:14:58", "08:14:56", 1, 4, true, "web-01"),
    ("v6.0/03-update-severity-to-disaster", "98-update-20261121081502-", UpdateKind, true, "08:15:02", "08:14:56", 2, 5, true, "web-01"),
    ("v6.0/04-update-unacknowledge", "98-update-20261121081519-", UpdateKind, true, "08:15:19", "08:14:56", 4, 5, false, "web-01"),
    ("v6.0/05-update-message-only", "98-update-20261121081523-", UpdateKind, true, "08:15:23", "08:14:56", 5, 5, false, "web-01"),
    ("v6.0/06-recovery-high", "98-recovery-99", Recovery, false, "08:15:29", "08:14:56", 5, 5, false, "web-01"),
    ("v6.0/07-problem-disaster", "119-problem", Problem, true, "08:16:17", "08:16:17", 0, 5, false, "db-01"),
    ("v6.0/08-problem-information", "120-problem", Problem, true, "08:16:17", "08:16:17", 0, 1, false, "db-01"),
    ("v6.0/09-problem-not-classified", "121-problem", Problem, true, "08:16:17", "08:16:17", 0, 0, false, "db-01"),
    ("v6.0/10-problem-warning", "117-problem", Problem, true, "08:16:17", "08:16:17", 0, 2, false, "web-01"),
    ("v6.0/11-problem-average", "116-problem", Problem, true, "08:16:17", "08:16:17", 0, 3, false, "web-01"),
    ("v6.0/12-problem-high", "115-problem", Problem, true, "08:16:17", "08:16:17", 0, 4, false, "web-01"),
    ("v6.0/13-problem-disaster-snmp", "118-problem", Problem, true, "08:16:17", "08:16:17", 0, 5, false, "sw-01"),
    ("v6.0/14-problem-multiple-1", "122-problem", Problem, true, "08:16:21", "08:16:21", 0, 2, false, "db-01"),
    ("v6.0/15-problem-multiple-2", "123-problem", Problem, true, "08:16:24", "08:16:24", 0, 2, false, "db-01"),
    ("v6.0/16-manual-close-update", "119-update-20261121081634-", UpdateKind, false, "08:16:34", "08:16:17", 1, 5, false, "db-01"),
    ("v6.0/17-manual-close-recovery", "119-recovery-125", Recovery, false, "08:16:35", "08:16:17", 1, 5, false, "db-01"),
    ("v6.0/18-internal-trigger-unknown", "128-internal-unknown", Internal, true, "08:16:45", "08:16:45", 0, 3, false, "sw-01"),
    ("v6.0/19-internal-trigger-normal", "128-internal-normal", Internal, false, "08:16:48", "08:16:45", 0, 3, false, "sw-01"),
    ("v6.0/20-recovery-disaster-snmp", "118-recovery-131", Recovery, false, "08:16:51", "08:16:17", 0, 5, false, "sw-01"),
    ("v6.0/21-problem-in-maintenance-pause_suppressed-0", "137-problem", Problem, true, "08:20:00", "08:20:00", 0, 5, false, "sw-01"),
    ("v6.0/22-problem-after-maintenance", "139-problem", Problem, true, "08:22:00", "08:22:00", 0, 5, false, "sw-01"),
    ("v6.0/23-recovery-average", "116-recovery-142", Recovery, false, "08:23:09", "08:16:17", 0, 3, false, "web-01"),
    ("v7.0/01-problem-high", "19-problem", Problem, true, "08:16:45", "08:16:45", 0, 4, false, "web-01"),
    ("v7.0/02-update-acknowledge-with-message", "19-update-20261121081646-", UpdateKind, true, "08:16:46", "08:16:45", 1, 4, true, "web-01"),
    ("v7.0/03-update-severity-to-disaster", "19-update-20261121081651-", UpdateKind, true, "08:16:51", "08:16:45", 2, 5, true, "web-01"),
    ("v7.0/04-update-unacknowledge", "19-update-20261121081710-", UpdateKind, true, "08:17:10", "08:16:45", 4, 5, false, "web-01"),
    ("v7.0/05-update-message-only", "19-update-20261121081717-", UpdateKind, true, "08:17:17", "08:16:45", 5, 5, false, "web-01"),
    ("v7.0/06-update-suppress", "19-update-20261121081723-", UpdateKind, true, "08:17:23", "08:16:45", 6, 5, false, "web-01"),
    ("v7.0/07-update-unsuppress", "19-update-20261121081728-", UpdateKind, true, "08:17:28", "08:16:45", 7, 5, false, "web-01"),
    ("v7.0/08-recovery-high", "19-recovery-28", Recovery, false, "08:17:32", "08:16:45", 7, 5, false, "web-01"),
    ("v7.0/09-problem-disaster", "47-problem", Problem, true, "08:18:04", "08:18:04", 0, 5, false, "db-01"),
    ("v7.0/10-problem-information", "48-problem", Problem, true, "08:18:04", "08:18:04", 0, 1, false, "db-01"),
    ("v7.0/11-problem-not-classified", "49-problem", Problem, true, "08:18:04", "08:18:04", 0, 0, false, "db-01"),
    ("v7.0/12-problem-warning", "45-problem", Problem, true, "08:18:04", "08:18:04", 0, 2, false, "web-01"),
    ("v7.0/13-problem-average", "44-problem", Problem, true, "08:18:04", "08:18:04", 0, 3, false, "web-01"),
    ("v7.0/14-problem-high", "43-problem", Problem, true, "08:18:04", "08:18:04", 0, 4, false, "web-01"),
    ("v7.0/15-problem-disaster-snmp", "46-problem", Problem, true, "08:18:04", "08:18:04", 0, 5, false, "sw-01"),
    ("v7.0/16-problem-multiple-1", "50-problem", Problem, true, "08:18:05", "08:18:05", 0, 2, false, "db-01"),
    ("v7.0/17-problem-multiple-2", "51-problem", Problem, true, "08:18:05", "08:18:05", 0, 2, false, "db-01"),
    ("v7.0/18-manual-close-recovery", "47-recovery-53", Recovery, false, "08:18:15", "08:18:04", 1, 5, false, "db-01"),
    ("v7.0/19-manual-close-update", "47-update-20261121081815-", UpdateKind, false, "08:18:15", "08:18:04", 1, 5, false, "db-01"),
    ("v7.0/20-internal-trigger-unknown", "56-internal-unknown", Internal, true, "08:18:21", "08:18:21", 0, 3, false, "sw-01"),
    ("v7.0/21-internal-trigger-normal", "56-internal-normal", Internal, false, "08:18:21", "08:18:21", 0, 3, false, "sw-01"),
    ("v7.0/22-recovery-disaster-snmp", "46-recovery-59", Recovery, false, "08:18:25", "08:18:04", 0, 5, false, "sw-01"),
    ("v7.0/23-problem-in-maintenance-pause_suppressed-0", "67-problem", Problem, true, "08:21:54", "08:21:54", 0, 5, false, "sw-01"),
    ("v7.0/24-problem-after-maintenance", "69-problem", Problem, true, "08:22:07", "08:22:07", 0, 5, false, "sw-01"),
    ("v7.0/25-recovery-average", "44-recovery-72", Recovery, false, "08:23:14", "08:18:04", 0, 3, false, "web-01"),
];

fn today(time: &str) -> i64 {
    format!("2026-11-21T{time}Z").parse::<jiff::Timestamp>().unwrap().as_second()
}

fn parse(body: &Value) -> Result<StatusChanged, PayloadError> {
    status_changed(body.to_string().as_bytes(), 1_795_249_000_000, &Zone::Auto)
}

fn body(path: &str) -> Value {
    let (folder, name) = path.split_once('/').unwrap();
    let fixture = fixtures::all(folder).into_iter().find(|fixture| fixture.name == name).unwrap();
    serde_json::from_str(&fixture.raw_body).unwrap()
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

fn without(mut body: Value, field: &str) -> Value {
    body.as_object_mut().unwrap().remove(field);
    body
}

#[test]
fn every_recorded_request_reads_as_what_happened() {
    let recorded: usize = ["recommended", "v6.0", "v7.0"].map(|folder| fixtures::all(folder).len()).iter().sum();
    assert_eq!(recorded, EXPECTED.len(), "each fixture has a row");
    for &(path, id, kind, problem, at, opened_at, seq, severity, acknowledged, host) in EXPECTED {
        let message = fixtures::message(path);
        match kind {
            UpdateKind => assert_eq!(&message.id[..message.id.len() - 8], id, "{path}"),
            Problem | Recovery | Internal | signalbox_messages::ChangeKind::Observed => {
                assert_eq!(message.id, id, "{path}");
            }
        }
        assert_eq!(message.kind, kind, "{path}");
        assert_eq!(message.problem, problem, "{path}");
        assert_eq!(message.at, today(at), "{path}");
        assert_eq!(message.opened_at, today(opened_at), "{path}");
        assert_eq!(message.seq, seq, "{path}");
        assert_eq!(message.detail.severity, severity, "{path}");
        assert_eq!(message.detail.acknowledged, acknowledged, "{path}");
        assert_eq!(message.detail.host.host, host, "{path}");
        assert_eq!(message.update.is_some(), kind == UpdateKind, "{path}");
        assert_eq!(message.recovery.is_some(), !problem, "{path}");
        assert_eq!(message.detail.error.is_some(), kind == Internal && problem, "{path}");
    }
}

#[test]
fn our_media_type_and_raw_macros_give_the_same_message() {
    let update = fixtures::message("recommended/v7.0-update");
    let expected = StatusChanged {
        id: update.id.clone(),
        kind: UpdateKind,
        event_id: "87".into(),
        problem: true,
        at: today("08:24:46"),
        seq: 0,
        opened_at: today("08:24:45"),
        recovery: None,
        update: Some(Update {
            at: today("08:24:46"),
            action: "acknowledged and commented".into(),
            message: Some("on it".into()),
            user: Some("Inaccessible user".into()),
        }),
        suppression: None,
        exact: false,
        observed: None,
        detail: Detail {
            name: "Web application down on Web 01 – Schaufenster".into(),
            severity: 4,
            acknowledged: true,
            opdata: Some("status=1".into()),
            error: None,
            host: Host { id: "10680".into(), host: "web-01".into(), name: "Web 01 – Schaufenster".into() },
            groups: vec!["Site A/Web servers".into()],
            tags: [
                ("component", "app"),
                ("env", "prod"),
                ("scope", "availability"),
                ("service", "shop"),
                ("site", "A"),
            ]
            .map(|(tag, value)| Tag { tag: tag.into(), value: value.into() })
            .into(),
            trigger_id: Some("25212".into()),
            url: Some("https://wiki.example.org/runbook/web".into()),
        },
        sent_at_ms: Some(1_795_249_492_148),
        accepted_at_ms: 1_795_249_492_148,
    };
    assert_eq!(update, expected);

    // the same event in both shapes: only what identifies the run differs
    let raw = fixtures::message("v7.0/02-update-acknowledge-with-message");
    assert_eq!(raw.detail, expected.detail);
}

#[test]
fn the_two_groups_of_a_host_are_split_and_sorted() {
    assert_eq!(fixtures::message("v6.0/07-problem-disaster").detail.groups, ["Site A/Databases", "Site A/Web servers"]);
    let shuffled =
        with(body("recommended/v7.0-problem"), "trigger_hostgroup_name", json!("b, a, {X}, b, *UNKNOWN*, , c,d"));
    assert_eq!(parse(&shuffled).unwrap().detail.groups, ["a", "b", "c,d"]);
}

#[test]
fn suppression_by_hand_comes_from_the_words_of_the_update() {
    assert_eq!(
        fixtures::message("v7.0/06-update-suppress").suppression,
        Some(Suppression { suppressed: true, until: Some(today("09:17:23")) })
    );
    assert_eq!(
        fixtures::message("v7.0/07-update-unsuppress").suppression,
        Some(Suppression { suppressed: false, until: None })
    );
    for path in ["v7.0/05-update-message-only", "v7.0/23-problem-in-maintenance-pause_suppressed-0"] {
        assert_eq!(fixtures::message(path).suppression, None, "{path}");
    }
}

#[test]
fn a_late_update_of_a_closed_problem_is_not_a_problem() {
    let update = fixtures::message("v7.0/19-manual-close-update");
    assert!(!update.problem);
    assert_eq!(update.recovery, Some(signalbox_messages::Recovery { at: today("08:18:15"), event_id: "53".into() }));
    assert_eq!(update.update.unwrap().action, "commented and closed");
}

#[test]
fn an_internal_event_is_named_after_its_trigger_and_carries_the_error() {
    let unknown = fixtures::message("v7.0/20-internal-trigger-unknown");
    assert_eq!(unknown.detail.name, "Packet loss ratio high on Core switch");
    assert_eq!(
        unknown.detail.error.as_deref(),
        Some(r#"Cannot evaluate expression: division by zero at "/{36067}>0.1""#)
    );
    let normal = fixtures::message("v7.0/21-internal-trigger-normal");
    assert_eq!((normal.detail.name.as_str(), normal.detail.error), ("Packet loss ratio high on Core switch", None));
}

#[test]
fn the_severity_is_the_events_not_the_triggers() {
    let changed = body("v7.0/03-update-severity-to-disaster");
    assert_eq!(changed["trigger_nseverity"], "4");
    assert_eq!(parse(&changed).unwrap().detail.severity, 5);
}

#[test]
fn the_name_is_the_problems_with_the_value_it_had() {
    let message = fixtures::message("v7.0/13-problem-average");
    assert_eq!(message.detail.name, "Latency 812.4 ms on Web 01 – Schaufenster");
    let unnamed = without(body("v7.0/13-problem-average"), "event_name");
    assert_eq!(parse(&unnamed).unwrap().detail.name, "Slow responses on Web 01 – Schaufenster (over 500 ms)");
}

#[test]
fn local_times_become_unix_time_in_any_zone() {
    // the same moment as told by a server in Kathmandu: the wall clock differs, sent_at does not
    let mut kathmandu = body("recommended/v7.0-recovery");
    kathmandu["event_time"] = json!("14:09:45");
    kathmandu["event_recovery_time"] = json!("14:09:52");
    let utc = parse(&body("recommended/v7.0-recovery")).unwrap();
    let told = parse(&kathmandu).unwrap();
    assert_eq!((told.opened_at, told.at, told.recovery), (utc.opened_at, utc.at, utc.recovery));
    let fixed = status_changed(kathmandu.to_string().as_bytes(), 0, &"Asia/Kathmandu".parse().unwrap()).unwrap();
    assert_eq!((fixed.opened_at, fixed.at), (utc.opened_at, utc.at));
}

#[test]
fn the_servers_now_saves_auto_from_a_late_notification() {
    // an escalation step an hour after the event
    let mut late = body("recommended/v7.0-problem");
    late["sent_at_ms"] = json!(1_795_249_486_138_i64 + 3_600_000);
    assert_eq!(parse(&late).unwrap().opened_at, today("09:24:45"), "the limit of Zone::Auto");
    late["date"] = json!("2026.11.21");
    late["time"] = json!("09:24:46");
    assert_eq!(parse(&late).unwrap().opened_at, today("08:24:45"));
}

#[test]
fn a_missing_sent_at_is_stood_in_for_by_the_moment_of_acceptance() {
    let accepted_at_ms = 1_795_249_486_138;
    let unsent = without(body("recommended/v7.0-problem"), "sent_at_ms");
    let message = status_changed(unsent.to_string().as_bytes(), accepted_at_ms, &Zone::Auto).unwrap();
    assert_eq!((message.sent_at_ms, message.opened_at), (None, today("08:24:45")));
}

#[test]
fn a_retry_or_a_second_action_has_the_same_id_and_another_update_has_not() {
    for (path, ..) in EXPECTED {
        let original = body(path);
        let mut retried = original.clone();
        retried["sent_at_ms"] = json!(1_795_249_900_000_i64);
        retried["action_id"] = json!("99");
        retried["esc_history"] = json!("other");
        assert_eq!(parse(&retried).unwrap().id, parse(&original).unwrap().id, "{path}");
    }
    let update = body("v7.0/02-update-acknowledge-with-message");
    let id = parse(&update).unwrap().id;
    for (field, value) in [
        ("event_update_action", "acknowledged"),
        ("event_update_message", "another"),
        ("event_update_message", ""),
        ("event_update_time", "08:16:47"),
        ("user_fullname", "Somebody"),
        ("event_nseverity", "5"),
        ("event_ack_status", "No"),
        ("event_value", "0"),
        ("event_id", "20"),
    ] {
        assert_ne!(parse(&with(update.clone(), field, json!(value))).unwrap().id, id, "{field}");
    }
    let said = |action: &str, message: &str| {
        let update = with(update.clone(), "event_update_action", json!(action));
        parse(&with(update, "event_update_message", json!(message))).unwrap().id
    };
    assert_ne!(said("ab", "c"), said("a", "bc"), "each text ends somewhere");
}

#[test]
fn tags_come_from_whichever_shape_is_there() {
    let sorted = |pairs: &[(&str, &str)]| -> Vec<Tag> {
        pairs.iter().map(|(tag, value)| Tag { tag: (*tag).into(), value: (*value).into() }).collect()
    };
    let cases = [
        (
            json!({"event_tags": [{"tag": "b", "value": "x"}, {"tag": "a"}, {"tag": "{A}"}, 5]}),
            sorted(&[("a", ""), ("b", "x")]),
        ),
        (
            json!({"event_tagsjson": r#"[{"tag":"a","value":"1:2, 3"}]"#, "event_tags": "a:1:2, 3"}),
            sorted(&[("a", "1:2, 3")]),
        ),
        (
            json!({"event_tagsjson": "{EVENT.TAGSJSON}", "event_tags": "b:x:y, a, c:"}),
            sorted(&[("a", ""), ("b", "x:y"), ("c", "")]),
        ),
        (json!({"event_tagsjson": "not json"}), sorted(&[])),
        (json!({"event_tags": "{EVENT.TAGS}"}), sorted(&[])),
        (json!({"event_tags": 7}), sorted(&[])),
    ];
    for (tags, expected) in cases {
        let mut problem = without(body("recommended/v7.0-problem"), "event_tags");
        problem.as_object_mut().unwrap().extend(tags.as_object().unwrap().clone());
        assert_eq!(parse(&problem).unwrap().detail.tags, expected, "{tags}");
    }
}

#[test]
fn only_a_web_address_is_a_link() {
    for (url, kept) in [
        ("https://wiki.example.org/x", true),
        ("HTTP://wiki.example.org", true),
        ("javascript:alert(1)", false),
        ("file:///etc/passwd", false),
        ("tr.php?triggerid=1", false),
        ("ä", false),
    ] {
        let message = parse(&with(body("recommended/v7.0-problem"), "trigger_url", json!(url))).unwrap();
        assert_eq!(message.detail.url.is_some(), kept, "{url}");
    }
}

#[test]
fn a_body_that_is_no_message_is_refused_with_the_fields_name() {
    for (bytes, error) in [
        (&b""[..], PayloadError::NotJson),
        (b"{", PayloadError::NotJson),
        (b"\xff\xfe", PayloadError::NotJson),
        (b"event_id=1", PayloadError::NotJson),
        (b"[]", PayloadError::NotAnObject),
        (b"null", PayloadError::NotAnObject),
        (b"\"x\"", PayloadError::NotAnObject),
        (b"{}", PayloadError::Missing { field: "event_id" }),
    ] {
        assert_eq!(status_changed(bytes, 0, &Zone::Auto), Err(error), "{bytes:?}");
    }

    let missing = [
        ("recommended/v7.0-problem", "event_id", json!("{EVENT.ID}"), "event_id"),
        ("recommended/v7.0-problem", "event_id", json!(null), "event_id"),
        ("recommended/v7.0-problem", "event_source", json!(""), "event_source"),
        ("recommended/v7.0-problem", "event_value", json!("*UNKNOWN*"), "event_value"),
        ("recommended/v7.0-problem", "event_nseverity", json!([]), ""), // the trigger's is there
        ("recommended/v7.0-problem", "event_date", json!("{EVENT.DATE}"), "event_date"),
        ("recommended/v7.0-problem", "event_time", json!(""), "event_time"),
        ("recommended/v7.0-problem", "event_name", json!(""), ""), // the trigger's is there
        ("recommended/v7.0-update", "event_update_date", json!(""), "event_update_date"),
        ("recommended/v7.0-update", "event_update_time", json!(""), "event_update_time"),
        ("recommended/v7.0-recovery", "event_recovery_id", json!(""), ""), // resolved all the same
        ("recommended/v7.0-problem", "host_host", json!(""), ""),
    ];
    for (path, field, value, expected) in missing {
        let told = parse(&with(body(path), field, value));
        match expected {
            "" => assert!(told.is_ok(), "{path} {field}: {told:?}"),
            field => assert_eq!(told, Err(PayloadError::Missing { field }), "{path} {field}"),
        }
    }

    let invalid = [
        ("recommended/v7.0-problem", "event_id", json!("12a")),
        ("recommended/v7.0-problem", "event_id", json!("+12")),
        ("recommended/v7.0-problem", "event_id", json!("0")),
        ("recommended/v7.0-problem", "event_id", json!(-1)),
        ("recommended/v7.0-problem", "event_id", json!("99999999999999999999")),
        ("recommended/v7.0-problem", "event_source", json!("1")),
        ("recommended/v7.0-problem", "event_source", json!(["0"])),
        ("recommended/v7.0-problem", "event_value", json!("2")),
        ("recommended/v7.0-problem", "event_update_status", json!("yes")),
        ("recommended/v7.0-problem", "event_nseverity", json!("6")),
        ("recommended/v7.0-problem", "event_date", json!("21.11.2026")),
        ("recommended/v7.0-problem", "event_time", json!("8:24")),
        ("recommended/v7.0-update", "event_update_date", json!("2026.02.30")),
        ("recommended/v7.0-recovery", "event_recovery_id", json!("x")),
        ("recommended/v7.0-recovery", "event_recovery_time", json!("25:00:00")),
        ("recommended/v7.0-problem", "sent_at_ms", json!("soon")),
        ("recommended/v7.0-problem", "sent_at_ms", json!(i64::MAX)),
        ("v7.0/01-problem-high", "sent_at", json!("2026-11-21")),
    ];
    for (path, expected, value) in invalid {
        match parse(&with(body(path), expected, value.clone())) {
            Err(PayloadError::Invalid { field, .. }) => assert_eq!(field, expected, "{value}"),
            other => panic!("{expected} = {value}: {other:?}"),
        }
    }
}

#[test]
fn event_status_stands_in_for_event_value() {
    for (path, ..) in EXPECTED.iter().filter(|(path, ..)| path.starts_with('v')) {
        let complete = body(path);
        assert_eq!(parse(&without(complete.clone(), "event_value")), parse(&complete), "{path}");
    }
}

#[test]
fn numbers_and_leading_zeros_name_the_same_event() {
    for id in [json!(87), json!("87"), json!("087"), json!(" 87 ")] {
        assert_eq!(parse(&with(body("recommended/v7.0-problem"), "event_id", id)).unwrap().event_id, "87");
    }
}

const MACROS: [&str; 5] = ["{EVENT.RECOVERY.ID}", "*UNKNOWN*", "{$ROUTER.URL}", "{#LLD}", "{EVENT.TAGS.any}"];

fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| texts(value, found)),
        Value::Object(fields) => fields.values().for_each(|value| texts(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Fails if any field is taken over without `meaningful` (tried: `tag` without it).
    #[test]
    fn no_literal_macro_survives_into_a_message(
        which in 0..EXPECTED.len(),
        replaced in prop::collection::vec((any::<prop::sample::Index>(), 0..MACROS.len()), 0..12),
        tag in 0..MACROS.len(),
    ) {
        let mut fields: Map<String, Value> = body(EXPECTED[which].0).as_object().unwrap().clone();
        let names: Vec<String> = fields.keys().cloned().collect();
        for (index, text) in replaced {
            fields.insert(index.get(&names).clone(), json!(MACROS[text]));
        }
        if fields.get("event_tags").is_some_and(Value::is_array) {
            fields.insert("event_tags".into(), json!([{"tag": "a", "value": MACROS[tag]}, {"tag": MACROS[tag], "value": "b"}]));
        }
        if let Ok(message) = parse(&Value::Object(fields)) {
            let mut found = Vec::new();
            texts(&serde_json::to_value(&message).unwrap(), &mut found);
            for text in found {
                prop_assert!(!MACROS.contains(&text.as_str()), "{text} in {message:?}");
            }
        }
    }

    /// Fails if what is not JSON is not refused before it is looked into.
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), accepted_at_ms in any::<i64>()) {
        let _ = status_changed(&bytes, accepted_at_ms, &Zone::Auto);
    }

    /// Bodies that are nearly right: fails on a slice or sum that a hostile text pushes out of range (tried: `is_web` and
    /// `entries` slicing by byte index).
    #[test]
    fn no_text_in_any_field_makes_it_panic(
        which in 0..EXPECTED.len(),
        replaced in prop::collection::vec((any::<prop::sample::Index>(), "\\PC{0,12}|[0-9.:{}$#, ]{0,20}"), 1..8),
        accepted_at_ms in any::<i64>(),
        fixed in any::<bool>(),
    ) {
        let mut fields: Map<String, Value> = body(EXPECTED[which].0).as_object().unwrap().clone();
        let names: Vec<String> = fields.keys().cloned().collect();
        for (index, text) in replaced {
            fields.insert(index.get(&names).clone(), json!(text));
        }
        let zone = if fixed { "Europe/Berlin".parse().unwrap() } else { Zone::Auto };
        let _ = status_changed(Value::Object(fields).to_string().as_bytes(), accepted_at_ms, &zone);
    }
}

/// A problem must fit one publication and one page of a snapshot whatever Zabbix sends.
#[test]
fn the_largest_problem_fits_a_publication() {
    let long = "\u{1}x\"".repeat(2_000);
    let mut body: Value = serde_json::from_str(
        &std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/recommended/v7.0-update.json"))
            .map(|fixture| serde_json::from_str::<Value>(&fixture).unwrap()["raw_body"].as_str().unwrap().to_owned())
            .unwrap(),
    )
    .unwrap();
    for field in ["event_name", "event_opdata", "event_update_action", "event_update_message", "user_fullname"] {
        body[field] = json!(long);
    }
    body["trigger_url"] = json!(format!("https://{long}"));
    body["event_tags"] =
        (0..400).map(|n| json!({"tag": format!("{n}{}", &long[..240]), "value": long[..240]})).collect();
    body["trigger_hostgroup_name"] = json!(
        vec![&long[..240]; 400]
            .iter()
            .enumerate()
            .fold(String::new(), |list, (n, name)| { format!("{list}{n}{name}, ") })
    );
    let message = status_changed(body.to_string().as_bytes(), 0, &Zone::Auto).unwrap();
    assert!(!message.detail.tags.is_empty() && !message.detail.groups.is_empty());
    let view = serde_json::to_string(&crate::Problem::first(&message).view()).unwrap();
    assert!(view.len() < 100 * 1024, "{}", view.len());
}

/// Fails where the shortened history is counted: after some ninety updates every later one would be as old as the first
/// that did not fit.
#[test]
fn the_count_of_updates_goes_before_the_history_it_comes_with() {
    let update = fixtures::all("v7.0").into_iter().find(|fixture| fixture.name.starts_with("03-update")).unwrap();
    let mut body: serde_json::Value = serde_json::from_str(&update.raw_body).unwrap();
    let read = |body: &serde_json::Value| {
        status_changed(body.to_string().as_bytes(), 0, &"auto".parse().unwrap()).unwrap().seq
    };
    let counted = read(&body);
    assert!(counted > 0);
    body["event_update_count"] = 140.into();
    assert_eq!(read(&body), 140);
    body["event_update_count"] = "many".into();
    assert_eq!(read(&body), counted);
}
