use std::collections::BTreeMap;

use signalbox_auth::{ConnectionToken, TokenError};
use signalbox_channels::{ChannelName, Overrides, RecoveryMode};
use signalbox_connections::{Authenticate, Authentication, CONNECTION_TTL, Client};
use signalbox_lambda::now_ms;
use signalbox_protocol::{
    ConnectRequest, ConnectResult, Disconnect, ErrorCode, Json, Outcome, SubscribeRequest, SubscribeResult,
};
use signalbox_publishing::{Begun, Grant, REPLY_BYTES, SubscribeCommand};
use tracing::{info, warn};

use super::refresh::ttl;
use crate::session::{Refusal, Session, Subscription, Viewer};

pub(crate) const VERSION: &str = concat!("signalbox ", env!("CARGO_PKG_VERSION"));

/// Longest name and version of a client that are logged (the protocol allows 16 and 64 characters).
const LOGGED: usize = 64;

/// A subscription that the server makes at connect.
#[derive(Default)]
struct ServerSide {
    info: Option<Json>,
    data: Option<Json>,
    overrides: Overrides,
}

/// Of a connection that is connected any second `connect` is a bad request, whatever its token.
pub(crate) async fn run(session: &mut Session<'_>, id: u32, request: &ConnectRequest) -> Result<Outcome, Refusal> {
    if session.is_connected() {
        return Err(Disconnect::BAD_REQUEST.into());
    }
    let connected = connect(session, id, request).await;
    if let Err(Refusal::Error(_) | Refusal::Disconnect(_)) = connected
        && !session.is_connected()
        && let Some(connection) = session.state.publisher.table().connection(&session.connection_id).await?
        && connection.client().is_some()
    {
        return Err(Disconnect::BAD_REQUEST.into());
    }
    connected
}

async fn connect(session: &mut Session<'_>, id: u32, request: &ConnectRequest) -> Result<Outcome, Refusal> {
    let config = &session.state.channels.client;
    let now = now_ms() / 1000;
    let token = verify(session, request, now).await?;
    let subscriptions = server_side(session, &token, request)?;
    if subscriptions.len() > usize::try_from(config.channel_limit).unwrap_or(usize::MAX) {
        return Err(Disconnect::CHANNEL_LIMIT.into());
    }
    let client = Client {
        user: token.user,
        client: uuid::Uuid::new_v4().to_string(),
        info: token.info.map(|info| info.get().to_owned()),
        expires_at: token.expires_at,
    };
    let personal = &config.subscribe_to_user_personal_channel;
    if personal.enabled && personal.single_connection && !client.user.is_empty() {
        end_other_connections(session, &client.user).await?;
    }
    let authenticate = Authenticate {
        id: &session.connection_id,
        client: client.clone(),
        user_connection_limit: config.user_connection_limit,
        expired_close_delay: config.expired_close_delay,
        now_s: now,
    };
    match session.state.publisher.table().authenticate(&authenticate).await? {
        Authentication::Accepted(_) => {}
        Authentication::Repeated => return Err(Disconnect::BAD_REQUEST.into()),
        Authentication::UserLimit => return Err(Disconnect::CONNECTION_LIMIT.into()),
        // the row is written by $connect before the first message can come; without it the client begins again
        Authentication::Gone => return Err(Disconnect::FORCE_RECONNECT.into()),
    }
    let shown = |text: &str| text.chars().take(LOGGED).collect::<String>();
    info!(
        client = client.client,
        name = shown(&request.name),
        version = shown(&request.version),
        anonymous = client.user.is_empty(),
        "connected"
    );
    let viewer = Viewer { client, ttl: now + CONNECTION_TTL };
    session.connected(viewer.clone());
    let subs = subscribe(session, id, &viewer, subscriptions, request).await?;
    Ok(Outcome::Connect(ConnectResult {
        client: viewer.client.client,
        version: VERSION,
        expires: viewer.client.expires_at.is_some(),
        ttl: ttl(viewer.client.expires_at, now),
        data: None,
        subs,
        // longer than `keeper` takes to come round again; no pong, which would be an invocation each (centrifuge.md 1.6)
        ping: u32::try_from(config.ping_interval.as_secs()).unwrap_or(u32::MAX),
        pong: false,
        time: if config.connect_include_server_time { now_ms() } else { 0 },
    }))
}

async fn verify(session: &Session<'_>, request: &ConnectRequest, now: i64) -> Result<ConnectionToken, Refusal> {
    let config = &session.state.channels.client;
    if request.token.is_empty() {
        let welcome = session.state.allow_anonymous || config.allow_anonymous_connect_without_token || config.insecure;
        return if welcome { Ok(ConnectionToken::default()) } else { Err(Disconnect::BAD_REQUEST.into()) };
    }
    match session.state.tokens.verify_connection(&request.token, now).await {
        Ok(token) if token.user.is_empty() && config.disallow_anonymous_connection_tokens => {
            Err(Disconnect::PERMISSION_DENIED.into())
        }
        Ok(token) if config.insecure => Ok(ConnectionToken { expires_at: None, ..token }),
        Ok(token) => Ok(token),
        Err(TokenError::Expired) => Err(ErrorCode::TOKEN_EXPIRED.into()),
        Err(TokenError::Invalid(reason)) => {
            info!(reason, "token refused");
            Err(Disconnect::INVALID_TOKEN.into())
        }
        Err(TokenError::KeysUnavailable(cause)) => {
            warn!(cause, "token could not be verified");
            Err(ErrorCode::INTERNAL.into())
        }
    }
}

/// What the token says, the user's own channel, and of what the client names what it may subscribe to (centrifuge.md 1.8).
fn server_side(
    session: &Session<'_>,
    token: &ConnectionToken,
    request: &ConnectRequest,
) -> Result<BTreeMap<String, ServerSide>, Refusal> {
    let mut subscriptions: BTreeMap<String, ServerSide> =
        token.channels.iter().map(|channel| (channel.clone(), ServerSide::default())).collect();
    for (channel, subscription) in &token.subs {
        let (info, data) = (subscription.info.clone(), subscription.data.clone());
        let overrides = subscription.overrides;
        subscriptions.insert(channel.clone(), ServerSide { info, data, overrides });
    }
    if let Some(personal) = session.state.channels.personal_channel(&token.user) {
        subscriptions.insert(personal.as_str().to_owned(), ServerSide::default());
    }
    subscriptions.remove("");
    for name in subscriptions.keys() {
        // whoever signed the token is believed, also where `channel_regex` would not have the name
        let name = super::name(name)?;
        session.state.channels.namespace_of(&name).ok_or(ErrorCode::UNKNOWN_CHANNEL)?;
    }
    for name in request.subs.keys().filter(|name| !subscriptions.contains_key(*name)).cloned().collect::<Vec<_>>() {
        let parsed = ChannelName::parse(name.as_str()).map_err(|_| Disconnect::BAD_REQUEST)?;
        let namespace = session.state.channels.namespace_of(&parsed).ok_or(Disconnect::BAD_REQUEST)?;
        // one that it may not subscribe to is left out, and the SDK reports it as unsubscribed
        if namespace.may_subscribe_at_connect(&token.user, &parsed) {
            subscriptions.insert(name, ServerSide::default());
        }
    }
    Ok(subscriptions)
}

async fn subscribe(
    session: &mut Session<'_>,
    id: u32,
    viewer: &Viewer,
    subscriptions: BTreeMap<String, ServerSide>,
    request: &ConnectRequest,
) -> Result<BTreeMap<String, SubscribeResult>, Refusal> {
    let state = session.state;
    let mut results = BTreeMap::new();
    // all of them go out in one reply
    let reply_bytes = REPLY_BYTES / subscriptions.len().max(1);
    for (name, subscription) in subscriptions {
        let name = super::name(&name)?;
        let namespace = state.channels.namespace_of(&name).ok_or(ErrorCode::UNKNOWN_CHANNEL)?;
        let namespace = subscription.overrides.apply(namespace);
        let nowhere = SubscribeRequest::default();
        let position = request.subs.get(name.as_str()).unwrap_or(&nowhere);
        let recoverable = namespace.force_recovery && namespace.has_history();
        let grant = Grant {
            positioned: namespace.force_positioning && namespace.has_history(),
            recoverable,
            cache: namespace.force_recovery_mode == RecoveryMode::Cache,
            auto_cache: namespace.recovers_unasked(recoverable),
            presence: namespace.presence,
            announced: namespace.announces(),
            join_leave: namespace.force_push_join_leave,
            delta: false,
            filter: None,
        };
        let info = viewer.info(subscription.info);
        let command = SubscribeCommand {
            connection_id: &session.connection_id,
            channel: name.as_str(),
            command_id: id,
            client: &info,
            request: position,
            namespace: &namespace,
            grant,
            expires_at: viewer.client.expires_at,
            subscription_expires_at: None,
            ttl: viewer.ttl,
            was_in_shard: None,
            server_side: true,
            reply_bytes,
            recovery_limit: u64::from(state.channels.client.recovery_max_publication_limit),
        };
        match Box::pin(state.publisher.begin_subscribe(command)).await? {
            Begun::Reply(mut result, catch_up) => {
                result.data = subscription.data;
                let own = Subscription { command_id: id, active: true, server: true, shard: catch_up.shard() };
                session.subscribed_to(name.as_str(), own, *catch_up);
                results.insert(name.as_str().to_owned(), result);
            }
            Begun::Refused(code) => return Err(code.into()),
            Begun::ConnectionGone => return Err(Refusal::Gone),
        }
    }
    Ok(results)
}

/// `single_connection`: a user's new connection ends the older ones.
async fn end_other_connections(session: &Session<'_>, user: &str) -> anyhow::Result<()> {
    let publisher = &session.state.publisher;
    let mut start = None;
    loop {
        let (connections, next) = publisher.table().connections_of(user, start).await?;
        for other in connections.iter().filter(|other| other.connection_id != session.connection_id) {
            // told or gone: nothing is posted to it any more either way
            let _ = publisher.disconnect(&other.connection_id, &Disconnect::CONNECTION_LIMIT).await;
        }
        start = next;
        if start.is_none() {
            return Ok(());
        }
    }
}
