use lambda_http::http::header::{CONTENT_TYPE, RETRY_AFTER};
use signalbox_messages::{ChangeKind, Detail, Host, Recovery, StatusChanged, Tag, Update};
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
        exact: false,
        opened_at: 1_795_248_000,
        recovery: None,
        update: None,
        suppression: None,
        observed: None,
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
        ("/api/status/availability?by=rack", "by"),
        ("/api/status/availability?by=tag", "tag"),
        ("/api/status/availability?by=host&tag=service", "tag"),
        ("/api/status/availability?severity=6", "severity"),
        ("/api/status/availability?severity=high", "severity"),
        ("/api/status/availability?maintenance=perhaps", "maintenance"),
        ("/api/status/availability?format=xml", "format"),
        ("/api/status/availability?from=2000&to=1000", "from"),
        ("/api/status/availability?from=4102444800", "from"),
        ("/api/status/availability?cursor=MTIz", "cursor"),
        ("/api/status/response?maintenance=include", "maintenance"),
        ("/api/status/timeline", "host"),
        ("/api/status/timeline?host=a&by=host", "by"),
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
        (include_str!("../../../events/query/availability.json"), 200),
        (include_str!("../../../events/query/availability-of-services-as-csv.json"), 200),
        (include_str!("../../../events/query/response.json"), 200),
        (include_str!("../../../events/query/timeline.json"), 200),
        (include_str!("../../../events/query/wrong-key.json"), 401),
    ] {
        let request = lambda_http::request::from_str(event).unwrap();
        let response = handle(&state, request).await;
        assert_eq!(response.status().as_u16(), expected, "{event}: {:?}", response.body());
    }
}

/// A time that is past for every clock.
const THEN: i64 = 1_600_000_000;

/// A problem of `seconds` on `host`, and half of that until somebody took it.
fn outage(event_id: &str, host: &str, seconds: i64) -> [StatusChanged; 3] {
    let mut opening = change(event_id, 4, ChangeKind::Problem);
    (opening.at, opening.opened_at) = (THEN, THEN);
    opening.detail.host = Host { id: format!("id {host}"), host: host.to_owned(), name: host.to_owned() };
    opening.detail.tags = vec![Tag { tag: "service".to_owned(), value: "shop".to_owned() }];
    let (taken_at, over_at) = (THEN + seconds / 2, THEN + seconds);
    let update = Update { at: taken_at, action: "acknowledged".to_owned(), message: None, user: None };
    let taken = StatusChanged {
        id: format!("{event_id}-update"),
        kind: ChangeKind::Update,
        at: taken_at,
        update: Some(update),
        detail: Detail { acknowledged: true, ..opening.detail.clone() },
        ..opening.clone()
    };
    let over = StatusChanged {
        id: format!("{event_id}-recovery"),
        kind: ChangeKind::Recovery,
        problem: false,
        at: over_at,
        recovery: Some(Recovery { at: over_at, event_id: format!("9{event_id}") }),
        ..opening.clone()
    };
    [opening, taken, over]
}

async fn with_outages() -> (TestDatabase, State) {
    let test = TestDatabase::new().await;
    let names = ["web-01", "=cmd|' /C calc'!A0", "db, \"old\""];
    let outages: Vec<StatusChanged> =
        (0..).zip(names).flat_map(|(n, host)| outage(&format!("{n}"), host, 1_000 - 100 * n)).collect();
    test.open().record(&outages).await;
    let state = State::new(test.open(), KEY).unwrap();
    (test, state)
}

#[tokio::test]
async fn availability_is_told_by_host_group_and_service() {
    let (_test, state) = with_outages().await;
    let window = format!("from={THEN}&to={}", THEN + 10_000);
    for (by, keys, seconds) in [
        ("", 3, 1_000),
        ("&by=host&host=web-01", 1, 1_000),
        ("&by=group&group=Site+A/Web+servers", 1, 1_000),
        ("&by=tag&tag=service", 1, 1_000),
        ("&by=tag&tag=nothing", 0, 0),
        ("&severity=5", 3, 0),
    ] {
        let (status, body) = get(&state, &format!("/api/status/availability?{window}{by}")).await;
        assert_eq!(status, 200, "{body}");
        let rows = body["rows"].as_array().unwrap();
        assert_eq!(
            (rows.len(), &body["from"], &body["to"]),
            (keys, &json!(THEN), &json!(THEN + 10_000)),
            "{by}: {body}"
        );
        if let Some(row) = rows.first() {
            assert_eq!(row["down_seconds"], seconds, "{by}: {body}");
            assert_eq!(row["availability"], 1.0 - f64::from(seconds) / 10_000.0, "{by}: {body}");
        }
    }
    let (_, body) = get(&state, &format!("/api/status/availability?{window}")).await;
    let head = (&body["by"], &body["severity"], &body["maintenance"]);
    assert_eq!(head, (&json!("host"), &json!(4), &json!("exclude")), "{body}");
}

#[tokio::test]
async fn times_to_acknowledge_and_to_recover_are_told_for_all_and_by_key() {
    let (_test, state) = with_outages().await;
    let (status, body) = get(&state, &format!("/api/status/response?from={}&to={}", THEN - 1, THEN + 1)).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        body["rows"],
        json!([{
            "problems": 3,
            "acknowledge": {"count": 3, "mean_seconds": 450.0, "median_seconds": 450.0, "p90_seconds": 490.0},
            "recover": {"count": 3, "mean_seconds": 900.0, "median_seconds": 900.0, "p90_seconds": 980.0},
        }])
    );
    let (_, body) = get(&state, &format!("/api/status/response?from={}&to={}&by=host", THEN - 1, THEN + 1)).await;
    let keys: Vec<&str> = body["rows"].as_array().unwrap().iter().map(|row| row["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["=cmd|' /C calc'!A0", "db, \"old\"", "web-01"]);
    let (_, body) = get(&state, &format!("/api/status/response?from={}&to={THEN}", THEN - 1)).await;
    assert_eq!((&body["rows"][0]["problems"], &body["rows"][0]["recover"]["count"]), (&json!(0), &json!(0)), "{body}");
}

#[tokio::test]
async fn a_timeline_has_the_intervals_of_a_host() {
    let (_test, state) = with_outages().await;
    let (status, body) = get(&state, &format!("/api/status/timeline?host=web-01&from={THEN}&to={}", THEN + 1)).await;
    assert_eq!(status, 200, "{body}");
    let interval = json!({"event_id": "0", "name": "Down", "from": THEN, "to": THEN + 1_000, "severity": 4,
                          "maintenance": false, "suppressed": false, "unmonitored": false});
    assert_eq!(body, json!({"host": "web-01", "from": THEN, "to": THEN + 1, "intervals": [interval]}));
}

/// Names are Zabbix's: without the guard a host would run its formula on the desk of whoever opens the file.
#[tokio::test]
async fn csv_has_the_same_rows_with_links_from_page_to_page_and_no_formulas() {
    let (_test, state) = with_outages().await;
    let mut path = format!("/api/status/availability?from={THEN}&to={}&limit=2&format=csv", THEN + 10_000);
    let mut lines = Vec::new();
    loop {
        let response = handle(&state, request("GET", &path, Some(("x-api-key", KEY)))).await;
        assert_eq!(response.headers()[CONTENT_TYPE], "text/csv; charset=utf-8; header=present");
        let Body::Text(text) = response.body() else { panic!("{response:?}") };
        lines.extend(text.split_terminator("\r\n").map(str::to_owned));
        let Some(link) = response.headers().get(LINK) else { break };
        let next = link.to_str().unwrap().strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
        path = format!("/api/status/availability{next}");
    }
    let header = "host,down_seconds,availability";
    let rows = ["web-01,1000,0.9", "'=cmd|' /C calc'!A0,900,0.91", "\"db, \"\"old\"\"\",800,0.92"];
    assert_eq!(lines, [header, rows[0], rows[1], header, rows[2]]);
}

#[tokio::test]
async fn csv_is_given_to_who_names_it_and_to_nobody_else() {
    let (_test, state) = with_outages().await;
    for (accept, format, is_csv) in [
        ("text/csv", "", true),
        ("application/json;q=0.5, Text/CSV; header=present", "", true),
        ("*/*", "", false),
        ("text/csv", "&format=json", false),
        ("application/json", "&format=csv", true),
    ] {
        for path in ["availability?", "response?", "timeline?host=web-01"] {
            let mut request =
                request("GET", &format!("/api/status/{path}&from={THEN}{format}"), Some(("x-api-key", KEY)));
            request.headers_mut().insert(ACCEPT, accept.parse().unwrap());
            let response = handle(&state, request).await;
            let told = response.headers()[CONTENT_TYPE].to_str().unwrap();
            assert_eq!(
                (response.status().as_u16(), told.starts_with("text/csv")),
                (200, is_csv),
                "{path} {accept} {format}"
            );
        }
    }
}
