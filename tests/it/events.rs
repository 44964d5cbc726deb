//! Every file of events/ is what its handler gets: read at compile time, decoded, and handled where nothing but the table is
//! needed. `sam local invoke` uses the same files.

use aws_lambda_events::{apigw::ApiGatewayWebsocketProxyRequest, sqs::SqsEvent};
use lambda_http::request::LambdaRequest;
use serde_json::Value;
use signalbox_lambda::sqs;
use signalbox_messages::{BusEvent, ItemValues, StatusChanged};

use crate::world::{World, pass};

macro_rules! event {
    ($path:literal) => {
        ($path, include_str!(concat!("../../events/", $path, ".json")))
    };
}

const EVENTS: &[(&str, &str)] = &[
    event!("api/legacy"),
    event!("api/malformed"),
    event!("api/publish"),
    event!("api/unknown-method"),
    event!("api/wrong-key"),
    event!("fanout/batch"),
    event!("fanout/shard"),
    event!("fanout/unknown-task"),
    event!("keeper/minute"),
    event!("migrate/create"),
    event!("migrate/day"),
    event!("migrate/delete"),
    event!("migrate/update"),
    event!("query/availability"),
    event!("query/availability-of-services-as-csv"),
    event!("query/history"),
    event!("query/history-of-group"),
    event!("query/response"),
    event!("query/status"),
    event!("query/timeline"),
    event!("query/wrong-key"),
    event!("recorder/batch"),
    event!("recorder/batch-with-garbage"),
    event!("status-router/host-changed"),
    event!("status-router/item-values"),
    event!("status-router/problem"),
    event!("status-router/recovery"),
    event!("status-router/update"),
    event!("status-router/zabbix-seen"),
    event!("ws-connect/authorized-origin"),
    event!("ws-connect/foreign-origin"),
    event!("ws-connect/no-origin"),
    event!("ws-default/connect"),
    event!("ws-default/connect-and-subscribe"),
    event!("ws-default/connect-without-token"),
    event!("ws-default/garbage"),
    event!("ws-default/snapshot"),
    event!("ws-default/unknown-command"),
    event!("ws-disconnect/closed-by-client"),
    event!("ws-disconnect/idle"),
    event!("zabbix-poller/minute"),
    event!("zabbix-acknowledge/acknowledge"),
    event!("zabbix-connector/bad-line"),
    event!("zabbix-connector/events"),
    event!("zabbix-connector/history"),
    event!("zabbix-connector/no-token"),
    event!("zabbix-connector/not-ndjson"),
    event!("zabbix-connector/wrong-token"),
    event!("zabbix-webhook/bad-signature"),
    event!("zabbix-webhook/no-event-id"),
    event!("zabbix-webhook/no-signature"),
    event!("zabbix-webhook/not-json"),
    event!("zabbix-webhook/problem"),
    event!("zabbix-webhook/recovery"),
    event!("zabbix-webhook/update"),
    event!("zabbix-webhook/v6-problem"),
    event!("zabbix-webhook/v6-recovery"),
    event!("zabbix-webhook/v6-update"),
];

fn event(path: &str) -> &'static str {
    EVENTS.iter().find(|(name, _)| *name == path).unwrap().1
}

fn of(function: &str) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    EVENTS.iter().filter(move |(name, _)| name.starts_with(&format!("{function}/")))
}

#[test]
fn every_events_file_is_tested() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
    let mut found = Vec::new();
    for function in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for file in std::fs::read_dir(&function).unwrap().map(|entry| entry.unwrap().path()) {
            let name = [function.file_name().unwrap(), file.file_stem().unwrap()].map(|part| part.to_str().unwrap());
            found.push(name.join("/"));
        }
    }
    found.sort();
    let mut listed: Vec<_> = EVENTS.iter().map(|(name, _)| (*name).to_owned()).collect();
    listed.sort();
    assert_eq!(found, listed);
}

#[tokio::test(start_paused = true)]
async fn socket_events_are_answered_as_the_readme_says() {
    let world = World::new().await;
    let socket = |path: &str| serde_json::from_str::<ApiGatewayWebsocketProxyRequest>(event(path)).unwrap();
    for (path, status) in
        [("ws-connect/foreign-origin", 403), ("ws-connect/authorized-origin", 200), ("ws-connect/no-origin", 200)]
    {
        assert_eq!(ws_connect::handle(&world.connect, socket(path)).await.unwrap().status_code, status, "{path}");
    }
    let id = socket("ws-default/connect").request_context.connection_id.unwrap();
    let answers = async |path: &str| {
        let before = world.posts.lines(&id).len();
        assert_eq!(ws_default::handle(&world.default, socket(path)).await.unwrap().status_code, 200, "{path}");
        world.posts.lines(&id).split_off(before)
    };
    assert!(answers("ws-default/connect-and-subscribe").await[1]["subscribe"].is_object());
    assert!(answers("ws-default/snapshot").await[0]["rpc"]["data"]["problems"].is_array());
    assert_eq!(answers("ws-default/unknown-command").await[0]["push"]["disconnect"]["code"], 3501);
    ws_connect::handle(&world.connect, socket("ws-connect/authorized-origin")).await.unwrap();
    assert_eq!(answers("ws-default/garbage").await[0]["push"]["disconnect"]["code"], 3501);
    ws_connect::handle(&world.connect, socket("ws-connect/authorized-origin")).await.unwrap();
    assert_eq!(answers("ws-default/connect-without-token").await[0]["push"]["disconnect"]["code"], 3501);
    ws_connect::handle(&world.connect, socket("ws-connect/authorized-origin")).await.unwrap();
    assert!(answers("ws-default/connect").await[0]["connect"].is_object());
    for (path, _) in of("ws-disconnect") {
        assert_eq!(ws_disconnect::handle(&world.disconnect, socket(path)).await.unwrap().status_code, 200, "{path}");
    }
    assert_eq!(world.tables.table.connection(&id).await.unwrap(), None);
}

/// As the queue hands it over.
async fn routed(world: &World, path: &str) {
    let batch: SqsEvent = serde_json::from_str(event(path)).unwrap();
    let response =
        sqs::process(batch, &sqs::DeadLetters::Redrive, |records| status_router::handle(&world.router, records)).await;
    assert_eq!(response.batch_item_failures.len(), 0, "{path}");
}

#[tokio::test(start_paused = true)]
async fn router_events_are_routed() {
    let world = World::new().await;
    world.watcher("c1").await;
    for path in ["status-router/problem", "status-router/update", "status-router/recovery"] {
        routed(&world, path).await;
    }
    let states: Vec<_> = world.published("c1").iter().map(|problem| problem["state"].clone()).collect();
    assert_eq!(states, ["open", "open", "resolved"]);
}

/// Would fail if a board could not tell a calm Zabbix from a silent one, live or from its snapshot.
#[tokio::test(start_paused = true)]
async fn what_a_poll_told_of_zabbix_and_a_host_reaches_viewers_and_the_snapshot() {
    let world = World::new().await;
    world.watcher("c1").await;
    for path in ["status-router/zabbix-seen", "status-router/host-changed"] {
        for _ in 0..2 {
            routed(&world, path).await;
        }
    }
    let told = |field: &str| -> Vec<Value> {
        let lines = world.posts.lines("c1");
        lines.iter().filter_map(|line| line.pointer("/push/pub/data")?.get(field).cloned()).collect()
    };
    assert_eq!(told("zabbix").iter().map(|seen| &seen["failure"]["code"]).collect::<Vec<_>>(), ["unreachable"]);
    assert_eq!(told("host").iter().map(|host| &host["state"]["disabled"]).collect::<Vec<_>>(), [true]);
    world.viewer("c2").await;
    let request = r#"{"id":9,"rpc":{"method":"status.snapshot","data":{}}}"#;
    let page = &world.send("c2", request).await[0]["rpc"]["data"];
    assert_eq!(page["zabbix"]["failure"]["code"], "unreachable", "{page}");
    assert_eq!(page["hosts"][0]["state"]["disabled"], true);
}

#[tokio::test(start_paused = true)]
async fn webhook_events_are_stale_as_they_lie_and_taken_when_signed_again() {
    let world = World::new().await;
    for (path, text) in of("zabbix-webhook") {
        let request = lambda_http::Request::from(serde_json::from_str::<LambdaRequest>(text).unwrap());
        let (parts, body) = request.into_parts();
        let stale = lambda_http::Request::from_parts(parts, lambda_http::Body::Text(text_of(&body)));
        assert_eq!(zabbix_webhook::handle(&world.webhook, stale).await.status(), 401, "{path}");
        let expected = match *path {
            "zabbix-webhook/no-event-id" => 422,
            "zabbix-webhook/not-json" => 400,
            _ => 200,
        };
        assert_eq!(world.notify(&text_of(&body)).await.status(), expected, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn connector_events_are_answered_as_the_readme_says() {
    let world = World::new().await;
    for (path, status, says) in [
        ("zabbix-connector/events", 200, r#""accepted":2"#),
        ("zabbix-connector/history", 200, r#""accepted":1"#),
        ("zabbix-connector/bad-line", 200, r#""line":2"#),
        ("zabbix-connector/no-token", 401, "no_token"),
        ("zabbix-connector/wrong-token", 401, "bad_token"),
        ("zabbix-connector/not-ndjson", 400, "not_ndjson"),
    ] {
        let request = lambda_http::Request::from(serde_json::from_str::<LambdaRequest>(event(path)).unwrap());
        let response = zabbix_connector::handle(&world.connector, request).await;
        assert_eq!(response.status(), status, "{path}");
        assert!(text_of(response.body()).contains(says), "{path}: {:?}", response.body());
    }
    assert_eq!(of("zabbix-connector").count(), 6);
    assert_eq!((world.bus.messages().len(), world.bus.of::<ItemValues>().len()), (3, 1));
    // without the namespace `items` there is nobody to tell
    routed(&world, "status-router/item-values").await;
}

#[tokio::test(start_paused = true)]
async fn server_api_events_are_answered_as_the_readme_says() {
    let world = World::new().await;
    world.watcher("c1").await;
    let publisher = world.default.publisher.clone();
    let state =
        api::State::new(publisher, world.default.channels.clone(), Some("example-api-key-0123456789"), "here").unwrap();
    for (path, status, says) in [
        ("api/publish", 200, r#""offset":1"#),
        ("api/legacy", 200, r#""nodes""#),
        ("api/malformed", 400, ""),
        ("api/unknown-method", 404, ""),
        ("api/wrong-key", 401, ""),
    ] {
        let request = lambda_http::Request::from(serde_json::from_str::<LambdaRequest>(event(path)).unwrap());
        let response = api::handle(&state, request).await;
        assert_eq!(response.status(), status, "{path}");
        assert!(text_of(response.body()).contains(says), "{path}: {:?}", response.body());
    }
    assert_eq!(of("api").count(), 5);
    assert_eq!(world.pushes("c1", "pub")[0]["data"]["hello"], "world");
}

#[tokio::test(start_paused = true)]
async fn the_keeper_s_minute_sweeps_and_pings() {
    let world = World::new().await;
    world.open("stale").await;
    pass(40).await;
    let state = keeper::State { publisher: world.default.publisher.clone() };
    keeper::handle(&state, serde_json::from_str(event("keeper/minute")).unwrap()).await.unwrap();
    assert_eq!(world.pushes("stale", "disconnect")[0]["code"], 3502);
}

#[tokio::test(start_paused = true)]
async fn fan_out_events_are_tasks_that_are_done_or_told_of() {
    let world = World::new().await;
    let state = fanout::State {
        publisher: world.default.publisher.clone(),
        channels: world.default.channels.clone(),
        dead_letters: None,
    };
    for (path, tasks, failed) in [("fanout/shard", 1, 0), ("fanout/batch", 4, 0), ("fanout/unknown-task", 1, 1)] {
        let event: SqsEvent = serde_json::from_str(event(path)).unwrap();
        assert_eq!(event.records.len(), tasks, "{path}");
        let done = async |batch: Vec<sqs::Record<fanout::Task>>| fanout::handle(&state, batch).await;
        let response = sqs::process(event, &sqs::DeadLetters::Redrive, done).await;
        assert_eq!(response.batch_item_failures.len(), failed, "{path}");
    }
}

fn text_of(body: &lambda_http::Body) -> String {
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn recorder_events_hold_what_the_recorder_records() {
    for (path, records) in [("recorder/batch", 3), ("recorder/batch-with-garbage", 2)] {
        let event: SqsEvent = serde_json::from_str(event(path)).unwrap();
        let all = event.records.len();
        let response = sqs::process(
            event,
            &sqs::DeadLetters::Redrive,
            async |batch: Vec<sqs::Record<BusEvent<StatusChanged>>>| {
                assert_eq!(batch.len(), records, "{path}");
                Ok(vec![sqs::Outcome::Stored; batch.len()])
            },
        )
        .await;
        assert_eq!(response.batch_item_failures.len(), all - records, "{path}: garbage goes to redrive");
    }
}

#[test]
fn query_and_migrate_events_have_the_shape_of_theirs() {
    for (path, text) in of("query") {
        let request = lambda_http::Request::from(serde_json::from_str::<LambdaRequest>(text).unwrap());
        assert!(request.uri().path().starts_with("/api/status"), "{path}");
        assert!(request.headers().contains_key("x-api-key"), "{path}");
    }
    for (path, text) in of("migrate") {
        let request: Value = serde_json::from_str(text).unwrap();
        let scheduled = request["source"] == "aws.events";
        assert!(scheduled || request["ResponseURL"].is_string() && request["RequestType"].is_string(), "{path}");
    }
}

/// A migration without it would not be applied: CloudFormation calls a custom resource only when its properties change.
#[test]
fn the_template_s_schema_version_is_the_newest_migration_s() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let newest = std::fs::read_dir(root.join("shared/postgres/migrations"))
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_prefix('V')?.split_once("__")?.0.parse::<u32>().ok()
        })
        .max()
        .unwrap();
    let template = std::fs::read_to_string(root.join("template.yaml")).unwrap();
    let line = template.lines().find_map(|line| line.trim().strip_prefix("SchemaVersion:")).unwrap();
    assert_eq!(line.trim().trim_matches(['"', '\'']).parse::<u32>().unwrap(), newest);
}
