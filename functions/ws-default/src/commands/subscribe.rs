use signalbox_channels::{ChannelName, NameError, Namespace};
use signalbox_protocol::{Disconnect, ErrorCode, Outcome, SubscribeRequest};
use signalbox_publishing::{Begun, SubscribeCommand};

use crate::{
    State,
    session::{Refusal, Session},
};

pub(crate) async fn run(session: &mut Session<'_>, id: u32, request: &SubscribeRequest) -> Result<Outcome, Refusal> {
    let viewer = session.viewer().await?;
    if request.kind != 0 {
        return Err(ErrorCode::PERMISSION_DENIED.into());
    }
    let (_, namespace) = channel(session.state, &request.channel)?;
    if !namespace.may_subscribe(&viewer.user) || request.channel.starts_with('$') {
        return Err(ErrorCode::PERMISSION_DENIED.into());
    }
    let command = SubscribeCommand {
        connection_id: &session.connection_id,
        command_id: id,
        request,
        namespace,
        expires_at: viewer.expires_at,
        ttl: viewer.ttl,
    };
    match session.state.publisher.begin_subscribe(command).await? {
        Begun::Reply(result, catch_up) => {
            session.catch_up_later(catch_up);
            Ok(Outcome::Subscribe(result))
        }
        Begun::Refused(code) => Err(code.into()),
        Begun::ConnectionGone => Err(Refusal::Gone),
    }
}

/// A channel's name and options, or the refusal Centrifugo gives.
pub(crate) fn channel<'a>(state: &'a State, name: &str) -> Result<(ChannelName, &'a Namespace), Refusal> {
    let name = ChannelName::parse(name).map_err(|error| match error {
        NameError::Empty => Refusal::Disconnect(Disconnect::BAD_REQUEST),
        NameError::TooLong | NameError::NotAscii => Refusal::Error(ErrorCode::BAD_REQUEST),
    })?;
    let namespace = state.channels.namespace_of(&name).ok_or(ErrorCode::UNKNOWN_CHANNEL)?;
    Ok((name, namespace))
}
