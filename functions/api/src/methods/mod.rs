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

/// Why a method has no result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The request is not of the method's shape.
    Malformed(serde_json::Error),
    /// An error to answer with; it is in the log.
    Refused(ApiError),
}

impl From<serde_json::Error> for Failure {
    fn from(cause: serde_json::Error) -> Self {
        Self::Malformed(cause)
    }
}

impl Failure {
    /// The error, where there is no status for what is malformed.
    pub(crate) fn error(&self) -> ApiError {
        match self {
            Self::Malformed(_) => ApiError::BAD_REQUEST,
            Self::Refused(error) => *error,
        }
    }
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

    /// Decodes the request, does what it asks for, encodes the result.
    ///
    /// Boxed and without its type: what is below is deep, and the compiler's layout queries have a limit.
    pub(crate) fn run<'a>(self, state: &'a State, request: &'a str) -> BoxFuture<'a, Result<Json, Failure>> {
        Box::pin(self.run_unboxed(state, request))
    }

    async fn run_unboxed(self, state: &State, request: &str) -> Result<Json, Failure> {
        metrics::counter!("ApiCommands").increment(1);
        let ran = match self {
            Self::Publish => {
                encode(publish::publish(state, &decode::request(request)?, &decode::request(request)?).await)
            }
            Self::Broadcast => {
                encode(publish::broadcast(state, &decode::request(request)?, &decode::request(request)?).await)
            }
            Self::Subscribe => encode(subscribe::run(state, &decode::request(request)?).await),
            Self::Unsubscribe => encode(unsubscribe::run(state, &decode::request(request)?).await),
            Self::Disconnect => encode(disconnect::run(state, decode::request(request)?).await),
            Self::History => encode(history::history(state, &decode::request(request)?).await),
            Self::HistoryRemove => encode(history::remove(state, &decode::request(request)?).await),
            Self::Presence => encode(presence::presence(state, &decode::request(request)?).await),
            Self::PresenceStats => encode(presence::stats(state, &decode::request(request)?).await),
            Self::Info => encode(info::run(state).await),
            Self::Rpc => encode(rpc::run(&decode::request(request)?)),
            Self::Refresh => encode(refresh::run(state, &decode::request(request)?).await),
            Self::Channels => encode(channels::run(state, &decode::request(request)?).await),
        };
        ran.map_err(|refusal| Failure::Refused(refused(self.name(), &refusal)))
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
    pub(crate) fn take(&mut self, result: Json) -> Result<Json, Failure> {
        self.taken += payload_bytes(result.get()) + 64;
        if self.taken <= MAX_ANSWER_BYTES {
            return Ok(result);
        }
        error!("an answer is larger than a Lambda can return: a result is left out");
        Err(Failure::Refused(ApiError::INTERNAL))
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
    let json = serde_json::from_slice(&bytes).map_err(|_| Refusal::bad_request(format!("{base64_field} is not JSON")))?;
    Ok(Some(json))
}
