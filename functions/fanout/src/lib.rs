//! The fan-out queue: posts publications to the shards of big channels.
//!
//! Tasks of one shard are a message group and are done one after the other; groups are done side by side. A task that fails, fails
//! those of its group behind it: SQS brings them again in their order. What can never be done goes to the dead letter queue at
//! once, with the reason: waiting there it would hold up its group.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use signalbox_channels::ChannelsConfig;
use signalbox_connections::ConnectionTable;
use signalbox_lambda::{
    Boot, env,
    sqs::{Outcome, Record},
};
use signalbox_publishing::{ApiGateway, FanOut, FanOutTask, Gateway, Publisher};
use signalbox_queues::{FifoMessage, Queue};
use tracing::{error, info, warn};

/// A task that fails comes back after the queue's visibility time-out, and its shard waits as long: it is worth another try here.
const TRIES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// What the function keeps between events.
#[derive(Debug)]
pub struct State {
    /// The table and the way to the viewers.
    pub publisher: Publisher,
    /// Namespaces.
    pub channels: Arc<ChannelsConfig>,
    /// Where tasks go that can never be done.
    pub dead_letters: Option<Queue>,
}

impl State {
    /// `CONNECTION_TABLE`, `CONNECTIONS_ENDPOINT`, `FANOUT_QUEUE_URL`, `DEAD_LETTER_QUEUE_URL`, and `channels.json` beside the
    /// binary.
    pub async fn from_env(boot: &Boot) -> anyhow::Result<Self> {
        let aws = boot.aws()?;
        let table = ConnectionTable::new(&aws, env::require("CONNECTION_TABLE")?);
        let gateway = ApiGateway::new(&aws, &env::require("CONNECTIONS_ENDPOINT")?).await?;
        let channels = Arc::new(ChannelsConfig::parse(&signalbox_lambda::task_file("channels.json")?)?);
        Ok(Self {
            publisher: Publisher::new(table, Gateway::ApiGateway(Box::new(gateway)))
                .with_fan_out(FanOut::new(&aws, env::optional("FANOUT_QUEUE_URL")))
                .with_channels(Arc::clone(&channels)),
            channels,
            dead_letters: env::optional("DEAD_LETTER_QUEUE_URL").map(|url| Queue::new(&aws, url)),
        })
    }
}

/// A message of the queue.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Task {
    /// One that we know.
    Known(FanOutTask),
    /// One that another version of us has sent, or somebody else.
    Unknown(Value),
}

/// Does one batch: one outcome per record, in their order.
///
/// # Errors
/// None; what goes wrong is in the outcomes.
pub async fn handle(state: &State, records: Vec<Record<Task>>) -> anyhow::Result<Vec<Outcome>> {
    let mut groups: Vec<(Option<Group>, Vec<usize>)> = Vec::new();
    for (at, record) in records.iter().enumerate() {
        let group = Group::of(&record.body);
        match groups.iter_mut().find(|(known, _)| *known == group) {
            Some((_, members)) => members.push(at),
            None => groups.push((group, vec![at])),
        }
    }
    let records = &records;
    let done: Vec<_> = stream::iter(groups)
        .map(|(_, members)| async move { one_after_the_other(state, records, members).await })
        .buffer_unordered(records.len().max(1))
        .collect()
        .await;
    let mut outcomes = vec![Outcome::Retry("no outcome".to_owned()); records.len()];
    for (at, outcome) in done.into_iter().flatten() {
        outcomes[at] = outcome;
    }
    let failed = outcomes.iter().filter(|outcome| **outcome != Outcome::Stored).count();
    info!(done = outcomes.len() - failed, failed, "tasks");
    Ok(outcomes)
}

/// What SQS keeps in order: the records do not tell their group, but it follows from the task.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    channel: String,
    shard: Option<u32>,
}

impl Group {
    fn of(task: &Task) -> Option<Self> {
        match task {
            Task::Known(FanOutTask::Shard { channel, shard, .. }) => {
                Some(Self { channel: channel.clone(), shard: Some(*shard) })
            }
            Task::Known(FanOutTask::Deliver { channel }) => Some(Self { channel: channel.clone(), shard: None }),
            Task::Unknown(_) => None,
        }
    }
}

async fn one_after_the_other(state: &State, records: &[Record<Task>], members: Vec<usize>) -> Vec<(usize, Outcome)> {
    let mut outcomes = Vec::with_capacity(members.len());
    let mut failed = false;
    for at in members {
        let record = &records[at];
        let outcome = match &record.body {
            Task::Known(_) if failed => Outcome::Retry("a task of its group before it failed".to_owned()),
            Task::Known(task) => work(state, task, record.receives > 1).await,
            Task::Unknown(task) => bury(state, &record.message_id, task).await,
        };
        failed |= matches!(outcome, Outcome::Retry(_));
        outcomes.push((at, outcome));
    }
    outcomes
}

async fn work(state: &State, task: &FanOutTask, mut again: bool) -> Outcome {
    let mut pauses = TRIES.iter();
    loop {
        let Err(cause) = state.publisher.work(&state.channels, task, again).await else {
            metrics::counter!("TasksDone").increment(1);
            return Outcome::Stored;
        };
        let cause = format!("{cause:#}");
        let Some(pause) = pauses.next() else {
            metrics::counter!("TasksFailed").increment(1);
            return Outcome::Retry(cause);
        };
        warn!(error = cause, "task is tried again");
        again = true;
        tokio::time::sleep(*pause).await;
    }
}

/// Into the dead letter queue, in a message that says why. (`signalbox_lambda::sqs` would send it without a message group.)
async fn bury(state: &State, message_id: &str, task: &Value) -> Outcome {
    let reason = "not a task of this version";
    metrics::counter!("TasksFailed").increment(1);
    let Some(queue) = &state.dead_letters else { return Outcome::Never(reason.to_owned()) };
    let message = FifoMessage {
        body: json!({ "reason": reason, "message_id": message_id, "task": task }).to_string(),
        group: "dead".to_owned(),
        deduplication: message_id.to_owned(),
    };
    match queue.send_fifo(&[message]).await {
        Ok(()) => {
            error!(message_id, reason, "task can never be done");
            Outcome::Stored
        }
        Err(cause) => Outcome::Never(format!("{reason}; the dead letter queue did not take it: {cause:#}")),
    }
}

#[cfg(test)]
mod tests;
