//! `POST /connector/zabbix/events` and `POST /connector/zabbix/history`: what a Zabbix connector streams (6.4 and
//! later) becomes messages on the bus, a `StatusChanged` for each event, `ItemValues` for each host of the item
//! values.
//!
//! The body is NDJSON. Lines that are no event and no item value are told by number, and the others are taken: 200
//! `{"accepted": n, "refused": [{"line", "reason"}], "unlisted"?}` when every line that can be used is on the bus; at
//! most 100 refused ones are listed, `unlisted` counts the rest. Zabbix does not look at that, so they are in the log
//! too.
//!
//! | status | code | when |
//! |---|---|---|
//! | 404 | `not_found` | another path |
//! | 401 | `no_token`, `bad_token` | no `Authorization: Bearer`, or another token |
//! | 415 | `encoded` | the body is compressed. Zabbix never does that; what stands between might |
//! | 413 | `too_large`, `too_many_lines` | over 6 MB, over 10,000 lines |
//! | 400 | `not_ndjson` | there are lines, and none is a JSON object |
//! | 422 | `nothing_taken` | there are objects, and none can be used; `refused` as above |
//! | 503 | `bus_unavailable` | the bus did not take all of it in time |
//!
//! with the body `{"error": {"code", "message", "refused"?}}`, which Zabbix writes into its log.
//!
//! Zabbix repeats a POST that was answered with anything but 2xx, 400, 401, 403, 404, 405, 415 and 422 (7.0; as often
//! as "Attempts" says), and then drops it. Repeating is harmless: a line always becomes the same message with the
//! same id, the state of a problem is a join that knows it already, and item values are published once per id. So a
//! 503 after half of the messages were put loses nothing and doubles nothing.

mod refusal;

use std::time::Duration;

use anyhow::Context as _;
use lambda_http::{
    Body, Request, Response,
    http::header::{AUTHORIZATION, CONTENT_ENCODING},
};
use metrics::counter;
use serde_json::{Value, json};
use signalbox_auth::BearerToken;
use signalbox_bus::Bus;
use signalbox_lambda::{Boot, env, now_ms};
use signalbox_messages::BusDetail;
use signalbox_zabbix::{RefusedLine, Taken, events, item_values};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::refusal::Refusal;

/// Zabbix hangs up after 5 s unless its connector's "Timeout" says otherwise, and then its log has no reason.
const TIME_TO_PUT: Duration = Duration::from_secs(4);

/// How many refused lines are listed in an answer.
const LISTED: usize = 100;

/// What the handler needs; one for the life of the environment.
#[derive(Debug)]
pub struct State {
    /// `ZABBIX_CONNECTOR_TOKEN`.
    pub token: BearerToken,
    /// `EVENT_BUS_NAME`.
    pub bus: Bus,
}

impl State {
    /// Reads the environment.
    ///
    /// # Errors
    /// Names the variable that is missing or not usable.
    pub fn from_env(boot: &Boot) -> anyhow::Result<Self> {
        let token =
            BearerToken::new(&env::require("ZABBIX_CONNECTOR_TOKEN")?).context("ZABBIX_CONNECTOR_TOKEN is empty")?;
        Ok(Self { token, bus: Bus::new(&boot.aws()?, env::require("EVENT_BUS_NAME")?) })
    }
}

/// Answers one request.
pub async fn handle(state: &State, request: Request) -> Response<Body> {
    match accept(state, &request, now_ms()).await {
        Ok(Accepted { lines, messages, refused }) => {
            counter!("Accepted").increment(messages as u64);
            counter!("LinesAccepted").increment(lines as u64);
            info!(lines, messages, "Accepted {lines} lines");
            if !refused.is_empty() {
                counter!("LinesRefused").increment(refused.len() as u64);
                // what stood in a line is text from outside and stays out of the log
                warn!(lines = ?numbers(&refused), refused = refused.len(), "Refused {} lines", refused.len());
            }
            let mut answer = listed(&refused);
            answer["accepted"] = lines.into();
            refusal::respond(200, &answer)
        }
        Err(refusal) => {
            let code = refusal.code();
            counter!("Rejected", "reason" => code).increment(1);
            warn!(code, lines = ?numbers(refusal.lines()), cause = refusal.cause(), "Refused a connector: {code}");
            refusal.into_response()
        }
    }
}

struct Accepted {
    lines: usize,
    messages: usize,
    refused: Vec<RefusedLine>,
}

async fn accept(state: &State, request: &Request, now_ms: i64) -> Result<Accepted, Refusal> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let feed = Feed::at(request.uri().path()).ok_or(Refusal::NotFound)?;
    state.token.verify(header(AUTHORIZATION))?;
    if header(CONTENT_ENCODING).is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(Refusal::Encoded);
    }
    let body: &[u8] = request.body();
    match feed {
        Feed::Events => pass_on(state, events(body, now_ms)?).await,
        Feed::History => pass_on(state, item_values(body, now_ms)?).await,
    }
}

/// What is streamed to a path.
#[derive(Debug, Clone, Copy)]
enum Feed {
    Events,
    History,
}

impl Feed {
    /// A stage or a custom domain may put something before it.
    fn at(path: &str) -> Option<Self> {
        let path = path.trim_end_matches('/');
        if path.ends_with("/connector/zabbix/events") {
            Some(Self::Events)
        } else if path.ends_with("/connector/zabbix/history") {
            Some(Self::History)
        } else {
            None
        }
    }
}

async fn pass_on<T: BusDetail>(state: &State, taken: Taken<T>) -> Result<Accepted, Refusal> {
    let Taken { messages, accepted, refused } = taken;
    timeout(TIME_TO_PUT, state.bus.put_all(&messages)).await.map_err(|_| Refusal::TooSlow)??;
    Ok(Accepted { lines: accepted, messages: messages.len(), refused })
}

/// `{"refused": [{"line", "reason"}], "unlisted"?}`.
fn listed(refused: &[RefusedLine]) -> Value {
    let lines = refused.iter().take(LISTED);
    let lines: Vec<Value> =
        lines.map(|refused| json!({ "line": refused.line, "reason": refused.reason.to_string() })).collect();
    let mut listed = json!({ "refused": lines });
    if let Some(unlisted @ 1..) = refused.len().checked_sub(LISTED) {
        listed["unlisted"] = unlisted.into();
    }
    listed
}

/// The first of them, for the log.
fn numbers(refused: &[RefusedLine]) -> Vec<usize> {
    refused.iter().take(LISTED).map(|refused| refused.line).collect()
}

#[cfg(test)]
mod tests;
