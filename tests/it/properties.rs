//! The invariants of the design (P1 to P11), each on many interleavings of the real handlers: `gateway` decides who goes next, what
//! fails and who dies, from a seed.
//!
//! "Broken:" names what was broken on purpose, and that the test then failed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use proptest::{prelude::Strategy, strategy::Just};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    gateway::{
        cloud::{Cloud, Weathers},
        dynamo::{Lie, Mutation},
        oracle::{Report, look},
        schedule::{Death, Schedule},
        sdk::{Sdk, Seen, Wanted},
        seeds::{check, notices},
        sockets::{Scripted, Sender, Weather},
    },
    world::{ORIGIN, TOKEN_SECRET, connect_command, signed, token},
};
use signalbox_publishing::PostError;

/// A namespace of each kind.
const CHANNELS: &str = r#"{
    "client": {"stale_close_delay": "10s"},
    "channel": {"namespaces": [
        {"name": "chat", "history_size": 300, "history_ttl": "10m", "force_positioning": true, "force_recovery": true,
         "allow_subscribe_for_client": true, "allow_publish_for_client": true},
        {"name": "big", "history_size": 300, "history_ttl": "10m", "force_positioning": true, "force_recovery": true,
         "allow_subscribe_for_client": true, "shards": 3},
        {"name": "diff", "history_size": 300, "history_ttl": "10m", "force_positioning": true, "force_recovery": true,
         "allow_subscribe_for_client": true, "allowed_delta_types": ["fossil"], "delta_publish": true},
        {"name": "tags", "history_size": 300, "history_ttl": "10m", "force_positioning": true, "force_recovery": true,
         "allow_subscribe_for_client": true, "allow_tags_filter": true},
        {"name": "room", "history_size": 300, "history_ttl": "10m", "force_positioning": true, "force_recovery": true,
         "allow_subscribe_for_client": true, "presence": true, "join_leave": true, "force_push_join_leave": true},
        {"name": "server", "history_size": 300, "history_ttl": "10m", "force_positioning": true, "force_recovery": true},
        {"name": "typing", "allow_subscribe_for_client": true},
        {"name": "secret", "history_size": 300, "history_ttl": "10m", "force_positioning": true, "force_recovery": true}
    ]}
}"#;

/// A crash is healed within this: the lease (10 s), the keeper's minute, and its work.
const HEALED: Duration = Duration::from_secs(75);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sky {
    /// Nothing fails; the order is anybody's guess.
    Calm,
    /// Requests and posts fail.
    Rough,
    /// And invocations die.
    Deadly,
}

impl Sky {
    fn weathers(self) -> Weathers {
        match self {
            Self::Calm => Weathers::calm(),
            Self::Rough => Weathers::rough(),
            Self::Deadly => Weathers::deadly(),
        }
    }
}

/// Publishers and subscribers of one channel.
#[derive(Debug, Clone)]
struct Storm {
    channel: &'static str,
    sky: Sky,
    publishers: usize,
    /// Publications of each.
    each: usize,
    subscribers: usize,
    /// Networks that go away meanwhile.
    losses: usize,
}

fn storms(channel: &'static str, sky: Sky) -> impl Strategy<Value = Storm> {
    (1..=5_usize, 1..=4_usize, 1..=4_usize, 0..=3_usize).prop_map(move |(publishers, each, subscribers, losses)| {
        Storm { channel, sky, publishers, each, subscribers, losses }
    })
}

fn wanted(channel: &str, n: usize) -> Wanted {
    match channel.split(':').next() {
        Some("diff") => Wanted { delta: true, ..Wanted::default() },
        Some("tags") if n > 0 => Wanted { tf: Some(only_even()), ..Wanted::default() },
        _ => Wanted::default(),
    }
}

fn only_even() -> Value {
    json!({"key": "parity", "cmp": "eq", "val": "even"})
}

/// A payload that a delta is worth while for.
fn payload(by: usize, n: usize) -> Value {
    json!({"by": by, "n": n, "parity": if n.is_multiple_of(2) { "even" } else { "odd" }, "text": "the same in every publication ".repeat(4)})
}

async fn pause(schedule: &Schedule, most_ms: u64) {
    let ms = schedule.draw(|rng| rng.u64(..most_ms));
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// What a publication came to: its offset and its data, if it was acknowledged.
type Acknowledged = Vec<(u64, Value)>;

/// Publishes, and says what was acknowledged.
async fn publishing(cloud: Cloud, channel: &'static str, by: usize, each: usize) -> Acknowledged {
    let mut acknowledged = Vec::new();
    for n in 0..each {
        pause(&cloud.schedule, 1_500).await;
        let data = payload(by, n);
        let body = json!({"channel": channel, "data": data, "tags": {"parity": data["parity"]}});
        acknowledged.extend(cloud.publish_with(body).await.map(|offset| (offset, data)));
    }
    acknowledged
}

/// Runs a storm, lets the sky clear, and looks at everything.
async fn weathered(schedule: Schedule, storm: Storm, broken: Option<Rule>) -> Vec<Report> {
    let Storm { channel, sky, publishers, each, subscribers, losses } = storm;
    let cloud = Cloud::new(&schedule, CHANNELS);
    cloud.dynamo.set_mutation(broken.map(|rule| Arc::new(rule) as Mutation));
    cloud.set_weather(sky.weathers());
    cloud.start_workers();
    cloud.start_keeper();
    let clients: Vec<Sdk> =
        (0..subscribers).map(|n| cloud.subscriber_with(&format!("u{n}"), channel, wanted(channel, n))).collect();
    let published: Vec<_> = (0..publishers)
        .map(|by| schedule.spawn(format!("publisher {by}"), None, publishing(cloud.clone(), channel, by, each)))
        .collect();
    for _ in 0..losses {
        pause(&schedule, 2_000).await;
        let (which, told) = schedule.draw(|rng| (rng.usize(..subscribers), rng.bool()));
        clients[which].lose_network(told);
    }
    let mut acknowledged = Vec::new();
    for one in published {
        acknowledged.extend(one.join().await.unwrap());
    }
    // P6: from here on nobody dies, and what the dead have left is healed
    cloud.set_weather(Weathers::default());
    tokio::time::sleep(HEALED).await;
    cloud.settled().await;
    let truth = cloud.truth(channel).await;
    assert_eq!(truth.delivered, truth.top, "delivered {HEALED:?} after the last crash");
    for (offset, data) in acknowledged {
        assert_eq!(
            truth.entries.get(&offset),
            Some(&Some(data)),
            "acknowledged, and at {offset} stands something else"
        );
    }
    let mut reports = Vec::new();
    for (n, client) in clients.iter().enumerate() {
        client.until_subscribed(channel).await;
        let filtered = wanted(channel, n).tf.is_some();
        let skips = |_, data: &Value| filtered && data["parity"] == "odd";
        let report = look(client.name(), &client.seen(channel), &truth, true, skips);
        reports.push(report.unwrap_or_else(|wrong| panic!("{wrong}\n{truth:?}")));
        assert_eq!(client.violations(), Vec::<String>::new());
    }
    assert_eq!(cloud.sockets.surfaced(), Vec::<String>::new(), "errors that API Gateway would show a client");
    assert_eq!(cloud.workers.dead(), Vec::<String>::new());
    reports
}

/// Nothing but the order is left to chance: no publication comes twice, none is missing, and nobody has to begin again but who lost
/// its network.
async fn calm(schedule: Schedule, storm: Storm) {
    for report in weathered(schedule, storm, None).await {
        assert_eq!((report.repeated, report.not_recovered, report.interrupted), (0, 0, 0));
    }
}

async fn not_calm(schedule: Schedule, storm: Storm) {
    weathered(schedule, storm, None).await;
}

#[test]
fn p1_p2_everybody_gets_everything_once_and_in_one_order() {
    check("calm", 10, storms("chat:a", Sky::Calm), calm);
}

#[test]
fn p1_p2_requests_that_fail_leave_no_gap() {
    check("rough", 10, storms("chat:a", Sky::Rough), not_calm);
}

#[test]
fn p1_p2_p6_whoever_dies_leaves_no_gap_for_longer_than_75_seconds() {
    check("deadly", 16, storms("chat:a", Sky::Deadly), not_calm);
}

#[test]
fn p1_p2_workers_post_in_order_too() {
    check("workers calm", 5, storms("big:a", Sky::Calm), calm);
    check("workers deadly", 8, storms("big:a", Sky::Deadly), not_calm);
}

#[test]
fn p1_deltas_are_made_against_what_the_client_has() {
    check("delta calm", 6, storms("diff:a", Sky::Calm), calm);
    // broken: whoever has a position is taken to have the document as well
    notices("delta calm", 40, storms("diff:a", Sky::Calm), |schedule, storm| async move {
        let has_it: Rule = |_, body| {
            if let Some(base) = body.pointer_mut("/ExpressionAttributeValues/:base") {
                *base = json!({"BOOL": true});
            }
        };
        weathered(schedule, storm, Some(has_it)).await;
    });
}

/// A deliverer dies between its posts and its release, and the next one posts the same: the SDKs apply the first delta a second time.
#[test]
fn p1_deltas_that_are_posted_again_do_no_harm() {
    check("delta deadly", 10, storms("diff:a", Sky::Deadly), not_calm);
}

#[test]
fn p1_a_filter_leaves_out_what_it_should_and_nothing_else() {
    check("tags", 6, storms("tags:a", Sky::Deadly), not_calm);
    // broken: the row does not have the filter, and has another one
    let without: Rule = |_, body| filters(body, None);
    let another: Rule = |_, body| filters(body, Some(r#"{"key":"parity","cmp":"eq","val":"odd"}"#));
    for broken in [without, another] {
        notices("tags", 30, storms("tags:a", Sky::Calm), move |schedule, storm| async move {
            weathered(schedule, storm, Some(broken)).await;
        });
    }
}

/// Rows of subscribers are written with this filter.
fn filters(body: &mut Value, filter: Option<&str>) {
    for item in body["TransactItems"].as_array_mut().into_iter().flatten() {
        let Some(row) = item.pointer_mut("/Put/Item").and_then(Value::as_object_mut) else { continue };
        if row.remove("tf").is_some() {
            row.extend(filter.map(|filter| ("tf".to_owned(), json!({ "S": filter }))));
        }
    }
}

/// A payload with a name.
fn named(name: &str) -> Value {
    json!({ "name": name })
}

/// The sky clears, and what the dead have left is healed.
async fn healed(cloud: &Cloud) {
    cloud.set_weather(Weathers::default());
    tokio::time::sleep(HEALED).await;
    cloud.settled().await;
}

/// Breaks a rule that is a condition or a part of a request to DynamoDB.
pub(crate) type Rule = fn(&str, &mut Value);

fn replace(body: &mut Value, name: &str, from: &str, to: &str) {
    if let Some(text) = body[name].as_str().filter(|text| text.contains(from)) {
        body[name] = json!(text.replace(from, to));
    }
}

/// Broken: a deliverer lets go although something was appended.
pub(crate) fn lets_go(operation: &str, body: &mut Value) {
    if operation == "UpdateItem" {
        let always = "holder = :holder AND (#offset = :delivered OR #offset <> :delivered)";
        replace(body, "ConditionExpression", "holder = :holder AND #offset = :delivered", always);
    }
}

/// Broken: two may deliver at once.
pub(crate) fn two_deliver(operation: &str, body: &mut Value) {
    if operation == "UpdateItem" {
        let free = "attribute_not_exists(holder) OR lease_until < :now";
        replace(body, "ConditionExpression", free, &format!("{free} OR attribute_exists(holder)"));
    }
}

/// Broken: a row is ready as if nothing had been published meanwhile.
pub(crate) fn never_behind(operation: &str, body: &mut Value) {
    let behind = body.pointer_mut("/ExpressionAttributeValues/:behind");
    if let Some(behind) = behind.filter(|_| operation == "UpdateItem") {
        *behind = json!({"BOOL": false});
    }
}

/// Broken: the keeper does not learn what is pending.
pub(crate) fn unknown_to_the_keeper(operation: &str, body: &mut Value) {
    let shard = body.pointer_mut("/ExpressionAttributeValues/:shard");
    if let Some(shard) = shard.filter(|_| operation == "UpdateItem") {
        *shard = json!({"S": "held#nowhere"});
    }
}

/// Each of these is broken on purpose, and the storms notice: there was a gap, a swap, a repetition, or something that was never
/// delivered.
#[test]
fn p1_p2_p6_storms_notice_when_a_rule_is_broken() {
    let rules: [(&str, Sky, Rule); 4] = [
        ("a deliverer lets go although something was appended", Sky::Calm, lets_go),
        ("two may deliver at once", Sky::Calm, two_deliver),
        ("a row is ready as if nothing had been published meanwhile", Sky::Calm, never_behind),
        ("the keeper does not learn what is pending", Sky::Deadly, unknown_to_the_keeper),
    ];
    for (rule, sky, broken) in rules {
        notices(rule, 120, storms("chat:a", sky), move |schedule, storm| async move {
            let reports = weathered(schedule, storm, Some(broken)).await;
            assert!(sky != Sky::Calm || reports.iter().all(|report| report.repeated == 0 && report.interrupted == 0));
        });
    }
}

/// A condition of one of a transaction's puts holds whatever stands there.
fn overwrites(body: &mut Value, pk: &str) {
    for item in body["TransactItems"].as_array_mut().into_iter().flatten() {
        let Some(put) = item.get_mut("Put") else { continue };
        if put["Item"]["pk"]["S"].as_str().is_some_and(|key| key.starts_with(pk)) {
            let condition = put["ConditionExpression"].as_str().unwrap();
            put["ConditionExpression"] = json!(format!("attribute_exists(pk) OR {condition}"));
        }
    }
}

#[test]
fn p3_one_key_is_one_publication_at_one_offset() {
    check("keys", 8, Just(()), |schedule, ()| repeated_keys(schedule, None));
    // broken: a key is written over
    notices("keys", 60, Just(()), |schedule, ()| repeated_keys(schedule, Some(|_, body| overwrites(body, "idem#"))));
}

async fn repeated_keys(schedule: Schedule, broken: Option<Rule>) {
    let cloud = Cloud::new(&schedule, CHANNELS);
    cloud.dynamo.set_mutation(broken.map(|rule| Arc::new(rule) as Mutation));
    cloud.set_weather(Weathers::deadly());
    cloud.start_keeper();
    let watcher = cloud.subscriber("watcher", "chat:a");
    let callers: Vec<_> = (0..5)
        .map(|caller| {
            let (cloud, key) = (cloud.clone(), format!("k{}", caller % 2));
            schedule.spawn(format!("caller {caller}"), None, async move {
                let mut offsets = Vec::new();
                // a caller that hears nothing asks again
                for _ in 0..3 {
                    pause(&cloud.schedule, 1_500).await;
                    let body = json!({"channel": "chat:a", "data": named(&key), "idempotency_key": key});
                    offsets.extend(cloud.publish_with(body).await);
                }
                (key, offsets)
            })
        })
        .collect();
    let mut answers: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for caller in callers {
        let (key, offsets) = caller.join().await.unwrap();
        answers.entry(key).or_default().extend(offsets);
    }
    healed(&cloud).await;
    let truth = cloud.truth("chat:a").await;
    for (key, offsets) in answers {
        let places: BTreeSet<u64> =
            truth.entries.iter().filter(|(_, data)| **data == Some(named(&key))).map(|(offset, _)| *offset).collect();
        assert!(places.len() <= 1, "{key} was published at {places:?}");
        assert!(offsets.is_subset(&places), "{key} is at {places:?}, and callers heard {offsets:?}");
    }
    watcher.until_subscribed("chat:a").await;
    look("watcher", &watcher.seen("chat:a"), &truth, true, |_, _| false).unwrap();
}

#[test]
fn p4_an_older_version_never_follows_a_newer_one() {
    check("versions", 8, Just(()), |schedule, ()| versions(schedule, None));
    // broken: whatever version was published last, another one is written over it
    notices("versions", 60, Just(()), |schedule, ()| versions(schedule, Some(|_, body| overwrites(body, "ver#"))));
}

async fn versions(schedule: Schedule, broken: Option<Rule>) {
    let cloud = Cloud::new(&schedule, CHANNELS);
    cloud.dynamo.set_mutation(broken.map(|rule| Arc::new(rule) as Mutation));
    cloud.set_weather(Weathers::deadly());
    cloud.start_keeper();
    let watcher = cloud.subscriber("watcher", "chat:a");
    let writers: Vec<_> = (1..=7_u64)
        .map(|version| {
            let cloud = cloud.clone();
            schedule.spawn(format!("version {version}"), None, async move {
                pause(&cloud.schedule, 1_500).await;
                let body = json!({"channel": "chat:a", "data": {"version": version}, "version": version});
                cloud.publish_with(body).await.map(|_| version)
            })
        })
        .collect();
    let mut newest = 0;
    for writer in writers {
        newest = newest.max(writer.join().await.unwrap().unwrap_or(0));
    }
    healed(&cloud).await;
    let truth = cloud.truth("chat:a").await;
    let versions: Vec<u64> = truth.entries.values().flatten().map(|data| data["version"].as_u64().unwrap()).collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    assert!(versions.last().copied().unwrap_or(0) >= newest, "{newest} was acknowledged, {versions:?} published");
    watcher.until_subscribed("chat:a").await;
    look("watcher", &watcher.seen("chat:a"), &truth, true, |_, _| false).unwrap();
}

/// Moments at which a publication arrived at a socket.
fn arrivals(cloud: &Cloud, id: &str) -> Vec<Instant> {
    let posts = cloud.sockets.posts();
    let own = posts.iter().filter(|posted| posted.connection_id == id && posted.frame.contains(r#""pub":"#));
    own.map(|posted| posted.at).collect()
}

/// Whether a line arrived at a socket.
fn arrived(cloud: &Cloud, id: &str, pointer: &str, value: &Value) -> bool {
    cloud.sockets.lines(id).iter().any(|line| line.pointer(pointer) == Some(value))
}

/// A socket that a test plays by itself, of a client that is connected and asks to subscribe.
async fn raw(cloud: &Cloud, id: &str, token: &str, channel: &str) {
    cloud.sockets.open_as(id, ORIGIN).await;
    let subscribe = json!({"id": 2, "subscribe": {"channel": channel}}).to_string();
    cloud.sockets.send(id, &[connect_command(1, token), subscribe].join("\n"));
}

/// Somebody publishes every now and then.
fn publisher(cloud: &Cloud, channel: &'static str, times: usize) {
    let cloud = cloud.clone();
    cloud.schedule.clone().spawn("publisher", None, async move {
        for n in 0..times {
            pause(&cloud.schedule, 4_000).await;
            cloud.publish(channel, &payload(0, n)).await;
        }
    });
}

/// Broken: `Publisher::serve` posts without asking whether the row's time is over (`current`).
#[test]
fn p5_nothing_arrives_after_a_token_is_over_nor_after_an_unsubscribe() {
    /// A round that began before may go on posting for as long as its lease lasts.
    const ROUND: Duration = Duration::from_secs(10);
    check("rights", 4, Just(()), |schedule, ()| async move {
        let cloud = Cloud::new(&schedule, CHANNELS);
        cloud.set_weather(Weathers { kill: 0.3, ..Weathers::calm() });
        cloud.start_keeper();
        let began = Instant::now();
        let until = |user: &str| {
            let exp = signalbox_clock::now_ms() / 1000 + 40;
            signed(&json!({"sub": user, "exp": exp}), TOKEN_SECRET)
        };
        raw(&cloud, "ends=", &until("ends"), "chat:a").await;
        raw(&cloud, "leaves=", &token("leaves"), "chat:a").await;
        raw(&cloud, "put-out=", &token("put-out"), "chat:a").await;
        raw(&cloud, "foreign=", &token("foreign"), "secret:a").await;
        publisher(&cloud, "chat:a", 60);
        publisher(&cloud, "secret:a", 5);
        tokio::time::sleep(Duration::from_secs(30)).await;
        cloud.sockets.send("leaves=", r#"{"id":3,"unsubscribe":{"channel":"chat:a"}}"#);
        let put_out = cloud.api("unsubscribe", json!({"user": "put-out", "channel": "chat:a"}), None).join().await;
        let put_out = put_out.flatten().is_some_and(|answer| answer.is_ok()).then(Instant::now);
        cloud.settled().await;
        for id in ["ends=", "leaves=", "put-out="] {
            assert!(!arrivals(&cloud, id).is_empty(), "{id} got nothing at all: {:?}", cloud.sockets.lines(id));
        }
        // 40 s and the grace of 25, rounded up to seconds
        let end = began + Duration::from_secs(40 + 25 + 1);
        assert!(arrivals(&cloud, "ends=").iter().all(|at| *at <= end), "after its token was over");
        let left = cloud
            .sockets
            .posts()
            .iter()
            .find(|posted| posted.connection_id == "leaves=" && posted.frame.contains(r#""unsubscribe":{}"#))
            .map(|posted| posted.at);
        for (id, at) in [("leaves=", left), ("put-out=", put_out)] {
            let late = at.map(|at| arrivals(&cloud, id).iter().filter(|arrival| **arrival > at + ROUND).count());
            assert_eq!(late.unwrap_or(0), 0, "{id}: {:?}", cloud.sockets.lines(id));
        }
        assert_eq!(arrivals(&cloud, "foreign="), []);
        let refused =
            cloud.sockets.lines("foreign=").iter().any(|line| line.pointer("/error/code") == Some(&json!(103)));
        assert!(refused, "{:?}", cloud.sockets.lines("foreign="));
    });
}

/// A disconnect of the server API, one for what the client sent (3501) and the client's own going: nothing that is published after
/// that is posted to the connection, and nothing arrives.
#[test]
fn p5_nothing_arrives_after_a_disconnect() {
    check("ended", 3, Just(()), |schedule, ()| ended(schedule, None));
    // broken: the row of the subscription stays
    notices("ended", 5, Just(()), |schedule, ()| ended(schedule, Some(row_stays)));
}

/// The row of a subscriber is not deleted.
pub(crate) fn row_stays(operation: &str, body: &mut Value) {
    let pk = body.pointer_mut("/Key/pk/S").filter(|_| operation == "DeleteItem");
    if let Some(pk) = pk.filter(|pk| pk.as_str().is_some_and(|pk| pk.starts_with("ch#"))) {
        *pk = json!("nothing");
    }
}

async fn ended(schedule: Schedule, broken: Option<Rule>) {
    const CHANNELS_EACH: [&str; 3] = ["chat:a", "big:a", "typing:a"];
    let cloud = Cloud::new(&schedule, CHANNELS);
    cloud.dynamo.set_mutation(broken.map(|rule| Arc::new(rule) as Mutation));
    cloud.set_weather(Weathers::calm());
    cloud.start_workers();
    for id in ["api=", "wrong=", "gone=", "stays="] {
        raw(&cloud, id, &token(id), CHANNELS_EACH[0]).await;
        for (n, channel) in (3..).zip(&CHANNELS_EACH[1..]) {
            cloud.sockets.send(id, &json!({"id": n, "subscribe": {"channel": channel}}).to_string());
        }
    }
    cloud.settled().await;
    for channel in CHANNELS_EACH {
        let cloud = cloud.clone();
        schedule.clone().spawn(format!("publisher {channel}"), None, async move {
            for _ in 0..12 {
                pause(&cloud.schedule, 2_000).await;
                let begun = u64::try_from(signalbox_clock::now_ms()).unwrap();
                cloud.publish(channel, &json!({"begun": begun})).await;
            }
        });
    }
    pause(&schedule, 6_000).await;
    let now = || u64::try_from(signalbox_clock::now_ms()).unwrap();
    let mut over = BTreeMap::new();
    let told = cloud.api("disconnect", json!({"user": "api="}), None).join().await;
    assert!(matches!(told, Some(Some(Ok(_)))), "{told:?}");
    over.insert("api=", now());
    cloud.sockets.send("wrong=", "what is this");
    while cloud.sockets.is_alive("wrong=") {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    over.insert("wrong=", now());
    cloud.sockets.close_and_wait("gone=").await;
    over.insert("gone=", now());
    cloud.settled().await;
    for (id, over) in over {
        let late = cloud.sockets.tried(id).into_iter().filter(|tried| {
            let lines = tried.frame.split('\n').map(|line| serde_json::from_str::<Value>(line).unwrap());
            lines.filter_map(|line| line.pointer("/push/pub/data/begun")?.as_u64()).any(|begun| begun > over)
        });
        assert_eq!(late.map(|late| late.frame).collect::<Vec<_>>(), Vec::<String>::new(), "{id} was over at {over}");
    }
    for (id, code) in [("api=", 3503), ("wrong=", 3501)] {
        assert!(arrived(&cloud, id, "/push/disconnect/code", &json!(code)), "{:?}", cloud.sockets.lines(id));
    }
    // and there was something to get
    assert!(arrivals(&cloud, "stays=").len() >= 12, "{:?}", cloud.sockets.lines("stays="));
}

/// Several publish into a channel without history, each one publication after the other; those who listen stay connected.
#[derive(Debug, Clone)]
struct Chatter {
    publishers: usize,
    each: usize,
    subscribers: usize,
    /// What is wrong with one connection more.
    bad: usize,
}

fn chatter() -> impl Strategy<Value = Chatter> {
    (2..=4_usize, 2..=5_usize, 2..=4_usize, 0..6_usize).prop_map(|(publishers, each, subscribers, bad)| Chatter {
        publishers,
        each,
        subscribers,
        bad,
    })
}

/// What an ephemeral namespace promises: whoever is subscribed and stays connected gets a publication once at most, and those of one
/// publisher in their order. In a calm sky it gets all that were acknowledged, whatever dies and whatever connection beside it is bad.
#[test]
fn ephemeral_publications_come_once_at_most_and_in_order() {
    check("ephemeral calm", 8, chatter(), |schedule, chatter| ephemeral(schedule, chatter, Sky::Calm, Sender::Usual));
    check("ephemeral deadly", 10, chatter(), |schedule, chatter| {
        ephemeral(schedule, chatter, Sky::Deadly, Sender::Usual)
    });
    // broken: what was not answered is posted again, and posts are not waited for
    for sender in [Sender::Insists, Sender::Forgets] {
        notices("ephemeral deadly", 60, chatter(), move |schedule, chatter| {
            ephemeral(schedule, chatter, Sky::Deadly, sender)
        });
    }
}

async fn ephemeral(schedule: Schedule, chatter: Chatter, sky: Sky, sender: Sender) {
    let Chatter { publishers, each, subscribers, bad } = chatter;
    let cloud = Cloud::new(&schedule, CHANNELS);
    cloud.start_keeper();
    let clients: Vec<Sdk> = (0..subscribers).map(|n| cloud.subscriber(&format!("u{n}"), "typing:a")).collect();
    for client in &clients {
        client.until_subscribed("typing:a").await;
    }
    raw(&cloud, "bad=", &token("bad"), "typing:a").await;
    cloud.settled().await;
    cloud.sockets.script("bad=", trouble(bad));
    cloud.sockets.set_sender(sender);
    cloud.set_weather(sky.weathers());
    let published: Vec<_> = (0..publishers)
        .map(|by| {
            let cloud = cloud.clone();
            schedule.spawn(format!("publisher {by}"), None, async move {
                let mut acknowledged = Vec::new();
                for n in 0..each {
                    // API Gateway may have for another 400 ms what nobody waits for any more
                    tokio::time::sleep(Duration::from_millis(401)).await;
                    pause(&cloud.schedule, 1_500).await;
                    // the first one of them dies now and then, under whatever sky
                    let dies = by == 0 && cloud.schedule.chance(0.5);
                    let death = cloud.schedule.draw(|rng| Death { gate: rng.usize(..8), after: rng.bool() });
                    let body = json!({"channel": "typing:a", "data": payload(by, n)});
                    let death = if dies { Some(death) } else { cloud.death() };
                    let answer = cloud.api("publish", body, death).join().await;
                    acknowledged.extend(matches!(answer, Some(Some(Ok(_)))).then_some((by, n)));
                }
                acknowledged
            })
        })
        .collect();
    let mut acknowledged = BTreeSet::new();
    for one in published {
        acknowledged.extend(one.join().await.unwrap());
    }
    cloud.set_weather(Weathers::default());
    cloud.settled().await;
    for client in &clients {
        let got: Vec<(usize, usize)> = client
            .seen("typing:a")
            .into_iter()
            .filter_map(|moment| match moment.seen {
                Seen::Publication { data, .. } => Some(data),
                _ => None,
            })
            .map(|data| {
                let number = |name: &str| usize::try_from(data[name].as_u64().unwrap()).unwrap();
                (number("by"), number("n"))
            })
            .collect();
        for by in 0..publishers {
            let of_one: Vec<usize> = got.iter().filter(|(publisher, _)| *publisher == by).map(|(_, n)| *n).collect();
            assert!(of_one.is_sorted_by(|a, b| a < b), "{} got of {by}: {of_one:?}", client.name());
        }
        if sky == Sky::Calm {
            let lacks: Vec<_> = acknowledged.iter().filter(|one| !got.contains(one)).collect();
            assert!(lacks.is_empty(), "{} never got {lacks:?}", client.name());
            assert_eq!(client.codes(), Vec::<u64>::new());
        }
        assert_eq!(client.violations(), Vec::<String>::new());
    }
    if sky == Sky::Calm {
        assert!(acknowledged.len() >= (publishers - 1) * each, "a publisher was told of the bad one: {acknowledged:?}");
    }
    assert_eq!(cloud.sockets.surfaced(), Vec::<String>::new());
}

#[test]
fn p1_a_subscription_that_the_server_made_gets_everything_and_recovers() {
    check("server side", 5, Just(()), |schedule, ()| async move {
        let cloud = Cloud::new(&schedule, CHANNELS);
        cloud.set_weather(Weathers::calm());
        let client = cloud.client("u0", true);
        client.connect();
        assert!(client.until(Duration::from_mins(1), |sdk| sdk.times_connected() == 1).await);
        let publishing = schedule.spawn("publisher", None, publishing(cloud.clone(), "server:a", 0, 4));
        pause(&schedule, 2_000).await;
        let subscribe = json!({"user": "u0", "channel": "server:a"});
        cloud.api("subscribe", subscribe.clone(), None).join().await.unwrap().unwrap().unwrap();
        assert!(client.until(Duration::from_secs(30), |sdk| sdk.is_server_subscribed("server:a")).await);
        publishing.join().await.unwrap();
        let own = client.publish("chat:a", &payload(1, 0)).await;
        assert!(own.is_ok(), "{own:?}");
        cloud.settled().await;
        let truth = cloud.truth("server:a").await;
        assert_eq!(truth.delivered, 4);
        let report = look("u0", &client.seen("server:a"), &truth, true, |_, _| false).unwrap();
        assert_eq!((report.repeated, report.dropped), (0, 0));
        assert_eq!(client.violations(), Vec::<String>::new());
    });
}

/// A binary frame, and one over 32 KB: API Gateway closes the socket.
#[test]
fn p11_frames_that_api_gateway_does_not_take_leave_no_row() {
    check("not taken", 4, proptest::bool::ANY, |schedule, binary| async move {
        let cloud = Cloud::new(&schedule, CHANNELS);
        raw(&cloud, "C=", &token("u0"), "chat:a").await;
        cloud.settled().await;
        if binary {
            cloud.sockets.send_binary("C=");
        } else {
            cloud.sockets.send("C=", &"x".repeat(32 * 1024 + 1));
        }
        cloud.settled().await;
        assert!(!cloud.sockets.is_alive("C="));
        assert_eq!(cloud.rows_of_connections(), Vec::<String>::new());
    });
}

#[test]
fn p6_rows_of_connections_that_went_without_a_word_vanish() {
    check("rows", 4, Just(()), |schedule, ()| gone_without_a_word(schedule, None));
    // broken: the keeper does not find connections in the index
    let blind: Rule = |operation, body| {
        let due = operation == "Query" && body["IndexName"] == "due";
        let shard = body.pointer_mut("/ExpressionAttributeValues/:shard/S").filter(|_| due);
        if let Some(shard) = shard.filter(|shard| shard.as_str().is_some_and(|shard| shard.starts_with("conn#"))) {
            *shard = json!("conn#nowhere");
        }
    };
    notices("rows", 4, Just(()), move |schedule, ()| gone_without_a_word(schedule, Some(blind)));
    // broken: the list of a user's connections is left out when a connection is removed
    notices("rows", 4, Just(()), |schedule, ()| gone_without_a_word(schedule, Some(|_, body| keeps(body, "user#"))));
}

/// A batch of deletes leaves out the items of that kind.
pub(crate) fn keeps(body: &mut Value, kind: &str) {
    let requests = body.pointer_mut("/RequestItems/connections").and_then(Value::as_array_mut);
    for request in requests.into_iter().flatten() {
        let pk = request.pointer_mut("/DeleteRequest/Key/pk/S");
        if let Some(pk) = pk.filter(|pk| pk.as_str().is_some_and(|pk| pk.starts_with(kind))) {
            *pk = json!("nothing");
        }
    }
}

async fn gone_without_a_word(schedule: Schedule, broken: Option<Rule>) {
    let cloud = Cloud::new(&schedule, CHANNELS);
    cloud.dynamo.set_mutation(broken.map(|rule| Arc::new(rule) as Mutation));
    let deaf = Weather { no_disconnect: 1.0, kill: 0.3, ..Weather::default() };
    cloud.set_weather(Weathers { sockets: deaf, kill: 0.3, ..Weathers::default() });
    cloud.start_keeper();
    let clients: Vec<_> = (0..4).map(|n| cloud.subscriber(&format!("u{n}"), "room:a")).collect();
    tokio::time::sleep(Duration::from_secs(20)).await;
    for client in &clients {
        client.lose_network(schedule.draw(fastrand::Rng::bool));
        client.disconnect();
    }
    // one more that opens a socket and says nothing
    cloud.sockets.open_as("silent=", ORIGIN).await;
    cloud.settled().await;
    let deaf = Weather { no_disconnect: 1.0, ..Weather::default() };
    cloud.set_weather(Weathers { sockets: deaf, ..Weathers::default() });
    // API Gateway gives up a silent socket after ten minutes, and the keeper comes round in eight
    tokio::time::sleep(Duration::from_mins(20)).await;
    cloud.settled().await;
    assert_eq!(cloud.rows_of_connections(), Vec::<String>::new());
    assert!(!cloud.sockets.is_alive("silent="));
}

#[test]
fn p6_without_a_keeper_rows_vanish_within_their_ttl() {
    check("ttl", 2, Just(()), |schedule, ()| until_the_ttl(schedule, None));
    // broken: the row of a subscriber has no end
    let eternal: Rule = |_, body| {
        for item in body["TransactItems"].as_array_mut().into_iter().flatten() {
            let row = item.pointer_mut("/Put/Item").and_then(Value::as_object_mut);
            row.filter(|row| row["pk"]["S"].as_str().is_some_and(|pk| pk.starts_with("ch#")))
                .map(|row| row.remove("ttl"));
        }
    };
    notices("ttl", 2, Just(()), move |schedule, ()| until_the_ttl(schedule, Some(eternal)));
}

async fn until_the_ttl(schedule: Schedule, broken: Option<Rule>) {
    let cloud = Cloud::new(&schedule, CHANNELS);
    cloud.dynamo.set_mutation(broken.map(|rule| Arc::new(rule) as Mutation));
    let deaf = Weather { no_disconnect: 1.0, ..Weather::default() };
    cloud.set_weather(Weathers { sockets: deaf, ..Weathers::default() });
    let client = cloud.subscriber("u0", "room:a");
    client.until_subscribed("room:a").await;
    assert!(cloud.publish("room:a", &payload(0, 0)).await.is_some());
    client.lose_network(false);
    client.disconnect();
    assert_ne!(cloud.rows_of_connections(), Vec::<String>::new());
    tokio::time::sleep(Duration::from_mins(131)).await;
    cloud.dynamo.sweep();
    assert_eq!(cloud.rows_of_connections(), Vec::<String>::new());
}

/// Ten minutes of silence and two hours in all: the keeper's pings prevent the one, and its asking to reconnect the other.
#[test]
fn p1_sockets_outlive_the_quotas_of_api_gateway() {
    check("quotas", 1, Just(()), |schedule, ()| async move {
        let cloud = Cloud::new(&schedule, CHANNELS);
        cloud.start_keeper();
        let client = cloud.subscriber("u0", "chat:a");
        client.until_subscribed("chat:a").await;
        tokio::time::sleep(Duration::from_mins(80)).await;
        assert_eq!(client.times_connected(), 1, "the keeper's pings keep it open: {:?}", client.codes());
        cloud.publish("chat:a", &payload(0, 0)).await.unwrap();
        tokio::time::sleep(Duration::from_mins(38)).await;
        client.until_subscribed("chat:a").await;
        assert_eq!(client.codes(), [3011], "sent away to come back before the two hours are over");
        cloud.publish("chat:a", &payload(0, 1)).await.unwrap();
        cloud.settled().await;
        let truth = cloud.truth("chat:a").await;
        let report = look("u0", &client.seen("chat:a"), &truth, true, |_, _| false).unwrap();
        assert_eq!((report.distinct, report.not_recovered), (2, 0));
    });
}

/// Broken: one connection after the other instead of 128 at once (`POSTS_AT_ONCE`).
#[test]
fn p7_one_bad_connection_neither_fails_nor_delays_the_others() {
    for how in 0..6 {
        check("bad one", 1, Just(how), beside_a_bad_one);
    }
}

/// Six things that may be wrong with a connection.
fn trouble(how: usize) -> Vec<Scripted> {
    let next = match how {
        0 => Scripted::Fail(PostError::Unavailable("429".to_owned())),
        1 => Scripted::Fail(PostError::Unavailable("503".to_owned())),
        2 => Scripted::Fail(PostError::Gone),
        3 => Scripted::Fail(PostError::TooLarge),
        4 => Scripted::Fail(PostError::Refused("403".to_owned())),
        _ => Scripted::Delay(Duration::from_secs(30)),
    };
    vec![next; 40]
}

async fn beside_a_bad_one(schedule: Schedule, how: usize) {
    let cloud = Cloud::new(&schedule, CHANNELS);
    let good: Vec<String> = (0..6).map(|n| format!("good{n}=")).collect();
    for id in good.iter().map(String::as_str).chain(["bad="]) {
        raw(&cloud, id, &token(id), "chat:a").await;
    }
    cloud.settled().await;
    cloud.sockets.script("bad=", trouble(how));
    let began = Instant::now();
    for n in 0..3 {
        assert!(cloud.publish("chat:a", &payload(0, n)).await.is_some(), "the publisher is not told of it");
    }
    cloud.settled().await;
    let truth = cloud.truth("chat:a").await;
    assert_eq!((truth.top, truth.delivered), (3, 3));
    for id in &good {
        let arrivals = arrivals(&cloud, id);
        let offsets: Vec<_> =
            cloud.sockets.lines(id).iter().filter_map(|line| line.pointer("/push/pub/offset")?.as_u64()).collect();
        assert_eq!(offsets, [1, 2, 3], "{id}");
        assert!(arrivals[0] < began + Duration::from_secs(1), "{id} got the first after {:?}", arrivals[0] - began);
    }
    // 410 says that nobody is there to be told
    let told = how == 2 || arrived(&cloud, "bad=", "/push/unsubscribe/code", &json!(2500));
    assert!(told || !cloud.sockets.is_alive("bad="), "the bad one goes on believing that it has everything");
}

#[test]
fn p8_tasks_that_come_again_post_nothing_again() {
    check("again", 4, storms("big:a", Sky::Calm), |schedule, storm| repeated_tasks(schedule, storm, None));
    // broken: a worker does not find the mark that says how far its shard is
    let forgetful: Rule = |operation, body| {
        let pk = body.pointer_mut("/Key/pk/S").filter(|_| operation == "GetItem");
        if let Some(pk) = pk.filter(|pk| pk.as_str().is_some_and(|pk| pk.starts_with("fan#"))) {
            *pk = json!("fan#nowhere");
        }
    };
    notices("again", 20, storms("big:a", Sky::Calm), move |schedule, storm| {
        repeated_tasks(schedule, storm, Some(forgetful))
    });
}

async fn repeated_tasks(schedule: Schedule, storm: Storm, broken: Option<Rule>) {
    let cloud = Cloud::new(&schedule, CHANNELS);
    cloud.dynamo.set_mutation(broken.map(|rule| Arc::new(rule) as Mutation));
    let mut weathers = Weathers::calm();
    weathers.workers.again = 0.7;
    cloud.set_weather(weathers);
    cloud.start_workers();
    let clients: Vec<Sdk> = (0..3).map(|n| cloud.subscriber(&format!("u{n}"), "big:a")).collect();
    publishing(cloud.clone(), "big:a", 0, storm.publishers + storm.each).await;
    cloud.set_weather(Weathers::default());
    cloud.settled().await;
    let truth = cloud.truth("big:a").await;
    assert!(cloud.workers.tasks() > 3 * (storm.publishers + storm.each), "tasks came again");
    for client in clients {
        client.until_subscribed("big:a").await;
        let report = look(client.name(), &client.seen("big:a"), &truth, true, |_, _| false).unwrap();
        assert_eq!((report.repeated, report.interrupted), (0, 0));
    }
}

/// How often each client joined, and how often it left, as one saw it.
fn joins_and_leaves(watcher: &Sdk) -> (BTreeMap<String, usize>, BTreeMap<String, usize>) {
    let (mut joined, mut left) = (BTreeMap::new(), BTreeMap::new());
    for moment in watcher.seen("room:a") {
        match moment.seen {
            Seen::Join { client } => *joined.entry(client).or_insert(0) += 1,
            Seen::Leave { client } => *left.entry(client).or_insert(0) += 1,
            _ => {}
        }
    }
    (joined, left)
}

async fn comings_and_goings(schedule: Schedule, sky: Sky, broken: Option<Lie>) {
    let cloud = Cloud::new(&schedule, CHANNELS);
    if let Some(lie) = broken {
        cloud.dynamo.set_lie(lie);
    }
    let mut weathers = sky.weathers();
    // a push whose answer is lost comes twice, whoever sent it
    (weathers.sockets.arrived_unavailable, weathers.sockets.hang) = (0.0, 0.0);
    let watcher = cloud.subscriber("watcher", "room:a");
    watcher.until_subscribed("room:a").await;
    cloud.set_weather(weathers);
    cloud.start_keeper();
    let others: Vec<_> = (0..3).map(|n| cloud.subscriber(&format!("u{n}"), "room:a")).collect();
    for n in 0..4 {
        pause(&schedule, 3_000).await;
        let (who, how) = schedule.draw(|rng| (rng.usize(..3), rng.u8(..6)));
        match how {
            0 => others[who].lose_network(true),
            1 => others[who].lose_network(false),
            2 => drop(cloud.api("disconnect", json!({"user": format!("u{who}")}), cloud.death())),
            3 => others[who].unsubscribe("room:a"),
            4 => {
                // whose socket goes while somebody else ends it
                drop(cloud.api("disconnect", json!({"user": format!("u{who}")}), cloud.death()));
                others[who].lose_network(true);
            }
            _ => others[who].subscribe("room:a", Wanted::default()),
        }
        let cloud = cloud.clone();
        schedule.spawn(format!("publisher {n}"), None, async move { cloud.publish("room:a", &payload(0, n)).await });
    }
    pause(&schedule, 3_000).await;
    for other in &others {
        other.lose_network(schedule.draw(fastrand::Rng::bool));
        other.disconnect();
    }
    cloud.set_weather(Weathers::default());
    cloud.settled().await;
    // whose going nobody was told of: the keeper finds out
    tokio::time::sleep(Duration::from_mins(20)).await;
    cloud.settled().await;
    let (mut joined, left) = joins_and_leaves(&watcher);
    for (client, times) in &left {
        // whoever subscribed may have died before it told so
        let most = joined.get(client).copied().unwrap_or(0).max(1);
        assert!(*times <= most, "{client} joined {most} times and left {times} times");
    }
    if sky == Sky::Calm {
        // an unsubscribe that its next subscribe has overtaken is told by nobody: a second join follows then
        joined.remove(&watcher.client().unwrap());
        assert!(joined.keys().eq(left.keys()), "joined {joined:?}, left {left:?}");
    }
}

#[test]
fn p9_a_leave_is_told_once() {
    check("leaves calm", 4, Just(Sky::Calm), |schedule, sky| comings_and_goings(schedule, sky, None));
    check("leaves deadly", 5, Just(Sky::Deadly), |schedule, sky| comings_and_goings(schedule, sky, None));
    // broken: who deletes a row that somebody else has deleted before is given it all the same
    notices("leaves calm", 60, Just(Sky::Calm), |schedule, sky| {
        let deleted = std::sync::Mutex::new(BTreeMap::new());
        let given: Lie = Arc::new(move |operation, asked, answer| {
            if operation == "DeleteItem" && asked["Key"]["pk"]["S"].as_str().is_some_and(|pk| pk.starts_with("ch#")) {
                let mut deleted = deleted.lock().unwrap();
                if let Some(row) = answer.get("Attributes") {
                    deleted.insert(asked["Key"].to_string(), row.clone());
                } else if let Some(row) = deleted.get(&asked["Key"].to_string()) {
                    answer["Attributes"] = row.clone();
                }
            }
        });
        comings_and_goings(schedule, sky, Some(given))
    });
}

/// Broken: as many posts at once as there are rows (`POSTS_AT_ONCE`).
#[test]
fn p10_rows_are_read_no_faster_than_they_are_posted_to() {
    const ROWS: usize = 500;
    const PAGE: usize = 50;
    /// Posts at once, and the page that is read and the one before it.
    const MOST: usize = 128 + 2 * PAGE;
    check("rows", 1, Just(()), |schedule, ()| async move {
        let cloud = Cloud::new(&schedule, CHANNELS);
        raw(&cloud, "first=", &token("first"), "chat:a").await;
        cloud.settled().await;
        let item = cloud.dynamo.items().into_iter().find(|item| item["pk"]["S"] == "ch#chat:a#0").unwrap();
        for n in 1..ROWS {
            let id = format!("row{n}=");
            let mut item = item.clone();
            item["sk"] = json!({ "S": id });
            cloud.dynamo.put(&item);
            cloud.sockets.hold(&id);
            cloud.sockets.script(&id, [Scripted::Delay(Duration::from_millis(900))]);
        }
        let ahead = Arc::new(std::sync::Mutex::new((0, 0)));
        let (seen, sockets) = (ahead.clone(), cloud.sockets.clone());
        let before = sockets.posts().len();
        cloud.dynamo.set_mutation(Some(Arc::new(move |operation, body| {
            if operation == "Query" && body["ExpressionAttributeValues"][":pk"]["S"] == "ch#chat:a#0" {
                body["Limit"] = json!(PAGE);
                let (pages, most) = &mut *seen.lock().unwrap();
                *pages += 1;
                *most = (*most).max((*pages * PAGE).saturating_sub(sockets.posts().len() - before));
            }
        })));
        cloud.publish("chat:a", &payload(0, 0)).await.unwrap();
        cloud.settled().await;
        assert_eq!(cloud.sockets.posts().len() - before, ROWS);
        let (pages, most) = *ahead.lock().unwrap();
        assert!(pages >= ROWS / PAGE && most <= MOST, "{pages} pages, {most} rows ahead of the posts");
        let at_once = cloud.sockets.most_in_flight();
        assert!(at_once <= 128, "{at_once} posts at once");
    });
}
