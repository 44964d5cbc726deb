//! The record queue into Postgres, in batches.
//!
//! A queue message is the EventBridge event of a [`StatusChanged`]. Each is stored exactly once, however often and in whatever
//! order it comes ([`Database::record`]); what Postgres can never hold goes to the dead letter queue with the reason, what it
//! cannot hold now comes back.

use metrics::{counter, histogram};
use signalbox_lambda::{
    now_ms,
    sqs::{Outcome, Record},
};
use signalbox_messages::{BusEvent, STATUS_CHANGED, StatusChanged};
use signalbox_postgres::{Config, Database, Recorded};
use tracing::info;

/// What the handler needs; one for the life of the environment.
#[derive(Debug)]
pub struct State {
    /// The record.
    pub database: Database,
}

impl State {
    /// Reads the environment; does not connect yet.
    ///
    /// # Errors
    /// Names the variable that is missing or not usable.
    pub fn from_env() -> anyhow::Result<Self> {
        Ok(Self { database: Database::new(Config::from_env()?) })
    }
}

/// Records one batch: one outcome per record, in their order.
///
/// # Errors
/// None; what goes wrong is in the outcomes.
pub async fn handle(state: &State, records: Vec<Record<BusEvent<StatusChanged>>>) -> anyhow::Result<Vec<Outcome>> {
    let changes: Vec<StatusChanged> = records
        .iter()
        .map(|record| &record.body)
        .filter(|event| is_ours(event))
        .map(|event| event.detail.clone())
        .collect();
    let mut recorded = state.database.record(&changes).await.into_iter();
    let now = now_ms();
    let outcomes: Vec<Outcome> = records
        .iter()
        .map(|record| {
            if !is_ours(&record.body) {
                counter!("RecordFailed").increment(1);
                return Outcome::Never(format!(
                    "detail-type is {:?} and not {STATUS_CHANGED}",
                    record.body.detail_type
                ));
            }
            let recorded = recorded.next().unwrap_or_else(|| Recorded::Retry("no outcome".to_owned()));
            outcome(recorded, &record.body.detail, now)
        })
        .collect();
    let stored = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Stored)).count();
    info!(stored, failed = outcomes.len() - stored, "Recorded {stored} of {}", outcomes.len());
    Ok(outcomes)
}

fn is_ours(event: &BusEvent<StatusChanged>) -> bool {
    event.detail_type == STATUS_CHANGED
}

fn outcome(recorded: Recorded, change: &StatusChanged, now_ms: i64) -> Outcome {
    match recorded {
        // A repetition counts as nothing: the figures are of messages, not of deliveries.
        Recorded::Stored { first } => {
            if first {
                counter!("Recorded").increment(1);
                #[expect(clippy::cast_precision_loss, reason = "milliseconds of latency")]
                histogram!("AcceptedToRecorded").record((now_ms - change.accepted_at_ms).max(0) as f64);
            }
            Outcome::Stored
        }
        Recorded::Retry(reason) => {
            counter!("RecordRetried").increment(1);
            Outcome::Retry(reason)
        }
        Recorded::Never(reason) => {
            counter!("RecordFailed").increment(1);
            Outcome::Never(reason)
        }
    }
}

#[cfg(test)]
mod tests;
