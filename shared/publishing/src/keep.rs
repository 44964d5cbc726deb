//! What nobody else does: deliveries whose deliverer has died, connections whose time is over, sockets that must not fall asleep.
//!
//! Each is found by an index of what is due and when (docs/DATA.md), none by a scan.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use signalbox_channels::ChannelName;
use signalbox_connections::{Connection, ConnectionState, OwnSubscription};
use signalbox_protocol::{Disconnect, Unsubscribed};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::{
    deliver::UNREADY_SECONDS,
    ending::{is_over, seconds},
    gateway::{Frame, PostError},
    publish::{Publisher, now_ms},
};

/// Connections that are looked after at once.
const AT_ONCE: usize = 64;

/// Rows of one connection that are read at once.
const ROWS_AT_ONCE: usize = 16;

/// How long a client has to act on a `disconnect` push before its socket is closed.
const CLOSE_AFTER: Duration = Duration::from_secs(1);

/// What a sweep did with the connections that were due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Sockets that never sent `connect`.
    pub stale: usize,
    /// Connections whose token ended.
    pub expired: usize,
    /// Subscriptions whose token ended.
    pub unsubscribed: usize,
    /// Connections sent away to come back before API Gateway ends them.
    pub reconnected: usize,
    /// Connections that were no more.
    pub gone: usize,
    /// How long the longest had been due, seconds.
    pub oldest: u64,
    /// The time was over before all were looked after.
    pub unfinished: bool,
}

/// What became of one connection.
enum Fate {
    Stays,
    Ends(Disconnect),
    Gone,
}

impl Publisher {
    /// Delivers what is pending in channels whose deliverer died or gave up. How many channels there were.
    pub async fn heal(&self, shard: u32, until: Instant) -> anyhow::Result<usize> {
        let (mut healed, mut start) = (0, None);
        loop {
            let (due, next) = self.table.due_heads(shard, now_ms(), start).await?;
            healed += due.len();
            stream::iter(due)
                .for_each_concurrent(8, |head| async move {
                    let channel = head.channel.as_str();
                    if let Err(cause) = self.deliver_to(channel).await {
                        warn!(channel, error = format!("{cause:#}"), "pending publications were not delivered");
                    }
                })
                .await;
            start = next;
            if start.is_none() || Instant::now() >= until {
                return Ok(healed);
            }
        }
    }

    /// Looks after the connections of a bucket whose time has come.
    pub async fn sweep(&self, bucket: u32, until: Instant) -> anyhow::Result<Swept> {
        let (mut swept, mut start) = (Swept::default(), None);
        loop {
            let (due, next) = self.table.due_connections(bucket, now_ms(), start).await?;
            // 0 = at once: somebody who removed it died on the way
            let waited = due.iter().map(|connection| connection.due_at_ms).filter(|due_at| *due_at > 0);
            let oldest = waited.map(|due_at| now_ms() - due_at).max().unwrap_or(0);
            swept.oldest = swept.oldest.max(u64::try_from(oldest / 1000).unwrap_or(0));
            let fates: Vec<_> = stream::iter(due)
                .map(|connection| async move {
                    let fate = self.look_after(&connection.id).await;
                    (connection.id, fate)
                })
                .buffer_unordered(AT_ONCE)
                .collect()
                .await;
            let mut ending = Vec::new();
            for (id, fate) in fates {
                match fate {
                    Ok((Fate::Stays, unsubscribed)) => swept.unsubscribed += unsubscribed,
                    Ok((Fate::Gone, _)) => swept.gone += 1,
                    Ok((Fate::Ends(disconnect), _)) => {
                        match disconnect.code {
                            code if code == Disconnect::STALE.code => swept.stale += 1,
                            code if code == Disconnect::EXPIRED.code
                                || code == Disconnect::SUBSCRIPTION_EXPIRED.code =>
                            {
                                swept.expired += 1;
                            }
                            _ => swept.reconnected += 1,
                        }
                        ending.push(id);
                    }
                    Err(cause) => {
                        warn!(connection_id = id, error = format!("{cause:#}"), "connection not looked after");
                    }
                }
            }
            if !ending.is_empty() {
                // both SDKs close by themselves when they are told; others are closed a second later
                tokio::time::sleep(CLOSE_AFTER).await;
                stream::iter(ending)
                    .for_each_concurrent(AT_ONCE, |id| async move {
                        let _ = self.gateway.delete(&id).await;
                    })
                    .await;
            }
            start = next;
            if start.is_none() {
                return Ok(swept);
            }
            if Instant::now() >= until {
                swept.unfinished = true;
                return Ok(swept);
            }
        }
    }

    /// One connection that is due, and how many of its subscriptions have ended.
    async fn look_after(&self, id: &str) -> anyhow::Result<(Fate, usize)> {
        let Some((connection, subscriptions)) = self.table.connection_with_subscriptions(id).await? else {
            // somebody who removed it died on the way, perhaps before its socket was closed
            self.close(id).await;
            return Ok((Fate::Gone, 0));
        };
        let client = &self.channels.client;
        let end = match &connection.state {
            ConnectionState::New if connection.due_at_ms <= now_ms() => Some(Disconnect::STALE),
            ConnectionState::Ready(viewer) if is_over(viewer.expires_at, client.expired_close_delay) => {
                Some(Disconnect::EXPIRED)
            }
            ConnectionState::Ready(_) if is_over(connection.reconnect_at, Duration::ZERO) => {
                Some(Disconnect::FORCE_RECONNECT)
            }
            _ => None,
        };
        let ended = |subscription: &OwnSubscription| {
            subscription.active && is_over(subscription.expires_at, client.expired_sub_close_delay)
        };
        // only its connection can bring a server-side subscription back
        let end = end.or_else(|| {
            let expired = subscriptions.iter().any(|subscription| subscription.server && ended(subscription));
            expired.then_some(Disconnect::SUBSCRIPTION_EXPIRED)
        });
        if let Some(disconnect) = end {
            info!(connection_id = id, code = disconnect.code, reason = %disconnect.reason, "connection ended");
            return match self.disconnect(id, &disconnect).await {
                Err(PostError::Gone) => Ok((Fate::Gone, 0)),
                _ => Ok((Fate::Ends(disconnect), 0)),
            };
        }
        let mut unsubscribed = 0;
        for subscription in &subscriptions {
            if ended(subscription) {
                self.unsubscribe(id, &subscription.channel, Unsubscribed::EXPIRED).await?;
                unsubscribed += 1;
            }
        }
        let again = self.finish_subscribes(id, &subscriptions).await?;
        self.reschedule(id, &connection, &subscriptions, again).await?;
        Ok((Fate::Stays, unsubscribed))
    }

    /// Subscribes whose invocation died before their row was ready, or told that it is lost: on a quiet channel nobody else would
    /// find out. Unix milliseconds when to look again, if some are under way.
    async fn finish_subscribes(&self, id: &str, subscriptions: &[OwnSubscription]) -> anyhow::Result<Option<i64>> {
        let mut rows = stream::iter(subscriptions.iter().filter(|subscription| subscription.active))
            .map(|own| async move { (own, self.table.subscriber(id, &own.channel, own.shard).await) })
            .buffer_unordered(ROWS_AT_ONCE);
        let mut again = None;
        while let Some((own, row)) = rows.next().await {
            let Some(row) = row?.filter(|row| row.row_id == own.row_id) else { continue };
            let looked_at = (row.begun_at + UNREADY_SECONDS + 1) * 1000;
            let under_way = !row.lost && (!row.ready || row.behind);
            if under_way && looked_at > now_ms() {
                again = Some(again.unwrap_or(i64::MAX).min(looked_at));
            } else if row.lost || !row.ready {
                Box::pin(self.interrupt(&own.channel, &row)).await;
            } else if row.behind && !self.deliver_to(&own.channel).await? {
                again = Some(again.unwrap_or(i64::MAX).min(now_ms() + UNREADY_SECONDS * 1000));
            }
        }
        Ok(again)
    }

    /// Delivers what is pending in a channel. False when somebody else is at it.
    async fn deliver_to(&self, channel: &str) -> anyhow::Result<bool> {
        let name = ChannelName::parse(channel).ok();
        let Some(namespace) = name.and_then(|name| self.channels.namespace_of(&name)) else {
            warn!(channel, "pending publications of a namespace that is no more");
            return Ok(true);
        };
        self.deliver_pending(channel, namespace).await
    }

    async fn reschedule(
        &self,
        id: &str,
        connection: &Connection,
        subscriptions: &[OwnSubscription],
        again: Option<i64>,
    ) -> anyhow::Result<()> {
        let client = &self.channels.client;
        let due_at = |connection: &Connection, subscriptions: &[OwnSubscription]| {
            let now = now_ms() / 1000;
            let left: Vec<_> = subscriptions
                .iter()
                .filter(|subscription| {
                    let end = subscription.expires_at.map(|at| at + seconds(client.expired_sub_close_delay));
                    subscription.active && end.is_none_or(|end| end > now)
                })
                .cloned()
                .collect();
            connection.due_at(&left, client.expired_close_delay, client.expired_sub_close_delay)
        };
        let due = due_at(connection, subscriptions).min(again.unwrap_or(i64::MAX));
        self.table.reschedule(id, due).await?;
        // one that began meanwhile may end earlier, and is to be looked at in any case
        if let Some((connection, now)) = self.table.connection_with_subscriptions(id).await? {
            let is_known = |own: &OwnSubscription| subscriptions.iter().any(|known| known.row_id == own.row_id);
            let began = now.iter().any(|own| own.active && !is_known(own));
            let look = if began { now_ms() + UNREADY_SECONDS * 1000 } else { i64::MAX };
            let earlier = due_at(&connection, &now).min(look);
            if earlier < due {
                self.table.reschedule(id, earlier).await?;
            }
        }
        Ok(())
    }

    /// Posts a ping to the connections of a bucket: API Gateway closes a socket after 10 minutes of silence. Those that are gone
    /// are removed. How many were there, and how many were gone.
    pub async fn keep_alive(&self, bucket: u32, until: Instant) -> anyhow::Result<(usize, usize)> {
        // what the protocol calls a ping: an empty object (centrifuge.md 1.6)
        let ping = &Frame::new("{}");
        let (mut kept, mut gone, mut start) = (0, 0, None);
        loop {
            let (connections, next) = self.table.bucket_connections(bucket, start).await?;
            let posted: Vec<bool> = stream::iter(connections)
                .map(|connection| async move {
                    let gone = self.gateway.post(&connection.id, ping).await == Err(PostError::Gone);
                    if gone {
                        self.remove_gone(&connection.id).await;
                    }
                    !gone
                })
                .buffer_unordered(AT_ONCE)
                .collect()
                .await;
            kept += posted.iter().filter(|there| **there).count();
            gone += posted.iter().filter(|there| !**there).count();
            start = next;
            if start.is_none() || Instant::now() >= until {
                return Ok((kept, gone));
            }
        }
    }
}
