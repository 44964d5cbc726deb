//! `presence`, `presence_stats`, `history`, `history_remove`, `channels`, `info`, `rpc`.

use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn presence_tells_who_is_there() {
    let world = World::new().await;
    assert_eq!(world.result("presence", json!({"channel": "big:x"})).await, json!({"presence": {}}));
    assert_eq!(
        world.result("presence_stats", json!({"channel": "big:x"})).await,
        json!({"num_clients": 0, "num_users": 0})
    );
    for (id, user) in [("a1", "anna"), ("a2", "anna"), ("b", "bert"), ("nobody", "")] {
        world.connect(id, user).await;
        world.subscribe(id, "big:x", false).await;
    }
    let presence = world.result("presence", json!({"channel": "big:x"})).await;
    let clients: Vec<_> = presence["presence"].as_object().unwrap().keys().collect();
    assert_eq!(clients, ["client-a1", "client-a2", "client-b", "client-nobody"]);
    assert_eq!(presence["presence"]["client-b"], json!({"user": "bert", "client": "client-b"}));
    assert_eq!(presence["presence"]["client-nobody"]["user"], "");
    let stats = world.result("presence_stats", json!({"channel": "big:x"})).await;
    assert_eq!(stats, json!({"num_clients": 4, "num_users": 3}));
}

#[tokio::test]
async fn who_is_told_that_it_is_subscribed_is_present_from_then_on() {
    let world = World::new().await;
    world.connect("a", "anna").await;
    let catch_up = world.begin_subscribe("a", "news:x", false).await;
    let presence = world.result("presence", json!({"channel": "news:x"})).await;
    assert_eq!(presence, json!({"presence": {"client-a": {"user": "anna", "client": "client-a"}}}));
    let stats = world.result("presence_stats", json!({"channel": "news:x"})).await;
    assert_eq!(stats, json!({"num_clients": 1, "num_users": 1}));
    Box::pin(world.publisher.catch_up(catch_up)).await.unwrap();
    world.result("disconnect", json!({"user": "anna"})).await;
    assert_eq!(world.result("presence", json!({"channel": "news:x"})).await, json!({"presence": {}}));
}

#[tokio::test]
async fn presence_and_history_that_are_not_there_are_refused_with_their_codes() {
    let world = World::new().await;
    for method in ["presence", "presence_stats", "history", "history_remove"] {
        assert_eq!(world.error(method, json!({})).await, (107, "bad request".to_owned()), "{method}");
        assert_eq!(world.error(method, json!({"channel": "nothing:x"})).await, (102, "unknown channel".to_owned()));
        assert_eq!(world.error(method, json!({"channel": "bare:x"})).await, (108, "not available".to_owned()));
    }
}

fn offsets(result: &Value) -> Vec<u64> {
    result["publications"]
        .as_array()
        .unwrap()
        .iter()
        .map(|publication| publication["offset"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn history_comes_in_the_part_and_order_that_is_asked_for() {
    let world = World::new().await;
    let empty = world.result("history", json!({"channel": "news:x", "limit": 10})).await;
    assert_eq!((&empty["publications"], &empty["offset"]), (&json!([]), &json!(0)));
    let epoch = empty["epoch"].as_str().unwrap().to_owned();
    for n in 1..=9 {
        world.result("publish", json!({"channel": "news:x", "data": {"n": n}})).await;
    }
    let ask = |limit: i32, since: Option<u64>, reverse: bool| {
        let since = since.map(|offset| json!({"offset": offset, "epoch": epoch}));
        world.result("history", json!({"channel": "news:x", "limit": limit, "since": since, "reverse": reverse}))
    };
    let position = world.result("history", json!({"channel": "news:x"})).await;
    assert_eq!(position, json!({"publications": [], "epoch": epoch, "offset": 9}));
    assert_eq!(offsets(&ask(3, None, false).await), [1, 2, 3]);
    assert_eq!(offsets(&ask(3, None, true).await), [9, 8, 7]);
    assert_eq!(offsets(&ask(3, Some(7), false).await), [8, 9]);
    assert_eq!(offsets(&ask(-1, Some(3), true).await), [2, 1]);
    assert_eq!(offsets(&ask(-1, Some(0), false).await).len(), 9);
    assert_eq!(offsets(&ask(100, Some(9), false).await), [0_u64; 0]);
    let all = ask(-1, None, false).await;
    assert_eq!((offsets(&all).len(), &all["offset"], &all["epoch"]), (9, &json!(9), &json!(epoch)));
    assert_eq!(all["publications"][0], json!({"data": {"n": 1}, "offset": 1}));
}

#[tokio::test]
async fn a_position_of_another_stream_is_112_and_nothing_is_before_offset_0() {
    let world = World::new().await;
    world.result("publish", json!({"channel": "news:x", "data": 1})).await;
    let since = |epoch: &str, offset: u64, reverse: bool| json!({"channel": "news:x", "limit": 1, "reverse": reverse, "since": {"epoch": epoch, "offset": offset}});
    let unrecoverable = (112, "unrecoverable position".to_owned());
    assert_eq!(world.error("history", since("other", 1, false)).await, unrecoverable);
    assert_eq!(world.error("history", since("other", 1, true)).await, unrecoverable);
    assert_eq!(world.error("history", since("", 0, true)).await, (100, "internal server error".to_owned()));
    assert_eq!(offsets(&world.result("history", since("", 0, false)).await), [1]);
}

#[tokio::test]
async fn history_of_many_large_publications_comes_whole_in_one_answer() {
    let world = World::new().await;
    let large = "x".repeat(30 * 1024);
    for n in 0..12 {
        world.result("publish", json!({"channel": "news:x", "data": {"n": n, "text": large}})).await;
    }
    for (limit, reverse, expected) in [(-1, false, 12), (-1, true, 12), (11, false, 11), (300, true, 12)] {
        let request = json!({"channel": "news:x", "limit": limit, "reverse": reverse});
        let result = world.result("history", request).await;
        let mut all = offsets(&result);
        if reverse {
            all.reverse();
        }
        assert_eq!(all.len(), expected, "{limit} {reverse}");
        assert!(all.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{all:?}");
    }
}

#[tokio::test]
async fn an_answer_too_large_for_a_lambda_ends_early_and_goes_on_from_its_last_publication() {
    let channels = crate::world::CHANNELS.replace(r#", "allowed_delta_types": ["fossil"]"#, "").replace("60s", "600s");
    let world = World::with(&channels).await;
    // a quote takes four bytes in the answer
    let large = "\"".repeat(50 * 1024);
    for n in 0..30 {
        world.result("publish", json!({"channel": "news:x", "data": {"n": n, "text": large}})).await;
    }
    let first = world.result("history", json!({"channel": "news:x", "limit": -1})).await;
    assert!(offsets(&first).len() < 30 && offsets(&first).len() > 25, "{:?}", offsets(&first));
    let since = json!({"offset": offsets(&first).last(), "epoch": first["epoch"]});
    let second = world.result("history", json!({"channel": "news:x", "limit": -1, "since": since})).await;
    assert_eq!([offsets(&first), offsets(&second)].concat(), (1..=30).collect::<Vec<u64>>());
}

#[tokio::test]
async fn removed_history_is_gone_and_its_position_stays() {
    let world = World::new().await;
    for n in 1..=3 {
        world.result("publish", json!({"channel": "news:x", "data": n})).await;
    }
    let before = world.result("history", json!({"channel": "news:x"})).await;
    assert_eq!(world.result("history_remove", json!({"channel": "news:x"})).await, json!({}));
    let after = world.result("history", json!({"channel": "news:x", "limit": -1})).await;
    assert_eq!(after, before, "no publications, the same position");
    world.result("publish", json!({"channel": "news:x", "data": 4})).await;
    assert_eq!(offsets(&world.result("history", json!({"channel": "news:x", "limit": -1})).await), [4]);
    assert_eq!(world.result("history_remove", json!({"channel": "news:never"})).await, json!({}));
}

#[tokio::test]
async fn channels_are_those_with_subscribers_and_match_the_pattern() {
    let world = World::new().await;
    assert_eq!(world.result("channels", json!({})).await, json!({"channels": {}}));
    for (id, channels) in
        [("a", vec!["news:1", "news:2", "big:x"]), ("b", vec!["news:1", "live:news:1", "big:x"]), ("c", vec!["big:x"])]
    {
        world.connect(id, "anna").await;
        for channel in channels {
            world.subscribe(id, channel, false).await;
        }
    }
    let all = json!({"news:1": {"num_clients": 2}, "news:2": {"num_clients": 1}, "live:news:1": {"num_clients": 1},
        "big:x": {"num_clients": 3}});
    assert_eq!(world.result("channels", json!({})).await["channels"], all);
    assert_eq!(world.result("channels", json!({"pattern": "*"})).await["channels"], all);
    let matching = |pattern: &'static str| {
        let world = &world;
        async move {
            let result = world.result("channels", json!({"pattern": pattern})).await;
            result["channels"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
        }
    };
    assert_eq!(matching("news:*").await, ["news:1", "news:2"]);
    assert_eq!(matching("*news:1").await, ["live:news:1", "news:1"]);
    assert_eq!(matching("{big,news}:[!2]").await, ["big:x", "news:1"]);
    assert_eq!(matching("none").await, [""; 0]);
    assert_eq!(world.error("channels", json!({"pattern": "[a"})).await, (100, "internal server error".to_owned()));

    world.result("unsubscribe", json!({"user": "anna", "channel": "news:1"})).await;
    assert_eq!(matching("news:*").await, ["news:2"], "nobody is left in the other");
}

#[tokio::test]
async fn info_counts_everything_in_one_node() {
    let world = World::new().await;
    let node = |result: &Value| {
        assert_eq!(result["nodes"].as_array().unwrap().len(), 1);
        result["nodes"][0].clone()
    };
    let empty = node(&world.result("info", json!({})).await);
    for count in ["num_clients", "num_users", "num_subs", "num_channels"] {
        assert_eq!(empty[count], 0, "{empty}");
    }
    assert_eq!((&empty["uid"], &empty["name"]), (&json!("signalbox-test"), &json!("signalbox")));
    assert_eq!(empty["version"], env!("CARGO_PKG_VERSION"));
    for (id, user) in [("a1", "anna"), ("a2", "anna"), ("b", "bert"), ("x", ""), ("y", "")] {
        world.connect(id, user).await;
        world.subscribe(id, "news:1", false).await;
    }
    world.subscribe("b", "live:1", false).await;
    world.tables.table.admit(&new_socket()).await.unwrap();
    let full = node(&world.result("info", json!({})).await);
    let counts = ["num_clients", "num_users", "num_subs", "num_channels"].map(|count| full[count].as_u64().unwrap());
    assert_eq!(counts, [5, 3, 6, 2], "a socket that has not connected is nobody yet: {full}");
}

fn new_socket() -> signalbox_connections::Admit<'static> {
    let stale_after = std::time::Duration::from_secs(10);
    signalbox_connections::Admit {
        id: "new",
        now_s: crate::world::now(),
        source_ip: None,
        stale_after,
        per_address_limit: 0,
    }
}

#[tokio::test]
async fn there_are_no_rpc_methods() {
    let world = World::new().await;
    assert_eq!(world.error("rpc", json!({"method": "x", "params": {}})).await, (104, "not found".to_owned()));
    assert_eq!(world.error("rpc", json!({"params": {}})).await, (107, "bad request".to_owned()));
}

/// P9: nothing but one query for each list and one for each channel.
#[tokio::test]
async fn nothing_scans_the_table() {
    use signalbox_connections::testing::Verdict;
    use std::sync::{Arc, Mutex};

    let world = World::new().await;
    world.connect("a", "anna").await;
    world.subscribe("a", "news:1", false).await;
    let operations = Arc::new(Mutex::new(Vec::new()));
    let seen = operations.clone();
    world.tables.hook(Some(Arc::new(move |request| {
        seen.lock().unwrap().push(request.operation);
        Box::pin(async { Verdict::Send })
    })));
    world.result("channels", json!({"pattern": "news:*"})).await;
    world.result("info", json!({})).await;
    let operations = operations.lock().unwrap().clone();
    assert!(!operations.is_empty() && operations.iter().all(|operation| operation == "Query"), "{operations:?}");
}
