//! The invariants of the design (P1 to P11), each on many interleavings of the real handlers: `gateway` decides who goes next, what
//! fails and who dies, from a seed.
//!
//! "Broken:" names what was broken on purpose, and that the test then failed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::{prelude::Strategy, strategy::Just};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    gateway::{
        cloud::{Cloud, Weathers},
        oracle::{Report, look},
        schedule::Schedule,
        sdk::{Sdk, Seen, SubState, Wanted},
        seeds::check,
        sockets::{Scripted, Weather},
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
    (1..=5_usize, 1..=4_usize, 1..=4_usize, 0..=3_usize).prop_map(move |(publishers, each, subscribers, losses)| Storm {
        channel,
        sky,
        publishers,
        each,
        subscribers,
        losses,
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
    json!({"by": by, "n": n, "parity": if n % 2 == 0 { "even" } else { "odd" }, "text": "the same in every publication ".repeat(4)})
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
        let answer = cloud.api("publish", body, cloud.death()).join().await;
        if let Some(Some(Ok(result))) = answer {
            acknowledged.push((result["offset"].as_u64().unwrap(), data));
        }
    }
    acknowledged
}

/// Runs a storm, lets the sky clear, and looks at everything.
async fn weathered(schedule: Schedule, storm: Storm) -> Vec<Report> {
    let Storm { channel, sky, publishers, each, subscribers, losses } = storm;
    let cloud = Cloud::new(&schedule, CHANNELS);
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
        assert_eq!(truth.entries.get(&offset), Some(&Some(data)), "acknowledged, and at {offset} stands something else");
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
    for report in weathered(schedule, storm).await {
        assert_eq!((report.repeated, report.not_recovered, report.interrupted), (0, 0, 0));
    }
}

async fn not_calm(schedule: Schedule, storm: Storm) {
    weathered(schedule, storm).await;
}

#[test]
fn p1_p2_everybody_gets_everything_once_and_in_one_order() {
    check("calm", 16, storms("chat:a", Sky::Calm), calm);
}

#[test]
fn p1_p2_requests_that_fail_leave_no_gap() {
    check("rough", 16, storms("chat:a", Sky::Rough), not_calm);
}

#[test]
fn p1_p2_p6_whoever_dies_leaves_no_gap_for_longer_than_75_seconds() {
    check("deadly", 24, storms("chat:a", Sky::Deadly), not_calm);
}

#[test]
fn p1_p2_workers_post_in_order_too() {
    check("workers calm", 8, storms("big:a", Sky::Calm), calm);
    check("workers deadly", 12, storms("big:a", Sky::Deadly), not_calm);
}

#[test]
fn p1_deltas_are_made_against_what_the_client_has() {
    check("delta calm", 6, storms("diff:a", Sky::Calm), calm);
    check("delta deadly", 10, storms("diff:a", Sky::Deadly), not_calm);
}

#[test]
fn p1_a_filter_leaves_out_what_it_should_and_nothing_else() {
    check("tags", 8, storms("tags:a", Sky::Deadly), not_calm);
}
