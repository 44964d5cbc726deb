//! `subscribe` and `unsubscribe`: who may, what is granted, where it begins. The codes are Centrifugo's.

use serde_json::{Value, json};

use crate::world::{TOKEN_SECRET, World, channels, connect_command, now, signed, subscription_token, token};

fn subscribe(channel: &str) -> Value {
    json!({"subscribe": {"channel": channel}})
}

fn with_token(channel: &str, token: &str) -> Value {
    json!({"subscribe": {"channel": channel, "token": token}})
}

async fn anna() -> World {
    let world = World::with(&channels(&json!({}))).await;
    world.connected("c1", "anna").await;
    world
}

#[tokio::test(start_paused = true)]
async fn names_that_nobody_may_subscribe_to_are_refused_in_the_reference_s_order() {
    let world = anna().await;
    let long = format!("nowhere:{}", "x".repeat(250));
    let cases = [
        ("nowhere:x", 102),
        (long.as_str(), 107),
        ("open:größe", 107),
        ("open:a\nb", 107),
        ("num:12a", 107),
        ("num:12", 0),
        ("locked:x", 103),
        ("bare", 103),
        ("$open:x", 103),
        ("user:x", 103),
        ("user:x#anna", 0),
        ("user:x#berta,anna", 0),
        ("user:x#berta", 103),
        ("open:x#berta", 0),
        ("open:x", 0),
    ];
    for (n, (channel, code)) in (10..).zip(cases) {
        assert_eq!(world.refusal("c1", n, subscribe(channel)).await, code, "{channel}");
    }
    let lines = world.send("c1", r#"{"id":99,"subscribe":{"channel":""}}"#).await;
    assert_eq!(lines, [json!({"push": {"disconnect": {"code": 3501, "reason": "bad request"}}})]);
}

#[tokio::test(start_paused = true)]
async fn kinds_of_subscriptions_that_are_not_served_are_refused() {
    let world = anna().await;
    for (n, kind, code) in [(2, 1, 103), (3, 2, 103), (4, 3, 103), (5, 4, 103), (6, 5, 103), (7, 0, 0)] {
        let request = json!({"subscribe": {"channel": "open:x", "type": kind}});
        assert_eq!(world.refusal("c1", n, request).await, code, "type {kind}");
    }
    assert_eq!(world.refusal("c1", 8, json!({"subscribe": {"channel": "open:y", "delta": "zstd"}})).await, 3501);
}

#[tokio::test(start_paused = true)]
async fn an_anonymous_client_subscribes_only_where_anonymous_ones_may() {
    let mut world = World::with(&channels(&json!({"allow_anonymous_connect_without_token": true}))).await;
    world.default.allow_anonymous = false;
    world.open("c1").await;
    assert_eq!(world.refusal("c1", 1, json!({"connect": {}})).await, 0);
    for (n, channel, code) in [(2, "open:x", 103), (3, "news:x", 0), (4, "anon:x", 0), (5, "user:x#", 103)] {
        let got = world.refusal("c1", n, subscribe(channel)).await;
        // the reference lets an anonymous client into `user:x#`, whose one user is the empty one
        assert!(got == code || channel == "user:x#", "{channel}: {got}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_token_opens_what_the_namespace_does_not() {
    let world = anna().await;
    let at = now();
    let good = |channel: &str| subscription_token("anna", channel, &json!({}));
    for (n, channel) in [(10, "locked:x"), (11, "$open:x"), (12, "bare"), (13, "user:y#berta")] {
        assert_eq!(world.refusal("c1", n, with_token(channel, &good(channel))).await, 0, "{channel}");
    }
    let other_channel = good("locked:z");
    let cases = [
        ("expired", subscription_token("anna", "locked:y", &json!({"exp": at - 1})), 109),
        ("not yet", subscription_token("anna", "locked:y", &json!({"nbf": at + 100})), 109),
        ("garbage", "abc".to_owned(), 103),
        ("foreign secret", signed(&json!({"sub": "anna", "channel": "locked:y"}), "other"), 103),
        ("no channel", signed(&json!({"sub": "anna"}), TOKEN_SECRET), 103),
        ("another channel's", other_channel, 3500),
    ];
    for (n, (case, token, code)) in (20..).zip(cases) {
        assert_eq!(world.refusal("c1", n, with_token("locked:y", &token)).await, code, "{case}");
    }
    // the last one has ended the connection
    for (id, user, claims) in
        [("c2", "berta", json!({})), ("c3", "", json!({})), ("c4", "anna", json!({"client": "somebody-else"}))]
    {
        world.connected(id, "anna").await;
        let token = subscription_token(user, "locked:y", &claims);
        assert_eq!(world.refusal(id, 2, with_token("locked:y", &token)).await, 3500, "{user} {claims}");
        assert!(world.posts.deleted().contains(&id.to_owned()));
    }
    let client = world.connected("c5", "anna").await["client"].clone();
    let token = subscription_token("anna", "locked:y", &json!({ "client": client }));
    assert_eq!(world.refusal("c5", 2, with_token("locked:y", &token)).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_token_s_data_time_info_and_overrides_are_its_subscription_s() {
    let world = anna().await;
    let claims = json!({
        "exp": now() + 60, "info": {"seat": 4}, "data": {"hello": 1},
        "override": {"presence": {"value": true}, "force_recovery": {"value": true}, "force_push_join_leave": {"value": true}}
    });
    let token = subscription_token("anna", "locked:x", &claims);
    let reply = world.ask("c1", 2, with_token("locked:x", &token)).await;
    let result = &reply["subscribe"];
    assert_eq!((&result["data"], &result["expires"], &result["ttl"]), (&json!({"hello": 1}), &json!(true), &json!(60)));
    assert_eq!((&result["recoverable"], &result["positioned"]), (&json!(true), &json!(true)));
    let row = &world.rows("locked:x").await[0];
    assert!(row.presence && row.join_leave && row.ready);
    assert_eq!(row.chan_info.as_deref(), Some(r#"{"seat":4}"#));

    // what is forced by the namespace can be taken back
    let claims = json!({"override": {"force_recovery": {"value": false}, "force_positioning": {"value": false}}});
    let token = subscription_token("anna", "news:x", &claims);
    let reply = world.ask("c1", 3, with_token("news:x", &token)).await;
    assert_eq!(reply["subscribe"], json!({}));
    assert_eq!(reply["subscribe"].get("expires"), None);
}

#[tokio::test(start_paused = true)]
async fn subscribing_twice_is_an_error_unless_an_unsubscribe_may_be_on_its_way() {
    let world = anna().await;
    assert_eq!(world.refusal("c1", 2, subscribe("open:x")).await, 0);
    assert_eq!(world.refusal("c1", 3, subscribe("open:x")).await, 105);
    // 4 may be an unsubscribe that this one has overtaken, and then it loses
    assert_eq!(world.refusal("c1", 5, subscribe("open:x")).await, 0);
    assert_eq!(world.refusal("c1", 4, json!({"unsubscribe": {"channel": "open:x"}})).await, 0);
    assert_eq!(world.rows("open:x").await.len(), 1, "the later subscribe stands");
    assert_eq!(world.refusal("c1", 6, json!({"unsubscribe": {"channel": "open:x"}})).await, 0);
    assert_eq!(world.rows("open:x").await.len(), 0);
    // and a subscribe that an unsubscribe has overtaken does not come back to life; were it alive for the SDK, it would try again
    assert_eq!(world.refusal("c1", 9, json!({"unsubscribe": {"channel": "open:y"}})).await, 0);
    let late = world.ask("c1", 8, subscribe("open:y")).await;
    assert_eq!(late["error"], json!({"code": 100, "message": "internal server error", "temporary": true}));
    assert_eq!(world.rows("open:y").await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn within_a_frame_commands_see_what_those_before_them_did() {
    let world = anna().await;
    let frame = [
        r#"{"id":2,"subscribe":{"channel":"open:x"}}"#,
        r#"{"id":3,"subscribe":{"channel":"open:x"}}"#,
        r#"{"id":4,"unsubscribe":{"channel":"open:x"}}"#,
        r#"{"id":5,"subscribe":{"channel":"open:x"}}"#,
    ]
    .join("\n");
    let lines = world.send("c1", &frame).await;
    assert_eq!(lines[0], json!({"id": 2, "subscribe": {}}));
    assert_eq!((&lines[1]["id"], &lines[1]["error"]["code"]), (&json!(3), &json!(105)));
    assert_eq!(lines[2..], [json!({"id": 4, "unsubscribe": {}}), json!({"id": 5, "subscribe": {}})]);
    assert_eq!(world.posts.frames("c1").len(), 2, "one message for connect, one for these");
    assert_eq!(world.rows("open:x").await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_has_no_more_channels_than_it_may_have() {
    let world = World::with(&channels(&json!({"channel_limit": 2}))).await;
    world.connected("c1", "anna").await;
    assert_eq!(world.refusal("c1", 2, subscribe("open:a")).await, 0);
    assert_eq!(world.refusal("c1", 3, subscribe("open:b")).await, 0);
    assert_eq!(world.refusal("c1", 4, subscribe("nowhere:c")).await, 106, "the limit comes before the name");
    assert_eq!(world.refusal("c1", 5, json!({"unsubscribe": {"channel": "open:a"}})).await, 0);
    assert_eq!(world.refusal("c1", 6, subscribe("open:c")).await, 0);
}

#[tokio::test(start_paused = true)]
async fn positions_and_join_leave_are_granted_to_those_who_may_have_them() {
    let world = anna().await;
    let all = json!({"positioned": true, "recoverable": true, "join_leave": true});
    let ask = |channel: &str| {
        let mut request = all.clone();
        request["channel"] = json!(channel);
        json!({ "subscribe": request })
    };
    let open = world.ask("c1", 2, ask("open:x")).await;
    assert_eq!(open["subscribe"], json!({}), "not an error: it is not set");
    let chat = world.ask("c1", 3, ask("chat:x")).await;
    assert_eq!((&chat["subscribe"]["positioned"], &chat["subscribe"]["recoverable"]), (&json!(true), &json!(true)));
    assert_eq!(chat["subscribe"]["epoch"].as_str().map(str::is_empty), Some(false));
    assert!(world.rows("chat:x").await[0].join_leave, "who may ask for presence may have join and leave");
    // it has asked for none of it
    let chat = world.ask("c1", 4, subscribe("chat:y")).await;
    assert_eq!(chat["subscribe"], json!({}));
    assert!(!world.rows("chat:y").await[0].join_leave);
    let news = world.ask("c1", 5, subscribe("news:x")).await;
    assert_eq!((&news["subscribe"]["positioned"], &news["subscribe"]["recoverable"]), (&json!(true), &json!(true)));
}

#[tokio::test(start_paused = true)]
async fn recovery_brings_what_was_missed_or_says_that_it_cannot() {
    let world = anna().await;
    let first = world.ask("c1", 2, subscribe("news:x")).await;
    let epoch = first["subscribe"]["epoch"].clone();
    for n in 1..=4 {
        world.publish("news:x", json!({ "n": n })).await;
    }
    let recover = |offset: u64, epoch: &Value, flag: u32| json!({"subscribe": {"channel": "news:x", "recover": true, "offset": offset, "epoch": epoch, "flag": flag}});
    let ask = async |n: u32, request: Value| {
        let id = format!("r{n}");
        world.connected(&id, "anna").await;
        world.ask(&id, 2, request).await
    };
    let reply = ask(1, recover(2, &epoch, 0)).await;
    let result = &reply["subscribe"];
    assert_eq!(
        (&result["was_recovering"], &result["recovered"], &result["offset"]),
        (&json!(true), &json!(true), &json!(2))
    );
    let offsets: Vec<_> = result["publications"].as_array().unwrap().iter().map(|p| p["offset"].clone()).collect();
    assert_eq!(offsets, [json!(3), json!(4)]);
    // up to date: recovered, and nothing to bring
    let reply = ask(2, recover(4, &epoch, 0)).await;
    assert_eq!((&reply["subscribe"]["recovered"], reply["subscribe"].get("publications")), (&json!(true), None));
    // `since: {}` of a first subscribe
    let reply = ask(3, recover(0, &json!(""), 0)).await;
    assert_eq!(reply["subscribe"]["publications"].as_array().unwrap().len(), 4);
    for (n, offset, epoch) in [(4, 2, &json!("other")), (5, 9, &epoch), (6, 2, &json!("_"))] {
        let reply = ask(n, recover(offset, epoch, 0)).await;
        let result = &reply["subscribe"];
        assert_eq!(
            (&result["was_recovering"], result.get("recovered"), result.get("publications")),
            (&json!(true), None, None)
        );
        assert_eq!(result["offset"], 4, "where the stream is now");
        // who has asked to rather be refused is, and has no subscription
        let refused = ask(n + 10, recover(offset, epoch, 2)).await;
        assert_eq!(refused["error"]["code"], 112);
        assert!(world.rows("news:x").await.iter().all(|row| row.connection_id != format!("r{}", n + 10)));
    }
    // more than the history holds is never recovered in part
    for n in 5..=7 {
        world.publish("news:x", json!({ "n": n })).await;
    }
    let reply = ask(7, recover(1, &epoch, 0)).await;
    assert_eq!((reply["subscribe"].get("recovered"), reply["subscribe"].get("publications")), (None, None));
}

#[tokio::test(start_paused = true)]
async fn no_more_is_recovered_than_the_limit() {
    let world = World::with(&channels(&json!({"recovery_max_publication_limit": 2}))).await;
    world.connected("c1", "anna").await;
    for n in 0..4 {
        world.publish("news:x", json!(n)).await;
    }
    for (n, offset, recovered) in [(2, 2, true), (4, 1, false)] {
        let request = json!({"subscribe": {"channel": "news:x", "recover": true, "offset": offset}});
        let reply = world.ask("c1", n, request).await;
        assert_eq!(reply["subscribe"]["recovered"].as_bool().unwrap_or(false), recovered, "{offset}");
        world.ask("c1", n + 1, json!({"unsubscribe": {"channel": "news:x"}})).await;
    }
}

#[tokio::test(start_paused = true)]
async fn in_cache_mode_the_newest_comes_unasked_and_nothing_else() {
    let world = anna().await;
    let empty = world.ask("c1", 2, subscribe("doc:x")).await;
    let result = &empty["subscribe"];
    assert_eq!((&result["was_recovering"], result.get("recovered")), (&json!(true), None), "there is none yet");
    for n in 1..=2 {
        world.publish("doc:x", json!({ "n": n })).await;
    }
    world.connected("c2", "berta").await;
    let reply = world.ask("c2", 2, subscribe("doc:x")).await;
    let result = &reply["subscribe"];
    assert_eq!(result["recovered"], true);
    assert_eq!(result["publications"], json!([{"data": {"n": 2}, "offset": 2}]));
    // a client that is there already gets nothing
    world.connected("c3", "carl").await;
    let request = json!({"subscribe": {"channel": "doc:x", "recover": true, "offset": 2, "epoch": result["epoch"]}});
    let reply = world.ask("c3", 2, request).await;
    assert_eq!((&reply["subscribe"]["recovered"], reply["subscribe"].get("publications")), (&json!(true), None));
}

#[tokio::test(start_paused = true)]
async fn filters_are_for_namespaces_that_allow_them_and_must_be_filters() {
    let world = anna().await;
    let filter = json!({"key": "team", "cmp": "eq", "val": "red"});
    let ask = |channel: &str, tf: &Value| json!({"subscribe": {"channel": channel, "tf": tf}});
    assert_eq!(world.refusal("c1", 2, ask("open:x", &filter)).await, 107);
    assert_eq!(world.refusal("c1", 3, ask("news:x", &json!({"op": "not", "nodes": []}))).await, 107);
    assert_eq!(world.refusal("c1", 4, ask("news:x", &json!({"key": "a", "cmp": "like", "val": "b"}))).await, 107);
    assert_eq!(world.refusal("c1", 5, ask("news:x", &filter)).await, 0);
    for (n, team) in (1..).zip(["blue", "red", "blue", "red"]) {
        world.publish_tagged("news:x", json!(n), &[("team", team)]).await;
    }
    let seen: Vec<_> =
        world.pushes("c1", "pub").iter().map(|push| (push["data"].clone(), push["offset"].clone())).collect();
    assert_eq!(seen, [(json!(2), json!(2)), (json!(4), json!(4))], "what is filtered out takes an offset");
    // and recovery filters too
    world.connected("c2", "berta").await;
    let request = json!({"subscribe": {"channel": "news:x", "recover": true, "offset": 1, "tf": filter}});
    let reply = world.ask("c2", 2, request).await;
    let offsets: Vec<_> =
        reply["subscribe"]["publications"].as_array().unwrap().iter().map(|one| one["offset"].clone()).collect();
    assert_eq!((&reply["subscribe"]["recovered"], offsets), (&json!(true), vec![json!(2), json!(4)]));
}

#[tokio::test(start_paused = true)]
async fn a_delta_is_negotiated_and_then_every_payload_is_text() {
    let world = anna().await;
    let request = json!({"subscribe": {"channel": "news:x", "delta": "fossil"}});
    assert_eq!(world.ask("c1", 2, request).await["subscribe"]["delta"], true);
    let declined = world.ask("c1", 3, json!({"subscribe": {"channel": "chat:x", "delta": "fossil"}})).await;
    assert_eq!(declined["subscribe"].get("delta"), None);
    world.connected("c2", "berta").await;
    world.ask("c2", 2, subscribe("news:x")).await;
    let document =
        |n: u32| json!({"n": n, "text": "the same text again and again, long enough to make a delta worth its while"});
    world.publish("news:x", document(1)).await;
    world.publish("news:x", document(2)).await;
    let pushes = world.pushes("c1", "pub");
    let first = pushes[0]["data"].as_str().unwrap();
    assert_eq!((serde_json::from_str::<Value>(first).unwrap(), pushes[0].get("delta")), (document(1), None));
    assert_eq!(pushes[1]["delta"], true);
    let patch = pushes[1]["data"].as_str().unwrap();
    let whole = signalbox_fossil::apply(first.as_bytes(), patch.as_bytes()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&whole).unwrap(), document(2));
    assert_eq!(world.pushes("c2", "pub")[1]["data"], document(2), "who has not asked gets it as it is");
}

#[tokio::test(start_paused = true)]
async fn more_than_a_message_holds_is_recovered_in_pushes() {
    let world = anna().await;
    let big = |n: u32| json!({"n": n, "text": "x".repeat(60 * 1024)});
    for n in 1..=4 {
        world.publish("news:x", big(n)).await;
    }
    let request = json!({"id": 2, "subscribe": {"channel": "news:x", "recover": true}});
    let lines = world.send("c1", &request.to_string()).await;
    assert_eq!((&lines[0]["id"], &lines[0]["subscribe"]["recovered"]), (&json!(2), &json!(true)));
    let replied = lines[0]["subscribe"]["publications"].as_array().unwrap().iter();
    let pushed = lines[1..].iter().map(|line| &line["push"]["pub"]);
    let seen: Vec<_> = replied.chain(pushed).map(|one| one["data"]["n"].clone()).collect();
    assert_eq!(seen, [1, 2, 3, 4], "in order, once");
    assert!(world.posts.frames("c1").iter().all(|frame| frame.len() <= 128 * 1024));
    // and it goes on from there
    world.publish("news:x", json!("after")).await;
    assert_eq!(world.pushes("c1", "pub").last().unwrap()["offset"], 5);
}

/// Its `$connect` row is there before its first message is.
#[tokio::test(start_paused = true)]
async fn a_subscribe_that_overtakes_connect_waits_and_then_is_to_try_again() {
    let world = World::with(&channels(&json!({}))).await;
    world.open("c1").await;
    let connect = connect_command(1, &token("anna"));
    let (subscribed, connected) =
        tokio::join!(world.send("c1", r#"{"id":2,"subscribe":{"channel":"open:x"}}"#), async {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            world.send("c1", &connect).await
        });
    assert!(connected[0]["connect"].is_object());
    assert!(subscribed.contains(&json!({"id": 2, "subscribe": {}})), "{subscribed:?}");

    world.open("c2").await;
    let started = tokio::time::Instant::now();
    let late = world.ask("c2", 2, subscribe("open:x")).await;
    assert_eq!(late["error"], json!({"code": 100, "message": "internal server error", "temporary": true}));
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "before the SDK gives up");
}

#[tokio::test(start_paused = true)]
async fn unsubscribe_is_never_an_error() {
    let world = anna().await;
    let long = "x".repeat(300);
    for (n, channel) in (2..).zip(["open:x", "nowhere:x", "größe", &long]) {
        let reply = world.ask("c1", n, json!({"unsubscribe": {"channel": channel}})).await;
        assert_eq!(reply, json!({"unsubscribe": {}}), "{channel}: an error would make the SDK reconnect");
    }
    assert_eq!(world.refusal("c1", 9, json!({"unsubscribe": {}})).await, 3501);
}

#[tokio::test(start_paused = true)]
async fn who_is_unsubscribed_gets_nothing_more() {
    let world = anna().await;
    world.ask("c1", 2, subscribe("news:x")).await;
    world.publish("news:x", json!(1)).await;
    world.ask("c1", 3, json!({"unsubscribe": {"channel": "news:x"}})).await;
    world.publish("news:x", json!(2)).await;
    assert_eq!(world.pushes("c1", "pub").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn insecure_allows_everything_but_private_channels() {
    let world = World::with(&channels(&json!({"insecure": true}))).await;
    world.open("c1").await;
    let lines = world.send("c1", r#"{"id":1,"connect":{}}"#).await;
    assert!(lines[0]["connect"].is_object(), "{lines:?}");
    assert_eq!(world.refusal("c1", 2, subscribe("locked:x")).await, 0);
    assert_eq!(world.refusal("c1", 3, subscribe("$locked:x")).await, 103);
    assert_eq!(world.refusal("c1", 4, json!({"publish": {"channel": "locked:x", "data": 1}})).await, 0);
    assert_eq!(world.refusal("c1", 5, json!({"history": {"channel": "locked:x"}})).await, 0);
    assert_eq!(world.refusal("c1", 6, json!({"presence": {"channel": "locked:x"}})).await, 0);
    let lines = world.connect_with("c2", &json!({"sub": "anna", "exp": now() + 60})).await;
    assert_eq!(lines[0]["connect"].get("expires"), None, "connections do not expire");
}
