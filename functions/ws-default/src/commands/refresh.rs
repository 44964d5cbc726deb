use signalbox_auth::TokenError;
use signalbox_lambda::now_ms;
use signalbox_protocol::{
    Disconnect, ErrorCode, Outcome, RefreshRequest, RefreshResult, SubRefreshRequest, SubRefreshResult,
};
use tracing::{info, warn};

use super::connect::VERSION;
use crate::session::{Refusal, Session};

/// A new connection token, of the same user.
pub(crate) async fn connection(session: &mut Session<'_>, request: &RefreshRequest) -> Result<Outcome, Refusal> {
    if request.token.is_empty() {
        return Err(Disconnect::BAD_REQUEST.into());
    }
    let viewer = session.viewer().await?;
    let now = now_ms() / 1000;
    let token = match session.state.tokens.verify_connection(&request.token, now).await {
        Ok(token) => token,
        Err(TokenError::Expired) => return Err(Disconnect::EXPIRED.into()),
        Err(error) => return Err(unverified(&error)),
    };
    if token.user != viewer.user() {
        return Err(Disconnect::INVALID_TOKEN.into());
    }
    let (_, subscriptions) = session.subscriber().await?;
    let is_on = |channel: &String| subscriptions.get(channel).is_some_and(|subscription| subscription.active);
    if !token.subs.keys().chain(&token.channels).all(is_on) {
        // the server makes its subscriptions at connect: the client comes back and gets them
        return Err(Disconnect::INSUFFICIENT_STATE.into());
    }
    let info = token.info.as_deref().map(serde_json::value::RawValue::get);
    let delay = session.state.channels.client.expired_close_delay;
    let table = session.state.publisher.table();
    if !table.refresh(&session.connection_id, token.expires_at, info, delay).await? {
        return Err(Refusal::Gone);
    }
    let client = viewer.client.client.clone();
    session.refreshed(token.expires_at, info);
    Ok(Outcome::Refresh(RefreshResult {
        client,
        version: VERSION,
        expires: token.expires_at.is_some(),
        ttl: ttl(token.expires_at, now),
    }))
}

/// A new subscription token, of the same user and channel.
pub(crate) async fn subscription(session: &mut Session<'_>, request: &SubRefreshRequest) -> Result<Outcome, Refusal> {
    if request.channel.is_empty() {
        return Err(Disconnect::BAD_REQUEST.into());
    }
    let (viewer, subscriptions) = session.subscriber().await?;
    let Some(subscription) = subscriptions.get(&request.channel).filter(|subscription| subscription.active) else {
        return Err(ErrorCode::PERMISSION_DENIED.into());
    };
    if subscription.server {
        // it has no token of its own
        return Err(Disconnect::BAD_REQUEST.into());
    }
    if request.token.is_empty() {
        return Err(ErrorCode::BAD_REQUEST.into());
    }
    let now = now_ms() / 1000;
    let token = match session.state.subscription_tokens().verify_subscription(&request.token, now).await {
        Ok(token) => token,
        Err(TokenError::Expired) => return Err(ErrorCode::EXPIRED.into()),
        Err(error) => return Err(unverified(&error)),
    };
    if !token.is_for(&request.channel, viewer.user(), &viewer.client.client) {
        return Err(Disconnect::INVALID_TOKEN.into());
    }
    let info = token.info.as_deref().map(serde_json::value::RawValue::get);
    let delay = session.state.channels.client.expired_sub_close_delay;
    let table = session.state.publisher.table();
    if !table.refresh_subscription(&session.connection_id, &request.channel, token.expires_at, info, delay).await? {
        return Err(ErrorCode::PERMISSION_DENIED.into());
    }
    Ok(Outcome::SubRefresh(SubRefreshResult { expires: token.expires_at.is_some(), ttl: ttl(token.expires_at, now) }))
}

/// Seconds that are left, as a reply tells them.
pub(crate) fn ttl(expires_at: Option<i64>, now: i64) -> u32 {
    expires_at.map_or(0, |at| u32::try_from(at - now).unwrap_or(0))
}

fn unverified(error: &TokenError) -> Refusal {
    if let TokenError::KeysUnavailable(cause) = error {
        warn!(cause, "token could not be verified");
        return ErrorCode::INTERNAL.into();
    }
    info!(reason = %error, "token refused");
    Disconnect::INVALID_TOKEN.into()
}
