//! `publish` and `broadcast`.

use serde_json::{Value, json};

use crate::world::World;

async fn history(world: &World, channel: &str) -> Vec<Value> {
    let mut result = world.result("history", json!({"channel": channel, "limit": -1})).await;
    serde_json::from_value(result["publications"].take()).unwrap()
}

#[tokio::test]
async fn a_publication_reaches_the_subscribers_and_has_its_position() {
    let world = World::new().await;
    world.connect("a", "anna").await;
    world.subscribe("a", "news:x", false).await;
    let first = world.result("publish", json!({"channel": "news:x", "data": {"n": 1}})).await;
    let second = world.result("publish", json!({"channel": "news:x", "data": [2]})).await;
    assert_eq!((first["offset"].as_u64(), second["offset"].as_u64()), (Some(1), Some(2)));
    assert!(!first["epoch"].as_str().unwrap().is_empty());
    assert_eq!(first["epoch"], second["epoch"]);
    assert_eq!(world.published("a"), [json!({"n": 1}), json!([2])]);
}

#[tokio::test]
async fn a_channel_without_history_has_no_position() {
    let world = World::new().await;
    world.connect("a", "anna").await;
    world.subscribe("a", "live:x", false).await;
    assert_eq!(world.result("publish", json!({"channel": "live:x", "data": "hi"})).await, json!({}));
    assert_eq!(world.published("a"), [json!("hi")]);
}

#[tokio::test]
async fn a_publication_that_skips_the_history_is_not_in_it() {
    let world = World::new().await;
    world.connect("a", "anna").await;
    world.subscribe("a", "news:x", false).await;
    let skipping = json!({"channel": "news:x", "data": 1, "skip_history": true});
    assert_eq!(world.result("publish", skipping).await, json!({}));
    assert_eq!(world.published("a"), [json!(1)]);
    assert!(history(&world, "news:x").await.is_empty());
}

#[tokio::test]
async fn an_idempotency_key_publishes_once_and_answers_the_same_again() {
    let world = World::new().await;
    world.connect("a", "anna").await;
    world.subscribe("a", "news:x", false).await;
    world.subscribe("a", "live:x", false).await;
    let publish =
        |channel: &str, key: &str, data: u32| json!({"channel": channel, "data": data, "idempotency_key": key});
    let first = world.result("publish", publish("news:x", "k", 1)).await;
    world.result("publish", publish("news:x", "other", 2)).await;
    assert_eq!(world.result("publish", publish("news:x", "k", 3)).await, first);
    assert_eq!(world.published("a"), [json!(1), json!(2)]);
    assert_eq!(history(&world, "news:x").await.len(), 2);

    assert_eq!(world.result("publish", publish("live:x", "k", 4)).await, json!({}), "a key is its channel's");
    assert_eq!(world.result("publish", publish("live:x", "k", 5)).await, json!({}));
    assert_eq!(world.published("a"), [json!(1), json!(2), json!(4)]);
}

#[tokio::test]
async fn an_older_version_is_not_published_and_answers_with_the_top() {
    let world = World::new().await;
    world.connect("a", "anna").await;
    world.subscribe("a", "news:x", false).await;
    let publish = |version: u64, epoch: &str| json!({"channel": "news:x", "data": version, "version": version, "version_epoch": epoch});
    let newer = world.result("publish", publish(5, "a")).await;
    for version in [4, 5] {
        let late = world.result("publish", publish(version, "a")).await;
        assert_eq!(late["epoch"], newer["epoch"]);
        assert!(late["offset"].as_u64() >= newer["offset"].as_u64(), "{late}");
    }
    world.result("publish", publish(6, "a")).await;
    world.result("publish", publish(1, "b")).await;
    assert_eq!(world.published("a"), [json!(5), json!(6), json!(1)]);
    let kept: Vec<_> =
        history(&world, "news:x").await.into_iter().map(|publication| publication["data"].clone()).collect();
    assert_eq!(kept, [json!(5), json!(6), json!(1)]);
}

#[tokio::test]
async fn tags_are_pushed_and_kept() {
    let world = World::new().await;
    world.connect("a", "anna").await;
    world.subscribe("a", "news:x", false).await;
    world.result("publish", json!({"channel": "news:x", "data": 1, "tags": {"lang": "de"}})).await;
    assert_eq!(world.pushes("a")[0]["pub"], json!({"data": 1, "offset": 1, "tags": {"lang": "de"}}));
    assert_eq!(history(&world, "news:x").await, [json!({"data": 1, "offset": 1, "tags": {"lang": "de"}})]);
}

#[tokio::test]
async fn who_asks_for_deltas_has_them_sent_where_they_are_wanted() {
    let world = World::new().await;
    for id in ["plain", "delta"] {
        world.connect(id, "anna").await;
        world.subscribe(id, "news:x", id == "delta").await;
    }
    let document = |n: u32| json!({"text": "the same long text in every version of it, as documents have", "n": n});
    for n in 1..=3 {
        let delta = n != 2;
        world.result("publish", json!({"channel": "news:x", "data": document(n), "delta": delta})).await;
    }
    assert_eq!(world.published("plain"), [document(1), document(2), document(3)]);
    let deltas: Vec<_> = world.pushes("delta").iter().map(|push| push["pub"]["delta"] == true).collect();
    assert_eq!(deltas, [false, false, true], "against nothing, not asked for, asked for");
    assert!(world.published("delta").iter().all(Value::is_string));
    assert!(history(&world, "news:x").await.iter().all(|publication| publication.get("delta").is_none()));
}

#[tokio::test]
async fn data_may_come_in_base64_and_must_be_json() {
    let world = World::new().await;
    world.connect("a", "anna").await;
    world.subscribe("a", "news:x", false).await;
    // {"a":1}
    let result = world.result("publish", json!({"channel": "news:x", "b64data": "eyJh\nIjoxfQ==", "data": 7})).await;
    assert_eq!(result["offset"], 1);
    assert_eq!(world.published("a"), [json!({"a": 1})]);
    for wrong in ["!", "eyJhIjoxfQ", "AAEC"] {
        let error = world.error("publish", json!({"channel": "news:x", "b64data": wrong})).await;
        assert_eq!(error, (107, "bad request".to_owned()), "{wrong}");
    }
}

#[tokio::test]
async fn any_json_is_data_and_null_too() {
    let world = World::new().await;
    world.connect("a", "anna").await;
    world.subscribe("a", "news:x", false).await;
    let all = [json!(null), json!(0), json!(""), json!(false), json!([]), json!({})];
    for data in &all {
        world.result("publish", json!({"channel": "news:x", "data": data})).await;
    }
    assert_eq!(world.published("a"), all);
    let kept: Vec<_> = history(&world, "news:x").await.into_iter().map(|mut kept| kept["data"].take()).collect();
    assert_eq!(kept, all);
}

#[tokio::test]
async fn what_cannot_be_published_is_refused_with_its_code() {
    let world = World::new().await;
    let bad_request = (107, "bad request".to_owned());
    for body in [
        json!({}),
        json!({"data": 1}),
        json!({"channel": "", "data": 1}),
        json!({"channel": "news:x"}),
        json!({"channel": "x".repeat(256), "data": 1}),
        json!({"channel": "news:a\nb", "data": 1}),
        json!({"channel": "doc:x", "data": [1]}),
        json!({"channel": "news:x", "data": "x".repeat(121 * 1024)}),
        json!({"channel": "news:x", "data": 1, "tags": {"big": "x".repeat(130 * 1024)}}),
    ] {
        assert_eq!(world.error("publish", body.clone()).await, bad_request, "{:.80}", body.to_string());
    }
    let unknown = (102, "unknown channel".to_owned());
    assert_eq!(world.error("publish", json!({"channel": "nothing:x", "data": 1})).await, unknown);
    assert_eq!(
        world.error("publish", json!({"channel": "nothing:x"})).await,
        unknown,
        "the channel is looked at first"
    );
    assert_eq!(world.result("publish", json!({"channel": "doc:x", "data": {"a": 1}})).await, json!({}));
    assert_eq!(world.result("publish", json!({"channel": "without-namespace", "data": 1})).await, json!({}));
    assert!(history(&world, "news:x").await.is_empty());
}

#[tokio::test]
async fn a_broadcast_answers_for_each_channel_in_order() {
    let world = World::new().await;
    world.connect("a", "anna").await;
    for channel in ["news:1", "news:2", "live:1"] {
        world.subscribe("a", channel, false).await;
    }
    let channels = ["news:2", "nothing:x", "live:1", "", "doc:1", "news:1", "news:2"];
    let request = json!({"channels": channels, "data": [1], "idempotency_key": "once", "tags": {"a": "b"}});
    let result = world.result("broadcast", request.clone()).await;
    let responses = result["responses"].as_array().unwrap();
    assert_eq!(responses.len(), channels.len());
    let codes: Vec<_> = responses.iter().map(|response| response["error"]["code"].as_u64()).collect();
    assert_eq!(codes, [None, Some(102), None, Some(107), Some(107), None, None]);
    assert_eq!(responses[0], responses[6], "the same key on the same channel");
    assert_eq!(responses[2], json!({"result": {}}));
    assert_eq!(responses[5]["result"]["offset"], 1);
    assert_eq!(world.published("a").len(), 3);
    assert_eq!(world.result("broadcast", request).await["responses"], result["responses"], "and again");
    assert_eq!(world.published("a").len(), 3);
}

#[tokio::test]
async fn a_broadcast_without_channels_or_with_data_that_is_none_is_refused() {
    let world = World::new().await;
    let bad_request = (107, "bad request".to_owned());
    assert_eq!(world.error("broadcast", json!({"data": 1})).await, bad_request);
    assert_eq!(world.error("broadcast", json!({"channels": [], "data": 1})).await, bad_request);
    assert_eq!(world.error("broadcast", json!({"channels": ["news:a"], "b64data": "!"})).await, bad_request);
    let result = world.result("broadcast", json!({"channels": ["news:a", null, "nothing:x"]})).await;
    let codes: Vec<_> =
        result["responses"].as_array().unwrap().iter().map(|one| one["error"]["code"].as_u64()).collect();
    assert_eq!(codes, [Some(107), Some(107), Some(102)]);
}

#[tokio::test]
async fn a_broadcast_reaches_many_channels() {
    let world = World::new().await;
    let channels: Vec<String> = (0..200).map(|n| format!("news:{n}")).collect();
    let result = world.result("broadcast", json!({"channels": channels, "data": 1})).await;
    let responses = result["responses"].as_array().unwrap();
    assert!(responses.len() == 200 && responses.iter().all(|response| response["result"]["offset"] == 1));
    assert_eq!(history(&world, "news:199").await.len(), 1);
}
