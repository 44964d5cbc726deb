use std::collections::BTreeMap;

use futures::{StreamExt as _, future::BoxFuture, stream};
use serde::{Deserialize, Serialize};
use signalbox_protocol::Json;
use signalbox_publishing::{Message, PublishOptions, Version};

use super::{channel, from_base64, refused};
use crate::{
    State, decode,
    refusal::{ApiError, Refusal},
};

/// Channels of one broadcast that are published into at once.
const CHANNELS_AT_ONCE: usize = 64;

/// Where `publish` goes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct One {
    #[serde(deserialize_with = "decode::or_default")]
    channel: String,
}

/// Where `broadcast` goes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Many {
    #[serde(deserialize_with = "decode::texts")]
    channels: Vec<String>,
}

/// The rest of either request.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Content {
    #[serde(deserialize_with = "decode::payload")]
    data: Option<Json>,
    #[serde(deserialize_with = "decode::or_default")]
    b64data: String,
    #[serde(deserialize_with = "decode::or_default")]
    skip_history: bool,
    #[serde(deserialize_with = "decode::named_texts")]
    tags: BTreeMap<String, String>,
    #[serde(deserialize_with = "decode::or_default")]
    idempotency_key: String,
    #[serde(deserialize_with = "decode::or_default")]
    delta: bool,
    #[serde(deserialize_with = "decode::or_default")]
    version: u64,
    #[serde(deserialize_with = "decode::or_default")]
    version_epoch: String,
}

/// Position of the publication; empty in a channel without history.
#[derive(Debug, Serialize)]
pub(super) struct PublishResult {
    #[serde(skip_serializing_if = "is_zero")]
    offset: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    epoch: String,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(offset: &u64) -> bool {
    *offset == 0
}

/// What came of one channel of a broadcast.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Published {
    Result(PublishResult),
    Error(ApiError),
}

#[derive(Debug, Serialize)]
pub(super) struct BroadcastResult {
    /// In the order of the channels.
    responses: Vec<Published>,
}

pub(super) async fn publish(state: &State, one: &One, content: &Content) -> Result<PublishResult, Refusal> {
    if one.channel.is_empty() {
        return Err(Refusal::bad_request("channel required"));
    }
    let data = content.data()?;
    into_channel(state, &one.channel, content, data.as_ref()).await
}

pub(super) async fn broadcast(state: &State, many: &Many, content: &Content) -> Result<BroadcastResult, Refusal> {
    if many.channels.is_empty() {
        return Err(Refusal::bad_request("channels required"));
    }
    let data = content.data()?;
    let responses = (0..many.channels.len()).map(|at| one_of_many(state, &many.channels[at], content, data.as_ref()));
    Ok(BroadcastResult { responses: stream::iter(responses).buffered(CHANNELS_AT_ONCE).collect().await })
}

/// Boxed: each is deep, and there are many.
fn one_of_many<'a>(
    state: &'a State,
    name: &'a str,
    content: &'a Content,
    data: Option<&'a Json>,
) -> BoxFuture<'a, Published> {
    Box::pin(async move {
        match into_channel(state, name, content, data).await {
            Ok(result) => Published::Result(result),
            Err(refusal) => Published::Error(refused("broadcast", &refusal)),
        }
    })
}

async fn into_channel(
    state: &State,
    name: &str,
    content: &Content,
    data: Option<&Json>,
) -> Result<PublishResult, Refusal> {
    let (name, namespace) = channel(state, name)?;
    let data = data.ok_or_else(|| Refusal::bad_request("data required, and in b64data JSON"))?;
    if !namespace.accepts_data(data.get()) {
        return Err(Refusal::bad_request("data is not what publication_data_format wants"));
    }
    let message = Message { tags: &content.tags, delta: content.delta, ..Message::new(data) };
    let version = Version { version: content.version, epoch: &content.version_epoch };
    let options = PublishOptions {
        idempotency_keys: &[content.idempotency_key.as_str()],
        version: (content.version > 0).then_some(version),
        skip_history: content.skip_history,
    };
    let published = state.publisher.publish(name.as_str(), namespace, &message, &options).await?;
    Ok(PublishResult { offset: published.offset, epoch: published.epoch })
}

impl Content {
    /// `None` when there is none, or none that is JSON: that is told for each channel, after it was looked up.
    fn data(&self) -> Result<Option<Json>, Refusal> {
        if self.b64data.is_empty() {
            return Ok(self.data.clone());
        }
        Ok(serde_json::from_slice(&from_base64("b64data", &self.b64data)?).ok())
    }
}
