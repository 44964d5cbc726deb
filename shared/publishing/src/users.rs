//! What the server does to the connections of a user.

use futures::{StreamExt as _, TryStreamExt as _, future, stream};
use serde_json::value::RawValue;
use signalbox_channels::Namespace;
use signalbox_connections::{BUCKETS, PageStart, UserConnection};
use signalbox_protocol::{ClientInfo, Disconnect, Json, Push, StreamPosition, SubscribeRequest, Unsubscribed};
use tracing::{info, warn};

use crate::{
    deliver::unsubscribe_frame,
    gateway::{Frame, PostError},
    publish::{Publisher, now_ms},
    subscribe::{Grant, REPLY_BYTES, SubscribeCommand},
};

/// Connections of one user that something is done to at once.
const AT_ONCE: usize = 32;

/// Whose connections are meant.
#[derive(Debug, Clone, Copy, Default)]
pub struct UserTarget<'a> {
    /// Subject of their tokens; empty = the anonymous connections. Those are not listed by user: all connections are looked through.
    pub user: &'a str,
    /// Only the connection with this client id.
    pub client: Option<&'a str>,
    /// But not those with these client ids.
    pub except: &'a [String],
}

impl UserTarget<'_> {
    fn means(&self, client: &str) -> bool {
        self.client.is_none_or(|wanted| wanted == client) && !self.except.iter().any(|kept| kept == client)
    }
}

/// A subscription that the server begins.
#[derive(Debug, Clone, Copy)]
pub struct ServerSubscription<'a> {
    /// The channel.
    pub channel: &'a str,
    /// Its options, with what the caller overrides (`signalbox_channels::Overrides`). What is forced is granted, nothing else: the
    /// client has not asked for anything.
    pub namespace: &'a Namespace,
    /// What others see of the subscription.
    pub chan_info: Option<&'a Json>,
    /// For the client.
    pub data: Option<&'a Json>,
    /// What came after this position is sent to the client, where the subscription recovers.
    pub recover_since: Option<&'a StreamPosition>,
    /// Unix seconds when it ends.
    pub expires_at: Option<i64>,
}

/// A new end of connections.
#[derive(Debug, Clone, Copy)]
pub enum Refreshed<'a> {
    /// They have come to their end.
    Expired,
    /// They end then (unix seconds), and others see this of them; `None` leaves what they see.
    Until(i64, Option<&'a Json>),
    /// They do not end.
    Forever,
}

impl Publisher {
    /// Subscribes the connections of a user, and tells the clients with a `subscribe` push. One that has as many channels as it may
    /// have is disconnected (3505). An error tells what went wrong with the first of those that failed; the others are subscribed.
    pub async fn subscribe_user(
        &self,
        target: UserTarget<'_>,
        subscription: &ServerSubscription<'_>,
    ) -> anyhow::Result<()> {
        self.for_each_connection(target, |connection| async move {
            Box::pin(self.subscribe_connection(&connection.connection_id, subscription)).await
        })
        .await
    }

    async fn subscribe_connection(
        &self,
        connection_id: &str,
        subscription: &ServerSubscription<'_>,
    ) -> anyhow::Result<()> {
        let ServerSubscription { channel, namespace, .. } = *subscription;
        let found = self.table.connection_with_subscriptions(connection_id).await?;
        let Some((connection, own)) = found else { return Ok(()) };
        let Some(client) = connection.client() else { return Ok(()) };
        if own.iter().filter(|own| own.active).count() >= self.channels.client.channel_limit as usize {
            return self.end_for_good(connection_id, &Disconnect::CHANNEL_LIMIT).await;
        }
        let before = own.iter().find(|own| own.channel == channel);
        anyhow::ensure!(before.is_none_or(|own| !own.active), "already subscribed");
        anyhow::ensure!(
            subscription.expires_at.is_none_or(|at| at > now_ms() / 1000),
            "the subscription would have expired"
        );
        let info = ClientInfo {
            user: client.user.clone(),
            client: client.client.clone(),
            conn_info: client.info.clone().and_then(|info| RawValue::from_string(info).ok()),
            chan_info: subscription.chan_info.cloned(),
        };
        let mut request = SubscribeRequest { channel: channel.to_owned(), ..SubscribeRequest::default() };
        if let Some(since) = subscription.recover_since {
            request.recover = true;
            request.epoch.clone_from(&since.epoch);
            request.offset = since.offset;
        }
        let command = SubscribeCommand {
            connection_id,
            channel,
            command_id: 0,
            client: &info,
            request: &request,
            namespace,
            grant: Grant {
                positioned: namespace.force_positioning,
                recoverable: namespace.force_recovery,
                presence: namespace.presence,
                announced: namespace.announces(),
                join_leave: namespace.force_push_join_leave,
                ..Grant::default()
            },
            expires_at: client.expires_at,
            subscription_expires_at: subscription.expires_at,
            ttl: connection.ttl,
            was_in_shard: before.map(|own| own.shard),
            server_side: true,
            reply_bytes: REPLY_BYTES,
            recovery_limit: u64::from(self.channels.client.recovery_max_publication_limit),
        };
        if !self.subscribe_by_server(command, subscription.data.cloned()).await? {
            info!(connection_id, channel, "not subscribed: it is gone, or was subscribed this moment");
        }
        Ok(())
    }

    /// Ends the subscriptions that a user's connections have to a channel, and tells the clients, those that have none too: one may
    /// be about to subscribe.
    pub async fn unsubscribe_user(
        &self,
        target: UserTarget<'_>,
        channel: &str,
        reason: &Unsubscribed,
    ) -> anyhow::Result<()> {
        self.for_each_connection(target, |connection| async move {
            let connection_id = connection.connection_id.as_str();
            if !self.unsubscribe(connection_id, channel, reason.clone()).await?
                && self.post(connection_id, &unsubscribe_frame(channel, reason.clone())).await == Err(PostError::Gone)
            {
                self.remove_gone(connection_id).await;
            }
            Ok(())
        })
        .await
    }

    /// Disconnects a user's connections.
    pub async fn disconnect_user(&self, target: UserTarget<'_>, disconnect: &Disconnect) -> anyhow::Result<()> {
        self.for_each_connection(target, |connection| async move {
            self.end_for_good(&connection.connection_id, disconnect).await
        })
        .await
    }

    /// Gives a user's connections a new end, and tells the clients with a `refresh` push. One that has passed ends them at once
    /// (3005).
    pub async fn refresh_user(&self, target: UserTarget<'_>, refreshed: Refreshed<'_>) -> anyhow::Result<()> {
        let delay = self.channels.client.expired_close_delay;
        self.for_each_connection(target, |connection| async move {
            let connection_id = connection.connection_id.as_str();
            match refreshed {
                Refreshed::Until(at, info) if at > now_ms() / 1000 => {
                    let info = info.map(|info| info.get());
                    if self.table.refresh(connection_id, Some(at), info, delay).await? {
                        self.tell_refreshed(connection_id, Some(at)).await;
                    }
                }
                Refreshed::Until(..) | Refreshed::Expired => {
                    self.end_for_good(connection_id, &Disconnect::EXPIRED).await?;
                }
                Refreshed::Forever => {
                    if self.table.refresh(connection_id, None, None, delay).await? {
                        self.tell_refreshed(connection_id, None).await;
                    }
                }
            }
            Ok(())
        })
        .await
    }

    /// The new end counts, whether the client hears of it or not.
    async fn tell_refreshed(&self, connection_id: &str, expires_at: Option<i64>) {
        let ttl = expires_at.map_or(0, |at| u32::try_from(at - now_ms() / 1000).unwrap_or(0));
        let frame = Frame::new(Push::Refresh { expires: expires_at.is_some(), ttl }.to_line());
        match self.post(connection_id, &frame).await {
            Ok(()) => {}
            Err(PostError::Gone) => self.remove_gone(connection_id).await,
            Err(cause) => warn!(connection_id, error = %cause, "refresh push was not posted"),
        }
    }

    /// A connection that cannot be told is closed: it connects again, and whether it may is decided then.
    async fn end_for_good(&self, connection_id: &str, disconnect: &Disconnect) -> anyhow::Result<()> {
        match self.disconnect(connection_id, disconnect).await {
            Ok(()) | Err(PostError::Gone) => return Ok(()),
            Err(cause) => warn!(connection_id, error = %cause, "disconnect push was not posted"),
        }
        let frame = Frame::new(Push::Disconnect(disconnect.clone()).to_line());
        match self.post(connection_id, &frame).await {
            Ok(()) | Err(PostError::Gone) => Ok(()),
            Err(_) => match self.gateway.delete(connection_id).await {
                Ok(()) | Err(PostError::Gone) => Ok(()),
                Err(cause) => Err(anyhow::Error::new(cause).context("connection could not be closed")),
            },
        }
    }

    /// Does something to each connection that is meant. One that fails keeps the others from nothing; the first error is returned.
    async fn for_each_connection<F, Fut>(&self, target: UserTarget<'_>, act: F) -> anyhow::Result<()>
    where
        F: Fn(UserConnection) -> Fut,
        Fut: Future<Output = anyhow::Result<()>>,
    {
        let act = &act;
        self.connections_meant(target)
            .map(|connection| async move { act(connection?).await })
            .buffer_unordered(AT_ONCE)
            .fold(Ok(()), |first: anyhow::Result<()>, result| future::ready(first.and(result)))
            .await
    }

    fn connections_meant<'a>(
        &'a self,
        target: UserTarget<'a>,
    ) -> impl stream::Stream<Item = anyhow::Result<UserConnection>> + 'a {
        let anonymous = target.user.is_empty();
        // a user's connections are one list; the anonymous ones are among those of each bucket
        let lists = if anonymous { 0..BUCKETS } else { 0..1 };
        let pages = stream::iter(lists).flat_map(move |list| {
            stream::try_unfold(Some(None), move |place: Option<Option<PageStart>>| async move {
                let Some(start) = place else { return anyhow::Ok(None) };
                let (connections, next) = if anonymous {
                    self.anonymous_connections(list, start).await?
                } else {
                    self.table.connections_of(target.user, start).await?
                };
                Ok(Some((stream::iter(connections.into_iter().map(anyhow::Ok)), next.map(Some))))
            })
        });
        let meant = move |connection: &UserConnection| future::ready(target.means(&connection.client));
        pages.try_flatten().try_filter(meant)
    }

    async fn anonymous_connections(
        &self,
        bucket: u32,
        start: Option<PageStart>,
    ) -> anyhow::Result<(Vec<UserConnection>, Option<PageStart>)> {
        let (connections, next) = self.table.bucket_connections(bucket, start).await?;
        let anonymous = connections.into_iter().filter(|connection| connection.user.as_deref() == Some(""));
        let anonymous = anonymous
            .filter_map(|connection| Some(UserConnection { connection_id: connection.id, client: connection.client? }));
        Ok((anonymous.collect(), next))
    }
}
