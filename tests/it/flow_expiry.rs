//! Tokens that come to their end: `refresh`, `sub_refresh`, the grace of 25 s, and what happens after it. No process lives between
//! two messages of a connection, so whoever looks at it next, a message, a publication or the keeper, finds it over.

use serde_json::{Value, json};

use crate::world::{TOKEN_SECRET, World, channels, now, pass, signed, socket_event, subscription_token, token};

async fn world() -> World {
    World::with(&channels(&json!({}))).await
}

fn disconnect(code: u32, reason: &str) -> Value {
    json!({"push": {"disconnect": {"code": code, "reason": reason}}})
}

fn refresh(token: &str) -> Value {
    json!({"refresh": {"token": token}})
}

fn sub_refresh(channel: &str, token: &str) -> Value {
    json!({"sub_refresh": {"channel": channel, "token": token}})
}

fn expiring(user: &str, seconds: i64) -> String {
    signed(&json!({"sub": user, "exp": now() + seconds}), TOKEN_SECRET)
}

#[tokio::test(start_paused = true)]
async fn the_connect_reply_says_when_to_refresh() {
    let world = world().await;
    let lines = world.connect_with("c1", &json!({"sub": "anna", "exp": now() + 60})).await;
    assert_eq!((&lines[0]["connect"]["expires"], &lines[0]["connect"]["ttl"]), (&json!(true), &json!(60)));
    let lines = world.connect_with("c2", &json!({"sub": "anna", "exp": now() + 60, "expire_at": now() + 600})).await;
    assert_eq!(lines[0]["connect"]["ttl"], 600);
    let lines = world.connect_with("c3", &json!({"sub": "anna", "exp": now() + 60, "expire_at": 0})).await;
    assert_eq!(lines[0]["connect"].get("expires"), None, "never");
    let lines = world.connect_with("c4", &json!({"sub": "anna"})).await;
    assert_eq!((lines[0]["connect"].get("expires"), lines[0]["connect"].get("ttl")), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_refreshed_connection_goes_on() {
    let world = world().await;
    let client =
        world.connect_with("c1", &json!({"sub": "anna", "exp": now() + 60})).await[0]["connect"]["client"].clone();
    pass(70).await;
    let reply = world.ask("c1", 2, refresh(&expiring("anna", 100))).await;
    assert_eq!((&reply["refresh"]["client"], &reply["refresh"]["ttl"]), (&client, &json!(100)), "within the grace");
    assert!(reply["refresh"]["version"].as_str().unwrap().starts_with("signalbox "));
    pass(60).await;
    world.sweep().await;
    assert_eq!(world.refusal("c1", 3, json!({"subscribe": {"channel": "open:x"}})).await, 0);
    let reply = world.ask("c1", 4, refresh(&token("anna"))).await;
    assert_eq!(reply["refresh"].get("expires"), None, "for ever");
    pass(1000).await;
    world.sweep().await;
    assert_eq!(world.refusal("c1", 5, json!({"publish": {"channel": "open:x", "data": 1}})).await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_new_token_says_of_a_connection_is_shown_from_then_on() {
    let world = world().await;
    world.connect_with("c1", &json!({"sub": "anna", "info": {"v": 1}})).await;
    world.ask("c1", 2, json!({"subscribe": {"channel": "open:x"}})).await;
    let new = signed(&json!({"sub": "anna", "info": {"v": 2}}), TOKEN_SECRET);
    assert_eq!(world.refusal("c1", 3, refresh(&new)).await, 0);
    world.ask("c1", 4, json!({"publish": {"channel": "open:x", "data": 1}})).await;
    assert_eq!(world.pushes("c1", "pub")[0]["info"]["conn_info"], json!({"v": 2}));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_does_not_refresh_ends_the_connection() {
    let world = world().await;
    let cases = [
        ("expired", expiring("anna", -1), disconnect(3005, "connection expired")),
        ("another user's", expiring("berta", 60), disconnect(3500, "invalid token")),
        ("foreign secret", signed(&json!({"sub": "anna"}), "other"), disconnect(3500, "invalid token")),
        ("none", String::new(), disconnect(3501, "bad request")),
        (
            "with subscriptions it has not",
            signed(&json!({"sub": "anna", "channels": ["open:x"]}), TOKEN_SECRET),
            disconnect(3010, "insufficient state"),
        ),
    ];
    for (case, token, expected) in cases {
        world.connected(case, "anna").await;
        let line = world.ask(case, 2, refresh(&token)).await;
        assert_eq!(line, expected, "{case}");
        assert_eq!(world.tables.table.connection(case).await.unwrap(), None, "{case}");
        assert!(world.posts.deleted().contains(&case.to_owned()), "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_connection_has_25_seconds_and_then_ends_with_its_next_message() {
    let world = world().await;
    world.connect_with("c1", &json!({"sub": "anna", "exp": now() + 60})).await;
    world.ask("c1", 2, json!({"subscribe": {"channel": "open:x"}})).await;
    pass(60 + 24).await;
    assert_eq!(world.refusal("c1", 3, json!({"publish": {"channel": "open:x", "data": 1}})).await, 0);
    pass(1).await;
    let line = world.ask("c1", 4, json!({"publish": {"channel": "open:x", "data": 1}})).await;
    assert_eq!(line, disconnect(3005, "connection expired"));
    assert_eq!(world.rows("open:x").await, []);
    // its next message, were it to send one, is from nobody
    assert_eq!(world.refusal("c1", 5, refresh(&expiring("anna", 60))).await, 3011);
}

#[tokio::test(start_paused = true)]
async fn an_expired_connection_that_says_nothing_is_ended_by_the_keeper() {
    let world = world().await;
    world.connect_with("c1", &json!({"sub": "anna", "exp": now() + 60})).await;
    world.connected("c2", "berta").await;
    world.ask("c1", 2, json!({"subscribe": {"channel": "room:x"}})).await;
    world.ask("c2", 2, json!({"subscribe": {"channel": "room:x"}})).await;
    pass(60 + 24).await;
    world.sweep().await;
    assert!(world.pushes("c1", "disconnect").is_empty(), "it may still refresh");
    pass(2).await;
    world.sweep().await;
    assert_eq!(world.pushes("c1", "disconnect"), [json!({"code": 3005, "reason": "connection expired"})]);
    assert_eq!(world.posts.deleted(), ["c1"]);
    assert_eq!(world.pushes("c2", "leave").len(), 1, "and those it leaves are told");
    assert_eq!(world.rows("room:x").await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_expired_connection_gets_no_publication() {
    let world = world().await;
    world.connect_with("c1", &json!({"sub": "anna", "exp": now() + 60})).await;
    world.ask("c1", 2, json!({"subscribe": {"channel": "news:x"}})).await;
    pass(60 + 20).await;
    world.publish("news:x", json!("in time")).await;
    assert_eq!(world.pushes("c1", "pub").len(), 1);
    pass(10).await;
    world.publish("news:x", json!("too late")).await;
    assert_eq!(world.pushes("c1", "pub").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refreshed_subscription_goes_on() {
    let world = world().await;
    world.connected("c1", "anna").await;
    let of = |seconds: i64| subscription_token("anna", "locked:x", &json!({"exp": now() + seconds}));
    let reply = world.ask("c1", 2, json!({"subscribe": {"channel": "locked:x", "token": of(60)}})).await;
    assert_eq!((&reply["subscribe"]["expires"], &reply["subscribe"]["ttl"]), (&json!(true), &json!(60)));
    pass(70).await;
    let reply = world.ask("c1", 3, sub_refresh("locked:x", &of(100))).await;
    assert_eq!(reply, json!({"sub_refresh": {"expires": true, "ttl": 100}}), "within the grace");
    pass(60).await;
    world.sweep().await;
    world.publish("locked:x", json!(1)).await;
    assert_eq!(world.pushes("c1", "pub").len(), 1);
    let forever = subscription_token("anna", "locked:x", &json!({}));
    assert_eq!(world.ask("c1", 4, sub_refresh("locked:x", &forever)).await, json!({"sub_refresh": {}}));
    pass(1000).await;
    world.sweep().await;
    assert_eq!(world.rows("locked:x").await.len(), 1);
    assert!(world.pushes("c1", "unsubscribe").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_does_not_refresh_a_subscription_is_refused() {
    let world = world().await;
    let of =
        |user: &str, channel: &str, seconds: i64| subscription_token(user, channel, &json!({"exp": now() + seconds}));
    let mine = of("anna", "locked:x", 60);
    let cases = [
        ("not subscribed", sub_refresh("locked:y", &of("anna", "locked:y", 60)), 103),
        ("not subscribed to what is not", sub_refresh("nowhere:y", "x"), 103),
        ("no token", sub_refresh("locked:x", ""), 107),
        ("expired", sub_refresh("locked:x", &of("anna", "locked:x", -1)), 110),
        ("no channel", sub_refresh("", &mine), 3501),
        ("garbage", sub_refresh("locked:x", "x"), 3500),
        ("another user's", sub_refresh("locked:x", &of("berta", "locked:x", 60)), 3500),
        ("another channel's", sub_refresh("locked:x", &of("anna", "locked:y", 60)), 3500),
        ("the server's", sub_refresh("open:server", &of("anna", "open:server", 60)), 3501),
    ];
    for (case, request, code) in cases {
        let lines = world.connect_with(case, &json!({"sub": "anna", "channels": ["open:server"]})).await;
        assert!(lines[0]["connect"]["subs"]["open:server"].is_object(), "{lines:?}");
        let begun = world.refusal(case, 2, json!({"subscribe": {"channel": "locked:x", "token": mine}})).await;
        assert_eq!(begun, 0);
        assert_eq!(world.refusal(case, 3, request).await, code, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_subscription_has_25_seconds_and_is_then_over_for_all() {
    let world = world().await;
    world.connected("c1", "anna").await;
    let of = |seconds: i64| subscription_token("anna", "chat:x", &json!({"exp": now() + seconds}));
    world.ask("c1", 2, json!({"subscribe": {"channel": "chat:x", "token": of(60)}})).await;
    world.connected("c2", "berta").await;
    world.ask("c2", 2, json!({"subscribe": {"channel": "chat:x", "join_leave": true}})).await;
    pass(60 + 24).await;
    world.sweep().await;
    assert_eq!(world.refusal("c1", 3, json!({"publish": {"channel": "chat:x", "data": 1}})).await, 0);
    pass(1).await;
    // nobody has swept yet
    assert_eq!(world.refusal("c1", 4, json!({"publish": {"channel": "chat:x", "data": 1}})).await, 103);
    assert_eq!(world.refusal("c1", 5, sub_refresh("chat:x", &of(60))).await, 103);
    let stats = world.ask("c2", 6, json!({"presence_stats": {"channel": "chat:x"}})).await;
    assert_eq!(stats["presence_stats"]["num_clients"], 1);
    world.sweep().await;
    let expired = json!({"code": 2501, "reason": "subscription expired"});
    assert_eq!(world.pushes("c1", "unsubscribe"), [expired], "the SDK asks for a new token and subscribes again");
    assert_eq!(world.pushes("c2", "leave").len(), 1);
    assert!(world.tables.table.connection("c1").await.unwrap().is_some(), "the connection stays");
    let again = json!({"subscribe": {"channel": "chat:x", "token": of(60)}});
    assert_eq!(world.refusal("c1", 7, again).await, 0);
}

/// 10 s for its `connect` to be sent, and 29 s for an invocation: who is told 3502 never comes back. Fails when a `connect` that waits for
/// its invocation does not count.
#[tokio::test(start_paused = true)]
async fn a_socket_that_says_nothing_is_ended_as_stale() {
    let world = world().await;
    world.open("c1").await;
    pass(38).await;
    world.sweep().await;
    assert!(world.posts.lines("c1").is_empty());
    pass(2).await;
    world.sweep().await;
    assert_eq!(world.pushes("c1", "disconnect"), [json!({"code": 3502, "reason": "stale"})]);
    assert_eq!(world.posts.deleted(), ["c1"]);
}

/// API Gateway cuts every connection after two hours, and would cut those that came together together.
#[tokio::test(start_paused = true)]
async fn a_connection_is_asked_to_come_back_before_the_gateway_cuts_it() {
    let world = world().await;
    for n in 0..6 {
        world.connected(&format!("c{n}"), "anna").await;
    }
    pass(89 * 60).await;
    world.sweep().await;
    assert!(world.posts.deleted().is_empty());
    pass(27 * 60).await;
    world.sweep().await;
    for n in 0..6 {
        let push = world.pushes(&format!("c{n}"), "disconnect");
        assert_eq!(push, [json!({"code": 3011, "reason": "force reconnect"})]);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_gone_is_forgotten_by_a_late_disconnect_event_too() {
    let world = world().await;
    world.connect_with("c1", &json!({"sub": "anna", "exp": now() + 60})).await;
    pass(100).await;
    world.sweep().await;
    let event = socket_event("c1", "DISCONNECT", None, None);
    assert_eq!(ws_disconnect::handle(&world.disconnect, event).await.unwrap().status_code, 200);
    assert_eq!(world.pushes("c1", "disconnect").len(), 1);
}
