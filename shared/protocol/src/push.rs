use serde::{Serialize, ser::SerializeMap as _};

use crate::{Disconnect, Publication, Unsubscribed};

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
    /// The server ended a subscription.
    Unsubscribe {
        /// The channel.
        channel: &'a str,
        /// Why, and whether the SDK subscribes again.
        reason: Unsubscribed,
    },
    /// The client is to close the connection itself.
    Disconnect(Disconnect),
}

impl Push<'_> {
    /// One line of a frame.
    pub fn to_line(&self) -> String {
        // strings, numbers and raw JSON only: nothing that serde_json could refuse
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Serialize for Push<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            channel: Option<&'a str>,
            #[serde(rename = "pub", skip_serializing_if = "Option::is_none")]
            publication: Option<&'a Publication>,
            #[serde(skip_serializing_if = "Option::is_none")]
            unsubscribe: Option<Unsubscribed>,
            #[serde(skip_serializing_if = "Option::is_none")]
            disconnect: Option<Disconnect>,
        }
        let mut body = Body { channel: None, publication: None, unsubscribe: None, disconnect: None };
        match *self {
            Self::Publication { channel, publication } => {
                body.channel = Some(channel);
                body.publication = Some(publication);
            }
            Self::Unsubscribe { channel, reason } => {
                body.channel = Some(channel);
                body.unsubscribe = Some(reason);
            }
            Self::Disconnect(reason) => body.disconnect = Some(reason),
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("push", &body)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn pushes_look_as_centrifugo_writes_them() {
        let publication = Publication { data: RawValue::from_string(r#"{"a":1}"#.to_owned()).unwrap(), offset: 5 };
        assert_eq!(
            Push::Publication { channel: "status:all", publication: &publication }.to_line(),
            r#"{"push":{"channel":"status:all","pub":{"data":{"a":1},"offset":5}}}"#
        );
        assert_eq!(
            Push::Unsubscribe { channel: "x", reason: Unsubscribed::INSUFFICIENT_STATE }.to_line(),
            r#"{"push":{"channel":"x","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#
        );
        assert_eq!(
            Push::Disconnect(Disconnect::INVALID_TOKEN).to_line(),
            r#"{"push":{"disconnect":{"code":3500,"reason":"invalid token"}}}"#
        );
    }
}
