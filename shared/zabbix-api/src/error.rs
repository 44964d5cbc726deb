use thiserror::Error;

/// Why a call has no answer. No text has the token in it, nor a control character.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ApiError {
    /// No connection, or no answer within the time there is.
    #[error("Zabbix's frontend cannot be reached: {0}")]
    Unreachable(String),
    /// The web server, or something in front of it, answered with this status. Zabbix itself answers 200, errors
    /// included.
    #[error("HTTP status {status} in place of an answer: {beginning:?}")]
    Status {
        /// HTTP status.
        status: u16,
        /// The first 80 characters of the body.
        beginning: String,
    },
    /// Often the page of a proxy, or of the frontend where the URL is not that of `api_jsonrpc.php`.
    #[error("not JSON, so not Zabbix's API: {beginning:?}")]
    NotJson {
        /// The first 80 characters.
        beginning: String,
    },
    /// It ended in the middle.
    #[error("half an answer: it ended after {bytes} bytes")]
    Half {
        /// How many there were.
        bytes: usize,
    },
    /// More than is read; the rest was not.
    #[error("the answer to {method} is larger than {limit} bytes")]
    TooLarge {
        /// For example `problem.get`.
        method: &'static str,
        /// Bytes.
        limit: usize,
    },
    /// Wrong, revoked, expired, or of a disabled user.
    #[error("Zabbix does not take the token: {0}")]
    TokenRefused(String),
    /// The user's role does not allow the method.
    #[error("the token's user may not call {method}")]
    NotPermitted {
        /// For example `hanode.get`.
        method: &'static str,
    },
    /// A parameter is not one of this version.
    #[error("{method} refused a parameter: {reason}")]
    ParameterRefused {
        /// For example `problem.get`.
        method: &'static str,
        /// Zabbix's words.
        reason: String,
    },
    /// Any other error of the API.
    #[error("{method} failed with {code}: {reason}")]
    Refused {
        /// For example `problem.get`.
        method: &'static str,
        /// JSON-RPC's, for example -32500.
        code: i64,
        /// Zabbix's words.
        reason: String,
    },
    /// No host at all. Whoever may see nothing is answered with empty lists, as if all were well.
    #[error("the token's user sees no host: have its rights on the host groups been taken away?")]
    NothingVisible,
    /// JSON, but not what the method answers.
    #[error("the answer to {method} is not one of Zabbix's: {reason}")]
    Unexpected {
        /// For example `problem.get`.
        method: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl ApiError {
    /// One of a fixed few: a metric's dimension, and what a board shows.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Status { .. } => "http_status",
            Self::NotJson { .. } => "not_json",
            Self::Half { .. } => "half_an_answer",
            Self::TooLarge { .. } => "too_large",
            Self::TokenRefused(_) => "token_refused",
            Self::NotPermitted { .. } => "not_permitted",
            Self::ParameterRefused { .. } => "parameter_refused",
            Self::Refused { .. } => "refused",
            Self::NothingVisible => "nothing_visible",
            Self::Unexpected { .. } => "unexpected_answer",
        }
    }
}
