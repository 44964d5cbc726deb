use std::collections::BTreeMap;

use futures::{StreamExt as _, future::BoxFuture, stream};
use lambda_http::{Body, Response, http::StatusCode};
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap as _};
use signalbox_protocol::Json;
use tracing::warn;

use super::{Call, Method, Room};
use crate::{State, decode, refusal::ApiError, respond};

/// Commands that run at once in a parallel batch.
const COMMANDS_AT_ONCE: usize = 64;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Batch {
    #[serde(deserialize_with = "decode::or_default")]
    commands: Vec<Json>,
    #[serde(deserialize_with = "decode::or_default")]
    parallel: bool,
}

#[derive(Debug, Serialize)]
struct BatchResponse {
    /// In the order of the commands.
    replies: Vec<Reply>,
}

#[derive(Debug)]
enum Reply {
    Result(Method, Json),
    Error(ApiError),
}

/// `{"<method>": {…}}` or `{"error": {…}}`
impl Serialize for Reply {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::Result(method, result) => map.serialize_entry(method.name(), result)?,
            Self::Error(error) => map.serialize_entry("error", error)?,
        }
        map.end()
    }
}

/// Runs commands one after the other, or at once. One that is refused keeps none of the others from anything; what is malformed is
/// refused whole, before anything is done.
pub(crate) async fn answer(state: &State, body: &str) -> Response<Body> {
    let (batch, calls) = match read(body) {
        Ok(read) => read,
        Err(cause) => return respond::bad_request("batch", &cause),
    };
    let at_once = if batch.parallel { COMMANDS_AT_ONCE } else { 1 };
    let mut room = Room::default();
    let replies = stream::iter(calls.into_iter().map(|call| run(state, call))).buffered(at_once);
    let replies = replies.map(|ran| match ran.and_then(|(method, result)| Ok((method, room.take(result)?))) {
        Ok((method, result)) => Reply::Result(method, result),
        Err(error) => Reply::Error(error),
    });
    let replies = replies.collect().await;
    respond::json(StatusCode::OK, &BatchResponse { replies })
}

fn read(body: &str) -> serde_json::Result<(Batch, Vec<Result<Call, ApiError>>)> {
    let batch: Batch = decode::request(body)?;
    let calls = batch.commands.iter().map(call).collect::<Result<_, _>>()?;
    Ok((batch, calls))
}

/// The first of the methods that a command names; each is to be of its shape.
fn call(command: &Json) -> serde_json::Result<Result<Call, ApiError>> {
    // in Centrifugo a null in the list is a bad request, and an object without a method not found
    if command.get() == "null" {
        return Ok(Err(ApiError::BAD_REQUEST));
    }
    let requests: BTreeMap<String, Json> = decode::request(command.get())?;
    let mut first = None;
    for method in Method::ALL {
        if let Some(request) = requests.get(method.name()).filter(|request| request.get() != "null") {
            let call = method.decode(request.get())?;
            first = first.or(Some(call));
        }
    }
    Ok(first.ok_or(ApiError::NOT_FOUND))
}

/// Boxed: each is deep, and there are many.
fn run(state: &State, call: Result<Call, ApiError>) -> BoxFuture<'_, Result<(Method, Json), ApiError>> {
    Box::pin(async move {
        let call =
            call.inspect_err(|error| warn!(code = error.code, "a command of a batch has no method that is known"))?;
        let method = call.method;
        Ok((method, call.run(state).await?))
    })
}
