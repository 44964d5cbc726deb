use serde::Deserialize;
use signalbox_channels::ChannelName;
use signalbox_protocol::{PresenceResult, PresenceStatsResult};

use super::channel;
use crate::{
    State, decode,
    refusal::{ApiError, Refusal},
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Request {
    #[serde(deserialize_with = "decode::or_default")]
    channel: String,
}

pub(super) async fn presence(state: &State, request: &Request) -> Result<PresenceResult, Refusal> {
    let name = present(state, request)?;
    Ok(PresenceResult { presence: state.publisher.presence(name.as_str()).await? })
}

pub(super) async fn stats(state: &State, request: &Request) -> Result<PresenceStatsResult, Refusal> {
    let name = present(state, request)?;
    Ok(state.publisher.presence_stats(name.as_str()).await?)
}

/// The channel, where its namespace has presence.
fn present(state: &State, request: &Request) -> Result<ChannelName, Refusal> {
    match channel(state, &request.channel)? {
        (name, namespace) if namespace.presence => Ok(name),
        (name, _) => Err(Refusal::new(ApiError::NOT_AVAILABLE, format!("presence is not enabled for {name}"))),
    }
}
