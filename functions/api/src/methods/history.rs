use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;
use signalbox_channels::{ChannelName, Namespace};
use signalbox_protocol::{Json, StreamPosition};
use signalbox_publishing::HistoryQuery;

use super::{Empty, channel};
use crate::{
    State, decode,
    refusal::{ApiError, Refusal},
    respond::{MAX_ANSWER_BYTES, payload_bytes},
};

/// Bytes of an answer around its publications.
const ENVELOPE: usize = 256;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Request {
    #[serde(deserialize_with = "decode::or_default")]
    channel: String,
    #[serde(deserialize_with = "decode::or_default")]
    limit: i32,
    #[serde(deserialize_with = "decode::object")]
    since: Option<StreamPosition>,
    #[serde(deserialize_with = "decode::or_default")]
    reverse: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RemoveRequest {
    #[serde(deserialize_with = "decode::or_default")]
    channel: String,
}

/// Publications in the order asked for, and the stream's top.
#[derive(Debug, Default, Serialize)]
pub(super) struct HistoryResult {
    publications: Vec<Json>,
    epoch: String,
    offset: u64,
}

/// `limit` publications, or all there are (below 0), as far as an answer can hold them; who wants more asks on from the last one.
/// Frames to clients are smaller than answers of this API, so it takes some pages.
pub(super) async fn history(state: &State, request: &Request) -> Result<HistoryResult, Refusal> {
    let (name, namespace) = with_history(state, &request.channel)?;
    if request.reverse && request.since.as_ref().is_some_and(|since| since.offset == 0) {
        // Centrifugo has no better answer to it
        return Err(Refusal::new(ApiError::INTERNAL, "there is nothing before offset 0"));
    }
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    let (mut result, mut since, mut bytes) = (HistoryResult::default(), request.since.clone(), ENVELOPE);
    loop {
        let left = limit - result.publications.len();
        let query = HistoryQuery { limit: left, since: since.as_ref(), reverse: request.reverse };
        let page = state.publisher.history(name.as_str(), namespace, query).await?;
        (result.epoch, result.offset) = (page.position.epoch, page.position.offset);
        let mut last = None;
        for publication in page.publications {
            let json = to_raw_value(&publication).map_err(anyhow::Error::new)?;
            bytes += payload_bytes(json.get()) + 1;
            if bytes > MAX_ANSWER_BYTES && !result.publications.is_empty() {
                return Ok(result);
            }
            last = Some(publication.offset);
            result.publications.push(json);
        }
        // nothing is behind the top, and nothing before the first one
        let more = |last: u64| if request.reverse { last > 1 } else { last < result.offset };
        match last.filter(|last| more(*last)) {
            Some(offset) if result.publications.len() < limit => {
                since = Some(StreamPosition { offset, epoch: result.epoch.clone() });
            }
            _ => return Ok(result),
        }
    }
}

/// Offset and epoch stay.
pub(super) async fn remove(state: &State, request: &RemoveRequest) -> Result<Empty, Refusal> {
    let (name, _) = with_history(state, &request.channel)?;
    state.publisher.table().remove_history(name.as_str()).await?;
    Ok(Empty {})
}

fn with_history<'a>(state: &'a State, name: &str) -> Result<(ChannelName, &'a Namespace), Refusal> {
    let (name, namespace) = channel(state, name)?;
    if namespace.has_history() {
        return Ok((name, namespace));
    }
    Err(Refusal::new(ApiError::NOT_AVAILABLE, format!("history is not enabled for {name}")))
}
