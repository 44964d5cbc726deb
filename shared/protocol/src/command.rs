use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Disconnect, Json};

/// One command of a client.
#[derive(Debug, Clone)]
pub struct Command {
    /// Matches the reply to the command; above 0, and 0 only for `send`, which has no reply. Grows over the life of the SDK
    /// object, across reconnects.
    pub id: u32,
    /// What is asked for.
    pub request: Request,
}

/// What a command asks for.
#[derive(Debug, Clone)]
pub enum Request {
    /// The first command of a connection.
    Connect(ConnectRequest),
    /// Subscribe to a channel.
    Subscribe(SubscribeRequest),
    /// End a subscription.
    Unsubscribe(UnsubscribeRequest),
    /// Call a method.
    Rpc(RpcRequest),
    /// An asynchronous message, without a reply.
    Send,
    /// A command of the protocol that is not offered yet, by name.
    Unavailable(&'static str),
    /// Not a command of the protocol.
    Unknown,
}

/// `connect`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ConnectRequest {
    /// Connection JWT; empty when the client has none.
    pub token: String,
    /// Name of the client, 16 characters at most in the SDKs.
    pub name: String,
    /// Version of the client.
    pub version: String,
}

/// `subscribe`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(clippy::struct_excessive_bools)] // the protocol's
pub struct SubscribeRequest {
    /// The channel.
    pub channel: String,
    /// Subscription JWT.
    pub token: String,
    /// Ask for a position.
    pub positioned: bool,
    /// Ask for a position that can be recovered from.
    pub recoverable: bool,
    /// Recover from `epoch` and `offset`.
    pub recover: bool,
    /// Epoch of the last position; empty matches any.
    pub epoch: String,
    /// Last offset seen.
    pub offset: u64,
    /// 1 offers channel compaction (declined), 2 asks for error 112 instead of an unrecovered subscription.
    pub flag: u64,
    /// 0 is a stream; maps and shared polls are not offered.
    #[serde(rename = "type")]
    pub kind: u32,
}

impl SubscribeRequest {
    /// Flag 2: refuse rather than subscribe without recovery.
    pub fn rejects_unrecovered(&self) -> bool {
        self.flag & 2 != 0
    }
}

/// `unsubscribe`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct UnsubscribeRequest {
    /// The channel.
    pub channel: String,
}

/// `rpc`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RpcRequest {
    /// Method name.
    pub method: String,
    /// Parameters, any JSON.
    pub data: Option<Json>,
}

/// Commands of the protocol that are not offered yet; `ping` never is, no SDK sends it.
const UNAVAILABLE: [&str; 7] = ["publish", "presence", "presence_stats", "history", "refresh", "sub_refresh", "ping"];

/// Splits a text frame into its commands. A frame that is not the protocol ends the connection, as it does with Centrifugo:
/// empty, a blank line, no JSON object, fields of the wrong type, or a missing id.
pub fn parse_frame(frame: &str) -> Result<Vec<Command>, Disconnect> {
    frame.trim_end_matches(['\n', '\r']).split('\n').map(parse_command).collect()
}

fn parse_command(line: &str) -> Result<Command, Disconnect> {
    fn body<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, Disconnect> {
        serde_json::from_str(raw.get()).map_err(|_| Disconnect::BAD_REQUEST)
    }

    let fields: BTreeMap<&str, &RawValue> = serde_json::from_str(line).map_err(|_| Disconnect::BAD_REQUEST)?;
    let id: u32 = fields.get("id").map_or(Ok(0), |id| body(id))?;
    let named = |name: &str| fields.get(name).copied();
    let request = if let Some(raw) = named("connect") {
        Request::Connect(body(raw)?)
    } else if let Some(raw) = named("subscribe") {
        Request::Subscribe(body(raw)?)
    } else if let Some(raw) = named("unsubscribe") {
        Request::Unsubscribe(body(raw)?)
    } else if let Some(raw) = named("rpc") {
        Request::Rpc(body(raw)?)
    } else if named("send").is_some() {
        Request::Send
    } else if let Some(name) = UNAVAILABLE.into_iter().find(|name| named(name).is_some()) {
        Request::Unavailable(name)
    } else {
        Request::Unknown
    };
    if id == 0 && !matches!(request, Request::Send) {
        return Err(Disconnect::BAD_REQUEST);
    }
    Ok(Command { id, request })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centrifuge_js_sends_connect_and_subscribe_in_one_frame() {
        let frame = concat!(
            r#"{"id":1,"connect":{"token":"t","name":"js"}}"#,
            "\n",
            r#"{"id":2,"subscribe":{"channel":"status:all","recover":true,"epoch":"e","offset":7,"flag":1}}"#
        );
        let commands = parse_frame(frame).unwrap();
        assert_eq!(commands.iter().map(|c| c.id).collect::<Vec<_>>(), [1, 2]);
        let Request::Connect(connect) = &commands[0].request else { panic!("{commands:?}") };
        assert_eq!((connect.token.as_str(), connect.name.as_str()), ("t", "js"));
        let Request::Subscribe(subscribe) = &commands[1].request else { panic!("{commands:?}") };
        assert_eq!((subscribe.channel.as_str(), subscribe.offset, subscribe.recover), ("status:all", 7, true));
        assert!(!subscribe.rejects_unrecovered());
    }

    #[test]
    fn what_is_not_the_protocol_is_a_bad_request() {
        for frame in [
            "",
            "\n",
            "hello",
            "[]",
            "7",
            "null",
            r#"{"connect":{}}"#,
            r#"{"id":0,"connect":{}}"#,
            r#"{"id":-1,"connect":{}}"#,
            r#"{"id":4294967296,"connect":{}}"#,
            r#"{"id":1,"connect":5}"#,
            r#"{"id":1,"subscribe":{"channel":5}}"#,
            "{\"id\":1,\"connect\":{}}\n\n{\"id\":2,\"rpc\":{}}",
            "{\"id\":1,\"connect\":{}}\nnot json",
            "{}",
        ] {
            assert_eq!(parse_frame(frame).unwrap_err(), Disconnect::BAD_REQUEST, "{frame:?}");
        }
    }

    #[test]
    fn known_commands_are_told_from_unknown_ones() {
        let request = |line: &str| parse_frame(line).unwrap().remove(0).request;
        for name in UNAVAILABLE {
            let line = format!(r#"{{"id":3,"{name}":{{}}}}"#);
            assert!(matches!(request(&line), Request::Unavailable(found) if found == name), "{line}");
        }
        assert!(matches!(request(r#"{"id":3,"dance":{}}"#), Request::Unknown));
        assert!(matches!(request(r#"{"send":{"data":1}}"#), Request::Send));
        // exactly one is asked for; the first known one wins
        assert!(matches!(request(r#"{"id":3,"rpc":{},"connect":{}}"#), Request::Connect(_)));
    }
}
