use signalbox_auth::TokenError;
use signalbox_channels::{ChannelName, DeltaType, Namespace, Overrides, RecoveryMode};
use signalbox_lambda::now_ms;
use signalbox_protocol::{Disconnect, ErrorCode, Json, Outcome, SubscribeRequest};
use signalbox_publishing::{Begun, Grant, REPLY_BYTES, SubscribeCommand};
use tracing::{info, warn};

use super::{name, namespace};
use crate::{
    State,
    session::{Refusal, Session, Subscription, Viewer},
};

/// Refused in Centrifugo's order: what is no request, a name that is too long, what was subscribed to before, how many there are,
/// the namespace, its names, the kind of subscription, then who may.
pub(crate) async fn run(session: &mut Session<'_>, id: u32, request: &SubscribeRequest) -> Result<Outcome, Refusal> {
    let state = session.state;
    if request.channel.is_empty() {
        return Err(Disconnect::BAD_REQUEST.into());
    }
    if !["", DeltaType::Fossil.as_str()].contains(&request.delta.as_str()) {
        return Err(Disconnect::BAD_REQUEST.into());
    }
    let name = name(&request.channel)?;
    let (viewer, subscriptions) = session.subscriber().await?;
    let earlier = subscriptions.get(name.as_str()).copied();
    let subscribed = subscriptions.values().filter(|subscription| subscription.active).count();
    if let Some(earlier) = earlier.filter(|earlier| earlier.active)
        && (earlier.server
            || (earlier.command_id.checked_add(1) == Some(id) && stands(session, &name, earlier.shard).await?))
    {
        // nothing of the client's can have come in between. Otherwise an unsubscribe may be on its way that this one has
        // overtaken: the newer command wins.
        return Err(ErrorCode::ALREADY_SUBSCRIBED.into());
    }
    let limit = usize::try_from(state.channels.client.channel_limit).unwrap_or(usize::MAX);
    if earlier.is_none_or(|earlier| !earlier.active) && subscribed >= limit {
        return Err(ErrorCode::LIMIT_EXCEEDED.into());
    }
    let namespace = namespace(state, &name)?;
    // maps and shared polls, which no namespace here has
    if request.kind != 0 {
        return Err(ErrorCode::PERMISSION_DENIED.into());
    }
    let allowed = allowed(state, &viewer, &name, namespace, request).await?;
    let namespace = allowed.overrides.apply(namespace);
    if let Some(filter) = &request.tf
        && (!namespace.allow_tags_filter || filter.check().is_err())
    {
        return Err(ErrorCode::BAD_REQUEST.into());
    }
    let user = viewer.user();
    let recoverable = namespace.recovers(user, request.recoverable);
    let grant = Grant {
        positioned: namespace.positions(user, request.positioned),
        recoverable,
        cache: namespace.force_recovery_mode == RecoveryMode::Cache,
        auto_cache: namespace.recovers_unasked(recoverable),
        presence: namespace.presence,
        announced: namespace.announces(),
        join_leave: namespace.pushes_join_leave(user, request.join_leave),
        // a publication that the filter keeps back would be the base of the next one's delta
        delta: request.tf.is_none() && namespace.delta(&request.delta) == Some(DeltaType::Fossil),
        filter: request.tf.as_ref(),
    };
    let (info, data) = (viewer.info(allowed.info), allowed.data);
    let command = SubscribeCommand {
        connection_id: &session.connection_id,
        channel: name.as_str(),
        command_id: id,
        client: &info,
        request,
        namespace: &namespace,
        grant,
        expires_at: viewer.client.expires_at,
        subscription_expires_at: allowed.expires_at,
        ttl: viewer.ttl,
        was_in_shard: earlier.map(|earlier| earlier.shard),
        server_side: false,
        reply_bytes: REPLY_BYTES,
        recovery_limit: u64::from(state.channels.client.recovery_max_publication_limit),
    };
    match Box::pin(state.publisher.begin_subscribe(command)).await? {
        Begun::Reply(mut result, catch_up) => {
            let subscription = Subscription { command_id: id, active: true, server: false, shard: catch_up.shard() };
            session.subscribed_to(name.as_str(), subscription, *catch_up);
            result.data = data;
            Ok(Outcome::Subscribe(result))
        }
        Begun::Refused(code) => Err(code.into()),
        Begun::ConnectionGone => Err(Refusal::Gone),
    }
}

/// False for a subscription whose client was told that it is over (2500): it subscribes again at once, while whoever told it has
/// not deleted the row yet, or has died.
async fn stands(session: &Session<'_>, name: &ChannelName, shard: u32) -> anyhow::Result<bool> {
    let row = session.state.publisher.table().subscriber(&session.connection_id, name.as_str(), shard).await?;
    Ok(row.is_some_and(|row| !row.lost))
}

/// What a token, or the namespace, gives.
#[derive(Default)]
struct Allowed {
    info: Option<Json>,
    data: Option<Json>,
    expires_at: Option<i64>,
    overrides: Overrides,
}

async fn allowed(
    state: &State,
    viewer: &Viewer,
    name: &ChannelName,
    namespace: &Namespace,
    request: &SubscribeRequest,
) -> Result<Allowed, Refusal> {
    if request.token.is_empty() {
        return if namespace.may_subscribe(viewer.user(), name) {
            Ok(Allowed::default())
        } else {
            Err(ErrorCode::PERMISSION_DENIED.into())
        };
    }
    let token = match state.subscription_tokens().verify_subscription(&request.token, now_ms() / 1000).await {
        Ok(token) => token,
        Err(TokenError::Expired) => return Err(ErrorCode::TOKEN_EXPIRED.into()),
        Err(TokenError::Invalid(reason)) => {
            info!(reason, "subscription token refused");
            return Err(ErrorCode::PERMISSION_DENIED.into());
        }
        Err(TokenError::KeysUnavailable(cause)) => {
            warn!(cause, "subscription token could not be verified");
            return Err(ErrorCode::INTERNAL.into());
        }
    };
    if !token.is_for(name.as_str(), viewer.user(), &viewer.client.client) {
        return Err(Disconnect::INVALID_TOKEN.into());
    }
    Ok(Allowed { info: token.info, data: token.data, expires_at: token.expires_at, overrides: token.overrides })
}
