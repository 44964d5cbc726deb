//! The whole on the local cloud: the template deployed, the functions as processes, Postgres, a browser.

use std::{collections::BTreeSet, io::Write as _, path::Path, process::Command, time::Duration};

use serde_json::{Value, json};
use signalbox_connections::{ConnectionTable, LogItem, LogWrite, PublishKey, WritePublication, testing::local_config};
use signalbox_lambda::now_ms;
use tokio_postgres::types::Type;

use crate::cloud::{
    PATIENCE, Viewer, alone, api, body, changes, eventually, fresh_event_id, notify, notify_until_taken, request,
    shared,
};

/// Rows of the record of these problems.
async fn recorded(url: &str, ids: &[u64]) -> (i64, i64) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test process is not frozen")]
    let driver = tokio::spawn(connection);
    let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
    let count = async |table: &str| -> i64 {
        let query = format!("SELECT count(*) FROM {table} WHERE event_id::text = ANY($1)");
        let rows = client.query_typed(&query, &[(&ids, Type::TEXT_ARRAY)]).await.unwrap();
        rows[0].get(0)
    };
    let counts = (count("status_changes").await, count("problems").await);
    drop(client);
    driver.await.unwrap().unwrap();
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_problem_reaches_the_viewer_and_the_record_and_so_does_its_recovery() {
    let (cloud, _peace) = shared().await;
    let endpoints = cloud.endpoints();
    let mut viewer = Viewer::connect(endpoints).await;
    viewer.watch().await;
    let id = fresh_event_id();

    let (status, answer) = notify(endpoints, &body("problem", id)).await;
    assert_eq!(status, 200, "{answer}");
    let problem = viewer.problem(id, |_| true).await;
    assert_eq!((&problem["state"], &problem["severity"]), (&json!("open"), &json!(4)));

    notify(endpoints, &body("update", id)).await;
    viewer.problem(id, |problem| problem["acknowledged"] == true).await;
    notify(endpoints, &body("recovery", id)).await;
    viewer.problem(id, |problem| problem["state"] == "resolved").await;

    let mut other = Viewer::connect(endpoints).await;
    assert!(!other.snapshot().await.0.contains_key(&id.to_string()));
    eventually(PATIENCE, async || recorded(&endpoints.postgres_url, &[id]).await, |counts| *counts == (3, 1)).await;

    let key = [("x-api-key", endpoints.api_key.as_str())];
    let (status, history) =
        request("GET", &format!("{}/status/history?host=web-01", endpoints.api_url), &key, "").await;
    assert_eq!(status, 200, "{history}");
    let history: Value = serde_json::from_str(&history).unwrap();
    let kinds: BTreeSet<_> = history["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["event_id"].to_string().trim_matches('"') == id.to_string())
        .map(|event| event["kind"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, BTreeSet::from(["problem", "update", "recovery"].map(str::to_owned)), "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_answers_only_to_its_key() {
    let (cloud, _peace) = shared().await;
    let endpoints = cloud.endpoints();
    let url = format!("{}/status", endpoints.api_url);
    assert_eq!(request("GET", &url, &[], "").await.0, 401);
    assert_eq!(request("GET", &url, &[("x-api-key", "wrong")], "").await.0, 401);
    let (status, body) = request("GET", &url, &[("x-api-key", &endpoints.api_key)], "").await;
    assert_eq!(status, 200, "{body}");
    assert!(serde_json::from_str::<Value>(&body).unwrap()["problems"].is_array());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_signed_right_gets_nowhere() {
    let (cloud, _peace) = shared().await;
    let endpoints = cloud.endpoints();
    let text = body("problem", fresh_event_id()).to_string();
    assert_eq!(request("POST", &endpoints.webhook_url, &[], text.clone()).await.0, 401);
    let headers = [("x-zabbix-timestamp", "1795249486"), ("x-zabbix-signature", "sha256=00")];
    assert_eq!(request("POST", &endpoints.webhook_url, &headers, text).await.0, 401);
    assert_eq!(notify(endpoints, &json!([])).await.0, 400);
    let (status, answer) = notify(endpoints, &json!({"event_value": "1"})).await;
    assert_eq!((status, answer.contains("event_id")), (422, true), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_socket_is_told_why_and_closed() {
    let (cloud, _peace) = shared().await;
    for (frame, code) in
        [("garbage", 3501), (r#"{"id":1,"connect":{}}"#, 3501), (r#"{"id":1,"connect":{"token":"x"}}"#, 3500)]
    {
        let mut viewer = Viewer::open(cloud.endpoints()).await;
        viewer.send(frame).await;
        let line = viewer.next().await.unwrap();
        assert_eq!(line["push"]["disconnect"]["code"], code, "{line}");
        assert_eq!(viewer.next().await, None, "closed a second later");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_json_is_complete_and_the_board_is_served() {
    let (cloud, _peace) = shared().await;
    let endpoints = cloud.endpoints();
    let text = std::fs::read_to_string(endpoints.state_dir.join("endpoints.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    for key in [
        "ws_url",
        "api_url",
        "web_url",
        "webhook_url",
        "webhook_secret",
        "api_key",
        "token_secret",
        "postgres_url",
        "aws_endpoint_url",
    ] {
        assert!(json[key].as_str().is_some_and(|value| !value.is_empty()), "{key}");
    }
    assert!(endpoints.api_url.ends_with("/api"));
    let (status, page) = request("GET", &endpoints.web_origin, &[], "").await;
    assert!(status == 200 && page.contains("<title>"), "{status} {page}");
    let (_, config) = request("GET", &format!("{}/config.json", endpoints.web_origin), &[], "").await;
    assert_eq!(serde_json::from_str::<Value>(&config).unwrap()["ws_url"], endpoints.ws_url.as_str());
}

/// P6, P8, P12. A burst with every function killed in the middle of it, one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn functions_killed_in_a_burst_cost_nothing() {
    let (cloud, _peace) = alone().await;
    let endpoints = cloud.endpoints();
    let mut viewer = Viewer::connect(endpoints).await;
    viewer.watch().await;
    let ids: Vec<u64> = (0..60).map(|_| fresh_event_id()).collect();
    let functions = ["status-router", "recorder", "zabbix-webhook", "ws-default"];
    let burst = futures::future::join_all(ids.iter().enumerate().map(async |(n, id)| {
        tokio::time::sleep(Duration::from_millis(n as u64 * 40)).await;
        notify_until_taken(endpoints, &body("problem", *id)).await;
    }));
    let kills = async {
        for function in functions.iter().cycle().take(8) {
            tokio::time::sleep(Duration::from_millis(280)).await;
            cloud.kill_function(function).unwrap();
        }
    };
    tokio::join!(burst, kills);

    let wanted: BTreeSet<String> = ids.iter().map(u64::to_string).collect();
    let mut seen = BTreeSet::new();
    while seen != wanted {
        // a viewer that could not be told in time is disconnected on purpose
        let Some(line) = viewer.next().await else {
            viewer = viewer.back(endpoints).await;
            continue;
        };
        let told = changes(&line).filter_map(|problem| Some(problem["event_id"].as_str()?.to_owned()));
        seen.extend(told.filter(|id| wanted.contains(id)));
    }
    let (open, _) = Viewer::connect(endpoints).await.snapshot().await;
    assert!(wanted.iter().all(|id| open.contains_key(id)));
    let minutes = Duration::from_mins(2);
    eventually(minutes, async || recorded(&endpoints.postgres_url, &ids).await, |counts| *counts == (60, 60)).await;
}

/// The board does not need the database, and the record comes after.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_down_costs_no_record_and_no_liveness() {
    let (cloud, _peace) = alone().await;
    let endpoints = cloud.endpoints();
    let mut viewer = Viewer::connect(endpoints).await;
    viewer.watch().await;
    cloud.stop_postgres();
    let ids: Vec<u64> = (0..5).map(|_| fresh_event_id()).collect();
    for id in &ids {
        assert_eq!(notify(endpoints, &body("problem", *id)).await.0, 200);
        viewer.problem(*id, |_| true).await;
    }
    let url = format!("{}/status", endpoints.api_url);
    let (status, answer) = request("GET", &url, &[("x-api-key", &endpoints.api_key)], "").await;
    assert_eq!(status, 503, "{answer}");
    // long enough that the record queue has tried in vain
    tokio::time::sleep(Duration::from_secs(5)).await;
    cloud.start_postgres().unwrap();
    let minutes = Duration::from_mins(3);
    eventually(minutes, async || recorded(&endpoints.postgres_url, &ids).await, |counts| *counts == (5, 5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_the_board() {
    let (cloud, _peace) = alone().await;
    let endpoints = cloud.endpoints();
    let id = fresh_event_id();
    let mut viewer = Viewer::connect(endpoints).await;
    viewer.watch().await;
    notify(endpoints, &body("problem", id)).await;
    viewer.problem(id, |_| true).await;
    cloud.restart_ministack().unwrap();
    assert_eq!(viewer.next().await, None, "sockets do not survive");
    let mut again = Viewer::connect(endpoints).await;
    assert!(again.watch().await.contains_key(&id.to_string()));
    notify_until_taken(endpoints, &body("recovery", id)).await;
    again.problem(id, |problem| problem["state"] == "resolved").await;
}

/// P7 and the promise about dead letters: the reason goes with the message.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_can_never_be_stored_reaches_its_dead_letter_queue_with_the_reason() {
    let (cloud, _peace) = shared().await;
    let endpoints = cloud.endpoints();
    let output = |name: &str| endpoints.outputs[name].clone();
    let sqs = async |target: &str, body: Value| {
        let (status, answer) = sqs(&endpoints.aws_endpoint_url, target, &body).await;
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str::<Value>(&answer).unwrap_or_default()
    };
    let marker = format!("not an event {}", fresh_event_id());
    sqs("SendMessage", json!({"QueueUrl": output("RecordQueueUrl"), "MessageBody": marker})).await;
    let id = fresh_event_id();
    assert_eq!(notify(endpoints, &body("problem", id)).await.0, 200);

    let dead = eventually(
        PATIENCE,
        async || {
            let receive = json!({
                "QueueUrl": output("RecordDeadLetterQueueUrl"),
                "MessageAttributeNames": ["All"],
                "VisibilityTimeout": 0,
                "MaxNumberOfMessages": 10,
            });
            let messages = sqs("ReceiveMessage", receive).await["Messages"].clone();
            messages.as_array().and_then(|all| all.iter().find(|message| message["Body"] == marker.as_str()).cloned())
        },
        Option::is_some,
    )
    .await
    .unwrap();
    let reason = dead["MessageAttributes"]["Reason"]["StringValue"].as_str().unwrap();
    assert!(reason.contains("cannot be decoded"), "{dead}");
    eventually(PATIENCE, async || recorded(&endpoints.postgres_url, &[id]).await, |counts| *counts == (1, 1)).await;
}

/// An SQS call with a signature as the local cloud wants it: only the key's name counts.
async fn sqs(endpoint: &str, target: &str, body: &Value) -> (u16, String) {
    let target = format!("AmazonSQS.{target}");
    let headers = [
        ("content-type", "application/x-amz-json-1.0"),
        ("x-amz-target", target.as_str()),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=0",
        ),
    ];
    request("POST", endpoint, &headers, body.to_string()).await
}

/// The page itself, in a Chromium that is found. Where there is none it says so; `SIGNALBOX_REQUIRE_BROWSER=true` (CI) makes that
/// a failure.
#[tokio::test(flavor = "multi_thread")]
async fn the_board_in_a_browser() {
    let (cloud, _peace) = alone().await;
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web");
    let endpoints = cloud.endpoints().state_dir.join("endpoints.json");
    let output = Command::new("node")
        .arg("tests/board.e2e.mjs")
        .current_dir(web)
        .env("ENDPOINTS", endpoints)
        .output()
        .expect("node is a prerequisite");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // past the test harness, which keeps what is printed to itself: whether a browser was there is to be seen
    let last = said.trim_end().lines().last().unwrap_or_default();
    writeln!(std::io::stderr(), "{last}").unwrap();
    if output.status.code() == Some(77) {
        let required = std::env::var("SIGNALBOX_REQUIRE_BROWSER").is_ok_and(|value| value == "true");
        assert!(!required, "no browser was found and one is required");
        return;
    }
    assert!(output.status.success(), "{said}");
}

/// A channel that no other test uses.
fn channel(namespace: &str) -> String {
    format!("{namespace}:{}", fresh_event_id())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_api_publishes_and_tells_who_is_there() {
    let (cloud, _peace) = shared().await;
    let endpoints = cloud.endpoints();
    let channel = channel("loud");
    let mut viewer = Viewer::connect_as(endpoints, "berta").await;
    viewer.join(&channel).await;

    let published = api(endpoints, "publish", &json!({"channel": channel, "data": {"n": 1}})).await;
    assert_eq!(published["offset"], 1, "{published}");
    assert_eq!(viewer.publications(1).await, [json!({"n": 1})]);

    let presence = api(endpoints, "presence", &json!({"channel": channel})).await;
    let clients: Vec<_> = presence["presence"].as_object().unwrap().values().collect();
    assert!(clients.len() == 1 && clients[0]["user"] == "berta", "{presence}");
    let history = api(endpoints, "history", &json!({"channel": channel, "limit": 10})).await;
    assert_eq!(history["publications"][0]["data"], json!({"n": 1}), "{history}");
    let channels = api(endpoints, "channels", &json!({"pattern": channel})).await;
    assert_eq!(channels["channels"][&channel]["num_clients"], 1, "{channels}");

    api(endpoints, "disconnect", &json!({"user": "berta"})).await;
    // its own join is among the lines
    let code = loop {
        let line = viewer.next().await.expect("a disconnect push");
        if let Some(code) = line.pointer("/push/disconnect/code") {
            break code.clone();
        }
    };
    assert_eq!(code, 3503);
    let stats = async || api(endpoints, "presence_stats", &json!({"channel": channel})).await["num_clients"].clone();
    eventually(PATIENCE, stats, |clients| *clients == 0).await;
}

/// P8. The test is the publisher that dies between its write and its post; nobody publishes after it.
#[tokio::test(flavor = "multi_thread")]
async fn the_keeper_delivers_what_a_dead_publisher_wrote() {
    let (cloud, _peace) = shared().await;
    let endpoints = cloud.endpoints();
    let channel = channel("large");
    let mut viewer = Viewer::connect(endpoints).await;
    viewer.join(&channel).await;

    let table = ConnectionTable::new(
        &local_config(&endpoints.aws_endpoint_url),
        endpoints.outputs["ConnectionTableName"].as_str(),
    );
    let (history_ttl, meta_ttl) = (Duration::from_mins(5), Duration::from_hours(1));
    let now = now_ms();
    let appended = table.append(&channel, "dead", now, Duration::from_secs(1), meta_ttl).await.unwrap();
    assert!(appended.held);
    let item = LogItem { data: json!({"last": "words"}).to_string(), ..LogItem::default() };
    let write = WritePublication {
        channel: &channel,
        head: &appended.head,
        item: &item,
        key: PublishKey::default(),
        now_s: now / 1000,
        history_ttl,
        meta_ttl,
    };
    assert_eq!(table.write_publication(&write).await.unwrap(), LogWrite::Written);

    // its minute, its lease, and some time to work
    let words =
        tokio::time::timeout(Duration::from_mins(3), patiently(&mut viewer)).await.expect("the keeper's minute");
    assert_eq!(words.unwrap().pointer("/push/pub/data"), Some(&json!({"last": "words"})));
    let delivered = async || table.find_head(&channel).await.unwrap().unwrap();
    eventually(PATIENCE, delivered, |head| head.delivered == 1 && head.holder.is_none()).await;
}

/// The next line that is no ping, however long it takes.
async fn patiently(viewer: &mut Viewer) -> Option<Value> {
    loop {
        match viewer.next_within(Duration::from_mins(3)).await {
            Some(line) if line == json!({}) => {}
            line => return line,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keeper_closes_a_socket_that_never_connects() {
    let (cloud, _peace) = shared().await;
    let mut silent = Viewer::open(cloud.endpoints()).await;
    let line = patiently(&mut silent).await.expect("a disconnect push");
    assert_eq!(line["push"]["disconnect"]["code"], 3502, "{line}");
    assert_eq!(patiently(&mut silent).await, None, "closed");
}

/// P1, P2. The workers of the FIFO queue.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_in_shards_reaches_every_socket_once_and_in_order() {
    const VIEWERS: usize = 18;
    const PUBLICATIONS: usize = 15;
    let (cloud, _peace) = shared().await;
    let endpoints = cloud.endpoints();
    let channel = channel("wide");
    let viewers = (0..VIEWERS).map(async |n| {
        let mut viewer = Viewer::connect_as(endpoints, &format!("wide-{n}")).await;
        viewer.join(&channel).await;
        viewer
    });
    let mut viewers = futures::future::join_all(viewers).await;
    for n in 0..PUBLICATIONS {
        api(endpoints, "publish", &json!({"channel": channel, "data": {"n": n}})).await;
    }
    let wanted: Vec<_> = (0..PUBLICATIONS).map(|n| json!({"n": n})).collect();
    for (at, viewer) in viewers.iter_mut().enumerate() {
        assert_eq!(viewer.publications(PUBLICATIONS).await, wanted, "viewer {at}");
    }
    // one more, and nothing before it: none came twice
    api(endpoints, "publish", &json!({"channel": channel, "data": "end"})).await;
    for (at, viewer) in viewers.iter_mut().enumerate() {
        assert_eq!(viewer.publications(1).await, [json!("end")], "viewer {at}");
    }
    let table = ConnectionTable::new(
        &local_config(&endpoints.aws_endpoint_url),
        endpoints.outputs["ConnectionTableName"].as_str(),
    );
    let offset = table.find_head(&channel).await.unwrap().unwrap().offset;
    for shard in 0..3 {
        let posted = async || table.fan_posted(&channel, shard).await.unwrap().map(|mark| mark.posted);
        eventually(PATIENCE, posted, |posted| *posted == Some(offset)).await;
    }
}
