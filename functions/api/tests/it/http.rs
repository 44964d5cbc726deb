//! Keys, paths, methods of HTTP, bodies and both error modes.

use std::sync::Arc;

use api::State;
use lambda_http::{
    Body,
    http::{Method, Request, request::Builder},
};
use serde_json::{Value, json};
use signalbox_channels::ChannelsConfig;
use signalbox_connections::testing::Verdict;

use crate::world::{KEY, World, read};

fn request(method: Method, path: &str) -> Builder {
    Request::builder().method(method).uri(path)
}

const PUBLISH: &str = r#"{"channel":"news:a","data":1}"#;

#[tokio::test]
async fn only_post_is_taken_and_an_unknown_path_is_404_whatever_the_method() {
    let world = World::new().await;
    for path in ["/api", "/api/publish", "/api/batch"] {
        for method in [Method::GET, Method::PUT, Method::HEAD, Method::OPTIONS, Method::DELETE] {
            let response = api::handle(&world.state, request(method, path).body(Body::Empty).unwrap()).await;
            assert_eq!(response.headers()["allow"], "POST");
            assert_eq!(read(&response), (405, String::new()), "{path}");
        }
    }
    let unknown =
        ["/", "/publish", "/api/", "/api/publish/", "/api/Publish", "/api/unknown", "/apis", "/api/v1/publish"];
    for path in unknown.into_iter().chain(["/api/connections", "/api/block_user", "/api/send_push_notification"]) {
        for method in [Method::POST, Method::GET] {
            let keyed = request(method, path).header("x-api-key", KEY).body(Body::from("{}")).unwrap();
            let response = api::handle(&world.state, keyed).await;
            assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
            assert_eq!(read(&response), (404, "404 page not found\n".to_owned()), "{path}");
        }
    }
}

#[tokio::test]
async fn a_stage_may_stand_before_the_path() {
    let world = World::new().await;
    assert_eq!(world.post("/live/api/publish", PUBLISH).await.0, 200);
    assert_eq!(world.post("/live/api", r#"{"method":"info"}"#).await.0, 200);
}

#[tokio::test]
async fn without_the_key_it_is_401_without_a_body_and_nothing_is_done() {
    let world = World::new().await;
    let wrong = [("x-api-key", "wrong"), ("x-api-key", ""), ("authorization", KEY), ("authorization", "apikey wrong")];
    for (name, value) in wrong {
        for path in ["/api/publish", "/api/batch", "/api"] {
            let wrong = request(Method::POST, path).header(name, value).body(Body::from(PUBLISH)).unwrap();
            assert_eq!(world.send(wrong).await, (401, String::new()), "{path} {name}: {value}");
        }
    }
    let none = request(Method::POST, "/api/publish").body(Body::from(PUBLISH)).unwrap();
    assert_eq!(world.send(none).await, (401, String::new()));
    assert_eq!(world.result("history", json!({"channel": "news:a", "limit": 1})).await["offset"], 0);

    let by_header = request(Method::POST, "/api/publish").header("Authorization", format!("apikey {KEY}"));
    assert_eq!(world.send(by_header.body(Body::from(PUBLISH)).unwrap()).await.0, 200);
    let by_query = request(Method::POST, &format!("/api/publish?api_key={KEY}"));
    assert_eq!(world.send(by_query.body(Body::from(PUBLISH)).unwrap()).await.0, 200);
}

#[tokio::test]
async fn the_configuration_s_key_goes_before_the_environment_s() {
    let world = World::with(r#"{"http_api": {"key": "configured"}}"#).await;
    assert_eq!(world.post("/api/info", "{}").await.0, 401);
    let keyed = request(Method::POST, "/api/info").header("x-api-key", "configured").body(Body::from("{}")).unwrap();
    assert_eq!(world.send(keyed).await.0, 200);
}

#[tokio::test]
async fn an_insecure_configuration_asks_for_no_key_and_no_key_at_all_does_not_start() {
    let world = World::with(r#"{"http_api": {"insecure": true}}"#).await;
    let bare = request(Method::POST, "/api/info").body(Body::from("{}")).unwrap();
    assert_eq!(world.send(bare).await.0, 200);

    let state = |json: &str, key| {
        State::new(world.publisher.clone(), Arc::new(ChannelsConfig::parse(json).unwrap()), key, "node")
    };
    assert!(state("{}", None).unwrap_err().to_string().contains("API_KEY"));
    assert!(state("{}", Some("")).is_err(), "everybody has an empty key");
    assert!(state(r#"{"http_api": {"insecure": true}}"#, None).is_ok());
    assert!(state(r#"{"http_api": {"key": "k"}}"#, None).is_ok());
}

/// The reason that a 400 gives.
async fn malformed(world: &World, path: &str, body: &str) -> String {
    let (status, text) = world.post(path, body).await;
    assert_eq!(status, 400, "{path} {body:.200}: {text:.200}");
    let reason = text.strip_prefix("Bad Request: ").and_then(|text| text.strip_suffix('\n'));
    reason.unwrap_or_else(|| panic!("{text:?}")).to_owned()
}

#[tokio::test]
async fn a_body_that_is_no_object_of_the_method_s_shape_is_400_and_told_why() {
    let world = World::new().await;
    let none = ["", " ", "{", "[]", "1", "\"x\"", "{}x", "{\"channel\":\"a\"", "[\"news:a\",1]"];
    for path in ["publish", "batch", "disconnect", "info", "channels", "rpc", "presence", "history_remove"] {
        for body in none {
            let reason = malformed(&world, &format!("/api/{path}"), body).await;
            assert!(reason.contains("line"), "{path} {body}: {reason}");
        }
    }
    for (path, body, reason) in [
        (
            "/api/publish",
            r#"{"channel":1,"data":1}"#,
            "invalid type: integer `1`, expected a string at line 1 column 12",
        ),
        ("/api/publish", r#"{"channel":"news:a","data":1,"version":-1}"#, "integer `-1`, expected u64"),
        ("/api/publish", r#"{"channel":"news:a","data":1,"tags":{"a":1}}"#, "integer `1`, expected a string"),
        ("/api/publish", r#"{"channel":"news:a","data":1,"skip_history":"yes"}"#, "expected a boolean"),
        ("/api/broadcast", r#"{"channels":"news:a","data":1}"#, "expected a sequence"),
        ("/api/history", r#"{"channel":"news:a","limit":1.5}"#, "expected i32"),
        ("/api/history", r#"{"channel":"news:a","limit":2147483648}"#, "expected i32"),
        ("/api/history", r#"{"channel":"news:a","since":[1,"x"]}"#, "expected an object"),
        ("/api/disconnect", r#"{"user":"anna","disconnect":{"code":"3000"}}"#, "expected u32"),
        ("/api/disconnect", r#"{"user":"anna","whitelist":"a"}"#, "expected a sequence"),
        ("/api/subscribe", r#"{"user":42,"channel":"news:a"}"#, "expected a string"),
        ("/api/subscribe", r#"{"user":"a","channel":"news:a","override":{"presence":true}}"#, "struct BoolValue"),
        ("/api/refresh", r#"{"user":"a","expire_at":"tomorrow"}"#, "expected i64"),
        ("/api/batch", r#"{"commands":{}}"#, "expected a sequence"),
    ] {
        let told = malformed(&world, path, body).await;
        assert!(told.contains(reason), "{path} {body}: {told}");
    }
    let long = malformed(
        &world,
        "/api/publish",
        &json!({"channel": {"x".repeat(9000): 1}, "tags": "y".repeat(9000)}).to_string(),
    )
    .await;
    assert!(long.len() <= 300, "{long}");
    let bytes = request(Method::POST, "/api/publish").header("x-api-key", KEY).body(Body::Binary(vec![0xff])).unwrap();
    let (status, text) = world.send(bytes).await;
    assert_eq!(status, 400);
    assert!(text.contains("utf-8"), "{text}");
}

#[tokio::test]
async fn null_is_as_good_as_absent_and_unknown_fields_are_passed_over() {
    let world = World::new().await;
    let body = r#"{"channel":"news:a","data":1,"tags":{"a":null},"idempotency_key":null,"delta":null,"version":null,
        "b64data":null,"skip_history":null,"label_filter":{"op":"and"}}"#;
    let (status, answer) = world.post("/api/publish", body).await;
    assert_eq!(status, 200);
    assert!(answer.contains(r#""offset":1"#), "{answer}");
    let (status, answer) = world.post("/api/presence", "null").await;
    assert_eq!((status, answer.as_str()), (200, r#"{"error":{"code":107,"message":"bad request"}}"#));
}

#[tokio::test]
async fn a_body_that_api_gateway_hands_over_in_base64_is_read() {
    let world = World::new().await;
    let binary = Body::Binary(PUBLISH.as_bytes().to_vec());
    let keyed = request(Method::POST, "/api/publish").header("x-api-key", KEY).body(binary).unwrap();
    let (status, answer) = world.send(keyed).await;
    assert!(status == 200 && answer.contains("epoch"), "{answer}");
}

#[tokio::test]
async fn in_transport_mode_an_error_has_its_own_status_and_stands_alone() {
    let configured =
        World::with(&crate::world::CHANNELS.replacen('{', r#"{"http_api": {"error_mode": "transport"},"#, 1)).await;
    let asked = World::new().await;
    let cases = [
        ("publish", json!({}), 400, 107),
        ("publish", json!({"channel": "nothing:a", "data": 1}), 404, 102),
        ("presence", json!({"channel": "bare:a"}), 400, 108),
        ("rpc", json!({"method": "x"}), 404, 104),
        ("channels", json!({"pattern": "["}), 500, 100),
        ("history", json!({"channel": "news:a", "since": {"offset": 1, "epoch": "other"}, "limit": 1}), 416, 112),
    ];
    for (method, body, status, code) in cases {
        let path = format!("/api/{method}");
        let with_header = request(Method::POST, &path)
            .header("x-api-key", KEY)
            .header("X-Centrifugo-Error-Mode", "transport")
            .body(Body::from(body.to_string()))
            .unwrap();
        for (got, text) in [asked.send(with_header).await, configured.post(&path, &body.to_string()).await] {
            let error: Value = serde_json::from_str(&text).unwrap();
            assert_eq!((got, error["code"].as_u64()), (status, Some(code)), "{method}: {text}");
            assert_eq!(error.as_object().unwrap().len(), 2, "{text}");
            assert!(error["message"].is_string());
        }
        let (got, text) = asked.post(&path, &body.to_string()).await;
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((got, answer["error"]["code"].as_u64()), (200, Some(code)), "{method}: {text}");
    }
    let (status, text) = configured.post("/api/batch", r#"{"commands":[{"publish":{}}]}"#).await;
    assert_eq!((status, text.contains("107")), (200, true), "a batch has no status of its own");
    let (status, text) = configured.post("/api/info", "{}").await;
    assert!(status == 200 && text.starts_with(r#"{"result":{"nodes":["#), "{text}");
    let other = request(Method::POST, "/api/publish")
        .header("x-api-key", KEY)
        .header("X-Centrifugo-Error-Mode", "other")
        .body(Body::from("{}"))
        .unwrap();
    assert_eq!(asked.send(other).await.0, 200);
}

#[tokio::test]
async fn a_table_that_does_not_answer_is_error_100_in_every_method() {
    let world = World::new().await;
    for (id, user) in [("a", "anna"), ("x", "")] {
        world.connect(id, user).await;
    }
    world.tables.hook(Some(Arc::new(|_| Box::pin(async { Verdict::Fail }))));
    let internal = (100, "internal server error".to_owned());
    let calls = [
        ("publish", json!({"channel": "news:a", "data": 1})),
        ("publish", json!({"channel": "live:a", "data": 1, "idempotency_key": "k"})),
        ("subscribe", json!({"user": "anna", "channel": "live:a"})),
        ("subscribe", json!({"channel": "live:a"})),
        ("unsubscribe", json!({"user": "anna", "channel": "live:a"})),
        ("disconnect", json!({"user": "anna"})),
        ("refresh", json!({"user": "anna", "expire_at": crate::world::now() + 60})),
        ("presence", json!({"channel": "live:a"})),
        ("presence_stats", json!({"channel": "live:a"})),
        ("history", json!({"channel": "news:a", "limit": 1})),
        ("history_remove", json!({"channel": "news:a"})),
        ("channels", json!({})),
        ("info", json!({})),
    ];
    for (method, body) in &calls {
        assert_eq!(world.error(method, body.clone()).await, internal, "{method} {body}");
    }
    let broadcast = world.result("broadcast", json!({"channels": ["news:a", "nothing:a", "news:b"], "data": 1})).await;
    let codes: Vec<_> =
        broadcast["responses"].as_array().unwrap().iter().map(|one| one["error"]["code"].as_u64()).collect();
    assert_eq!(codes, [Some(100), Some(102), Some(100)]);
    let commands: Vec<_> = calls.iter().map(|(method, body)| json!({ *method: body })).collect();
    let batch = world.call("batch", json!({"commands": commands, "parallel": true})).await;
    assert!(batch["replies"].as_array().unwrap().iter().all(|reply| reply["error"]["code"] == 100), "{batch}");
    let (status, text) =
        world.post("/api", r#"{"id":1,"method":"info"}{"id":2,"method":"rpc","params":{"method":"x"}}"#).await;
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((status, &lines[0]["error"]["code"], &lines[1]["error"]["code"]), (200, &json!(100), &json!(104)));
    world.tables.hook(None);
    assert_eq!(world.result("publish", json!({"channel": "news:a", "data": 1})).await["offset"], 1);
    assert!(world.is_there("a").await && world.is_there("x").await);
}

#[tokio::test]
async fn results_and_errors_are_json_that_nobody_keeps() {
    let world = World::new().await;
    for body in ["{}", PUBLISH] {
        let keyed = request(Method::POST, "/api/publish").header("x-api-key", KEY).body(Body::from(body)).unwrap();
        let response = api::handle(&world.state, keyed).await;
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.headers()["cache-control"], "no-store");
    }
}
