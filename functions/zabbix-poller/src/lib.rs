//! Every few seconds: what Zabbix says, compared with what is known; the differences go on the bus.
//!
//! A schedule invokes it every minute, and it polls until the minute is nearly over. What is compared and told is
//! `signalbox_zabbix::poll`'s business; how Zabbix is asked, `signalbox_zabbix_api`'s; here is only in what order and
//! how often.
//!
//! After every poll, good or not, a [`ZabbixSeen`] says how Zabbix was found. A poll that comes to nothing tells
//! nothing else: the last good state stays, and the next poll comes later each time.

mod poll;

use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use signalbox_bus::Bus;
use signalbox_connections::StatusTable;
use signalbox_lambda::{Boot, env, now_ms};
use signalbox_messages::{PollFailure, ZabbixSeen};
use signalbox_zabbix_api::{Token, ZabbixApi};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{info, warn};

use crate::poll::{Failure, Minute};

/// How long new polls begin. The next minute's invocation comes after 60 s.
pub const WORK: Duration = Duration::from_secs(55);

/// A poll that is under way when [`WORK`] is over has this to end; the function's time-out (template.yaml, 60 s) comes
/// after it.
const ENDING: Duration = Duration::from_secs(3);

/// A poller that was killed keeps others from polling so long.
const LEASE_MS: i64 = 60_000;

/// How often one that may not poll asks whether it may.
const LEASE_RETRY: Duration = Duration::from_secs(5);

/// What the function keeps between events.
#[derive(Debug)]
pub struct State {
    /// `ZABBIX_API_URL`, `ZABBIX_API_TOKEN`.
    pub zabbix: ZabbixApi,
    /// `STATUS_TABLE`.
    pub status: StatusTable,
    /// `EVENT_BUS_NAME`.
    pub bus: Bus,
    /// `ZABBIX_POLL_SECONDS`: from the beginning of a poll to that of the next.
    pub every: Duration,
    /// This environment, as the lease knows it.
    pub holder: String,
}

impl State {
    /// Reads the environment.
    ///
    /// # Errors
    /// Names the variable that is missing or not usable.
    pub fn from_env(boot: &Boot) -> anyhow::Result<Self> {
        let token = Token::new(&env::require("ZABBIX_API_TOKEN")?).context("ZABBIX_API_TOKEN is not a token")?;
        let zabbix = ZabbixApi::new(&env::require("ZABBIX_API_URL")?, token).context("ZABBIX_API_URL")?;
        let aws = boot.aws()?;
        Ok(Self {
            zabbix,
            status: StatusTable::new(&aws, env::require("STATUS_TABLE")?),
            bus: Bus::new(&aws, env::require("EVENT_BUS_NAME")?),
            every: seconds(env::optional("ZABBIX_POLL_SECONDS").as_deref())?,
            holder: uuid::Uuid::new_v4().to_string(),
        })
    }
}

fn seconds(text: Option<&str>) -> Result<Duration, env::EnvError> {
    let invalid = env::EnvError::Invalid { name: "ZABBIX_POLL_SECONDS", expected: "a number from 1 to 60" };
    match text.unwrap_or("10").parse() {
        Ok(seconds @ 1..=60) => Ok(Duration::from_secs(seconds)),
        _ => Err(invalid),
    }
}

/// A schedule's event; nothing of it matters here.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Tick {}

/// One minute's polls.
///
/// # Errors
/// The last poll's, if it was ours to mend (the table, the bus). What is wrong with Zabbix is told, and no error.
pub async fn handle(state: &State, _: Tick) -> anyhow::Result<()> {
    let until = Instant::now() + WORK;
    let mut minute = Minute::default();
    let mut failures = 0_u32;
    let mut outcome = Ok(());
    while Instant::now() < until {
        if !lease(state).await? {
            // it may have been killed: then its lease ends within the minute
            sleep_until(Instant::now() + LEASE_RETRY).await;
            continue;
        }
        let began = Instant::now();
        let polled = timeout_at(until + ENDING, poll(state, &mut minute)).await;
        (outcome, failures) = match polled.unwrap_or(Ok(Outcome::Failed)) {
            Ok(Outcome::Good) => (Ok(()), 0),
            Ok(Outcome::Failed) => (Ok(()), failures + 1),
            Err(cause) => {
                warn!(error = format!("{cause:#}"), "poll failed");
                (Err(cause), failures + 1)
            }
        };
        // an outage is not to be made worse: twice, four times, eight times as long
        let next = (began + state.every * (1 << failures.min(3))).max(Instant::now());
        if next >= until {
            break;
        }
        sleep_until(next).await;
    }
    state.status.end_poll(&state.holder).await?;
    outcome
}

async fn lease(state: &State) -> anyhow::Result<bool> {
    let now_ms = now_ms();
    let is_ours = state.status.lease_poll(&state.holder, now_ms, now_ms + LEASE_MS).await?;
    if !is_ours {
        info!("another poller is at work");
    }
    Ok(is_ours)
}

enum Outcome {
    Good,
    /// Zabbix's part; it has been told.
    Failed,
}

/// One poll, and the word of how it went.
async fn poll(state: &State, minute: &mut Minute) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    let at_ms = now_ms();
    let (seen, outcome) = match poll::poll(state, minute, at_ms).await {
        Ok(seen) => {
            minute.last_good = Some(seen.clone());
            (seen, Outcome::Good)
        }
        Err(Failure::Zabbix(error)) => {
            let code = error.code();
            metrics::counter!("PollsFailed", "reason" => code).increment(1);
            warn!(code, "Zabbix: {error}");
            // without it the failure alone is told
            let last = poll::last_seen(state, minute).await.unwrap_or_default();
            let failure = PollFailure { code: code.to_owned(), message: error.to_string() };
            let seen = ZabbixSeen { at_ms, failure: Some(failure), ..last.unwrap_or_default() };
            (seen, Outcome::Failed)
        }
        Err(Failure::Ours(cause)) => return Err(cause),
    };
    state.bus.put_all(&[seen]).await.context("tell how Zabbix was found")?;
    #[expect(clippy::cast_precision_loss, reason = "milliseconds")]
    metrics::histogram!("PollTook").record(began.elapsed().as_millis() as f64);
    Ok(outcome)
}

#[cfg(test)]
mod tests;
