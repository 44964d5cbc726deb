//! Sockets and commands.

use serde_json::{Value, json};
use signalbox_connections::ConnectionState;
use signalbox_lambda::now_ms;

use crate::world::{TOKEN_SECRET, World, connect_command, signed, socket_event, token};

fn disconnect(code: u32, reason: &str) -> Value {
    json!({"push": {"disconnect": {"code": code, "reason": reason}}})
}

#[tokio::test(start_paused = true)]
async fn connect_and_subscribe_in_one_frame_are_answered_in_one_message() {
    let world = World::new().await;
    world.open("c1").await;
    let frame = format!(
        "{}\n{}",
        connect_command(1, &token("anna")),
        r#"{"id":2,"subscribe":{"channel":"status:all","flag":1}}"#
    );
    let lines = world.send("c1", &frame).await;
    assert_eq!(lines[0]["id"], 1);
    assert!(lines[0]["connect"]["version"].as_str().unwrap().starts_with("signalbox "));
    assert_eq!(lines[0]["connect"]["ping"], 600);
    assert_eq!(lines[0]["connect"].get("pong"), None, "a pong would be an invocation");
    assert_eq!(lines[1]["id"], 2);
    assert_eq!(lines[1]["subscribe"]["recoverable"], true);
    assert!(!lines[1]["subscribe"]["epoch"].as_str().unwrap().is_empty());
    assert_eq!(world.posts.frames("c1").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_may_not_connect_is_told_so_and_leaves_no_row() {
    let world = World::new().await;
    let now = now_ms() / 1000;
    let cases = [
        ("no token", String::new(), disconnect(3501, "bad request")),
        ("foreign secret", signed(&json!({"sub": "x"}), "other"), disconnect(3500, "invalid token")),
        ("no JWT", "abc".to_owned(), disconnect(3500, "invalid token")),
        (
            "a token for a channel",
            signed(&json!({"sub": "x", "channel": "status:all"}), TOKEN_SECRET),
            disconnect(3500, "invalid token"),
        ),
    ];
    futures::future::join_all(cases.into_iter().map(async |(case, token, expected)| {
        world.open(case).await;
        assert_eq!(world.send(case, &connect_command(1, &token)).await, [expected], "{case}");
        assert_eq!(world.tables.table.connection(case).await.unwrap(), None, "{case}");
        assert!(world.posts.deleted().contains(&case.to_owned()), "{case}: the socket is closed");
    }))
    .await;

    // an expired token is an error and not the end: the SDK fetches a new one and connects on the same socket or a new one
    world.open("expired").await;
    let expired = signed(&json!({"sub": "x", "exp": now - 1}), TOKEN_SECRET);
    let lines = world.send("expired", &connect_command(1, &expired)).await;
    assert_eq!(lines, [json!({"id": 1, "error": {"code": 109, "message": "token expired"}})]);
    assert!(world.posts.deleted().iter().all(|id| id != "expired"));
}

#[tokio::test(start_paused = true)]
async fn anonymous_viewers_are_let_in_where_the_operator_allows_it() {
    let mut world = World::new().await;
    world.default.allow_anonymous = true;
    world.open("c1").await;
    let frame = format!("{}\n{}", connect_command(1, ""), r#"{"id":2,"subscribe":{"channel":"status:all"}}"#);
    let lines = world.send("c1", &frame).await;
    assert!(lines[0]["connect"]["client"].is_string() && lines[1]["subscribe"].is_object(), "{lines:?}");
    let connection = world.tables.table.connection("c1").await.unwrap().unwrap();
    assert!(matches!(connection.state, ConnectionState::Ready(client) if client.user.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_foreign_origin_gets_no_socket() {
    let world = World::new().await;
    for (origin, status) in [
        (Some("https://status.example.org"), 200),
        (Some("https://status.example.org.evil.example"), 403),
        (Some("null"), 403),
        (None, 200),
    ] {
        let event = socket_event("c", "CONNECT", None, origin);
        assert_eq!(ws_connect::handle(&world.connect, event).await.unwrap().status_code, status, "{origin:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_the_protocol_ends_the_connection_and_its_rows() {
    let world = World::new().await;
    let too_big = format!(r#"{{"id":5,"rpc":{{"method":"{}"}}}}"#, "x".repeat(32 * 1024));
    let cases = [
        ("garbage", "hello", disconnect(3501, "bad request")),
        ("empty", "", disconnect(3501, "bad request")),
        ("no id", r#"{"rpc":{}}"#, disconnect(3501, "bad request")),
        ("no such command", r#"{"id":9,"dance":{}}"#, disconnect(3501, "bad request")),
        ("send", r#"{"send":{"data":1}}"#, disconnect(3508, "not available")),
        ("empty channel", r#"{"id":3,"subscribe":{"channel":""}}"#, disconnect(3501, "bad request")),
        ("connect twice", r#"{"id":3,"connect":{}}"#, disconnect(3501, "bad request")),
        ("too big", too_big.as_str(), disconnect(3501, "bad request: frame over 32 KB")),
    ];
    futures::future::join_all(cases.iter().map(async |(case, frame, expected)| {
        world.watcher(case).await;
        assert_eq!(world.send(case, frame).await, std::slice::from_ref(expected), "{case}");
        assert_eq!(world.tables.table.connection(case).await.unwrap(), None, "{case}");
        assert!(world.posts.deleted().contains(&(*case).to_owned()), "{case}");
    }))
    .await;
    assert_eq!(world.rows("status:all").await, [], "no subscription is left behind");
}

#[tokio::test(start_paused = true)]
async fn a_bad_command_is_refused_with_its_code_and_the_connection_goes_on() {
    let world = World::new().await;
    world.viewer("c1").await;
    let long = format!(r#"{{"id":9,"subscribe":{{"channel":"{}"}}}}"#, "x".repeat(256));
    for (frame, code) in [
        (r#"{"id":9,"rpc":{"method":"nothing"}}"#, 104),
        (r#"{"id":9,"publish":{"channel":"status:all","data":1}}"#, 103),
        (r#"{"id":9,"presence":{"channel":"status:all"}}"#, 108),
        (r#"{"id":9,"presence_stats":{"channel":"status:all"}}"#, 108),
        (r#"{"id":9,"history":{"channel":"status:all"}}"#, 103),
        (r#"{"id":9,"sub_refresh":{"channel":"status:all","token":"x"}}"#, 103),
        (r#"{"id":9,"subscribe":{"channel":"nowhere:x"}}"#, 102),
        (r#"{"id":9,"subscribe":{"channel":"bare"}}"#, 103),
        (r#"{"id":9,"subscribe":{"channel":"$status:secret"}}"#, 103),
        (r#"{"id":9,"subscribe":{"channel":"status:all","type":1}}"#, 103),
        (r#"{"id":9,"subscribe":{"channel":"größe"}}"#, 107),
        (long.as_str(), 107),
        (r#"{"id":9,"rpc":{"method":"status.snapshot","data":5}}"#, 107),
        (r#"{"id":9,"rpc":{"method":"status.snapshot","data":{"cursor":"elsewhere"}}}"#, 107),
        (r#"{"id":9,"subscribe":{"channel":"status:all","recover":true,"epoch":"_","offset":4,"flag":3}}"#, 112),
    ] {
        let lines = world.send("c1", frame).await;
        assert_eq!((lines[0]["id"].as_u64(), lines[0]["error"]["code"].as_u64()), (Some(9), Some(code)), "{frame}");
        assert_eq!(lines.len(), 1);
    }
    let lines = world.send("c1", r#"{"id":10,"unsubscribe":{"channel":"status:all"}}"#).await;
    assert_eq!(lines, [json!({"id": 10, "unsubscribe": {}})], "also when nothing was subscribed");
}

/// API Gateway runs the messages of one connection in parallel. Fails when the subscribe does not wait.
#[tokio::test(start_paused = true)]
async fn a_subscribe_that_overtakes_its_connect_waits_for_it() {
    let world = World::new().await;
    world.open("c1").await;
    let connect = connect_command(1, &token("anna"));
    let (subscribed, _) = tokio::join!(world.send("c1", r#"{"id":2,"subscribe":{"channel":"status:all"}}"#), async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        world.send("c1", &connect).await
    });
    assert!(subscribed.iter().any(|line| line["id"] == 2 && line["subscribe"].is_object()), "{subscribed:?}");

    // and gives up with an error that makes the SDK try again
    world.open("c2").await;
    let lines = world.send("c2", r#"{"id":2,"subscribe":{"channel":"status:all"}}"#).await;
    assert_eq!(lines[0]["error"], json!({"code": 100, "message": "internal server error", "temporary": true}));
}

#[tokio::test(start_paused = true)]
async fn a_disconnect_removes_everything_of_a_connection() {
    let world = World::new().await;
    world.watcher("c1").await;
    let event = socket_event("c1", "DISCONNECT", None, None);
    ws_disconnect::handle(&world.disconnect, event.clone()).await.unwrap();
    assert_eq!(world.tables.table.connection("c1").await.unwrap(), None);
    assert_eq!(world.rows("status:all").await, []);
    // delivered twice, or for a connection that never was: no matter
    assert_eq!(ws_disconnect::handle(&world.disconnect, event).await.unwrap().status_code, 200);
}

/// API Gateway takes the route from the message's `__route`, so a client can name `$connect` and `$disconnect`.
#[tokio::test(start_paused = true)]
async fn a_message_that_names_another_route_does_nothing() {
    let world = World::new().await;
    world.watcher("c1").await;
    let message = |id| socket_event(id, "MESSAGE", Some(r#"{"__route":"$disconnect"}"#), None);
    assert_eq!(ws_disconnect::handle(&world.disconnect, message("c1")).await.unwrap().status_code, 200);
    assert!(world.tables.table.connection("c1").await.unwrap().is_some());
    assert_eq!(ws_connect::handle(&world.connect, message("c2")).await.unwrap().status_code, 200);
    assert_eq!(world.tables.table.connection("c2").await.unwrap(), None);
}

/// Its row was written before its first message could come: the server has ended it since, or swept it away.
#[tokio::test(start_paused = true)]
async fn a_message_of_a_connection_without_a_row_makes_the_client_connect_anew() {
    let world = World::new().await;
    for (id, frame) in [
        ("c1", connect_command(1, &token("anna"))),
        ("c2", r#"{"id":2,"subscribe":{"channel":"status:all"}}"#.to_owned()),
    ] {
        assert_eq!(world.send(id, &frame).await, [disconnect(3011, "force reconnect")]);
        assert!(world.posts.deleted().contains(&id.to_owned()));
    }
}
