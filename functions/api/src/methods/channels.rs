use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    State, decode,
    glob::Glob,
    refusal::{ApiError, Refusal},
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Request {
    #[serde(deserialize_with = "decode::or_default")]
    pattern: String,
}

#[derive(Debug, Serialize)]
pub(super) struct ChannelsResult {
    channels: BTreeMap<String, ChannelInfo>,
}

#[derive(Debug, Serialize)]
struct ChannelInfo {
    num_clients: u64,
}

/// Channels with subscribers. Without a pattern all of them.
pub(super) async fn run(state: &State, request: &Request) -> Result<ChannelsResult, Refusal> {
    let pattern = if request.pattern.is_empty() { "*" } else { &request.pattern };
    // it is an internal error in Centrifugo too
    let glob = Glob::parse(pattern).map_err(|cause| Refusal::new(ApiError::INTERNAL, format!("pattern: {cause}")))?;
    let occupied = state.publisher.occupied_channels(glob.prefix(), |name| glob.matches(name)).await?;
    let channels = occupied.into_iter().map(|(name, num_clients)| (name, ChannelInfo { num_clients }));
    Ok(ChannelsResult { channels: channels.collect() })
}
