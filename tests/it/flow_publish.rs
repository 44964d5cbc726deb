//! `publish`, `history`, `presence`, `presence_stats`, `rpc`, and joins and leaves.

use serde_json::{Value, json};

use crate::world::{World, channels, now, socket_event, subscription_token};

async fn world() -> World {
    World::with(&channels(&json!({}))).await
}

fn subscribe(channel: &str) -> Value {
    json!({"subscribe": {"channel": channel}})
}

fn publish(channel: &str, data: &Value) -> Value {
    json!({"publish": {"channel": channel, "data": data}})
}

#[tokio::test(start_paused = true)]
async fn publishing_needs_a_name_data_and_a_permission_in_this_order() {
    let world = world().await;
    world.connected("c1", "anna").await;
    let cases = [
        (publish("nowhere:x", &json!(1)), 102),
        (publish("num:abc", &json!(1)), 107),
        (publish(&format!("open:{}", "x".repeat(255)), &json!(1)), 107),
        (json!({"publish": {"channel": "locked:x"}}), 107),
        (publish("locked:x", &Value::Null), 107),
        (publish("obj:x", &json!([1])), 107),
        (publish("obj:x", &json!({"a": 1})), 0),
        (publish("locked:x", &json!(1)), 103),
        (publish("chat:x", &json!(1)), 103),
        (publish("open:x", &json!("text")), 0),
        (publish("open:x", &json!(false)), 0),
        (json!({"publish": {"channel": "open:x", "data": 1, "type": 1}}), 103),
    ];
    for (n, (request, code)) in (2..).zip(cases) {
        let told = request.to_string();
        assert_eq!(world.refusal("c1", n, request).await, code, "{told}");
    }
    assert_eq!(world.ask("c1", 90, publish("open:x", &json!(1))).await, json!({"publish": {}}));
    assert_eq!(world.refusal("c1", 91, json!({"publish": {"data": 1}})).await, 3501);
}

#[tokio::test(start_paused = true)]
async fn anonymous_clients_publish_and_read_only_where_anonymous_ones_may() {
    let world = World::with(&channels(&json!({"allow_anonymous_connect_without_token": true}))).await;
    world.open("c1").await;
    world.ask("c1", 1, json!({"connect": {}})).await;
    for (n, method) in (2..).step_by(4).zip(["publish", "history", "presence", "presence_stats"]) {
        let ask = |channel: &str| json!({method: {"channel": channel, "data": 1}});
        let closed = if method == "publish" { "open:x" } else { "chat:x" };
        assert_eq!(world.refusal("c1", n, ask(closed)).await, 103, "{method}");
        assert_eq!(world.refusal("c1", n + 1, ask("anon:x")).await, 0, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_s_permissions_end_with_its_subscription() {
    let world = world().await;
    world.connected("c1", "anna").await;
    let all = ["publish", "history", "presence", "presence_stats"];
    let ask = |method: &str| json!({method: {"channel": "chat:x", "data": 1}});
    for (step, code) in [("before", 103), ("subscribe", 0), ("unsubscribe", 103)] {
        let at = match step {
            "subscribe" => 20,
            "unsubscribe" => 40,
            _ => 10,
        };
        if step != "before" {
            assert_eq!(world.refusal("c1", at - 1, json!({step: {"channel": "chat:x"}})).await, 0);
        }
        for (n, method) in (at..).zip(all) {
            assert_eq!(world.refusal("c1", n, ask(method)).await, code, "{step} {method}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_client_publishes_names_it_and_reaches_it_before_the_reply() {
    let world = world().await;
    let lines = world.connect_with("c1", &json!({"sub": "anna", "info": {"name": "Anna"}})).await;
    let client = lines[0]["connect"]["client"].clone();
    let token = subscription_token("anna", "chat:x", &json!({"info": {"seat": 4}}));
    world.ask("c1", 2, json!({"subscribe": {"channel": "chat:x", "token": token}})).await;
    let lines = world.send("c1", r#"{"id":3,"publish":{"channel":"chat:x","data":{"hi":1}}}"#).await;
    let info = json!({"user": "anna", "client": client, "conn_info": {"name": "Anna"}, "chan_info": {"seat": 4}});
    let expected = json!({"push": {"channel": "chat:x", "pub": {"data": {"hi": 1}, "offset": 1, "info": info}}});
    assert_eq!(lines, [expected, json!({"id": 3, "publish": {}})]);
    // where it is not subscribed nothing is known of it but the connection
    world.connected("c2", "berta").await;
    world.ask("c2", 2, subscribe("open:x")).await;
    world.ask("c1", 4, publish("open:x", &json!(1))).await;
    let info = json!({"user": "anna", "client": client, "conn_info": {"name": "Anna"}});
    assert_eq!(world.pushes("c2", "pub"), [json!({"data": 1, "info": info})]);
}

#[tokio::test(start_paused = true)]
async fn history_is_for_those_who_may_where_there_is_one() {
    let world = world().await;
    world.connected("c1", "anna").await;
    let cases =
        [("nowhere:x", 102), ("num:abc", 107), ("open:x", 108), ("locked:x", 103), ("chat:x", 103), ("news:x", 0)];
    for (n, (channel, code)) in (2..).zip(cases) {
        assert_eq!(world.refusal("c1", n, json!({"history": {"channel": channel}})).await, code, "{channel}");
    }
    assert_eq!(world.refusal("c1", 20, json!({"history": {}})).await, 3501);
}

#[tokio::test(start_paused = true)]
async fn history_comes_in_pages_from_a_position_either_way() {
    let world = world().await;
    world.connected("c1", "anna").await;
    for n in 1..=5 {
        world.publish("news:x", json!({ "n": n })).await;
    }
    let mut command = 1;
    let mut ask = async |request: Value| {
        command += 1;
        let mut request = request;
        request["channel"] = json!("news:x");
        world.ask("c1", command, json!({ "history": request })).await["history"].clone()
    };
    let offsets = |page: &Value| -> Vec<u64> {
        let publications = page["publications"].as_array().map(Vec::as_slice).unwrap_or_default();
        publications.iter().map(|one| one["offset"].as_u64().unwrap()).collect()
    };
    let top = ask(json!({})).await;
    let epoch = top["epoch"].clone();
    assert_eq!((offsets(&top), &top["offset"]), (vec![], &json!(5)), "limit 0: the position alone");
    for (request, expected) in [
        (json!({"limit": -1}), vec![1, 2, 3, 4, 5]),
        (json!({"limit": 1000}), vec![1, 2, 3, 4, 5]),
        (json!({"limit": 2}), vec![1, 2]),
        (json!({"limit": 2, "reverse": true}), vec![5, 4]),
        (json!({"limit": 2, "since": {"offset": 2, "epoch": epoch}}), vec![3, 4]),
        (json!({"limit": -1, "since": {"offset": 3}}), vec![4, 5]),
        (json!({"limit": -1, "since": {"offset": 3, "epoch": epoch}, "reverse": true}), vec![2, 1]),
        (json!({"limit": -1, "since": {"offset": 5, "epoch": epoch}}), vec![]),
    ] {
        let told = request.to_string();
        let page = ask(request).await;
        assert_eq!((offsets(&page), &page["epoch"], &page["offset"]), (expected, &epoch, &json!(5)), "{told}");
    }
    let lost = world.refusal(
        "c1",
        90,
        json!({"history": {"channel": "news:x", "limit": 1, "since": {"offset": 1, "epoch": "x"}}}),
    );
    assert_eq!(lost.await, 112);
    // as large as a message, and no more: who wants the rest asks on
    for n in 1..=4 {
        world.publish("chat:x", json!({"n": n, "text": "x".repeat(50 * 1024)})).await;
    }
    world.ask("c1", 91, subscribe("chat:x")).await;
    let page = world.ask("c1", 92, json!({"history": {"channel": "chat:x", "limit": -1}})).await;
    let read = offsets(&page["history"]);
    assert!(!read.is_empty() && read.len() < 4, "{read:?}");
    assert!(page.to_string().len() <= 128 * 1024);
}

#[tokio::test(start_paused = true)]
async fn history_is_no_longer_than_the_limit() {
    let world = World::with(&channels(&json!({"history_max_publication_limit": 2}))).await;
    world.connected("c1", "anna").await;
    for n in 0..4 {
        world.publish("news:x", json!(n)).await;
    }
    for (n, limit) in [(2, -1), (3, 4)] {
        let reply = world.ask("c1", n, json!({"history": {"channel": "news:x", "limit": limit}})).await;
        assert_eq!(reply["history"]["publications"].as_array().unwrap().len(), 2, "{limit}");
    }
}

#[tokio::test(start_paused = true)]
async fn presence_is_for_those_who_may_where_there_is_any() {
    let world = world().await;
    world.connected("c1", "anna").await;
    let cases = [("nowhere:x", 102), ("num:abc", 107), ("open:x", 108), ("locked:x", 103), ("chat:x", 103)];
    for (n, (channel, code)) in (2..).zip(cases) {
        for (m, method) in (0..).zip(["presence", "presence_stats"]) {
            assert_eq!(world.refusal("c1", 2 * n + m, json!({method: {"channel": channel}})).await, code, "{channel}");
        }
    }
    for (id, method) in [("c2", "presence"), ("c3", "presence_stats")] {
        world.connected(id, "anna").await;
        assert_eq!(world.refusal(id, 20, json!({method: {}})).await, 3501);
    }
}

#[tokio::test(start_paused = true)]
async fn presence_names_every_connection_and_counts_users() {
    let world = world().await;
    let mut clients = Vec::new();
    for (id, user) in [("c1", "anna"), ("c2", "anna"), ("c3", "berta")] {
        let lines = world.connect_with(id, &json!({"sub": user, "info": {"of": user}})).await;
        clients.push(lines[0]["connect"]["client"].as_str().unwrap().to_owned());
        assert_eq!(world.refusal(id, 2, subscribe("chat:x")).await, 0);
    }
    let reply = world.ask("c1", 3, json!({"presence": {"channel": "chat:x"}})).await;
    let presence = reply["presence"]["presence"].as_object().unwrap();
    assert_eq!(presence.len(), 3);
    let expected = json!({"user": "berta", "client": clients[2], "conn_info": {"of": "berta"}});
    assert_eq!(presence[&clients[2]], expected);
    let stats = world.ask("c1", 4, json!({"presence_stats": {"channel": "chat:x"}})).await;
    assert_eq!(stats["presence_stats"], json!({"num_clients": 3, "num_users": 2}));
    // gone is gone
    ws_disconnect::handle(&world.disconnect, socket_event("c3", "DISCONNECT", None, None)).await.unwrap();
    let stats = world.ask("c1", 5, json!({"presence_stats": {"channel": "chat:x"}})).await;
    assert_eq!(stats["presence_stats"], json!({"num_clients": 2, "num_users": 1}));
    // SDKs read the key of an empty answer too
    world.connected("c4", "carl").await;
    let token = subscription_token("carl", "chat:y", &json!({"override": {"presence": {"value": false}}}));
    assert_eq!(world.refusal("c4", 2, json!({"subscribe": {"channel": "chat:y", "token": token}})).await, 0);
    let empty = world.ask("c4", 3, json!({"presence": {"channel": "chat:y"}})).await;
    assert_eq!(empty, json!({"presence": {"presence": {}}}));
    let none = world.ask("c4", 4, json!({"presence_stats": {"channel": "chat:y"}})).await;
    assert_eq!(none, json!({"presence_stats": {"num_clients": 0, "num_users": 0}}));
}

#[tokio::test(start_paused = true)]
async fn joins_and_leaves_reach_those_who_want_them_once() {
    let world = world().await;
    let anna = world.connected("c1", "anna").await["client"].clone();
    assert_eq!(world.refusal("c1", 2, subscribe("room:x")).await, 0);
    let info = |user: &str, client: &Value| json!({"info": {"user": user, "client": client}});
    assert_eq!(world.pushes("c1", "join"), [info("anna", &anna)], "its own too");
    let berta = world.connected("c2", "berta").await["client"].clone();
    let lines = world.send("c2", r#"{"id":2,"subscribe":{"channel":"room:x"}}"#).await;
    assert_eq!(lines[0]["id"], 2, "the reply comes before any push");
    assert_eq!(world.pushes("c1", "join").last(), Some(&info("berta", &berta)));
    // every way to go
    world.ask("c2", 3, json!({"unsubscribe": {"channel": "room:x"}})).await;
    world.ask("c2", 4, json!({"unsubscribe": {"channel": "room:x"}})).await;
    assert_eq!(world.pushes("c1", "leave"), [info("berta", &berta)]);
    world.ask("c2", 5, subscribe("room:x")).await;
    let gone = || socket_event("c2", "DISCONNECT", None, None);
    ws_disconnect::handle(&world.disconnect, gone()).await.unwrap();
    ws_disconnect::handle(&world.disconnect, gone()).await.unwrap();
    assert_eq!(world.pushes("c1", "leave").len(), 2);
    world.connected("c3", "carl").await;
    world.ask("c3", 2, subscribe("room:x")).await;
    assert_eq!(world.refusal("c3", 3, json!({"send": {"data": 1}})).await, 3508);
    assert_eq!(world.pushes("c1", "leave").len(), 3);
    assert_eq!(world.pushes("c1", "join").len(), 4);
    // `chat` announces, and pushes only to those who ask
    world.connected("c4", "dora").await;
    world.ask("c4", 2, subscribe("chat:x")).await;
    world.connected("c5", "emil").await;
    world.ask("c5", 2, json!({"subscribe": {"channel": "chat:x", "join_leave": true}})).await;
    assert_eq!((world.pushes("c4", "join").len(), world.pushes("c5", "join").len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn an_rpc_method_that_is_none_is_not_available() {
    let world = world().await;
    world.connected("c1", "anna").await;
    assert_eq!(world.refusal("c1", 2, json!({"rpc": {"method": "getCurrentPrice", "data": 1}})).await, 108);
    assert_eq!(world.refusal("c1", 3, json!({"rpc": {}})).await, 108);
    // the snapshot is for those who may subscribe to what it is a snapshot of, which has no namespace here
    assert_eq!(world.refusal("c1", 4, json!({"rpc": {"method": "status.snapshot"}})).await, 102);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_larger_than_a_message_is_refused() {
    let world = world().await;
    let info = "x".repeat(20 * 1024);
    for n in 0..7 {
        let id = format!("c{n}");
        let lines = world.connect_with(&id, &json!({"sub": "anna", "info": info, "exp": now() + 60})).await;
        assert!(lines[0]["connect"].is_object(), "{}", lines[0]);
        assert_eq!(world.refusal(&id, 2, subscribe("chat:x")).await, 0);
    }
    assert_eq!(world.refusal("c1", 3, json!({"presence": {"channel": "chat:x"}})).await, 106);
    let stats = world.ask("c1", 4, json!({"presence_stats": {"channel": "chat:x"}})).await;
    assert_eq!(stats["presence_stats"], json!({"num_clients": 7, "num_users": 1}));
}
