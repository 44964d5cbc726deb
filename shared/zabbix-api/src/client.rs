use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use http::{
    HeaderValue, Request, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap},
};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json, value::RawValue};
use signalbox_clock::now_ms;
use signalbox_http::HttpsClient;

use crate::{ApiError, Session, Version};

/// A call is answered within this, or it is not: a page of 1,000 problems takes Zabbix some 100 ms.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Largest answer that is read. A page of 1,000 problems with long names, tags and some history has 3 MB.
pub(crate) const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Characters of a foreign answer that are told.
const BEGINNING: usize = 80;

/// An API token of Zabbix (Users, API tokens). Its `Debug` does not tell it.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// `None` if it is empty, or not what can stand in a header.
    pub fn new(token: &str) -> Option<Self> {
        let token = token.trim();
        (!token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic())).then(|| Self(token.to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// One frontend of Zabbix and one token. One for the life of an environment: it keeps its connection.
#[derive(Debug)]
pub struct ZabbixApi {
    http: HttpsClient<Full<Bytes>>,
    url: Uri,
    token: Token,
    next_id: AtomicU64,
}

/// What was answered, and when by the frontend's clock.
pub(crate) struct Answer<T> {
    pub(crate) result: T,
    /// How many milliseconds its clock is ahead of ours, to about a second; `None` without a `Date` header.
    pub(crate) ahead_ms: Option<i64>,
}

/// How a call says who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Auth {
    /// `apiinfo.version` refuses anybody who says so.
    None,
    Bearer,
    Property,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<RpcError>,
    id: Option<Value>,
}

#[derive(Deserialize)]
struct RpcError {
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Value,
}

impl ZabbixApi {
    /// `url` is the frontend's, with or without `api_jsonrpc.php`.
    ///
    /// # Errors
    /// A URL that is none, or an authority file that cannot be read.
    pub fn new(url: &str, token: Token) -> anyhow::Result<Self> {
        let url = url.trim();
        let url = if url.ends_with("/api_jsonrpc.php") {
            url.to_owned()
        } else {
            format!("{}/api_jsonrpc.php", url.trim_end_matches('/'))
        };
        let url: Uri = url.parse().context("not a URL")?;
        anyhow::ensure!(
            matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some(),
            "not an http(s) URL"
        );
        Ok(Self { http: signalbox_http::client()?, url, token, next_id: AtomicU64::new(1) })
    }

    /// Asks for the version, without the token; the calls are the session's. One a poll: Zabbix may be upgraded between
    /// two.
    pub async fn session(&self) -> Result<Session<'_>, ApiError> {
        const METHOD: &str = "apiinfo.version";
        let answer = self.call::<String>(METHOD, json!([]), Auth::None).await?;
        let Ok(version) = answer.result.parse::<Version>() else {
            return Err(ApiError::Unexpected { method: METHOD, reason: self.clean(&answer.result) });
        };
        Ok(Session::new(self, version, answer.ahead_ms))
    }

    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
        auth: Auth,
    ) -> Result<Answer<T>, ApiError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut body = json!({ "jsonrpc": "2.0", "method": method, "params": params, "id": id });
        let mut request = Request::post(self.url.clone()).header(CONTENT_TYPE, "application/json-rpc");
        match auth {
            Auth::None => {}
            Auth::Property => body["auth"] = self.token.0.as_str().into(),
            Auth::Bearer => {
                let bearer = HeaderValue::from_str(&format!("Bearer {}", self.token.0));
                let mut bearer =
                    bearer.map_err(|_| ApiError::TokenRefused("it cannot stand in a header".to_owned()))?;
                bearer.set_sensitive(true);
                request = request.header(AUTHORIZATION, bearer);
            }
        }
        let request = request.body(Full::from(body.to_string())).map_err(|e| ApiError::Unreachable(e.to_string()))?;
        let exchange = tokio::time::timeout(TIMEOUT, self.exchange(method, request)).await;
        let (status, ahead_ms, body) = exchange
            .unwrap_or_else(|_| Err(ApiError::Unreachable(format!("no answer within {} s", TIMEOUT.as_secs()))))?;
        if status != StatusCode::OK {
            return Err(ApiError::Status { status: status.as_u16(), beginning: self.beginning(&body) });
        }
        Ok(Answer { result: self.result(method, id, &body)?, ahead_ms })
    }

    async fn exchange(
        &self,
        method: &'static str,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Option<i64>, Vec<u8>), ApiError> {
        let answer = self.http.request(request).await.map_err(|e| ApiError::Unreachable(self.clean(&causes(&e))))?;
        let (head, body) = answer.into_parts();
        let ahead_ms = ahead_ms(&head.headers);
        let body = read(method, &head.headers, body).await?;
        Ok((head.status, ahead_ms, body))
    }

    fn result<T: DeserializeOwned>(&self, method: &'static str, id: u64, body: &[u8]) -> Result<T, ApiError> {
        let envelope: Envelope = match serde_json::from_slice(body) {
            Ok(envelope) => envelope,
            Err(error) if error.is_eof() && body.trim_ascii_start().starts_with(b"{") => {
                return Err(ApiError::Half { bytes: body.len() });
            }
            Err(error) if error.is_data() => {
                return Err(ApiError::Unexpected { method, reason: "not a JSON-RPC answer".to_owned() });
            }
            Err(_) => return Err(ApiError::NotJson { beginning: self.beginning(body) }),
        };
        if let Some(error) = envelope.error {
            return Err(self.refusal(method, &error));
        }
        // something between that answers from memory would show the same problems for ever
        if envelope.id != Some(id.into()) {
            return Err(ApiError::Unexpected { method, reason: "it answers another request".to_owned() });
        }
        let Some(result) = envelope.result else {
            return Err(ApiError::Unexpected { method, reason: "it has no result".to_owned() });
        };
        serde_json::from_str(result.get())
            .map_err(|error| ApiError::Unexpected { method, reason: self.clean(&error.to_string()) })
    }

    /// By Zabbix's words, for the codes differ between versions and do not tell these apart (Zabbix notes, 4).
    fn refusal(&self, method: &'static str, error: &RpcError) -> ApiError {
        let words = error.data.as_str().unwrap_or(&error.message);
        let reason = self.clean(words);
        let refused = ["Session terminated", "Not authori", "token expired", "token is expired", "re-login"];
        if words.starts_with("No permissions to call") {
            ApiError::NotPermitted { method }
        } else if refused.iter().any(|word| words.contains(word)) {
            ApiError::TokenRefused(reason)
        } else if error.code == -32602 {
            ApiError::ParameterRefused { method, reason }
        } else {
            ApiError::Refused { method, code: error.code, reason }
        }
    }

    fn beginning(&self, body: &[u8]) -> String {
        // cut first: a foreign body may be large
        let cut = &body[..body.len().min(4 * BEGINNING)];
        self.clean(&String::from_utf8_lossy(cut)).chars().take(BEGINNING).collect()
    }

    /// What others wrote, for a log and a board: no control characters, not long, and not our token, whatever they sent
    /// back.
    fn clean(&self, text: &str) -> String {
        let text = text.replace(&self.token.0, "…");
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
        text.trim().to_owned()
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Refused while it is read: an answer of any size costs no more memory than the limit.
async fn read(method: &'static str, headers: &HeaderMap, mut body: Incoming) -> Result<Vec<u8>, ApiError> {
    let too_large = ApiError::TooLarge { method, limit: MAX_ANSWER_BYTES };
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MAX_ANSWER_BYTES) {
        return Err(too_large);
    }
    let mut read = Vec::with_capacity(announced.unwrap_or_default());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::Half { bytes: read.len() })?;
        let Some(data) = frame.data_ref() else { continue };
        if read.len() + data.len() > MAX_ANSWER_BYTES {
            return Err(too_large);
        }
        read.extend_from_slice(data);
    }
    Ok(read)
}

fn ahead_ms(headers: &HeaderMap) -> Option<i64> {
    let date = headers.get(DATE)?.to_str().ok()?;
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    // a whole second: on average it was half of one later
    Some(date.as_millisecond() + 500 - now_ms())
}
