use lambda_http::http::HeaderValue;
use proptest::prelude::*;
use serde_json::Value;
use signalbox_bus::Recording;

use super::*;

/// A handler's state on a recording bus.
fn state(recording: &Recording) -> State {
    State {
        secret: WebhookSecret::new("example-shared-secret").unwrap(),
        zone: Zone::Auto,
        bus: Bus::Recorded(recording.clone()),
    }
}

fn now() -> i64 {
    now_ms() / 1_000
}

/// A request signed at `timestamp` by the state's secret.
fn signed(state: &State, timestamp: i64, body: &[u8]) -> Request {
    let (timestamp, signature) = state.secret.sign(timestamp, body);
    lambda_http::http::Request::post("/webhook/zabbix")
        .header("X-Zabbix-Timestamp", timestamp)
        .header("X-Zabbix-Signature", signature)
        .body(Body::from(body))
        .unwrap()
}

fn answer(state: &State, request: Request) -> (u16, Value) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let response = runtime.block_on(handle(state, request));
    assert_eq!(response.headers().get("content-type").unwrap(), "application/json");
    (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap())
}

/// Name and raw body of every recorded request.
fn recorded() -> Vec<(String, String)> {
    let mut bodies = Vec::new();
    for folder in ["recommended", "v6.0", "v7.0"] {
        let folder = format!("{}/../../shared/zabbix/fixtures/{folder}", env!("CARGO_MANIFEST_DIR"));
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let fixture: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            bodies.push((path.display().to_string(), fixture["raw_body"].as_str().unwrap().to_owned()));
        }
    }
    bodies
}

fn body_with(field: &str, value: &str) -> Vec<u8> {
    let (_, body) = recorded().into_iter().find(|(path, _)| path.ends_with("recommended/v7.0-problem.json")).unwrap();
    let mut body: Value = serde_json::from_str(&body).unwrap();
    body[field] = value.into();
    body.to_string().into_bytes()
}

#[test]
fn every_recorded_request_is_one_message_on_the_bus() {
    let bodies = recorded();
    assert_eq!(bodies.len(), 54);
    for (path, body) in bodies {
        let recording = Recording::default();
        let state = state(&recording);
        let (status, answer) = answer(&state, signed(&state, now(), body.as_bytes()));
        let messages = recording.messages();
        assert_eq!((status, messages.len()), (200, 1), "{path}: {answer}");
        assert_eq!(answer, json!({ "id": messages[0].id, "event_id": messages[0].event_id }));
        assert!(messages[0].accepted_at_ms / 1_000 >= now() - 5);
    }
}

#[test]
fn a_body_that_api_gateway_sent_in_base64_is_the_same_body() {
    let (_, body) = recorded().swap_remove(0);
    let recording = Recording::default();
    let state = state(&recording);
    let (timestamp, signature) = state.secret.sign(now(), body.as_bytes());
    // an HTTP API event, payload format 2.0
    let event = json!({
        "version": "2.0", "routeKey": "POST /webhook/zabbix", "rawPath": "/webhook/zabbix", "rawQueryString": "",
        "headers": {"x-zabbix-timestamp": timestamp, "x-zabbix-signature": signature, "content-type": "application/json"},
        "requestContext": {
            "accountId": "1", "apiId": "a", "domainName": "d", "domainPrefix": "d", "requestId": "r", "stage": "$default",
            "routeKey": "POST /webhook/zabbix", "time": "21/Nov/2026:08:00:00 +0000", "timeEpoch": 1_795_248_000_000_i64,
            "http": {"method": "POST", "path": "/webhook/zabbix", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "Zabbix"},
        },
        "body": base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &body), "isBase64Encoded": true,
    });
    let request = lambda_http::request::from_str(&event.to_string()).unwrap();
    assert_eq!(answer(&state, request).0, 200);
    assert_eq!(recording.messages().len(), 1);
}

#[test]
fn a_request_that_is_wrong_is_answered_with_why_and_nothing_reaches_the_bus() {
    let recording = Recording::default();
    let state = state(&recording);
    let good = body_with("v", "1");
    let without = |header: &str| {
        let mut request = signed(&state, now(), &good);
        request.headers_mut().remove(header);
        request
    };
    let with = |header: &'static str, value: &'static str| {
        let mut request = signed(&state, now(), &good);
        request.headers_mut().insert(header, HeaderValue::from_static(value));
        request
    };
    let resent = |body: &[u8]| {
        let mut request = signed(&state, now(), &good);
        *request.body_mut() = Body::from(body);
        request
    };
    let fresh = |body: &[u8]| signed(&state, now(), body);
    let large = vec![b' '; MAX_BODY_BYTES + 1];

    #[rustfmt::skip]
    let cases: Vec<(&str, Request, u16, &str, Option<&str>)> = vec![
        ("no signature", without("X-Zabbix-Signature"), 401, "unsigned", None),
        ("no timestamp", without("X-Zabbix-Timestamp"), 401, "unsigned", None),
        ("a signature of another scheme", with("X-Zabbix-Signature", "sha1=00"), 401, "unsigned", None),
        ("a wrong signature", with("X-Zabbix-Signature", "sha256=0000000000000000000000000000000000000000000000000000000000000000"), 401, "bad_signature", None),
        ("another timestamp than signed", with("X-Zabbix-Timestamp", "1795249492"), 401, "bad_signature", None),
        ("another body than signed", resent(b"{}"), 401, "bad_signature", None),
        ("stale", signed(&state, now() - 310, &good), 401, "stale", None),
        ("from the future", signed(&state, now() + 310, &good), 401, "stale", None),
        ("too large, signed", fresh(&large), 413, "too_large", None),
        ("too large, unsigned", { let mut request = without("X-Zabbix-Signature"); *request.body_mut() = Body::from(large.clone()); request }, 413, "too_large", None),
        ("empty", fresh(b""), 400, "not_json", None),
        ("a form", fresh(b"event_id=1"), 400, "not_json", None),
        ("not UTF-8", fresh(b"\xff"), 400, "not_json", None),
        ("an array", fresh(b"[]"), 400, "not_json", None),
        ("deeply nested", fresh("[".repeat(100_000).as_bytes()), 400, "not_json", None),
        ("no event id", fresh(b"{}"), 422, "missing_field", Some("event_id")),
        ("a literal macro as event id", fresh(&body_with("event_id", "{EVENT.ID}")), 422, "missing_field", Some("event_id")),
        ("no event date", fresh(&body_with("event_date", "")), 422, "missing_field", Some("event_date")),
        ("an event id that is none", fresh(&body_with("event_id", "12; drop")), 422, "invalid_field", Some("event_id")),
        ("a discovery event", fresh(&body_with("event_source", "1")), 422, "invalid_field", Some("event_source")),
    ];
    for (what, request, status, code, field) in cases {
        let (answered, body) = answer(&state, request);
        assert_eq!(answered, status, "{what}: {body}");
        assert_eq!(body["error"]["code"], code, "{what}");
        assert_eq!(body["error"]["field"].as_str(), field, "{what}");
        assert!(body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{what}");
        assert_eq!(body.as_object().unwrap().len(), 1, "{what}");
    }
    assert_eq!(recording.messages(), []);
}

/// The problem counts, not its 15,000 tags: it is taken with as many as fit (`signalbox_zabbix`).
#[test]
fn a_body_within_the_limit_is_taken_whatever_its_tags_are() {
    let recording = Recording::default();
    let state = state(&recording);
    let mut body: Value = serde_json::from_slice(&body_with("v", "1")).unwrap();
    body["event_tags"] = (0..15_000).map(|n| json!({ "tag": format!("{n:05}") })).collect();
    let body = body.to_string();
    assert!(body.len() <= MAX_BODY_BYTES);
    let (status, answer) = answer(&state, signed(&state, now(), body.as_bytes()));
    assert_eq!(status, 200, "{answer}");
    let tags = recording.messages()[0].detail.tags.len();
    assert!((1..15_000).contains(&tags), "{tags}");
}

#[test]
fn when_the_bus_does_not_take_it_zabbix_is_told_to_come_again() {
    let recording = Recording::broken();
    let state = state(&recording);
    let (status, body) = answer(&state, signed(&state, now(), &body_with("v", "1")));
    assert_eq!((status, body["error"]["code"].as_str()), (503, Some("bus_unavailable")));
    assert!(!body.to_string().contains("InternalFailure"), "what is wrong inside is for the log");
}

#[test]
fn a_retry_is_the_same_message_again() {
    let recording = Recording::default();
    let state = state(&recording);
    for sent_at_ms in ["1795249486138", "1795249496200"] {
        assert_eq!(answer(&state, signed(&state, now(), &body_with("sent_at_ms", sent_at_ms))).0, 200);
    }
    let ids: Vec<String> = recording.messages().into_iter().map(|message| message.id).collect();
    assert_eq!(ids, ["87-problem", "87-problem"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Fails if anything from outside can reach an `unwrap`, or be taken for a failure of ours (tried: `NotJson` as 500).
    #[test]
    fn whatever_is_sent_is_answered_without_a_failure_of_ours(
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            (prop::sample::select(recorded()), any::<prop::sample::Index>(), any::<u8>()).prop_map(|((_, body), at, byte)| {
                let mut body = body.into_bytes();
                let at = at.index(body.len());
                body[at] = byte;
                body
            }),
        ],
        headers in prop::collection::vec((prop::sample::select(vec![TIMESTAMP_HEADER, SIGNATURE_HEADER]), prop::collection::vec(any::<u8>(), 0..80)), 0..3),
        offset in -400..400_i64,
    ) {
        let recording = Recording::default();
        let state = state(&recording);
        let mut request = signed(&state, now() + offset, &body);
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                request.headers_mut().insert(name, value);
            }
        }
        let (status, _) = answer(&state, request);
        prop_assert!([200, 400, 401, 422].contains(&status), "{status}");
        prop_assert_eq!(recording.messages().len(), usize::from(status == 200));
    }
}
