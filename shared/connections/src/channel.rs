use std::time::Duration;

use anyhow::Context as _;
use aws_sdk_dynamodb::{
    operation::{
        put_item::PutItemError,
        update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    },
    types::{Put, ReturnValue, TransactWriteItem},
};

use crate::{
    ConnectionTable,
    attribute::{Item, boolean, find_number, get_flag, get_number, get_text, number, text},
    table::{Transaction, applied, despite_conflicts, key, transact},
};

/// A channel's head: where its stream stands and who delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Identity of the stream; a new one when the old one's head expired.
    pub epoch: String,
    /// Offset taken last.
    pub offset: u64,
    /// Everything up to here was posted.
    pub delivered: u64,
    /// The deliverer, if there is one.
    pub holder: Option<String>,
    /// Unix milliseconds until when the deliverer may be relied on.
    pub lease_until_ms: i64,
}

impl Head {
    /// Whether somebody delivers, as far as `now_ms` can tell.
    pub fn is_held(&self, now_ms: i64) -> bool {
        self.holder.is_some() && self.lease_until_ms >= now_ms
    }
}

/// An offset was taken.
#[derive(Debug, Clone)]
pub struct Appended {
    /// The head after it, `head.offset` being the offset taken.
    pub head: Head,
    /// Whether the caller delivers now.
    pub held: bool,
}

/// What came of writing a publication at its offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogWrite {
    /// It stands there.
    Written,
    /// The place was filled with a tombstone: whoever waited for it took the publisher for dead. Take a new offset.
    Filled,
    /// A publication with the same idempotency key has this offset; the place stays a hole.
    Duplicate(u64),
}

/// An entry of a channel's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Place in the stream.
    pub offset: u64,
    /// The payload, JSON; `None` for a tombstone: the offset was taken and nothing was ever published at it.
    pub data: Option<String>,
}

pub(crate) fn head_key(channel: &str) -> Item {
    key(format!("head#{channel}"), "head")
}

fn log_pk(channel: &str, epoch: &str) -> String {
    // the epoch is part of the key: a new stream's offsets must not meet an old stream's entries that TTL has not removed yet
    format!("log#{channel}#{epoch}")
}

fn log_sk(offset: u64) -> String {
    format!("{offset:020}")
}

fn idempotency_row(channel: &str, idempotency_key: &str) -> Item {
    key(format!("idem#{channel}#{idempotency_key}"), "idem")
}

/// How long an idempotency key is remembered (Centrifugo's window).
const IDEMPOTENCY_TTL: i64 = 5 * 60;

impl ConnectionTable {
    /// Takes the next offset, and the delivery too if nobody has it: one write where the channel is quiet, two where somebody
    /// delivers, three where they have just let go.
    ///
    /// `holder` must be new for every call: an attempt that the SDK repeated after a lost answer is recognised by it.
    pub async fn append(
        &self,
        channel: &str,
        holder: &str,
        now_ms: i64,
        lease: Duration,
        meta_ttl: Duration,
    ) -> anyhow::Result<Appended> {
        let until = now_ms + millis(lease);
        let set = "SET epoch = if_not_exists(epoch, :epoch), delivered = if_not_exists(delivered, :zero), #ttl = :ttl";
        let append = || {
            self.head_update(channel)
                .expression_attribute_names("#offset", "offset")
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_values(":one", number(1))
                .expression_attribute_values(":zero", number(0))
                .expression_attribute_values(":epoch", text(new_epoch()))
                .expression_attribute_values(":ttl", number(now_ms / 1000 + millis(meta_ttl) / 1000))
        };
        let first = send(|| {
            append()
                .update_expression(format!("ADD #offset :one {set}, holder = :holder, lease_until = :until"))
                .condition_expression("attribute_not_exists(holder) OR lease_until < :now")
                .expression_attribute_values(":holder", text(holder))
                .expression_attribute_values(":until", number(until))
                .expression_attribute_values(":now", number(now_ms))
        });
        if let Some(head) = first.await.context("append and hold")? {
            return Ok(Appended { head, held: true });
        }
        let second = send(|| append().update_expression(format!("ADD #offset :one {set}")));
        let head = second.await.context("append")?.context("an append without a condition was refused")?;
        if head.holder.as_deref() == Some(holder) {
            return Ok(Appended { head, held: true });
        }
        if head.holder.is_none() {
            // it let go in between: without another try nobody would deliver this offset
            if let Some(now_held) = self.take_hold(channel, holder, now_ms, lease).await? {
                let head = Head { offset: head.offset, ..now_held };
                return Ok(Appended { head, held: true });
            }
        }
        Ok(Appended { head, held: false })
    }

    /// Takes the delivery if nobody has it. The head as it then is, or `None`.
    pub async fn take_hold(
        &self,
        channel: &str,
        holder: &str,
        now_ms: i64,
        lease: Duration,
    ) -> anyhow::Result<Option<Head>> {
        send(|| {
            self.head_update(channel)
                .update_expression("SET holder = :holder, lease_until = :until")
                .condition_expression(
                    "attribute_exists(pk) AND (attribute_not_exists(holder) OR lease_until < :now OR holder = :holder)",
                )
                .expression_attribute_values(":holder", text(holder))
                .expression_attribute_values(":until", number(now_ms + millis(lease)))
                .expression_attribute_values(":now", number(now_ms))
        })
        .await
        .context("take the delivery")
    }

    /// Renews the delivery and notes what was posted. `None` when somebody else has taken it.
    pub async fn renew(
        &self,
        channel: &str,
        holder: &str,
        delivered: u64,
        now_ms: i64,
        lease: Duration,
    ) -> anyhow::Result<Option<Head>> {
        send(|| {
            self.head_update(channel)
                .update_expression("SET delivered = :delivered, lease_until = :until")
                .condition_expression("holder = :holder")
                .expression_attribute_values(":holder", text(holder))
                .expression_attribute_values(":delivered", number(delivered))
                .expression_attribute_values(":until", number(now_ms + millis(lease)))
        })
        .await
        .context("renew the delivery")
    }

    /// Lets go if nothing was appended after `delivered`. False when there was, or when somebody else has taken it.
    pub async fn release(&self, channel: &str, holder: &str, delivered: u64) -> anyhow::Result<bool> {
        let released = send(|| {
            self.letting_go(channel, holder, delivered)
                .condition_expression("holder = :holder AND #offset = :delivered")
                .expression_attribute_names("#offset", "offset")
        });
        Ok(released.await.context("let go of the delivery")?.is_some())
    }

    /// Lets go whatever was appended: to hand over after a long time, or because something failed. What is pending is for
    /// whoever waits for it.
    pub async fn hand_over(&self, channel: &str, holder: &str, delivered: u64) -> anyhow::Result<()> {
        let handed = send(|| self.letting_go(channel, holder, delivered).condition_expression("holder = :holder"));
        handed.await.context("hand the delivery over")?;
        Ok(())
    }

    fn letting_go(&self, channel: &str, holder: &str, delivered: u64) -> UpdateItemFluentBuilder {
        self.head_update(channel)
            .update_expression("SET delivered = :delivered REMOVE holder, lease_until")
            .expression_attribute_values(":holder", text(holder))
            .expression_attribute_values(":delivered", number(delivered))
    }

    /// The head, read consistently; written with a new epoch where there is none, so that everybody who asks gets the same
    /// position.
    pub async fn head(&self, channel: &str, now_s: i64, meta_ttl: Duration) -> anyhow::Result<Head> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(head_key(channel)));
        if let Some(item) = get.consistent_read(true).send().await.context("get head")?.item {
            return read_head(&item);
        }
        let created = send(|| {
            self.head_update(channel)
                .update_expression(
                    "SET epoch = if_not_exists(epoch, :epoch), #offset = if_not_exists(#offset, :zero), \
                     delivered = if_not_exists(delivered, :zero), #ttl = :ttl",
                )
                .expression_attribute_names("#offset", "offset")
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_values(":epoch", text(new_epoch()))
                .expression_attribute_values(":zero", number(0))
                .expression_attribute_values(":ttl", number(now_s + millis(meta_ttl) / 1000))
        });
        created.await.context("create head")?.context("a write without a condition was refused")
    }

    /// Writes a publication at the offset it took. With an idempotency key both are one transaction: the commit of the
    /// publication is the commit of the key, so a publisher that dies at any point leaves neither a lost nor a double one.
    pub async fn write_publication(
        &self,
        channel: &str,
        head: &Head,
        data: &str,
        idempotency_key: Option<&str>,
        now_s: i64,
        history_ttl: Duration,
    ) -> anyhow::Result<LogWrite> {
        let mut item = key(log_pk(channel, &head.epoch), log_sk(head.offset));
        item.insert("data".to_owned(), text(data));
        item.insert("ttl".to_owned(), number(now_s + millis(history_ttl) / 1000));
        let Some(idempotency_key) = idempotency_key else {
            let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
            return match put.condition_expression("attribute_not_exists(pk)").send().await {
                Ok(_) => Ok(LogWrite::Written),
                Err(error)
                    if error.as_service_error().is_some_and(
                        aws_sdk_dynamodb::operation::put_item::PutItemError::is_conditional_check_failed_exception,
                    ) =>
                {
                    self.place(channel, &head.epoch, head.offset, data).await
                }
                Err(error) => Err(error).context("write publication"),
            };
        };
        let mut marker = idempotency_row(channel, idempotency_key);
        marker.insert("offset".to_owned(), number(head.offset));
        marker.insert("ttl".to_owned(), number(now_s + IDEMPOTENCY_TTL));
        let marker = Put::builder()
            .table_name(&self.table)
            .set_item(Some(marker))
            // TTL removes items late: an expired key is as good as none
            .condition_expression("attribute_not_exists(pk) OR #ttl < :now")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":now", number(now_s))
            .build()?;
        let publication = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)")
            .build()?;
        let items = vec![
            TransactWriteItem::builder().put(marker).build(),
            TransactWriteItem::builder().put(publication).build(),
        ];
        match transact(&self.client, items).await.context("write publication")? {
            Transaction::Done => Ok(LogWrite::Written),
            Transaction::Refused(refused) if refused.first() == Some(&true) => {
                match self.offset_of(channel, idempotency_key, now_s).await? {
                    // our own transaction, whose answer was lost
                    Some(offset) if offset == head.offset => Ok(LogWrite::Written),
                    Some(offset) => Ok(LogWrite::Duplicate(offset)),
                    None => Ok(LogWrite::Filled),
                }
            }
            Transaction::Refused(_) => Ok(LogWrite::Filled),
            Transaction::Conflicted => anyhow::bail!("publication kept conflicting"),
        }
    }

    /// The offset of the publication with that idempotency key, if it is remembered.
    pub async fn offset_of(&self, channel: &str, idempotency_key: &str, now_s: i64) -> anyhow::Result<Option<u64>> {
        let row = idempotency_row(channel, idempotency_key);
        let get = self.client.get_item().table_name(&self.table).set_key(Some(row)).consistent_read(true);
        let Some(item) = get.send().await.context("get idempotency key")?.item else { return Ok(None) };
        if get_number::<i64>(&item, "ttl")? < now_s { Ok(None) } else { get_number(&item, "offset").map(Some) }
    }

    /// Tells a tombstone from our own write whose answer was lost.
    async fn place(&self, channel: &str, epoch: &str, offset: u64, data: &str) -> anyhow::Result<LogWrite> {
        let entries = self.log(channel, epoch, offset - 1, offset, 0).await?;
        let ours = entries.first().is_some_and(|entry| entry.data.as_deref() == Some(data));
        Ok(if ours { LogWrite::Written } else { LogWrite::Filled })
    }

    /// Fills a place whose publisher is taken for dead; no effect where something stands.
    pub async fn write_tombstone(
        &self,
        channel: &str,
        epoch: &str,
        offset: u64,
        now_s: i64,
        history_ttl: Duration,
    ) -> anyhow::Result<()> {
        let mut item = key(log_pk(channel, epoch), log_sk(offset));
        item.insert("tombstone".to_owned(), boolean(true));
        item.insert("ttl".to_owned(), number(now_s + millis(history_ttl) / 1000));
        let put = || {
            let put = self.client.put_item().table_name(&self.table).set_item(Some(item.clone()));
            put.condition_expression("attribute_not_exists(pk)").send()
        };
        applied(
            despite_conflicts(PutItemError::is_transaction_conflict_exception, put).await,
            PutItemError::is_conditional_check_failed_exception,
        )
        .context("write tombstone")?;
        Ok(())
    }

    /// The entries after `after` up to `to` that are there and have not expired, in order, read consistently.
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
            let page = self
                .client
                .query()
                .table_name(&self.table)
                .consistent_read(true)
                .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :to")
                .expression_attribute_values(":pk", text(log_pk(channel, epoch)))
                .expression_attribute_values(":from", text(log_sk(after + 1)))
                .expression_attribute_values(":to", text(log_sk(to)))
                .set_exclusive_start_key(start)
                .send()
                .await
                .context("query log")?;
            for item in page.items() {
                if find_number::<i64>(item, "ttl")?.is_some_and(|ttl| ttl < now_s) {
                    continue;
                }
                let offset = get_text(item, "sk")?.parse().context("log offset")?;
                let data = if get_flag(item, "tombstone") { None } else { Some(get_text(item, "data")?.to_owned()) };
                entries.push(LogEntry { offset, data });
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(entries);
            }
        }
    }

    fn head_update(&self, channel: &str) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(head_key(channel)))
            .return_values(ReturnValue::AllNew)
    }
}

/// Sends an update of a head: the head after it, or `None` when its condition did not hold.
async fn send(update: impl Fn() -> UpdateItemFluentBuilder) -> anyhow::Result<Option<Head>> {
    let sent = despite_conflicts(UpdateItemError::is_transaction_conflict_exception, || update().send());
    match sent.await {
        Ok(output) => output.attributes.as_ref().map(read_head).transpose(),
        Err(error) if error.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn read_head(item: &Item) -> anyhow::Result<Head> {
    Ok(Head {
        epoch: get_text(item, "epoch")?.to_owned(),
        offset: find_number(item, "offset")?.unwrap_or(0),
        delivered: find_number(item, "delivered")?.unwrap_or(0),
        holder: item.get("holder").and_then(|holder| holder.as_s().ok()).cloned(),
        lease_until_ms: find_number(item, "lease_until")?.unwrap_or(0),
    })
}

fn new_epoch() -> String {
    // four random letters are what Centrifugo uses; a longer one costs nothing and never meets its like
    uuid::Uuid::new_v4().simple().to_string()[..12].to_owned()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
