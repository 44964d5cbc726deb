//! The old form: `POST /api` with one or more `{"id"?, "method", "params"}`, answered one a line.

use lambda_http::{Body, Response};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use signalbox_protocol::Json;
use tracing::warn;

use crate::{
    State, decode,
    methods::{Method, Room},
    refusal::ApiError,
    respond,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Command {
    #[serde(deserialize_with = "decode::or_default")]
    id: u32,
    method: Called,
    #[serde(deserialize_with = "decode::payload")]
    params: Option<Json>,
}

#[derive(Debug, Serialize)]
struct Reply {
    #[serde(skip_serializing_if = "is_zero")]
    id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ApiError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Json>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(id: &u32) -> bool {
    *id == 0
}

/// A method by its name, or by its number in Centrifugo's first API; without either it is `publish`.
#[derive(Debug, PartialEq, Eq)]
enum Called {
    Method(Method),
    /// Centrifugo knows its name or has a number for it, and does not offer it.
    NotOffered,
}

impl Default for Called {
    fn default() -> Self {
        Self::Method(Method::Publish)
    }
}

impl<'de> Deserialize<'de> for Called {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum NameOrNumber {
            Name(String),
            Number(i64),
        }
        let method = match NameOrNumber::deserialize(json)? {
            NameOrNumber::Name(name) => {
                let name = name.to_ascii_lowercase();
                if NOT_OFFERED.contains(&name.as_str()) {
                    return Ok(Self::NotOffered);
                }
                Some(Method::named(&name).ok_or_else(|| D::Error::custom(format!("no method {name:?}")))?)
            }
            NameOrNumber::Number(number) => usize::try_from(number).ok().and_then(|number| *NUMBERED.get(number)?),
        };
        Ok(method.map_or(Self::NotOffered, Self::Method))
    }
}

const NUMBERED: [Option<Method>; 13] = [
    Some(Method::Publish),
    Some(Method::Broadcast),
    Some(Method::Unsubscribe),
    Some(Method::Disconnect),
    Some(Method::Presence),
    Some(Method::PresenceStats),
    Some(Method::History),
    Some(Method::HistoryRemove),
    Some(Method::Channels),
    Some(Method::Info),
    Some(Method::Rpc),
    Some(Method::Subscribe),
    Some(Method::Refresh),
];

/// Names of Centrifugo PRO, and of maps and shared polls: error 104, where a name that nobody knows is a malformed request.
const NOT_OFFERED: [&str; 26] = [
    "connections",
    "update_user_status",
    "get_user_status",
    "delete_user_status",
    "block_user",
    "unblock_user",
    "revoke_token",
    "invalidate_user_tokens",
    "device_register",
    "device_update",
    "device_remove",
    "device_list",
    "device_topic_list",
    "device_topic_update",
    "user_topic_list",
    "user_topic_update",
    "send_push_notification",
    "update_push_status",
    "cancel_push",
    "map_publish",
    "map_remove",
    "map_read_state",
    "map_read_stream",
    "map_stats",
    "map_clear",
    "shared_poll_publish",
];

/// Everything is read before anything is done, so that a request which is refused as malformed can be sent again.
pub(crate) async fn answer(state: &State, body: &str) -> Response<Body> {
    if body.is_empty() {
        return respond::bad_request("legacy", &"the body is empty");
    }
    let commands = match read(body) {
        Ok(commands) => commands,
        Err(cause) => return respond::bad_request("legacy", &cause),
    };
    let (mut lines, mut room) = (Vec::new(), Room::default());
    for Command { id, method, params } in commands {
        let ran = run(state, method, params.as_deref().map_or("", |params| params.get())).await;
        let reply = match ran.and_then(|result| room.take(result)) {
            Ok(result) => Reply { id, error: None, result: Some(result) },
            Err(error) => Reply { id, error: Some(error), result: None },
        };
        // JSON that was published may have line breaks between its tokens
        lines.push(serde_json::to_string(&reply).unwrap_or_default().replace('\n', ""));
    }
    respond::json_text(lines.join("\n"))
}

async fn run(state: &State, called: Called, params: &str) -> Result<Json, ApiError> {
    let call = match called {
        // the one method whose params nobody looks at
        Called::Method(Method::Info) => Method::Info.decode("{}"),
        Called::Method(method) => method.decode(params),
        Called::NotOffered => return Err(ApiError::NOT_FOUND),
    };
    let call = call.map_err(|cause| {
        warn!(error = %cause, "the params of a command are malformed");
        ApiError::BAD_REQUEST
    })?;
    call.run(state).await
}

fn read(body: &str) -> serde_json::Result<Vec<Command>> {
    let values = serde_json::Deserializer::from_str(body).into_iter::<Json>();
    values.map(|value| decode::request(value?.get())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(json: &str) -> Option<Called> {
        let mut commands = read(json).ok()?;
        Some(commands.remove(0).method)
    }

    #[test]
    fn methods_are_called_by_name_or_by_number() {
        assert_eq!(called(r#"{"method":"presence_stats"}"#), Some(Called::Method(Method::PresenceStats)));
        assert_eq!(called(r#"{"method":"PUBLISH"}"#), Some(Called::Method(Method::Publish)));
        assert_eq!(called(r#"{"method":11}"#), Some(Called::Method(Method::Subscribe)));
        assert_eq!(called("{}"), Some(Called::Method(Method::Publish)));
        assert_eq!(called("null"), Some(Called::Method(Method::Publish)));
    }

    #[test]
    fn what_centrifugo_pro_has_is_not_offered_and_what_nobody_has_is_malformed() {
        assert_eq!(called(r#"{"method":"block_user"}"#), Some(Called::NotOffered));
        assert_eq!(called(r#"{"method":13}"#), Some(Called::NotOffered));
        assert_eq!(called(r#"{"method":-1}"#), Some(Called::NotOffered));
        for malformed in
            [r#"{"method":"unknown"}"#, r#"{"method":"0"}"#, r#"{"method":null}"#, r#"{"method":{}}"#, "[]"]
        {
            assert_eq!(called(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn commands_follow_each_other_with_or_without_lines() {
        assert_eq!(read("{} \n\n{}{\"id\":3}").unwrap().len(), 3);
        assert_eq!(read(" \n").unwrap().len(), 0);
        assert!(read("{}x").is_err());
        assert!(read("{}{").is_err());
    }
}
