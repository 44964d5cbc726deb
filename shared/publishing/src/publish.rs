use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use signalbox_channels::Namespace;
use signalbox_connections::{ConnectionTable, LogWrite};
use signalbox_protocol::{Json, Publication, Push};

use crate::{
    deliver::{Hold, KnownEntry},
    gateway::{Frame, Gateway},
};

/// Largest payload: with its envelope it must fit one message of 128 KB.
pub const MAX_DATA_BYTES: usize = 120 * 1024;

/// Publishes into channels and brings subscriptions up to date.
#[derive(Debug, Clone)]
pub struct Publisher {
    pub(crate) table: ConnectionTable,
    pub(crate) gateway: Gateway,
    pub(crate) timing: Timing,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How long a deliverer may be relied on without renewing.
    pub lease: Duration,
    /// A deliverer renews when less than this is left.
    pub lease_margin: Duration,
    /// A deliverer stops posting so long before its lease runs out, by its own clock: a late post by a forgotten one is the one
    /// way to a swap.
    pub skew: Duration,
    /// What one connection may take of a round, its repeated posts included.
    pub row: Duration,
    /// A deliverer hands over after this, on a channel that is never quiet.
    pub turn: Duration,
    /// How long an offset that was taken may stay without its publication.
    pub hole: Duration,
    /// Waits between the tries of a post.
    pub retries: [Duration; 3],
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            lease_margin: Duration::from_secs(5),
            skew: Duration::from_millis(500),
            row: Duration::from_secs(2),
            turn: Duration::from_secs(5),
            hole: Duration::from_millis(500),
            retries: [Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(450)],
        }
    }
}

/// A publication's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Offset; 0 in a channel without history.
    pub offset: u64,
    /// Epoch; empty in a channel without history.
    pub epoch: String,
    /// The idempotency key was known: nothing new was published.
    pub duplicate: bool,
    /// It was posted. Otherwise somebody else is posting it, or was when last heard of; see
    /// [`Publisher::ensure_delivered`].
    pub delivered: bool,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Over [`MAX_DATA_BYTES`].
    #[error("data is larger than {MAX_DATA_BYTES} bytes")]
    TooLarge,
    /// Nothing that a caller could do something about but try again.
    #[error(transparent)]
    Unexpected(#[from] anyhow::Error),
}

impl Publisher {
    /// A publisher with the usual [`Timing`].
    pub fn new(table: ConnectionTable, gateway: Gateway) -> Self {
        Self { table, gateway, timing: Timing::default() }
    }

    /// The same with another timing.
    #[must_use]
    pub fn with_timing(self, timing: Timing) -> Self {
        Self { timing, ..self }
    }

    /// The connection table.
    pub fn table(&self) -> &ConnectionTable {
        &self.table
    }

    /// The way to the sockets.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Publishes `data` into `channel`. With history every subscriber gets it in offset order, without gap or repetition;
    /// when this returns, it was posted or somebody else is posting it. Without history it is posted once to whoever is there.
    ///
    /// The same `idempotency_key` within five minutes publishes once. A repetition makes sure that what was published is
    /// delivered, should the first publisher have died.
    pub async fn publish(
        &self,
        channel: &str,
        namespace: &Namespace,
        data: &Json,
        idempotency_key: Option<&str>,
    ) -> Result<Published, PublishError> {
        let data = data.get();
        if data.len() > MAX_DATA_BYTES {
            return Err(PublishError::TooLarge);
        }
        if !namespace.has_history() {
            self.post_to_all(channel, data).await?;
            return Ok(Published { offset: 0, epoch: String::new(), duplicate: false, delivered: true });
        }
        Ok(self.append(channel, namespace, data, idempotency_key).await?)
    }

    /// [`Publisher::publish`] for a caller who knows that it may be repeating itself: a known key takes no new offset.
    pub async fn publish_again(
        &self,
        channel: &str,
        namespace: &Namespace,
        data: &Json,
        idempotency_key: &str,
    ) -> Result<Published, PublishError> {
        if namespace.has_history()
            && let Some(offset) = self.table.offset_of(channel, idempotency_key, now_ms() / 1000).await?
        {
            self.ensure_delivered(channel, namespace, offset).await?;
            let head = self.table.head(channel, now_ms() / 1000, namespace.history_meta_ttl).await?;
            return Ok(Published { offset, epoch: head.epoch, duplicate: true, delivered: true });
        }
        self.publish(channel, namespace, data, Some(idempotency_key)).await
    }

    async fn append(
        &self,
        channel: &str,
        namespace: &Namespace,
        data: &str,
        idempotency_key: Option<&str>,
    ) -> anyhow::Result<Published> {
        let holder = uuid::Uuid::new_v4().simple().to_string();
        let mut hold: Option<Hold> = None;
        let meta_ttl = namespace.history_meta_ttl.max(namespace.history_ttl);
        loop {
            let now_ms = now_ms();
            let appended = self.table.append(channel, &holder, now_ms, self.timing.lease, meta_ttl).await?;
            let head = appended.head;
            hold = match hold {
                _ if !appended.held => None,
                // held since the first round: only the top has moved
                Some(held) => Some(Hold { top: head.offset, delivered: held.delivered.max(head.delivered), ..held }),
                None => Some(Hold::new(channel, &holder, &head, now_ms, self.timing, namespace)),
            };
            let write = self.table.write_publication(
                channel,
                &head,
                data,
                idempotency_key,
                now_ms / 1000,
                namespace.history_ttl,
            );
            // whoever delivers reads the rows while the publication is being written: two round trips before the first post
            let (written, rows) = if hold.is_some() {
                let (written, rows) = tokio::try_join!(write, self.table.subscribers(channel, None))?;
                (written, Some(rows))
            } else {
                (write.await?, None)
            };
            let known = match written {
                LogWrite::Filled => continue,
                LogWrite::Written => KnownEntry { offset: head.offset, data: Some(data.to_owned()) },
                LogWrite::Duplicate(_) => {
                    // nobody shall wait for the offset that this repetition took
                    let (ttl, epoch) = (namespace.history_ttl, &head.epoch);
                    self.table.write_tombstone(channel, epoch, head.offset, now_ms / 1000, ttl).await?;
                    KnownEntry { offset: head.offset, data: None }
                }
            };
            let (offset, duplicate) = match written {
                LogWrite::Duplicate(first) => (first, true),
                _ => (head.offset, false),
            };
            let mut delivered = match hold {
                Some(hold) => self.deliver(hold, Some(known), rows).await?,
                None => false,
            };
            if duplicate && !delivered {
                self.ensure_delivered(channel, namespace, offset).await?;
                delivered = true;
            }
            return Ok(Published { offset, epoch: head.epoch, duplicate, delivered });
        }
    }

    /// Waits until everything up to `offset` was posted, and posts it itself if whoever held the delivery is dead.
    ///
    /// For callers whose own caller repeats what fails (a queue, the bus): what they acknowledge was then delivered, even if a
    /// deliverer dies and nothing more is published.
    pub async fn ensure_delivered(&self, channel: &str, namespace: &Namespace, offset: u64) -> anyhow::Result<()> {
        let holder = uuid::Uuid::new_v4().simple().to_string();
        let patience = tokio::time::Instant::now() + self.timing.lease * 2;
        let mut pause = Duration::from_millis(10);
        while tokio::time::Instant::now() < patience {
            let head = self.table.head(channel, now_ms() / 1000, namespace.history_meta_ttl).await?;
            if head.delivered >= offset {
                return Ok(());
            }
            if !head.is_held(now_ms()) && self.deliver_pending(channel, namespace, &holder).await? {
                return Ok(());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(self.timing.lease / 20);
        }
        anyhow::bail!("{channel} is not delivered up to {offset}")
    }

    /// Takes the delivery if nobody has it and posts what is pending. False when somebody has it.
    pub(crate) async fn deliver_pending(
        &self,
        channel: &str,
        namespace: &Namespace,
        holder: &str,
    ) -> anyhow::Result<bool> {
        let now_ms = now_ms();
        let Some(head) = self.table.take_hold(channel, holder, now_ms, self.timing.lease).await? else {
            return Ok(false);
        };
        self.deliver(Hold::new(channel, holder, &head, now_ms, self.timing, namespace), None, None).await
    }

    async fn post_to_all(&self, channel: &str, data: &str) -> anyhow::Result<()> {
        let line = publication_line(channel, 0, data)?;
        let frames = [Frame::new(line)];
        let mut start = None;
        loop {
            let (mut rows, next) = self.table.subscribers(channel, start).await?;
            rows.retain(|row| row.ready);
            let deadline = tokio::time::Instant::now() + self.timing.lease;
            self.post_page(channel, rows, deadline, |_| async { Ok(frames.to_vec()) }).await;
            start = next;
            if start.is_none() {
                return Ok(());
            }
        }
    }
}

/// One `pub` push.
pub(crate) fn publication_line(channel: &str, offset: u64, data: &str) -> anyhow::Result<String> {
    let data = serde_json::value::RawValue::from_string(data.to_owned()).context("publication is not JSON")?;
    let publication = Publication { data, offset };
    Ok(Push::Publication { channel, publication: &publication }.to_line())
}

/// Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
