use serde::{Deserialize, Serialize};

use crate::Json;

/// One message in a channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Publication {
    /// Payload, any JSON but null.
    pub data: Json,
    /// Place in the channel's stream, from 1; absent in channels without history.
    #[serde(default, skip_serializing_if = "crate::is_zero")]
    pub offset: u64,
}

/// A place in a channel's stream. The epoch changes when the stream is lost, so that an old offset is not taken for a place
/// in the new one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPosition {
    /// Offset of the last publication, 0 before the first.
    pub offset: u64,
    /// Identity of the stream.
    pub epoch: String,
}
