use signalbox_channels::ChannelName;
use signalbox_protocol::{Disconnect, Empty, Outcome, UnsubscribeRequest};

use crate::session::{Refusal, Session};

/// Idempotent, and a success also for a channel that was not subscribed to: an error reply would make the SDK reconnect.
pub(crate) async fn run(session: &mut Session<'_>, id: u32, request: &UnsubscribeRequest) -> Result<Outcome, Refusal> {
    let viewer = session.viewer().await?;
    match ChannelName::parse(request.channel.as_str()) {
        Ok(name) => {
            let publisher = &session.state.publisher;
            publisher.unsubscribed(&session.connection_id, name.as_str(), id, viewer.ttl).await?;
            session.forget(name.as_str(), id);
        }
        Err(_) if request.channel.is_empty() => return Err(Disconnect::BAD_REQUEST.into()),
        Err(_) => {}
    }
    Ok(Outcome::Unsubscribe(Empty {}))
}
