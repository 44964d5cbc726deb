use serde::{Serialize, ser::SerializeMap as _};

use crate::{ErrorCode, Json, Publication};

/// The answer to a command, matched by id alone.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The command's id.
    pub id: u32,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a command. The result's key must be there even when it is empty: centrifuge-js reads it unasked.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Connected.
    Connect(ConnectResult),
    /// Subscribed.
    Subscribe(SubscribeResult),
    /// Not subscribed any more.
    Unsubscribe(Empty),
    /// The method's answer.
    Rpc(RpcResult),
    /// Refused.
    Error(ErrorCode),
}

impl Reply {
    /// A refusal.
    pub fn error(id: u32, code: ErrorCode) -> Self {
        Self { id, outcome: Outcome::Error(code) }
    }

    /// One line of a frame.
    pub fn to_line(&self) -> String {
        // strings, numbers and raw JSON only: nothing that serde_json could refuse
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Serialize for Reply {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("id", &self.id)?;
        match &self.outcome {
            Outcome::Connect(result) => map.serialize_entry("connect", result)?,
            Outcome::Subscribe(result) => map.serialize_entry("subscribe", result)?,
            Outcome::Unsubscribe(result) => map.serialize_entry("unsubscribe", result)?,
            Outcome::Rpc(result) => map.serialize_entry("rpc", result)?,
            Outcome::Error(code) => map.serialize_entry("error", code)?,
        }
        map.end()
    }
}

/// Result of `connect`. There is no `ping`: API Gateway's sockets are kept alive by the keeper, and an SDK that is told of no
/// interval never times out.
#[derive(Debug, Clone, Serialize)]
pub struct ConnectResult {
    /// Id of this connection towards other clients; not API Gateway's connection id.
    pub client: String,
    /// Version of the server.
    pub version: &'static str,
}

/// Result of `subscribe`.
#[derive(Debug, Clone, Default, Serialize)]
#[allow(clippy::struct_excessive_bools)] // the protocol's
pub struct SubscribeResult {
    /// The position can be recovered from.
    #[serde(skip_serializing_if = "crate::is_false")]
    pub recoverable: bool,
    /// The reply has a position.
    #[serde(skip_serializing_if = "crate::is_false")]
    pub positioned: bool,
    /// Epoch of the stream.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub epoch: String,
    /// When recovered the offset of the request (the SDK advances by the publications), else the top of the stream.
    #[serde(skip_serializing_if = "crate::is_zero")]
    pub offset: u64,
    /// What was missed, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publications: Vec<Publication>,
    /// All that was missed is in `publications` or follows as pushes.
    #[serde(skip_serializing_if = "crate::is_false")]
    pub recovered: bool,
    /// Recovery was asked for.
    #[serde(skip_serializing_if = "crate::is_false")]
    pub was_recovering: bool,
}

/// Result of `rpc`.
#[derive(Debug, Clone, Serialize)]
pub struct RpcResult {
    /// The answer, any JSON but null.
    pub data: Json,
}

/// A result without fields.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Empty {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_look_as_centrifugo_writes_them() {
        let line = |outcome| Reply { id: 3, outcome }.to_line();
        assert_eq!(
            line(Outcome::Connect(ConnectResult { client: "c".to_owned(), version: "v" })),
            r#"{"id":3,"connect":{"client":"c","version":"v"}}"#
        );
        assert_eq!(line(Outcome::Subscribe(SubscribeResult::default())), r#"{"id":3,"subscribe":{}}"#);
        assert_eq!(line(Outcome::Unsubscribe(Empty {})), r#"{"id":3,"unsubscribe":{}}"#);
        assert_eq!(
            Reply::error(3, ErrorCode::INTERNAL).to_line(),
            r#"{"id":3,"error":{"code":100,"message":"internal server error","temporary":true}}"#
        );
        assert_eq!(
            Reply::error(3, ErrorCode::PERMISSION_DENIED).to_line(),
            r#"{"id":3,"error":{"code":103,"message":"permission denied"}}"#
        );
    }
}
