//! The action queue: what viewers ask Zabbix to do with problems (`event.acknowledge`).
//!
//! What comes of it Zabbix tells as any other update, by webhook or poll. What Zabbix does not do is told to the viewers
//! as [`ActionRefused`]; while Zabbix cannot be reached the action is tried again, [`TRIES`] times.
//!
//! In Zabbix all actions are the token's user's. Who it was stands in the comment: `anna: looking into it`.

use anyhow::Context as _;
use futures::future::join_all;
use signalbox_bus::Bus;
use signalbox_lambda::{
    Boot, env,
    sqs::{Outcome, Record},
};
use signalbox_messages::{Action, ActionRefused};
use signalbox_zabbix::{action, api::Event};
use signalbox_zabbix_api::{ApiError, Token, Update, ZabbixApi};
use tracing::{info, warn};

/// How often an action is received before it is given up (template.yaml has as many, and one for the queue).
const TRIES: u32 = 3;

/// What the function keeps between events.
#[derive(Debug)]
pub struct State {
    /// `ZABBIX_API_URL`, `ZABBIX_API_TOKEN`.
    pub zabbix: ZabbixApi,
    /// `EVENT_BUS_NAME`.
    pub bus: Bus,
}

impl State {
    /// Reads the environment.
    ///
    /// # Errors
    /// Names the variable that is missing or not usable.
    pub fn from_env(boot: &Boot) -> anyhow::Result<Self> {
        let token = Token::new(&env::require("ZABBIX_API_TOKEN")?).context("ZABBIX_API_TOKEN is not a token")?;
        let zabbix = ZabbixApi::new(&env::require("ZABBIX_API_URL")?, token).context("ZABBIX_API_URL")?;
        Ok(Self { zabbix, bus: Bus::new(&boot.aws()?, env::require("EVENT_BUS_NAME")?) })
    }
}

/// One batch: one outcome per record, in their order.
///
/// # Errors
/// None; what goes wrong is in the outcomes.
pub async fn handle(state: &State, records: Vec<Record<Action>>) -> anyhow::Result<Vec<Outcome>> {
    Ok(join_all(records.iter().map(|record| act(state, record))).await)
}

async fn act(state: &State, record: &Record<Action>) -> Outcome {
    let Action { id, event_id, .. } = &record.body;
    let Err(error) = ask(state, record).await else {
        metrics::counter!("Acted").increment(1);
        info!(id, event_id, "Zabbix has it");
        return Outcome::Stored;
    };
    let code = error.code();
    metrics::counter!("ActsFailed", "reason" => code).increment(1);
    warn!(id, event_id, code, receives = record.receives, "Zabbix: {error}");
    if is_passing(&error) && record.receives < TRIES {
        return Outcome::Retry(error.to_string());
    }
    let refused = ActionRefused {
        id: id.clone(),
        event_id: event_id.clone(),
        user: record.body.user.clone(),
        reason: error.to_string(),
    };
    match state.bus.put_all(&[refused]).await {
        Ok(()) if is_passing(&error) => Outcome::Never(error.to_string()),
        // the viewer knows, and nobody else could do something about it
        Ok(()) => Outcome::Stored,
        Err(cause) => Outcome::Retry(cause.to_string()),
    }
}

/// Another try may be answered otherwise.
fn is_passing(error: &ApiError) -> bool {
    !matches!(
        error,
        ApiError::Refused { .. }
            | ApiError::NotPermitted { .. }
            | ApiError::ParameterRefused { .. }
            | ApiError::TokenRefused(_)
    )
}

async fn ask(state: &State, record: &Record<Action>) -> Result<(), ApiError> {
    let session = state.zabbix.session().await?;
    let action = &record.body;
    let update = update(action);
    let event_ids = std::slice::from_ref(&action.event_id);
    if record.receives > 1 {
        // by their clock, to the second, and with some room
        let asked_at = (action.requested_at_ms + session.ahead_ms().unwrap_or(0)).div_euclid(1_000) - 2;
        if is_done(&session.events(event_ids).await?, &update, asked_at) {
            // it was done, and the answer lost
            return Ok(());
        }
    }
    session.acknowledge(event_ids, &update).await
}

fn is_done(events: &[Event], update: &Update, asked_at: i64) -> bool {
    let entries = events.iter().flat_map(|event| &event.acknowledges);
    let mut since = entries.filter(|entry| entry.clock >= asked_at);
    since.any(|entry| entry.action == update.action && Some(&entry.message) == update.message.as_ref())
}

fn update(asked: &Action) -> Update {
    let request = &asked.request;
    let bit = |wanted: bool, bit: u32| if wanted { bit } else { 0 };
    let message = match &request.message {
        Some(message) => format!("{}: {}", asked.user, message.trim()),
        None => asked.user.clone(),
    };
    Update {
        action: action::MESSAGE
            | bit(request.acknowledge, action::ACKNOWLEDGE)
            | bit(request.unacknowledge, action::UNACKNOWLEDGE)
            | bit(request.severity.is_some(), action::SEVERITY)
            | bit(request.close, action::CLOSE),
        message: Some(message),
        severity: request.severity,
        suppress_until: None,
    }
}

#[cfg(test)]
mod tests;
