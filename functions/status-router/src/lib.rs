//! What the bus brings: a `StatusChanged` is merged into the problem's state and published; how a poller found Zabbix
//! and its hosts is kept and published.
//!
//! Any message may come late, twice or out of order; the state does not mind, and a repetition publishes nothing new
//! but makes sure that what it repeats was delivered. An error is the invocation's: Lambda tries the event twice more
//! and then puts it into the dead letter queue.
//!
//! `ItemValues` are no state: they go to the channel `items:<host>` as they are, where `channels.json` has that
//! namespace.

mod items;

use std::sync::Arc;

use anyhow::Context as _;
use futures::future::join_all;
use serde::Serialize;
use serde_json::Value;
use signalbox_channels::{ChannelName, ChannelsConfig, STATUS_ALL, status_channels};
use signalbox_connections::{ConnectionTable, KnownHost, StatusTable};
use signalbox_lambda::{Boot, env, now_ms};
use signalbox_messages::{
    BusEvent, ChangeKind, HOST_CHANGED, HostChanged, ITEM_VALUES, STATUS_CHANGED, StatusChanged, ZABBIX_SEEN,
    ZabbixSeen,
};
use signalbox_publishing::{ApiGateway, FanOut, Gateway, Message, PublishOptions, Publisher};
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
    pub channels: Arc<ChannelsConfig>,
}

impl State {
    /// `CONNECTION_TABLE`, `STATUS_TABLE`, `CONNECTIONS_ENDPOINT`, and `channels.json` beside the binary.
    pub async fn from_env(boot: &Boot) -> anyhow::Result<Self> {
        let aws = boot.aws()?;
        let table = ConnectionTable::new(&aws, env::require("CONNECTION_TABLE")?);
        let gateway = ApiGateway::new(&aws, &env::require("CONNECTIONS_ENDPOINT")?).await?;
        let channels = Arc::new(ChannelsConfig::parse(&signalbox_lambda::task_file("channels.json")?)?);
        Ok(Self {
            status: table.status_table(env::require("STATUS_TABLE")?),
            publisher: Publisher::new(table, Gateway::ApiGateway(Box::new(gateway)))
                .with_fan_out(FanOut::new(&aws, env::optional("FANOUT_QUEUE_URL")))
                .with_channels(Arc::clone(&channels)),
            channels,
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

/// What viewers get of a host: all that is out of the ordinary about it.
#[derive(Debug, Serialize)]
struct HostPublication {
    host: KnownHost,
    at_ms: i64,
}

/// What viewers get after a poll.
#[derive(Debug, Serialize)]
struct ZabbixPublication<'a> {
    zabbix: &'a ZabbixSeen,
}

/// One event of the bus, by its detail type.
pub async fn route(state: &State, event: BusEvent<Value>) -> anyhow::Result<()> {
    let BusEvent { id, detail_type, source, detail } = event;
    match detail_type.as_str() {
        ZABBIX_SEEN => zabbix_seen(state, &serde_json::from_value(detail).context("ZabbixSeen")?).await,
        HOST_CHANGED => host_changed(state, &serde_json::from_value(detail).context("HostChanged")?).await,
        ITEM_VALUES => items::publish(state, &serde_json::from_value(detail).context("ItemValues")?).await,
        STATUS_CHANGED => {
            let detail = serde_json::from_value(detail).context("StatusChanged")?;
            handle(state, BusEvent { id, detail_type, source, detail }).await
        }
        other => anyhow::bail!("detail type {other:?} is none of ours"),
    }
}

/// To whoever is there and without a place in the history: the next one says it all, and 300 of them are 50 minutes.
async fn zabbix_seen(state: &State, seen: &ZabbixSeen) -> anyhow::Result<()> {
    if !state.status.note_zabbix_seen(seen).await? {
        return Ok(());
    }
    let name = ChannelName::parse(STATUS_ALL.to_owned())?;
    let Some(namespace) = state.channels.namespace_of(&name) else { return Ok(()) };
    let data = serde_json::value::to_raw_value(&ZabbixPublication { zabbix: seen }).context("publication")?;
    let key = format!("zabbix:{}", seen.at_ms);
    let options = PublishOptions { idempotency_key: Some(&key), skip_history: true, ..PublishOptions::default() };
    state.publisher.publish(name.as_str(), namespace, &Message::new(&data), &options).await.context("publish")?;
    Ok(())
}

async fn host_changed(state: &State, changed: &HostChanged) -> anyhow::Result<()> {
    if !state.status.note_host(changed, now_ms() / 1000).await? {
        return Ok(());
    }
    let HostChanged { at_ms, host, groups, state: host_state } = changed;
    let known = KnownHost { host: host.clone(), groups: groups.clone(), state: host_state.clone() };
    let data =
        serde_json::value::to_raw_value(&HostPublication { host: known, at_ms: *at_ms }).context("publication")?;
    let message = Message::new(&data);
    let key = format!("host:{}:{at_ms}", host.id);
    // a repetition has the same key, and may be of one that died before it published
    let published = join_all(status_channels(&host.host, groups).into_iter().map(|channel| {
        let (message, key) = (&message, &key);
        async move {
            let name = ChannelName::parse(channel)?;
            let Some(namespace) = state.channels.namespace_of(&name) else { return Ok(()) };
            let publisher = &state.publisher;
            let published = publisher.publish_again(name.as_str(), namespace, message, key).await?;
            if !published.delivered {
                publisher.ensure_delivered(name.as_str(), namespace, published.offset).await?;
            }
            anyhow::Ok(())
        }
    }));
    published.await.into_iter().collect()
}

/// One message about a problem.
pub async fn handle(state: &State, event: BusEvent<StatusChanged>) -> anyhow::Result<()> {
    let changed = event.detail;
    let applied = state.status.apply(&changed, now_ms() / 1000).await.context("merge")?;
    if !applied.problem.is_described() {
        // a connector's recovery that is here before its problem: kept, and told together with it
        metrics::counter!("Early").increment(1);
        return Ok(());
    }
    let problem = applied.problem.view();
    let key = format!("{}:{}", problem.event_id, problem.version);
    let channels = status_channels(&problem.host.host, &problem.groups);
    let cause = Cause { id: &changed.id, kind: changed.kind };
    let publication = StatusPublication { problem, cause, accepted_at_ms: changed.accepted_at_ms };
    let data = serde_json::value::to_raw_value(&publication).context("publication")?;
    let message = Message::new(&data);
    let options = PublishOptions { idempotency_key: Some(&key), ..PublishOptions::default() };

    // all of them to their end, also when one fails: dropping a delivery on its way would leave its lease behind
    let published = join_all(channels.into_iter().map(async |channel| {
        let name = ChannelName::parse(channel)?;
        let Some(namespace) = state.channels.namespace_of(&name) else { return Ok(()) };
        let publisher = &state.publisher;
        let published = if applied.changed {
            publisher.publish(name.as_str(), namespace, &message, &options).await
        } else {
            publisher.publish_again(name.as_str(), namespace, &message, &key).await
        }
        .with_context(|| format!("publish to {name}"))?;
        if !published.delivered {
            // Lambda repeats the event until this returns: it shall not before the viewers have it
            publisher.ensure_delivered(name.as_str(), namespace, published.offset).await?;
        }
        anyhow::Ok(())
    }));
    published.await.into_iter().collect::<anyhow::Result<Vec<()>>>()?;

    let took = now_ms() - changed.accepted_at_ms;
    if applied.changed {
        metrics::counter!("Routed").increment(1);
        #[allow(clippy::cast_precision_loss)] // milliseconds
        metrics::histogram!("AcceptedToPosted").record(took as f64);
    } else {
        metrics::counter!("Repeated").increment(1);
    }
    info!(id = changed.id, version = publication.problem.version, changed = applied.changed, took_ms = took, "routed");
    Ok(())
}
