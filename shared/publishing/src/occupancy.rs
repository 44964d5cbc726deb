//! Who is there at all: channels with subscribers, connections, users. Counted where each is listed, nothing is scanned.

use std::collections::{BTreeMap, HashSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use signalbox_connections::{BUCKETS, REGISTRY_SHARDS};

use crate::publish::{Publisher, now_ms};

/// Channels whose subscribers are counted at once.
const COUNTS_AT_ONCE: usize = 64;

/// How much there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Connections whose `connect` was accepted.
    pub clients: u64,
    /// Distinct users among them; all anonymous ones are one.
    pub users: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Channels that have any.
    pub channels: u64,
}

impl Publisher {
    /// The channels that have subscribers, and how many each has: those whose names begin with `prefix` and that `matches` takes.
    /// Reads the list of such channels and counts the rows of each.
    pub async fn occupied_channels(
        &self,
        prefix: &str,
        matches: impl Fn(&str) -> bool,
    ) -> anyhow::Result<BTreeMap<String, u64>> {
        let now = now_ms() / 1000;
        let (matches, mut occupied) = (&matches, BTreeMap::new());
        let listed = stream::iter(0..REGISTRY_SHARDS)
            .map(|shard| async move {
                let (mut names, mut start) = (Vec::new(), None);
                loop {
                    let (page, next) = self.table.channels(shard, prefix, now, start).await?;
                    names.extend(page.into_iter().filter(|name| matches(name)));
                    start = next;
                    if start.is_none() {
                        return anyhow::Ok(stream::iter(names.into_iter().map(anyhow::Ok)));
                    }
                }
            })
            .buffer_unordered(REGISTRY_SHARDS as usize)
            .try_flatten();
        let mut counted = listed
            .map_ok(|channel| async move {
                let mut count = 0;
                for shard in 0..self.shards(&channel) {
                    count += self.table.count_subscribers(&channel, shard, now).await?;
                }
                Ok((channel, count))
            })
            .try_buffer_unordered(COUNTS_AT_ONCE);
        while let Some((channel, count)) = counted.try_next().await? {
            if count > 0 {
                occupied.insert(channel, count);
            }
        }
        Ok(occupied)
    }

    /// Everything there is. Reads the index of the connections, and what [`Publisher::occupied_channels`] reads.
    pub async fn occupancy(&self) -> anyhow::Result<Occupancy> {
        let everybody = async {
            let mut buckets = stream::iter(0..BUCKETS).map(|bucket| self.bucket_users(bucket)).buffer_unordered(8);
            let (mut clients, mut users) = (0, HashSet::new());
            while let Some((of_bucket, count)) = buckets.try_next().await? {
                clients += count;
                users.extend(of_bucket);
            }
            anyhow::Ok((clients, users.len() as u64))
        };
        let ((clients, users), occupied) = tokio::try_join!(everybody, self.occupied_channels("", |_| true))?;
        Ok(Occupancy { clients, users, subscriptions: occupied.values().sum(), channels: occupied.len() as u64 })
    }

    async fn bucket_users(&self, bucket: u32) -> anyhow::Result<(HashSet<String>, u64)> {
        let (mut users, mut clients, mut start) = (HashSet::new(), 0, None);
        loop {
            let (connections, next) = self.table.bucket_connections(bucket, start).await?;
            for user in connections.into_iter().filter_map(|connection| connection.user) {
                clients += 1;
                users.insert(user);
            }
            start = next;
            if start.is_none() {
                return Ok((users, clients));
            }
        }
    }
}
