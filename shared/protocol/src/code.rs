use serde::Serialize;

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
    /// The wanted position can no longer be recovered from.
    pub const UNRECOVERABLE_POSITION: Self = Self { code: 112, message: "unrecoverable position", temporary: false };
}

/// Why a connection is ended, sent as a `disconnect` push because API Gateway cannot close with a code: a bare close makes
/// every SDK reconnect for ever. 3000–3499 and 4000–4499 reconnect, 3500–3999 and 4500–4999 are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Disconnect {
    /// See the ranges above.
    pub code: u32,
    /// For people.
    pub reason: &'static str,
}

impl Disconnect {
    /// The connection's token has expired; the SDK reconnects and asks for a new one.
    pub const EXPIRED: Self = Self { code: 3005, reason: "connection expired" };
    /// The token is not one of ours.
    pub const INVALID_TOKEN: Self = Self { code: 3500, reason: "invalid token" };
    /// What came is not the protocol.
    pub const BAD_REQUEST: Self = Self { code: 3501, reason: "bad request" };
    /// The frame is larger than API Gateway takes.
    pub const TOO_BIG: Self = Self { code: 3501, reason: "bad request: frame over 32 KB" };
    /// Only JSON in text frames is spoken here.
    pub const INAPPROPRIATE_PROTOCOL: Self = Self { code: 3506, reason: "inappropriate protocol" };
    /// The command has no handler and no reply that could say so.
    pub const NOT_AVAILABLE: Self = Self { code: 3508, reason: "not available" };
}

/// Why a subscription is ended by the server. Below 2500 for good; from 2500 the SDK subscribes again and recovers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Unsubscribed {
    /// 2000–2999.
    pub code: u32,
    /// For people.
    pub reason: &'static str,
}

impl Unsubscribed {
    /// Publications may have been missed: subscribe again and recover.
    pub const INSUFFICIENT_STATE: Self = Self { code: 2500, reason: "insufficient state" };
}
