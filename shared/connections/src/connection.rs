use std::time::Duration;

use anyhow::Context as _;
use aws_sdk_dynamodb::{
    operation::{put_item::PutItemError, update_item::UpdateItemError},
    types::{Put, ReturnValue, Select, TransactWriteItem, Update},
};

use crate::{
    attribute::{Item, find_number, find_text, get_flag, get_number, get_text, number, set, text},
    table::{
        ConnectionTable, PageStart, Transaction, applied, bounded, bucket, despite_conflicts, key, paged, settled,
        transact, unless_refused,
    },
};

/// Seconds that the rows of a connection are kept: a socket lives two hours at most (API Gateway quotas), its rows ten minutes
/// longer.
pub const CONNECTION_TTL: i64 = 2 * 60 * 60 + 10 * 60;

/// Buckets of connections in the index: the keeper looks at them one by one.
pub const BUCKETS: u32 = 8;

/// Seconds after its `connect` at which a connection is asked to reconnect, at random within: before API Gateway cuts it at two
/// hours, and so that those that came together do not come back together.
const RECONNECT_AFTER: std::ops::RangeInclusive<i64> = 90 * 60..=115 * 60;

/// A connection of API Gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// API Gateway's connection id.
    pub id: String,
    /// Whether the `connect` command has been answered.
    pub state: ConnectionState,
    /// Unix seconds after which the rows vanish.
    pub ttl: i64,
    /// Unix seconds when it is to be asked to reconnect.
    pub reconnect_at: Option<i64>,
    /// Unix milliseconds when somebody must look at it; never later than there is something to do, sometimes earlier.
    pub due_at_ms: i64,
}

/// How far a connection has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionState {
    /// The socket is open, the `connect` command has not come yet.
    New,
    /// The `connect` command was accepted.
    Ready(Client),
}

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Client {
    /// Subject of the token; empty = anonymous.
    pub user: String,
    /// Id of the connection towards other clients.
    pub client: String,
    /// What the token says about the connection, JSON.
    pub info: Option<String>,
    /// Unix seconds when the connection expires.
    pub expires_at: Option<i64>,
}

/// A subscription as its connection remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnSubscription {
    /// The channel.
    pub channel: String,
    /// The connection's latest command on the channel; 0 if there was none.
    pub command_id: u32,
    /// Whether it is subscribed; false after an unsubscribe, which leaves the command's id behind.
    pub active: bool,
    /// Whether the server began it.
    pub server: bool,
    /// The channel's shard that the row is in.
    pub shard: u32,
    /// The row; empty if there never was one.
    pub row_id: String,
    /// Unix seconds when the subscription expires.
    pub expires_at: Option<i64>,
}

/// A new socket.
#[derive(Debug, Clone, Copy)]
pub struct Admit<'a> {
    /// API Gateway's connection id.
    pub id: &'a str,
    /// Unix seconds.
    pub now_s: i64,
    /// Where it comes from.
    pub source_ip: Option<&'a str>,
    /// How long it may stay without a `connect` command.
    pub stale_after: Duration,
    /// Most connections of one address; 0 = any number. Counted before the row is written, so sockets that open at the same
    /// moment may exceed it.
    pub per_address_limit: u32,
}

/// What came of [`ConnectionTable::admit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The row was written.
    Admitted,
    /// The connection has a row: `$connect` was delivered twice.
    Known,
    /// The address has as many connections as it may have; nothing was written.
    AddressLimit,
}

/// A `connect` command that was accepted.
#[derive(Debug, Clone)]
pub struct Authenticate<'a> {
    /// API Gateway's connection id.
    pub id: &'a str,
    /// Who it is.
    pub client: Client,
    /// Most connections of one user; 0 = any number. Anonymous connections are not counted. Counted before the row is written,
    /// so connections that come at the same moment may exceed it.
    pub user_connection_limit: u32,
    /// How long after its expiry it may be refreshed.
    pub expired_close_delay: Duration,
    /// Unix seconds.
    pub now_s: i64,
}

/// What came of [`ConnectionTable::authenticate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    /// The connection is ready.
    Accepted(Connection),
    /// It was ready before: a second `connect` on one connection.
    Repeated,
    /// There is no such connection (any more).
    Gone,
    /// The user has as many connections as they may have; the connection stays as it was.
    UserLimit,
}

/// One of a user's connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserConnection {
    /// API Gateway's connection id.
    pub connection_id: String,
    /// Id of the connection towards other clients.
    pub client: String,
}

/// A connection as the index shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketConnection {
    /// API Gateway's connection id.
    pub id: String,
    /// Its user; `None` before the `connect` command, empty = anonymous.
    pub user: Option<String>,
    /// Id of the connection towards other clients; `None` before the `connect` command.
    pub client: Option<String>,
    /// Unix milliseconds when somebody must look at it.
    pub due_at_ms: i64,
}

/// The bucket that a connection is in, under [`BUCKETS`].
pub fn bucket_of(connection_id: &str) -> u32 {
    bucket(connection_id, BUCKETS)
}

/// The shard of a channel that a connection's row is in, under `shards`.
pub fn shard_of(connection_id: &str, shards: u32) -> u32 {
    bucket(connection_id, shards)
}

pub(crate) fn connection_pk(id: &str) -> String {
    format!("conn#{id}")
}

pub(crate) fn connection_key(id: &str) -> Item {
    key(connection_pk(id), "conn")
}

pub(crate) fn user_key(user: &str, id: &str) -> Item {
    key(format!("user#{}", bounded(user)), id)
}

pub(crate) fn address_key(ip: &str, id: &str) -> Item {
    key(format!("addr#{}", bounded(ip)), id)
}

fn due_shard(id: &str) -> String {
    format!("conn#{}", bucket_of(id))
}

impl Connection {
    /// Who it is, once its `connect` was accepted.
    pub fn client(&self) -> Option<&Client> {
        match &self.state {
            ConnectionState::New => None,
            ConnectionState::Ready(client) => Some(client),
        }
    }

    /// Unix milliseconds when there is next something to do about it: its own expiry, that of a subscription, both after their
    /// delay, or its reconnect. Of one without a `connect`, what the row says.
    pub fn due_at(
        &self,
        subscriptions: &[OwnSubscription],
        expired_close_delay: Duration,
        expired_sub_close_delay: Duration,
    ) -> i64 {
        let Some(client) = self.client() else { return self.due_at_ms };
        let expiry = client.expires_at.map(|at| after(at, expired_close_delay));
        let active = subscriptions.iter().filter(|subscription| subscription.active);
        let ends = active.filter_map(|subscription| Some(after(subscription.expires_at?, expired_sub_close_delay)));
        let reconnect = self.reconnect_at.unwrap_or(self.ttl).saturating_mul(1000);
        ends.chain(expiry).fold(reconnect, i64::min)
    }
}

/// Unix milliseconds `delay` after `at_s`.
pub(crate) fn after(at_s: i64, delay: Duration) -> i64 {
    at_s.saturating_mul(1000).saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX))
}

impl ConnectionTable {
    /// Writes the row of a new socket.
    pub async fn admit(&self, admit: &Admit<'_>) -> anyhow::Result<Admission> {
        let Admit { id, now_s, source_ip, stale_after, per_address_limit } = *admit;
        let ttl = number(now_s + CONNECTION_TTL);
        let address = source_ip.filter(|_| per_address_limit > 0).map(|ip| address_key(ip, id));
        let mut item = connection_key(id);
        set(&mut item, "state", text("new"));
        set(&mut item, "connected_at", number(now_s));
        set(&mut item, "source_ip", source_ip.filter(|_| per_address_limit > 0).map(text));
        set(&mut item, "due_shard", text(due_shard(id)));
        set(&mut item, "due_at", number(after(now_s, stale_after)));
        set(&mut item, "ttl", ttl.clone());
        let Some(mut address) = address else {
            let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
            let put = put.condition_expression("attribute_not_exists(pk)").send().await;
            let written =
                applied(put, PutItemError::is_conditional_check_failed_exception).context("put connection")?;
            return Ok(if written { Admission::Admitted } else { Admission::Known });
        };
        if self.count(get_text(&address, "pk")?, now_s, per_address_limit).await? >= per_address_limit {
            let known = self.connection(id).await?.is_some();
            return Ok(if known { Admission::Known } else { Admission::AddressLimit });
        }
        set(&mut address, "ttl", ttl);
        let connection = Put::builder().table_name(&self.table).set_item(Some(item));
        let connection = connection.condition_expression("attribute_not_exists(pk)").build()?;
        let address = Put::builder().table_name(&self.table).set_item(Some(address)).build()?;
        let items = [connection, address].map(|put| TransactWriteItem::builder().put(put).build()).to_vec();
        Ok(match settled(transact(&self.client, items).await?).context("put connection")? {
            Transaction::Done => Admission::Admitted,
            _ => Admission::Known,
        })
    }

    /// How many items of a partition have not expired, counted no further than `enough`.
    async fn count(&self, pk: &str, now_s: i64, enough: u32) -> anyhow::Result<u32> {
        let (mut count, mut start) = (0, None);
        loop {
            let query = self.partition(pk).select(Select::Count).set_exclusive_start_key(start);
            // TTL removes items late
            let query = query.filter_expression("#ttl >= :now").expression_attribute_names("#ttl", "ttl");
            let page = query.expression_attribute_values(":now", number(now_s)).send().await.context("count rows")?;
            count += u32::try_from(page.count())?;
            start = page.last_evaluated_key;
            if start.is_none() || count >= enough {
                return Ok(count);
            }
        }
    }

    /// The connection, read consistently; `None` also while it is being removed.
    pub async fn connection(&self, id: &str) -> anyhow::Result<Option<Connection>> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(connection_key(id)));
        let item = get.consistent_read(true).send().await.context("get connection")?.item;
        Ok(item.map(|item| read_connection(&item)).transpose()?.flatten())
    }

    /// The connection and what it was ever subscribed to, in one consistent read.
    pub async fn connection_with_subscriptions(
        &self,
        id: &str,
    ) -> anyhow::Result<Option<(Connection, Vec<OwnSubscription>)>> {
        let (mut connection, mut subscriptions, mut start) = (None, Vec::new(), None);
        loop {
            let page = self.partition(connection_pk(id)).set_exclusive_start_key(start).send().await;
            let page = page.context("query connection")?;
            for item in page.items() {
                if get_text(item, "sk")? == "conn" {
                    connection = read_connection(item)?;
                } else {
                    subscriptions.push(read_own_subscription(item)?);
                }
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(connection.map(|connection| (connection, subscriptions)));
            }
        }
    }

    /// Completes the row when the `connect` command was accepted, and lists the connection with its user's.
    pub async fn authenticate(&self, command: &Authenticate<'_>) -> anyhow::Result<Authentication> {
        let Authenticate { id, client, user_connection_limit: limit, expired_close_delay, now_s } = command;
        let listed = Some(user_key(&client.user, id)).filter(|_| !client.user.is_empty());
        if let Some(listed) = listed.as_ref().filter(|_| *limit > 0)
            && self.count(get_text(listed, "pk")?, *now_s, *limit).await? >= *limit
        {
            let connection = self.connection(id).await?;
            return Ok(known(connection, client).unwrap_or(Authentication::UserLimit));
        }
        let reconnect_at = now_s + fastrand::i64(RECONNECT_AFTER);
        let expiry = client.expires_at.map(|at| after(at, *expired_close_delay));
        let due_at_ms = expiry.map_or(i64::MAX, |at| at).min(after(reconnect_at, Duration::ZERO));
        let ttl = now_s + CONNECTION_TTL;
        let mut update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(connection_key(id)))
            .condition_expression("#state = :new")
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#user", "user")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":new", text("new"))
            .expression_attribute_values(":ready", text("ready"))
            .expression_attribute_values(":user", text(&client.user))
            .expression_attribute_values(":client", text(&client.client))
            .expression_attribute_values(":reconnect_at", number(reconnect_at))
            .expression_attribute_values(":due_at", number(due_at_ms))
            .expression_attribute_values(":ttl", number(ttl));
        let mut expression = "SET #state = :ready, #user = :user, client = :client, reconnect_at = :reconnect_at, \
                              due_at = :due_at, #ttl = :ttl"
            .to_owned();
        if let Some(at) = client.expires_at {
            expression.push_str(", expires_at = :expires_at");
            update = update.expression_attribute_values(":expires_at", number(at));
        }
        if let Some(info) = &client.info {
            expression.push_str(", info = :info");
            update = update.expression_attribute_values(":info", text(info));
        }
        let update = update.update_expression(expression).build()?;
        let mut items = vec![TransactWriteItem::builder().update(update).build()];
        if let Some(mut listed) = listed {
            set(&mut listed, "client", text(&client.client));
            set(&mut listed, "ttl", number(ttl));
            let listed = Put::builder().table_name(&self.table).set_item(Some(listed)).build()?;
            items.push(TransactWriteItem::builder().put(listed).build());
        }
        // one transaction: a connection that is ready is always listed, and one that is removed meanwhile never
        match settled(transact(&self.client, items).await?).context("complete connection")? {
            Transaction::Done => {
                let (id, state) = ((*id).to_owned(), ConnectionState::Ready(client.clone()));
                let reconnect_at = Some(reconnect_at);
                Ok(Authentication::Accepted(Connection { id, state, ttl, reconnect_at, due_at_ms }))
            }
            _ => Ok(known(self.connection(id).await?, client).unwrap_or(Authentication::Gone)),
        }
    }

    /// Notes a new expiry, and what a new token says about the connection (`None` = as it was). False when it is not there, or
    /// not ready.
    pub async fn refresh(
        &self,
        id: &str,
        expires_at: Option<i64>,
        info: Option<&str>,
        expired_close_delay: Duration,
    ) -> anyhow::Result<bool> {
        let mut update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(connection_key(id)))
            .condition_expression("#state = :ready")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":ready", text("ready"))
            .return_values(ReturnValue::AllNew);
        let (mut sets, mut expression) = (Vec::new(), String::new());
        if let Some(at) = expires_at {
            sets.push("expires_at = :expires_at");
            update = update.expression_attribute_values(":expires_at", number(at));
        } else {
            expression.push_str("REMOVE expires_at ");
        }
        if let Some(info) = info {
            sets.push("info = :info");
            update = update.expression_attribute_values(":info", text(info));
        }
        if !sets.is_empty() {
            expression = format!("{expression}SET {}", sets.join(", "));
        }
        let update = update.update_expression(expression);
        let updated = despite_conflicts(UpdateItemError::is_transaction_conflict_exception, || update.clone().send());
        let refused = UpdateItemError::is_conditional_check_failed_exception;
        let Some(updated) = unless_refused(updated.await, refused).context("refresh connection")? else {
            return Ok(false);
        };
        if let Some(due) = expires_at.map(|at| after(at, expired_close_delay)) {
            let known: Option<i64> = find_number(&updated.attributes.unwrap_or_default(), "due_at")?;
            if known.is_none_or(|known| known > due) {
                self.lower_due(id, due).await?;
            }
        }
        Ok(true)
    }

    /// Sees to it that somebody looks at the connection at `due_at_ms` at the latest.
    pub async fn lower_due(&self, id: &str, due_at_ms: i64) -> anyhow::Result<()> {
        self.set_due(id, due_at_ms, "due_at > :due").await?;
        Ok(())
    }

    /// Notes when to look at the connection next ([`Connection::due_at`]). False when it is not there.
    ///
    /// A subscribe or refresh may have come since the caller read the connection: read it again afterwards, and reschedule once
    /// more if it is now due earlier. (Those write what expires first and the time to look second, so one of the two sees the
    /// other.)
    pub async fn reschedule(&self, id: &str, due_at_ms: i64) -> anyhow::Result<bool> {
        self.set_due(id, due_at_ms, "attribute_exists(due_at)").await
    }

    async fn set_due(&self, id: &str, due_at_ms: i64, condition: &str) -> anyhow::Result<bool> {
        let update = || {
            self.client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(connection_key(id)))
                .update_expression("SET due_at = :due")
                .condition_expression(condition)
                .expression_attribute_values(":due", number(due_at_ms))
                .send()
        };
        applied(
            despite_conflicts(UpdateItemError::is_transaction_conflict_exception, update).await,
            UpdateItemError::is_conditional_check_failed_exception,
        )
        .context("note when a connection is due")
    }

    /// One page of a user's connections, read consistently. Those of the anonymous user are not listed.
    pub async fn connections_of(
        &self,
        user: &str,
        start: Option<PageStart>,
    ) -> anyhow::Result<(Vec<UserConnection>, Option<PageStart>)> {
        if user.is_empty() {
            return Ok((Vec::new(), None));
        }
        let query = self.partition(format!("user#{}", bounded(user)));
        let page = query.set_exclusive_start_key(start.map(|start| start.0)).send().await;
        let (items, next) = paged(page.context("query a user's connections")?);
        let read = |item: &Item| {
            let (id, client) = (get_text(item, "sk")?, get_text(item, "client")?);
            Ok(UserConnection { connection_id: id.to_owned(), client: client.to_owned() })
        };
        Ok((items.iter().map(read).collect::<anyhow::Result<_>>()?, next))
    }

    /// One page of a bucket's connections that somebody must look at by `until_ms`, the most urgent first. From the index, so one that
    /// changed this moment may be missing or wrong.
    pub async fn due_connections(
        &self,
        bucket: u32,
        until_ms: i64,
        start: Option<PageStart>,
    ) -> anyhow::Result<(Vec<BucketConnection>, Option<PageStart>)> {
        self.indexed(bucket, Some(until_ms), start).await
    }

    /// One page of all connections of a bucket. From the index, as above.
    pub async fn bucket_connections(
        &self,
        bucket: u32,
        start: Option<PageStart>,
    ) -> anyhow::Result<(Vec<BucketConnection>, Option<PageStart>)> {
        self.indexed(bucket, None, start).await
    }

    async fn indexed(
        &self,
        bucket: u32,
        until_ms: Option<i64>,
        start: Option<PageStart>,
    ) -> anyhow::Result<(Vec<BucketConnection>, Option<PageStart>)> {
        let (items, next) = self.due(format!("conn#{bucket}"), until_ms, start).await?;
        let read = |item: &Item| {
            let pk = get_text(item, "pk")?;
            Ok(BucketConnection {
                id: pk.strip_prefix("conn#").unwrap_or(pk).to_owned(),
                user: find_text(item, "user"),
                client: find_text(item, "client"),
                due_at_ms: get_number(item, "due_at")?,
            })
        };
        Ok((items.iter().map(read).collect::<anyhow::Result<_>>()?, next))
    }
}

/// Why a connection that exists was not completed: our own write, whose answer was lost, or an earlier `connect`.
fn known(connection: Option<Connection>, client: &Client) -> Option<Authentication> {
    let connection = connection?;
    match &connection.state {
        ConnectionState::New => None,
        ConnectionState::Ready(ready) if ready.client == client.client => Some(Authentication::Accepted(connection)),
        ConnectionState::Ready(_) => Some(Authentication::Repeated),
    }
}

fn read_connection(item: &Item) -> anyhow::Result<Option<Connection>> {
    let state = match get_text(item, "state")? {
        "new" => ConnectionState::New,
        "ready" => ConnectionState::Ready(read_client(item)?.context("ready connection without a client")?),
        _ => return Ok(None),
    };
    let pk = get_text(item, "pk")?;
    Ok(Some(Connection {
        id: pk.strip_prefix("conn#").unwrap_or(pk).to_owned(),
        state,
        ttl: get_number(item, "ttl")?,
        reconnect_at: find_number(item, "reconnect_at")?,
        due_at_ms: get_number(item, "due_at")?,
    }))
}

pub(crate) fn read_client(item: &Item) -> anyhow::Result<Option<Client>> {
    let (Some(user), Some(client)) = (find_text(item, "user"), find_text(item, "client")) else { return Ok(None) };
    let (info, expires_at) = (find_text(item, "info"), find_number(item, "expires_at")?);
    Ok(Some(Client { user, client, info, expires_at }))
}

pub(crate) fn read_own_subscription(item: &Item) -> anyhow::Result<OwnSubscription> {
    let sk = get_text(item, "sk")?;
    Ok(OwnSubscription {
        channel: sk.strip_prefix("sub#").unwrap_or(sk).to_owned(),
        command_id: find_number(item, "command_id")?.unwrap_or(0),
        active: get_flag(item, "active"),
        server: get_flag(item, "server"),
        shard: find_number(item, "shard")?.unwrap_or(0),
        row_id: find_text(item, "row_id").unwrap_or_default(),
        expires_at: find_number(item, "expires_at")?,
    })
}
