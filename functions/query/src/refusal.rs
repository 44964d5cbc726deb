use lambda_http::{
    Body, Response,
    http::{
        HeaderValue, StatusCode,
        header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
};
use serde_json::{Value, json};
use signalbox_postgres::Error;

/// Why a request gets no answer.
#[derive(Debug)]
pub(crate) enum Refusal {
    NotFound,
    Method,
    Unauthorized,
    Parameter { name: String, problem: &'static str },
    Database(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

impl Refusal {
    pub(crate) fn parameter_is(name: &str, problem: &'static str) -> Self {
        // Names of our own are short; one from outside comes back cut
        Self::Parameter { name: name.chars().take(40).collect(), problem }
    }

    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::NotFound => 404,
            Self::Method => 405,
            Self::Unauthorized => 401,
            Self::Parameter { .. } => 400,
            Self::Database(Error::Unavailable(_) | Error::Collided(_)) => 503,
            Self::Database(Error::Refused(_) | Error::Failed(_)) => 500,
        }
    }

    /// One of a fixed few: a metric's dimension and a client's switch.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Method => "method_not_allowed",
            Self::Unauthorized => "unauthorized",
            Self::Parameter { .. } => "bad_parameter",
            Self::Database(Error::Unavailable(_) | Error::Collided(_)) => "database_unavailable",
            Self::Database(Error::Refused(_) | Error::Failed(_)) => "internal",
        }
    }

    pub(crate) fn parameter(&self) -> Option<&str> {
        match self {
            Self::Parameter { name, .. } => Some(name),
            _ => None,
        }
    }

    /// What went wrong on our side, for the log alone.
    pub(crate) fn cause(&self) -> Option<String> {
        match self {
            Self::Database(error) => Some(error.to_string()),
            _ => None,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::NotFound => "there is /api/status with /history, /availability, /response and /timeline".to_owned(),
            Self::Method => "only GET".to_owned(),
            Self::Unauthorized => "send the API key as X-API-Key".to_owned(),
            Self::Parameter { name, problem } => format!("{name} {problem}"),
            Self::Database(Error::Unavailable(_) | Error::Collided(_)) => {
                "the record cannot be read now; try again".to_owned()
            }
            Self::Database(Error::Refused(_) | Error::Failed(_)) => "the record cannot be read".to_owned(),
        }
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let mut error = json!({ "code": self.code(), "message": self.message() });
        if let Some(parameter) = self.parameter() {
            error["parameter"] = parameter.into();
        }
        let mut response = respond(self.status(), &json!({ "error": error }));
        let (name, value) = match self.status() {
            401 => (WWW_AUTHENTICATE, "apikey"),
            405 => (ALLOW, "GET"),
            503 => (RETRY_AFTER, "5"),
            _ => return response,
        };
        response.headers_mut().insert(name, HeaderValue::from_static(value));
        response
    }
}

/// A JSON response.
pub(crate) fn respond(status: u16, body: &Value) -> Response<Body> {
    respond_as(status, "application/json", body.to_string())
}

/// A response that nobody on the way keeps.
pub(crate) fn respond_as(status: u16, content_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::Text(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
