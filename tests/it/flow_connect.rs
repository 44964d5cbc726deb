//! Sockets and commands.

use serde_json::{Value, json};
use signalbox_connections::ConnectionState;
use signalbox_lambda::now_ms;

use crate::world::{TOKEN_SECRET, World, channels, connect_command, now, pass, signed, socket_event, token};

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
        (r#"{"id":9,"rpc":{"method":"nothing"}}"#, 108),
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

#[tokio::test(start_paused = true)]
async fn the_server_s_time_is_told_where_that_is_wanted() {
    let world = World::with(&channels(&json!({"connect_include_server_time": true, "ping_interval": "20m"}))).await;
    let connected = world.connected("c1", "anna").await;
    assert_eq!((&connected["time"], &connected["ping"]), (&json!(now_ms()), &json!(1200)));
}

#[tokio::test(start_paused = true)]
async fn a_second_connect_ends_the_connection_whatever_it_brings() {
    let world = World::with(&channels(&json!({}))).await;
    for (case, second) in [
        ("good", token("anna")),
        ("expired", signed(&json!({"sub": "anna", "exp": 1}), TOKEN_SECRET)),
        ("none", String::new()),
    ] {
        world.connected(case, "anna").await;
        assert_eq!(world.send(case, &connect_command(2, &second)).await, [disconnect(3501, "bad request")], "{case}");
    }
    world.open("c1").await;
    let frame = format!("{}\n{}", connect_command(1, &token("anna")), connect_command(2, &token("anna")));
    let lines = world.send("c1", &frame).await;
    assert!(lines[0]["connect"].is_object() && lines[1] == disconnect(3501, "bad request"), "{lines:?}");
}

/// The SDKs send `connect` and all their subscribes in one frame, and wait for its answer.
#[tokio::test(start_paused = true)]
async fn after_a_connect_that_was_refused_nothing_of_its_frame_is_done() {
    let world = World::with(&channels(&json!({}))).await;
    world.open("c1").await;
    let expired = signed(&json!({"sub": "anna", "exp": now() - 1}), TOKEN_SECRET);
    let started = tokio::time::Instant::now();
    let frame = format!("{}\n{}", connect_command(1, &expired), r#"{"id":2,"subscribe":{"channel":"open:x"}}"#);
    let lines = world.send("c1", &frame).await;
    assert_eq!(lines, [json!({"id": 1, "error": {"code": 109, "message": "token expired"}})]);
    assert!(started.elapsed().is_zero(), "and the answer waits for nothing");
    assert_eq!(world.rows("open:x").await, []);
    // it may try again with a new token
    let lines = world.send("c1", &connect_command(3, &token("anna"))).await;
    assert!(lines[0]["connect"].is_object());
}

#[tokio::test(start_paused = true)]
async fn anonymous_connections_are_let_in_as_the_configuration_says() {
    for (client, without_token, empty_user) in [
        (json!({}), Some(3501), None),
        (json!({"allow_anonymous_connect_without_token": true}), None, None),
        (json!({"disallow_anonymous_connection_tokens": true}), Some(3501), Some(3507)),
    ] {
        let world = World::with(&channels(&client)).await;
        world.open("none").await;
        let none = world.send("none", r#"{"id":1,"connect":{}}"#).await;
        let empty = world.connect_with("empty", &json!({"sub": ""})).await;
        for (lines, code) in [(none, without_token), (empty, empty_user)] {
            assert_eq!(lines[0].pointer("/push/disconnect/code").and_then(Value::as_u64), code, "{client}: {lines:?}");
            assert_eq!(lines[0]["connect"].is_object(), code.is_none(), "{client}: {lines:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_may_be_refused_because_there_are_too_many() {
    let world = World::with(&channels(&json!({"user_connection_limit": 2, "channel_limit": 1}))).await;
    for id in ["c1", "c2"] {
        world.connected(id, "anna").await;
    }
    let lines = world.connect_with("c3", &json!({"sub": "anna"})).await;
    assert_eq!(lines, [disconnect(3504, "connection limit")]);
    world.connected("c4", "berta").await;
    ws_disconnect::handle(&world.disconnect, socket_event("c1", "DISCONNECT", None, None)).await.unwrap();
    world.connected("c5", "anna").await;
    let lines = world.connect_with("c6", &json!({"sub": "carl", "channels": ["open:a", "open:b"]})).await;
    assert_eq!(lines, [disconnect(3505, "channel limit")]);
}

#[tokio::test(start_paused = true)]
async fn the_server_subscribes_at_connect_what_the_token_names() {
    let world = World::with(&channels(&json!({}))).await;
    world.publish("news:a", json!(1)).await;
    let subs = json!({
        "news:a": {"data": {"hello": 1}, "info": {"seat": 4}},
        "locked:b": {"override": {"force_recovery": {"value": true}, "presence": {"value": false}}},
        "$open:c": {}
    });
    // `channels` does not count beside `subs`
    let lines = world.connect_with("c1", &json!({"sub": "anna", "subs": subs, "channels": ["open:z"]})).await;
    let made = lines[0]["connect"]["subs"].as_object().unwrap();
    assert_eq!(made.keys().collect::<Vec<_>>(), ["$open:c", "locked:b", "news:a"]);
    assert_eq!(made["news:a"]["data"], json!({"hello": 1}));
    assert_eq!((&made["news:a"]["recoverable"], &made["news:a"]["offset"]), (&json!(true), &json!(1)));
    assert_eq!((&made["locked:b"]["recoverable"], &made["$open:c"]), (&json!(true), &json!({})));
    let row = &world.rows("news:a").await[0];
    assert!(row.server && row.chan_info.as_deref() == Some(r#"{"seat":4}"#));
    assert!(!world.rows("locked:b").await[0].presence);
    world.publish("news:a", json!(2)).await;
    assert_eq!(world.pushes("c1", "pub"), [json!({"data": 2, "offset": 2})]);
    // the client's own subscribe would be the same subscription again
    assert_eq!(world.refusal("c1", 2, json!({"subscribe": {"channel": "news:a"}})).await, 105);
    assert_eq!(world.refusal("c1", 3, json!({"unsubscribe": {"channel": "news:a"}})).await, 0);
    world.publish("news:a", json!(3)).await;
    assert_eq!(world.pushes("c1", "pub").len(), 1);

    let lines = world.connect_with("c2", &json!({"sub": "anna", "channels": ["open:x", "chat:y", ""]})).await;
    assert_eq!(lines[0]["connect"]["subs"], json!({"chat:y": {}, "open:x": {}}));
    let lines = world.connect_with("c3", &json!({"sub": "anna", "channels": ["open:x", "nowhere:y"]})).await;
    assert_eq!(lines[0]["error"]["code"], 102);
    assert!(world.rows("open:x").await.iter().all(|row| row.connection_id != "c3"));
}

#[tokio::test(start_paused = true)]
async fn server_side_subscriptions_recover_what_the_connection_before_missed() {
    let world = World::with(&channels(&json!({}))).await;
    let claims = json!({"sub": "anna", "channels": ["news:a", "doc:b"]});
    let lines = world.connect_with("c1", &claims).await;
    let epoch = lines[0]["connect"]["subs"]["news:a"]["epoch"].clone();
    for n in 1..=3 {
        world.publish("news:a", json!(n)).await;
        world.publish("doc:b", json!(n)).await;
    }
    world.open("c2").await;
    let subs = json!({"news:a": {"recover": true, "offset": 1, "epoch": epoch}});
    let request = json!({"connect": {"token": signed(&claims, TOKEN_SECRET), "subs": subs}});
    let reply = world.ask("c2", 1, request).await;
    let made = &reply["connect"]["subs"];
    assert_eq!((&made["news:a"]["recovered"], &made["news:a"]["offset"]), (&json!(true), &json!(1)));
    assert_eq!(made["news:a"]["publications"], json!([{"data": 2, "offset": 2}, {"data": 3, "offset": 3}]));
    assert_eq!(made["doc:b"]["publications"], json!([{"data": 3, "offset": 3}]), "the newest, unasked");
}

/// As large as it is, one reply has to tell it.
#[tokio::test(start_paused = true)]
async fn what_the_connect_reply_has_no_room_for_follows_in_pushes() {
    let world = World::with(&channels(&json!({}))).await;
    let names: Vec<String> = (0..4).map(|n| format!("doc:{n}")).collect();
    for name in &names {
        world.publish(name, json!("x".repeat(60 * 1024))).await;
    }
    let lines = world.connect_with("c1", &json!({"sub": "anna", "channels": names})).await;
    assert!(names.iter().all(|name| lines[0]["connect"]["subs"][name]["recovered"] == true), "the reply comes first");
    let mut brought: Vec<_> = lines[1..].iter().filter_map(|line| line["push"]["channel"].as_str()).collect();
    let in_reply = names.iter().filter(|name| lines[0]["connect"]["subs"][name].get("publications").is_some());
    brought.extend(in_reply.map(String::as_str));
    brought.sort_unstable();
    assert_eq!(brought, names, "each once");
    assert!(world.posts.frames("c1").iter().all(|frame| frame.len() <= 128 * 1024));
}

#[tokio::test(start_paused = true)]
async fn of_the_channels_that_a_client_names_at_connect_it_gets_those_it_may_have() {
    let world = World::with(&channels(&json!({}))).await;
    world.open("c1").await;
    let subs = json!({"open:x": {}, "locked:x": {}, "$open:y": {}, "user:x#anna": {}, "user:x#berta": {}, "num:a": {}});
    let reply = world.ask("c1", 1, json!({"connect": {"token": token("anna"), "subs": subs}})).await;
    let made = reply["connect"]["subs"].as_object().unwrap();
    assert_eq!(
        made.keys().collect::<Vec<_>>(),
        ["open:x", "user:x#anna"],
        "the SDK reports the others as unsubscribed"
    );
    world.open("c2").await;
    let request = json!({"connect": {"token": token("anna"), "subs": {"nowhere:x": {}}}});
    assert_eq!(world.refusal("c2", 1, request).await, 3501);
}

#[tokio::test(start_paused = true)]
async fn users_have_a_channel_of_their_own_and_one_connection_where_that_is_wanted() {
    let personal = |single: bool| {
        json!({"subscribe_to_user_personal_channel":
               {"enabled": true, "personal_channel_namespace": "room", "single_connection": single}})
    };
    let world = World::with(&channels(&personal(false))).await;
    assert_eq!(world.connected("c1", "anna").await["subs"], json!({"room:#anna": {}}));
    assert_eq!(world.connected("c2", "anna").await["subs"], json!({"room:#anna": {}}));
    assert!(world.posts.deleted().is_empty());
    let lines = world.connect_with("c3", &json!({"sub": ""})).await;
    assert_eq!(lines[0]["connect"].get("subs"), None, "the anonymous user has none");

    let world = World::with(&channels(&personal(true))).await;
    world.connected("c1", "anna").await;
    world.connected("c2", "berta").await;
    world.connected("c3", "anna").await;
    assert_eq!(world.pushes("c1", "disconnect"), [json!({"code": 3504, "reason": "connection limit"})]);
    assert_eq!(world.tables.table.connection("c1").await.unwrap(), None);
    for id in ["c2", "c3"] {
        assert!(world.tables.table.connection(id).await.unwrap().is_some(), "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn frames_that_are_not_the_protocol_end_the_connection() {
    let world = World::with(&channels(&json!({}))).await;
    let many = vec![r#"{"id":2,"rpc":{"method":"x"}}"#; 131].join("\n");
    for (n, frame) in [
        "",
        "\n",
        "{}",
        r#"{"id":2}"#,
        r#"{"id":2,"ping":{}}"#,
        r#"{"id":2,"teleport":{}}"#,
        r#"{"subscribe":{"channel":"open:x"}}"#,
        r#"{"id":0,"subscribe":{"channel":"open:x"}}"#,
        "{\"id\":2,\"rpc\":{}}\n\n{\"id\":3,\"rpc\":{}}",
        r#"{"id":2,"subscribe":{"channel":7}}"#,
        r#"[{"id":2,"rpc":{}}]"#,
        many.as_str(),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("c{n}");
        world.connected(&id, "anna").await;
        assert_eq!(world.send(&id, frame).await, [disconnect(3501, "bad request")], "{frame:.80}");
        assert_eq!(world.tables.table.connection(&id).await.unwrap(), None, "{frame:.80}");
    }
}

/// API Gateway refuses binary frames itself; should it ever hand one on, it is not spoken here.
#[tokio::test(start_paused = true)]
async fn binary_frames_are_another_protocol() {
    let world = World::with(&channels(&json!({}))).await;
    world.connected("c1", "anna").await;
    let mut event = socket_event("c1", "MESSAGE", Some("eyJpZCI6MX0="), None);
    event.is_base64_encoded = true;
    ws_default::handle(&world.default, event).await.unwrap();
    assert_eq!(world.pushes("c1", "disconnect"), [json!({"code": 3506, "reason": "inappropriate protocol"})]);
}

#[tokio::test(start_paused = true)]
async fn what_came_before_the_command_that_ends_a_connection_is_answered() {
    let world = World::with(&channels(&json!({}))).await;
    world.connected("c1", "anna").await;
    let frame = [
        r#"{"id":2,"publish":{"channel":"locked:x","data":1}}"#,
        r#"{"send":{"data":1}}"#,
        r#"{"id":3,"rpc":{"method":"x"}}"#,
    ];
    let lines = world.send("c1", &frame.join("\n")).await;
    assert_eq!((&lines[0]["id"], &lines[0]["error"]["code"]), (&json!(2), &json!(103)));
    assert_eq!(lines[1..], [disconnect(3508, "not available")]);
    assert_eq!(world.posts.frames("c1").len(), 2, "in one message");
}

#[tokio::test(start_paused = true)]
async fn a_socket_more_than_there_may_be_is_refused_until_one_has_gone() {
    let world = World::with(&channels(&json!({"connection_limit": 3}))).await;
    let open = async |id: &str| {
        let event = socket_event(id, "CONNECT", None, None);
        ws_connect::handle(&world.connect, event).await.unwrap().status_code
    };
    for id in ["c1", "c2", "c3"] {
        assert_eq!(open(id).await, 200);
    }
    assert_eq!((open("c4").await, open("c3").await), (503, 200), "and one that is let in stays so");
    // whoever counts anew sees the same
    pass(10).await;
    assert_eq!(open("c4").await, 503);
    ws_disconnect::handle(&world.disconnect, socket_event("c1", "DISCONNECT", None, None)).await.unwrap();
    pass(10).await;
    assert_eq!((open("c4").await, open("c5").await), (200, 503));
}

#[tokio::test(start_paused = true)]
async fn an_address_has_no_more_sockets_than_it_may_have() {
    let world = World::with(&channels(&json!({"per_address_connection_limit": 1}))).await;
    let open = async |id: &str, ip: &str| {
        let mut event = socket_event(id, "CONNECT", None, None);
        event.request_context.identity.source_ip = Some(ip.to_owned());
        ws_connect::handle(&world.connect, event).await.unwrap().status_code
    };
    assert_eq!(
        (open("c1", "192.0.2.1").await, open("c2", "192.0.2.1").await, open("c3", "192.0.2.2").await),
        (200, 429, 200)
    );
    ws_disconnect::handle(&world.disconnect, socket_event("c1", "DISCONNECT", None, None)).await.unwrap();
    assert_eq!(open("c4", "192.0.2.1").await, 200);
}
