use serde::Deserialize;
use signalbox_channels::{ChannelName, Namespace};
use signalbox_protocol::{HistoryResult, StreamPosition};
use signalbox_publishing::HistoryQuery;

use super::{Empty, channel};
use crate::{
    State, decode,
    refusal::{ApiError, Refusal},
};

/// Bytes of publications in one answer, about; who wants more asks on from the last one. With quotes escaped they fit what a Lambda
/// returns (6 MB).
const MAX_BYTES: usize = 2_500_000;

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

/// `limit` publications, or all there are (below 0). Frames to clients are smaller than answers of this API, so it takes some pages.
pub(super) async fn history(state: &State, request: &Request) -> Result<HistoryResult, Refusal> {
    let (name, namespace) = with_history(state, &request.channel)?;
    if request.reverse && request.since.as_ref().is_some_and(|since| since.offset == 0) {
        // Centrifugo has no better answer to it
        return Err(Refusal::new(ApiError::INTERNAL, "there is nothing before offset 0"));
    }
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    let (mut result, mut since, mut bytes) = (HistoryResult::default(), request.since.clone(), 0);
    loop {
        let left = limit - result.publications.len();
        let query = HistoryQuery { limit: left, since: since.as_ref(), reverse: request.reverse };
        let page = state.publisher.history(name.as_str(), namespace, query).await?;
        (result.epoch, result.offset) = (page.position.epoch, page.position.offset);
        let last = page.publications.last().map(|publication| publication.offset);
        bytes += page.publications.iter().map(|publication| publication.data.get().len()).sum::<usize>();
        result.publications.extend(page.publications);
        match last {
            // nothing is before the first one
            Some(offset)
                if result.publications.len() < limit && bytes < MAX_BYTES && !(request.reverse && offset <= 1) =>
            {
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
