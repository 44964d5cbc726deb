use serde::{Serialize, ser::SerializeMap as _};

use crate::{ClientInfo, Disconnect, Json, Publication, Unsubscribed};

/// What the server sends unasked.
#[derive(Debug, Clone)]
pub enum Push<'a> {
    /// A publication in a channel.
    Publication {
        /// The channel.
        channel: &'a str,
        /// The publication.
        publication: &'a Publication,
    },
    /// Somebody subscribed.
    Join {
        /// The channel.
        channel: &'a str,
        /// Who.
        info: &'a ClientInfo,
    },
    /// Somebody's subscription ended.
    Leave {
        /// The channel.
        channel: &'a str,
        /// Whose.
        info: &'a ClientInfo,
    },
    /// The server ended a subscription.
    Unsubscribe {
        /// The channel.
        channel: &'a str,
        /// Why, and whether the SDK subscribes again.
        reason: Unsubscribed,
    },
    /// The server subscribed the connection.
    Subscribe {
        /// The channel.
        channel: &'a str,
        /// The position can be recovered from.
        recoverable: bool,
        /// There is a position.
        positioned: bool,
        /// Epoch of the stream.
        epoch: &'a str,
        /// Top of the stream.
        offset: u64,
        /// What the server API gave along.
        data: Option<&'a Json>,
    },
    /// A message to the connection, outside of channels.
    Message {
        /// Any JSON but null.
        data: &'a Json,
    },
    /// The server gave the connection a new end.
    Refresh {
        /// It has one.
        expires: bool,
        /// Seconds until then; 0 if there is none.
        ttl: u32,
    },
    /// The client is to close the connection itself.
    Disconnect(Disconnect),
}

impl Push<'_> {
    /// One line of a frame.
    pub fn to_line(&self) -> String {
        crate::to_line(self)
    }
}

impl Serialize for Push<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("push", &Body(self))?;
        map.end()
    }
}

/// What stands within `push`.
struct Body<'a>(&'a Push<'a>);

impl Serialize for Body<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Info<'a> {
            info: &'a ClientInfo,
        }
        #[derive(Serialize)]
        struct Message<'a> {
            data: &'a Json,
        }
        #[derive(Serialize)]
        struct Subscribe<'a> {
            #[serde(skip_serializing_if = "crate::is_false")]
            recoverable: bool,
            #[serde(skip_serializing_if = "str::is_empty")]
            epoch: &'a str,
            #[serde(skip_serializing_if = "crate::is_zero")]
            offset: u64,
            #[serde(skip_serializing_if = "crate::is_false")]
            positioned: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            data: Option<&'a Json>,
        }
        #[derive(Serialize)]
        struct Refresh {
            #[serde(skip_serializing_if = "crate::is_false")]
            expires: bool,
            #[serde(skip_serializing_if = "crate::is_zero")]
            ttl: u64,
        }

        let mut map = serializer.serialize_map(None)?;
        match self.0 {
            Push::Publication { channel, publication } => {
                map.serialize_entry("channel", channel)?;
                map.serialize_entry("pub", publication)?;
            }
            Push::Join { channel, info } => {
                map.serialize_entry("channel", channel)?;
                map.serialize_entry("join", &Info { info })?;
            }
            Push::Leave { channel, info } => {
                map.serialize_entry("channel", channel)?;
                map.serialize_entry("leave", &Info { info })?;
            }
            Push::Unsubscribe { channel, reason } => {
                map.serialize_entry("channel", channel)?;
                map.serialize_entry("unsubscribe", reason)?;
            }
            &Push::Subscribe { channel, recoverable, positioned, epoch, offset, data } => {
                map.serialize_entry("channel", channel)?;
                map.serialize_entry("subscribe", &Subscribe { recoverable, epoch, offset, positioned, data })?;
            }
            Push::Message { data } => map.serialize_entry("message", &Message { data })?,
            &Push::Refresh { expires, ttl } => {
                map.serialize_entry("refresh", &Refresh { expires, ttl: ttl.into() })?;
            }
            Push::Disconnect(reason) => map.serialize_entry("disconnect", reason)?,
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    fn json(text: &str) -> Json {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn pushes_look_as_centrifugo_writes_them() {
        let mut publication = Publication::new(json(r#"{"a":1}"#), 5);
        assert_eq!(
            Push::Publication { channel: "status:all", publication: &publication }.to_line(),
            r#"{"push":{"channel":"status:all","pub":{"data":{"a":1},"offset":5}}}"#
        );
        let info =
            ClientInfo { user: String::new(), client: "c".to_owned(), conn_info: Some(json("7")), chan_info: None };
        publication.tags.insert("k".to_owned(), "v".to_owned());
        publication.delta = true;
        publication.info = Some(info.clone());
        assert_eq!(
            Push::Publication { channel: "x", publication: &publication }.to_line(),
            concat!(
                r#"{"push":{"channel":"x","pub":{"data":{"a":1},"offset":5,"#,
                r#""info":{"user":"","client":"c","conn_info":7},"tags":{"k":"v"},"delta":true}}}"#
            )
        );
        assert_eq!(
            Push::Join { channel: "x", info: &info }.to_line(),
            r#"{"push":{"channel":"x","join":{"info":{"user":"","client":"c","conn_info":7}}}}"#
        );
        assert_eq!(
            Push::Leave { channel: "x", info: &ClientInfo { chan_info: Some(json("[]")), ..info.clone() } }.to_line(),
            r#"{"push":{"channel":"x","leave":{"info":{"user":"","client":"c","conn_info":7,"chan_info":[]}}}}"#
        );
        let data = json("{}");
        let bare =
            Push::Subscribe { channel: "x", recoverable: false, positioned: false, epoch: "", offset: 0, data: None };
        assert_eq!(bare.to_line(), r#"{"push":{"channel":"x","subscribe":{}}}"#);
        let (epoch, data_there) = ("e", Some(&data));
        let full =
            Push::Subscribe { channel: "x", recoverable: true, positioned: true, epoch, offset: 9, data: data_there };
        assert_eq!(
            full.to_line(),
            concat!(
                r#"{"push":{"channel":"x","subscribe":"#,
                r#"{"recoverable":true,"epoch":"e","offset":9,"positioned":true,"data":{}}}}"#
            )
        );
        assert_eq!(Push::Message { data: &data }.to_line(), r#"{"push":{"message":{"data":{}}}}"#);
        assert_eq!(
            Push::Unsubscribe { channel: "x", reason: Unsubscribed::INSUFFICIENT_STATE }.to_line(),
            r#"{"push":{"channel":"x","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#
        );
        assert_eq!(
            Push::Refresh { expires: true, ttl: 60 }.to_line(),
            r#"{"push":{"refresh":{"expires":true,"ttl":60}}}"#
        );
        assert_eq!(Push::Refresh { expires: false, ttl: 0 }.to_line(), r#"{"push":{"refresh":{}}}"#);
        assert_eq!(
            Push::Disconnect(Disconnect::INVALID_TOKEN).to_line(),
            r#"{"push":{"disconnect":{"code":3500,"reason":"invalid token"}}}"#
        );
    }

    #[test]
    fn a_payload_with_line_breaks_stays_on_one_line() {
        let publication = Publication::new(json("{\n  \"a\":\n 1\n}"), 0);
        let line = Push::Publication { channel: "x", publication: &publication }.to_line();
        assert_eq!(line, r#"{"push":{"channel":"x","pub":{"data":{  "a": 1}}}}"#);
    }
}
