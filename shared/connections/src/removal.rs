use anyhow::Context as _;
use aws_sdk_dynamodb::{
    operation::{delete_item::DeleteItemError, update_item::UpdateItemError},
    types::{DeleteRequest, ReturnValue, WriteRequest},
};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::{
    attribute::{Item, find_text, get_text, number, text},
    connection::{
        Client, OwnSubscription, address_key, connection_key, connection_pk, read_client, read_own_subscription,
        user_key,
    },
    subscription::{Subscriber, read_subscriber, subscriber_key},
    table::{ConnectionTable, despite_conflicts, key, pause, unless_refused},
};

/// Rows of one connection that are deleted at once.
const DELETES_AT_ONCE: usize = 16;

/// What [`ConnectionTable::remove`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// This call began the removal; false when another did before, or there is no such connection.
    pub was_there: bool,
    /// Who it was, if its `connect` had been accepted.
    pub client: Option<Client>,
    /// The subscriptions that this call ended: each is returned to exactly one caller, who tells the others.
    pub ended: Vec<EndedSubscription>,
}

/// A subscription that was ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedSubscription {
    /// The channel.
    pub channel: String,
    /// Its row, as it was last.
    pub subscriber: Subscriber,
}

impl ConnectionTable {
    /// Removes a connection with everything it has; removing what is not there is fine.
    ///
    /// The row is marked first: a subscribe that runs at the same time checks for it, so no row of a subscription can be left behind.
    /// It is deleted last: should this invocation die in between, the connection is still in the index, and whoever calls this
    /// again finishes. A row of a subscription is returned by the one call whose delete removed it.
    pub async fn remove(&self, id: &str) -> anyhow::Result<Removed> {
        let mut removed = Removed::default();
        let old = self.mark_gone(id).await?;
        let mut rest = Vec::new();
        if let Some(old) = &old {
            removed.was_there = find_text(old, "state").as_deref() != Some("gone");
            removed.client = read_client(old)?;
            let user = find_text(old, "user").filter(|user| !user.is_empty());
            rest.extend(user.map(|user| user_key(&user, id)));
            // only there where addresses are limited
            rest.extend(find_text(old, "source_ip").map(|ip| address_key(&ip, id)));
        }
        let mut start = None;
        loop {
            let query = self.partition(format!("conn#{id}")).set_exclusive_start_key(start);
            let page = query.send().await.context("query subscriptions of a connection")?;
            for item in page.items().iter().filter(|item| get_text(item, "sk").is_ok_and(|sk| sk != "conn")) {
                rest.push(key(connection_pk(id), get_text(item, "sk")?));
            }
            let own = page.items().iter().filter(|item| get_text(item, "sk").is_ok_and(|sk| sk != "conn"));
            let own = own.map(read_own_subscription).collect::<anyhow::Result<Vec<_>>>()?;
            let ended = futures::stream::iter(own).map(|own| self.take_row(id, own)).buffer_unordered(DELETES_AT_ONCE);
            removed.ended.extend(ended.try_collect::<Vec<_>>().await?.into_iter().flatten());
            start = page.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        self.delete_rows(rest).await?;
        if old.is_some() {
            self.delete_rows(vec![connection_key(id)]).await?;
        }
        Ok(removed)
    }

    /// The connection's row as it was, if there was one.
    async fn mark_gone(&self, id: &str) -> anyhow::Result<Option<Item>> {
        let update = || {
            self.client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(connection_key(id)))
                // due at once: should this invocation die, the keeper finds the rest to do; should they meet, each does a part
                .update_expression("SET #state = :gone, due_at = :zero")
                .condition_expression("attribute_exists(pk)")
                .expression_attribute_names("#state", "state")
                .expression_attribute_values(":gone", text("gone"))
                .expression_attribute_values(":zero", number(0))
                .return_values(ReturnValue::AllOld)
                .send()
        };
        let marked = despite_conflicts(UpdateItemError::is_transaction_conflict_exception, update).await;
        let marked = unless_refused(marked, UpdateItemError::is_conditional_check_failed_exception);
        Ok(marked.context("mark connection gone")?.and_then(|marked| marked.attributes))
    }

    /// Deletes whatever row the connection has in the channel, and returns it if there was one.
    async fn take_row(&self, id: &str, own: OwnSubscription) -> anyhow::Result<Option<EndedSubscription>> {
        let delete = || {
            let delete = self.client.delete_item().table_name(&self.table);
            let delete = delete.set_key(Some(subscriber_key(&own.channel, own.shard, id)));
            delete.return_values(ReturnValue::AllOld).send()
        };
        let deleted = despite_conflicts(DeleteItemError::is_transaction_conflict_exception, delete).await;
        let Some(row) = deleted.context("delete subscriber")?.attributes.filter(|row| !row.is_empty()) else {
            return Ok(None);
        };
        let subscriber = read_subscriber(&row)?;
        Ok(Some(EndedSubscription { channel: own.channel, subscriber }))
    }

    async fn delete_rows(&self, rows: Vec<Item>) -> anyhow::Result<()> {
        // BatchWriteItem takes 25 (DynamoDB API reference)
        for chunk in rows.chunks(25) {
            let mut requests: Vec<WriteRequest> = chunk
                .iter()
                .map(|row| {
                    let delete = DeleteRequest::builder().set_key(Some(row.clone())).build()?;
                    Ok(WriteRequest::builder().delete_request(delete).build())
                })
                .collect::<anyhow::Result<_>>()?;
            for attempt in 0.. {
                let batch = self.client.batch_write_item().request_items(&self.table, requests);
                let answer = batch.send().await.context("delete rows")?;
                requests = answer.unprocessed_items.and_then(|mut left| left.remove(&self.table)).unwrap_or_default();
                if requests.is_empty() {
                    break;
                }
                anyhow::ensure!(attempt < 16, "{} rows were not deleted", requests.len());
                // what is left was throttled, or is part of a transaction
                pause(attempt).await;
            }
        }
        Ok(())
    }
}
