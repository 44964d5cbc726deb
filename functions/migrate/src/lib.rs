//! Applies the database migrations on deploy.
//!
//! As a CloudFormation custom resource (`Custom::Migrations`): Create and Update migrate to the newest version, Delete leaves the data
//! alone; the answer goes to the request's `ResponseURL`, whatever happens. Any other event, for example `{}`, migrates and is
//! answered with `{"applied": ["V1__status"]}`.

mod custom_resource;

use std::{panic::AssertUnwindSafe, time::Duration};

use anyhow::{Context as _, bail};
use futures::FutureExt as _;
use serde_json::{Value, json};
use signalbox_postgres::{Config, ConfigError, Database};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::custom_resource::{Request, RequestType, Response};

/// How long the migrations themselves may take.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(90);

/// When CloudFormation is told, whatever the state of things: before the function's timeout of 120 seconds.
const ANSWER_AFTER: Duration = Duration::from_secs(100);

/// A database and its proxy that a deploy has just made refuse connections for a while.
const WAIT_FOR_DATABASE: Duration = Duration::from_mins(1);

const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(2);

/// What the handler needs.
#[derive(Debug)]
pub struct State {
    database: Result<Database, ConfigError>,
    wait: Duration,
}

impl State {
    /// Reads the environment; a configuration that cannot be used is every request's answer.
    pub fn from_env() -> Self {
        Self::new(Config::for_migrations_from_env())
    }

    /// For a configuration that is known.
    pub fn new(config: Result<Config, ConfigError>) -> Self {
        let database = config.map(|config| Database::new(config).with_work_timeout(MIGRATION_TIMEOUT));
        Self { database, wait: WAIT_FOR_DATABASE }
    }

    /// Waits for a database that is not there yet for more or less than a minute.
    #[must_use]
    pub fn with_wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }
}

/// Answers one event.
///
/// # Errors
/// A custom resource: only if CloudFormation could not be told. Otherwise: what kept the migrations from being applied.
pub async fn handle(state: &State, event: Value) -> anyhow::Result<Value> {
    if event.get("RequestType").is_none() {
        return Ok(json!({ "applied": migrate(state).await? }));
    }
    let request: Request = serde_json::from_value(event).context("not a request of CloudFormation")?;
    let result = match request.request_type {
        RequestType::Delete => Ok(Vec::new()),
        RequestType::Create | RequestType::Update => {
            let work = AssertUnwindSafe(timeout(ANSWER_AFTER, migrate(state))).catch_unwind().await;
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

async fn migrate(state: &State) -> anyhow::Result<Vec<String>> {
    let database = match &state.database {
        Ok(database) => database,
        Err(cause) => bail!("{cause}"),
    };
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

#[cfg(test)]
mod tests;
