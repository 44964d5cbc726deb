//! Applies the database migrations on deploy, and once a day looks after the record's months.
//!
//! As a CloudFormation custom resource (`Custom::Migrations`): Create and Update migrate to the newest version, Delete leaves the data
//! alone; the answer goes to the request's `ResponseURL`, whatever happens. Any other event, the schedule's or `{}`, does the
//! same and is answered with `{"applied": ["V1__status"], "made": ["2026-12"], "dropped": [], "derived": 0, "forgotten": 0,
//! "summed": 0}`.
//!
//! Months are made ahead and dropped behind here and not in `recorder`, because this login is the one that may make tables.

mod custom_resource;

use std::{panic::AssertUnwindSafe, time::Duration};

use anyhow::{Context as _, bail};
use futures::FutureExt as _;
use serde_json::{Value, json};
use signalbox_lambda::{
    env::{self, EnvError},
    now_ms,
};
use signalbox_postgres::{Config, Database, Upkeep};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::custom_resource::{Request, RequestType, Response};

/// How long the migrations themselves may take.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(90);

/// When CloudFormation is told, whatever the state of things: before the function's timeout of 120 seconds.
const ANSWER_AFTER: Duration = Duration::from_secs(100);

/// What a deploy waits for the record's months, at most.
const UPKEEP_ON_DEPLOY: Duration = Duration::from_secs(20);

/// A database and its proxy that a deploy has just made refuse connections for a while.
const WAIT_FOR_DATABASE: Duration = Duration::from_mins(1);

const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(2);

/// What the handler needs.
#[derive(Debug)]
pub struct State {
    database: anyhow::Result<Database>,
    keep_months: Option<u16>,
    wait: Duration,
}

impl State {
    /// Reads the environment; a configuration that cannot be used is every request's answer.
    pub fn from_env() -> Self {
        let config = Config::for_migrations_from_env().map_err(anyhow::Error::from);
        match keep_months(env::optional("RECORD_RETENTION_MONTHS").as_deref()) {
            Ok(keep_months) => Self { keep_months, ..Self::new(config) },
            Err(cause) => Self::new(Err(cause.into())),
        }
    }

    /// For a configuration that is known.
    pub fn new(config: anyhow::Result<Config>) -> Self {
        let database = config.map(|config| Database::new(config).with_work_timeout(MIGRATION_TIMEOUT));
        Self { database, keep_months: None, wait: WAIT_FOR_DATABASE }
    }

    /// Drops the record's months that are further back than so many; without this everything is kept.
    #[must_use]
    pub fn keeping_months(self, months: u16) -> Self {
        Self { keep_months: Some(months), ..self }
    }

    /// Waits for a database that is not there yet for more or less than a minute.
    #[must_use]
    pub fn with_wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }
}

fn keep_months(text: Option<&str>) -> Result<Option<u16>, EnvError> {
    let Some(text) = text else { return Ok(None) };
    let expected = "a number of months, 0 to keep everything";
    text.parse().map(Some).map_err(|_| EnvError::Invalid { name: "RECORD_RETENTION_MONTHS", expected })
}

/// Answers one event.
///
/// # Errors
/// A custom resource: only if CloudFormation could not be told. Otherwise: what kept the migrations from being applied.
pub async fn handle(state: &State, event: Value) -> anyhow::Result<Value> {
    if event.get("RequestType").is_none() {
        let applied = migrate(state).await?;
        let Upkeep { made, dropped, derived, forgotten } = look_after(state).await?;
        let summed = database(state)?.sum_up(now(), state.keep_months).await?;
        info!(summed, "Summed up {summed} days");
        return Ok(json!({
            "applied": applied, "made": made, "dropped": dropped, "derived": derived, "forgotten": forgotten,
            "summed": summed,
        }));
    }
    let request: Request = serde_json::from_value(event).context("not a request of CloudFormation")?;
    let result = match request.request_type {
        RequestType::Delete => Ok(Vec::new()),
        RequestType::Create | RequestType::Update => {
            let work = AssertUnwindSafe(timeout(ANSWER_AFTER, deploy(state))).catch_unwind().await;
            match work {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(anyhow::anyhow!("not done within {ANSWER_AFTER:?}")),
                Err(_) => Err(anyhow::anyhow!("panic; the log has it")),
            }
        }
    };
    let response = Response::new(&request, &result);
    custom_resource::send(&request.response_url, &response).await?;
    Ok(json!({ "status": response.status, "applied": result.unwrap_or_default() }))
}

/// The migrations decide whether a deploy succeeds; of what follows from them the schedule does the rest.
async fn deploy(state: &State) -> anyhow::Result<Vec<String>> {
    let applied = migrate(state).await?;
    match timeout(UPKEEP_ON_DEPLOY, look_after(state)).await {
        Ok(Ok(_)) => {}
        Ok(Err(cause)) => warn!(cause = %cause, "The record's months are left to the schedule: {cause:#}"),
        Err(_) => warn!("The record's months are left to the schedule: not done within {UPKEEP_ON_DEPLOY:?}"),
    }
    Ok(applied)
}

async fn migrate(state: &State) -> anyhow::Result<Vec<String>> {
    let database = database(state)?;
    let deadline = Instant::now() + state.wait;
    while let Err(cause) = database.connect().await {
        if Instant::now() + BETWEEN_ATTEMPTS > deadline {
            return Err(cause.into());
        }
        warn!(cause = %cause, "The database is not there yet: {cause}");
        sleep(BETWEEN_ATTEMPTS).await;
    }
    let applied = database.migrate().await?;
    info!(applied = ?applied, "Applied {} migrations", applied.len());
    Ok(applied)
}

async fn look_after(state: &State) -> anyhow::Result<Upkeep> {
    let upkeep = database(state)?.keep_months(now(), state.keep_months).await?;
    info!(?upkeep, "Made {} months, dropped {}", upkeep.made.len(), upkeep.dropped.len());
    Ok(upkeep)
}

/// Unix seconds.
fn now() -> i64 {
    now_ms().div_euclid(1_000)
}

fn database(state: &State) -> anyhow::Result<&Database> {
    match &state.database {
        Ok(database) => Ok(database),
        Err(cause) => bail!("{cause}"),
    }
}

#[cfg(test)]
mod tests;
