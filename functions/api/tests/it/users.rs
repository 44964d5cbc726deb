//! `subscribe`, `unsubscribe`, `disconnect`, `refresh`: what is done to a user's connections.

use serde_json::{Value, json};
use signalbox_publishing::{PostError, Scripted};

use crate::world::{World, now};

/// Anna has two connections, Bert one.
async fn with_three() -> World {
    let world = World::new().await;
    for (id, user) in [("a1", "anna"), ("a2", "anna"), ("b", "bert")] {
        world.connect(id, user).await;
    }
    world
}

fn kinds(pushes: &[Value]) -> Vec<&'static str> {
    let all = ["subscribe", "unsubscribe", "pub", "join", "leave", "disconnect"];
    pushes.iter().map(|push| all.into_iter().find(|kind| push.get(kind).is_some()).unwrap_or("?")).collect()
}

#[tokio::test]
async fn a_user_s_connections_are_subscribed_and_told_and_get_what_is_published() {
    let world = with_three().await;
    assert_eq!(world.result("publish", json!({"channel": "news:x", "data": 1})).await["offset"], 1);
    let request = json!({"user": "anna", "channel": "news:x", "info": {"role": "reader"}, "data": {"hello": true}});
    assert_eq!(world.result("subscribe", request).await, json!({}));
    world.result("publish", json!({"channel": "news:x", "data": 2})).await;
    for id in ["a1", "a2"] {
        let pushes = world.pushes(id);
        assert_eq!(pushes[0]["channel"], "news:x");
        let subscribed = &pushes[0]["subscribe"];
        assert_eq!(
            (&subscribed["recoverable"], &subscribed["positioned"]),
            (&json!(true), &json!(true)),
            "{subscribed}"
        );
        assert_eq!((&subscribed["offset"], &subscribed["data"]), (&json!(1), &json!({"hello": true})));
        assert_eq!(world.published(id), [json!(2)]);
        let joins = pushes.iter().filter(|push| push.get("join").is_some()).count();
        assert!((1..=2).contains(&joins), "its own, and the other's if that came later: {pushes:?}");
    }
    assert!(world.pushes("b").is_empty());
    let presence = world.result("presence", json!({"channel": "news:x"})).await["presence"].clone();
    let expected =
        json!({"user": "anna", "client": "client-a1", "conn_info": {"name": "a1"}, "chan_info": {"role": "reader"}});
    assert_eq!((presence.as_object().unwrap().len(), &presence["client-a1"]), (2, &expected));
}

#[tokio::test]
async fn one_client_of_a_user_can_be_meant_and_a_session_is_nobody_s() {
    let world = with_three().await;
    world.result("subscribe", json!({"user": "anna", "client": "client-a2", "channel": "live:x"})).await;
    world.result("subscribe", json!({"user": "anna", "client": "client-b", "channel": "live:x"})).await;
    world.result("subscribe", json!({"user": "anna", "session": "s", "channel": "live:x"})).await;
    world.result("subscribe", json!({"user": "nobody", "channel": "live:x"})).await;
    let counts = ["a1", "a2", "b"].map(|id| world.pushes(id).len());
    assert_eq!(counts, [0, 1, 0]);
    assert_eq!(world.pushes("a2"), [json!({"channel": "live:x", "subscribe": {}})]);

    world.result("unsubscribe", json!({"user": "anna", "client": "client-a1", "channel": "live:x"})).await;
    world.result("unsubscribe", json!({"user": "anna", "session": "s", "channel": "live:x"})).await;
    world.result("disconnect", json!({"user": "anna", "session": "s"})).await;
    world.result("refresh", json!({"user": "anna", "session": "s", "expired": true})).await;
    assert_eq!(world.result("channels", json!({})).await, json!({"channels": {"live:x": {"num_clients": 1}}}));
    world.result("disconnect", json!({"user": "anna", "client": "client-a2"})).await;
    assert!(world.is_there("a1").await && !world.is_there("a2").await);
}

#[tokio::test]
async fn the_anonymous_connections_can_be_meant_too() {
    let world = with_three().await;
    for id in ["x", "y"] {
        world.connect(id, "").await;
    }
    world.result("subscribe", json!({"user": "", "channel": "live:x"})).await;
    assert_eq!(kinds(&world.pushes("x")), ["subscribe"]);
    assert!(world.pushes("a1").is_empty());
    world.result("disconnect", json!({"user": "", "client": "client-y"})).await;
    assert_eq!(kinds(&world.pushes("y")), ["subscribe", "disconnect"]);
    assert!(world.is_there("x").await && world.is_there("b").await && !world.is_there("y").await);
}

#[tokio::test]
async fn a_subscription_recovers_from_the_position_it_is_given() {
    let world = with_three().await;
    let mut epoch = Value::Null;
    for n in 1..=4 {
        epoch = world.result("publish", json!({"channel": "news:x", "data": n})).await["epoch"].take();
    }
    let since = json!({"offset": 2, "epoch": epoch});
    world.result("subscribe", json!({"user": "bert", "channel": "news:x", "recover_since": since})).await;
    assert_eq!(world.published("b"), [json!(3), json!(4)]);
    world.result("publish", json!({"channel": "news:x", "data": 5})).await;
    assert_eq!(world.published("b"), [json!(3), json!(4), json!(5)]);

    let lost = json!({"offset": 2, "epoch": "other"});
    world
        .result("subscribe", json!({"user": "anna", "client": "client-a1", "channel": "news:x", "recover_since": lost}))
        .await;
    assert_eq!(world.pushes("a1")[0]["subscribe"]["offset"], 5);
    assert!(world.published("a1").is_empty());
}

#[tokio::test]
async fn an_override_turns_the_namespace_s_options_on_and_off() {
    let world = with_three().await;
    let off = json!({"presence": {"value": false}, "join_leave": {"value": false}, "force_recovery": {"value": false},
        "force_push_join_leave": {"value": false}});
    world.result("subscribe", json!({"user": "bert", "channel": "news:x", "override": off})).await;
    assert_eq!(world.pushes("b"), [json!({"channel": "news:x", "subscribe": {}})]);
    assert_eq!(world.result("presence", json!({"channel": "news:x"})).await, json!({"presence": {}}));
    let positioned =
        json!({"force_recovery": {"value": false}, "force_positioning": {"value": true}, "join_leave": null});
    world
        .result(
            "subscribe",
            json!({"user": "anna", "client": "client-a1", "channel": "news:x", "override": positioned}),
        )
        .await;
    let subscribed = &world.pushes("a1")[0]["subscribe"];
    assert!(subscribed["positioned"] == true && subscribed.get("recoverable").is_none(), "{subscribed}");
    assert_eq!(world.pushes("b").len(), 1, "the other's join is not pushed to it");
}

#[tokio::test]
async fn subscribing_refuses_what_centrifugo_refuses() {
    let world = with_three().await;
    let bad_request = (107, "bad request".to_owned());
    assert_eq!(world.error("subscribe", json!({"user": "anna"})).await, bad_request);
    assert_eq!(
        world.error("subscribe", json!({"user": "anna", "channel": "live:x", "b64data": "!"})).await,
        bad_request
    );
    assert_eq!(
        world.error("subscribe", json!({"user": "anna", "channel": "live:x", "b64info": "AAEC"})).await,
        bad_request
    );
    let unknown = (102, "unknown channel".to_owned());
    assert_eq!(world.error("subscribe", json!({"user": "anna", "channel": "nothing:x"})).await, unknown);
    assert_eq!(world.error("unsubscribe", json!({"user": "anna", "channel": "nothing:x"})).await, unknown);
    assert_eq!(
        world.result("unsubscribe", json!({"user": "anna"})).await,
        json!({}),
        "a name that nobody is subscribed to"
    );
    let internal = (100, "internal server error".to_owned());
    let expired = json!({"user": "anna", "channel": "live:x", "expire_at": now() - 1});
    assert_eq!(world.error("subscribe", expired.clone()).await, internal);
    let absent = json!({"user": "nobody", "channel": "live:x", "expire_at": now() - 1});
    assert_eq!(world.result("subscribe", absent).await, json!({}), "there is nobody whom it would have expired for");
    assert!(["a1", "a2", "b"].iter().all(|id| world.pushes(id).is_empty()));
}

#[tokio::test]
async fn who_is_subscribed_already_is_an_error_and_the_others_are_subscribed() {
    let world = with_three().await;
    world.subscribe("a1", "live:x", false).await;
    let request = json!({"user": "anna", "channel": "live:x"});
    assert_eq!(world.error("subscribe", request.clone()).await, (100, "internal server error".to_owned()));
    assert!(world.pushes("a1").is_empty());
    assert_eq!(kinds(&world.pushes("a2")), ["subscribe"]);
    world.result("unsubscribe", request.clone()).await;
    assert_eq!(world.result("subscribe", request).await, json!({}), "both can be subscribed again");
    assert_eq!(kinds(&world.pushes("a1")), ["unsubscribe", "subscribe"]);
}

#[tokio::test]
async fn data_and_info_may_come_in_base64() {
    let world = with_three().await;
    // {"a":1} and "i"
    let request = json!({"user": "bert", "channel": "live:x", "b64data": "eyJhIjoxfQ==", "b64info": "Imki", "data": 7, "info": 8});
    world.result("subscribe", request).await;
    assert_eq!(world.pushes("b")[0]["subscribe"]["data"], json!({"a": 1}));
    let presence = world.result("presence", json!({"channel": "live:x"})).await;
    assert_eq!(presence["presence"]["client-b"]["chan_info"], "i");
}

#[tokio::test]
async fn a_subscription_ends_when_it_is_told_to() {
    let world = with_three().await;
    let request = json!({"user": "bert", "channel": "live:x", "expire_at": now() + 3600});
    world.result("subscribe", request).await;
    let (_, own) = world.tables.table.connection_with_subscriptions("b").await.unwrap().unwrap();
    let end = own[0].expires_at.unwrap();
    assert!((now() + 3590..=now() + 3600).contains(&end), "{end}");
}

#[tokio::test]
async fn who_has_too_many_channels_is_disconnected_as_in_centrifugo() {
    let world = World::with(&crate::world::CHANNELS.replacen('{', r#"{"client": {"channel_limit": 2},"#, 1)).await;
    world.connect("a", "anna").await;
    for n in 1..=3 {
        assert_eq!(world.result("subscribe", json!({"user": "anna", "channel": format!("live:{n}")})).await, json!({}));
    }
    assert_eq!(kinds(&world.pushes("a")), ["subscribe", "subscribe", "disconnect"]);
    assert_eq!(world.pushes("a")[2]["disconnect"]["code"], 3505);
    assert!(!world.is_there("a").await);
}

#[tokio::test]
async fn who_is_unsubscribed_is_told_and_gets_nothing_more() {
    let world = with_three().await;
    for id in ["a1", "b"] {
        world.subscribe(id, "news:x", false).await;
    }
    assert_eq!(world.result("unsubscribe", json!({"user": "anna", "channel": "news:x"})).await, json!({}));
    let told = json!({"channel": "news:x", "unsubscribe": {"code": 2000, "reason": "server unsubscribe"}});
    assert_eq!(world.pushes("a1"), std::slice::from_ref(&told));
    assert_eq!(world.pushes("a2"), [told], "it may be about to subscribe");
    world.result("publish", json!({"channel": "news:x", "data": 1})).await;
    assert!(world.published("a1").is_empty());
    assert_eq!(world.published("b"), [json!(1)]);
}

#[tokio::test]
async fn a_disconnect_tells_the_clients_and_removes_what_they_have() {
    let world = with_three().await;
    for id in ["a1", "a2", "b"] {
        world.result("subscribe", json!({"user": if id == "b" { "bert" } else { "anna" }, "client": format!("client-{id}"), "channel": "news:x"})).await;
    }
    assert_eq!(world.result("disconnect", json!({"user": "anna"})).await, json!({}));
    for id in ["a1", "a2"] {
        let last = world.pushes(id).pop().unwrap();
        assert_eq!(last, json!({"disconnect": {"code": 3503, "reason": "force disconnect"}}));
        assert!(!world.is_there(id).await);
    }
    assert_eq!(
        kinds(&world.pushes("b")).iter().filter(|kind| **kind == "leave").count(),
        2,
        "the others learn that they left"
    );
    world.result("publish", json!({"channel": "news:x", "data": 1})).await;
    assert!(world.published("a1").is_empty());
    assert_eq!(world.result("presence_stats", json!({"channel": "news:x"})).await["num_clients"], 1);
    assert_eq!(world.result("disconnect", json!({"user": "anna"})).await, json!({}), "nobody is there any more");
}

#[tokio::test]
async fn a_disconnect_may_have_a_reason_of_its_own_and_spare_clients() {
    let world = with_three().await;
    let request = json!({"user": "anna", "whitelist": ["client-a1"], "disconnect": {"code": 4501, "reason": "bye"}});
    world.result("disconnect", request).await;
    assert!(world.pushes("a1").is_empty());
    assert_eq!(world.pushes("a2"), [json!({"disconnect": {"code": 4501, "reason": "bye"}})]);
    world.result("disconnect", json!({"user": "anna", "disconnect": {"code": 4000}})).await;
    assert_eq!(world.pushes("a1"), [json!({"disconnect": {"code": 4000, "reason": ""}})]);
    assert_eq!(world.result("disconnect", json!({})).await, json!({}));
    assert!(world.is_there("b").await);
}

#[tokio::test]
async fn a_socket_that_cannot_be_told_is_closed_and_keeps_nobody_from_anything() {
    let world = with_three().await;
    let unavailable = || Scripted::Fail(PostError::Unavailable("503".to_owned()));
    world.posts.script("a1", std::iter::repeat_with(unavailable).take(10));
    world.posts.script("a2", [Scripted::Fail(PostError::Gone)]);
    assert_eq!(world.result("disconnect", json!({"user": "anna"})).await, json!({}));
    assert_eq!(world.posts.deleted(), ["a1"]);
    assert!(!world.is_there("a1").await && !world.is_there("a2").await);
}

#[tokio::test]
async fn a_refresh_gives_the_connections_a_new_end() {
    let world = with_three().await;
    let expiry = |id: &'static str| {
        let table = world.tables.table.clone();
        async move { table.connection(id).await.unwrap().unwrap().client().unwrap().clone() }
    };
    let at = now() + 600;
    assert_eq!(world.result("refresh", json!({"user": "anna", "expire_at": at, "info": {"new": 1}})).await, json!({}));
    for id in ["a1", "a2"] {
        assert_eq!((expiry(id).await.expires_at, expiry(id).await.info.as_deref()), (Some(at), Some(r#"{"new":1}"#)));
    }
    assert_eq!(expiry("b").await.expires_at, None);
    world.result("refresh", json!({"user": "anna", "client": "client-a1", "info": {"new": 2}})).await;
    assert_eq!(
        (expiry("a1").await.expires_at, expiry("a2").await.expires_at),
        (None, Some(at)),
        "without an end it has none"
    );
    assert_eq!(expiry("a1").await.info.as_deref(), Some(r#"{"new":1}"#), "Centrifugo leaves the info then");
    let far = json!({"user": "bert", "expire_at": i64::MAX});
    assert_eq!(world.result("refresh", far).await, json!({}));
    assert!(expiry("b").await.expires_at.unwrap() < now() + 5_000_000_000);
}

#[tokio::test]
async fn a_refresh_to_an_end_that_is_over_disconnects() {
    let world = with_three().await;
    world.result("refresh", json!({"user": "anna", "expired": true, "expire_at": now() + 600})).await;
    world.result("refresh", json!({"user": "bert", "expire_at": now() - 1})).await;
    for id in ["a1", "a2", "b"] {
        assert_eq!(world.pushes(id), [json!({"disconnect": {"code": 3005, "reason": "connection expired"}})]);
        assert!(!world.is_there(id).await);
    }
}

#[tokio::test]
async fn a_user_with_many_connections_is_met_whole() {
    let world = World::new().await;
    for n in 0..120 {
        world.connect(&format!("c{n}"), "anna").await;
    }
    world.result("subscribe", json!({"user": "anna", "channel": "live:x"})).await;
    assert_eq!(
        world.result("presence_stats", json!({"channel": "live:x"})).await,
        json!({"num_clients": 120, "num_users": 1})
    );
    world.result("disconnect", json!({"user": "anna"})).await;
    assert_eq!(world.result("info", json!({})).await["nodes"][0]["num_clients"], 0);
}
