//! What a publication costs in DynamoDB: round trips before its first post and in all, and write units, its index' among them.
//!
//! Every request is delayed by a proxy, which makes visible which of them waited for which.

use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use signalbox_lambda::env;
use tokio::io::AsyncBufReadExt as _;

use crate::{
    anchors::UnorderedLog,
    child::{Child, answer},
    database::{Database, Journaled},
    functions::{Channel, Environment, Options, payload, subscribers},
    meter::{Target, now_us, say, target},
    sink::Sink,
};

/// One request to DynamoDB; far above what this machine adds.
const ROUND_TRIP: Duration = Duration::from_millis(40);

const SUBSCRIBERS: usize = 10;

/// What a publisher's process is told.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Order {
    channel: String,
    key: Option<String>,
    version: Option<u64>,
    delta: bool,
    plain: bool,
}

/// What it answers.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Done {
    begun_us: u64,
    ended_us: u64,
}

pub(crate) async fn run() -> anyhow::Result<()> {
    let (sink, database) = (Sink::start().await?, Database::start().await?);
    let environment = Environment::new(database.proxied(), sink.endpoint())?;
    let channels = [("stream:cost", false), ("scores:cost", true), ("ephemeral:cost", false)];
    for (n, (channel, delta)) in channels.into_iter().enumerate() {
        subscribers(&environment, &sink, (n * SUBSCRIBERS, SUBSCRIBERS), channel, delta).await?;
    }
    database.delay(ROUND_TRIP).await?;
    let mut publisher = Child::start(&["publisher"], &environment.variables())?;
    let mut second = Child::start(&["publisher"], &environment.variables())?;
    let order = |channel: &str| Order { channel: channel.to_owned(), ..Order::default() };
    // connections, and a head that is there
    for publisher in [&mut publisher, &mut second] {
        tell(publisher, &Order { plain: true, ..order("stream:cost") }).await?;
        tell(publisher, &order("stream:cost")).await?;
        tell(publisher, &order("scores:cost")).await?;
    }
    say(
        "| publication | round trips before the first post | in all | requests | write units | of the index | read units |\n|---|---|---|---|---|---|---|",
    );
    let scenarios = [
        ("plain PutItem and Query, nothing promised (anchor)", Order { plain: true, ..order("stream:cost") }),
        ("with history, nobody else publishing", order("stream:cost")),
        ("the same with an idempotency key", Order { key: Some("key".to_owned()), ..order("stream:cost") }),
        ("the same key again", Order { key: Some("key".to_owned()), ..order("stream:cost") }),
        ("with a version", Order { version: Some(7), ..order("stream:cost") }),
        ("an older version", Order { version: Some(6), ..order("stream:cost") }),
        ("as a delta, to subscribers who want it", Order { delta: true, ..order("scores:cost") }),
        ("without history", order("ephemeral:cost")),
        ("the first of a channel without subscribers", order("stream:empty")),
    ];
    let (mut uncontended, mut before_first_post) = (Cost::default(), 0.0_f64);
    for (n, (name, order)) in scenarios.iter().enumerate() {
        database.journal().await?;
        sink.reset().await?;
        let done = match tell(&mut publisher, order).await {
            Ok(done) => done,
            Err(cause) => {
                say(&format!("| {name} | not measured: {cause:#} |"));
                publisher = Child::start(&["publisher"], &environment.variables())?;
                continue;
            }
        };
        let cost = Cost::of(&database.journal().await?, done, sink.arrived().await?.first_us);
        cost.print(name);
        before_first_post = before_first_post.max(cost.before_first_post);
        if n == 1 {
            uncontended = cost;
        }
    }
    let [first, next] = contended(&sink, &database, &mut publisher, &mut second).await?;
    first.print("with history, while somebody else posts");
    next.print("the next one of the same environment");
    say("");
    say(&format!(
        "on the head's partition: {} write units a publication alone, {} and then {} while somebody posts (a partition takes 1,000 a second)",
        uncontended.head_units, first.head_units, next.head_units
    ));
    anyhow::ensure!(uncontended.before_first_post > 0.0, "nothing was posted");
    target("round trips before the first post, the worst of these", before_first_post, Target::AtMost(2.0));
    Ok(())
}

/// Two publications one after another, while somebody else posts.
async fn contended(
    sink: &Sink,
    database: &Database,
    other: &mut Child,
    publisher: &mut Child,
) -> anyhow::Result<[Cost; 2]> {
    let order = Order { channel: "stream:cost".to_owned(), ..Order::default() };
    sink.delay(ROUND_TRIP * 12).await?;
    other.tell(&json!(order)).await?;
    // two round trips, and it posts
    tokio::time::sleep(ROUND_TRIP * 4).await;
    database.journal().await?;
    let mut costs = [Cost::default(); 2];
    for cost in &mut costs {
        let done = tell(publisher, &order).await?;
        *cost = Cost::of(&database.journal().await?, done, 0);
    }
    other.answer().await?;
    sink.delay(Duration::ZERO).await?;
    Ok(costs)
}

async fn tell(publisher: &mut Child, order: &Order) -> anyhow::Result<Done> {
    publisher.tell(&json!(order)).await?;
    let answer = publisher.answer().await?;
    serde_json::from_value(answer.clone()).with_context(|| answer.to_string())
}

#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    before_first_post: f64,
    round_trips: f64,
    requests: usize,
    write_units: f64,
    index_units: f64,
    read_units: f64,
    head_units: f64,
}

impl Cost {
    /// A request came after those that were over when it began: the longest such row is the round trips that were waited for.
    fn of(journal: &[Journaled], done: Done, first_post_us: u64) -> Self {
        let mut requests: Vec<&Journaled> =
            journal.iter().filter(|one| (done.begun_us..=done.ended_us).contains(&one.begun_us)).collect();
        requests.sort_by_key(|one| one.begun_us);
        let mut cost = Self { requests: requests.len(), ..Self::default() };
        let mut depths: Vec<(u64, f64)> = Vec::new();
        for one in requests {
            let waited_for = depths.iter().filter(|(ended, _)| *ended <= one.begun_us);
            let depth = 1.0 + waited_for.map(|(_, depth)| *depth).fold(0.0, f64::max);
            depths.push((one.ended_us, depth));
            if one.ended_us <= first_post_us {
                cost.before_first_post = cost.before_first_post.max(depth);
            }
            cost.round_trips = cost.round_trips.max(depth);
            cost.write_units += one.write_units;
            cost.index_units += one.index_units;
            cost.read_units += one.read_units;
            if one.items.iter().any(|item| item == "head") {
                cost.head_units += one.write_units;
            }
        }
        cost
    }

    fn print(&self, name: &str) {
        let before = if self.before_first_post > 0.0 { self.before_first_post.to_string() } else { "–".to_owned() };
        say(&format!(
            "| {name} | {before} | {} | {} | {} | {} | {} |",
            self.round_trips, self.requests, self.write_units, self.index_units, self.read_units
        ));
    }
}

/// The role: publishes what it is told, one after another, until nobody tells it anything more.
pub(crate) async fn publish() -> anyhow::Result<()> {
    let log = UnorderedLog::new(&signalbox_lambda::sdk_config()?, env::require("CONNECTION_TABLE")?);
    let mut orders = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    let mut channels = std::collections::HashMap::new();
    while let Some(line) = orders.next_line().await? {
        let order: Order = serde_json::from_str(&line)?;
        if !channels.contains_key(&order.channel) {
            channels.insert(order.channel.clone(), Channel::from_env(&order.channel).await?);
        }
        let channel = &channels[&order.channel];
        let begun_us = now_us();
        if order.plain {
            plain(channel, &log).await?;
        } else {
            let options = Options { idempotency_key: order.key, version: order.version, delta: order.delta };
            channel.publish(payload(1), &options).await?;
        }
        answer(&json!(Done { begun_us, ended_us: now_us() }));
    }
    Ok(())
}

async fn plain(channel: &Channel, log: &UnorderedLog) -> anyhow::Result<()> {
    let data = payload(1);
    let (put, ids) = tokio::join!(log.put(&channel.name, 1, &data), log.rows(&channel.name));
    put?;
    let text = format!(r#"{{"push":{{"channel":"{}","pub":{{"data":{data}}}}}}}"#, channel.name);
    let frame = signalbox_publishing::Frame::new(text);
    crate::posts::all(&ids?, &|id| async { Ok(channel.publisher.post(id, &frame).await?) }).await
}
