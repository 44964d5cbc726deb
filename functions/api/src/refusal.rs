use serde::Serialize;
use signalbox_publishing::{HistoryError, PublishError};

/// An error of the server API; codes and words are Centrifugo's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct ApiError {
    pub(crate) code: u32,
    pub(crate) message: &'static str,
}

impl ApiError {
    pub(crate) const INTERNAL: Self = Self { code: 100, message: "internal server error" };
    pub(crate) const UNKNOWN_CHANNEL: Self = Self { code: 102, message: "unknown channel" };
    pub(crate) const NOT_FOUND: Self = Self { code: 104, message: "not found" };
    pub(crate) const BAD_REQUEST: Self = Self { code: 107, message: "bad request" };
    pub(crate) const NOT_AVAILABLE: Self = Self { code: 108, message: "not available" };
    pub(crate) const UNRECOVERABLE_POSITION: Self = Self { code: 112, message: "unrecoverable position" };

    /// Its HTTP status in the error mode `transport`.
    pub(crate) fn status(self) -> u16 {
        match self.code {
            102 | 104 => 404,
            107 | 108 => 400,
            112 => 416,
            _ => 500,
        }
    }
}

/// Why a method has no result: the error, and for the log what exactly is wrong.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) error: ApiError,
    pub(crate) reason: String,
}

impl Refusal {
    pub(crate) fn new(error: ApiError, reason: impl Into<String>) -> Self {
        Self { error, reason: reason.into() }
    }

    pub(crate) fn bad_request(reason: impl Into<String>) -> Self {
        Self::new(ApiError::BAD_REQUEST, reason)
    }
}

impl From<anyhow::Error> for Refusal {
    fn from(cause: anyhow::Error) -> Self {
        Self::new(ApiError::INTERNAL, format!("{cause:#}"))
    }
}

impl From<PublishError> for Refusal {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::TooLarge => Self::bad_request(error.to_string()),
            PublishError::Unexpected(cause) => cause.into(),
        }
    }
}

impl From<HistoryError> for Refusal {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::UnrecoverablePosition => Self::new(ApiError::UNRECOVERABLE_POSITION, error.to_string()),
            HistoryError::Unexpected(cause) => cause.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_centrifugo_s_status_in_transport_mode() {
        let statuses = [
            (ApiError::INTERNAL, 500),
            (ApiError::UNKNOWN_CHANNEL, 404),
            (ApiError::NOT_FOUND, 404),
            (ApiError::BAD_REQUEST, 400),
            (ApiError::NOT_AVAILABLE, 400),
            (ApiError::UNRECOVERABLE_POSITION, 416),
        ];
        for (error, status) in statuses {
            assert_eq!(error.status(), status, "{error:?}");
        }
    }
}
