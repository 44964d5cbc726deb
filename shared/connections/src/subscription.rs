use anyhow::Context as _;
use aws_sdk_dynamodb::operation::{delete_item::DeleteItemError, update_item::UpdateItemError};
use aws_sdk_dynamodb::types::{ConditionCheck, Delete, Put, TransactWriteItem, Update};

use crate::{
    ConnectionTable,
    attribute::{Item, boolean, find_number, get_flag, get_number, get_text, number, text},
    channel::head_key,
    connection::connection_pk,
    table::{Transaction, applied, despite_conflicts, key, settled, transact},
};

/// What came of [`ConnectionTable::subscribe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscribed {
    /// The row is there, not ready yet.
    Begun,
    /// A later command of this connection on this channel was handled before: this one came too late.
    Overtaken,
    /// There is no such connection (any more).
    ConnectionGone,
}

/// A row that a deliverer posts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscriber {
    /// API Gateway's connection id.
    pub connection_id: String,
    /// The subscribe that wrote it.
    pub command_id: u32,
    /// Not ready: whoever subscribes brings it up to date itself, nobody else posts.
    pub ready: bool,
    /// Publications up to here reached it with its subscribe.
    pub from: u64,
    /// Made ready on a channel too busy to catch up with: the deliverer posts from `from` on.
    pub behind: bool,
    /// Unix seconds when its token expires: nothing is posted after that.
    pub expires_at: Option<i64>,
    /// Stream that `from` is a place in; empty while the row is not ready.
    pub epoch: String,
    /// Unix seconds when its subscribe began: one that never became ready belongs to an invocation that died.
    pub begun_at: i64,
    /// Publications did not reach it, and it may not have been told yet.
    pub lost: bool,
}

/// Where the next page of a channel's rows begins.
#[derive(Debug, Clone)]
pub struct PageStart(Item);

/// Rows of a channel live in shards; one shard for now.
fn subscribers_pk(channel: &str) -> String {
    format!("ch#{channel}#0")
}

pub(crate) fn subscription_row(channel: &str, connection_id: &str) -> Item {
    key(subscribers_pk(channel), connection_id)
}

fn command_key(channel: &str, connection_id: &str) -> Item {
    key(connection_pk(connection_id), format!("sub#{channel}"))
}

impl ConnectionTable {
    /// Writes a subscription's row, not ready, unless the connection is gone. `command_id` orders the commands of a
    /// connection on a channel, which API Gateway runs in parallel: the latest wins.
    pub async fn subscribe(
        &self,
        connection_id: &str,
        channel: &str,
        command_id: u32,
        expires_at: Option<i64>,
        now: i64,
        ttl: i64,
    ) -> anyhow::Result<Subscribed> {
        let connection = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(key(connection_pk(connection_id), "conn")))
            .condition_expression("attribute_exists(pk)")
            .build()?;
        let mut row = subscription_row(channel, connection_id);
        row.insert("ready".to_owned(), boolean(false));
        row.insert("from".to_owned(), number(0));
        row.insert("command_id".to_owned(), number(command_id));
        row.insert("begun_at".to_owned(), number(now));
        row.insert("ttl".to_owned(), number(ttl));
        if let Some(at) = expires_at {
            row.insert("expires_at".to_owned(), number(at));
        }
        let row = Put::builder().table_name(&self.table).set_item(Some(row)).build()?;
        let items = vec![
            TransactWriteItem::builder().condition_check(connection).build(),
            self.last_command(connection_id, channel, command_id, ttl)?,
            TransactWriteItem::builder().put(row).build(),
        ];
        Ok(match transact(&self.client, items).await.context("subscribe")? {
            Transaction::Done => Subscribed::Begun,
            Transaction::Refused(refused) if refused.first() == Some(&true) => Subscribed::ConnectionGone,
            Transaction::Refused(_) => Subscribed::Overtaken,
            Transaction::Conflicted => anyhow::bail!("subscribe kept conflicting"),
        })
    }

    /// Ends a subscription; one that is not there is fine. Returns false when a later command was handled before.
    pub async fn unsubscribe(
        &self,
        connection_id: &str,
        channel: &str,
        command_id: u32,
        ttl: i64,
    ) -> anyhow::Result<bool> {
        let row = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(subscription_row(channel, connection_id)))
            .build()?;
        let items = vec![
            self.last_command(connection_id, channel, command_id, ttl)?,
            TransactWriteItem::builder().delete(row).build(),
        ];
        Ok(matches!(settled(transact(&self.client, items).await?).context("unsubscribe")?, Transaction::Done))
    }

    /// Remembers the latest command of a connection on a channel: an unsubscribe leaves it behind, so that a subscribe it
    /// overtook does not come back to life.
    fn last_command(
        &self,
        connection_id: &str,
        channel: &str,
        command_id: u32,
        ttl: i64,
    ) -> anyhow::Result<TransactWriteItem> {
        let mut item = command_key(channel, connection_id);
        item.insert("command_id".to_owned(), number(command_id));
        item.insert("ttl".to_owned(), number(ttl));
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk) OR command_id < :id")
            .expression_attribute_values(":id", number(command_id))
            .build()?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Makes a row ready on condition that the channel's top is still `top`, up to which the connection has everything.
    /// Returns false when publications came meanwhile, `None` when the row is gone or another subscribe has replaced it.
    pub async fn make_ready(
        &self,
        connection_id: &str,
        channel: &str,
        command_id: u32,
        epoch: &str,
        top: u64,
    ) -> anyhow::Result<Option<bool>> {
        let head = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(head_key(channel)))
            .condition_expression("#offset = :top")
            .expression_attribute_names("#offset", "offset")
            .expression_attribute_values(":top", number(top))
            .build()?;
        let items = vec![
            TransactWriteItem::builder().condition_check(head).build(),
            self.ready_row(connection_id, channel, command_id, (epoch, top), false)?,
        ];
        Ok(match transact(&self.client, items).await.context("make ready")? {
            Transaction::Done => Some(true),
            Transaction::Refused(refused) if refused.get(1) == Some(&true) => None,
            // a channel on which the head is never quiet: as if something had been appended
            Transaction::Refused(_) | Transaction::Conflicted => Some(false),
        })
    }

    /// Makes a row ready in a channel without history, where nothing can be missed that was promised. `None` as above.
    pub async fn make_ready_unpositioned(
        &self,
        connection_id: &str,
        channel: &str,
        command_id: u32,
    ) -> anyhow::Result<Option<()>> {
        let items = vec![self.ready_row(connection_id, channel, command_id, ("", 0), false)?];
        Ok(matches!(settled(transact(&self.client, items).await?).context("make ready")?, Transaction::Done)
            .then_some(()))
    }

    /// Makes a row ready that has everything up to `from` while the channel's top runs ahead of it; the deliverer brings the
    /// rest. `None` when the row is gone or another subscribe has replaced it.
    pub async fn make_ready_behind(
        &self,
        connection_id: &str,
        channel: &str,
        command_id: u32,
        epoch: &str,
        from: u64,
    ) -> anyhow::Result<Option<()>> {
        let items = vec![self.ready_row(connection_id, channel, command_id, (epoch, from), true)?];
        Ok(matches!(settled(transact(&self.client, items).await?).context("make ready behind")?, Transaction::Done)
            .then_some(()))
    }

    fn ready_row(
        &self,
        connection_id: &str,
        channel: &str,
        command_id: u32,
        (epoch, from): (&str, u64),
        behind: bool,
    ) -> anyhow::Result<TransactWriteItem> {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(subscription_row(channel, connection_id)))
            .update_expression("SET ready = :true, epoch = :epoch, #from = :from, behind = :behind")
            .condition_expression("command_id = :id AND attribute_not_exists(lost)")
            .expression_attribute_names("#from", "from")
            .expression_attribute_values(":true", boolean(true))
            .expression_attribute_values(":epoch", text(epoch))
            .expression_attribute_values(":from", number(from))
            .expression_attribute_values(":behind", boolean(behind))
            .expression_attribute_values(":id", number(command_id))
            .build()?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// Notes that a row that was behind when it was read has everything up to `from`; no effect on a row that was written since.
    pub async fn caught_up(&self, row: &Subscriber, channel: &str, from: u64) -> anyhow::Result<()> {
        let update = || {
            self.client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(subscription_row(channel, &row.connection_id)))
                .update_expression("SET #from = :from, behind = :false")
                .condition_expression("command_id = :id AND behind = :true AND #from = :read")
                .expression_attribute_names("#from", "from")
                .expression_attribute_values(":from", number(from))
                .expression_attribute_values(":read", number(row.from))
                .expression_attribute_values(":id", number(row.command_id))
                .expression_attribute_values(":true", boolean(true))
                .expression_attribute_values(":false", boolean(false))
                .send()
        };
        applied(
            despite_conflicts(UpdateItemError::is_transaction_conflict_exception, update).await,
            UpdateItemError::is_conditional_check_failed_exception,
        )
        .context("note a row caught up")?;
        Ok(())
    }

    /// Marks the row that this subscribe wrote: publications did not reach it. Nobody posts to it any more, and whoever meets it
    /// tells the connection, should the caller die before it does. False when there is no such row: a later subscribe has one of
    /// its own, or the subscription was ended.
    pub async fn mark_lost(&self, connection_id: &str, channel: &str, command_id: u32) -> anyhow::Result<bool> {
        let update = || {
            self.client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(subscription_row(channel, connection_id)))
                .update_expression("SET ready = :false, lost = :true")
                .condition_expression("command_id = :id")
                .expression_attribute_values(":id", number(command_id))
                .expression_attribute_values(":true", boolean(true))
                .expression_attribute_values(":false", boolean(false))
                .send()
        };
        applied(
            despite_conflicts(UpdateItemError::is_transaction_conflict_exception, update).await,
            UpdateItemError::is_conditional_check_failed_exception,
        )
        .context("mark a row lost")
    }

    /// Deletes the row that this subscribe wrote, because the server ended the subscription; the row of a later one stays.
    pub async fn drop_subscriber(&self, connection_id: &str, channel: &str, command_id: u32) -> anyhow::Result<()> {
        let delete = || {
            self.client
                .delete_item()
                .table_name(&self.table)
                .set_key(Some(subscription_row(channel, connection_id)))
                .condition_expression("command_id = :id")
                .expression_attribute_values(":id", number(command_id))
                .send()
        };
        applied(
            despite_conflicts(DeleteItemError::is_transaction_conflict_exception, delete).await,
            DeleteItemError::is_conditional_check_failed_exception,
        )
        .context("drop subscriber")?;
        Ok(())
    }

    /// One row, read consistently.
    pub async fn subscriber(&self, connection_id: &str, channel: &str) -> anyhow::Result<Option<Subscriber>> {
        let get =
            self.client.get_item().table_name(&self.table).set_key(Some(subscription_row(channel, connection_id)));
        let item = get.consistent_read(true).send().await.context("get subscriber")?.item;
        item.as_ref().map(read_subscriber).transpose()
    }

    /// One page of a channel's rows, read consistently, and the key to go on from: the memory of a fan-out does not grow with
    /// the number of subscribers.
    pub async fn subscribers(
        &self,
        channel: &str,
        start: Option<PageStart>,
    ) -> anyhow::Result<(Vec<Subscriber>, Option<PageStart>)> {
        let page = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", text(subscribers_pk(channel)))
            .set_exclusive_start_key(start.map(|start| start.0))
            .send()
            .await
            .context("query subscribers")?;
        let rows = page.items().iter().map(read_subscriber).collect::<anyhow::Result<_>>()?;
        Ok((rows, page.last_evaluated_key.map(PageStart)))
    }
}

fn read_subscriber(item: &Item) -> anyhow::Result<Subscriber> {
    Ok(Subscriber {
        connection_id: get_text(item, "sk")?.to_owned(),
        command_id: get_number(item, "command_id")?,
        ready: get_flag(item, "ready"),
        from: get_number(item, "from")?,
        behind: get_flag(item, "behind"),
        expires_at: find_number(item, "expires_at")?,
        epoch: item.get("epoch").and_then(|epoch| epoch.as_s().ok()).cloned().unwrap_or_default(),
        begun_at: find_number(item, "begun_at")?.unwrap_or(0),
        lost: get_flag(item, "lost"),
    })
}
