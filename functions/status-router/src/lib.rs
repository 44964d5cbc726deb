//! `StatusChanged` from the bus: merged into the problem's state and published.
//!
//! Any message may come late, twice or out of order; the state does not mind, and a repetition publishes nothing new but makes
//! sure that what it repeats was delivered. An error is the invocation's: Lambda tries the event twice more and then puts it
//! into the dead letter queue.

use anyhow::Context as _;
use futures::future::join_all;
use serde::Serialize;
use signalbox_channels::{ChannelName, ChannelsConfig, status_channels};
use signalbox_connections::{ConnectionTable, StatusTable};
use signalbox_lambda::{Boot, env, now_ms};
use signalbox_messages::{BusEvent, ChangeKind, StatusChanged};
use signalbox_publishing::{ApiGateway, Gateway, Publisher};
use signalbox_zabbix::ProblemView;
use tracing::info;

/// What the function keeps between events.
#[derive(Debug)]
pub struct State {
    /// Problems.
    pub status: StatusTable,
    /// The way to the viewers.
    pub publisher: Publisher,
    /// Namespaces.
    pub channels: ChannelsConfig,
}

impl State {
    /// `CONNECTION_TABLE`, `STATUS_TABLE`, `CONNECTIONS_ENDPOINT`, and `channels.json` beside the binary.
    pub async fn from_env(boot: &Boot) -> anyhow::Result<Self> {
        let aws = boot.aws()?;
        let table = ConnectionTable::new(&aws, env::require("CONNECTION_TABLE")?);
        let gateway = ApiGateway::new(&aws, &env::require("CONNECTIONS_ENDPOINT")?).await?;
        Ok(Self {
            status: StatusTable::new(&aws, env::require("STATUS_TABLE")?),
            publisher: Publisher::new(table, Gateway::ApiGateway(Box::new(gateway))),
            channels: ChannelsConfig::parse(&signalbox_lambda::task_file("channels.json")?)?,
        })
    }
}

/// What viewers get: the problem as it is now, and what made it so.
#[derive(Debug, Serialize)]
struct StatusPublication<'a> {
    problem: ProblemView,
    cause: Cause<'a>,
    accepted_at_ms: i64,
}

#[derive(Debug, Serialize)]
struct Cause<'a> {
    id: &'a str,
    kind: ChangeKind,
}

/// One message.
pub async fn handle(state: &State, event: BusEvent<StatusChanged>) -> anyhow::Result<()> {
    let message = event.detail;
    let applied = state.status.apply(&message, now_ms() / 1000).await.context("merge")?;
    let problem = applied.problem.view();
    let key = format!("{}:{}", problem.event_id, problem.version);
    let channels = status_channels(&problem.host.host, &problem.groups);
    let cause = Cause { id: &message.id, kind: message.kind };
    let publication = StatusPublication { problem, cause, accepted_at_ms: message.accepted_at_ms };
    let data = serde_json::value::to_raw_value(&publication).context("publication")?;

    // all of them to their end, also when one fails: dropping a delivery on its way would leave its lease behind
    let published = join_all(channels.into_iter().map(async |channel| {
        let name = ChannelName::parse(channel)?;
        let Some(namespace) = state.channels.namespace_of(&name) else { return Ok(()) };
        let publisher = &state.publisher;
        let published = if applied.changed {
            publisher.publish(name.as_str(), namespace, &data, Some(&key)).await
        } else {
            publisher.publish_again(name.as_str(), namespace, &data, &key).await
        }
        .with_context(|| format!("publish to {name}"))?;
        if !published.delivered {
            // Lambda repeats the event until this returns: it shall not before the viewers have it
            publisher.ensure_delivered(name.as_str(), namespace, published.offset).await?;
        }
        anyhow::Ok(())
    }));
    published.await.into_iter().collect::<anyhow::Result<Vec<()>>>()?;

    let took = now_ms() - message.accepted_at_ms;
    if applied.changed {
        metrics::counter!("Routed").increment(1);
        #[allow(clippy::cast_precision_loss)] // milliseconds
        metrics::histogram!("AcceptedToPosted").record(took as f64);
    } else {
        metrics::counter!("Repeated").increment(1);
    }
    info!(id = message.id, version = publication.problem.version, changed = applied.changed, took_ms = took, "routed");
    Ok(())
}
