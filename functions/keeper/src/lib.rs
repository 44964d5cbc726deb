//! Every minute: unfinished deliveries, connections whose time is over, sockets that must not fall asleep.
//!
//! What each of these is and how it is found is `signalbox_publishing`'s business; here is only when. One part that fails does
//! not keep the others from being done; it is the invocation's error then, and the next minute's work.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, future, stream};
use jiff::Timestamp;
use serde::Deserialize;
use signalbox_channels::ChannelsConfig;
use signalbox_connections::{BUCKETS, ConnectionTable, HELD_SHARDS};
use signalbox_lambda::{Boot, env};
use signalbox_publishing::{ApiGateway, FanOut, Gateway, Publisher, Swept};
use tokio::time::Instant;
use tracing::{error, info};

/// How long the parts go on taking up new work. The function's time-out (template.yaml, 60 s) leaves what is under way then the
/// time to end: a delivery that is cut off leaves its lease behind.
pub const WORK: Duration = Duration::from_secs(45);

/// Shards and buckets that are looked at side by side.
const AT_ONCE: usize = 4;

/// What the function keeps between events.
#[derive(Debug)]
pub struct State {
    /// The table and the way to the viewers.
    pub publisher: Publisher,
}

impl State {
    /// `CONNECTION_TABLE`, `CONNECTIONS_ENDPOINT`, `FANOUT_QUEUE_URL`, and `channels.json` beside the binary.
    pub async fn from_env(boot: &Boot) -> anyhow::Result<Self> {
        let aws = boot.aws()?;
        let table = ConnectionTable::new(&aws, env::require("CONNECTION_TABLE")?);
        let gateway = ApiGateway::new(&aws, &env::require("CONNECTIONS_ENDPOINT")?).await?;
        let channels = Arc::new(ChannelsConfig::parse(&signalbox_lambda::task_file("channels.json")?)?);
        Ok(Self {
            publisher: Publisher::new(table, Gateway::ApiGateway(Box::new(gateway)))
                .with_fan_out(FanOut::new(&aws, env::optional("FANOUT_QUEUE_URL")))
                .with_channels(channels),
        })
    }
}

/// A schedule's event, as far as it matters here.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Tick {
    /// When it was due. A repetition has the same.
    pub time: Timestamp,
}

impl Tick {
    /// The bucket of connections that is pinged in this minute: each has its turn every eight minutes, and API Gateway closes a
    /// socket after ten minutes of silence.
    fn bucket(self) -> u32 {
        let minute = self.time.as_second().div_euclid(60);
        u32::try_from(minute.rem_euclid(i64::from(BUCKETS))).unwrap_or(0)
    }
}

/// One minute's work.
pub async fn handle(state: &State, tick: Tick) -> anyhow::Result<()> {
    let until = Instant::now() + WORK;
    let (healed, swept, kept) = future::join3(
        heal(&state.publisher, until),
        sweep(&state.publisher, until),
        state.publisher.keep_alive(tick.bucket(), until),
    )
    .await;
    let failed: Vec<_> = [healed, swept, kept.map(told)].into_iter().filter_map(Result::err).collect();
    for cause in &failed {
        error!(error = format!("{cause:#}"), "part of the minute's work failed");
    }
    // an error has one cause; the log has them all
    failed.into_iter().next().map_or(Ok(()), Err)
}

async fn heal(publisher: &Publisher, until: Instant) -> anyhow::Result<()> {
    let healed: Vec<_> = stream::iter(0..HELD_SHARDS)
        .map(|shard| publisher.heal(shard, until))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let (healed, failed): (Vec<_>, Vec<_>) = healed.into_iter().partition(Result::is_ok);
    let healed: usize = healed.into_iter().flatten().sum();
    if healed > 0 {
        info!(channels = healed, "deliveries of deliverers that were gone");
    }
    count("Healed", healed);
    failed.into_iter().find_map(Result::err).map_or(Ok(()), Err)
}

async fn sweep(publisher: &Publisher, until: Instant) -> anyhow::Result<()> {
    let swept: Vec<_> =
        stream::iter(0..BUCKETS).map(|bucket| publisher.sweep(bucket, until)).buffer_unordered(AT_ONCE).collect().await;
    let (swept, failed): (Vec<_>, Vec<_>) = swept.into_iter().partition(Result::is_ok);
    let swept = swept.into_iter().flatten().fold(Swept::default(), |all, bucket| Swept {
        stale: all.stale + bucket.stale,
        expired: all.expired + bucket.expired,
        unsubscribed: all.unsubscribed + bucket.unsubscribed,
        reconnected: all.reconnected + bucket.reconnected,
        gone: all.gone + bucket.gone,
        oldest: all.oldest.max(bucket.oldest),
        unfinished: all.unfinished | bucket.unfinished,
    });
    if swept != Swept::default() {
        info!(?swept, "connections whose time was over");
    }
    count("Stale", swept.stale);
    count("Expired", swept.expired);
    count("Unsubscribed", swept.unsubscribed);
    count("Reconnected", swept.reconnected);
    count("Gone", swept.gone);
    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    metrics::gauge!("OldestDue").set(swept.oldest as f64);
    if swept.unfinished {
        metrics::counter!("SweepsUnfinished").increment(1);
    }
    failed.into_iter().find_map(Result::err).map_or(Ok(()), Err)
}

fn told((kept, gone): (usize, usize)) {
    count("Pinged", kept);
    count("Gone", gone);
}

fn count(name: &'static str, how_many: usize) {
    metrics::counter!(name).increment(how_many as u64);
}

#[cfg(test)]
mod tests;
