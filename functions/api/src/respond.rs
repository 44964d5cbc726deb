use std::fmt;

use lambda_http::{
    Body, Response,
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
    },
};
use serde::Serialize;
use signalbox_protocol::Json;

use crate::refusal::ApiError;

/// Bytes of an answer, escaped as [`payload_bytes`] counts them: a Lambda returns 6 MB (Lambda quotas), its envelope included.
pub(crate) const MAX_ANSWER_BYTES: usize = 5_900_000;

/// Characters of what is told about a malformed body.
const MAX_CAUSE: usize = 300;

/// Bytes that a text takes as a JSON string, which is what it is in a Lambda's response.
pub(crate) fn payload_bytes(text: &str) -> usize {
    text.bytes().map(|byte| if byte == b'"' || byte == b'\\' { 2 } else { 1 }).sum()
}

/// What came of a method.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome<'a> {
    Result(&'a Json),
    Error(ApiError),
}

pub(crate) fn result(result: &Json) -> Response<Body> {
    json(StatusCode::OK, &Outcome::Result(result))
}

pub(crate) fn error(error: ApiError) -> Response<Body> {
    json(StatusCode::OK, &Outcome::Error(error))
}

pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    match serde_json::to_string(body) {
        Ok(text) => with_text(status, "application/json", text),
        Err(cause) => {
            tracing::error!(error = %cause, "answer could not be written");
            internal_error()
        }
    }
}

/// JSON that is written.
pub(crate) fn json_text(text: String) -> Response<Body> {
    with_text(StatusCode::OK, "application/json", text)
}

/// What is wrong with the body of a request, after the words that Centrifugo leaves it at. A cause may quote all of the body.
pub(crate) fn bad_request(method: &'static str, cause: &dyn fmt::Display) -> Response<Body> {
    let cause: String = cause.to_string().chars().take(MAX_CAUSE).collect();
    tracing::warn!(method, cause, "{method} is malformed: {cause}");
    plain(StatusCode::BAD_REQUEST, &format!("Bad Request: {cause}\n"))
}

/// The texts are those of Go's `net/http`.
pub(crate) fn not_found() -> Response<Body> {
    plain(StatusCode::NOT_FOUND, "404 page not found\n")
}

fn internal_error() -> Response<Body> {
    plain(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error\n")
}

pub(crate) fn method_not_allowed() -> Response<Body> {
    let mut response = bare(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    response
}

pub(crate) fn unauthorized() -> Response<Body> {
    bare(StatusCode::UNAUTHORIZED)
}

fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = with_text(status, "text/plain; charset=utf-8", text.to_owned());
    let name = HeaderName::from_static("x-content-type-options");
    response.headers_mut().insert(name, HeaderValue::from_static("nosniff"));
    response
}

fn with_text(status: StatusCode, content_type: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::Text(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
