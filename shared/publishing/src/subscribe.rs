use std::time::Duration;

use serde_json::value::RawValue;
use signalbox_channels::Namespace;
use signalbox_connections::{Head, Subscribed};
use signalbox_protocol::{ErrorCode, Publication, SubscribeRequest, SubscribeResult};
use tracing::{debug, warn};

use crate::{
    gateway::PostError,
    publish::{Publisher, now_ms},
};

/// Bytes of publications in a subscribe reply; what is more follows as pushes, which SDKs cannot tell apart.
const REPLY_BYTES: usize = 100 * 1024;

/// Rounds of catching up before a row is made ready behind the channel's top.
const ROUNDS: usize = 5;

/// How long a row that is behind is waited for: the invocation has 15 s for all of its frame.
const PATIENCE: Duration = Duration::from_secs(6);

/// Most publications a recovery brings (Centrifugo's `client.recovery_max_publication_limit`).
const RECOVERY_LIMIT: u64 = 300;

/// A `subscribe` that is allowed.
#[derive(Debug, Clone, Copy)]
pub struct SubscribeCommand<'a> {
    /// API Gateway's connection id.
    pub connection_id: &'a str,
    /// The command's id: orders the connection's commands on the channel.
    pub command_id: u32,
    /// What the client asked for.
    pub request: &'a SubscribeRequest,
    /// The channel's options.
    pub namespace: &'a Namespace,
    /// Unix seconds when the connection's token expires.
    pub expires_at: Option<i64>,
    /// Unix seconds until when the rows are kept.
    pub ttl: i64,
}

/// What to answer.
#[derive(Debug)]
pub enum Begun {
    /// Post the result, then [`Publisher::catch_up`].
    Reply(SubscribeResult, CatchUp),
    /// Post the error.
    Refused(ErrorCode),
    /// The connection is no more: nobody is there to answer.
    ConnectionGone,
}

/// A subscription whose reply is on its way.
#[derive(Debug)]
pub struct CatchUp {
    connection_id: String,
    channel: String,
    command_id: u32,
    /// Everything up to here is in the reply, or was before; `None` in a channel without history.
    at: Option<u64>,
    epoch: String,
    namespace: Namespace,
}

impl Publisher {
    /// The first half of a subscribe: the row is written, not ready, and the reply made. A push that comes before the reply
    /// would be dropped by the SDKs, so nobody posts to the row until [`Publisher::catch_up`] made it ready.
    pub async fn begin_subscribe(&self, command: SubscribeCommand<'_>) -> anyhow::Result<Begun> {
        let SubscribeCommand { connection_id, command_id, request, namespace, expires_at, ttl } = command;
        let channel = request.channel.as_str();
        match self.table.subscribe(connection_id, channel, command_id, expires_at, now_ms() / 1000, ttl).await? {
            Subscribed::Begun => {}
            Subscribed::Overtaken => return Ok(Begun::Refused(ErrorCode::INTERNAL)),
            Subscribed::ConnectionGone => return Ok(Begun::ConnectionGone),
        }
        let mut catch_up = CatchUp {
            connection_id: connection_id.to_owned(),
            channel: channel.to_owned(),
            command_id,
            at: None,
            epoch: String::new(),
            namespace: namespace.clone(),
        };
        if !namespace.has_history() {
            return Ok(Begun::Reply(SubscribeResult::default(), catch_up));
        }
        let head = self.table.head(channel, now_ms() / 1000, namespace.history_meta_ttl).await?;
        let recoverable = namespace.force_recovery || (request.recoverable && namespace.allow_recovery);
        let positioned =
            recoverable || namespace.force_positioning || (request.positioned && namespace.allow_positioning);
        let mut result = SubscribeResult { recoverable, positioned, ..SubscribeResult::default() };
        if positioned {
            result.epoch.clone_from(&head.epoch);
            result.offset = head.offset;
        }
        catch_up.at = Some(head.offset);
        catch_up.epoch.clone_from(&head.epoch);
        if request.recover && recoverable {
            result.was_recovering = true;
            if let Some(missed) = self.missed(channel, request, &head, namespace).await? {
                result.recovered = true;
                // the SDK starts here and advances by the publications
                result.offset = request.offset;
                let mut bytes = 0;
                for (offset, data) in missed {
                    bytes += data.len() + 40;
                    if bytes > REPLY_BYTES && !result.publications.is_empty() {
                        catch_up.at = Some(offset - 1);
                        break;
                    }
                    result.publications.push(Publication { data: RawValue::from_string(data)?, offset });
                }
            } else if request.rejects_unrecovered() {
                self.table.drop_subscriber(connection_id, channel, command_id).await?;
                return Ok(Begun::Refused(ErrorCode::UNRECOVERABLE_POSITION));
            }
        }
        Ok(Begun::Reply(result, catch_up))
    }

    /// Everything after the request's position up to the top, or `None` when part of it is no more: recovery is whole or it
    /// is none.
    async fn missed(
        &self,
        channel: &str,
        request: &SubscribeRequest,
        head: &Head,
        namespace: &Namespace,
    ) -> anyhow::Result<Option<Vec<(u64, String)>>> {
        let same_stream = request.epoch.is_empty() || request.epoch == head.epoch;
        let Some(count) = head.offset.checked_sub(request.offset).filter(|_| same_stream) else { return Ok(None) };
        if count > RECOVERY_LIMIT.min(u64::from(namespace.history_size)) {
            return Ok(None);
        }
        // Up to `delivered` every place was written once: what is missing has expired. Above it a place may still be waited
        // for.
        let written = head.delivered.min(head.offset).max(request.offset);
        let old = self.table.log(channel, &head.epoch, request.offset, written, now_ms() / 1000).await?;
        if u64::try_from(old.len())? != written - request.offset {
            return Ok(None);
        }
        let mut missed: Vec<_> = old.into_iter().filter_map(|entry| Some((entry.offset, entry.data?))).collect();
        missed.extend(self.entries(channel, &head.epoch, written, head.offset, namespace.history_ttl).await?);
        Ok(Some(missed))
    }

    /// The second half, after the reply was posted: what was published meanwhile follows as pushes, and the row is made ready
    /// on condition that nothing more came.
    pub async fn catch_up(&self, subscription: CatchUp) -> anyhow::Result<()> {
        let CatchUp { connection_id, channel, command_id, at, epoch, namespace } = &subscription;
        let Some(mut at) = *at else {
            self.table.make_ready_unpositioned(connection_id, channel, *command_id).await?;
            return Ok(());
        };
        for _ in 0..ROUNDS {
            let head = self.table.head(channel, now_ms() / 1000, namespace.history_meta_ttl).await?;
            if head.epoch != *epoch {
                self.start_over(&subscription).await;
                return Ok(());
            }
            if !self.push_missing(&subscription, at, head.offset).await? {
                return Ok(());
            }
            at = head.offset;
            match self.table.make_ready(connection_id, channel, *command_id, epoch, at).await? {
                Some(true) => return Ok(()),
                Some(false) => {}
                None => {
                    debug!(channel, connection_id, "subscription ended while it caught up");
                    return Ok(());
                }
            }
        }
        if self.table.make_ready_behind(connection_id, channel, *command_id, epoch, at).await?.is_none() {
            return Ok(());
        }
        self.wait_until_caught_up(&subscription).await
    }

    /// Pushes what is after `at` up to `top`. False when the connection is gone.
    async fn push_missing(&self, subscription: &CatchUp, at: u64, top: u64) -> anyhow::Result<bool> {
        let CatchUp { connection_id, channel, epoch, namespace, .. } = subscription;
        let frames = self.frames(channel, epoch, at, top, namespace.history_ttl).await?;
        match self.post_frames(connection_id, &frames).await {
            Ok(()) => Ok(true),
            Err(PostError::Gone) => {
                self.remove_gone(connection_id).await;
                Ok(false)
            }
            Err(cause) => {
                warn!(channel, connection_id, error = %cause, "catching up failed");
                self.start_over(subscription).await;
                Ok(false)
            }
        }
    }

    /// A row that is behind is brought up to date by whoever delivers next. If nobody does, it is done here: otherwise what is
    /// missing would wait for the next publication.
    async fn wait_until_caught_up(&self, subscription: &CatchUp) -> anyhow::Result<()> {
        let CatchUp { connection_id, channel, namespace, .. } = subscription;
        let holder = uuid::Uuid::new_v4().simple().to_string();
        let patience = tokio::time::Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(20);
        while tokio::time::Instant::now() < patience {
            let row = self.table.subscriber(connection_id, channel).await?;
            if row.is_none_or(|row| !row.behind || row.command_id != subscription.command_id) {
                return Ok(());
            }
            let head = self.table.head(channel, now_ms() / 1000, namespace.history_meta_ttl).await?;
            if !head.is_held(now_ms()) && self.deliver_pending(channel, namespace, &holder).await? {
                return Ok(());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(self.timing.lease / 20);
        }
        self.start_over(subscription).await;
        Ok(())
    }

    /// Ends the subscription so that the SDK begins again and recovers.
    async fn start_over(&self, subscription: &CatchUp) {
        self.interrupt(&subscription.channel, &subscription.connection_id, subscription.command_id).await;
    }
}
