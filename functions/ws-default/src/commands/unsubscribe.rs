use signalbox_protocol::{Empty, Outcome, UnsubscribeRequest};

use super::subscribe::channel;
use crate::session::{Refusal, Session};

/// Idempotent, and a success also for a channel that was not subscribed to: an error reply would make the SDK reconnect.
pub(crate) async fn run(session: &mut Session<'_>, id: u32, request: &UnsubscribeRequest) -> Result<Outcome, Refusal> {
    let viewer = session.viewer().await?;
    match channel(session.state, &request.channel) {
        Ok((name, _)) => {
            let table = session.state.publisher.table();
            // false: a later subscribe was handled before, and stays
            table.unsubscribe(&session.connection_id, name.as_str(), id, viewer.ttl).await?;
        }
        Err(Refusal::Disconnect(disconnect)) => return Err(disconnect.into()),
        Err(_) => {}
    }
    Ok(Outcome::Unsubscribe(Empty {}))
}
