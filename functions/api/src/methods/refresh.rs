use serde::Deserialize;
use signalbox_lambda::now_ms;
use signalbox_protocol::Json;
use signalbox_publishing::Refreshed;

use super::{Empty, subscribe::target};
use crate::{State, decode, refusal::Refusal};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Request {
    #[serde(deserialize_with = "decode::or_default")]
    user: String,
    #[serde(deserialize_with = "decode::or_default")]
    client: String,
    #[serde(deserialize_with = "decode::or_default")]
    session: String,
    #[serde(deserialize_with = "decode::or_default")]
    expired: bool,
    #[serde(deserialize_with = "decode::or_default")]
    expire_at: i64,
    info: Option<Json>,
}

pub(super) async fn run(state: &State, request: &Request) -> Result<Empty, Refusal> {
    let refreshed = match request.expire_at {
        _ if request.expired => Refreshed::Expired,
        // without an end nothing else is taken from the request, as in Centrifugo
        ..=0 => Refreshed::Forever,
        // its limit too
        at => Refreshed::Until(at.min(now_ms() / 1000 + i64::from(u32::MAX)), request.info.as_ref()),
    };
    if let Some(target) = target(&request.user, &request.client, &request.session) {
        state.publisher.refresh_user(target, refreshed).await?;
    }
    Ok(Empty {})
}
