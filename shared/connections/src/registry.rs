use std::sync::PoisonError;

use anyhow::Context as _;

use crate::{
    attribute::{get_text, number, set, text},
    table::{ConnectionTable, PageStart, bucket, key, paged},
};

/// Partitions of the list of channels.
pub const REGISTRY_SHARDS: u32 = 8;

/// How long a channel is listed after it was last noted, seconds: longer than a connection lives, so that a channel is listed as
/// long as anybody who subscribed to it may still be there.
const LISTED_FOR: i64 = 3 * 60 * 60;

/// An environment notes a channel no more often than that, seconds.
const NOTED_EVERY: i64 = 10 * 60;

/// Channels that an environment remembers having noted.
const REMEMBERED: usize = 10_000;

fn registry_pk(shard: u32) -> String {
    format!("channels#{shard}")
}

impl ConnectionTable {
    /// Lists a channel. Most calls do nothing: an environment writes each channel every ten minutes at most.
    pub async fn note_channel(&self, channel: &str, now_s: i64) -> anyhow::Result<()> {
        {
            let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            if noted.get(channel).is_some_and(|at| now_s < at + NOTED_EVERY) {
                return Ok(());
            }
        }
        let mut item = key(registry_pk(bucket(channel, REGISTRY_SHARDS)), channel);
        set(&mut item, "ttl", number(now_s + LISTED_FOR));
        self.client.put_item().table_name(&self.table).set_item(Some(item)).send().await.context("note channel")?;
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.len() >= REMEMBERED {
            noted.clear();
        }
        noted.insert(channel.to_owned(), now_s);
        Ok(())
    }

    /// One page of the channels in a shard (of [`REGISTRY_SHARDS`]) whose names begin with `prefix` and to which somebody may be
    /// subscribed, in the order of their names.
    pub async fn channels(
        &self,
        shard: u32,
        prefix: &str,
        now_s: i64,
        start: Option<PageStart>,
    ) -> anyhow::Result<(Vec<String>, Option<PageStart>)> {
        let mut query = self
            .partition(registry_pk(shard))
            // TTL removes items late
            .filter_expression("#ttl >= :now")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":now", number(now_s));
        if !prefix.is_empty() {
            query = query
                .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
                .expression_attribute_values(":prefix", text(prefix));
        }
        let page = query.set_exclusive_start_key(start.map(|start| start.0)).send().await;
        let (items, next) = paged(page.context("query channels")?);
        let names = items.iter().map(|item| get_text(item, "sk").map(ToOwned::to_owned));
        Ok((names.collect::<anyhow::Result<_>>()?, next))
    }
}
