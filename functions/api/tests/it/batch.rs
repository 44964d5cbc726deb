use serde_json::{Value, json};

use crate::world::World;

async fn batch(world: &World, commands: Value, parallel: bool) -> Vec<Value> {
    let mut answer = world.call("batch", json!({"commands": commands, "parallel": parallel})).await;
    assert_eq!(answer.as_object().unwrap().len(), 1, "{answer}");
    serde_json::from_value(answer["replies"].take()).unwrap()
}

#[tokio::test]
async fn replies_come_in_the_order_of_the_commands_serial_or_parallel() {
    for parallel in [false, true] {
        let world = World::new().await;
        world.connect("a", "anna").await;
        world.subscribe("a", "news:1", false).await;
        let commands = json!([
            {"publish": {"channel": "news:1", "data": 1, "idempotency_key": "a"}},
            {"broadcast": {"channels": ["live:1", "nothing:1"], "data": 1}},
            {"subscribe": {"user": "anna", "channel": "live:2"}},
            {"unsubscribe": {"user": "anna", "channel": "live:3"}},
            {"presence": {"channel": "news:1"}},
            {"presence_stats": {"channel": "news:1"}},
            {"history": {"channel": "news:2", "limit": 1}},
            {"history_remove": {"channel": "news:2"}},
            {"channels": {"pattern": "news:*"}},
            {"info": {}},
            {"refresh": {"user": "anna"}},
            {"disconnect": {"user": "nobody"}}
        ]);
        let replies = batch(&world, commands, parallel).await;
        assert_eq!(replies[0]["publish"]["offset"], 1);
        assert_eq!(replies[1]["broadcast"]["responses"][0], json!({"result": {}}));
        assert_eq!(replies[1]["broadcast"]["responses"][1]["error"]["code"], 102);
        assert_eq!(replies[2], json!({"subscribe": {}}));
        assert_eq!(replies[3], json!({"unsubscribe": {}}));
        assert!(replies[4]["presence"]["presence"].is_object());
        assert_eq!(replies[5]["presence_stats"]["num_clients"], 1);
        assert_eq!(replies[6]["history"]["publications"], json!([]));
        assert_eq!(replies[7], json!({"history_remove": {}}));
        assert_eq!(replies[8]["channels"]["channels"]["news:1"]["num_clients"], 1);
        assert_eq!(replies[9]["info"]["nodes"][0]["num_clients"], 1);
        assert_eq!(replies[10], json!({"refresh": {}}));
        assert_eq!(replies[11], json!({"disconnect": {}}));
        assert_eq!(replies.len(), 12);
    }
}

#[tokio::test]
async fn a_serial_batch_runs_in_order() {
    let world = World::new().await;
    let commands: Vec<_> = (1..=20).map(|n| json!({"publish": {"channel": "news:1", "data": n}})).collect();
    let replies = batch(&world, json!(commands), false).await;
    let offsets: Vec<_> = replies.iter().map(|reply| reply["publish"]["offset"].as_u64().unwrap()).collect();
    assert_eq!(offsets, (1..=20).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_refused_command_keeps_none_of_the_others_from_anything() {
    for parallel in [false, true] {
        let world = World::new().await;
        let commands = json!([
            {"publish": {}},
            {"publish": {"channel": "nothing:1", "data": 1}},
            null,
            {},
            {"unknown": {}},
            {"publish": null},
            {"block_user": {"user": "anna"}},
            {"rpc": {"method": "x"}},
            {"presence": {"channel": "bare:1"}},
            {"history": {"channel": "news:1", "limit": 1, "since": {"epoch": "other", "offset": 3}}},
            {"publish": {"channel": "news:1", "data": 1}}
        ]);
        let replies = batch(&world, commands, parallel).await;
        let codes: Vec<_> = replies.iter().map(|reply| reply["error"]["code"].as_u64().unwrap_or(0)).collect();
        assert_eq!(codes, [107, 102, 107, 104, 104, 104, 104, 104, 108, 112, 0]);
        assert!(replies.iter().all(|reply| reply.as_object().unwrap().len() == 1), "{replies:?}");
        assert_eq!(replies[10]["publish"]["offset"], 1);
    }
}

#[tokio::test]
async fn of_several_methods_in_one_command_the_first_that_centrifugo_knows_runs() {
    let world = World::new().await;
    let commands = json!([{"info": {}, "publish": {"channel": "live:1", "data": 1}}]);
    assert_eq!(batch(&world, commands, false).await, [json!({"publish": {}})]);
}

#[tokio::test]
async fn an_empty_batch_has_no_replies() {
    let world = World::new().await;
    for body in ["{}", r#"{"commands":[]}"#, r#"{"commands":null,"parallel":null}"#] {
        assert_eq!(world.post("/api/batch", body).await, (200, r#"{"replies":[]}"#.to_owned()));
    }
}

#[tokio::test]
async fn a_batch_with_a_malformed_command_is_400_and_nothing_of_it_is_done() {
    let world = World::new().await;
    let publish = r#"{"publish":{"channel":"news:1","data":1}}"#;
    for malformed in [
        "[]",
        "\"publish\"",
        r#"{"publish":{"channel":5}}"#,
        r#"{"publish":[]}"#,
        r#"{"info":5}"#,
        r#"{"presence":{"channel":"news:1"},"history":{"limit":"all"}}"#,
    ] {
        for parallel in [false, true] {
            let body = format!(r#"{{"commands":[{publish},{malformed}],"parallel":{parallel}}}"#);
            let (status, text) = world.post("/api/batch", &body).await;
            assert_eq!((status, text.starts_with("Bad Request: ")), (400, true), "{malformed}: {text}");
        }
    }
    assert_eq!(world.result("history", json!({"channel": "news:1"})).await["offset"], 0);
}
