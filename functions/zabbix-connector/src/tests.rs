use lambda_http::http::HeaderValue;
use proptest::prelude::*;
use signalbox_bus::Recording;
use signalbox_messages::ItemValues;

use super::*;

/// Of `shared/zabbix/fixtures/connector`, as Zabbix sent it.
const TOKEN: &str = "example-connector-token";
const EVENTS: &str = "/connector/zabbix/events";
const HISTORY: &str = "/connector/zabbix/history";

fn state(recording: &Recording) -> State {
    State { token: BearerToken::new(TOKEN).unwrap(), bus: Bus::Recorded(recording.clone()) }
}

/// With the headers that Zabbix sends.
fn post(path: &str, body: &[u8]) -> Request {
    lambda_http::http::Request::post(path)
        .header("Authorization", format!("Bearer {TOKEN}"))
        .header("Accept", "*/*")
        .header("Accept-Encoding", "deflate, gzip, br, zstd")
        .header("Content-Type", "application/x-ndjson")
        .body(Body::from(body))
        .unwrap()
}

fn answer(state: &State, request: Request) -> (u16, Value) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let response = runtime.block_on(handle(state, request));
    assert_eq!(response.headers().get("content-type").unwrap(), "application/json");
    (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap())
}

/// The recorded bodies of `events` or `history`.
fn recorded(kind: &str) -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/zabbix/fixtures/connector");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(kind)).collect();
    files.sort();
    files.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn recovery(event_id: usize) -> String {
    format!("{{\"clock\":1795249052,\"ns\":0,\"value\":0,\"eventid\":{event_id},\"p_eventid\":19}}\n")
}

#[test]
fn every_recorded_line_is_in_a_message_on_the_bus() {
    let recording = Recording::default();
    let state = state(&recording);
    for body in recorded("events") {
        let before = recording.messages().len();
        let (status, answer) = answer(&state, post(EVENTS, &body));
        let lines = recording.messages().len() - before;
        assert_eq!((status, answer), (200, json!({ "accepted": lines, "refused": [] })));
    }
    assert_eq!(recording.messages().len(), 47);
    assert!(recording.messages().iter().all(|message| message.exact && message.accepted_at_ms > 1_795_000_000_000));
    for body in recorded("history") {
        assert_eq!(answer(&state, post(HISTORY, &body)).0, 200);
    }
    let values: usize = recording.of::<ItemValues>().iter().map(|message| message.values.len()).sum();
    assert_eq!((values, recording.messages().len()), (8, 47));
}

#[test]
fn a_body_that_api_gateway_sent_in_base64_is_the_same_body() {
    let recording = Recording::default();
    let state = state(&recording);
    let body = recorded("events").swap_remove(14);
    // an HTTP API event, payload format 2.0: x-ndjson is nothing that it takes for text
    let event = json!({
        "version": "2.0", "routeKey": "POST /connector/zabbix/events", "rawPath": EVENTS, "rawQueryString": "",
        "headers": {"authorization": format!("Bearer {TOKEN}"), "content-type": "application/x-ndjson"},
        "requestContext": {
            "accountId": "1", "apiId": "a", "domainName": "d", "domainPrefix": "d", "requestId": "r",
            "stage": "$default",
            "routeKey": "POST /connector/zabbix/events",
            "time": "21/Nov/2026:08:00:00 +0000", "timeEpoch": 1_795_248_000_000_i64,
            "http": {
                "method": "POST", "path": EVENTS, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "",
            },
        },
        "body": base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &body), "isBase64Encoded": true,
    });
    let request = lambda_http::request::from_str(&event.to_string()).unwrap();
    assert_eq!(answer(&state, request), (200, json!({ "accepted": 9, "refused": [] })));
    assert_eq!(recording.messages().len(), 9);
}

#[test]
fn a_bad_line_is_told_by_number_and_the_rest_is_on_the_bus() {
    let recording = Recording::default();
    let state = state(&recording);
    let body = format!("{}\n<html>\n{{\"eventid\":\"7\"}}\n{}", recovery(1), recovery(2));
    let (status, answer) = answer(&state, post(EVENTS, body.as_bytes()));
    let refused = json!([
        {"line": 3, "reason": "not JSON"},
        {"line": 4, "reason": r#"`eventid` is "\"7\"", expected an id (a number)"#},
    ]);
    assert_eq!((status, answer), (200, json!({ "accepted": 2, "refused": refused })));
    let ids: Vec<String> = recording.messages().into_iter().map(|message| message.id).collect();
    assert_eq!(ids, ["19-recovery-1-connector", "19-recovery-2-connector"]);
}

#[test]
fn of_many_bad_lines_the_first_hundred_are_listed() {
    let recording = Recording::default();
    let state = state(&recording);
    let body = "{}\n".repeat(130) + &recovery(1);
    let (status, answer) = answer(&state, post(EVENTS, body.as_bytes()));
    assert_eq!((status, &answer["accepted"], &answer["unlisted"]), (200, &json!(1), &json!(30)));
    assert_eq!(answer["refused"].as_array().unwrap().len(), 100);
}

#[test]
fn a_request_that_is_wrong_is_answered_with_why_and_nothing_reaches_the_bus() {
    let recording = Recording::default();
    let state = state(&recording);
    let good = recovery(1);
    let with = |header: &'static str, value: &'static str| {
        let mut request = post(EVENTS, good.as_bytes());
        request.headers_mut().insert(header, HeaderValue::from_static(value));
        request
    };
    let mut without_token = post(EVENTS, good.as_bytes());
    without_token.headers_mut().remove("authorization");
    let item = recorded("history").swap_remove(1);
    let event = |body: &[u8]| post(EVENTS, body);

    #[rustfmt::skip]
    let cases: Vec<(&str, Request, u16, &str)> = vec![
        ("another path", post("/connector/zabbix", good.as_bytes()), 404, "not_found"),
        ("no token", without_token, 401, "no_token"),
        ("another scheme", with("authorization", "Basic ZXhhbXBsZQ=="), 401, "no_token"),
        ("a wrong token", with("authorization", "Bearer example-connector-tokem"), 401, "bad_token"),
        ("gzip", with("content-encoding", "gzip"), 415, "encoded"),
        ("deflate", with("content-encoding", "deflate"), 415, "encoded"),
        ("too large", event(&vec![b' '; 6 * 1024 * 1024 + 1]), 413, "too_large"),
        ("too many lines", event(good.repeat(10_001).as_bytes()), 413, "too_many_lines"),
        ("a page of a proxy", event(b"<html>\n<h1>502</h1>\n</html>"), 400, "not_ndjson"),
        ("not UTF-8", event(b"\xff"), 400, "not_ndjson"),
        ("gzip without a word", event(b"\x1f\x8b\x08\x00\x00\x00"), 400, "not_ndjson"),
        ("one array", event(b"[{}]"), 400, "not_ndjson"),
        ("objects of something else", event(b"{\"a\":1}\n{}"), 422, "nothing_taken"),
        ("item values as events", event(&item), 422, "nothing_taken"),
        ("events as item values", post(HISTORY, good.as_bytes()), 422, "nothing_taken"),
    ];
    for (what, request, status, code) in cases {
        let (answered, body) = answer(&state, request);
        assert_eq!((answered, &body["error"]["code"]), (status, &json!(code)), "{what}: {body}");
        assert!(body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{what}");
        assert_eq!(body["error"]["refused"].is_array(), code == "nothing_taken", "{what}");
        assert_eq!(body.as_object().unwrap().len(), 1, "{what}");
    }
    assert_eq!((recording.messages(), recording.of::<ItemValues>()), (vec![], vec![]));

    // identity is no encoding, and nothing to take is nothing wrong
    assert_eq!(answer(&state, with("content-encoding", "identity")).0, 200);
    assert_eq!(answer(&state, event(b"\n")), (200, json!({ "accepted": 0, "refused": [] })));
}

#[test]
fn when_the_bus_does_not_take_all_zabbix_is_told_to_come_again() {
    let recording = Recording::broken();
    let state = state(&recording);
    for (path, kind) in [(EVENTS, "events"), (HISTORY, "history")] {
        let (status, body) = answer(&state, post(path, &recorded(kind)[0]));
        assert_eq!((status, body["error"]["code"].as_str()), (503, Some("bus_unavailable")));
        assert!(!body.to_string().contains("InternalFailure"), "what is wrong inside is for the log");
    }
}

/// Why a 503 after half of the messages is harmless.
#[test]
fn a_post_that_is_repeated_is_the_same_messages_again() {
    let recording = Recording::default();
    let state = state(&recording);
    for _ in 0..2 {
        assert_eq!(answer(&state, post(EVENTS, &recorded("events")[14])).0, 200);
        assert_eq!(answer(&state, post(HISTORY, &recorded("history")[0])).0, 200);
    }
    let halves = |ids: Vec<String>| ids[..ids.len() / 2] == ids[ids.len() / 2..];
    assert!(halves(recording.messages().into_iter().map(|message| message.id).collect()));
    assert!(halves(recording.of::<ItemValues>().into_iter().map(|message| message.id).collect()));
}

/// What one POST costs us besides the round trips, which `signalbox-bus` measures: of the 5 s that Zabbix waits, a
/// fraction also in a debug build on a busy machine.
#[test]
fn a_thousand_lines_are_read_and_put_well_within_zabbix_s_time() {
    let recording = Recording::default();
    let state = state(&recording);
    let template: Value = serde_json::from_slice(&recorded("events")[0]).unwrap();
    let lines: Vec<String> = (1..=1_000)
        .map(|n| {
            let mut line = template.clone();
            line["eventid"] = n.into();
            line.to_string()
        })
        .collect();
    let began = std::time::Instant::now();
    let (status, body) = answer(&state, post(EVENTS, lines.join("\n").as_bytes()));
    let took = began.elapsed();
    println!("1000 events read and put in {took:?}");
    assert_eq!((status, &body["accepted"], recording.messages().len()), (200, &json!(1_000), 1_000));
    assert!(took < Duration::from_secs(2), "{took:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Fails if anything from outside can reach an `unwrap`, or be taken for a failure of ours.
    #[test]
    fn whatever_is_sent_is_answered_without_a_failure_of_ours(
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            (
                prop::sample::select([recorded("events"), recorded("history")].concat()),
                any::<prop::sample::Index>(),
                any::<u8>(),
            )
                .prop_map(|(mut body, at, byte)| {
                    let at = at.index(body.len());
                    body[at] = byte;
                    body
                }),
        ],
        path in prop::sample::select(vec![EVENTS, HISTORY, "/", "/connector/zabbix/events/"]),
        headers in prop::collection::vec(
            (
                prop::sample::select(vec!["authorization", "content-encoding"]),
                prop::collection::vec(any::<u8>(), 0..40),
            ),
            0..2,
        ),
    ) {
        let recording = Recording::default();
        let state = state(&recording);
        let mut request = post(path, &body);
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                request.headers_mut().insert(name, value);
            }
        }
        let (status, answer) = answer(&state, request);
        prop_assert!([200, 400, 401, 404, 415, 422].contains(&status), "{status}");
        let values: usize = recording.of::<ItemValues>().iter().map(|message| message.values.len()).sum();
        let put = recording.messages().len() + values;
        prop_assert_eq!(put as u64, answer["accepted"].as_u64().unwrap_or(0));
    }
}
