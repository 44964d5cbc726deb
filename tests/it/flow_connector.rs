//! From a Zabbix connector to the viewer.

use std::path::Path;

use serde_json::{Value, json};
use signalbox_messages::{BusEvent, ITEM_VALUES, ItemValues, SOURCE};

use crate::world::{World, all_recorded};

/// The bodies of `events` or `history` that Zabbix really sent, in their order.
fn streamed(kind: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/zabbix/fixtures/connector");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(kind)).collect();
    files.sort();
    files.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Routes all item values that are on the bus.
async fn drain_item_values(world: &World) {
    for values in world.bus.of::<ItemValues>() {
        let detail = serde_json::to_value(values).unwrap();
        let event =
            BusEvent { id: "b".to_owned(), detail_type: ITEM_VALUES.to_owned(), source: SOURCE.to_owned(), detail };
        world.route_events(vec![event]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_streamed_problem_and_its_recovery_reach_the_viewer() {
    let world = World::new().await;
    world.watcher("c1").await;
    for body in &streamed("events")[..2] {
        assert_eq!(world.stream("events", body).await.status(), 200);
        world.drain_bus().await;
    }
    let problems = world.published("c1");
    let [problem, recovery] = problems.as_slice() else { panic!("{problems:?}") };
    assert_eq!((&problem["state"], &problem["severity"], &problem["version"]), (&json!("open"), &json!(4), &json!(1)));
    assert_eq!(problem["host"], json!({"id": "", "host": "web-01", "name": "Web 01 – Schaufenster"}));
    assert_eq!((&recovery["state"], &recovery["resolved_at"]), (&json!("resolved"), &json!(1_795_249_052)));
    assert_eq!(recovery["name"], problem["name"], "what it is stays known");
}

/// Fails if the router publishes what no message has described yet.
#[tokio::test(start_paused = true)]
async fn a_recovery_before_its_problem_is_shown_to_nobody_without_it() {
    let world = World::new().await;
    world.watcher("c1").await;
    let bodies = streamed("events");
    world.stream("events", &bodies[1]).await;
    world.drain_bus().await;
    assert!(world.published("c1").is_empty());
    world.stream("events", &bodies[0]).await;
    world.drain_bus().await;
    let shown = world.published("c1");
    assert_eq!((shown.len(), &shown[0]["state"], &shown[0]["severity"]), (1, &json!("resolved"), &json!(4)));
}

/// Webhook and connector at once, the connector's POSTs repeated: the board is that of the webhook alone, but for
/// what only the connector told of.
#[tokio::test(start_paused = true)]
async fn with_a_connector_beside_the_webhook_the_board_is_the_same() {
    let alone = World::new().await;
    let both = World::new().await;
    for body in streamed("events").iter().rev() {
        both.stream("events", body).await;
        both.stream("events", body).await;
    }
    for (_, body) in all_recorded("v7.0") {
        alone.notify(&body).await;
        both.notify(&body).await;
    }
    alone.drain_bus().await;
    both.drain_bus().await;
    for id in ["19", "44", "46", "47", "50", "51"] {
        let problem = async |world: &World| {
            let problem = world.tables.status.problem(id).await.unwrap().unwrap();
            let mut view = serde_json::to_value(problem.view()).unwrap();
            view.as_object_mut().unwrap().remove("version");
            view
        };
        assert_eq!(problem(&both).await, problem(&alone).await, "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn item_values_reach_who_has_subscribed_to_their_host_once() {
    let world = World::with(
        &json!({"channel": {"namespaces": [
            {"name": "items", "history_size": 10, "history_ttl": "10m", "allow_subscribe_for_client": true},
        ]}})
        .to_string(),
    )
    .await;
    world.viewer("c1").await;
    let reply = world.send("c1", r#"{"id":2,"subscribe":{"channel":"items:web-01"}}"#).await;
    assert!(reply[0]["subscribe"].is_object(), "{reply:?}");
    for _ in 0..2 {
        assert_eq!(world.stream("history", &streamed("history")[0]).await.status(), 200);
    }
    assert_eq!(world.bus.of::<ItemValues>().len(), 4, "two hosts, twice");
    drain_item_values(&world).await;
    let published: Vec<Value> = world.pushes("c1", "pub");
    let [publication] = &published[..] else { panic!("{published:?}") };
    let values: Vec<_> =
        publication["data"]["values"].as_array().unwrap().iter().map(|v| (v["name"].as_str(), &v["value"])).collect();
    assert_eq!(values, [(Some("Application status"), &json!(0)), (Some("Response time"), &json!(100))]);
    assert_eq!(publication["data"]["host"]["name"], "Web 01 – Schaufenster");
}
