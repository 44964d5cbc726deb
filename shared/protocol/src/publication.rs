use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Json;

/// One message in a channel. Build it with [`Publication::new`] or `..Publication::default()`: it may come to have more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Publication {
    /// Payload, any JSON but null. In a subscription with delta compression a JSON string: the document's text, or with
    /// `delta` the fossil delta against the text before it.
    pub data: Json,
    /// Place in the channel's stream, from 1; absent in channels without history.
    #[serde(default, skip_serializing_if = "crate::is_zero")]
    pub offset: u64,
    /// Who published; only of what a client published itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<ClientInfo>,
    /// The publisher's tags, which filters look at.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// `data` is a delta.
    #[serde(default, skip_serializing_if = "crate::is_false")]
    pub delta: bool,
}

impl Publication {
    /// A publication of nothing but data.
    pub fn new(data: Json, offset: u64) -> Self {
        Self { data, offset, info: None, tags: BTreeMap::new(), delta: false }
    }
}

impl Default for Publication {
    fn default() -> Self {
        Self::new(serde_json::value::RawValue::NULL.to_owned(), 0)
    }
}

/// A connection, as others in a channel see it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientInfo {
    /// User of the connection; empty = anonymous.
    pub user: String,
    /// Id of the connection towards other clients.
    pub client: String,
    /// `info` of the connection token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conn_info: Option<Json>,
    /// `info` of the subscription token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chan_info: Option<Json>,
}

/// A place in a channel's stream. The epoch changes when the stream is lost, so that an old offset is not taken for a place
/// in the new one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamPosition {
    /// Offset of the last publication, 0 before the first.
    #[serde(deserialize_with = "crate::lenient::or_default")]
    pub offset: u64,
    /// Identity of the stream.
    #[serde(deserialize_with = "crate::lenient::or_default")]
    pub epoch: String,
}
