//! What the bus brings, ten events at a time: a `StatusChanged` is merged into the problem's state and published; how a
//! poller found Zabbix and its hosts is kept and published.
//!
//! Any message may come late, twice or out of order; the state does not mind, and a repetition publishes nothing new but
//! makes sure that what it repeats was delivered. What fails comes back by itself, and after some tries lies in the dead
//! letter queue.
//!
//! | publication | on | what |
//! |---|---|---|
//! | `{"changes": [{"problem": ProblemView, "cause": {"id", "kind"}, "accepted_at_ms"}]}` | `status:all`, the hosts', the groups' | changes of problems, each once |
//! | `{"host": KnownHost, "at_ms"}` | the same | a host as a poll found it |
//! | `{"zabbix": ZabbixSeen}` | `status:all`, without a place in the history | how a poll found Zabbix: what is new about it, and every 25 s |
//! | `{"refused": {"event_id", "user", "reason"}}` | `status:all`, without a place in the history | what Zabbix did not do that a viewer asked for |
//!
//! A channel that nobody has ever asked for gets nothing: whoever asks has a position from then on, and reads the state
//! after it. `ItemValues` are no state: they go to the channel `items:<host>` as they are, where `channels.json` has that
//! namespace.

mod items;
mod problems;
mod zabbix;

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context as _;
use futures::future::{join, join_all};
use serde_json::Value;
use signalbox_channels::{ChannelName, ChannelsConfig};
use signalbox_connections::{ConnectionTable, StatusTable};
use signalbox_lambda::{
    Boot, env,
    sqs::{Outcome, Record},
};
use signalbox_messages::{
    ACTION_REFUSED, ActionRefused, BusEvent, HOST_CHANGED, HostChanged, ITEM_VALUES, ItemValues, STATUS_CHANGED,
    StatusChanged, ZABBIX_SEEN, ZabbixSeen,
};
use signalbox_publishing::{ApiGateway, FanOut, Gateway, Publisher};

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

/// One event, decoded.
enum Told {
    Status(Box<StatusChanged>),
    Other(Other),
}

enum Other {
    Seen(ZabbixSeen),
    Host(HostChanged),
    Items(ItemValues),
    Refused(ActionRefused),
}

impl Told {
    fn decode(event: BusEvent<Value>) -> Result<Self, String> {
        let BusEvent { detail_type, detail, .. } = event;
        let told = match detail_type.as_str() {
            STATUS_CHANGED => serde_json::from_value(detail).map(|changed| Self::Status(Box::new(changed))),
            ZABBIX_SEEN => serde_json::from_value(detail).map(|seen| Self::Other(Other::Seen(seen))),
            HOST_CHANGED => serde_json::from_value(detail).map(|host| Self::Other(Other::Host(host))),
            ACTION_REFUSED => serde_json::from_value(detail).map(|refused| Self::Other(Other::Refused(refused))),
            ITEM_VALUES => serde_json::from_value(detail).map(|values| Self::Other(Other::Items(values))),
            other => return Err(format!("detail-type {other:?} is none of ours")),
        };
        told.map_err(|cause| format!("not a {detail_type}: {cause}"))
    }
}

/// A batch of the router's queue: one outcome per record, in their order.
///
/// # Errors
/// None; what goes wrong is in the outcomes.
pub async fn handle(state: &State, records: Vec<Record<BusEvent<Value>>>) -> anyhow::Result<Vec<Outcome>> {
    Ok(route(state, records.into_iter().map(|record| record.body).collect()).await)
}

/// Routes events together; what came of each, in their order.
pub async fn route(state: &State, events: Vec<BusEvent<Value>>) -> Vec<Outcome> {
    let mut outcomes = vec![Outcome::Stored; events.len()];
    let (mut changes, mut others) = (Vec::new(), Vec::new());
    for (n, event) in events.into_iter().enumerate() {
        match Told::decode(event) {
            Ok(Told::Status(changed)) => changes.push((n, *changed)),
            Ok(Told::Other(other)) => others.push((n, other)),
            Err(reason) => outcomes[n] = Outcome::Never(reason),
        }
    }
    let (places, changes): (Vec<_>, Vec<_>) = changes.into_iter().unzip();
    let others = others.iter().map(async |(n, other)| {
        let done = match other {
            Other::Seen(seen) => zabbix::seen(state, seen).await,
            Other::Host(changed) => zabbix::host_changed(state, changed).await,
            Other::Refused(refused) => zabbix::refused(state, refused).await,
            Other::Items(values) => items::publish(state, values).await,
        };
        (*n, done)
    });
    let (routed, others) = Box::pin(join(problems::route(state, &changes), join_all(others))).await;
    for (n, done) in places.into_iter().zip(routed).chain(others) {
        if let Err(cause) = done {
            outcomes[n] = Outcome::Retry(format!("{cause:#}"));
        }
    }
    outcomes
}

/// Those of the channels that anybody may be waiting at: that have a head, or keep no history and so need none.
///
/// Read after the state was written. Who asks for a channel makes its head, reads the state then, and so has seen what is
/// not published here.
async fn followed(state: &State, channels: BTreeSet<String>) -> anyhow::Result<BTreeSet<String>> {
    let (mut followed, mut with_history) = (BTreeSet::new(), Vec::new());
    for channel in channels {
        match state.channels.namespace_of(&ChannelName::parse(channel.clone())?) {
            None => {}
            Some(namespace) if namespace.has_history() => with_history.push(channel),
            Some(_) => {
                followed.insert(channel);
            }
        }
    }
    followed.extend(state.publisher.table().with_head(&with_history).await.context("heads")?);
    Ok(followed)
}
