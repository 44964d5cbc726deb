use lambda_http::http::header::RETRY_AFTER;
use signalbox_messages::{ChangeKind, Detail, Host, StatusChanged};
use signalbox_postgres::testing::TestDatabase;

use super::*;

const KEY: &str = "example-api-key-0123456789";

fn request(method: &str, path_and_query: &str, key: Option<(&str, &str)>) -> Request {
    let mut request =
        lambda_http::http::Request::builder().method(method).uri(format!("https://api.example{path_and_query}"));
    if let Some((name, value)) = key {
        request = request.header(name, value);
    }
    request.body(Body::Empty).unwrap()
}

async fn get(state: &State, path_and_query: &str) -> (u16, Value) {
    read(&handle(state, request("GET", path_and_query, Some(("x-api-key", KEY)))).await)
}

fn read(response: &Response<Body>) -> (u16, Value) {
    (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap())
}

/// Nothing listens there.
fn without_database() -> State {
    let config = Config::from_url("postgres://nobody@127.0.0.1:1/none?sslmode=disable").unwrap();
    State::new(Database::new(config), KEY).unwrap()
}

fn change(event_id: &str, severity: u8, kind: ChangeKind) -> StatusChanged {
    let host = Host { id: "1".to_owned(), host: "web-01".to_owned(), name: "Web 01".to_owned() };
    let groups = vec!["Site A/Web servers".to_owned()];
    StatusChanged {
        id: format!("{event_id}-{}", kind.as_str()),
        kind,
        event_id: event_id.to_owned(),
        problem: true,
        at: 1_795_248_000 + i64::from(severity),
        seq: 0,
        opened_at: 1_795_248_000,
        recovery: None,
        update: None,
        suppression: None,
        detail: Detail { name: "Down".to_owned(), severity, host, groups, ..Detail::default() },
        sent_at_ms: None,
        accepted_at_ms: 1_795_248_001_000,
    }
}

async fn with_records() -> (TestDatabase, State) {
    let test = TestDatabase::new().await;
    let changes = [
        change("1", 4, ChangeKind::Problem),
        change("2", 5, ChangeKind::Problem),
        change("3", 5, ChangeKind::Problem),
        change("4", 2, ChangeKind::Internal),
    ];
    test.open().record(&changes).await;
    let state = State::new(test.open(), KEY).unwrap();
    (test, state)
}

#[tokio::test]
async fn status_has_the_open_problems_worst_first_and_totals_without_internal_ones() {
    let (_test, state) = with_records().await;
    let (status, body) = get(&state, "/api/status").await;
    assert_eq!(status, 200, "{body}");
    let ids: Vec<&str> =
        body["problems"].as_array().unwrap().iter().map(|problem| problem["event_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["3", "2", "1", "4"]);
    assert_eq!(body["totals"], json!({"0": 0, "1": 0, "2": 0, "3": 0, "4": 1, "5": 2}));
    assert_eq!((&body["open"], &body["internal"]), (&json!(3), &json!(1)));
}

#[tokio::test]
async fn history_pages_follow_the_cursor_under_any_stage_prefix() {
    let (_test, state) = with_records().await;
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let query =
            format!("/prod/api/status/history?host=web-01&group=Site%20A%2FWeb+servers&limit=3&cursor={cursor}");
        let (status, body) = get(&state, &query).await;
        assert_eq!(status, 200, "{body}");
        ids.extend(
            body["events"].as_array().unwrap().iter().map(|event| event["event_id"].as_str().unwrap().to_owned()),
        );
        match body["cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    assert_eq!(ids, ["3", "2", "1", "4"]);
}

#[tokio::test]
async fn times_are_unix_seconds_or_rfc_3339() {
    let (_test, state) = with_records().await;
    for from in ["1795248005", "2026-11-21T08%3A00%3A05Z", "2026-11-21T09:00:05+01:00", "2026-11-21T09:00:05%2B01:00"] {
        let (status, body) = get(&state, &format!("/api/status/history?from={from}")).await;
        assert_eq!((status, body["events"].as_array().unwrap().len()), (200, 2), "{from}");
    }
}

#[tokio::test]
async fn a_bad_parameter_is_400_and_named() {
    let state = without_database();
    for (query, parameter) in [
        ("/api/status/history?from=yesterday", "from"),
        ("/api/status/history?to=2026-11-21", "to"),
        ("/api/status/history?limit=0", "limit"),
        ("/api/status/history?limit=501", "limit"),
        ("/api/status/history?limit=many", "limit"),
        ("/api/status/history?cursor=nonsense", "cursor"),
        ("/api/status/history?gruop=x", "gruop"),
        ("/api/status/history?host=a&host=b", "host"),
        ("/api/status/history?host=%00", "host"),
        ("/api/status/history?host=%ff", "host"),
        ("/api/status?host=a", "host"),
    ] {
        let (status, body) = get(&state, query).await;
        assert_eq!((status, body["error"]["parameter"].as_str()), (400, Some(parameter)), "{query}: {body}");
    }
}

#[tokio::test]
async fn only_the_right_key_opens() {
    let state = without_database();
    let right = [
        ("x-api-key", KEY.to_owned()),
        ("authorization", format!("apikey {KEY}")),
        ("authorization", format!("ApiKey {KEY}")),
    ];
    for (name, value) in &right {
        let (status, _) = read(&handle(&state, request("GET", "/api/status", Some((name, value)))).await);
        assert_eq!(status, 503, "through to the database: {name}");
    }
    let wrong =
        [("x-api-key", "wrong"), ("x-api-key", ""), ("x-api-key", &KEY[1..]), ("authorization", KEY), ("x", "y")];
    for (name, value) in wrong {
        let (status, body) = read(&handle(&state, request("GET", "/api/status", Some((name, value)))).await);
        assert_eq!((status, body["error"]["code"].as_str()), (401, Some("unauthorized")), "{name}: {value}");
    }
    assert!(State::new(Database::new(Config::from_url("postgres://x@h/d").unwrap()), "").is_err());
}

#[tokio::test]
async fn another_path_is_404_and_another_method_405() {
    let state = without_database();
    for path in ["/", "/api", "/api/statusx", "/api/status/history/x", "/apistatus"] {
        assert_eq!(get(&state, path).await.0, 404, "{path}");
    }
    let (status, _) = read(&handle(&state, request("POST", "/api/status", Some(("x-api-key", KEY)))).await);
    assert_eq!(status, 405);
}

#[tokio::test]
async fn without_the_database_it_is_503_with_retry_after() {
    let response = handle(&without_database(), request("GET", "/api/status", Some(("x-api-key", KEY)))).await;
    assert_eq!(response.headers()[RETRY_AFTER], "5");
    assert_eq!(read(&response).0, 503);
}

#[tokio::test]
async fn the_events_for_sam_local_invoke_are_answered() {
    let (_test, state) = with_records().await;
    for (event, expected) in [
        (include_str!("../../../events/query/status.json"), 200),
        (include_str!("../../../events/query/history.json"), 200),
        (include_str!("../../../events/query/history-of-group.json"), 200),
        (include_str!("../../../events/query/wrong-key.json"), 401),
    ] {
        let request = lambda_http::request::from_str(event).unwrap();
        let (status, body) = read(&handle(&state, request).await);
        assert_eq!(status, expected, "{event}: {body}");
    }
}
