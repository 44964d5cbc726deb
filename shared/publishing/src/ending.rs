//! How subscriptions and connections end, and who is told.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use signalbox_channels::Namespace;
use signalbox_connections::{EndedSubscription, Removed, Subscriber, Unsubscribed as Ended};
use signalbox_protocol::{ClientInfo, Disconnect, Push, Unsubscribed};
use tokio::time::Instant;
use tracing::warn;

use crate::{
    deliver::{counted, unsubscribe_frame},
    gateway::{Frame, PostError},
    publish::{Publisher, now_ms},
};

/// Pushes that go out at once.
const POSTS_AT_ONCE: usize = 128;

/// Whether something came or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Join,
    Leave,
}

impl Publisher {
    /// Tells the subscribers of a channel who want to know that one of them came or went; once, to whoever is there.
    pub(crate) async fn announce(&self, channel: &str, presence: Presence, info: &ClientInfo) {
        let line = match presence {
            Presence::Join => Push::Join { channel, info }.to_line(),
            Presence::Leave => Push::Leave { channel, info }.to_line(),
        };
        let frame = &Frame::new(line);
        let posted = self.rows(channel, 0..self.shards(channel), None).try_for_each_concurrent(
            POSTS_AT_ONCE,
            |row| async move {
                if row.ready && row.join_leave {
                    // one that is gone is found out by the next publication: removing it here would announce in turn, without end
                    let _ = self.post_frames(&row.connection_id, std::slice::from_ref(frame)).await;
                }
                Ok(())
            },
        );
        if let Err(cause) = posted.await {
            warn!(channel, error = format!("{cause:#}"), "join or leave was not told to all");
        }
    }

    /// Leaves of subscriptions that this call has ended, so that nobody else tells them.
    pub(crate) async fn announce_leaves(&self, ended: &[EndedSubscription]) {
        stream::iter(ended.iter().filter(|ended| ended.subscriber.announced && has_joined(&ended.subscriber)))
            .for_each_concurrent(8, |ended| async move {
                self.announce(&ended.channel, Presence::Leave, &info_of(&ended.subscriber)).await;
            })
            .await;
    }

    async fn left(&self, channel: &str, subscriber: Subscriber) {
        self.announce_leaves(&[EndedSubscription { channel: channel.to_owned(), subscriber }]).await;
    }

    /// 410 removes that connection and nothing else.
    pub async fn remove_gone(&self, connection_id: &str) {
        if let Err(cause) = self.disconnected(connection_id).await {
            // its rows have a TTL, and the next post finds it gone again
            warn!(connection_id, error = format!("{cause:#}"), "gone connection was not removed");
        }
    }

    /// Removes a connection whose socket is closed and announces its leaves.
    pub async fn disconnected(&self, connection_id: &str) -> anyhow::Result<Removed> {
        let removed = self.table.remove(connection_id).await?;
        Box::pin(self.announce_leaves(&removed.ended)).await;
        Ok(removed)
    }

    /// Ends a connection: nothing is posted to it any more but `disconnect`, which makes the SDKs close the socket. One that does
    /// not is closed by [`crate::Gateway::delete`]; a second later at the earliest, or the push may be lost.
    pub async fn disconnect(&self, connection_id: &str, disconnect: &Disconnect) -> Result<(), PostError> {
        self.remove_gone(connection_id).await;
        let frame = Frame::new(Push::Disconnect(disconnect.clone()).to_line());
        counted(self.gateway.post(connection_id, &frame).await)
    }

    /// Ends the subscription that a row stands for; no effect on one that came since. True when it was there.
    pub(crate) async fn end_row(&self, channel: &str, row: &Subscriber) -> bool {
        match self.table.end_row(channel, row).await {
            Ok(Some(ended)) => {
                Box::pin(self.left(channel, ended)).await;
                true
            }
            Ok(None) => false,
            Err(cause) => {
                // told again by the next deliverer
                warn!(channel, connection_id = row.connection_id, error = format!("{cause:#}"), "row was not deleted");
                false
            }
        }
    }

    /// Ends a subscription from outside and tells the client. False when there was none.
    pub async fn unsubscribe(&self, connection_id: &str, channel: &str, reason: Unsubscribed) -> anyhow::Result<bool> {
        let Some(ended) = self.table.end_subscription(connection_id, channel, None).await? else { return Ok(false) };
        self.left(channel, ended).await;
        match self.post(connection_id, &unsubscribe_frame(channel, reason)).await {
            Ok(()) => {}
            Err(PostError::Gone) => self.remove_gone(connection_id).await,
            // it would go on believing that it is subscribed
            Err(_) => self.close(connection_id).await,
        }
        Ok(true)
    }

    /// The client's own `unsubscribe`. One that a later subscribe has overtaken has no effect.
    pub async fn unsubscribed(
        &self,
        connection_id: &str,
        channel: &str,
        command_id: u32,
        ttl: i64,
    ) -> anyhow::Result<()> {
        if let Ended::Ended(Some(ended)) = self.table.unsubscribe(connection_id, channel, command_id, ttl).await? {
            self.left(channel, ended).await;
        }
        Ok(())
    }

    /// A row whose time is over is not posted to: what came to an end is told. Whoever has a new token has its later end noted.
    pub(crate) async fn current(&self, channel: &str, row: Subscriber) -> Option<Subscriber> {
        let client = &self.channels.client;
        if is_over(row.sub_expires_at, client.expired_sub_close_delay) {
            if row.server {
                let _ = self.disconnect(&row.connection_id, &Disconnect::SUBSCRIPTION_EXPIRED).await;
            } else if self.end_row(channel, &row).await {
                let _ = self.post(&row.connection_id, &unsubscribe_frame(channel, Unsubscribed::EXPIRED)).await;
            }
            return None;
        }
        match self.is_expired(channel, &row).await {
            Ok(false) => Some(row),
            Ok(true) => {
                let _ = self.disconnect(&row.connection_id, &Disconnect::EXPIRED).await;
                None
            }
            // nobody receives after expiry, and who was kept from something is told
            Err(cause) => {
                warn!(channel, error = format!("{cause:#}"), "expired connection could not be looked up");
                Box::pin(self.interrupt(channel, &row)).await;
                None
            }
        }
    }

    /// Whether the token of a row's connection has ended and had its time. The row says when the one ended that was there at the
    /// subscribe: once that is over the connection is read, and a later end noted, so that it is read once.
    pub(crate) async fn is_expired(&self, channel: &str, row: &Subscriber) -> anyhow::Result<bool> {
        let over = |expires_at| is_over(expires_at, self.channels.client.expired_close_delay);
        if !over(row.expires_at) {
            return Ok(false);
        }
        let Some(connection) = self.table.connection(&row.connection_id).await? else { return Ok(true) };
        let expires_at = connection.client().and_then(|client| client.expires_at);
        if over(expires_at) {
            return Ok(true);
        }
        if let Err(cause) = self.table.touch_expiry(channel, row, expires_at).await {
            warn!(channel, error = format!("{cause:#}"), "later expiry was not noted");
        }
        Ok(false)
    }

    /// Posts to every subscriber of a channel, once: whom it does not reach within that time it does not reach. Rows need not be ready:
    /// what has no place may come before what a subscribe has yet to bring.
    pub(crate) async fn post_to_all<F>(&self, channel: &str, namespace: &Namespace, frames: F) -> anyhow::Result<()>
    where
        F: Fn(&Subscriber) -> anyhow::Result<std::sync::Arc<[Frame]>>,
    {
        let frames = &frames;
        let deadline = Instant::now() + self.timing.lease;
        self.rows(channel, 0..namespace.shards, None)
            .try_for_each_concurrent(POSTS_AT_ONCE, |row| async move {
                if !row.lost
                    && let Some(row) = self.current(channel, row).await
                {
                    self.post_in_passing(&row.connection_id, deadline, &frames(&row)?).await;
                }
                Ok(())
            })
            .await
    }

    /// What has no place in a stream is no gap when it is lost: nobody need subscribe anew for it.
    async fn post_in_passing(&self, connection_id: &str, deadline: Instant, frames: &[Frame]) {
        let limit = deadline.min(Instant::now() + self.timing.row);
        match tokio::time::timeout_at(limit, self.post_frames(connection_id, frames)).await {
            Ok(Ok(())) => {}
            Ok(Err(PostError::Gone)) => self.remove_gone(connection_id).await,
            Ok(Err(_)) | Err(_) => metrics::counter!("Dropped").increment(1),
        }
    }
}

/// Whether the others were told that it came: a row that never was ready was never announced.
fn has_joined(row: &Subscriber) -> bool {
    row.ready || (row.lost && !row.epoch.is_empty())
}

/// Whether what ended at `expires_at` (unix seconds) has had its time to bring a new token.
pub(crate) fn is_over(expires_at: Option<i64>, grace: Duration) -> bool {
    expires_at.is_some_and(|at| at.saturating_add(seconds(grace)) <= now_ms() / 1000)
}

pub(crate) fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// What other clients see of a subscriber. Its JSON was checked when it came; what is none is left out.
pub(crate) fn info_of(row: &Subscriber) -> ClientInfo {
    let json =
        |text: &Option<String>| text.clone().and_then(|text| serde_json::value::RawValue::from_string(text).ok());
    ClientInfo {
        user: row.user.clone(),
        client: row.client.clone(),
        conn_info: json(&row.conn_info),
        chan_info: json(&row.chan_info),
    }
}
