//! The methods, one file a method or a pair of methods.

pub(crate) mod batch;
mod channels;
mod disconnect;
mod history;
mod info;
mod presence;
mod publish;
mod refresh;
mod rpc;
mod subscribe;
mod unsubscribe;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::value::to_raw_value;
use signalbox_channels::{ChannelName, NameError, Namespace};
use signalbox_protocol::Json;
use tracing::{error, warn};

use crate::{
    State, decode,
    refusal::{ApiError, Refusal},
    respond::{MAX_ANSWER_BYTES, payload_bytes},
};

/// A method of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Publish,
    Broadcast,
    Subscribe,
    Unsubscribe,
    Disconnect,
    History,
    HistoryRemove,
    Presence,
    PresenceStats,
    Info,
    Rpc,
    Refresh,
    Channels,
}

impl Method {
    /// In the order in which the keys of a batch's command count.
    const ALL: [Self; 13] = [
        Self::Publish,
        Self::Broadcast,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Disconnect,
        Self::History,
        Self::HistoryRemove,
        Self::Presence,
        Self::PresenceStats,
        Self::Info,
        Self::Rpc,
        Self::Refresh,
        Self::Channels,
    ];

    /// The method of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Broadcast => "broadcast",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Disconnect => "disconnect",
            Self::History => "history",
            Self::HistoryRemove => "history_remove",
            Self::Presence => "presence",
            Self::PresenceStats => "presence_stats",
            Self::Info => "info",
            Self::Rpc => "rpc",
            Self::Refresh => "refresh",
            Self::Channels => "channels",
        }
    }

    /// The method with what it is called with.
    ///
    /// # Errors
    /// The request is no JSON, or not of the method's shape.
    pub(crate) fn decode(self, request: &str) -> serde_json::Result<Call> {
        let request = match self {
            Self::Publish => Request::Publish(decode::request(request)?, decode::request(request)?),
            Self::Broadcast => Request::Broadcast(decode::request(request)?, decode::request(request)?),
            Self::Subscribe => Request::Subscribe(decode::request(request)?),
            Self::Unsubscribe => Request::Unsubscribe(decode::request(request)?),
            Self::Disconnect => Request::Disconnect(decode::request(request)?),
            Self::History => Request::History(decode::request(request)?),
            Self::HistoryRemove => Request::HistoryRemove(decode::request(request)?),
            Self::Presence => Request::Presence(decode::request(request)?),
            Self::PresenceStats => Request::PresenceStats(decode::request(request)?),
            Self::Info => Request::Info(decode::request(request)?),
            Self::Rpc => Request::Rpc(decode::request(request)?),
            Self::Refresh => Request::Refresh(decode::request(request)?),
            Self::Channels => Request::Channels(decode::request(request)?),
        };
        Ok(Call { method: self, request })
    }
}

/// A method and its request.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    request: Request,
}

#[derive(Debug)]
enum Request {
    Publish(publish::One, publish::Content),
    Broadcast(publish::Many, publish::Content),
    Subscribe(subscribe::Request),
    Unsubscribe(unsubscribe::Request),
    Disconnect(disconnect::Request),
    History(history::Request),
    HistoryRemove(history::RemoveRequest),
    Presence(presence::Request),
    PresenceStats(presence::Request),
    Info(info::Request),
    Rpc(rpc::Request),
    Refresh(refresh::Request),
    Channels(channels::Request),
}

impl Call {
    /// Does what is asked for and encodes the result. What is refused is in the log.
    ///
    /// Boxed and without its type: what is below is deep, and the compiler's layout queries have a limit.
    pub(crate) fn run(self, state: &State) -> BoxFuture<'_, Result<Json, ApiError>> {
        Box::pin(self.run_unboxed(state))
    }

    async fn run_unboxed(self, state: &State) -> Result<Json, ApiError> {
        metrics::counter!("ApiCommands").increment(1);
        let ran = match self.request {
            Request::Publish(one, content) => encode(publish::publish(state, &one, &content).await),
            Request::Broadcast(many, content) => encode(publish::broadcast(state, &many, &content).await),
            Request::Subscribe(request) => encode(subscribe::run(state, &request).await),
            Request::Unsubscribe(request) => encode(unsubscribe::run(state, &request).await),
            Request::Disconnect(request) => encode(disconnect::run(state, request).await),
            Request::History(request) => encode(history::history(state, &request).await),
            Request::HistoryRemove(request) => encode(history::remove(state, &request).await),
            Request::Presence(request) => encode(presence::presence(state, &request).await),
            Request::PresenceStats(request) => encode(presence::stats(state, &request).await),
            Request::Info(request) => encode(info::run(state, request).await),
            Request::Rpc(request) => encode(rpc::run(&request)),
            Request::Refresh(request) => encode(refresh::run(state, &request).await),
            Request::Channels(request) => encode(channels::run(state, &request).await),
        };
        ran.map_err(|refusal| refused(self.method.name(), &refusal))
    }
}

fn encode(result: Result<impl Serialize, Refusal>) -> Result<Json, Refusal> {
    let json = to_raw_value(&result?).map_err(|cause| Refusal::from(anyhow::Error::new(cause)))?;
    if payload_bytes(json.get()) > MAX_ANSWER_BYTES {
        return Err(Refusal::new(ApiError::INTERNAL, "the result is larger than a Lambda can return"));
    }
    Ok(json)
}

/// Logs why, once, and returns what to answer.
fn refused(method: &'static str, Refusal { error, reason }: &Refusal) -> ApiError {
    let code = error.code;
    metrics::counter!("ApiErrors").increment(1);
    if *error == ApiError::INTERNAL {
        error!(method, code, reason, "{method} failed: {reason}");
    } else {
        warn!(method, code, reason, "{method} refused: {reason}");
    }
    *error
}

/// What results still fit an answer that has several.
#[derive(Debug, Default)]
pub(crate) struct Room {
    taken: usize,
}

impl Room {
    pub(crate) fn take(&mut self, result: Json) -> Result<Json, ApiError> {
        let bytes = payload_bytes(result.get()) + 64;
        if self.taken + bytes <= MAX_ANSWER_BYTES {
            self.taken += bytes;
            return Ok(result);
        }
        error!("an answer is larger than a Lambda can return: a result is left out");
        Err(ApiError::INTERNAL)
    }
}

/// A result without fields.
#[derive(Debug, Serialize)]
pub(crate) struct Empty {}

/// A channel that exists, and its options.
fn channel<'a>(state: &'a State, name: &str) -> Result<(ChannelName, &'a Namespace), Refusal> {
    let name = ChannelName::parse(name).map_err(|cause| match cause {
        NameError::Empty => Refusal::bad_request("channel required"),
        cause => Refusal::bad_request(cause.to_string()),
    })?;
    match state.channels.namespace_of(&name) {
        Some(namespace) => Ok((name, namespace)),
        None => Err(Refusal::new(ApiError::UNKNOWN_CHANNEL, format!("there is no namespace for {name}"))),
    }
}

/// The bytes of a field in base64. Line breaks in it are passed over.
fn from_base64(field: &'static str, text: &str) -> Result<Vec<u8>, Refusal> {
    let text = text.replace(['\r', '\n'], "");
    BASE64_STANDARD.decode(text).map_err(|cause| Refusal::bad_request(format!("{field}: {cause}")))
}

/// The JSON of a field, or of its twin in base64 where that is given. Text frames carry nothing else.
fn json_or_base64(
    field: &'static str,
    json: Option<&Json>,
    base64_field: &'static str,
    base64: &str,
) -> Result<Option<Json>, Refusal> {
    debug_assert!(base64_field.ends_with(field));
    if base64.is_empty() {
        return Ok(json.cloned());
    }
    let bytes = from_base64(base64_field, base64)?;
    let json =
        serde_json::from_slice(&bytes).map_err(|_| Refusal::bad_request(format!("{base64_field} is not JSON")))?;
    Ok(Some(json))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(bytes: usize) -> Json {
        to_raw_value(&"x".repeat(bytes)).unwrap()
    }

    #[test]
    fn of_several_results_those_that_fit_are_answered() {
        let mut room = Room::default();
        assert!(room.take(result(3_000_000)).is_ok());
        assert_eq!(room.take(result(3_000_000)).unwrap_err(), ApiError::INTERNAL);
        assert!(room.take(result(2_000_000)).is_ok());
        let mut room = Room::default();
        assert!(
            room.take(to_raw_value(&"\"".repeat(1_500_000)).unwrap()).is_err(),
            "each quote takes four bytes in the end"
        );
    }

    #[test]
    fn a_result_larger_than_an_answer_is_none() {
        assert!(encode(Ok(result(MAX_ANSWER_BYTES - 10))).is_ok());
        assert_eq!(encode(Ok(result(MAX_ANSWER_BYTES))).unwrap_err().error, ApiError::INTERNAL);
    }
}
