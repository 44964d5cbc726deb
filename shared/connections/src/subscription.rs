use std::time::Duration;

use anyhow::Context as _;
use aws_sdk_dynamodb::{
    operation::{delete_item::DeleteItemError, update_item::UpdateItemError},
    types::{ConditionCheck, Delete, Put, ReturnValue, TransactWriteItem, Update},
};

use crate::{
    attribute::{Item, boolean, find_number, find_text, get_flag, get_number, get_text, number, set, text},
    connection::{OwnSubscription, after, connection_key, connection_pk, read_own_subscription},
    table::{ConnectionTable, Transaction, applied, despite_conflicts, key, settled, transact, unless_refused},
};

/// A subscription that is about to begin.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an attribute of its own")]
pub struct NewSubscription<'a> {
    /// API Gateway's connection id.
    pub connection_id: &'a str,
    /// The channel.
    pub channel: &'a str,
    /// The channel's shard that the row goes to ([`crate::shard_of`]).
    pub shard: u32,
    /// The command's id; means nothing when the server subscribes.
    pub command_id: u32,
    /// Unix seconds.
    pub now_s: i64,
    /// Unix seconds until when the rows are kept: the connection's.
    pub ttl: i64,
    /// The connection's user.
    pub user: &'a str,
    /// The connection's id towards other clients.
    pub client: &'a str,
    /// What the connection's token says about it, JSON.
    pub conn_info: Option<&'a str>,
    /// What the subscription's token says about it, JSON.
    pub chan_info: Option<&'a str>,
    /// Unix seconds when the connection expires.
    pub expires_at: Option<i64>,
    /// Unix seconds when the subscription expires.
    pub sub_expires_at: Option<i64>,
    /// How long after that it may be refreshed.
    pub sub_close_delay: Duration,
    /// Whether it is posted to from now on: a channel without history has nothing to bring up to date.
    pub ready: bool,
    /// Whether it is listed in the channel's presence.
    pub presence: bool,
    /// Whether it gets the joins and leaves of others.
    pub join_leave: bool,
    /// Whether others get its own.
    pub announced: bool,
    /// Whether publications go out as deltas.
    pub delta: bool,
    /// Filter by tags, JSON.
    pub tf: Option<&'a str>,
    /// The shard of the row that this one replaces, where that is another one: the channel has got more shards since.
    pub moved_from: Option<u32>,
}

/// What came of [`ConnectionTable::subscribe`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subscribed {
    /// The row is there; its id.
    Begun(String),
    /// A later command of this connection on this channel was handled before: this one came too late.
    Overtaken,
    /// The server has subscribed the connection.
    AlreadySubscribed,
    /// There is no such connection (any more).
    ConnectionGone,
}

/// What came of [`ConnectionTable::subscribe_by_server`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerSubscribed {
    /// The row is there; its id.
    Begun(String),
    /// The connection is subscribed, by a command or by the server.
    Already,
    /// There is no such connection (any more).
    ConnectionGone,
}

/// What came of [`ConnectionTable::unsubscribe`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one of them is made in a command")]
pub enum Unsubscribed {
    /// A later command of this connection on this channel was handled before.
    Overtaken,
    /// It is not subscribed any more. The row, where this call deleted it: whoever gets it tells the others.
    Ended(Option<Subscriber>),
}

/// What came of [`ConnectionTable::make_ready`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MadeReady {
    /// Nothing was appended meanwhile: the deliverer serves the row from now on.
    Ready,
    /// Something was. The row is ready behind its position: whoever delivers next brings the rest, and nobody else may. The head
    /// as it is; `None` if the stream is no more.
    Behind(Option<crate::Head>),
    /// The row is gone, lost, or another subscribe has replaced it.
    Gone,
}

/// Names one row of a channel as one subscribe wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// API Gateway's connection id.
    pub connection_id: &'a str,
    /// The channel.
    pub channel: &'a str,
    /// The channel's shard that it is in.
    pub shard: u32,
    /// New for every subscribe.
    pub row_id: &'a str,
}

/// A row that a deliverer posts to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an attribute of its own")]
pub struct Subscriber {
    /// API Gateway's connection id.
    pub connection_id: String,
    /// The channel's shard that the row is in.
    pub shard: u32,
    /// New for every subscribe: a row that was written since is another one.
    pub row_id: String,
    /// The command that wrote it; 0 if the server did.
    pub command_id: u32,
    /// Not ready: whoever subscribes brings it up to date itself, nobody else posts.
    pub ready: bool,
    /// Stream that `from` is a place in; empty while the row is not ready, and in a channel without history.
    pub epoch: String,
    /// Publications up to here reached it with its subscribe.
    pub from: u64,
    /// Whether it holds the document at `from`, so that a delta against that may follow.
    pub base: bool,
    /// Ready, and not up to date: the deliverer posts from `from` on, and notes it.
    pub behind: bool,
    /// Publications did not reach it, and it may not have been told yet.
    pub lost: bool,
    /// Unix seconds when its subscribe began: one that never became ready belongs to an invocation that died.
    pub begun_at: i64,
    /// Unix seconds after which it vanishes.
    pub ttl: i64,
    /// Unix seconds when the connection expires, as it was when the row was written or last touched: nothing is posted after that.
    pub expires_at: Option<i64>,
    /// Unix seconds when the subscription expires.
    pub sub_expires_at: Option<i64>,
    /// The connection's user; empty = anonymous.
    pub user: String,
    /// The connection's id towards other clients.
    pub client: String,
    /// What the connection's token says about it, JSON.
    pub conn_info: Option<String>,
    /// What the subscription's token says about it, JSON.
    pub chan_info: Option<String>,
    /// Whether it is listed in the channel's presence.
    pub presence: bool,
    /// Whether it gets the joins and leaves of others.
    pub join_leave: bool,
    /// Whether others get its own.
    pub announced: bool,
    /// Whether publications go out as deltas.
    pub delta: bool,
    /// Filter by tags, JSON.
    pub tf: Option<String>,
    /// Whether the server began it.
    pub server: bool,
}

impl Subscriber {
    /// Its name among the rows of `channel`.
    pub fn row<'a>(&'a self, channel: &'a str) -> Row<'a> {
        Row { connection_id: &self.connection_id, channel, shard: self.shard, row_id: &self.row_id }
    }
}

pub(crate) fn subscribers_pk(channel: &str, shard: u32) -> String {
    format!("ch#{channel}#{shard}")
}

pub(crate) fn subscriber_key(channel: &str, shard: u32, connection_id: &str) -> Item {
    key(subscribers_pk(channel, shard), connection_id)
}

fn own_key(channel: &str, connection_id: &str) -> Item {
    key(connection_pk(connection_id), format!("sub#{channel}"))
}

fn new_row_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..12].to_owned()
}

impl NewSubscription<'_> {
    fn item(&self, row_id: &str, server: bool) -> Item {
        let mut item = subscriber_key(self.channel, self.shard, self.connection_id);
        set(&mut item, "row_id", text(row_id));
        set(&mut item, "command_id", number(if server { 0 } else { self.command_id }));
        set(&mut item, "ready", boolean(self.ready));
        set(&mut item, "from", number(0));
        set(&mut item, "begun_at", number(self.now_s));
        set(&mut item, "ttl", number(self.ttl));
        set(&mut item, "expires_at", self.expires_at.map(number));
        set(&mut item, "sub_expires_at", self.sub_expires_at.map(number));
        set(&mut item, "user", text(self.user));
        set(&mut item, "client", text(self.client));
        set(&mut item, "conn_info", self.conn_info.map(text));
        set(&mut item, "chan_info", self.chan_info.map(text));
        set(&mut item, "tf", self.tf.map(text));
        // what is not there is false: a row of a channel with many subscribers is read with every publication
        let flags = [
            ("presence", self.presence),
            ("join_leave", self.join_leave),
            ("announced", self.announced),
            ("delta", self.delta),
            ("server", server),
        ];
        for (name, _) in flags.into_iter().filter(|(_, flag)| *flag) {
            set(&mut item, name, boolean(true));
        }
        item
    }
}

impl ConnectionTable {
    /// Writes a subscription's row unless the connection is gone. `command_id` orders the commands of a connection on a
    /// channel, which API Gateway runs in parallel: the latest wins, and replaces the row of an earlier one.
    ///
    /// How many channels a connection has is the caller's to check ([`ConnectionTable::connection_with_subscriptions`]).
    pub async fn subscribe(&self, new: &NewSubscription<'_>) -> anyhow::Result<Subscribed> {
        let row_id = new_row_id();
        let mut own = own_key(new.channel, new.connection_id);
        set(&mut own, "command_id", number(new.command_id));
        set(&mut own, "active", boolean(true));
        set(&mut own, "shard", number(new.shard));
        set(&mut own, "row_id", text(&row_id));
        set(&mut own, "expires_at", new.sub_expires_at.map(number));
        set(&mut own, "ttl", number(new.ttl));
        let own = Put::builder()
            .table_name(&self.table)
            .set_item(Some(own))
            .condition_expression(
                "attribute_not_exists(pk) OR (command_id < :id AND (attribute_not_exists(server) OR server = :false OR active = :false))",
            )
            .expression_attribute_values(":id", number(new.command_id))
            .expression_attribute_values(":false", boolean(false))
            .build()?;
        let own = TransactWriteItem::builder().put(own).build();
        Ok(match self.begin(new, own, new.item(&row_id, false)).await? {
            Transaction::Done => Subscribed::Begun(row_id),
            Transaction::Refused(refused) if refused.first() == Some(&true) => Subscribed::ConnectionGone,
            _ => match self.own_subscription(new.connection_id, new.channel).await? {
                // our own transaction, whose answer was lost
                Some(own) if own.row_id == row_id => Subscribed::Begun(row_id),
                Some(own) if own.active && own.server => Subscribed::AlreadySubscribed,
                _ => Subscribed::Overtaken,
            },
        })
    }

    /// Subscribes a connection without a command of its own. The id of its latest command on the channel stays, so that a
    /// subscribe which an unsubscribe has overtaken does not come back to life.
    pub async fn subscribe_by_server(&self, new: &NewSubscription<'_>) -> anyhow::Result<ServerSubscribed> {
        let row_id = new_row_id();
        let mut own = Update::builder()
            .table_name(&self.table)
            .set_key(Some(own_key(new.channel, new.connection_id)))
            .condition_expression("attribute_not_exists(pk) OR active = :false")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_names("#shard", "shard")
            .expression_attribute_values(":false", boolean(false))
            .expression_attribute_values(":true", boolean(true))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":shard", number(new.shard))
            .expression_attribute_values(":row_id", text(&row_id))
            .expression_attribute_values(":ttl", number(new.ttl));
        let mut expression = "SET active = :true, server = :true, #shard = :shard, row_id = :row_id, #ttl = :ttl, \
                              command_id = if_not_exists(command_id, :zero)"
            .to_owned();
        if let Some(at) = new.sub_expires_at {
            expression.push_str(", expires_at = :expires_at");
            own = own.expression_attribute_values(":expires_at", number(at));
        } else {
            expression.push_str(" REMOVE expires_at");
        }
        let own = TransactWriteItem::builder().update(own.update_expression(expression).build()?).build();
        Ok(match self.begin(new, own, new.item(&row_id, true)).await? {
            Transaction::Done => ServerSubscribed::Begun(row_id),
            Transaction::Refused(refused) if refused.first() == Some(&true) => ServerSubscribed::ConnectionGone,
            _ => match self.own_subscription(new.connection_id, new.channel).await? {
                Some(own) if own.row_id == row_id => ServerSubscribed::Begun(row_id),
                _ => ServerSubscribed::Already,
            },
        })
    }

    /// One transaction: the connection is ready, its own item and the row are written, the row that it had in another shard goes.
    async fn begin(&self, new: &NewSubscription<'_>, own: TransactWriteItem, row: Item) -> anyhow::Result<Transaction> {
        let connection = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(connection_key(new.connection_id)))
            .condition_expression("#state = :ready")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":ready", text("ready"))
            .build()?;
        let row = Put::builder().table_name(&self.table).set_item(Some(row)).build()?;
        let mut items = vec![
            TransactWriteItem::builder().condition_check(connection).build(),
            own,
            TransactWriteItem::builder().put(row).build(),
        ];
        if let Some(shard) = new.moved_from.filter(|shard| *shard != new.shard) {
            let old = subscriber_key(new.channel, shard, new.connection_id);
            let old = Delete::builder().table_name(&self.table).set_key(Some(old)).build()?;
            items.push(TransactWriteItem::builder().delete(old).build());
        }
        let begun = settled(transact(&self.client, items).await?).context("subscribe")?;
        if let (Transaction::Done, Some(at)) = (&begun, new.sub_expires_at) {
            // after the subscription is there: see `reschedule`
            self.lower_due(new.connection_id, after(at, new.sub_close_delay)).await?;
        }
        Ok(begun)
    }

    async fn own_subscription(&self, connection_id: &str, channel: &str) -> anyhow::Result<Option<OwnSubscription>> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(own_key(channel, connection_id)));
        let item = get.consistent_read(true).send().await.context("get own subscription")?.item;
        item.as_ref().map(read_own_subscription).transpose()
    }

    /// Ends a subscription by a command of its connection; one that is not there is fine. The command's id stays, so that a
    /// subscribe it overtook does not come back to life.
    pub async fn unsubscribe(
        &self,
        connection_id: &str,
        channel: &str,
        command_id: u32,
        ttl: i64,
    ) -> anyhow::Result<Unsubscribed> {
        let update = || {
            self.client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(own_key(channel, connection_id)))
                .update_expression("SET command_id = :id, active = :false, #ttl = :ttl")
                .condition_expression("attribute_not_exists(pk) OR command_id < :id")
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_values(":id", number(command_id))
                .expression_attribute_values(":false", boolean(false))
                .expression_attribute_values(":ttl", number(ttl))
                .return_values(ReturnValue::AllNew)
                .send()
        };
        let updated = despite_conflicts(UpdateItemError::is_transaction_conflict_exception, update).await;
        let updated = unless_refused(updated, UpdateItemError::is_conditional_check_failed_exception);
        let own = match updated.context("unsubscribe")? {
            Some(updated) => Some(read_own_subscription(&updated.attributes.unwrap_or_default())?),
            // our own write, whose answer was lost, or a later command
            None => self
                .own_subscription(connection_id, channel)
                .await?
                .filter(|own| own.command_id == command_id && !own.active),
        };
        let Some(own) = own else { return Ok(Unsubscribed::Overtaken) };
        if own.row_id.is_empty() {
            return Ok(Unsubscribed::Ended(None));
        }
        let row = Row { connection_id, channel, shard: own.shard, row_id: &own.row_id };
        Ok(Unsubscribed::Ended(self.take(row).await?))
    }

    /// Ends a subscription by the server: whatever the connection has in the channel, or only the row with that id. The row,
    /// where this call deleted it: whoever gets it tells the others.
    pub async fn end_subscription(
        &self,
        connection_id: &str,
        channel: &str,
        row_id: Option<&str>,
    ) -> anyhow::Result<Option<Subscriber>> {
        let Some(own) = self.own_subscription(connection_id, channel).await? else { return Ok(None) };
        if own.row_id.is_empty() || row_id.is_some_and(|row_id| row_id != own.row_id) {
            return Ok(None);
        }
        self.end(Row { connection_id, channel, shard: own.shard, row_id: &own.row_id }).await
    }

    /// The same for a row that the caller has in hand.
    pub async fn end_row(&self, channel: &str, row: &Subscriber) -> anyhow::Result<Option<Subscriber>> {
        self.end(row.row(channel)).await
    }

    async fn end(&self, row: Row<'_>) -> anyhow::Result<Option<Subscriber>> {
        let update = || {
            self.client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(own_key(row.channel, row.connection_id)))
                .update_expression("SET active = :false")
                .condition_expression("row_id = :row_id")
                .expression_attribute_values(":row_id", text(row.row_id))
                .expression_attribute_values(":false", boolean(false))
                .send()
        };
        // refused where a later subscribe has written another row; the delete below leaves that one alone too
        applied(
            despite_conflicts(UpdateItemError::is_transaction_conflict_exception, update).await,
            UpdateItemError::is_conditional_check_failed_exception,
        )
        .context("end subscription")?;
        self.take(row).await
    }

    /// Deletes that row and returns it; `None` when it is not there any more. An answer that is lost on the way loses the row: others
    /// are told at most once.
    async fn take(&self, row: Row<'_>) -> anyhow::Result<Option<Subscriber>> {
        let delete = || {
            self.client
                .delete_item()
                .table_name(&self.table)
                .set_key(Some(subscriber_key(row.channel, row.shard, row.connection_id)))
                .condition_expression("row_id = :row_id")
                .expression_attribute_values(":row_id", text(row.row_id))
                .return_values(ReturnValue::AllOld)
                .send()
        };
        let deleted = despite_conflicts(DeleteItemError::is_transaction_conflict_exception, delete).await;
        let deleted = unless_refused(deleted, DeleteItemError::is_conditional_check_failed_exception);
        let old = deleted.context("delete subscriber")?.and_then(|deleted| deleted.attributes);
        old.filter(|old| !old.is_empty()).as_ref().map(read_subscriber).transpose()
    }

    /// Notes a subscription's new expiry, and what a new token says about it (`None` = as it was). False when the connection is
    /// not subscribed.
    pub async fn refresh_subscription(
        &self,
        connection_id: &str,
        channel: &str,
        sub_expires_at: Option<i64>,
        chan_info: Option<&str>,
        sub_close_delay: Duration,
    ) -> anyhow::Result<bool> {
        let expiry = |name: &str| match sub_expires_at {
            Some(_) => format!("SET {name} = :expires_at"),
            None => format!("REMOVE {name}"),
        };
        let mut update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(own_key(channel, connection_id)))
            .update_expression(expiry("expires_at"))
            .condition_expression("active = :true")
            .expression_attribute_values(":true", boolean(true))
            .return_values(ReturnValue::AllOld);
        if let Some(at) = sub_expires_at {
            update = update.expression_attribute_values(":expires_at", number(at));
        }
        let updated = despite_conflicts(UpdateItemError::is_transaction_conflict_exception, || update.clone().send());
        let updated = unless_refused(updated.await, UpdateItemError::is_conditional_check_failed_exception);
        let Some(old) = updated.context("refresh subscription")? else { return Ok(false) };
        let own = read_own_subscription(&old.attributes.unwrap_or_default())?;
        if let Some(at) = sub_expires_at.filter(|at| own.expires_at.is_none_or(|before| *at < before)) {
            self.lower_due(connection_id, after(at, sub_close_delay)).await?;
        }
        let mut row = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(subscriber_key(channel, own.shard, connection_id)))
            .condition_expression("row_id = :row_id")
            .expression_attribute_values(":row_id", text(&own.row_id));
        let mut expression = expiry("sub_expires_at");
        if let Some(at) = sub_expires_at {
            row = row.expression_attribute_values(":expires_at", number(at));
        }
        if let Some(info) = chan_info {
            expression = match sub_expires_at {
                Some(_) => format!("{expression}, chan_info = :info"),
                None => format!("{expression} SET chan_info = :info"),
            };
            row = row.expression_attribute_values(":info", text(info));
        }
        let row = row.update_expression(expression);
        applied(
            despite_conflicts(UpdateItemError::is_transaction_conflict_exception, || row.clone().send()).await,
            UpdateItemError::is_conditional_check_failed_exception,
        )
        .context("refresh subscriber")
    }
}

pub(crate) fn read_subscriber(item: &Item) -> anyhow::Result<Subscriber> {
    let pk = get_text(item, "pk")?;
    Ok(Subscriber {
        connection_id: get_text(item, "sk")?.to_owned(),
        shard: pk.rsplit_once('#').and_then(|(_, shard)| shard.parse().ok()).context("subscriber without a shard")?,
        row_id: get_text(item, "row_id")?.to_owned(),
        command_id: find_number(item, "command_id")?.unwrap_or(0),
        ready: get_flag(item, "ready"),
        epoch: find_text(item, "epoch").unwrap_or_default(),
        from: get_number(item, "from")?,
        base: get_flag(item, "base"),
        behind: get_flag(item, "behind"),
        lost: get_flag(item, "lost"),
        begun_at: find_number(item, "begun_at")?.unwrap_or(0),
        ttl: find_number(item, "ttl")?.unwrap_or(0),
        expires_at: find_number(item, "expires_at")?,
        sub_expires_at: find_number(item, "sub_expires_at")?,
        user: find_text(item, "user").unwrap_or_default(),
        client: find_text(item, "client").unwrap_or_default(),
        conn_info: find_text(item, "conn_info"),
        chan_info: find_text(item, "chan_info"),
        presence: get_flag(item, "presence"),
        join_leave: get_flag(item, "join_leave"),
        announced: get_flag(item, "announced"),
        delta: get_flag(item, "delta"),
        tf: find_text(item, "tf"),
        server: get_flag(item, "server"),
    })
}
