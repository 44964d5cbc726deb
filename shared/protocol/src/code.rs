use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// An error in a reply. What an SDK does with it hangs on the command and on `temporary` (Centrifugo docs, "Client protocol
/// codes"): a temporary one is retried with backoff, 109 asks for a new token, anything else is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ErrorCode {
    /// 100–399 are the protocol's, 400–1999 an application's.
    pub code: u32,
    /// For people.
    pub message: &'static str,
    /// Whether the SDK tries again by itself.
    #[serde(skip_serializing_if = "crate::is_false")]
    pub temporary: bool,
}

impl ErrorCode {
    /// Ours: something failed that may not fail again.
    pub const INTERNAL: Self = Self { code: 100, message: "internal server error", temporary: true };
    /// Not authenticated.
    pub const UNAUTHORIZED: Self = Self { code: 101, message: "unauthorized", temporary: false };
    /// The channel's namespace does not exist.
    pub const UNKNOWN_CHANNEL: Self = Self { code: 102, message: "unknown channel", temporary: false };
    /// Not allowed.
    pub const PERMISSION_DENIED: Self = Self { code: 103, message: "permission denied", temporary: false };
    /// No such command or rpc method.
    pub const METHOD_NOT_FOUND: Self = Self { code: 104, message: "method not found", temporary: false };
    /// The connection is subscribed to the channel.
    pub const ALREADY_SUBSCRIBED: Self = Self { code: 105, message: "already subscribed", temporary: false };
    /// Too many channels on one connection.
    pub const LIMIT_EXCEEDED: Self = Self { code: 106, message: "limit exceeded", temporary: false };
    /// Malformed.
    pub const BAD_REQUEST: Self = Self { code: 107, message: "bad request", temporary: false };
    /// Known, but not offered.
    pub const NOT_AVAILABLE: Self = Self { code: 108, message: "not available", temporary: false };
    /// The token has expired; the SDK asks for a new one.
    pub const TOKEN_EXPIRED: Self = Self { code: 109, message: "token expired", temporary: false };
    /// The connection or subscription has expired, and no token is involved.
    pub const EXPIRED: Self = Self { code: 110, message: "expired", temporary: false };
    /// Too much at once.
    pub const TOO_MANY_REQUESTS: Self = Self { code: 111, message: "too many requests", temporary: true };
    /// The wanted position can no longer be recovered from.
    pub const UNRECOVERABLE_POSITION: Self = Self { code: 112, message: "unrecoverable position", temporary: false };
    /// Client protocol: pages of one map are asked for at the same time. The server API calls its 113 "conflict".
    pub const CONCURRENT_PAGINATION: Self = Self { code: 113, message: "concurrent pagination", temporary: true };
}

/// Why a connection is ended, sent as a `disconnect` push because API Gateway cannot close with a code: a bare close makes
/// every SDK reconnect for ever. 3000–3499 and 4000–4499 reconnect, 3500–3999 and 4500–4999 are final.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disconnect {
    /// See the ranges above.
    pub code: u32,
    /// For people. Always written, empty or not: centrifuge-python reads it unasked.
    #[serde(default)]
    pub reason: Cow<'static, str>,
}

impl Disconnect {
    /// The connection is closed, for no reason of the server's.
    pub const CONNECTION_CLOSED: Self = Self::known(3000, "connection closed");
    /// The server is going down.
    pub const SHUTDOWN: Self = Self::known(3001, "shutdown");
    /// Something of ours failed.
    pub const SERVER_ERROR: Self = Self::known(3004, "internal server error");
    /// The connection's token has expired; the SDK reconnects and asks for a new one.
    pub const EXPIRED: Self = Self::known(3005, "connection expired");
    /// A subscription has expired.
    pub const SUBSCRIPTION_EXPIRED: Self = Self::known(3006, "subscription expired");
    /// The client does not read fast enough.
    pub const SLOW: Self = Self::known(3008, "slow");
    /// Could not write to the client.
    pub const WRITE_ERROR: Self = Self::known(3009, "write error");
    /// A server-side subscription has missed something; the SDK reconnects and recovers.
    pub const INSUFFICIENT_STATE: Self = Self::known(3010, "insufficient state");
    /// The SDK is to reconnect, as before API Gateway's limit of 2 hours.
    pub const FORCE_RECONNECT: Self = Self::known(3011, "force reconnect");
    /// No answer to a ping.
    pub const NO_PONG: Self = Self::known(3012, "no pong");
    /// Too many commands.
    pub const TOO_MANY_REQUESTS: Self = Self::known(3013, "too many requests");
    /// The SDK is to drop its token and positions before it reconnects.
    pub const STATE_INVALIDATED: Self = Self::known(3014, "state invalidated");
    /// The token is not one of ours.
    pub const INVALID_TOKEN: Self = Self::known(3500, "invalid token");
    /// What came is not the protocol.
    pub const BAD_REQUEST: Self = Self::known(3501, "bad request");
    /// The frame is larger than API Gateway takes.
    pub const TOO_BIG: Self = Self::known(3501, "bad request: frame over 32 KB");
    /// No `connect` within `client.stale_close_delay`.
    pub const STALE: Self = Self::known(3502, "stale");
    /// Ended through the server API; its default.
    pub const FORCE_NO_RECONNECT: Self = Self::known(3503, "force disconnect");
    /// Too many connections.
    pub const CONNECTION_LIMIT: Self = Self::known(3504, "connection limit");
    /// Too many channels on the connection.
    pub const CHANNEL_LIMIT: Self = Self::known(3505, "channel limit");
    /// Only JSON in text frames is spoken here.
    pub const INAPPROPRIATE_PROTOCOL: Self = Self::known(3506, "inappropriate protocol");
    /// Not allowed to be here.
    pub const PERMISSION_DENIED: Self = Self::known(3507, "permission denied");
    /// The command has no handler and no reply that could say so.
    pub const NOT_AVAILABLE: Self = Self::known(3508, "not available");
    /// Too many commands that failed.
    pub const TOO_MANY_ERRORS: Self = Self::known(3509, "too many errors");

    /// One with an application's own code, as the server API may ask for.
    pub fn new(code: u32, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code, reason: reason.into() }
    }

    const fn known(code: u32, reason: &'static str) -> Self {
        Self { code, reason: Cow::Borrowed(reason) }
    }

    /// Whether an SDK connects again after it.
    pub const fn reconnects(&self) -> bool {
        !matches!(self.code, 3500..=3999 | 4500..=4999)
    }
}

/// Why a subscription is ended by the server. Below 2500 for good; from 2500 the SDK subscribes again and recovers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsubscribed {
    /// 2000–2999.
    pub code: u32,
    /// For people. Always written, empty or not: centrifuge-python reads it unasked.
    #[serde(default)]
    pub reason: Cow<'static, str>,
}

impl Unsubscribed {
    /// Ended through the server API.
    pub const SERVER: Self = Self::known(2000, "server unsubscribe");
    /// Publications may have been missed: subscribe again and recover.
    pub const INSUFFICIENT_STATE: Self = Self::known(2500, "insufficient state");
    /// The subscription's token has expired: subscribe again with a new one.
    pub const EXPIRED: Self = Self::known(2501, "subscription expired");
    /// The SDK is to drop token and position before it subscribes again.
    pub const STATE_INVALIDATED: Self = Self::known(2502, "state invalidated");

    /// One with an application's own code, as the server API may ask for.
    pub fn new(code: u32, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code, reason: reason.into() }
    }

    const fn known(code: u32, reason: &'static str) -> Self {
        Self { code, reason: Cow::Borrowed(reason) }
    }

    /// Whether an SDK subscribes again after it.
    pub const fn resubscribes(&self) -> bool {
        self.code >= 2500
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_written_even_when_it_is_empty() {
        assert_eq!(serde_json::to_string(&Disconnect::new(4000, "")).unwrap(), r#"{"code":4000,"reason":""}"#);
        assert_eq!(serde_json::to_string(&Unsubscribed::new(2100, "")).unwrap(), r#"{"code":2100,"reason":""}"#);
    }

    #[test]
    fn the_ranges_of_codes_say_what_an_sdk_does() {
        let again = [3000, 3499, 4000, 4499, 5000].map(|code| Disconnect::new(code, "").reconnects());
        assert_eq!(again, [true; 5]);
        let never = [3500, 3999, 4500, 4999].map(|code| Disconnect::new(code, "").reconnects());
        assert_eq!(never, [false; 4]);
        assert!(!Unsubscribed::SERVER.resubscribes() && Unsubscribed::INSUFFICIENT_STATE.resubscribes());
    }

    #[test]
    fn a_disconnect_survives_a_queue() {
        let read: Disconnect = serde_json::from_str(r#"{"code":4501,"reason":"bye"}"#).unwrap();
        assert_eq!(read, Disconnect::new(4501, "bye"));
        let bare: Disconnect = serde_json::from_str(r#"{"code":4501}"#).unwrap();
        assert_eq!(bare, Disconnect::new(4501, ""));
    }
}
