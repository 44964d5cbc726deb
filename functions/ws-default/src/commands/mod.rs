//! One file a command; each `run` checks what may be done, does it in one call, and says what came of it.

pub(crate) mod act;
pub(crate) mod connect;
pub(crate) mod history;
pub(crate) mod presence;
pub(crate) mod publish;
pub(crate) mod refresh;
pub(crate) mod rpc;
pub(crate) mod subscribe;
pub(crate) mod unsubscribe;

use signalbox_channels::{ChannelName, NameError, Namespace};
use signalbox_protocol::{Disconnect, ErrorCode};

use crate::{State, session::Refusal};

/// A channel's name and options, or the refusal Centrifugo gives.
pub(crate) fn channel<'a>(state: &'a State, channel: &str) -> Result<(ChannelName, &'a Namespace), Refusal> {
    let name = name(channel)?;
    let namespace = namespace(state, &name)?;
    Ok((name, namespace))
}

/// A name that channels can have.
pub(crate) fn name(name: &str) -> Result<ChannelName, Refusal> {
    ChannelName::parse(name).map_err(|error| match error {
        NameError::Empty => Refusal::Disconnect(Disconnect::BAD_REQUEST),
        NameError::TooLong | NameError::Control => Refusal::Error(ErrorCode::BAD_REQUEST),
    })
}

/// A namespace that has channels of this name.
pub(crate) fn namespace<'a>(state: &'a State, name: &ChannelName) -> Result<&'a Namespace, Refusal> {
    let namespace = state.channels.namespace_of(name).ok_or(ErrorCode::UNKNOWN_CHANNEL)?;
    if namespace.accepts(name) { Ok(namespace) } else { Err(ErrorCode::BAD_REQUEST.into()) }
}
