use serde::Deserialize;
use signalbox_protocol::Disconnect;
use signalbox_publishing::UserTarget;

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
    #[serde(deserialize_with = "decode::texts")]
    whitelist: Vec<String>,
    #[serde(deserialize_with = "decode::object")]
    disconnect: Option<Reason>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reason {
    #[serde(deserialize_with = "decode::or_default")]
    code: u32,
    #[serde(deserialize_with = "decode::or_default")]
    reason: String,
}

pub(super) async fn run(state: &State, request: Request) -> Result<Empty, Refusal> {
    let disconnect = match request.disconnect {
        Some(Reason { code, reason }) => Disconnect::new(code, reason),
        None => Disconnect::FORCE_NO_RECONNECT,
    };
    if let Some(target) = target(&request.user, &request.client, &request.session) {
        let target = UserTarget { except: &request.whitelist, ..target };
        state.publisher.disconnect_user(target, &disconnect).await?;
    }
    Ok(Empty {})
}
