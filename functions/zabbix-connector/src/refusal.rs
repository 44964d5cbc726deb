use lambda_http::{Body, Response, http::HeaderValue, http::StatusCode, http::header::CONTENT_TYPE};
use serde_json::{Value, json};
use signalbox_auth::BearerError;
use signalbox_bus::PutAllError;
use signalbox_zabbix::{BodyError, RefusedLine};

use crate::listed;

/// Why a request did not become messages on the bus.
pub(crate) enum Refusal {
    NotFound,
    Token(BearerError),
    Encoded,
    Body(BodyError),
    Bus(PutAllError),
    TooSlow,
}

impl From<BearerError> for Refusal {
    fn from(error: BearerError) -> Self {
        Self::Token(error)
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

impl From<PutAllError> for Refusal {
    fn from(error: PutAllError) -> Self {
        Self::Bus(error)
    }
}

impl Refusal {
    fn status(&self) -> u16 {
        match self {
            Self::NotFound => 404,
            Self::Token(_) => 401,
            Self::Encoded => 415,
            Self::Body(BodyError::TooLarge | BodyError::TooManyLines) => 413,
            Self::Body(BodyError::NotNdjson) => 400,
            Self::Body(BodyError::NothingTaken(_)) => 422,
            Self::Bus(_) | Self::TooSlow => 503,
        }
    }

    /// One of a fixed few: a metric's dimension and a client's switch.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Token(BearerError::Missing) => "no_token",
            Self::Token(BearerError::Wrong) => "bad_token",
            Self::Encoded => "encoded",
            Self::Body(BodyError::TooLarge) => "too_large",
            Self::Body(BodyError::TooManyLines) => "too_many_lines",
            Self::Body(BodyError::NotNdjson) => "not_ndjson",
            Self::Body(BodyError::NothingTaken(_)) => "nothing_taken",
            Self::Bus(_) | Self::TooSlow => "bus_unavailable",
        }
    }

    /// The lines at fault.
    pub(crate) fn lines(&self) -> &[RefusedLine] {
        match self {
            Self::Body(BodyError::NothingTaken(refused)) => refused,
            _ => &[],
        }
    }

    /// What went wrong on our side, for the log alone.
    pub(crate) fn cause(&self) -> Option<String> {
        match self {
            Self::Bus(error) => Some(error.to_string()),
            Self::TooSlow => Some("the bus took too long".to_owned()),
            Self::NotFound | Self::Token(_) | Self::Encoded | Self::Body(_) => None,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::NotFound => "a connector posts to /connector/zabbix/events or /connector/zabbix/history".to_owned(),
            Self::Token(error) => error.to_string(),
            Self::Encoded => "the body is compressed; send it as it is".to_owned(),
            Self::Body(error) => error.to_string(),
            Self::Bus(_) | Self::TooSlow => "not all could be passed on; try again".to_owned(),
        }
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let mut error = if self.lines().is_empty() { json!({}) } else { listed(self.lines()) };
        error["code"] = self.code().into();
        error["message"] = self.message().into();
        respond(self.status(), &json!({ "error": error }))
    }
}

/// A JSON response.
pub(crate) fn respond(status: u16, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::Text(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
