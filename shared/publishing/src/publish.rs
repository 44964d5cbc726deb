use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Context as _;
use signalbox_channels::{ChannelName, ChannelsConfig, Namespace};
use signalbox_connections::{ConnectionTable, LogEntry, LogItem, LogState, LogWrite, PublishKey, WritePublication};
use signalbox_protocol::{ClientInfo, Json, MAX_OUTBOUND_BYTES};

use crate::{
    batch::Batch,
    deliver::{Hold, Known, ROWS_AT_ONCE},
    fan_out::FanOut,
    gateway::Gateway,
};

pub use signalbox_connections::Version;

/// Largest payload: with its envelope it must fit one message of 128 KB.
pub const MAX_DATA_BYTES: usize = 120 * 1024;

/// Publishes into channels and brings subscriptions up to date.
#[derive(Debug, Clone)]
pub struct Publisher {
    pub(crate) table: ConnectionTable,
    pub(crate) gateway: Gateway,
    pub(crate) fan_out: FanOut,
    pub(crate) channels: Arc<ChannelsConfig>,
    pub(crate) timing: Timing,
}

/// What is published.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Payload, any JSON but null.
    pub data: &'a Json,
    /// For tags filters; subscribers see them.
    pub tags: &'a BTreeMap<String, String>,
    /// Who published, where that is a client.
    pub info: Option<&'a ClientInfo>,
    /// Subscribers who want deltas get one against the publication before (`delta` of the server API; the namespace may ask for
    /// it with `delta_publish`).
    pub delta: bool,
}

impl<'a> Message<'a> {
    /// A payload and nothing else.
    pub fn new(data: &'a Json) -> Self {
        const NO_TAGS: &BTreeMap<String, String> = &BTreeMap::new();
        Self { data, tags: NO_TAGS, info: None, delta: false }
    }
}

/// How it is published.
#[derive(Debug, Clone, Copy, Default)]
pub struct PublishOptions<'a> {
    /// The same key on a channel within five minutes publishes once; of several, one that is known refuses all.
    pub idempotency_keys: &'a [&'a str],
    /// Not published when the channel has seen this version or a newer one.
    pub version: Option<Version<'a>>,
    /// Only to whoever is there, without a place in the history. In a channel with deltas it has a place in the order: what it is to
    /// the next one's delta must be the same for all.
    pub skip_history: bool,
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
            row: Duration::from_secs(3),
            turn: Duration::from_secs(5),
            hole: Duration::from_millis(500),
            retries: [Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(450)],
        }
    }
}

/// A publication's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Offset; 0 in a channel without history, and of what skipped it.
    pub offset: u64,
    /// Epoch; empty where there is no offset.
    pub epoch: String,
    /// The idempotency key was known: nothing new was published.
    pub duplicate: bool,
    /// The version was not newer than what the channel has seen: nothing was published, and the position is the top.
    pub suppressed: bool,
    /// It was posted. Otherwise somebody else is posting it, or was when last heard of; see
    /// [`Publisher::ensure_delivered`].
    pub delivered: bool,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Data over [`MAX_DATA_BYTES`], or a message of 128 KB with its tags, its publisher's info and, for deltas, its quotes
    /// escaped.
    #[error("data is larger than {MAX_DATA_BYTES} bytes, or its message than 128 KB")]
    TooLarge,
    /// Nothing that a caller could do something about but try again.
    #[error(transparent)]
    Unexpected(#[from] anyhow::Error),
}

impl Publisher {
    /// A publisher with the usual [`Timing`], that posts to all shards of a channel itself.
    pub fn new(table: ConnectionTable, gateway: Gateway) -> Self {
        Self { table, gateway, fan_out: FanOut::Here, channels: Arc::default(), timing: Timing::default() }
    }

    /// The same with another timing.
    #[must_use]
    pub fn with_timing(self, timing: Timing) -> Self {
        Self { timing, ..self }
    }

    /// The same with workers for the shards of big channels.
    #[must_use]
    pub fn with_fan_out(self, fan_out: FanOut) -> Self {
        Self { fan_out, ..self }
    }

    /// The same knowing the namespaces: whoever ends a connection finds all shards of its channels.
    #[must_use]
    pub fn with_channels(self, channels: Arc<ChannelsConfig>) -> Self {
        Self { channels, ..self }
    }

    /// Shards that a channel's rows are in.
    pub(crate) fn shards(&self, channel: &str) -> u32 {
        let name = ChannelName::parse(channel).ok();
        name.and_then(|name| Some(self.channels.namespace_of(&name)?.shards)).unwrap_or(1)
    }

    /// The connection table.
    pub fn table(&self) -> &ConnectionTable {
        &self.table
    }

    /// The way to the sockets.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Publishes into `channel`. With history every subscriber gets it in offset order, without gap or repetition; when this
    /// returns, it was posted or somebody else is posting it. Without history it is posted once to whoever is there.
    ///
    /// A repetition (same idempotency key) makes sure that what was published is delivered, should the first publisher have died.
    pub async fn publish(
        &self,
        channel: &str,
        namespace: &Namespace,
        message: &Message<'_>,
        options: &PublishOptions<'_>,
    ) -> Result<Published, PublishError> {
        let mut item = item(channel, namespace, message)?;
        item.transient = options.skip_history;
        if !namespace.has_history() || (options.skip_history && namespace.allowed_delta_types.is_empty()) {
            return Ok(self.post_once(channel, namespace, item, options).await?);
        }
        let mut held = None;
        let appended = Box::pin(self.append(channel, namespace, &item, options, &mut held)).await;
        if appended.is_err()
            && let Some(hold) = held
        {
            // nobody shall wait for the lease of somebody who has given up
            let _ = self.table.hand_over(channel, &hold.holder, hold.delivered, now_ms()).await;
        }
        let published = appended?;
        if options.skip_history {
            // as in Centrifugo: no place to recover from
            return Ok(Published { offset: 0, epoch: String::new(), ..published });
        }
        Ok(published)
    }

    /// [`Publisher::publish`] for a caller who knows that it may be repeating itself: a known key takes no new offset.
    pub async fn publish_again(
        &self,
        channel: &str,
        namespace: &Namespace,
        message: &Message<'_>,
        idempotency_key: &str,
    ) -> Result<Published, PublishError> {
        if namespace.has_history()
            && let Some(offset) = self.table.offset_of(channel, idempotency_key, now_ms() / 1000).await?
        {
            self.ensure_delivered(channel, namespace, offset).await?;
            let head = self.table.head(channel, now_ms() / 1000, namespace.history_meta_ttl).await?;
            return Ok(Published { offset, epoch: head.epoch, duplicate: true, suppressed: false, delivered: true });
        }
        let options = PublishOptions { idempotency_keys: &[idempotency_key], ..PublishOptions::default() };
        self.publish(channel, namespace, message, &options).await
    }

    async fn append(
        &self,
        channel: &str,
        namespace: &Namespace,
        item: &LogItem,
        options: &PublishOptions<'_>,
        held: &mut Option<Hold>,
    ) -> anyhow::Result<Published> {
        let holder = uuid::Uuid::new_v4().simple().to_string();
        let meta_ttl = namespace.history_meta_ttl.max(namespace.history_ttl);
        let key = PublishKey { idempotency_keys: options.idempotency_keys, version: options.version };
        loop {
            let now_ms = now_ms();
            let appended = self.table.append(channel, &holder, now_ms, self.timing.lease, meta_ttl).await?;
            let head = appended.head;
            *held = match held.take() {
                _ if !appended.held => None,
                // held since the first round: only the top has moved
                Some(hold) => Some(hold.moved(&head)),
                None => {
                    // whoever lets go in peace has delivered everything: what is pending besides the offset just taken was not
                    let maybe_posted = head.offset != head.delivered + 1;
                    Some(Hold::new(channel, &holder, &head, now_ms, self.timing, namespace, maybe_posted))
                }
            };
            let write = WritePublication {
                channel,
                head: &head,
                item,
                key,
                now_s: now_ms / 1000,
                history_ttl: namespace.history_ttl,
                meta_ttl,
            };
            let write = self.table.write_publication(&write);
            // whoever delivers reads what it needs while the publication is being written: two round trips before the first post
            let (written, rows, before) = if let Some(hold) = held.as_ref().filter(|hold| self.posts_here(hold)) {
                let rows = self.table.subscribers(channel, 0, None, Some(ROWS_AT_ONCE));
                let before = async {
                    // everything before it was delivered: what stands there does not change any more
                    let wanted = item.delta && hold.stream.delta && hold.is_only(head.offset);
                    if wanted { self.document_before(channel, &head.epoch, head.offset).await } else { Ok(None) }
                };
                let (written, rows, before) = tokio::try_join!(write, rows, before)?;
                (written, Some(rows), before)
            } else {
                (write.await?, None, None)
            };
            let mut published = Published {
                offset: head.offset,
                epoch: head.epoch.clone(),
                duplicate: false,
                suppressed: false,
                delivered: false,
            };
            match written {
                LogWrite::Written => {}
                LogWrite::Filled => continue,
                LogWrite::Duplicate(offset) => {
                    published.offset = offset;
                    published.duplicate = true;
                }
                LogWrite::Superseded(top) => {
                    published.offset = top;
                    published.suppressed = true;
                }
            }
            let nothing = published.duplicate || published.suppressed;
            if let Some(hold) = held.take() {
                let state = if nothing { LogState::Tombstone } else { LogState::Publication(item.clone()) };
                let known = Known { entry: LogEntry { offset: head.offset, state }, before };
                published.delivered = Box::pin(self.deliver(hold, Some(known), rows)).await?;
            }
            if published.duplicate && !published.delivered {
                self.ensure_delivered(channel, namespace, published.offset).await?;
                published.delivered = true;
            }
            return Ok(published);
        }
    }

    /// Waits until everything up to `offset` was posted, and posts it itself if whoever held the delivery is dead.
    ///
    /// For callers whose own caller repeats what fails (a queue, the bus): what they acknowledge was then delivered, even if a
    /// deliverer dies and nothing more is published.
    pub async fn ensure_delivered(&self, channel: &str, namespace: &Namespace, offset: u64) -> anyhow::Result<()> {
        let patience = tokio::time::Instant::now() + self.timing.lease * 2;
        let mut pause = Duration::from_millis(10);
        while tokio::time::Instant::now() < patience {
            let head = self.table.head(channel, now_ms() / 1000, namespace.history_meta_ttl).await?;
            if head.delivered >= offset {
                return Ok(());
            }
            if !head.is_held(now_ms()) && self.deliver_pending(channel, namespace).await? {
                return Ok(());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(self.timing.lease / 20);
        }
        anyhow::bail!("{channel} is not delivered up to {offset}")
    }

    /// Takes the delivery if nobody has it and posts what is pending. False when somebody has it, or is to go on.
    pub async fn deliver_pending(&self, channel: &str, namespace: &Namespace) -> anyhow::Result<bool> {
        let now_ms = now_ms();
        let holder = uuid::Uuid::new_v4().simple().to_string();
        let Some(head) = self.table.take_hold(channel, &holder, now_ms, self.timing.lease).await? else {
            return Ok(false);
        };
        let hold = Hold::new(channel, &holder, &head, now_ms, self.timing, namespace, true);
        Box::pin(self.deliver(hold, None, None)).await
    }

    /// To whoever is there, once, without a place in the history.
    async fn post_once(
        &self,
        channel: &str,
        namespace: &Namespace,
        item: LogItem,
        options: &PublishOptions<'_>,
    ) -> anyhow::Result<Published> {
        let key = PublishKey { idempotency_keys: options.idempotency_keys, version: options.version };
        let mut published =
            Published { offset: 0, epoch: String::new(), duplicate: false, suppressed: false, delivered: true };
        let claimed = if key == PublishKey::default() {
            LogWrite::Written
        } else {
            self.table.claim(channel, &key, now_ms() / 1000, namespace.history_meta_ttl).await?
        };
        match claimed {
            LogWrite::Duplicate(_) => published.duplicate = true,
            LogWrite::Superseded(_) => published.suppressed = true,
            LogWrite::Written | LogWrite::Filled => {
                let batch = Batch::new(channel, vec![LogEntry { offset: 0, state: LogState::Publication(item) }], None);
                self.post_to_all(channel, namespace, |row| batch.frames_without_place(row)).await?;
            }
        }
        Ok(published)
    }
}

/// What goes into the log, if it is not too large.
fn item(channel: &str, namespace: &Namespace, message: &Message<'_>) -> Result<LogItem, PublishError> {
    let data = message.data.get();
    let json = |value: Result<String, serde_json::Error>| value.context("publication");
    let item = LogItem {
        data: data.to_owned(),
        tags: (!message.tags.is_empty()).then(|| json(serde_json::to_string(message.tags))).transpose()?,
        info: message.info.map(|info| json(serde_json::to_string(info))).transpose()?,
        delta: message.delta || namespace.delta_publish,
        transient: false,
    };
    if data.len() > MAX_DATA_BYTES {
        return Err(PublishError::TooLarge);
    }
    // a delta subscription gets the data as a JSON string
    let data_bytes =
        if namespace.allowed_delta_types.is_empty() { data.len() } else { json(serde_json::to_string(data))?.len() };
    let around = [item.tags.as_deref(), item.info.as_deref()].into_iter().flatten().map(str::len).sum::<usize>();
    if data_bytes + around + channel.len() + ENVELOPE > MAX_OUTBOUND_BYTES {
        return Err(PublishError::TooLarge);
    }
    Ok(item)
}

/// Bytes of a push around its channel, data, tags and info.
const ENVELOPE: usize = 128;

pub(crate) use signalbox_clock::now_ms;
