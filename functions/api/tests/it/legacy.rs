//! `POST /api` with `{"method", "params"}`.

use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn a_command_is_answered_with_its_id() {
    let world = World::new().await;
    let (status, text) =
        world.post("/api", r#"{"id":7,"method":"publish","params":{"channel":"news:1","data":{"a":1}}}"#).await;
    let reply: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &reply["id"], &reply["result"]["offset"]), (200, &json!(7), &json!(1)));
    let (status, text) = world.post("/api", r#"{"method":"presence","params":{"channel":"live:1"}}"#).await;
    assert_eq!((status, text.as_str()), (200, r#"{"result":{"presence":{}}}"#));
    let (_, text) = world.post("/api", r#"{"method":"info"}"#).await;
    assert!(text.starts_with(r#"{"result":{"nodes":[{"uid":"#), "{text}");
}

#[tokio::test]
async fn several_commands_are_answered_one_a_line() {
    let world = World::new().await;
    let body = "{\"id\":1,\"method\":\"publish\",\"params\":{\"channel\":\"news:1\",\"data\":1}}\n\
                {\"id\":2,\"method\":6,\"params\":{\"channel\":\"news:1\",\"limit\":5}}{\"id\":3,\"method\":\"rpc\",\"params\":{\"method\":\"x\"}}";
    let (status, text) = world.post("/api", body).await;
    let replies: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((status, replies.len()), (200, 3), "{text}");
    assert_eq!(replies[1]["result"]["publications"], json!([{"data": 1, "offset": 1}]));
    assert_eq!(replies[2], json!({"id": 3, "error": {"code": 104, "message": "not found"}}));
}

#[tokio::test]
async fn an_answer_is_one_line_whatever_was_published() {
    let world = World::new().await;
    let body = "{\"method\":\"publish\",\"params\":{\"channel\":\"news:1\",\"data\":{\n\"a\":\r\n\"b\\n\"}}}{\"method\":\"history\",\"params\":{\"channel\":\"news:1\",\"limit\":1}}";
    let (_, text) = world.post("/api", body).await;
    let replies: Vec<Value> = text.split('\n').map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(replies[1]["result"]["publications"][0]["data"], json!({"a": "b\n"}), "{text}");
}

#[tokio::test]
async fn the_error_mode_does_not_reach_the_old_form() {
    let world = World::with(r#"{"http_api": {"error_mode": "transport"}}"#).await;
    let (status, text) = world.post("/api", r#"{"method":"presence","params":{"channel":"nothing:1"}}"#).await;
    assert_eq!((status, text.as_str()), (200, r#"{"error":{"code":102,"message":"unknown channel"}}"#));
}

#[tokio::test]
async fn params_of_another_shape_are_error_107_and_a_method_of_pro_is_104() {
    let world = World::new().await;
    let bad_request = r#"{"error":{"code":107,"message":"bad request"}}"#;
    for body in [
        r#"{"method":"publish"}"#,
        r#"{"method":"publish","params":{}}"#,
        r#"{"method":"publish","params":{"channel":1}}"#,
        r#"{"method":"publish","params":[]}"#,
        "{}",
    ] {
        assert_eq!(world.post("/api", body).await, (200, bad_request.to_owned()), "{body}");
    }
    let (status, text) = world.post("/api", r#"{"method":"block_user","params":{"user":"anna"}}"#).await;
    assert_eq!((status, text.as_str()), (200, r#"{"error":{"code":104,"message":"not found"}}"#));
}

#[tokio::test]
async fn a_malformed_request_is_400_and_nothing_of_it_is_done() {
    let world = World::new().await;
    let publish = r#"{"method":"publish","params":{"channel":"news:1","data":1}}"#;
    for body in [
        String::new(),
        format!("{publish}{{"),
        format!("{publish}x"),
        format!(r#"{publish}{{"method":"unknown"}}"#),
        "[]".to_owned(),
        r#"{"id":-1}"#.to_owned(),
    ] {
        let (status, text) = world.post("/api", &body).await;
        assert_eq!((status, text.starts_with("Bad Request: ")), (400, true), "{body}: {text}");
    }
    assert_eq!(world.result("history", json!({"channel": "news:1"})).await["offset"], 0);
}
