use serde::Deserialize;
use signalbox_protocol::Unsubscribed;

use super::{Empty, channel, subscribe::target};
use crate::{State, decode, refusal::Refusal};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Request {
    #[serde(deserialize_with = "decode::or_default")]
    user: String,
    #[serde(deserialize_with = "decode::or_default")]
    channel: String,
    #[serde(deserialize_with = "decode::or_default")]
    client: String,
    #[serde(deserialize_with = "decode::or_default")]
    session: String,
}

pub(super) async fn run(state: &State, request: &Request) -> Result<Empty, Refusal> {
    // as in Centrifugo no error; nobody is subscribed to a channel without a name
    if request.channel.is_empty() {
        return Ok(Empty {});
    }
    let (name, _) = channel(state, &request.channel)?;
    if let Some(target) = target(&request.user, &request.client, &request.session) {
        state.publisher.unsubscribe_user(target, name.as_str(), &Unsubscribed::SERVER).await?;
    }
    Ok(Empty {})
}
