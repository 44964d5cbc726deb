use std::collections::BTreeMap;

use serde::{Serialize, ser::SerializeMap as _};

use crate::{ClientInfo, ErrorCode, Json, Publication};

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
    /// Published.
    Publish(Empty),
    /// Who is in the channel.
    Presence(PresenceResult),
    /// How many are in the channel.
    PresenceStats(PresenceStatsResult),
    /// A page of the stream.
    History(HistoryResult),
    /// The method's answer.
    Rpc(RpcResult),
    /// The connection lives on.
    Refresh(RefreshResult),
    /// The subscription lives on.
    SubRefresh(SubRefreshResult),
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
        crate::to_line(self)
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
            Outcome::Publish(result) => map.serialize_entry("publish", result)?,
            Outcome::Presence(result) => map.serialize_entry("presence", result)?,
            Outcome::PresenceStats(result) => map.serialize_entry("presence_stats", result)?,
            Outcome::History(result) => map.serialize_entry("history", result)?,
            Outcome::Rpc(result) => map.serialize_entry("rpc", result)?,
            Outcome::Refresh(result) => map.serialize_entry("refresh", result)?,
            Outcome::SubRefresh(result) => map.serialize_entry("sub_refresh", result)?,
            Outcome::Error(code) => map.serialize_entry("error", code)?,
        }
        map.end()
    }
}

/// Result of `connect`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ConnectResult {
    /// Id of this connection towards other clients; not API Gateway's connection id.
    pub client: String,
    /// Version of the server.
    pub version: &'static str,
    /// The connection ends after `ttl` unless its token is refreshed.
    #[serde(skip_serializing_if = "crate::is_false")]
    pub expires: bool,
    /// Seconds until then.
    #[serde(skip_serializing_if = "crate::is_zero_u32")]
    pub ttl: u32,
    /// The server's, any JSON but null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Json>,
    /// Server-side subscriptions, by channel. One that the client had before and does not find here is over.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub subs: BTreeMap<String, SubscribeResult>,
    /// Seconds between pings (`{}`) at most: an SDK takes the connection for dead 10 s after one is due. 0 = never.
    #[serde(skip_serializing_if = "crate::is_zero_u32")]
    pub ping: u32,
    /// The SDK is to answer pings.
    #[serde(skip_serializing_if = "crate::is_false")]
    pub pong: bool,
    /// Unix milliseconds; 0 = not told.
    #[serde(skip_serializing_if = "crate::is_zero_i64")]
    pub time: i64,
}

/// Result of `subscribe`.
#[derive(Debug, Clone, Default, Serialize)]
#[allow(clippy::struct_excessive_bools)] // the protocol's
pub struct SubscribeResult {
    /// The subscription ends after `ttl` unless its token is refreshed.
    #[serde(skip_serializing_if = "crate::is_false")]
    pub expires: bool,
    /// Seconds until then.
    #[serde(skip_serializing_if = "crate::is_zero_u32")]
    pub ttl: u32,
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
    /// The server's, any JSON but null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Json>,
    /// `data` of publications is a JSON string from now on, a delta where the publication says so.
    #[serde(skip_serializing_if = "crate::is_false")]
    pub delta: bool,
}

/// Result of `presence`. The map is there even when it is empty: centrifuge-js hands it on as it is.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PresenceResult {
    /// Who is there, by id of the client.
    pub presence: BTreeMap<String, ClientInfo>,
}

/// Result of `presence_stats`. Zeros are written: centrifuge-js would hand on `undefined`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PresenceStatsResult {
    /// Connections.
    pub num_clients: u32,
    /// Distinct users among them.
    pub num_users: u32,
}

/// Result of `history`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct HistoryResult {
    /// The page, in the order that was asked for.
    pub publications: Vec<Publication>,
    /// Epoch of the stream.
    pub epoch: String,
    /// Top of the stream.
    pub offset: u64,
}

/// Result of `refresh`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RefreshResult {
    /// As in [`ConnectResult`].
    pub client: String,
    /// Version of the server.
    pub version: &'static str,
    /// The connection ends after `ttl` unless its token is refreshed.
    #[serde(skip_serializing_if = "crate::is_false")]
    pub expires: bool,
    /// Seconds until then.
    #[serde(skip_serializing_if = "crate::is_zero_u32")]
    pub ttl: u32,
}

/// Result of `sub_refresh`.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct SubRefreshResult {
    /// The subscription ends after `ttl` unless its token is refreshed.
    #[serde(skip_serializing_if = "crate::is_false")]
    pub expires: bool,
    /// Seconds until then.
    #[serde(skip_serializing_if = "crate::is_zero_u32")]
    pub ttl: u32,
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
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn replies_look_as_centrifugo_writes_them() {
        let line = |outcome| Reply { id: 3, outcome }.to_line();
        assert_eq!(
            line(Outcome::Connect(ConnectResult { client: "c".to_owned(), version: "v", ..Default::default() })),
            r#"{"id":3,"connect":{"client":"c","version":"v"}}"#
        );
        let json = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let connect = ConnectResult {
            client: "c".to_owned(),
            version: "v",
            expires: true,
            ttl: 60,
            data: Some(json("{}")),
            subs: BTreeMap::from([("s".to_owned(), SubscribeResult { recoverable: true, ..Default::default() })]),
            ping: 600,
            pong: true,
            time: 1_700_000_000_000,
        };
        assert_eq!(
            line(Outcome::Connect(connect)),
            concat!(
                r#"{"id":3,"connect":{"client":"c","version":"v","expires":true,"ttl":60,"data":{},"#,
                r#""subs":{"s":{"recoverable":true}},"ping":600,"pong":true,"time":1700000000000}}"#
            )
        );
        let subscribe =
            SubscribeResult { expires: true, ttl: 5, data: Some(json("1")), delta: true, ..Default::default() };
        assert_eq!(
            line(Outcome::Subscribe(subscribe)),
            r#"{"id":3,"subscribe":{"expires":true,"ttl":5,"data":1,"delta":true}}"#
        );
        let refresh = RefreshResult { client: "c".to_owned(), version: "v", expires: true, ttl: 5 };
        assert_eq!(
            line(Outcome::Refresh(refresh)),
            r#"{"id":3,"refresh":{"client":"c","version":"v","expires":true,"ttl":5}}"#
        );
        assert_eq!(line(Outcome::Publish(Empty {})), r#"{"id":3,"publish":{}}"#);
        assert_eq!(line(Outcome::SubRefresh(SubRefreshResult::default())), r#"{"id":3,"sub_refresh":{}}"#);
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

    #[test]
    fn what_an_sdk_reads_unasked_is_there_even_when_it_is_empty() {
        let line = |outcome| Reply { id: 3, outcome }.to_line();
        assert_eq!(line(Outcome::Presence(PresenceResult::default())), r#"{"id":3,"presence":{"presence":{}}}"#);
        assert_eq!(
            line(Outcome::PresenceStats(PresenceStatsResult::default())),
            r#"{"id":3,"presence_stats":{"num_clients":0,"num_users":0}}"#
        );
        assert_eq!(
            line(Outcome::History(HistoryResult::default())),
            r#"{"id":3,"history":{"publications":[],"epoch":"","offset":0}}"#
        );
    }
}
