use std::time::Duration;

use anyhow::Context as _;
use aws_sdk_dynamodb::{
    operation::put_item::{PutItemError, builders::PutItemFluentBuilder},
    types::ReturnValuesOnConditionCheckFailure,
};

use crate::{
    attribute::{Item, find_text, number, set, text},
    channel::millis,
    log::{IDEMPOTENCY_TTL, LogWrite, PublishKey, Version, idempotency_row, version_row},
    table::{ConnectionTable, despite_conflicts},
};

impl ConnectionTable {
    /// Takes an idempotency key (of several, one after the other) and a version for a publication that has no place in a log: it is posted once, so they are taken
    /// before it is. A publisher that dies in between has published nothing, and its repetition is a duplicate.
    pub async fn claim(
        &self,
        channel: &str,
        key: &PublishKey<'_>,
        now_s: i64,
        meta_ttl: Duration,
    ) -> anyhow::Result<LogWrite> {
        for idempotency_key in key.keys() {
            if !self.claim_key(channel, idempotency_key, now_s).await.context("claim idempotency key")? {
                return Ok(LogWrite::Duplicate(0));
            }
        }
        if let Some(version) = key.version
            && !self.claim_version(channel, version, now_s, meta_ttl).await.context("claim version")?
        {
            return Ok(LogWrite::Superseded(0));
        }
        Ok(LogWrite::Written)
    }

    async fn claim_key(&self, channel: &str, idempotency_key: &str, now_s: i64) -> anyhow::Result<bool> {
        let mut item = idempotency_row(channel, idempotency_key);
        set(&mut item, "offset", number(0));
        set(&mut item, "ttl", number(now_s + IDEMPOTENCY_TTL));
        self.claim_item(item, |put| {
            put.condition_expression("attribute_not_exists(pk) OR #ttl < :now")
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_values(":now", number(now_s))
        })
        .await
    }

    async fn claim_version(
        &self,
        channel: &str,
        version: Version<'_>,
        now_s: i64,
        meta_ttl: Duration,
    ) -> anyhow::Result<bool> {
        let mut item = version_row(channel);
        set(&mut item, "version", number(version.version));
        set(&mut item, "version_epoch", text(version.epoch));
        set(&mut item, "epoch", text(""));
        set(&mut item, "offset", number(0));
        set(&mut item, "ttl", number(now_s + millis(meta_ttl) / 1000));
        self.claim_item(item, |put| {
            let newer = if version.epoch.is_empty() { "" } else { " OR version_epoch <> :version_epoch" };
            let put = put
                .condition_expression(format!("attribute_not_exists(pk) OR #ttl < :now OR version < :version{newer}"))
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_values(":now", number(now_s))
                .expression_attribute_values(":version", number(version.version));
            if version.epoch.is_empty() {
                put
            } else {
                put.expression_attribute_values(":version_epoch", text(version.epoch))
            }
        })
        .await
    }

    /// Puts an item under a condition. What the SDK repeats because an answer was lost is refused by itself: it is told by what
    /// it wrote.
    async fn claim_item(
        &self,
        mut item: Item,
        condition: impl Fn(PutItemFluentBuilder) -> PutItemFluentBuilder,
    ) -> anyhow::Result<bool> {
        let claim = uuid::Uuid::new_v4().simple().to_string();
        set(&mut item, "claim", text(&claim));
        let put = || {
            condition(self.client.put_item().table_name(&self.table).set_item(Some(item.clone())))
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .send()
        };
        match despite_conflicts(PutItemError::is_transaction_conflict_exception, put).await {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(refused)) => {
                    Ok(refused.item().and_then(|stands| find_text(stands, "claim")) == Some(claim))
                }
                _ => Err(error.into()),
            },
        }
    }
}
