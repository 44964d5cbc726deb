use serde::Deserialize;

use super::Empty;
use crate::{
    decode,
    refusal::{ApiError, Refusal},
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Request {
    #[serde(deserialize_with = "decode::or_default")]
    method: String,
}

/// There are no extensions, so no method exists.
pub(super) fn run(request: &Request) -> Result<Empty, Refusal> {
    if request.method.is_empty() {
        return Err(Refusal::bad_request("method required"));
    }
    Err(Refusal::new(ApiError::NOT_FOUND, "there are no rpc extensions"))
}
