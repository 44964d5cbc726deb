//! From a Zabbix notification to the viewer.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use signalbox_messages::StatusChanged;

use crate::world::{World, all_recorded, recorded};

#[tokio::test(start_paused = true)]
async fn a_problem_its_update_and_its_recovery_reach_the_viewer() {
    let world = World::new().await;
    world.watcher("c1").await;
    for kind in ["problem", "update", "recovery"] {
        let response = world.notify(&recorded(&format!("recommended/v7.0-{kind}"))).await;
        assert_eq!(response.status(), 200);
        world.drain_bus().await;
    }
    let problems = world.published("c1");
    assert_eq!(problems.len(), 3);
    let [problem, update, recovery] = problems.as_slice() else { unreachable!() };
    assert_eq!((&problem["state"], &problem["version"], &problem["severity"]), (&json!("open"), &json!(1), &json!(4)));
    assert_eq!(problem["name"], "Web application down on Web 01 – Schaufenster");
    assert_eq!(problem["host"], json!({"id": "10680", "host": "web-01", "name": "Web 01 – Schaufenster"}));
    assert_eq!((&update["acknowledged"], &update["version"]), (&json!(true), &json!(2)));
    assert_eq!(update["last_update"]["message"], "on it");
    assert_eq!((&recovery["state"], &recovery["version"]), (&json!("resolved"), &json!(3)));
    assert!(recovery["resolved_at"].as_i64().unwrap() >= recovery["opened_at"].as_i64().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_change_is_also_in_its_host_s_and_its_groups_channels() {
    let world = World::new().await;
    world.viewer("c1").await;
    for (id, channel) in [(2, "status:host:web-01"), (3, "status:group:Site%20A%2FWeb%20servers")] {
        let command = json!({"id": id, "subscribe": {"channel": channel}}).to_string();
        assert!(world.send("c1", &command).await[0]["subscribe"].is_object());
    }
    world.notify(&recorded("recommended/v7.0-problem")).await;
    world.drain_bus().await;
    let lines = world.posts.lines("c1");
    let channels: BTreeSet<_> = lines.iter().filter_map(|line| line.pointer("/push/channel")?.as_str()).collect();
    assert_eq!(channels, BTreeSet::from(["status:host:web-01", "status:group:Site%20A%2FWeb%20servers"]));
}

/// P4 and P8 through the whole path: what a viewer is shown in the end does not depend on order or repetition.
#[tokio::test(start_paused = true)]
async fn late_repeated_and_reordered_messages_show_the_same_board() {
    for version in ["v6.0", "v7.0"] {
        let bodies = all_recorded(version);
        let in_order = World::new().await;
        for (_, body) in &bodies {
            assert_eq!(in_order.notify(body).await.status(), 200);
        }
        in_order.drain_bus().await;
        in_order.viewer("c1").await;
        let expected = board(&in_order, "c1").await;
        assert!(expected.len() > 3, "{expected:?}");

        let shuffled = World::new().await;
        let (odd, even): (Vec<_>, Vec<_>) = bodies.iter().enumerate().partition(|(n, _)| n % 2 == 1);
        for (_, (_, body)) in even.iter().rev().chain(odd.iter().rev()).chain(even.iter()).chain(odd.iter()) {
            shuffled.notify(body).await;
        }
        shuffled.drain_bus().await;
        shuffled.viewer("c1").await;
        assert_eq!(board(&shuffled, "c1").await, expected, "{version}");
    }
}

/// The board without the versions, which count changes and so depend on the order.
async fn board(world: &World, id: &str) -> Vec<Value> {
    let mut problems = world.snapshot(id).await.problems;
    for problem in &mut problems {
        problem.as_object_mut().unwrap().remove("version");
    }
    problems
}

#[tokio::test(start_paused = true)]
async fn a_repeated_message_publishes_nothing_new() {
    let world = World::new().await;
    world.watcher("c1").await;
    let body = recorded("recommended/v7.0-problem");
    for _ in 0..3 {
        world.notify(&body).await;
        world.drain_bus().await;
    }
    assert_eq!(world.published("c1").len(), 1);
    // EventBridge may deliver twice at once
    let message = world.bus.messages().remove(0);
    let again = || world.route(vec![message.clone()]);
    tokio::join!(again(), again());
    assert_eq!(world.published("c1").len(), 1);
}

/// Fails when the snapshot's position is read after its state: the change in between would be in neither.
#[tokio::test(start_paused = true)]
async fn a_viewer_that_subscribes_from_its_snapshot_misses_nothing() {
    let world = World::new().await;
    let bodies = all_recorded("v7.0");
    for (_, body) in &bodies[..9] {
        world.notify(body).await;
    }
    world.drain_bus().await;
    world.viewer("c1").await;
    let snapshot = world.snapshot("c1").await;
    for (_, body) in &bodies[9..] {
        world.notify(body).await;
    }
    world.drain_bus().await;
    let request = json!({"id": 7, "subscribe": {"channel": "status:all", "recover": true, "offset": snapshot.offset}});
    let reply = world.send("c1", &request.to_string()).await.remove(0);
    assert_eq!(reply["subscribe"]["recovered"], true, "{reply}");

    let mut open: std::collections::BTreeMap<String, Value> =
        snapshot.problems.into_iter().map(|problem| (problem["event_id"].to_string(), problem)).collect();
    for publication in reply["subscribe"]["publications"].as_array().unwrap() {
        for change in publication["data"]["changes"].as_array().unwrap() {
            let problem = &change["problem"];
            let key = problem["event_id"].to_string();
            if open.get(&key).is_some_and(|known| known["version"].as_u64() >= problem["version"].as_u64()) {
                continue;
            }
            if problem["state"] == "open" {
                open.insert(key, problem.clone())
            } else {
                open.remove(&key)
            };
        }
    }
    let mut expected = world.snapshot("c1").await.problems;
    let mut shown: Vec<Value> = open.into_values().collect();
    for problems in [&mut expected, &mut shown] {
        problems.sort_by_key(|problem| problem["event_id"].to_string());
    }
    assert_eq!(shown, expected);
}

#[tokio::test(start_paused = true)]
async fn a_large_snapshot_comes_in_pages_that_fit_a_frame() {
    let world = World::new().await;
    let template: Value = serde_json::from_str(&recorded("recommended/v7.0-problem")).unwrap();
    let messages: Vec<_> = (0..500)
        .map(|n| {
            let mut body = template.clone();
            body["event_id"] = json!((100_000 + n).to_string());
            body["host_id"] = json!((n % 50).to_string());
            body["host_host"] = json!(format!("web-{}", n % 50));
            let zone = "auto".parse().unwrap();
            signalbox_zabbix::status_changed(body.to_string().as_bytes(), 0, &zone).unwrap()
        })
        .collect();
    for chunk in messages.chunks(64) {
        let applied = chunk.iter().map(|message| world.tables.status.apply(message, 1_795_000_000));
        futures::future::try_join_all(applied).await.unwrap();
    }
    world.viewer("c1").await;
    let snapshot = world.snapshot("c1").await;
    let ids: BTreeSet<_> = snapshot.problems.iter().map(|problem| problem["event_id"].to_string()).collect();
    assert_eq!((snapshot.problems.len(), ids.len(), snapshot.hosts.len()), (500, 500, 50));
    assert!(snapshot.pages > 2, "{} pages", snapshot.pages);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_trigger_is_shown_and_is_no_problem() {
    let world = World::new().await;
    world.watcher("c1").await;
    world.notify(&recorded("v7.0/20-internal-trigger-unknown")).await;
    world.drain_bus().await;
    let shown = &world.published("c1")[0];
    assert_eq!((&shown["kind"], &shown["state"]), (&json!("internal"), &json!("open")));
    assert!(shown["error"].as_str().unwrap().contains("division by zero"));
    world.notify(&recorded("v7.0/21-internal-trigger-normal")).await;
    world.drain_bus().await;
    assert_eq!(world.published("c1")[1]["state"], "resolved");
}

#[tokio::test(start_paused = true)]
async fn several_problems_of_one_trigger_stand_side_by_side() {
    let world = World::new().await;
    world.viewer("c1").await;
    for name in ["v7.0/16-problem-multiple-1", "v7.0/17-problem-multiple-2"] {
        world.notify(&recorded(name)).await;
    }
    world.drain_bus().await;
    let problems = world.snapshot("c1").await.problems;
    assert_eq!(problems.len(), 2);
    assert_eq!(problems[0]["trigger_id"], problems[1]["trigger_id"]);
}

#[tokio::test(start_paused = true)]
async fn what_recovered_lately_is_in_the_snapshot_and_hosts_stay_known() {
    let world = World::new().await;
    let now = signalbox_lambda::now_ms() / 1000;
    let mut message = {
        let zone = "auto".parse().unwrap();
        signalbox_zabbix::status_changed(recorded("recommended/v7.0-recovery").as_bytes(), 0, &zone).unwrap()
    };
    message.at = now - 60;
    message.opened_at = now - 600;
    message.recovery.as_mut().unwrap().at = now - 60;
    world.route(vec![message]).await;
    world.viewer("c1").await;
    let snapshot = world.snapshot("c1").await;
    assert!(snapshot.problems.is_empty());
    assert_eq!(snapshot.recent, [json!({"opened_at": now - 600, "resolved_at": now - 60, "severity": 4})]);
    assert_eq!(snapshot.hosts[0]["host"], "web-01");
}

#[tokio::test(start_paused = true)]
async fn nothing_reaches_the_bus_that_was_refused() {
    let world = World::new().await;
    for (body, status) in [("no json", 400), ("[]", 400), ("{}", 422), (r#"{"event_id":"x"}"#, 422)] {
        assert_eq!(world.notify(body).await.status(), status, "{body}");
    }
    let huge = format!(r#"{{"event_id":"1","x":"{}"}}"#, "x".repeat(256 * 1024));
    assert_eq!(world.notify(&huge).await.status(), 413);
    assert!(world.bus.messages().is_empty());
}

fn data_of(world: &World, id: &str) -> Vec<Value> {
    let lines = world.posts.lines(id);
    lines.iter().filter_map(|line| line.pointer("/push/pub/data").cloned()).collect()
}

/// Opened problems with these event ids.
fn opened(ids: std::ops::Range<u32>) -> Vec<StatusChanged> {
    let zone = "auto".parse().unwrap();
    let body = recorded("recommended/v7.0-problem");
    let first = signalbox_zabbix::status_changed(body.as_bytes(), signalbox_lambda::now_ms(), &zone).unwrap();
    let of = |id: u32| StatusChanged { id: format!("{id}-problem"), event_id: id.to_string(), ..first.clone() };
    ids.map(of).collect()
}

fn event_ids(publication: &Value) -> Vec<&str> {
    let changes = publication["changes"].as_array().unwrap();
    changes.iter().map(|change| change["problem"]["event_id"].as_str().unwrap()).collect()
}

/// Fails if a batch is published change by change: a storm would be as many frames as it has problems.
#[tokio::test(start_paused = true)]
async fn the_changes_of_a_batch_are_one_publication_and_come_once_in_whatever_company_they_come_again() {
    let world = World::new().await;
    world.watcher("c1").await;
    let changes = opened(1_000..1_012);
    world.route(changes[..4].to_vec()).await;
    assert_eq!(data_of(&world, "c1").iter().map(event_ids).collect::<Vec<_>>(), [["1000", "1001", "1002", "1003"]]);
    world.route(changes[..4].to_vec()).await;
    assert_eq!(data_of(&world, "c1").len(), 1, "nothing new");
    world.route(changes[2..6].to_vec()).await;
    assert_eq!(event_ids(&data_of(&world, "c1")[1]), ["1004", "1005"]);
    // two batches at once with one change in common
    tokio::join!(world.route(changes[6..10].to_vec()), world.route(changes[9..].to_vec()));
    let told = world.published("c1");
    let mut ids: Vec<_> = told.iter().map(|problem| problem["event_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1_000..1_012).map(|id| id.to_string()).collect::<Vec<_>>(), "each once");
}

/// The router dies after it wrote the state: its successor finds nothing to change, and publishes.
#[tokio::test(start_paused = true)]
async fn what_was_written_and_not_published_is_published_when_it_comes_again() {
    let world = World::new().await;
    world.watcher("c1").await;
    let changes = opened(1_000..1_003);
    let now = signalbox_lambda::now_ms() / 1000;
    world.router.status.apply_all(&changes.iter().collect::<Vec<_>>(), now).await.unwrap();
    assert_eq!(data_of(&world, "c1").len(), 0);
    world.route(changes).await;
    assert_eq!(data_of(&world, "c1").iter().map(event_ids).collect::<Vec<_>>(), [["1000", "1001", "1002"]]);
}

/// Fails if a channel is left out between a viewer's question and its subscription.
#[tokio::test(start_paused = true)]
async fn a_hosts_channel_has_publications_from_the_moment_somebody_asks_for_it() {
    let world = World::new().await;
    let table = &world.tables.table;
    world.route(opened(1_000..1_001)).await;
    assert_eq!(table.find_head("status:host:web-01").await.unwrap(), None, "nobody ever asked");
    world.viewer("c1").await;
    let rpc = |id: u32, data: Value| json!({"id": id, "rpc": {"method": "status.snapshot", "data": data}}).to_string();
    let page = world.send("c1", &rpc(5, json!({"host": "web-01"}))).await.remove(0)["rpc"]["data"].take();
    assert_eq!(page["problems"][0]["event_id"], "1000");
    assert_eq!((&page["hosts"][0]["host"], &page["position"]["offset"]), (&json!("web-01"), &json!(0)));
    world.route(opened(1_001..1_002)).await;
    let position = &page["position"];
    let subscribe = json!({"id": 6, "subscribe": {"channel": "status:host:web-01", "recover": true,
        "epoch": position["epoch"], "offset": position["offset"]}});
    let reply = world.send("c1", &subscribe.to_string()).await.remove(0)["subscribe"].take();
    assert_eq!(reply["recovered"], true, "{reply}");
    assert_eq!(event_ids(&reply["publications"][0]["data"]), ["1001"]);
    // another host's, a group's, and what is neither
    let group = page["problems"][0]["groups"][0].clone();
    for (id, data, problems) in
        [(7, json!({"host": "web-02"}), 0), (8, json!({"group": group}), 2), (9, json!({"group": "No such"}), 0)]
    {
        let page = world.send("c1", &rpc(id, data)).await.remove(0)["rpc"]["data"].take();
        assert_eq!(page["problems"].as_array().unwrap().len(), problems, "{page}");
    }
    for (id, bad) in [(10, json!({"host": "a", "group": "b"})), (11, json!({"hosts": "a"})), (12, json!({"host": ""}))]
    {
        assert_eq!(world.send("c1", &rpc(id, bad.clone())).await[0]["error"]["code"], 107, "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_viewer_acts_where_it_may_and_what_is_refused_comes_back() {
    let (queue, asked) = signalbox_queues::Queue::recorded();
    let mut world = World::new().await;
    let act = |id: u32, data: Value| json!({"id": id, "rpc": {"method": "status.act", "data": data}}).to_string();
    let good = || json!({"event_id": "87", "acknowledge": true, "message": "on it"});
    world.viewer("c0").await;
    assert_eq!(world.send("c0", &act(2, good())).await[0]["error"]["code"], 108, "nobody may");
    assert_eq!(
        world.send("c0", r#"{"id":3,"rpc":{"method":"status.snapshot"}}"#).await[0]["rpc"]["data"]["may_act"],
        Value::Null
    );

    world.default.actions = ws_default::Actions::new(queue, "anna, eve");
    world.watcher("c1").await;
    world.connected("c2", "ben").await;
    assert_eq!(
        world.send("c1", r#"{"id":4,"rpc":{"method":"status.snapshot"}}"#).await[0]["rpc"]["data"]["may_act"],
        true
    );
    assert_eq!(world.send("c2", &act(2, good())).await[0]["error"]["code"], 103);
    for bad in [
        json!({"event_id": "87"}),
        json!({"event_id": "x", "close": true}),
        json!({"event_id": "87", "severity": 9}),
        json!({"acknowledge": true}),
        json!([1]),
    ] {
        assert_eq!(world.send("c1", &act(5, bad.clone())).await[0]["error"]["code"], 107, "{bad}");
    }
    assert_eq!(asked.lock().unwrap().len(), 0);
    assert_eq!(world.send("c1", &act(6, good())).await[0]["rpc"]["data"], json!({}));
    let action: signalbox_messages::Action = serde_json::from_str(&asked.lock().unwrap()[0]).unwrap();
    assert_eq!((action.event_id.as_str(), action.user.as_str()), ("87", "anna"));
    assert_eq!((action.request.acknowledge, action.request.message.as_deref()), (true, Some("on it")));

    let detail = json!({"id": action.id, "event_id": "87", "user": "anna", "reason": "may not close"});
    let refused = || {
        let detail_type = "ActionRefused".to_owned();
        signalbox_messages::BusEvent { id: "b".to_owned(), detail_type, source: String::new(), detail: detail.clone() }
    };
    world.route_events(vec![refused()]).await;
    world.route_events(vec![refused()]).await;
    let told = data_of(&world, "c1");
    assert_eq!(told, [json!({"refused": {"event_id": "87", "user": "anna", "reason": "may not close"}})]);
}

#[tokio::test(start_paused = true)]
async fn a_ticket_is_good_for_ten_minutes_and_no_longer_than_its_viewer() {
    let world = World::new().await;
    world.viewer("c1").await;
    let ticket = world.send("c1", r#"{"id":2,"rpc":{"method":"status.ticket"}}"#).await[0]["rpc"]["data"].clone();
    let (key, now) = (world.default.tickets.clone().unwrap(), signalbox_lambda::now_ms() / 1000);
    let (token, end) = (ticket["token"].as_str().unwrap(), ticket["expires_at"].as_i64().unwrap());
    assert!((now + 590..=now + 600).contains(&end));
    assert!(key.is_good(token, end - 1) && !key.is_good(token, end));
}
