use std::time::Duration;

use signalbox_channels::Namespace;
use signalbox_connections::{
    Head, LogEntry, LogPage, MadeReady, NewSubscription, Row, ServerSubscribed, Subscribed, Subscriber, shard_of,
};
use signalbox_protocol::{ClientInfo, ErrorCode, Filter, Json, Publication, Push, SubscribeRequest, SubscribeResult};
use tracing::{debug, warn};

use crate::{
    batch::Batch,
    deliver::{Stream, UNREADY_SECONDS},
    ending::Presence,
    gateway::{Frame, PostError},
    publish::{Publisher, now_ms},
};

/// Bytes of publications in a subscribe reply that is alone in its frame; what is more follows as pushes, which SDKs cannot tell
/// apart.
pub const REPLY_BYTES: usize = 100 * 1024;

/// Places without a publication that a recovery passes over, besides the publications that it may bring.
const HOLES: u64 = 1_000;

/// How long a row that is behind is waited for: the invocation has 15 s for all of its frame.
const PATIENCE: Duration = Duration::from_secs(6);

/// A subscription that is allowed.
#[derive(Debug, Clone, Copy)]
pub struct SubscribeCommand<'a> {
    /// API Gateway's connection id.
    pub connection_id: &'a str,
    /// The channel.
    pub channel: &'a str,
    /// The client command's id: orders the connection's commands on the channel. Of no meaning when the server subscribes.
    pub command_id: u32,
    /// Who subscribes, as others see it.
    pub client: &'a ClientInfo,
    /// Where to recover from: `recover`, `epoch`, `offset`, `flag`.
    pub request: &'a SubscribeRequest,
    /// The channel's options.
    pub namespace: &'a Namespace,
    /// What was granted.
    pub grant: Grant<'a>,
    /// Unix seconds when the connection's token expires.
    pub expires_at: Option<i64>,
    /// Unix seconds when the subscription's token expires.
    pub subscription_expires_at: Option<i64>,
    /// Unix seconds until when the rows are kept.
    pub ttl: i64,
    /// The shard of the connection's earlier row in this channel, if it had one.
    pub was_in_shard: Option<u32>,
    /// The server subscribes the client, which learns it from the connect reply or a `subscribe` push.
    pub server_side: bool,
    /// Bytes of publications that the reply has room for; [`REPLY_BYTES`] where it is alone in its frame.
    pub reply_bytes: usize,
    /// Most publications a recovery brings (`client.recovery_max_publication_limit`).
    pub recovery_limit: u64,
}

/// What a subscription gets, by the namespace, its token and what the client asked for.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools)] // the protocol's
pub struct Grant<'a> {
    /// A position; `recoverable` implies it.
    pub positioned: bool,
    /// A position that can be recovered from.
    pub recoverable: bool,
    /// Recovery brings the newest publication only (`force_recovery_mode: cache`).
    pub cache: bool,
    /// And does so without being asked (`auto_cache_recover`).
    pub auto_cache: bool,
    /// It is in the channel's presence.
    pub presence: bool,
    /// Others learn that it came and went (`join_leave`).
    pub announced: bool,
    /// It learns that others came and went.
    pub join_leave: bool,
    /// Fossil deltas.
    pub delta: bool,
    /// Tags filter.
    pub filter: Option<&'a Filter>,
}

/// What to answer.
#[derive(Debug)]
pub enum Begun {
    /// Post the result, then [`Publisher::catch_up`].
    Reply(SubscribeResult, Box<CatchUp>),
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
    shard: u32,
    row_id: String,
    /// The stream and the place up to which everything is in the reply, or was before; `None` in a channel without history.
    at: Option<(Head, u64)>,
    /// The reply brought the newest publication up to there.
    base: bool,
    announced: Option<ClientInfo>,
    namespace: Namespace,
}

impl CatchUp {
    /// Where the row is.
    pub fn shard(&self) -> u32 {
        self.shard
    }

    fn row(&self) -> Row<'_> {
        Row { connection_id: &self.connection_id, channel: &self.channel, shard: self.shard, row_id: &self.row_id }
    }
}

impl Publisher {
    /// The first half of a subscribe: the row is written and the reply made. A push that comes before the reply would be dropped by the
    /// SDKs, so in a channel with history nobody posts to the row until [`Publisher::catch_up`] made it ready.
    pub async fn begin_subscribe(&self, command: SubscribeCommand<'_>) -> anyhow::Result<Begun> {
        // boxed: it is much larger than what awaits it
        let begun = Box::pin(self.begin(command)).await;
        if begun.is_err() {
            Box::pin(self.undo(&command)).await;
        }
        begun
    }

    /// Takes back a subscribe that failed. Its client is told to try again, and "already subscribed" would then be the end of it.
    async fn undo(&self, command: &SubscribeCommand<'_>) {
        let SubscribeCommand { connection_id, channel, namespace, server_side, command_id, .. } = *command;
        let undone = async {
            let row = self.table.subscriber(connection_id, channel, shard_of(connection_id, namespace.shards)).await?;
            let ours = |row: &Subscriber| row.server == server_side && (server_side || row.command_id == command_id);
            let unfinished = |row: &Subscriber| !row.ready || (!server_side && !namespace.has_history());
            if let Some(row) = row.filter(|row| unfinished(row) && ours(row)) {
                self.table.end_row(channel, &row).await?;
            }
            anyhow::Ok(())
        };
        if let Err(cause) = undone.await {
            warn!(channel, connection_id, error = format!("{cause:#}"), "subscribe that failed was not taken back");
            self.close(connection_id).await;
        }
    }

    async fn begin(&self, command: SubscribeCommand<'_>) -> anyhow::Result<Begun> {
        let SubscribeCommand { connection_id, channel, request, namespace, grant, .. } = command;
        let shard = shard_of(connection_id, namespace.shards);
        let filter = grant.filter.map(serde_json::to_string).transpose()?;
        let row_id = match self.write_row(&command, shard, filter.as_deref()).await? {
            Ok(row_id) => row_id,
            Err(refused) => return Ok(refused),
        };
        let mut catch_up = CatchUp {
            connection_id: connection_id.to_owned(),
            channel: channel.to_owned(),
            shard,
            row_id,
            at: None,
            base: false,
            announced: grant.announced.then(|| command.client.clone()),
            namespace: namespace.clone(),
        };
        let mut result = SubscribeResult { delta: grant.delta, ..SubscribeResult::default() };
        if let Some(at) = command.subscription_expires_at {
            result.expires = true;
            result.ttl = u32::try_from(at - now_ms() / 1000).unwrap_or(0).max(1);
        }
        let now_s = now_ms() / 1000;
        if !namespace.has_history() {
            self.table.note_channel(channel, now_s).await?;
            return Ok(Begun::Reply(result, Box::new(catch_up)));
        }
        // the channel list may learn of it while the head is read
        let (head, (), ()) = tokio::try_join!(
            self.table.head(channel, now_s, namespace.history_meta_ttl),
            self.table.note_channel(channel, now_s),
            self.have_looked_at(connection_id)
        )?;
        if namespace.shards > head.shards {
            self.table.raise_shards(channel, namespace.shards, now_s, namespace.history_meta_ttl).await?;
        }
        result.recoverable = grant.recoverable;
        result.positioned = grant.positioned || grant.recoverable;
        if result.positioned {
            result.epoch.clone_from(&head.epoch);
            result.offset = head.offset;
        }
        let mut at = head.offset;
        if grant.recoverable && (request.recover || (grant.cache && grant.auto_cache)) {
            result.was_recovering = true;
            let missed = if grant.cache {
                self.newest_if_missed(channel, request, &head, filter.as_deref(), namespace).await?
            } else {
                self.missed(&command, &head).await?
            };
            if let Some(missed) = missed {
                result.recovered = true;
                // the SDK starts here and advances by the publications
                result.offset = request.offset;
                let batch = Batch::new(channel, missed, None);
                let mut bytes = 0;
                for publication in batch.for_reply(grant.delta, filter.as_deref())? {
                    bytes += publication_bytes(&publication);
                    // not even the first, where the reply would be too large for its frame with it
                    if bytes > command.reply_bytes {
                        at = publication.offset - 1;
                        break;
                    }
                    catch_up.base = true;
                    result.publications.push(publication);
                }
            } else if request.rejects_unrecovered() {
                self.table.end_subscription(connection_id, channel, Some(&catch_up.row_id)).await?;
                return Ok(Begun::Refused(ErrorCode::UNRECOVERABLE_POSITION));
            }
        }
        catch_up.at = Some((head, at));
        Ok(Begun::Reply(result, Box::new(catch_up)))
    }

    /// Should this invocation die before the row is ready, its client waits in vain, and on a quiet channel no deliverer finds out:
    /// the keeper looks whether it came to an end ([`Publisher::sweep`]).
    async fn have_looked_at(&self, connection_id: &str) -> anyhow::Result<()> {
        self.table.lower_due(connection_id, now_ms() + UNREADY_SECONDS * 1000).await
    }

    async fn write_row(
        &self,
        command: &SubscribeCommand<'_>,
        shard: u32,
        filter: Option<&str>,
    ) -> anyhow::Result<Result<String, Begun>> {
        let SubscribeCommand { client, grant, .. } = *command;
        let row = NewSubscription {
            connection_id: command.connection_id,
            channel: command.channel,
            shard,
            command_id: command.command_id,
            now_s: now_ms() / 1000,
            ttl: command.ttl,
            user: &client.user,
            client: &client.client,
            conn_info: client.conn_info.as_deref().map(serde_json::value::RawValue::get),
            chan_info: client.chan_info.as_deref().map(serde_json::value::RawValue::get),
            expires_at: command.expires_at,
            sub_expires_at: command.subscription_expires_at,
            sub_close_delay: self.channels.client.expired_sub_close_delay,
            // From its reply on it gets everything. What is posted before that is before its subscription.
            ready: !command.namespace.has_history(),
            presence: grant.presence,
            join_leave: grant.join_leave,
            announced: grant.announced,
            delta: grant.delta,
            tf: filter,
            moved_from: command.was_in_shard.filter(|old| *old != shard),
        };
        Ok(if command.server_side {
            match self.table.subscribe_by_server(&row).await? {
                ServerSubscribed::Begun(row_id) => Ok(row_id),
                ServerSubscribed::Already => Err(Begun::Refused(ErrorCode::ALREADY_SUBSCRIBED)),
                ServerSubscribed::ConnectionGone => Err(Begun::ConnectionGone),
            }
        } else {
            match self.table.subscribe(&row).await? {
                Subscribed::Begun(row_id) => Ok(row_id),
                Subscribed::AlreadySubscribed => Err(Begun::Refused(ErrorCode::ALREADY_SUBSCRIBED)),
                // a later command of this connection on this channel was handled before
                Subscribed::Overtaken => Err(Begun::Refused(ErrorCode::INTERNAL)),
                Subscribed::ConnectionGone => Err(Begun::ConnectionGone),
            }
        })
    }

    /// Everything after the request's position up to the top, or `None` when part of it is no more: recovery is whole or it
    /// is none.
    async fn missed(&self, command: &SubscribeCommand<'_>, head: &Head) -> anyhow::Result<Option<Vec<LogEntry>>> {
        let SubscribeCommand { channel, request, namespace, .. } = *command;
        let same_stream = request.epoch.is_empty() || request.epoch == head.epoch;
        let Some(count) = head.offset.checked_sub(request.offset).filter(|_| same_stream) else { return Ok(None) };
        let limit = command.recovery_limit.min(u64::from(namespace.history_size));
        // places without a publication do not count, up to a point
        let holes = if head.hole > request.offset { HOLES } else { 0 };
        if count > limit + holes || (count > 0 && request.offset < head.removed) {
            return Ok(None);
        }
        // Up to `delivered` every place was written once: what is missing has expired. Above it a place may still be waited
        // for.
        let written = head.delivered.min(head.offset).max(request.offset);
        let mut missed = self.table.log(channel, &head.epoch, request.offset, written, now_ms() / 1000).await?;
        if u64::try_from(missed.len())? != written - request.offset {
            return Ok(None);
        }
        missed.extend(self.entries(channel, head, written, head.offset, namespace.history_ttl).await?);
        let expired = missed.iter().any(|entry| matches!(entry.state, signalbox_connections::LogState::Expired));
        missed.retain(|entry| !is_transient(entry));
        let publications = missed.iter().filter(|entry| entry.publication().is_some()).count();
        Ok((!expired && u64::try_from(publications)? <= limit).then_some(missed))
    }

    /// Cache mode: the newest publication if the client lacks it; `None` when there is none to bring (centrifuge.md 1.7).
    async fn newest_if_missed(
        &self,
        channel: &str,
        request: &SubscribeRequest,
        head: &Head,
        filter: Option<&str>,
        namespace: &Namespace,
    ) -> anyhow::Result<Option<Vec<LogEntry>>> {
        let known = request.offset > 0 && request.offset <= head.offset && request.epoch == head.epoch;
        // what is not delivered yet is not in the log for sure
        self.entries(channel, head, head.delivered.min(head.offset), head.offset, namespace.history_ttl).await?;
        let mut page = LogPage {
            channel,
            epoch: &head.epoch,
            after: head.removed,
            to: head.offset,
            reverse: true,
            limit: 1,
            max_bytes: usize::MAX,
            now_s: now_ms() / 1000,
        };
        // with a filter the newest that passes it
        page.limit = if filter.is_some() { usize::try_from(namespace.history_size)? } else { 1 };
        let entries = self.table.log_page(&page).await?;
        let Some(newest) = entries.first() else {
            return Ok((known && request.offset == head.offset).then(Vec::new));
        };
        if known && newest.offset <= request.offset {
            return Ok(Some(Vec::new()));
        }
        for entry in entries {
            let one = vec![entry];
            if filter.is_none() || !Batch::new(channel, one.clone(), None).for_reply(false, filter)?.is_empty() {
                return Ok(Some(one));
            }
        }
        Ok(Some(Vec::new()))
    }

    /// The second half, after the reply was posted: what was published meanwhile follows as pushes, and the row is made ready.
    pub async fn catch_up(&self, mut subscription: CatchUp) -> anyhow::Result<()> {
        let ready = match subscription.at.take() {
            None => self.is_there(&subscription).await?,
            Some((head, at)) => self.catch_up_with(&mut subscription, head, at).await?,
        };
        if ready && let Some(info) = &subscription.announced {
            self.announce(&subscription.channel, Presence::Join, info).await;
        }
        Ok(())
    }

    /// Whether it was neither ended nor replaced meanwhile.
    async fn is_there(&self, subscription: &CatchUp) -> anyhow::Result<bool> {
        if subscription.announced.is_none() {
            // nobody is told
            return Ok(true);
        }
        let CatchUp { connection_id, channel, shard, .. } = subscription;
        let row = self.table.subscriber(connection_id, channel, *shard).await?;
        Ok(row.is_some_and(|row| row.row_id == subscription.row_id))
    }

    /// True when the row is ready.
    async fn catch_up_with(&self, subscription: &mut CatchUp, head: Head, at: u64) -> anyhow::Result<bool> {
        if at < head.offset && !self.push_missing(subscription, &head, at).await? {
            return Ok(false);
        }
        match self.table.make_ready(subscription.row(), &head.epoch, head.offset, subscription.base).await? {
            MadeReady::Ready => Ok(true),
            MadeReady::Behind(Some(now)) if now.epoch == head.epoch => self.wait_until_caught_up(subscription).await,
            MadeReady::Behind(_) => {
                self.start_over(subscription).await;
                Ok(false)
            }
            MadeReady::Gone => {
                debug!(channel = subscription.channel, "subscription ended while it caught up");
                Ok(false)
            }
        }
    }

    /// Pushes what is after `at` up to the top that the reply told. False when the subscription is no more.
    async fn push_missing(&self, subscription: &mut CatchUp, head: &Head, at: u64) -> anyhow::Result<bool> {
        let CatchUp { connection_id, channel, namespace, .. } = &*subscription;
        let mut entries = self.entries(channel, head, at, head.offset, namespace.history_ttl).await?;
        entries.retain(|entry| !is_transient(entry));
        let batch = self.batch(channel, &head.epoch, Stream::of(namespace), entries).await?;
        // a newer subscribe may have been answered since: what this one would push is in that one's reply
        let row = self.table.subscriber(connection_id, channel, subscription.shard).await?;
        let Some(mut row) = row.filter(|row| row.row_id == subscription.row_id) else { return Ok(false) };
        (row.from, row.base) = (at, subscription.base);
        let frames = match batch.frames_for(&row, at, false) {
            Ok(frames) => frames,
            Err(cause) => {
                warn!(channel, connection_id, error = format!("{cause:#}"), "cannot catch up");
                self.interrupt(channel, &row).await;
                return Ok(false);
            }
        };
        match self.post_frames(connection_id, &frames).await {
            Ok(()) => {
                subscription.base |= !frames.is_empty();
                Ok(true)
            }
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
    /// missing would wait for the next publication. True when it is up to date.
    async fn wait_until_caught_up(&self, subscription: &CatchUp) -> anyhow::Result<bool> {
        let CatchUp { connection_id, channel, namespace, .. } = subscription;
        let patience = tokio::time::Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(20);
        let mut ask_again = tokio::time::Instant::now();
        while tokio::time::Instant::now() < patience {
            match self.table.subscriber(connection_id, channel, subscription.shard).await? {
                Some(row) if row.row_id == subscription.row_id => {
                    if !row.behind {
                        return Ok(row.ready);
                    }
                }
                _ => return Ok(false),
            }
            let head = self.table.head(channel, now_ms() / 1000, namespace.history_meta_ttl).await?;
            if !head.is_held(now_ms()) && tokio::time::Instant::now() >= ask_again {
                self.deliver_pending(channel, namespace).await?;
                // whoever posts itself has done it; workers are on their way
                ask_again = tokio::time::Instant::now() + self.timing.lease / 5;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(self.timing.lease / 20);
        }
        self.start_over(subscription).await;
        Ok(false)
    }

    /// Ends the subscription so that the SDK begins again and recovers.
    async fn start_over(&self, subscription: &CatchUp) {
        let row = self.table.subscriber(&subscription.connection_id, &subscription.channel, subscription.shard).await;
        match row {
            Ok(Some(row)) if row.row_id == subscription.row_id => self.interrupt(&subscription.channel, &row).await,
            Ok(_) => {}
            Err(cause) => {
                warn!(channel = subscription.channel, error = format!("{cause:#}"), "row could not be read");
                self.close(&subscription.connection_id).await;
            }
        }
    }

    /// Subscribes a connection from the server's side, and tells the client with a `subscribe` push. False when it was
    /// subscribed, or is gone.
    pub async fn subscribe_by_server(&self, command: SubscribeCommand<'_>, data: Option<Json>) -> anyhow::Result<bool> {
        let connection_id = command.connection_id;
        let (result, catch_up) = match self.begin_subscribe(SubscribeCommand { server_side: true, ..command }).await? {
            Begun::Reply(result, catch_up) => (result, catch_up),
            Begun::Refused(_) | Begun::ConnectionGone => return Ok(false),
        };
        let push = Push::Subscribe {
            channel: command.channel,
            recoverable: result.recoverable,
            positioned: result.positioned,
            epoch: &result.epoch,
            offset: result.offset,
            data: data.as_ref(),
        };
        let mut lines = vec![push.to_line()];
        lines.extend(
            result
                .publications
                .iter()
                .map(|publication| Push::Publication { channel: command.channel, publication }.to_line()),
        );
        let frames: Vec<_> = signalbox_protocol::join_frames(lines).into_iter().map(Frame::new).collect();
        match self.post_frames(connection_id, &frames).await {
            Ok(()) => {}
            Err(PostError::Gone) => {
                self.remove_gone(connection_id).await;
                return Ok(false);
            }
            Err(cause) => {
                warn!(connection_id, error = %cause, "subscribe push was not posted");
                self.close(connection_id).await;
                return Ok(false);
            }
        }
        self.catch_up(*catch_up).await?;
        Ok(true)
    }
}

/// It was for those who were there.
fn is_transient(entry: &LogEntry) -> bool {
    entry.publication().is_some_and(|publication| publication.transient)
}

/// About what a publication takes in a reply.
pub(crate) fn publication_bytes(publication: &Publication) -> usize {
    let info = publication.info.as_ref().map_or(0, |info| {
        let json = |json: &Option<Json>| json.as_deref().map_or(0, |json| json.get().len());
        64 + info.user.len() + info.client.len() + json(&info.conn_info) + json(&info.chan_info)
    });
    let tags: usize = publication.tags.iter().map(|(key, value)| key.len() + value.len() + 8).sum();
    publication.data.get().len() + tags + info + 64
}
