//! CloudFormation's side of a custom resource (user guide, "Custom resource reference").

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use signalbox_http::HttpsClient;
use tokio::time::{sleep, timeout};
use tracing::warn;

/// The same for ever: CloudFormation sends a Delete for an id that an Update no longer names.
const PHYSICAL_ID: &str = "signalbox-migrations";

const ATTEMPTS: u32 = 3;

const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// The answer may have 4,096 bytes.
const REASON_CHARS: usize = 1_000;

/// What CloudFormation asks for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(clippy::struct_field_names, reason = "CloudFormation's names")]
pub(crate) struct Request {
    pub(crate) request_type: RequestType,
    #[serde(rename = "ResponseURL")]
    pub(crate) response_url: String,
    stack_id: String,
    request_id: String,
    logical_resource_id: String,
    physical_resource_id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum RequestType {
    Create,
    Update,
    Delete,
}

/// What it is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Response<'a> {
    pub(crate) status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    physical_resource_id: &'a str,
    stack_id: &'a str,
    request_id: &'a str,
    logical_resource_id: &'a str,
    data: Data,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Data {
    applied: String,
}

impl<'a> Response<'a> {
    pub(crate) fn new(request: &'a Request, result: &anyhow::Result<Vec<String>>) -> Self {
        let reason = result.as_ref().err().map(|cause| format!("{cause:#}").chars().take(REASON_CHARS).collect());
        Self {
            status: if reason.is_none() { "SUCCESS" } else { "FAILED" },
            reason,
            physical_resource_id: request.physical_resource_id.as_deref().unwrap_or(PHYSICAL_ID),
            stack_id: &request.stack_id,
            request_id: &request.request_id,
            logical_resource_id: &request.logical_resource_id,
            data: Data { applied: result.as_ref().map(|applied| applied.join(", ")).unwrap_or_default() },
        }
    }
}

/// PUTs the answer. HTTPS, but for the local cloud whose URL is plain.
pub(crate) async fn send(url: &str, response: &Response<'_>) -> anyhow::Result<()> {
    let body = Bytes::from(serde_json::to_vec(response)?);
    let client: HttpsClient<Full<Bytes>> = signalbox_http::client()?;
    let mut attempt = 1;
    loop {
        // No content type: the signature in the URL is for none.
        let request = http::Request::put(url).body(Full::new(body.clone())).context("ResponseURL")?;
        let cause = match timeout(ATTEMPT_TIMEOUT, client.request(request)).await {
            Ok(Ok(answer)) if answer.status().is_success() => return Ok(()),
            Ok(Ok(answer)) => format!("status {}", answer.status()),
            Ok(Err(cause)) => cause.to_string(),
            Err(_) => format!("no answer within {ATTEMPT_TIMEOUT:?}"),
        };
        if attempt == ATTEMPTS {
            bail!("CloudFormation could not be told {}: {cause}", response.status);
        }
        warn!(attempt, cause, "CloudFormation could not be told; again");
        sleep(Duration::from_secs(1)).await;
        attempt += 1;
    }
}
