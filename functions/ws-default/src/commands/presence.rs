use signalbox_channels::ChannelName;
use signalbox_protocol::{ErrorCode, Outcome, PresenceRequest, PresenceResult, PresenceStatsRequest};

use super::channel;
use crate::session::{Refusal, Session};

pub(crate) async fn presence(session: &mut Session<'_>, request: &PresenceRequest) -> Result<Outcome, Refusal> {
    let name = allowed(session, &request.channel).await?;
    let presence = session.state.publisher.presence(name.as_str()).await?;
    Ok(Outcome::Presence(PresenceResult { presence }))
}

pub(crate) async fn stats(session: &mut Session<'_>, request: &PresenceStatsRequest) -> Result<Outcome, Refusal> {
    let name = allowed(session, &request.channel).await?;
    Ok(Outcome::PresenceStats(session.state.publisher.presence_stats(name.as_str()).await?))
}

async fn allowed(session: &mut Session<'_>, name: &str) -> Result<ChannelName, Refusal> {
    let (name, namespace) = channel(session.state, name)?;
    let viewer = session.viewer().await?;
    if !namespace.presence {
        return Err(ErrorCode::NOT_AVAILABLE.into());
    }
    if !namespace.may_presence(viewer.user(), false) {
        let subscribed = session.subscribed(name.as_str()).await?;
        if !namespace.may_presence(viewer.user(), subscribed) {
            return Err(ErrorCode::PERMISSION_DENIED.into());
        }
    }
    Ok(name)
}
