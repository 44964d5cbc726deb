//! `GET /api/status` and `GET /api/status/history`, from Postgres.
//!
//! | path | answer |
//! |---|---|
//! | `/api/status` | `{"problems": [Problem], "totals": {"0": n … "5": n}, "open": n, "internal": n}`; problems worst first |
//! | `/api/status/history?host=&group=&from=&to=&cursor=&limit=` | `{"events": [Event], "cursor"?}`, newest first |
//!
//! A `Problem` is [`signalbox_zabbix::ProblemView`], its `version` counted by this store; an `Event` is
//! [`signalbox_postgres::HistoryEvent`]. `totals` and `open` leave out internal ones ("cannot be evaluated"). `host` is a technical
//! name, `group` a full one; `from` (inclusive) and `to` (exclusive) are unix seconds or RFC 3339; `limit` is 1–500, 100 without it.
//! With `cursor` the rest of the query stays the same.
//!
//! The key comes as `X-API-Key: K`, or as Centrifugo's `Authorization: apikey K`. CORS is the HTTP API's (template.yaml): headers
//! from here would be there twice.
//!
//! | status | code | when |
//! |---|---|---|
//! | 401 | `unauthorized` | no key, or a wrong one |
//! | 400 | `bad_parameter` | `parameter` names the one that is unknown, twice there, or cannot be read |
//! | 404, 405 | `not_found`, `method_not_allowed` | another path, another method than GET |
//! | 503 | `database_unavailable` | with `Retry-After` |

mod parameters;
mod refusal;

use hmac::{Hmac, KeyInit as _, Mac as _};
use lambda_http::{Body, Request, Response, http::Method};
use metrics::counter;
use serde_json::{Value, json};
use sha2::Sha256;
use signalbox_lambda::env::{self, EnvError};
use signalbox_postgres::{Config, Database};
use std::time::Duration;
use tracing::{error, warn};

use crate::{parameters::History, refusal::Refusal};

/// With three seconds to connect and one to see whether an old connection still lives, an answer comes within the function's ten.
const WORK_TIMEOUT: Duration = Duration::from_secs(5);

/// What the handler needs; one for the life of the environment.
#[derive(Debug)]
pub struct State {
    database: Database,
    key: ApiKey,
}

impl State {
    /// `api_key` opens everything here.
    ///
    /// # Errors
    /// An empty key: everybody would have it.
    pub fn new(database: Database, api_key: &str) -> Result<Self, EnvError> {
        let key = ApiKey::new(api_key).ok_or(EnvError::Missing("API_KEY"))?;
        Ok(Self { database: database.with_work_timeout(WORK_TIMEOUT), key })
    }

    /// Reads the environment; does not connect yet.
    ///
    /// # Errors
    /// Names the variable that is missing or not usable.
    pub fn from_env() -> anyhow::Result<Self> {
        Ok(Self::new(Database::new(Config::from_env()?), &env::require("API_KEY")?)?)
    }
}

/// The operator's key; compared in constant time, its length included.
struct ApiKey(Hmac<Sha256>);

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

impl ApiKey {
    fn new(key: &str) -> Option<Self> {
        (!key.is_empty()).then(|| Hmac::new_from_slice(key.as_bytes()).ok()).flatten().map(Self)
    }

    /// Equal keys, and no others, have equal digests of the empty text.
    fn is(&self, given: &str) -> bool {
        Self::new(given).is_some_and(|given| self.0.clone().verify(&given.0.finalize().into_bytes()).is_ok())
    }
}

/// Answers one request.
pub async fn handle(state: &State, request: Request) -> Response<Body> {
    match answer(state, &request).await {
        Ok(body) => refusal::respond(200, &body),
        Err(refusal) => {
            let code = refusal.code();
            counter!("QueryRefused", "reason" => code).increment(1);
            match refusal.cause() {
                Some(cause) if refusal.status() == 500 => error!(code, cause, "Query failed: {cause}"),
                cause => warn!(code, parameter = refusal.parameter(), cause, "Refused a query: {code}"),
            }
            refusal.into_response()
        }
    }
}

async fn answer(state: &State, request: &Request) -> Result<Value, Refusal> {
    // A stage or a custom domain may put something before it.
    let path = request.uri().path().trim_end_matches('/');
    let is_history = path.ends_with("/api/status/history");
    if !is_history && !path.ends_with("/api/status") {
        return Err(Refusal::NotFound);
    }
    if request.method() != Method::GET {
        return Err(Refusal::Method);
    }
    if !given_key(request).is_some_and(|key| state.key.is(key)) {
        return Err(Refusal::Unauthorized);
    }
    let parameters = parameters::of(request.uri().query().unwrap_or_default())?;
    if is_history {
        history(&state.database, History::from(parameters)?).await
    } else {
        status(&state.database, parameters).await
    }
}

fn given_key(request: &Request) -> Option<&str> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    header("x-api-key").or_else(|| {
        let (scheme, key) = header("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("apikey").then(|| key.trim())
    })
}

async fn status(database: &Database, parameters: parameters::Parameters) -> Result<Value, Refusal> {
    parameters.none()?;
    let open = database.status().await?;
    Ok(json!({
        "problems": open.problems,
        "open": open.by_severity.values().sum::<u64>(),
        "totals": open.by_severity,
        "internal": open.internal,
    }))
}

async fn history(database: &Database, history: History) -> Result<Value, Refusal> {
    let page = database.history(&history.filter, history.cursor.as_ref(), history.limit).await?;
    let mut answer = json!({ "events": page.events });
    if let Some(cursor) = page.cursor {
        answer["cursor"] = cursor.encode().into();
    }
    Ok(answer)
}

#[cfg(test)]
mod tests;
