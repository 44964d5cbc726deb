//! Workers for the shards of big channels.
//!
//! Whoever holds a channel's delivery puts one task for each shard into an SQS FIFO queue, whose group is channel and shard: the
//! lease gives the order of the tasks, FIFO keeps it. A worker notes how far its shard is (the mark), so that a task that is
//! lost is made up for by the next one, and one that comes twice is posted once.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use signalbox_channels::{ChannelName, ChannelsConfig};
use signalbox_queues::{FifoMessage, Queue};
use tracing::warn;

use crate::{
    deliver::{Hold, ShardRound, Stream},
    publish::{Publisher, now_ms},
};

/// Who posts to a channel of more than one shard.
#[derive(Debug, Clone)]
pub enum FanOut {
    /// Whoever holds the delivery, one shard after the other.
    Here,
    /// The workers of a FIFO queue.
    Workers(Queue),
    /// Tasks are kept; in tests.
    #[cfg(feature = "testing")]
    Recorded(std::sync::Arc<std::sync::Mutex<Vec<FifoMessage>>>),
}

/// What a worker is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FanOutTask {
    /// Post what is pending to the rows of a shard.
    Shard {
        /// The channel.
        channel: String,
        /// Its stream.
        epoch: String,
        /// The shard.
        shard: u32,
        /// Everything up to here was given to workers before.
        after: u64,
        /// Post up to here.
        to: u64,
    },
    /// Take over the delivery of a channel that is never quiet.
    Deliver {
        /// The channel.
        channel: String,
    },
}

impl FanOut {
    /// Workers where there is a queue for their tasks.
    pub fn new(aws: &aws_types::SdkConfig, queue_url: Option<String>) -> Self {
        queue_url.map_or(Self::Here, |url| Self::Workers(Queue::new(aws, url)))
    }

    pub(crate) fn is_here(&self) -> bool {
        matches!(self, Self::Here)
    }

    async fn send(&self, messages: Vec<FifoMessage>) -> anyhow::Result<()> {
        match self {
            Self::Here => Ok(()),
            Self::Workers(queue) => queue.send_fifo(&messages).await,
            #[cfg(feature = "testing")]
            Self::Recorded(kept) => {
                kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(messages);
                Ok(())
            }
        }
    }
}

/// Channel names are longer and have other characters than SQS allows in an id.
fn id(parts: &[&str]) -> String {
    hex::encode(Sha256::digest(parts.join("\n")))
}

impl Publisher {
    /// A task for each shard. False when the lease ran out first: nobody knows then who sent what in which order.
    pub(crate) async fn hand_to_workers(&self, hold: &Hold) -> anyhow::Result<bool> {
        let channel = hold.channel.as_str();
        let messages = (0..hold.shards).map(|shard| {
            let task = FanOutTask::Shard {
                channel: channel.to_owned(),
                epoch: hold.head.epoch.clone(),
                shard,
                after: hold.delivered,
                to: hold.top,
            };
            let (shard, to) = (shard.to_string(), hold.top.to_string());
            Ok(FifoMessage {
                body: serde_json::to_string(&task)?,
                group: id(&[channel, &shard]),
                // one that is sent again by the same holder is the same
                deduplication: id(&[channel, &shard, &hold.head.epoch, &to, &hold.holder]),
            })
        });
        let messages = messages.collect::<anyhow::Result<Vec<_>>>()?;
        match tokio::time::timeout_at(hold.until(), self.fan_out.send(messages)).await {
            Ok(sent) => sent.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// Asks a worker to take over the delivery. Nobody needs to: whoever waits for a publication does, and the keeper.
    pub(crate) async fn hand_on(&self, channel: &str, holder: &str) {
        let task = FanOutTask::Deliver { channel: channel.to_owned() };
        let Ok(body) = serde_json::to_string(&task) else { return };
        let message = FifoMessage {
            body,
            group: id(&[channel, "deliver"]),
            // whoever hands over does it once: one that handed over at the same place before is another
            deduplication: id(&[channel, "deliver", holder]),
        };
        if let Err(cause) = self.fan_out.send(vec![message]).await {
            warn!(channel, error = format!("{cause:#}"), "delivery was not handed on");
        }
    }

    /// What a worker does with a task, perhaps not for the first time (`again`). An error is for the queue to repeat; nothing is lost or
    /// posted twice by that, but for what a worker posted that died before it noted it.
    ///
    /// Where publications come faster than a shard is posted to, tasks pile up: the first then does what all that were sent
    /// meanwhile ask for, in one frame per connection, and the others find it done.
    pub async fn work(&self, channels: &ChannelsConfig, task: &FanOutTask, again: bool) -> anyhow::Result<()> {
        let (FanOutTask::Shard { channel, .. } | FanOutTask::Deliver { channel }) = task;
        let Some(namespace) = ChannelName::parse(channel).ok().and_then(|name| channels.namespace_of(&name)) else {
            warn!(channel, "task for a channel that is no more");
            return Ok(());
        };
        match task {
            FanOutTask::Deliver { channel } => {
                self.deliver_pending(channel, namespace).await?;
            }
            FanOutTask::Shard { channel, epoch, shard, after, to } => {
                let mark = self.table.fan_posted(channel, *shard).await?.filter(|mark| mark.epoch == *epoch);
                if mark.as_ref().is_some_and(|mark| mark.posted >= *to) {
                    return Ok(());
                }
                let Some(head) = self.table.find_head(channel).await?.filter(|head| head.epoch == *epoch) else {
                    // the rows are of that stream, too: whoever delivers the new one tells them
                    return Ok(());
                };
                // Without a mark this is the first task of the stream for this shard, or those before it were given up, or a holder
                // posted itself until now. Only a row that came after those tasks has everything up to `after` for sure.
                let is_first = mark.is_none();
                let from = mark.map_or(*after, |mark| mark.posted);
                // `delivered` says that all up to there was handed to workers
                let to = head.delivered.max(*to);
                let entries = self.entries(channel, &head, from, to, namespace.history_ttl).await?;
                let stream = Stream::of(namespace);
                let batch = self.batch(channel, epoch, stream, entries).await?;
                let round = ShardRound {
                    channel,
                    head: &head,
                    shard: *shard,
                    delivered: from,
                    top: to,
                    uncertain: is_first,
                    // a task before this one that was given up has posted to some
                    maybe_posted: again || is_first || from < *after,
                    stream,
                };
                self.post_shard(round, batch).await?;
                let meta_ttl = namespace.history_meta_ttl;
                self.table.advance_fan(channel, *shard, epoch, (from, to), now_ms() / 1000, meta_ttl).await?;
            }
        }
        Ok(())
    }
}
