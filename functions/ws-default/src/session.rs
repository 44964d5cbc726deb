use std::{collections::BTreeMap, time::Duration};

use serde_json::value::RawValue;
use signalbox_connections::{Client, Connection, ConnectionState, OwnSubscription};
use signalbox_lambda::now_ms;
use signalbox_protocol::{
    ClientInfo, Command, Disconnect, ErrorCode, Json, MAX_OUTBOUND_BYTES, Outcome, Push, Reply, Request,
    SubscribeResult, join_frames,
};
use signalbox_publishing::{CatchUp, Frame, PostError};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::{State, commands};

/// How long a command that overtook its connection's `connect` waits for it; the SDKs give up after 5 s.
const READY_WITHIN: Duration = Duration::from_secs(2);
/// All commands of a frame together. What is not begun by then is answered with error 100: the SDKs have given up on it
/// anyway, and no reply at all would be worse.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of replies to one frame; a client gets no more out of 32 KB.
const MAX_REPLY_BYTES: usize = 1024 * 1024;
/// Commands in one frame: a connection's channels (64), its `connect`, and as many again.
const MAX_COMMANDS: usize = 130;
const READY_POLL: Duration = Duration::from_millis(50);

/// How long a client has to act on a `disconnect` push before its socket is closed.
const CLOSE_AFTER: Duration = Duration::from_secs(1);

/// One frame of a connection.
pub(crate) struct Session<'a> {
    pub(crate) state: &'a State,
    pub(crate) connection_id: String,
    viewer: Option<Viewer>,
    /// What the connection is subscribed to, by channel; read once a frame, by the first command that asks.
    subscriptions: Option<BTreeMap<String, Subscription>>,
    ready_by: Instant,
    answer_by: Instant,
    catch_ups: Vec<CatchUp>,
}

/// Who is at the other end.
#[derive(Debug, Clone)]
pub(crate) struct Viewer {
    /// Who the token says it is, and its client id.
    pub(crate) client: Client,
    /// Unix seconds until when the connection's rows are kept.
    pub(crate) ttl: i64,
}

/// A subscription that the connection has or had.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subscription {
    pub(crate) command_id: u32,
    pub(crate) active: bool,
    pub(crate) server: bool,
    pub(crate) shard: u32,
}

impl Subscription {
    /// One that has expired is over after its grace, whether somebody has noticed or not.
    fn of(own: &OwnSubscription, grace: Duration) -> Self {
        let end = own.expires_at.and_then(|at| at.checked_add_unsigned(grace.as_secs()));
        let active = own.active && end.is_none_or(|end| end > now_ms() / 1000);
        Self { command_id: own.command_id, active, server: own.server, shard: own.shard }
    }
}

impl Viewer {
    /// Subject of the token; empty = anonymous.
    pub(crate) fn user(&self) -> &str {
        &self.client.user
    }

    /// As others see it, in a channel whose subscription token has `chan_info`.
    pub(crate) fn info(&self, chan_info: Option<Json>) -> ClientInfo {
        let conn_info = self.client.info.clone().and_then(|json| RawValue::from_string(json).ok());
        ClientInfo { user: self.client.user.clone(), client: self.client.client.clone(), conn_info, chan_info }
    }
}

/// Why a command has no result.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// An error reply.
    Error(ErrorCode),
    /// The connection ends.
    Disconnect(Disconnect),
    /// Nobody is there to answer.
    Gone,
    /// Something of ours failed: error 100, which the SDK tries again.
    Failed(anyhow::Error),
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self::Error(code)
    }
}

impl From<Disconnect> for Refusal {
    fn from(disconnect: Disconnect) -> Self {
        Self::Disconnect(disconnect)
    }
}

impl From<anyhow::Error> for Refusal {
    fn from(cause: anyhow::Error) -> Self {
        Self::Failed(cause)
    }
}

impl<'a> Session<'a> {
    pub(crate) fn new(state: &'a State, connection_id: String) -> Self {
        let now = Instant::now();
        let (ready_by, answer_by) = (now + READY_WITHIN, now + ANSWER_WITHIN);
        let (viewer, subscriptions, catch_ups) = (None, None, Vec::new());
        Self { state, connection_id, viewer, subscriptions, ready_by, answer_by, catch_ups }
    }

    /// Runs the commands, answers them together, then brings new subscriptions up to date.
    pub(crate) async fn run(mut self, commands: Result<Vec<Command>, Disconnect>) {
        let mut lines: Vec<String> = Vec::new();
        let mut end = None;
        match commands {
            Ok(commands) if commands.len() > MAX_COMMANDS => end = Some(Disconnect::BAD_REQUEST),
            Ok(commands) => {
                for command in commands {
                    let id = command.id;
                    if lines.iter().map(String::len).sum::<usize>() > MAX_REPLY_BYTES
                        || Instant::now() >= self.answer_by
                    {
                        lines.push(Reply::error(id, ErrorCode::INTERNAL).to_line());
                        continue;
                    }
                    let (connects, channel) = match &command.request {
                        Request::Connect(_) => (true, None),
                        Request::Subscribe(request) => (false, Some(request.channel.clone())),
                        _ => (false, None),
                    };
                    let code = match Box::pin(self.execute(command)).await {
                        Ok(outcome) => {
                            lines.extend(lines_of(id, outcome, channel.as_deref()));
                            continue;
                        }
                        Err(Refusal::Error(code)) => code,
                        Err(Refusal::Failed(cause)) => {
                            error!(command_id = id, error = format!("{cause:#}"), "command failed");
                            metrics::counter!("CommandFailed").increment(1);
                            ErrorCode::INTERNAL
                        }
                        Err(Refusal::Disconnect(disconnect)) => {
                            end = Some(disconnect);
                            break;
                        }
                        Err(Refusal::Gone) => return,
                    };
                    lines.push(Reply::error(id, code).to_line());
                    if connects {
                        // who is not let in is not listened to any further; the SDKs close the socket and come back
                        return self.refuse_connect(&lines).await;
                    }
                }
            }
            Err(disconnect) => end = Some(disconnect),
        }
        if let Some(disconnect) = end.clone() {
            lines.push(Push::Disconnect(disconnect.clone()).to_line());
        }
        let answered = self.answer(&lines).await;
        if let Some(disconnect) = end {
            self.close(&disconnect).await;
        } else if answered {
            self.catch_up().await;
        } else if !self.catch_ups.is_empty() {
            // the client may have its subscribe reply or not, and nobody would ever post to its row
            self.state.publisher.close(&self.connection_id).await;
        }
    }

    async fn refuse_connect(&self, lines: &[String]) {
        if self.is_connected() {
            // it was let in, and then one of its subscriptions failed
            self.state.publisher.remove_gone(&self.connection_id).await;
        }
        self.answer(lines).await;
    }

    async fn execute(&mut self, command: Command) -> Result<Outcome, Refusal> {
        metrics::counter!("Commands").increment(1);
        let id = command.id;
        match &command.request {
            Request::Connect(request) => commands::connect::run(self, id, request).await,
            Request::Subscribe(request) => commands::subscribe::run(self, id, request).await,
            Request::Unsubscribe(request) => commands::unsubscribe::run(self, id, request).await,
            Request::Publish(request) => commands::publish::run(self, request).await,
            Request::Presence(request) => commands::presence::presence(self, request).await,
            Request::PresenceStats(request) => commands::presence::stats(self, request).await,
            Request::History(request) => commands::history::run(self, request).await,
            Request::Rpc(request) => commands::rpc::run(self, request).await,
            Request::Refresh(request) => commands::refresh::connection(self, request).await,
            Request::SubRefresh(request) => commands::refresh::subscription(self, request).await,
            // it has no reply that could refuse it (Centrifugo does the same)
            Request::Send(_) => Err(Disconnect::NOT_AVAILABLE.into()),
        }
    }

    /// Who sent the frame. API Gateway runs the messages of a connection in parallel: a command may be here before the
    /// connection's `connect` is through, and waits for it.
    pub(crate) async fn viewer(&mut self) -> Result<Viewer, Refusal> {
        if let Some(viewer) = &self.viewer {
            return Ok(viewer.clone());
        }
        loop {
            let connection = self.state.publisher.table().connection(&self.connection_id).await?;
            if let Some(viewer) = self.ready(connection)? {
                return Ok(self.is_viewer(viewer));
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }

    /// The same with what the connection is subscribed to, which costs no further read.
    pub(crate) async fn subscriber(&mut self) -> Result<(Viewer, &mut BTreeMap<String, Subscription>), Refusal> {
        while self.subscriptions.is_none() {
            let read = self.state.publisher.table().connection_with_subscriptions(&self.connection_id).await?;
            let (connection, own) = read.unzip();
            if let Some(viewer) = self.ready(connection)? {
                self.is_viewer(viewer);
                let own = own.unwrap_or_default();
                let grace = self.state.channels.client.expired_sub_close_delay;
                let known = own.iter().map(|own| (own.channel.clone(), Subscription::of(own, grace)));
                self.subscriptions = Some(known.collect());
            } else {
                tokio::time::sleep(READY_POLL).await;
            }
        }
        let viewer = self.viewer().await?;
        Ok((viewer, self.subscriptions.get_or_insert_default()))
    }

    /// `None` while `connect` is not through; that is waited for, up to a point.
    fn ready(&self, connection: Option<Connection>) -> Result<Option<Viewer>, Refusal> {
        match connection {
            // ended by the server or swept: whoever still speaks connects anew
            None => Err(Disconnect::FORCE_RECONNECT.into()),
            Some(Connection { state: ConnectionState::Ready(client), ttl, .. }) => {
                let grace = self.state.channels.client.expired_close_delay.as_secs();
                let end = client.expires_at.and_then(|at| at.checked_add_unsigned(grace));
                if end.is_some_and(|end| end <= now_ms() / 1000) {
                    return Err(Disconnect::EXPIRED.into());
                }
                Ok(Some(Viewer { client, ttl }))
            }
            Some(_) if Instant::now() >= self.ready_by => Err(ErrorCode::INTERNAL.into()),
            Some(_) => Ok(None),
        }
    }

    /// Whether the connection is subscribed to a channel, for permissions that hang on that.
    pub(crate) async fn subscribed(&mut self, channel: &str) -> Result<bool, Refusal> {
        let (_, subscriptions) = self.subscriber().await?;
        Ok(subscriptions.get(channel).is_some_and(|subscription| subscription.active))
    }

    /// The connection as others see it in a channel: with what its subscription's token says, where it has one.
    pub(crate) async fn info_in(&mut self, channel: &str) -> Result<ClientInfo, Refusal> {
        let (viewer, subscriptions) = self.subscriber().await?;
        let Some(subscription) = subscriptions.get(channel).filter(|subscription| subscription.active).copied() else {
            return Ok(viewer.info(None));
        };
        let table = self.state.publisher.table();
        let row = table.subscriber(&self.connection_id, channel, subscription.shard).await?;
        Ok(viewer.info(row.and_then(|row| RawValue::from_string(row.chan_info?).ok())))
    }

    /// Whether a `connect` was accepted, as far as this frame knows.
    pub(crate) fn is_connected(&self) -> bool {
        self.viewer.is_some()
    }

    /// A later command of the same frame finds the subscription ended.
    pub(crate) fn forget(&mut self, channel: &str, command_id: u32) {
        if let Some(subscription) = self.subscriptions.as_mut().and_then(|own| own.get_mut(channel))
            && subscription.command_id < command_id
        {
            subscription.active = false;
            subscription.command_id = command_id;
        }
    }

    /// `connect` was accepted: nothing is subscribed to but what it does itself.
    pub(crate) fn connected(&mut self, viewer: Viewer) {
        self.is_viewer(viewer);
        self.subscriptions = Some(BTreeMap::new());
    }

    fn is_viewer(&mut self, viewer: Viewer) -> Viewer {
        self.viewer.insert(viewer).clone()
    }

    /// A subscription whose reply is among those to post.
    pub(crate) fn subscribed_to(&mut self, channel: &str, subscription: Subscription, catch_up: CatchUp) {
        self.subscriptions.get_or_insert_default().insert(channel.to_owned(), subscription);
        self.catch_ups.push(catch_up);
    }

    /// A later command of the same frame finds the new token's time and info.
    pub(crate) fn refreshed(&mut self, expires_at: Option<i64>, info: Option<&str>) {
        if let Some(viewer) = &mut self.viewer {
            viewer.client.expires_at = expires_at;
            if let Some(info) = info {
                viewer.client.info = Some(info.to_owned());
            }
        }
    }

    /// Posts the lines; false when they did not arrive.
    async fn answer(&self, lines: &[String]) -> bool {
        for frame in join_frames(lines) {
            match self.state.publisher.post(&self.connection_id, &Frame::new(frame)).await {
                Ok(()) => {}
                Err(PostError::Gone) => {
                    self.state.publisher.remove_gone(&self.connection_id).await;
                    return false;
                }
                Err(cause) => {
                    // the SDK's own time-out of 5 s makes it try again
                    warn!(error = %cause, "reply was not posted");
                    return false;
                }
            }
        }
        true
    }

    async fn catch_up(self) {
        for subscription in self.catch_ups {
            if let Err(cause) = self.state.publisher.catch_up(subscription).await {
                // the row stays unready, so nothing is posted to it: the client must begin again
                error!(error = format!("{cause:#}"), "subscription did not catch up");
                return self.state.publisher.close(&self.connection_id).await;
            }
        }
    }

    /// After the `disconnect` push: both SDKs close by themselves; others are closed a second later.
    async fn close(&self, disconnect: &Disconnect) {
        info!(code = disconnect.code, reason = &*disconnect.reason, "connection refused");
        metrics::counter!("Refused").increment(1);
        self.state.publisher.remove_gone(&self.connection_id).await;
        tokio::time::sleep(CLOSE_AFTER).await;
        match self.state.publisher.gateway().delete(&self.connection_id).await {
            Ok(()) | Err(PostError::Gone) => {}
            Err(cause) => warn!(error = %cause, "connection was not closed"),
        }
    }
}

/// The lines that answer a command. A reply that is larger than a message hands its publications on as pushes, which the SDKs
/// cannot tell from those in the reply; one that has none is refused.
fn lines_of(id: u32, outcome: Outcome, channel: Option<&str>) -> Vec<String> {
    let pushes = |channel: &str, result: &mut SubscribeResult| {
        let publications = std::mem::take(&mut result.publications);
        let line = |publication| Push::Publication { channel, publication: &publication }.to_line();
        publications.into_iter().map(line).collect::<Vec<_>>()
    };
    let mut reply = Reply { id, outcome };
    let line = reply.to_line();
    if line.len() <= MAX_OUTBOUND_BYTES {
        return vec![line];
    }
    let behind: Vec<String> = match (&mut reply.outcome, channel) {
        (Outcome::Subscribe(result), Some(channel)) => pushes(channel, result),
        (Outcome::Connect(result), _) => {
            result.subs.iter_mut().flat_map(|(channel, result)| pushes(channel, result)).collect()
        }
        _ => Vec::new(),
    };
    let line = reply.to_line();
    if line.len() > MAX_OUTBOUND_BYTES {
        warn!(command_id = id, bytes = line.len(), "reply is larger than a message");
        return vec![Reply::error(id, ErrorCode::LIMIT_EXCEEDED).to_line()];
    }
    [vec![line], behind].concat()
}
