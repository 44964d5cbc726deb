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

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    /// What a request may have in it, right and wrong. (`fuzz/fuzz_targets/api.rs` looks further.)
    fn value() -> impl Strategy<Value = String> {
        let leaf = select(vec![
            "null",
            "true",
            "0",
            "-1",
            "1.5",
            "18446744073709551616",
            r#""""#,
            r#""a:b""#,
            r#""\ud800""#,
            r#""e30=""#,
            "[]",
            "{}",
            "[1]",
            "1e999",
            "x",
        ]);
        leaf.prop_map(str::to_owned).prop_recursive(3, 12, 4, |inner| {
            let name = select(vec![
                "channel",
                "channels",
                "data",
                "b64data",
                "tags",
                "idempotency_key",
                "version",
                "delta",
                "skip_history",
                "user",
                "client",
                "info",
                "override",
                "presence",
                "value",
                "recover_since",
                "since",
                "offset",
                "epoch",
                "limit",
                "reverse",
                "disconnect",
                "code",
                "reason",
                "whitelist",
                "pattern",
                "method",
                "params",
                "expire_at",
            ]);
            prop_oneof![
                vec((name, inner.clone()), 0..5).prop_map(|fields| {
                    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
                    format!("{{{}}}", fields.join(","))
                }),
                vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn a_request_is_of_its_method_s_shape_by_itself_or_in_a_batch(method in select(Method::ALL.to_vec()), request in value()) {
            let alone = method.decode(&request);
            let command = format!(r#"{{"{}":{request}}}"#, method.name());
            let batched = read(&format!(r#"{{"commands":[{command}]}}"#));
            prop_assert_eq!(alone.is_ok(), batched.is_ok(), "{}", command);
        }

        #[test]
        fn no_text_makes_the_decoder_panic(method in select(Method::ALL.to_vec()), text in "\\PC{0,60}") {
            let _ = (method.decode(&text), read(&text));
        }
    }
}
