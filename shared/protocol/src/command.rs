use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{Disconnect, Filter, Json, StreamPosition, lenient};

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
    /// Publish into a channel.
    Publish(PublishRequest),
    /// Who is in a channel.
    Presence(PresenceRequest),
    /// How many are in a channel.
    PresenceStats(PresenceStatsRequest),
    /// A page of a channel's stream.
    History(HistoryRequest),
    /// Call a method.
    Rpc(RpcRequest),
    /// An asynchronous message, without a reply.
    Send(SendRequest),
    /// A new token for the connection.
    Refresh(RefreshRequest),
    /// A new token for a subscription.
    SubRefresh(SubRefreshRequest),
}

/// `connect`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ConnectRequest {
    /// Connection JWT; empty when the client has none.
    #[serde(deserialize_with = "lenient::or_default")]
    pub token: String,
    /// For a connect proxy, of which there is none.
    pub data: Option<Json>,
    /// Name of the client, 16 characters at most in the SDKs.
    #[serde(deserialize_with = "lenient::or_default")]
    pub name: String,
    /// Version of the client.
    #[serde(deserialize_with = "lenient::or_default")]
    pub version: String,
    /// Server-side subscriptions of the connection before this one, with the positions to recover from; by channel.
    #[serde(deserialize_with = "lenient::named_objects")]
    pub subs: BTreeMap<String, SubscribeRequest>,
}

/// `subscribe`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(clippy::struct_excessive_bools)] // the protocol's
pub struct SubscribeRequest {
    /// The channel; empty within [`ConnectRequest::subs`].
    #[serde(deserialize_with = "lenient::or_default")]
    pub channel: String,
    /// Subscription JWT.
    #[serde(deserialize_with = "lenient::or_default")]
    pub token: String,
    /// For a subscribe proxy, of which there is none.
    pub data: Option<Json>,
    /// Ask for a position.
    #[serde(deserialize_with = "lenient::or_default")]
    pub positioned: bool,
    /// Ask for a position that can be recovered from.
    #[serde(deserialize_with = "lenient::or_default")]
    pub recoverable: bool,
    /// Recover from `epoch` and `offset`.
    #[serde(deserialize_with = "lenient::or_default")]
    pub recover: bool,
    /// Epoch of the last position; empty matches any.
    #[serde(deserialize_with = "lenient::or_default")]
    pub epoch: String,
    /// Last offset seen.
    #[serde(deserialize_with = "lenient::or_default")]
    pub offset: u64,
    /// Ask for join and leave pushes.
    #[serde(deserialize_with = "lenient::or_default")]
    pub join_leave: bool,
    /// Ask for delta compression: `fossil`, or empty.
    #[serde(deserialize_with = "lenient::or_default")]
    pub delta: String,
    /// Deliver only what it matches.
    #[serde(deserialize_with = "lenient::object")]
    pub tf: Option<Filter>,
    /// Bits: 1 offers channel compaction (declined), 2 asks for error 112 instead of an unrecovered subscription.
    #[serde(deserialize_with = "lenient::or_default")]
    pub flag: i64,
    /// `type`: 0 is a stream; maps and shared polls are not offered.
    #[serde(rename = "type", deserialize_with = "lenient::or_default")]
    pub kind: i32,
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
    #[serde(deserialize_with = "lenient::or_default")]
    pub channel: String,
}

/// `publish`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PublishRequest {
    /// The channel.
    #[serde(deserialize_with = "lenient::or_default")]
    pub channel: String,
    /// Payload; `None` is refused with 107.
    pub data: Option<Json>,
    /// `type`: 0 is a stream, 1 a map, which is not offered.
    #[serde(rename = "type", deserialize_with = "lenient::or_default")]
    pub kind: i32,
}

/// `presence`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PresenceRequest {
    /// The channel.
    #[serde(deserialize_with = "lenient::or_default")]
    pub channel: String,
}

/// `presence_stats`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PresenceStatsRequest {
    /// The channel.
    #[serde(deserialize_with = "lenient::or_default")]
    pub channel: String,
}

/// `history`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct HistoryRequest {
    /// The channel.
    #[serde(deserialize_with = "lenient::or_default")]
    pub channel: String,
    /// Publications at most; 0 = the position alone, below 0 = as many as there may be.
    #[serde(deserialize_with = "lenient::or_default")]
    pub limit: i32,
    /// Where to begin, exclusive.
    #[serde(deserialize_with = "lenient::object")]
    pub since: Option<StreamPosition>,
    /// Newest first.
    #[serde(deserialize_with = "lenient::or_default")]
    pub reverse: bool,
}

/// `rpc`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RpcRequest {
    /// Method name.
    #[serde(deserialize_with = "lenient::or_default")]
    pub method: String,
    /// Parameters, any JSON.
    pub data: Option<Json>,
}

/// `send`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SendRequest {
    /// The message, any JSON.
    pub data: Option<Json>,
}

/// `refresh`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RefreshRequest {
    /// Connection JWT.
    #[serde(deserialize_with = "lenient::or_default")]
    pub token: String,
}

/// `sub_refresh`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SubRefreshRequest {
    /// The channel.
    #[serde(deserialize_with = "lenient::or_default")]
    pub channel: String,
    /// Subscription JWT.
    #[serde(deserialize_with = "lenient::or_default")]
    pub token: String,
    /// `type`: 0 refreshes; 1 and 2 are the shared poll's, which is not offered.
    #[serde(rename = "type", deserialize_with = "lenient::or_default")]
    pub kind: i32,
}

/// Splits a text frame into its commands. A frame that is not the protocol ends the connection, as it does with Centrifugo:
/// empty, a blank line, no JSON object, fields of the wrong type, a missing id, no command or an unknown one, `ping` and an
/// unasked pong (`{}`) included.
pub fn parse_frame(frame: &str) -> Result<Vec<Command>, Disconnect> {
    frame.strip_suffix('\n').unwrap_or(frame).split('\n').map(parse_command).collect()
}

fn parse_command(line: &str) -> Result<Command, Disconnect> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Envelope {
        #[serde(deserialize_with = "lenient::or_default")]
        id: u32,
        #[serde(deserialize_with = "lenient::object")]
        connect: Option<ConnectRequest>,
        #[serde(deserialize_with = "lenient::object")]
        subscribe: Option<SubscribeRequest>,
        #[serde(deserialize_with = "lenient::object")]
        unsubscribe: Option<UnsubscribeRequest>,
        #[serde(deserialize_with = "lenient::object")]
        publish: Option<PublishRequest>,
        #[serde(deserialize_with = "lenient::object")]
        presence: Option<PresenceRequest>,
        #[serde(deserialize_with = "lenient::object")]
        presence_stats: Option<PresenceStatsRequest>,
        #[serde(deserialize_with = "lenient::object")]
        history: Option<HistoryRequest>,
        #[serde(deserialize_with = "lenient::object")]
        rpc: Option<RpcRequest>,
        #[serde(deserialize_with = "lenient::object")]
        send: Option<SendRequest>,
        #[serde(deserialize_with = "lenient::object")]
        refresh: Option<RefreshRequest>,
        #[serde(deserialize_with = "lenient::object")]
        sub_refresh: Option<SubRefreshRequest>,
    }

    let lenient::Object(named): lenient::Object<Envelope> =
        serde_json::from_str(line).map_err(|_| Disconnect::BAD_REQUEST)?;
    // Centrifugo's order: of several the first one counts
    let request = (named.connect.map(Request::Connect))
        .or(named.subscribe.map(Request::Subscribe))
        .or(named.unsubscribe.map(Request::Unsubscribe))
        .or(named.publish.map(Request::Publish))
        .or(named.presence.map(Request::Presence))
        .or(named.presence_stats.map(Request::PresenceStats))
        .or(named.history.map(Request::History))
        .or(named.rpc.map(Request::Rpc))
        .or(named.send.map(Request::Send))
        .or(named.refresh.map(Request::Refresh))
        .or(named.sub_refresh.map(Request::SubRefresh))
        .ok_or(Disconnect::BAD_REQUEST)?;
    if named.id == 0 && !matches!(request, Request::Send(_)) {
        return Err(Disconnect::BAD_REQUEST);
    }
    Ok(Command { id: named.id, request })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(line: &str) -> Request {
        parse_frame(line).unwrap_or_else(|end| panic!("{line}: {end:?}")).remove(0).request
    }

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
        assert_eq!(parse_frame(&format!("{frame}\n")).unwrap().len(), 2, "one newline may end a frame");
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
            r#"{"id":1.5,"connect":{}}"#,
            r#"{"id":"1","connect":{}}"#,
            r#"{"id":1,"connect":5}"#,
            r#"{"id":1,"connect":[]}"#,
            r#"{"id":1,"connect":null}"#,
            r#"[1,{"token":"t"}]"#,
            r#"{"id":1,"connect":{"subs":{"a":5}}}"#,
            r#"{"id":1,"connect":{"subs":[]}}"#,
            r#"{"id":1,"subscribe":{"channel":5}}"#,
            r#"{"id":1,"subscribe":{"channel":"a","tf":[]}}"#,
            r#"{"id":1,"subscribe":{"channel":"a","tf":{"op":"not","nodes":[[]]}}}"#,
            r#"{"id":1,"subscribe":{"channel":"a","offset":18446744073709551616}}"#,
            r#"{"id":1,"history":{"channel":"a","since":7}}"#,
            r#"{"id":1,"history":{"channel":"a","limit":2147483648}}"#,
            r#"{"id":1,"rpc":{},"publish":5}"#,
            "{\"id\":1,\"connect\":{}}\n\n{\"id\":2,\"rpc\":{}}",
            "{\"id\":1,\"connect\":{}}\nnot json",
            "{\"id\":1,\"connect\":{}}\n\n",
            r#"{"id":1,"connect":{}} and more"#,
            "{}",
            r#"{"id":1}"#,
            r#"{"id":1,"ping":{}}"#,
            r#"{"id":1,"dance":{}}"#,
        ] {
            assert_eq!(parse_frame(frame).unwrap_err(), Disconnect::BAD_REQUEST, "{frame:?}");
        }
    }

    #[test]
    fn of_several_requests_the_first_in_the_protocol_s_order_counts() {
        assert!(matches!(request(r#"{"id":3,"rpc":{},"connect":{}}"#), Request::Connect(_)));
        assert!(matches!(request(r#"{"id":3,"sub_refresh":{},"history":{},"rpc":{}}"#), Request::History(_)));
        assert!(matches!(request(r#"{"id":3,"connect":null,"rpc":{}}"#), Request::Rpc(_)));
        assert!(matches!(request(r#"{"send":{"data":1}}"#), Request::Send(SendRequest { data: Some(_) })));
    }

    #[test]
    fn every_field_is_read() {
        let line = concat!(
            r#"{"id":1,"subscribe":{"channel":"a:b","token":"t","data":{"x":1},"positioned":true,"recoverable":true,"#,
            r#""recover":true,"epoch":"e","offset":18446744073709551615,"join_leave":true,"delta":"fossil","#,
            r#""tf":{"key":"k","cmp":"eq","val":"v"},"flag":3,"type":4}}"#
        );
        let Request::Subscribe(subscribe) = request(line) else { panic!() };
        assert_eq!((subscribe.channel.as_str(), subscribe.token.as_str(), subscribe.epoch.as_str()), ("a:b", "t", "e"));
        assert!(subscribe.positioned && subscribe.recoverable && subscribe.recover && subscribe.join_leave);
        assert_eq!((subscribe.offset, subscribe.kind, subscribe.delta.as_str()), (u64::MAX, 4, "fossil"));
        assert_eq!(subscribe.data.as_deref().map(serde_json::value::RawValue::get), Some(r#"{"x":1}"#));
        assert_eq!(subscribe.tf.as_ref().map(|filter| filter.val.as_str()), Some("v"));
        assert!(subscribe.rejects_unrecovered());

        let line =
            r#"{"id":1,"connect":{"data":7,"version":"5.8","subs":{"s:1":{"recover":true,"offset":4,"epoch":"e"}}}}"#;
        let Request::Connect(connect) = request(line) else { panic!() };
        assert_eq!((connect.subs["s:1"].offset, connect.version.as_str(), connect.data.is_some()), (4, "5.8", true));

        let Request::History(history) =
            request(r#"{"id":1,"history":{"channel":"c","limit":-1,"since":{"offset":2,"epoch":"e"},"reverse":true}}"#)
        else {
            panic!()
        };
        assert_eq!(history.since, Some(StreamPosition { offset: 2, epoch: "e".to_owned() }));
        assert_eq!((history.channel.as_str(), history.limit, history.reverse), ("c", -1, true));

        let Request::Publish(publish) = request(r#"{"id":1,"publish":{"channel":"c","data":"d","type":1}}"#) else {
            panic!()
        };
        assert_eq!((publish.channel.as_str(), publish.kind, publish.data.unwrap().get()), ("c", 1, r#""d""#));

        let Request::Presence(presence) = request(r#"{"id":1,"presence":{"channel":"c"}}"#) else { panic!() };
        let Request::PresenceStats(stats) = request(r#"{"id":1,"presence_stats":{"channel":"d"}}"#) else { panic!() };
        let Request::Unsubscribe(end) = request(r#"{"id":1,"unsubscribe":{"channel":"e"}}"#) else { panic!() };
        let Request::Refresh(refresh) = request(r#"{"id":1,"refresh":{"token":"f"}}"#) else { panic!() };
        let Request::SubRefresh(sub) = request(r#"{"id":1,"sub_refresh":{"channel":"g","token":"h","type":2}}"#) else {
            panic!()
        };
        assert_eq!([presence.channel, stats.channel, end.channel, refresh.token], ["c", "d", "e", "f"]);
        assert_eq!((sub.channel.as_str(), sub.token.as_str(), sub.kind), ("g", "h", 2));
    }

    #[test]
    fn null_counts_as_absent() {
        let Request::Publish(publish) = request(r#"{"id":1,"publish":{"channel":null,"data":null,"type":null}}"#)
        else {
            panic!()
        };
        assert!(publish.data.is_none() && publish.channel.is_empty());
        let line = r#"{"id":1,"subscribe":{"channel":"a","tf":null,"offset":null,"recover":null,"epoch":null}}"#;
        let Request::Subscribe(subscribe) = request(line) else { panic!() };
        assert!(subscribe.tf.is_none() && subscribe.offset == 0);
        assert!(matches!(request(r#"{"id":1,"connect":{"subs":null,"token":null}}"#), Request::Connect(_)));
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        let Request::Connect(_) = request(r#"{"id":1,"x":[],"connect":{"headers":{"a":"b"},"flag":1,"dict":"d"}}"#)
        else {
            panic!()
        };
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(frame in "\\PC*") {
            let _ = parse_frame(&frame);
        }

        #[test]
        fn no_text_made_of_the_protocol_s_pieces_makes_the_parser_panic(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "{", "}", "[", "]", ":", ",", "\n", "\"", "\\", "\\ud800", "null", "true", "1", "-1", "1e999",
                    "\"id\":1", "\"connect\":{}", "\"subscribe\":{", "\"tf\":{", "\"nodes\":[{", "\"channel\":\"a\"",
                    "\"data\":", "\"since\":{", "\"send\":{}", "{\"id\":1,\"rpc\":{}}",
                ]),
                0..40,
            ),
        ) {
            let _ = parse_frame(&pieces.concat());
        }
    }
}
