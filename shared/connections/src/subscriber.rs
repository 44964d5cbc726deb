use anyhow::Context as _;
use aws_sdk_dynamodb::{operation::update_item::UpdateItemError, types::Select};

use crate::{
    attribute::{boolean, number, text},
    subscription::{MadeReady, Row, Subscriber, read_subscriber, subscriber_key, subscribers_pk},
    table::{ConnectionTable, PageStart, applied, despite_conflicts, paged},
};

impl ConnectionTable {
    /// Makes a row ready that has everything up to `from` (`base`: the document at `from` too, whole).
    ///
    /// Two writes of the row and a read of the head, without a transaction, which would contend for the head when many subscribe to a
    /// channel that is being published to. First the row becomes ready *behind* `from`: whoever delivers from then on posts what is
    /// after `from`, and nobody else. Then the head is read. If it still stands at `from`, nobody has read rows for anything newer
    /// yet, and the row is up to date. Otherwise a deliverer may have read the rows before this one was ready, or is posting
    /// to it just now: it stays behind until a deliverer notes that it is not ([`ConnectionTable::caught_up`]), and the caller
    /// waits for that, or delivers itself; it must not push.
    ///
    /// This holds because a deliverer reads the rows after it has learnt the top that it posts up to.
    pub async fn make_ready(&self, row: Row<'_>, epoch: &str, from: u64, base: bool) -> anyhow::Result<MadeReady> {
        if !self.ready(row, (epoch, from), base, true).await? {
            // our own write, whose answer was lost, or gone; what a deliverer has noted since must stay
            let is = self.subscriber(row.connection_id, row.channel, row.shard).await?;
            let ours = is.filter(|is| is.row_id == row.row_id && is.ready && !is.lost && is.epoch == epoch);
            match ours {
                None => return Ok(MadeReady::Gone),
                Some(ours) if !ours.behind => return Ok(MadeReady::Ready),
                Some(_) => {}
            }
        }
        let head = self.find_head(row.channel).await?;
        if head.as_ref().is_none_or(|head| head.epoch != epoch || head.offset != from) {
            return Ok(MadeReady::Behind(head));
        }
        let update = || {
            self.client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(subscriber_key(row.channel, row.shard, row.connection_id)))
                .update_expression("SET behind = :false")
                .condition_expression("row_id = :row_id AND behind = :true AND #from = :from")
                .expression_attribute_names("#from", "from")
                .expression_attribute_values(":row_id", text(row.row_id))
                .expression_attribute_values(":from", number(from))
                .expression_attribute_values(":true", boolean(true))
                .expression_attribute_values(":false", boolean(false))
                .send()
        };
        // refused where a deliverer was here first: it has noted the same, or more
        applied(
            despite_conflicts(UpdateItemError::is_transaction_conflict_exception, update).await,
            UpdateItemError::is_conditional_check_failed_exception,
        )
        .context("make ready")?;
        Ok(MadeReady::Ready)
    }
    /// Makes a row ready that has everything up to `from` while the channel's top runs ahead of it; the deliverer brings the
    /// rest. False when it is gone, lost, or another subscribe has replaced it.
    pub async fn make_ready_behind(&self, row: Row<'_>, epoch: &str, from: u64, base: bool) -> anyhow::Result<bool> {
        self.ready(row, (epoch, from), base, true).await
    }

    async fn ready(&self, row: Row<'_>, (epoch, from): (&str, u64), base: bool, behind: bool) -> anyhow::Result<bool> {
        let update = || {
            self.client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(subscriber_key(row.channel, row.shard, row.connection_id)))
                .update_expression("SET ready = :true, epoch = :epoch, #from = :from, #base = :base, behind = :behind")
                // not ready: a repetition by the SDK must not take back what a deliverer has noted since
                .condition_expression("row_id = :row_id AND ready = :false AND attribute_not_exists(lost)")
                .expression_attribute_names("#from", "from")
                .expression_attribute_values(":row_id", text(row.row_id))
                .expression_attribute_values(":epoch", text(epoch))
                .expression_attribute_values(":from", number(from))
                .expression_attribute_names("#base", "base")
                .expression_attribute_values(":base", boolean(base))
                .expression_attribute_values(":behind", boolean(behind))
                .expression_attribute_values(":true", boolean(true))
                .expression_attribute_values(":false", boolean(false))
                .send()
        };
        applied(
            despite_conflicts(UpdateItemError::is_transaction_conflict_exception, update).await,
            UpdateItemError::is_conditional_check_failed_exception,
        )
        .context("make ready")
    }

    /// Notes that a row that was behind when it was read has everything up to `to` (`base`: the document at `to` too). A row that was
    /// made ready beyond `to` stays where it is. False when it was written since.
    pub async fn caught_up(&self, channel: &str, row: &Subscriber, to: u64, base: bool) -> anyhow::Result<bool> {
        let (from, base) = if to > row.from { (to, base) } else { (row.from, row.base) };
        let update = || {
            self.client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(subscriber_key(channel, row.shard, &row.connection_id)))
                .update_expression("SET #from = :from, #base = :base, behind = :false")
                .condition_expression("row_id = :row_id AND behind = :true AND #from = :read")
                .expression_attribute_names("#from", "from")
                .expression_attribute_values(":row_id", text(&row.row_id))
                .expression_attribute_values(":from", number(from))
                .expression_attribute_names("#base", "base")
                .expression_attribute_values(":base", boolean(base))
                .expression_attribute_values(":read", number(row.from))
                .expression_attribute_values(":true", boolean(true))
                .expression_attribute_values(":false", boolean(false))
                .send()
        };
        applied(
            despite_conflicts(UpdateItemError::is_transaction_conflict_exception, update).await,
            UpdateItemError::is_conditional_check_failed_exception,
        )
        .context("note a row caught up")
    }

    /// Marks a row: publications did not reach it. Nobody posts to it any more, and whoever meets it tells the connection, should
    /// the caller die before it does. False when there is no such row: a later subscribe has one of its own, or the subscription
    /// was ended.
    pub async fn mark_lost(&self, row: Row<'_>) -> anyhow::Result<bool> {
        let update = || {
            self.client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(subscriber_key(row.channel, row.shard, row.connection_id)))
                .update_expression("SET ready = :false, lost = :true")
                .condition_expression("row_id = :row_id")
                .expression_attribute_values(":row_id", text(row.row_id))
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

    /// Notes on a row that its connection expires later than the row says (`None` = never). A fan-out that meets an expired row reads the
    /// connection again: it may have been refreshed since. False when the row was written or touched since.
    pub async fn touch_expiry(&self, channel: &str, row: &Subscriber, expires_at: Option<i64>) -> anyhow::Result<bool> {
        let mut update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(subscriber_key(channel, row.shard, &row.connection_id)))
            .expression_attribute_values(":row_id", text(&row.row_id));
        update = match expires_at {
            None => update.update_expression("REMOVE expires_at").condition_expression("row_id = :row_id"),
            Some(at) => update
                .update_expression("SET expires_at = :at")
                .condition_expression("row_id = :row_id AND expires_at < :at")
                .expression_attribute_values(":at", number(at)),
        };
        applied(
            despite_conflicts(UpdateItemError::is_transaction_conflict_exception, || update.clone().send()).await,
            UpdateItemError::is_conditional_check_failed_exception,
        )
        .context("note a later expiry")
    }

    /// One row, read consistently.
    pub async fn subscriber(
        &self,
        connection_id: &str,
        channel: &str,
        shard: u32,
    ) -> anyhow::Result<Option<Subscriber>> {
        let row = subscriber_key(channel, shard, connection_id);
        let get = self.client.get_item().table_name(&self.table).set_key(Some(row));
        let item = get.consistent_read(true).send().await.context("get subscriber")?.item;
        item.as_ref().map(read_subscriber).transpose()
    }

    /// One page of a shard's rows, read consistently, and where the next one begins: the memory of a fan-out does not grow with the
    /// number of subscribers. `limit` rows at most (`None` = 1 MB of them).
    pub async fn subscribers(
        &self,
        channel: &str,
        shard: u32,
        start: Option<PageStart>,
        limit: Option<u32>,
    ) -> anyhow::Result<(Vec<Subscriber>, Option<PageStart>)> {
        let query = self.partition(subscribers_pk(channel, shard));
        let query = query.set_limit(limit.and_then(|limit| i32::try_from(limit).ok()));
        let page = query.set_exclusive_start_key(start.map(|start| start.0)).send().await;
        let (items, next) = paged(page.context("query subscribers")?);
        Ok((items.iter().map(read_subscriber).collect::<anyhow::Result<_>>()?, next))
    }

    /// How many subscriptions a shard has that were neither lost nor outlived. It reads every row, and hands over none.
    pub async fn count_subscribers(&self, channel: &str, shard: u32, now_s: i64) -> anyhow::Result<u64> {
        let (mut count, mut start) = (0, None);
        loop {
            let query = self
                .partition(subscribers_pk(channel, shard))
                .select(Select::Count)
                .filter_expression("#ttl >= :now AND attribute_not_exists(lost)")
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_values(":now", number(now_s))
                .set_exclusive_start_key(start);
            let page = query.send().await.context("count subscribers")?;
            count += u64::try_from(page.count())?;
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(count);
            }
        }
    }
}
