use std::{collections::BTreeSet, sync::PoisonError, time::Duration};

use anyhow::Context as _;
use aws_sdk_dynamodb::{
    operation::update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    types::ReturnValue,
};

use crate::{
    attribute::{Item, find_number, find_text, get_number, get_text, number, text},
    table::{ConnectionTable, PageStart, bucket, despite_conflicts, get_all, key, unless_refused},
};

/// Shards of the index that channels are in while something is pending or somebody delivers.
pub const HELD_SHARDS: u32 = 16;

/// How long a deliverer who was met is expected to be met again, milliseconds. A publication that expects one in vain is a round trip
/// later.
const BUSY: i64 = 500;

/// Channels that an environment remembers having found busy.
const REMEMBERED: usize = 1_000;

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
    /// Publications up to here are not history any more.
    pub removed: u64,
    /// Shards that the channel's rows are in: the most it ever had.
    pub shards: u32,
    /// Unix milliseconds before which nothing after `delivered` was appended; `None` when nothing is pending.
    pub pending_since_ms: Option<i64>,
    /// The last place that holds no publication of the history: a tombstone, or a transient one. 0 if there is none.
    pub hole: u64,
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

/// A channel that somebody must look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueHead {
    /// The channel.
    pub channel: String,
    /// Unix milliseconds when its deliverer was to be done, or handed over.
    pub due_at_ms: i64,
}

pub(crate) fn head_key(channel: &str) -> Item {
    key(format!("head#{channel}"), "head")
}

impl ConnectionTable {
    /// Takes the next offset, and the delivery too if nobody has it: one write where the channel is quiet, two where somebody
    /// delivers, three where they have just let go. An environment that met a deliverer a moment ago expects one, and writes once
    /// where it is right, once more where it is not: the writes of a head are what limits a channel, and its partition counts those too
    /// whose condition does not hold.
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
        // whoever appends first after a release says since when something is pending, and has the keeper look, should all die
        let set = "SET epoch = if_not_exists(epoch, :epoch), delivered = if_not_exists(delivered, :zero), #ttl = :ttl, \
                   due_shard = :shard, pending_since = if_not_exists(pending_since, :now)";
        let append = || {
            self.head_update(channel)
                .expression_attribute_names("#offset", "offset")
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_values(":one", number(1))
                .expression_attribute_values(":zero", number(0))
                .expression_attribute_values(":epoch", text(new_epoch()))
                .expression_attribute_values(":ttl", number(now_ms / 1000 + millis(meta_ttl) / 1000))
                .expression_attribute_values(":shard", text(held_shard(channel)))
                .expression_attribute_values(":until", number(until))
                .expression_attribute_values(":now", number(now_ms))
        };
        if self.is_busy(channel, now_ms) {
            let held_by_another = send(|| {
                append()
                    .update_expression(format!("ADD #offset :one {set}, due_at = if_not_exists(due_at, :until)"))
                    .condition_expression("attribute_exists(holder) AND lease_until >= :now")
            });
            if let Some(head) = held_by_another.await.context("append where somebody delivers")? {
                self.note_busy(channel, Some(now_ms));
                return Ok(Appended { head, held: false });
            }
            self.note_busy(channel, None);
        }
        let first = send(|| {
            append()
                .update_expression(format!(
                    "ADD #offset :one {set}, holder = :holder, lease_until = :until, due_at = :until, seen_at = :now"
                ))
                .condition_expression("attribute_not_exists(holder) OR lease_until < :now")
                .expression_attribute_values(":holder", text(holder))
        });
        if let Some(head) = first.await.context("append and hold")? {
            return Ok(Appended { head, held: true });
        }
        let second = send(|| {
            append().update_expression(format!("ADD #offset :one {set}, due_at = if_not_exists(due_at, :until)"))
        });
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
        self.note_busy(channel, Some(now_ms));
        Ok(Appended { head, held: false })
    }

    /// Whether somebody else was delivering when this environment last appended, a moment ago.
    fn is_busy(&self, channel: &str, now_ms: i64) -> bool {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.get(channel).is_some_and(|at| now_ms < at + BUSY)
    }

    fn note_busy(&self, channel: &str, at_ms: Option<i64>) {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at_ms) = at_ms else {
            busy.remove(channel);
            return;
        };
        if busy.len() >= REMEMBERED && !busy.contains_key(channel) {
            busy.clear();
        }
        busy.insert(channel.to_owned(), at_ms);
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
                .update_expression(
                    "SET holder = :holder, lease_until = :until, due_shard = :shard, due_at = :until, seen_at = :now",
                )
                .condition_expression(
                    "attribute_exists(pk) AND (attribute_not_exists(holder) OR lease_until < :now OR holder = :holder)",
                )
                .expression_attribute_values(":holder", text(holder))
                .expression_attribute_values(":shard", text(held_shard(channel)))
                .expression_attribute_values(":until", number(now_ms + millis(lease)))
                .expression_attribute_values(":now", number(now_ms))
        })
        .await
        .context("take the delivery")
    }

    /// A round is over: notes what was posted, and renews the delivery for the next. `delivered` must be the offset that the last
    /// append, taking or renewal returned: what was appended after that is pending since then. `None` when somebody else has
    /// taken it.
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
                .update_expression(
                    "SET delivered = :delivered, lease_until = :until, due_at = :until, \
                     pending_since = if_not_exists(seen_at, :zero), seen_at = :now",
                )
                .condition_expression("holder = :holder")
                .expression_attribute_values(":holder", text(holder))
                .expression_attribute_values(":delivered", number(delivered))
                .expression_attribute_values(":until", number(now_ms + millis(lease)))
                .expression_attribute_values(":now", number(now_ms))
                .expression_attribute_values(":zero", number(0))
        })
        .await
        .context("renew the delivery")
    }

    /// Renews the delivery within a round. False when somebody else has taken it.
    pub async fn extend(&self, channel: &str, holder: &str, now_ms: i64, lease: Duration) -> anyhow::Result<bool> {
        let extended = send(|| {
            self.head_update(channel)
                .update_expression("SET lease_until = :until, due_at = :until")
                .condition_expression("holder = :holder")
                .expression_attribute_values(":holder", text(holder))
                .expression_attribute_values(":until", number(now_ms + millis(lease)))
        });
        Ok(extended.await.context("extend the delivery")?.is_some())
    }

    /// Lets go if nothing was appended after `delivered`. False when there was, or when somebody else has taken it.
    pub async fn release(&self, channel: &str, holder: &str, delivered: u64) -> anyhow::Result<bool> {
        let released = send(|| {
            self.head_update(channel)
                .update_expression(
                    "SET delivered = :delivered REMOVE holder, lease_until, due_shard, due_at, pending_since, seen_at",
                )
                .condition_expression("holder = :holder AND #offset = :delivered")
                .expression_attribute_names("#offset", "offset")
                .expression_attribute_values(":holder", text(holder))
                .expression_attribute_values(":delivered", number(delivered))
        });
        Ok(released.await.context("let go of the delivery")?.is_some())
    }

    /// Lets go whatever was appended: to hand over after a long time, or because something failed. What is pending is for
    /// whoever waits for it, and for the keeper, who finds the channel due from `now_ms` on.
    pub async fn hand_over(&self, channel: &str, holder: &str, delivered: u64, now_ms: i64) -> anyhow::Result<()> {
        let handed = send(|| {
            self.head_update(channel)
                .update_expression("SET delivered = :delivered, due_at = :now REMOVE holder, lease_until, seen_at")
                .condition_expression("holder = :holder")
                .expression_attribute_values(":holder", text(holder))
                .expression_attribute_values(":delivered", number(delivered))
                .expression_attribute_values(":now", number(now_ms))
        });
        handed.await.context("hand the delivery over")?;
        Ok(())
    }

    /// The head, read consistently; written with a new epoch where there is none, so that everybody who asks gets the same
    /// position.
    pub async fn head(&self, channel: &str, now_s: i64, meta_ttl: Duration) -> anyhow::Result<Head> {
        if let Some(head) = self.find_head(channel).await? {
            return Ok(head);
        }
        self.create_head(channel, now_s, meta_ttl, 1).await
    }

    /// The head, read consistently, if there is one.
    pub async fn find_head(&self, channel: &str) -> anyhow::Result<Option<Head>> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(head_key(channel)));
        get.consistent_read(true).send().await.context("get head")?.item.as_ref().map(read_head).transpose()
    }

    /// Which of these channels have a head, read consistently: the others nobody has ever asked for. One request for 100.
    pub async fn with_head(&self, channels: &[String]) -> anyhow::Result<BTreeSet<String>> {
        let keys = channels.iter().map(|channel| head_key(channel)).collect();
        let heads = get_all(&self.client, &self.table, keys).await.context("get heads")?;
        let names = heads.iter().filter_map(|item| find_text(item, "pk"));
        Ok(names.filter_map(|pk| pk.strip_prefix("head#").map(str::to_owned)).collect())
    }

    /// Sees to it that whoever delivers looks into that many shards. Before the first row goes into a new shard: a deliverer who learnt
    /// its top before this has nothing for that row, and who learns it after looks there.
    pub async fn raise_shards(&self, channel: &str, shards: u32, now_s: i64, meta_ttl: Duration) -> anyhow::Result<()> {
        self.create_head(channel, now_s, meta_ttl, shards).await?;
        self.raise(channel, "shards", shards.into()).await
    }

    async fn create_head(&self, channel: &str, now_s: i64, meta_ttl: Duration, shards: u32) -> anyhow::Result<Head> {
        let created = send(|| {
            self.head_update(channel)
                .update_expression(
                    "SET epoch = if_not_exists(epoch, :epoch), #offset = if_not_exists(#offset, :zero), \
                     delivered = if_not_exists(delivered, :zero), shards = if_not_exists(shards, :shards), #ttl = :ttl",
                )
                .expression_attribute_names("#offset", "offset")
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_values(":epoch", text(new_epoch()))
                .expression_attribute_values(":zero", number(0))
                .expression_attribute_values(":shards", number(shards))
                .expression_attribute_values(":ttl", number(now_s + millis(meta_ttl) / 1000))
        });
        created.await.context("create head")?.context("a write without a condition was refused")
    }

    /// Takes what was published so far out of the history; offset and epoch stay, and so does what is yet to be delivered. One
    /// write, whatever the history holds: the entries go when their time is over. The head after it; `None` if there is none.
    pub async fn remove_history(&self, channel: &str) -> anyhow::Result<Option<Head>> {
        send(|| {
            self.head_update(channel)
                .update_expression("SET removed = #offset")
                .condition_expression("attribute_exists(pk)")
                .expression_attribute_names("#offset", "offset")
        })
        .await
        .context("remove history")
    }

    /// Notes that a place holds no publication of the history: whoever counts publications cannot count offsets there.
    pub(crate) async fn note_hole(&self, channel: &str, offset: u64) -> anyhow::Result<()> {
        self.raise(channel, "hole", offset).await
    }

    /// Sets a number of the head where it is smaller or missing.
    async fn raise(&self, channel: &str, name: &'static str, to: u64) -> anyhow::Result<()> {
        let raised = send(|| {
            self.head_update(channel)
                .update_expression("SET #name = :to")
                .condition_expression("attribute_exists(pk) AND (attribute_not_exists(#name) OR #name < :to)")
                .expression_attribute_names("#name", name)
                .expression_attribute_values(":to", number(to))
        });
        raised.await.with_context(|| format!("raise {name}"))?;
        Ok(())
    }

    /// One page of the channels of shard `k` (of [`HELD_SHARDS`]) whose deliverer should have been done by `until_ms`. From the
    /// index, so one that changed this moment may be missing or be done.
    pub async fn due_heads(
        &self,
        k: u32,
        until_ms: i64,
        start: Option<PageStart>,
    ) -> anyhow::Result<(Vec<DueHead>, Option<PageStart>)> {
        let (items, next) = self.due(format!("held#{k}"), Some(until_ms), start).await?;
        let read = |item: &Item| {
            let pk = get_text(item, "pk")?;
            let channel = pk.strip_prefix("head#").unwrap_or(pk).to_owned();
            Ok(DueHead { channel, due_at_ms: get_number(item, "due_at")? })
        };
        Ok((items.iter().map(read).collect::<anyhow::Result<_>>()?, next))
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
    let sent = despite_conflicts(UpdateItemError::is_transaction_conflict_exception, || update().send()).await;
    let sent = unless_refused(sent, UpdateItemError::is_conditional_check_failed_exception)?;
    sent.and_then(|output| output.attributes).as_ref().map(read_head).transpose()
}

fn read_head(item: &Item) -> anyhow::Result<Head> {
    Ok(Head {
        epoch: get_text(item, "epoch")?.to_owned(),
        offset: find_number(item, "offset")?.unwrap_or(0),
        delivered: find_number(item, "delivered")?.unwrap_or(0),
        holder: find_text(item, "holder"),
        lease_until_ms: find_number(item, "lease_until")?.unwrap_or(0),
        removed: find_number(item, "removed")?.unwrap_or(0),
        shards: find_number(item, "shards")?.unwrap_or(1),
        pending_since_ms: find_number(item, "pending_since")?,
        hole: find_number(item, "hole")?.unwrap_or(0),
    })
}

fn held_shard(channel: &str) -> String {
    format!("held#{}", bucket(channel, HELD_SHARDS))
}

fn new_epoch() -> String {
    // four random letters are what Centrifugo uses; a longer one costs nothing and never meets its like
    uuid::Uuid::new_v4().simple().to_string()[..12].to_owned()
}

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
