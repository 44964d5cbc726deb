use std::collections::BTreeMap;

use futures::{StreamExt as _, future::BoxFuture, stream};
use lambda_http::{Body, Response, http::StatusCode};
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap as _};
use signalbox_protocol::Json;
use tracing::warn;

use super::{Failure, Method, Room};
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

/// Runs commands one after the other, or at once. One that fails keeps none of the others from anything.
pub(crate) async fn answer(state: &State, body: &str) -> Response<Body> {
    let batch: Batch = match decode::request(body) {
        Ok(batch) => batch,
        Err(cause) => {
            warn!(error = %cause, "refused: the batch is malformed");
            return respond::bad_request();
        }
    };
    let at_once = if batch.parallel { COMMANDS_AT_ONCE } else { 1 };
    let mut room = Room::default();
    let replies = (0..batch.commands.len()).map(|at| run(state, &batch.commands[at]));
    let replies = stream::iter(replies).buffered(at_once);
    let replies = replies.map(|(method, ran)| match (method, ran.and_then(|result| room.take(result))) {
        (Some(method), Ok(result)) => Reply::Result(method, result),
        (None, Ok(_)) => Reply::Error(ApiError::NOT_FOUND),
        (_, Err(failure)) => Reply::Error(failure.error()),
    });
    let replies = replies.collect().await;
    respond::json(StatusCode::OK, &BatchResponse { replies })
}

type Ran = (Option<Method>, Result<Json, Failure>);

/// Boxed: each is deep, and there are many.
fn run<'a>(state: &'a State, command: &'a Json) -> BoxFuture<'a, Ran> {
    Box::pin(run_command(state, command))
}

async fn run_command(state: &State, command: &Json) -> Ran {
    // in Centrifugo a null in the list is a bad request, and an object without a method not found
    let commands: BTreeMap<String, Json> = match command.get() {
        "null" => return (None, Err(Failure::Refused(ApiError::BAD_REQUEST))),
        text => match decode::request(text) {
            Ok(commands) => commands,
            Err(cause) => return (None, Err(malformed(cause))),
        },
    };
    let called = |method: &Method| commands.get(method.name()).filter(|request| request.get() != "null");
    let Some((method, request)) = Method::ALL.into_iter().find_map(|method| Some((method, called(&method)?))) else {
        warn!("a command of a batch has no method that is known");
        return (None, Err(Failure::Refused(ApiError::NOT_FOUND)));
    };
    let ran = method.run(state, request.get()).await;
    (Some(method), ran.map_err(|failure| match failure {
        Failure::Malformed(cause) => malformed(cause),
        refused @ Failure::Refused(_) => refused,
    }))
}

fn malformed(cause: serde_json::Error) -> Failure {
    warn!(error = %cause, "a command of a batch is malformed");
    Failure::Malformed(cause)
}
