use std::time::Duration;

use anyhow::{Context as _, anyhow};
use aws_sdk_dynamodb::{
    operation::put_item::PutItemError,
    types::{Put, TransactWriteItem},
};

use futures::future::try_join_all;

use crate::{
    attribute::{Item, boolean, find_number, find_text, get_flag, get_number, get_text, number, set, text},
    channel::{Head, millis},
    table::{ConnectionTable, Transaction, applied, bounded, despite_conflicts, key, settled, transact},
};

/// How long an idempotency key is remembered (Centrifugo's window), seconds.
pub(crate) const IDEMPOTENCY_TTL: i64 = 5 * 60;

/// How far apart the clocks of two environments may be, milliseconds.
const CLOCKS: i64 = 1_000;

/// What is published.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogItem {
    /// The payload, JSON.
    pub data: String,
    /// Tags, JSON.
    pub tags: Option<String>,
    /// The client that published it (`ClientInfo`), JSON.
    pub info: Option<String>,
    /// Whether the publisher asked for deltas.
    pub delta: bool,
    /// It has a place in the order, for those who are there, and none in the history.
    pub transient: bool,
}

/// What a publication is at most once, or never after something newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PublishKey<'a> {
    /// The same key within five minutes publishes once; of several, one that is known refuses all. An empty one is none.
    /// DynamoDB takes 100 items in a transaction, and two are the publication's and its version's.
    pub idempotency_keys: &'a [&'a str],
    /// Not after this version, or a newer one.
    pub version: Option<Version<'a>>,
}

impl<'a> PublishKey<'a> {
    pub(crate) fn keys(self) -> impl Iterator<Item = &'a str> {
        self.idempotency_keys.iter().copied().filter(|key| !key.is_empty())
    }
}

/// A document's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version<'a> {
    /// Grows with the document.
    pub version: u64,
    /// Versions of different epochs cannot be compared: the later publication wins. An empty one goes with any (as in Centrifugo).
    pub epoch: &'a str,
}

/// A publication on its way into the log, at the offset that its append took.
#[derive(Debug, Clone, Copy)]
pub struct WritePublication<'a> {
    /// The channel.
    pub channel: &'a str,
    /// The head as the append returned it.
    pub head: &'a Head,
    /// What is published.
    pub item: &'a LogItem,
    /// Key and version.
    pub key: PublishKey<'a>,
    /// Unix seconds, taken before the append.
    pub now_s: i64,
    /// How long it is history.
    pub history_ttl: Duration,
    /// How long a version is remembered.
    pub meta_ttl: Duration,
}

/// What came of writing a publication at its offset. Whatever is not `Written` has left a tombstone there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogWrite {
    /// It stands there.
    Written,
    /// The place was filled: whoever waited for it took the publisher for dead, or a newer offset has a version by now. Take a new
    /// offset.
    Filled,
    /// A publication with the same idempotency key, or one of them, has this offset.
    Duplicate(u64),
    /// The version, or a newer one, is published. The channel's top.
    Superseded(u64),
}

/// What stands at a place of a channel's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogState {
    /// A publication.
    Publication(LogItem),
    /// Nothing was ever published there, and nothing will be.
    Tombstone,
    /// Something may have been published there and have expired before it was delivered.
    Expired,
}

/// A place of a channel's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Place in the stream.
    pub offset: u64,
    /// What stands there.
    pub state: LogState,
}

impl LogEntry {
    /// The publication, if it is one.
    pub fn publication(&self) -> Option<&LogItem> {
        match &self.state {
            LogState::Publication(item) => Some(item),
            _ => None,
        }
    }
}

/// What part of a channel's history is asked for.
#[derive(Debug, Clone, Copy)]
pub struct LogPage<'a> {
    /// The channel.
    pub channel: &'a str,
    /// The stream.
    pub epoch: &'a str,
    /// Publications after this offset …
    pub after: u64,
    /// … up to this one.
    pub to: u64,
    /// The newest first.
    pub reverse: bool,
    /// Publications at most.
    pub limit: usize,
    /// Bytes of data, tags and infos at most, but for the first.
    pub max_bytes: usize,
    /// Unix seconds: what has expired is left out.
    pub now_s: i64,
}

fn log_pk(channel: &str, epoch: &str) -> String {
    // the epoch is part of the key: a new stream's offsets must not meet an old stream's entries that TTL has not removed yet
    format!("log#{channel}#{epoch}")
}

fn log_sk(offset: u64) -> String {
    format!("{offset:020}")
}

fn log_key(channel: &str, epoch: &str, offset: u64) -> Item {
    key(log_pk(channel, epoch), log_sk(offset))
}

pub(crate) fn idempotency_row(channel: &str, idempotency_key: &str) -> Item {
    key(format!("idem#{channel}"), bounded(idempotency_key))
}

pub(crate) fn version_row(channel: &str) -> Item {
    key(format!("ver#{channel}"), "ver")
}

impl ConnectionTable {
    /// Writes a publication at the offset it took. With a key or a version all is one transaction: the commit of the publication is
    /// the commit of both, so a publisher that dies at any point leaves neither a lost nor a double one.
    pub async fn write_publication(&self, write: &WritePublication<'_>) -> anyhow::Result<LogWrite> {
        let WritePublication { channel, head, item, key, now_s, history_ttl, .. } = *write;
        let mut entry = log_key(channel, &head.epoch, head.offset);
        set(&mut entry, "data", text(&item.data));
        set(&mut entry, "tags", item.tags.as_ref().map(text));
        set(&mut entry, "info", item.info.as_ref().map(text));
        set(&mut entry, "delta", item.delta.then(|| boolean(true)));
        set(&mut entry, "transient", item.transient.then(|| boolean(true)));
        set(&mut entry, "ttl", number(now_s + millis(history_ttl) / 1000));
        if item.transient {
            // before it is there: who counts places then counts one too few, and not one too many
            self.note_hole(channel, head.offset).await?;
        }
        if key.keys().next().is_none() && key.version.is_none() {
            return Ok(if self.put_new(entry).await.context("write publication")? {
                LogWrite::Written
            } else {
                self.place_taken(write).await?.unwrap_or(LogWrite::Filled)
            });
        }
        let entry = Put::builder().table_name(&self.table).set_item(Some(entry));
        let mut puts = vec![entry.condition_expression("attribute_not_exists(pk)").build()?];
        for idempotency_key in key.keys() {
            puts.push(self.idempotency_put(write, idempotency_key)?);
        }
        if let Some(version) = key.version {
            puts.push(self.version_put(write, version)?);
        }
        let items = puts.into_iter().map(|put| TransactWriteItem::builder().put(put).build()).collect();
        match settled(transact(&self.client, items).await?).context("write publication")? {
            Transaction::Done => return Ok(LogWrite::Written),
            Transaction::Refused(refused) if refused.first() == Some(&true) => {
                if let Some(written) = self.place_taken(write).await? {
                    return Ok(written);
                }
            }
            _ => {}
        }
        self.refused(write).await
    }

    /// Our own write whose answer was lost, if that is what stands at the place: the offset was taken by nobody else, so a
    /// publication there can only be ours.
    async fn place_taken(&self, write: &WritePublication<'_>) -> anyhow::Result<Option<LogWrite>> {
        let state = self.state_at(write.channel, &write.head.epoch, write.head.offset).await?;
        Ok(matches!(state, Some(LogState::Publication(_))).then_some(LogWrite::Written))
    }

    /// Why a transaction was refused that has not been committed. What else may be wrong, a duplicate is a duplicate: its
    /// publisher must not take new offsets for ever.
    async fn refused(&self, write: &WritePublication<'_>) -> anyhow::Result<LogWrite> {
        let WritePublication { channel, head, key, now_s, history_ttl, .. } = *write;
        // nobody shall wait for this place
        tokio::try_join!(
            self.write_tombstone(channel, &head.epoch, head.offset, now_s, history_ttl),
            self.note_hole(channel, head.offset)
        )?;
        for key in key.keys() {
            if let Some(offset) = self.offset_of(channel, key, now_s).await? {
                return Ok(LogWrite::Duplicate(offset));
            }
        }
        let Some(version) = key.version else { return Ok(LogWrite::Filled) };
        let get = self.client.get_item().table_name(&self.table).set_key(Some(version_row(channel)));
        let Some(known) = get.consistent_read(true).send().await.context("get version")?.item else {
            return Ok(LogWrite::Filled);
        };
        let comparable =
            version.epoch.is_empty() || find_text(&known, "version_epoch").as_deref() == Some(version.epoch);
        let remembered = get_number::<i64>(&known, "ttl")? >= now_s;
        let superseded = remembered && comparable && get_number::<u64>(&known, "version")? >= version.version;
        Ok(if superseded { LogWrite::Superseded(head.offset) } else { LogWrite::Filled })
    }

    fn idempotency_put(&self, write: &WritePublication<'_>, idempotency_key: &str) -> anyhow::Result<Put> {
        let mut item = idempotency_row(write.channel, idempotency_key);
        set(&mut item, "offset", number(write.head.offset));
        set(&mut item, "ttl", number(write.now_s + IDEMPOTENCY_TTL));
        Ok(Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            // TTL removes items late: an expired key is as good as none
            .condition_expression("attribute_not_exists(pk) OR #ttl < :now")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":now", number(write.now_s))
            .build()?)
    }

    /// Nothing as new may be published, and no version at a later offset: viewers take the last one they get for the newest.
    fn version_put(&self, write: &WritePublication<'_>, version: Version<'_>) -> anyhow::Result<Put> {
        let WritePublication { channel, head, now_s, meta_ttl, .. } = *write;
        let mut item = version_row(channel);
        set(&mut item, "version", number(version.version));
        set(&mut item, "version_epoch", text(version.epoch));
        set(&mut item, "epoch", text(&head.epoch));
        set(&mut item, "offset", number(head.offset));
        set(&mut item, "ttl", number(now_s + millis(meta_ttl) / 1000));
        let newer = if version.epoch.is_empty() {
            "version < :version"
        } else {
            "(version < :version OR version_epoch <> :version_epoch)"
        };
        let mut put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression(format!(
                "attribute_not_exists(pk) OR #ttl < :now OR ({newer} AND (epoch <> :epoch OR #offset < :offset))"
            ))
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_names("#offset", "offset")
            .expression_attribute_values(":now", number(now_s))
            .expression_attribute_values(":version", number(version.version))
            .expression_attribute_values(":epoch", text(&head.epoch))
            .expression_attribute_values(":offset", number(head.offset));
        if !version.epoch.is_empty() {
            put = put.expression_attribute_values(":version_epoch", text(version.epoch));
        }
        Ok(put.build()?)
    }

    /// The offset of the publication with that idempotency key, if it is remembered.
    pub async fn offset_of(&self, channel: &str, idempotency_key: &str, now_s: i64) -> anyhow::Result<Option<u64>> {
        let row = idempotency_row(channel, idempotency_key);
        let get = self.client.get_item().table_name(&self.table).set_key(Some(row)).consistent_read(true);
        let Some(item) = get.send().await.context("get idempotency key")?.item else { return Ok(None) };
        if get_number::<i64>(&item, "ttl")? < now_s { Ok(None) } else { get_number(&item, "offset").map(Some) }
    }

    /// [`ConnectionTable::offset_of`] of many, in their order.
    pub async fn offsets_of(
        &self,
        channel: &str,
        idempotency_keys: &[&str],
        now_s: i64,
    ) -> anyhow::Result<Vec<Option<u64>>> {
        try_join_all(idempotency_keys.iter().map(|key| self.offset_of(channel, key, now_s))).await
    }

    /// Fills a place that is still empty, so that nobody waits for it any longer, and returns what stands there now.
    ///
    /// `head` is the head as the caller read it, the place being after its `delivered`. A place whose append may be longer ago than
    /// publications are kept is not taken for a hole: its publication may have been there, and TTL have removed it before it was
    /// delivered. It is marked as expired, and those who miss it must be told.
    pub async fn fill_hole(
        &self,
        channel: &str,
        head: &Head,
        offset: u64,
        now_ms: i64,
        history_ttl: Duration,
    ) -> anyhow::Result<LogState> {
        let young = offset > head.delivered
            && head.pending_since_ms.is_some_and(|since| now_ms + CLOCKS < since.saturating_add(millis(history_ttl)));
        let state = if young { LogState::Tombstone } else { LogState::Expired };
        if self.fill(channel, &head.epoch, offset, young, now_ms / 1000, history_ttl).await? {
            self.note_hole(channel, offset).await?;
            return Ok(state);
        }
        let stands = self.state_at(channel, &head.epoch, offset).await?;
        stands.ok_or_else(|| anyhow!("place {offset} of {channel} vanished"))
    }

    /// Fills a place at which nothing is going to be published; no effect where something stands.
    pub async fn write_tombstone(
        &self,
        channel: &str,
        epoch: &str,
        offset: u64,
        now_s: i64,
        history_ttl: Duration,
    ) -> anyhow::Result<()> {
        self.fill(channel, epoch, offset, true, now_s, history_ttl).await?;
        Ok(())
    }

    async fn fill(
        &self,
        channel: &str,
        epoch: &str,
        offset: u64,
        tombstone: bool,
        now_s: i64,
        history_ttl: Duration,
    ) -> anyhow::Result<bool> {
        let mut item = log_key(channel, epoch, offset);
        set(&mut item, if tombstone { "tombstone" } else { "expired" }, boolean(true));
        set(&mut item, "ttl", number(now_s + millis(history_ttl) / 1000));
        self.put_new(item).await.context("fill a place of the log")
    }

    /// Puts an item where there is none; false where there is one.
    async fn put_new(&self, item: Item) -> anyhow::Result<bool> {
        let put = || {
            let put = self.client.put_item().table_name(&self.table).set_item(Some(item.clone()));
            put.condition_expression("attribute_not_exists(pk)").send()
        };
        let put = despite_conflicts(PutItemError::is_transaction_conflict_exception, put).await;
        Ok(applied(put, PutItemError::is_conditional_check_failed_exception)?)
    }

    async fn state_at(&self, channel: &str, epoch: &str, offset: u64) -> anyhow::Result<Option<LogState>> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(log_key(channel, epoch, offset)));
        let item = get.consistent_read(true).send().await.context("get log entry")?.item;
        item.as_ref().map(read_state).transpose()
    }

    /// The entries after `after` up to `to` that are there and have not expired by `now_s` (0 = whatever is there), in order, read
    /// consistently.
    pub async fn log(
        &self,
        channel: &str,
        epoch: &str,
        after: u64,
        to: u64,
        now_s: i64,
    ) -> anyhow::Result<Vec<LogEntry>> {
        let mut entries = Vec::new();
        if after >= to {
            return Ok(entries);
        }
        let mut start = None;
        loop {
            let query = self.log_query(channel, epoch, after, to).set_exclusive_start_key(start);
            let page = query.send().await.context("query log")?;
            for item in page.items() {
                entries.extend(read_entry(item, now_s)?);
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(entries);
            }
        }
    }

    /// The publications of a part of the history, without transient ones, at most `limit` and `max_bytes` of them.
    pub async fn log_page(&self, page: &LogPage<'_>) -> anyhow::Result<Vec<LogEntry>> {
        let LogPage { channel, epoch, after, to, reverse, limit, max_bytes, now_s } = *page;
        let (mut entries, mut bytes, mut start) = (Vec::new(), 0, None);
        if after >= to || limit == 0 {
            return Ok(entries);
        }
        loop {
            // a few more than asked for: there may be tombstones among them
            let wanted = i32::try_from(limit - entries.len()).unwrap_or(i32::MAX).saturating_add(8).min(1000);
            let query = self.log_query(channel, epoch, after, to).scan_index_forward(!reverse).limit(wanted);
            let answer = query.set_exclusive_start_key(start).send().await.context("query history")?;
            for item in answer.items() {
                let Some(entry) = read_entry(item, now_s)? else { continue };
                let Some(publication) = entry.publication().filter(|publication| !publication.transient) else {
                    continue;
                };
                let around =
                    [&publication.tags, &publication.info].into_iter().flatten().map(String::len).sum::<usize>();
                bytes += publication.data.len() + around;
                if bytes > max_bytes && !entries.is_empty() {
                    return Ok(entries);
                }
                entries.push(entry);
                if entries.len() >= limit {
                    return Ok(entries);
                }
            }
            start = answer.last_evaluated_key;
            if start.is_none() {
                return Ok(entries);
            }
        }
    }

    /// The offset after which the newest `size` publications are, of those after `after` up to `to`; `after` where there are fewer. For
    /// a part of the log with holes: elsewhere it follows from the offsets.
    pub async fn log_begin(
        &self,
        channel: &str,
        epoch: &str,
        (after, to): (u64, u64),
        size: usize,
        now_s: i64,
    ) -> anyhow::Result<u64> {
        let (mut publications, mut start) = (0, None);
        if after >= to {
            return Ok(after);
        }
        loop {
            let query = self
                .log_query(channel, epoch, after, to)
                .scan_index_forward(false)
                .projection_expression("sk, tombstone, expired, transient, #ttl")
                .expression_attribute_names("#ttl", "ttl");
            let page = query.set_exclusive_start_key(start).send().await.context("query log")?;
            for item in page.items() {
                let is_expired = find_number::<i64>(item, "ttl")?.is_some_and(|ttl| ttl < now_s);
                if is_expired || ["tombstone", "expired", "transient"].iter().any(|flag| get_flag(item, flag)) {
                    continue;
                }
                publications += 1;
                if publications == size {
                    return Ok(get_text(item, "sk")?.parse::<u64>().context("log offset")? - 1);
                }
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(after);
            }
        }
    }

    fn log_query(
        &self,
        channel: &str,
        epoch: &str,
        after: u64,
        to: u64,
    ) -> aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :to")
            .expression_attribute_values(":pk", text(log_pk(channel, epoch)))
            .expression_attribute_values(":from", text(log_sk(after.saturating_add(1))))
            .expression_attribute_values(":to", text(log_sk(to)))
    }
}

fn read_entry(item: &Item, now_s: i64) -> anyhow::Result<Option<LogEntry>> {
    if find_number::<i64>(item, "ttl")?.is_some_and(|ttl| ttl < now_s) {
        return Ok(None);
    }
    let offset = get_text(item, "sk")?.parse().context("log offset")?;
    Ok(Some(LogEntry { offset, state: read_state(item)? }))
}

fn read_state(item: &Item) -> anyhow::Result<LogState> {
    if get_flag(item, "tombstone") {
        return Ok(LogState::Tombstone);
    }
    if get_flag(item, "expired") {
        return Ok(LogState::Expired);
    }
    Ok(LogState::Publication(LogItem {
        data: get_text(item, "data")?.to_owned(),
        tags: find_text(item, "tags"),
        info: find_text(item, "info"),
        delta: get_flag(item, "delta"),
        transient: get_flag(item, "transient"),
    }))
}
