use serde::Deserialize;
use signalbox_channels::Overrides;
use signalbox_protocol::{Json, StreamPosition};
use signalbox_publishing::{ServerSubscription, UserTarget};

use super::{Empty, channel, json_or_base64};
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
    info: Option<Json>,
    #[serde(deserialize_with = "decode::or_default")]
    b64info: String,
    data: Option<Json>,
    #[serde(deserialize_with = "decode::or_default")]
    b64data: String,
    #[serde(deserialize_with = "decode::object")]
    recover_since: Option<StreamPosition>,
    #[serde(deserialize_with = "decode::or_default")]
    expire_at: i64,
    #[serde(rename = "override", deserialize_with = "decode::object")]
    overrides: Option<Overrides>,
}

pub(super) async fn run(state: &State, request: &Request) -> Result<Empty, Refusal> {
    let (name, namespace) = channel(state, &request.channel)?;
    let data = json_or_base64("data", request.data.as_ref(), "b64data", &request.b64data)?;
    let info = json_or_base64("info", request.info.as_ref(), "b64info", &request.b64info)?;
    let namespace = request.overrides.unwrap_or_default().apply(namespace);
    let subscription = ServerSubscription {
        channel: name.as_str(),
        namespace: &namespace,
        chan_info: info.as_ref(),
        data: data.as_ref(),
        recover_since: request.recover_since.as_ref(),
        expires_at: Some(request.expire_at).filter(|at| *at > 0),
    };
    if let Some(target) = target(&request.user, &request.client, &request.session) {
        state.publisher.subscribe_user(target, &subscription).await?;
    }
    Ok(Empty {})
}

/// The connections that a request means. None where it names a session: those are of transports that API Gateway does not have.
pub(super) fn target<'a>(user: &'a str, client: &'a str, session: &str) -> Option<UserTarget<'a>> {
    let client = Some(client).filter(|client| !client.is_empty());
    session.is_empty().then_some(UserTarget { user, client, except: &[] })
}
