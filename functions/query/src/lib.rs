//! `GET /api/status`, its history and its reports, from Postgres.
//!
//! | path | answer |
//! |---|---|
//! | `/api/status` | `{"problems": [Problem], "totals": {"0": n … "5": n}, "open": n, "internal": n}`; problems worst first |
//! | `/api/status/history?host=&group=&from=&to=&cursor=&limit=` | `{"events": [Event], "cursor"?}`, newest first; each change once, by however many ways it was told |
//! | `/api/status/availability?by=&tag=&severity=&maintenance=&host=&group=&from=&to=&cursor=&limit=&format=` | `{"by", "tag"?, "from", "to", "severity", "maintenance", "rows": [Availability], "cursor"?}`, worst first |
//! | `/api/status/response?by=&tag=&severity=&host=&group=&from=&to=&cursor=&limit=&format=` | `{"by"?, "tag"?, "from", "to", "severity", "rows": [Response], "cursor"?}`; without `by` one row for all |
//! | `/api/status/timeline?host=&from=&to=&cursor=&limit=&format=` | `{"host", "from", "to", "intervals": [TimelineInterval], "cursor"?}`, oldest first |
//!
//! A `Problem` is [`signalbox_zabbix::ProblemView`], its `version` counted by this store; an `Event` is
//! [`signalbox_postgres::HistoryEvent`], and the rows of the reports are [`signalbox_postgres::Availability`],
//! [`signalbox_postgres::Response`] and [`signalbox_postgres::TimelineInterval`]. `totals` and `open` leave out internal ones ("cannot
//! be evaluated"). `host` is a technical name, `group` a full one; `from` (inclusive) and `to` (exclusive) are unix seconds or
//! RFC 3339; `limit` is 1–500, 100 without it. With `cursor` the rest of the query stays the same.
//!
//! Reports: `to` is now without it, and never later; `from` is 30 days before `to` without it. `by` is `host` (availability's default),
//! `group` or `tag` (the values of the tag that `tag` names); `severity` is 0–5, 4 (high) without it, and counts the worse ones, too;
//! `maintenance=include` counts what a maintenance, or somebody by hand, has suppressed, `exclude` (the default) does not.
//! `format=csv`, or `Accept: text/csv`, gives the rows as CSV (RFC 4180); the next page is then in the header `Link`.
//!
//! The key comes as `X-API-Key: K`, or as Centrifugo's `Authorization: apikey K`. A viewer reads with a ticket (rpc
//! `status.ticket` of its connection): `Authorization: Bearer T`. CORS is the HTTP API's (template.yaml): headers
//! from here would be there twice.
//!
//! | status | code | when |
//! |---|---|---|
//! | 401 | `unauthorized` | no key or ticket, or a wrong one |
//! | 400 | `bad_parameter` | `parameter` names the one that is unknown, twice there, or cannot be read |
//! | 404, 405 | `not_found`, `method_not_allowed` | another path, another method than GET |
//! | 503 | `database_unavailable` | with `Retry-After` |

mod csv;
mod parameters;
mod refusal;
mod report;

use lambda_http::{
    Body, Request, Response,
    http::{
        HeaderValue, Method,
        header::{ACCEPT, AUTHORIZATION, LINK},
    },
};
use metrics::counter;
use serde_json::{Value, json};
use signalbox_auth::{SharedKey, TicketKey};
use signalbox_lambda::{
    env::{self, EnvError},
    now_ms,
};
use signalbox_postgres::{Config, Database};
use std::time::Duration;
use tracing::{error, warn};

use crate::{
    parameters::{History, Report, ReportKind},
    refusal::Refusal,
};

/// With three seconds to connect and one to see whether an old connection still lives, an answer comes within the function's ten.
const WORK_TIMEOUT: Duration = Duration::from_secs(5);

/// What the handler needs; one for the life of the environment.
#[derive(Debug)]
pub struct State {
    database: Database,
    key: SharedKey,
    tickets: Option<TicketKey>,
}

impl State {
    /// `api_key` opens everything here.
    ///
    /// # Errors
    /// An empty key: everybody would have it.
    pub fn new(database: Database, api_key: &str) -> Result<Self, EnvError> {
        let key = SharedKey::new(api_key).ok_or(EnvError::Missing("API_KEY"))?;
        Ok(Self { database: database.with_work_timeout(WORK_TIMEOUT), key, tickets: None })
    }

    /// The same for viewers with a ticket, too.
    #[must_use]
    pub fn with_tickets(self, tickets: Option<TicketKey>) -> Self {
        Self { tickets, ..self }
    }

    /// Reads the environment; does not connect yet.
    ///
    /// # Errors
    /// Names the variable that is missing or not usable.
    pub fn from_env() -> anyhow::Result<Self> {
        let tickets = env::optional("TICKET_SECRET").as_deref().and_then(TicketKey::new);
        Ok(Self::new(Database::new(Config::from_env()?), &env::require("API_KEY")?)?.with_tickets(tickets))
    }
}

/// Answers one request.
pub async fn handle(state: &State, request: Request) -> Response<Body> {
    match answer(state, &request).await {
        Ok(Answer::Json(body)) => refusal::respond(200, &body),
        Ok(Answer::Csv { text, cursor }) => table(&request, text, cursor.as_deref()),
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

/// A body.
#[derive(Debug)]
pub(crate) enum Answer {
    Json(Value),
    /// With the place of the next page.
    Csv {
        text: String,
        cursor: Option<String>,
    },
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
enum Route {
    Status,
    History,
    Report(ReportKind),
}

impl Route {
    /// A stage or a custom domain may put something before it.
    fn of(path: &str) -> Option<Self> {
        match path.trim_end_matches('/').rsplit_once("/api/status")?.1 {
            "" => Some(Self::Status),
            "/history" => Some(Self::History),
            "/availability" => Some(Self::Report(ReportKind::Availability)),
            "/response" => Some(Self::Report(ReportKind::Response)),
            "/timeline" => Some(Self::Report(ReportKind::Timeline)),
            _ => None,
        }
    }
}

async fn answer(state: &State, request: &Request) -> Result<Answer, Refusal> {
    let route = Route::of(request.uri().path()).ok_or(Refusal::NotFound)?;
    if request.method() != Method::GET {
        return Err(Refusal::Method);
    }
    if !is_let_in(state, request) {
        return Err(Refusal::Unauthorized);
    }
    let parameters = parameters::of(request.uri().query().unwrap_or_default())?;
    let database = &state.database;
    match route {
        Route::Status => status(database, parameters).await.map(Answer::Json),
        Route::History => history(database, History::from(parameters)?).await.map(Answer::Json),
        Route::Report(kind) => {
            let report = Report::from(parameters, kind, now_ms().div_euclid(1_000), accepts_csv(request))?;
            match kind {
                ReportKind::Availability => report::availability(database, report).await,
                ReportKind::Response => report::response(database, report).await,
                ReportKind::Timeline => report::timeline(database, report).await,
            }
        }
    }
}

/// Named without wildcards: what a browser sends by itself accepts anything.
fn accepts_csv(request: &Request) -> bool {
    let accepted = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = accepted.flat_map(|value| value.split(',')).filter_map(|part| part.split(';').next());
    types.any(|name| name.trim().eq_ignore_ascii_case("text/csv"))
}

/// CSV has no place for a cursor: the next page is a link (RFC 8288), relative to this one.
fn table(request: &Request, text: String, cursor: Option<&str>) -> Response<Body> {
    let mut response = refusal::respond_as(200, "text/csv; charset=utf-8; header=present", text);
    if let Some(cursor) = cursor {
        let query = request.uri().query().unwrap_or_default();
        let kept = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
        let query: Vec<&str> = kept.collect();
        let link = format!("<?{}&cursor={cursor}>; rel=\"next\"", query.join("&"));
        // a query string is visible ASCII
        if let Ok(link) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(LINK, link);
        }
    }
    response
}

fn is_let_in(state: &State, request: &Request) -> bool {
    let bearer = || {
        let (scheme, ticket) = request.headers().get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| ticket.trim())
    };
    given_key(request).is_some_and(|key| state.key.is(key))
        || state
            .tickets
            .as_ref()
            .zip(bearer())
            .is_some_and(|(tickets, ticket)| tickets.is_good(ticket, now_ms() / 1000))
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
