use lambda_http::{Body, Response, http::HeaderValue, http::StatusCode, http::header::CONTENT_TYPE};
use serde_json::{Value, json};
use signalbox_auth::SignatureError;
use signalbox_bus::PutError;
use signalbox_zabbix::PayloadError;

/// Why a request did not become a message on the bus.
pub(crate) enum Refusal {
    TooLarge,
    Signature(SignatureError),
    Payload(PayloadError),
    Bus(PutError),
}

impl From<SignatureError> for Refusal {
    fn from(error: SignatureError) -> Self {
        Self::Signature(error)
    }
}

impl From<PayloadError> for Refusal {
    fn from(error: PayloadError) -> Self {
        Self::Payload(error)
    }
}

impl From<PutError> for Refusal {
    fn from(error: PutError) -> Self {
        match error {
            // JSON can grow by being written anew; only the sender can make it smaller
            PutError::TooLarge { .. } => Self::TooLarge,
            PutError::Refused { .. } | PutError::Unavailable(_) => Self::Bus(error),
        }
    }
}

impl Refusal {
    fn status(&self) -> u16 {
        match self {
            Self::TooLarge => 413,
            Self::Signature(_) => 401,
            Self::Payload(PayloadError::NotJson | PayloadError::NotAnObject) => 400,
            Self::Payload(PayloadError::Missing { .. } | PayloadError::Invalid { .. }) => 422,
            Self::Bus(_) => 503,
        }
    }

    /// One of a fixed few: a metric's dimension and a client's switch.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Signature(SignatureError::Missing { .. } | SignatureError::Malformed { .. }) => "unsigned",
            Self::Signature(SignatureError::Mismatch) => "bad_signature",
            Self::Signature(SignatureError::Stale) => "stale",
            Self::Payload(PayloadError::NotJson | PayloadError::NotAnObject) => "not_json",
            Self::Payload(PayloadError::Missing { .. }) => "missing_field",
            Self::Payload(PayloadError::Invalid { .. }) => "invalid_field",
            Self::Bus(_) => "bus_unavailable",
        }
    }

    /// The field of the body that is wrong.
    pub(crate) fn field(&self) -> Option<&'static str> {
        match self {
            Self::Payload(PayloadError::Missing { field } | PayloadError::Invalid { field, .. }) => Some(field),
            Self::Payload(_) | Self::TooLarge | Self::Signature(_) | Self::Bus(_) => None,
        }
    }

    /// What went wrong on our side, for the log alone.
    pub(crate) fn cause(&self) -> Option<String> {
        match self {
            Self::Bus(error) => Some(error.to_string()),
            Self::TooLarge | Self::Signature(_) | Self::Payload(_) => None,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::TooLarge => "the body is larger than 256 KB".to_owned(),
            Self::Signature(error) => error.to_string(),
            Self::Payload(error) => error.to_string(),
            Self::Bus(_) => "the message could not be passed on; try again".to_owned(),
        }
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let mut error = json!({ "code": self.code(), "message": self.message() });
        if let Some(field) = self.field() {
            error["field"] = field.into();
        }
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
