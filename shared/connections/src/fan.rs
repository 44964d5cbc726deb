use std::time::Duration;

use anyhow::Context as _;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;

use crate::{
    attribute::{Item, get_number, get_text, number, text},
    channel::millis,
    table::{ConnectionTable, applied, despite_conflicts, key},
};

/// How far a shard of a big channel was posted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FanMark {
    /// The stream.
    pub epoch: String,
    /// Everything up to here was posted.
    pub posted: u64,
}

fn fan_key(channel: &str, shard: u32) -> Item {
    key(format!("fan#{channel}#{shard}"), "fan")
}

impl ConnectionTable {
    /// How far the shard was posted to, read consistently; `None` if it never was.
    pub async fn fan_posted(&self, channel: &str, shard: u32) -> anyhow::Result<Option<FanMark>> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(fan_key(channel, shard)));
        let Some(item) = get.consistent_read(true).send().await.context("get fan-out mark")?.item else {
            return Ok(None);
        };
        Ok(Some(FanMark { epoch: get_text(&item, "epoch")?.to_owned(), posted: get_number(&item, "posted")? }))
    }

    /// Notes that the shard was posted to up to `to`, on condition that it stood at `from` in this stream, or in another stream, or
    /// nowhere. False when it stands elsewhere: the message was delivered twice, and the other was here first.
    pub async fn advance_fan(
        &self,
        channel: &str,
        shard: u32,
        epoch: &str,
        (from, to): (u64, u64),
        now_s: i64,
        meta_ttl: Duration,
    ) -> anyhow::Result<bool> {
        let update = || {
            self.client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(fan_key(channel, shard)))
                .update_expression("SET epoch = :epoch, posted = :to, #ttl = :ttl")
                .condition_expression("attribute_not_exists(pk) OR epoch <> :epoch OR posted = :from")
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_values(":epoch", text(epoch))
                .expression_attribute_values(":from", number(from))
                .expression_attribute_values(":to", number(to))
                .expression_attribute_values(":ttl", number(now_s + millis(meta_ttl) / 1000))
                .send()
        };
        applied(
            despite_conflicts(UpdateItemError::is_transaction_conflict_exception, update).await,
            UpdateItemError::is_conditional_check_failed_exception,
        )
        .context("advance fan-out mark")
    }
}
