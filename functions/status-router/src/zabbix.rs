use std::collections::BTreeSet;

use anyhow::Context as _;
use futures::future::join_all;
use serde::Serialize;
use serde_json::value::to_raw_value;
use signalbox_channels::{ChannelName, STATUS_ALL, status_channels};
use signalbox_connections::KnownHost;
use signalbox_lambda::now_ms;
use signalbox_messages::{ActionRefused, HostChanged, ZabbixSeen};
use signalbox_publishing::{Message, Part, PublishOptions};

use crate::{State, followed};

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

/// What the viewers get of an action that Zabbix refused.
#[derive(Debug, Serialize)]
struct RefusedPublication<'a> {
    refused: Refused<'a>,
}

#[derive(Debug, Serialize)]
struct Refused<'a> {
    event_id: &'a str,
    user: &'a str,
    reason: &'a str,
}

/// To whoever is there and without a place in the history: the next one says it all.
pub(crate) async fn seen(state: &State, seen: &ZabbixSeen) -> anyhow::Result<()> {
    if !state.status.note_zabbix_seen(seen).await? {
        return Ok(());
    }
    to_who_is_there(state, &ZabbixPublication { zabbix: seen }, &format!("zabbix:{}", seen.at_ms)).await
}

/// The viewer who asked waits for it; the problem shows what Zabbix has done.
pub(crate) async fn refused(state: &State, refused: &ActionRefused) -> anyhow::Result<()> {
    let ActionRefused { id, event_id, user, reason } = refused;
    let publication = RefusedPublication { refused: Refused { event_id, user, reason } };
    to_who_is_there(state, &publication, &format!("refused:{id}")).await
}

async fn to_who_is_there(state: &State, publication: &impl Serialize, key: &str) -> anyhow::Result<()> {
    let name = ChannelName::parse(STATUS_ALL.to_owned())?;
    let Some(namespace) = state.channels.namespace_of(&name) else { return Ok(()) };
    let data = to_raw_value(publication).context("publication")?;
    let options = PublishOptions { idempotency_keys: &[key], skip_history: true, ..PublishOptions::default() };
    state.publisher.publish(name.as_str(), namespace, &Message::new(&data), &options).await.context("publish")?;
    Ok(())
}

pub(crate) async fn host_changed(state: &State, changed: &HostChanged) -> anyhow::Result<()> {
    if !state.status.note_host(changed, now_ms() / 1000).await? {
        return Ok(());
    }
    let HostChanged { at_ms, host, groups, state: host_state } = changed;
    let known = KnownHost { host: host.clone(), groups: groups.clone(), state: host_state.clone() };
    let data = to_raw_value(&HostPublication { host: known, at_ms: *at_ms }).context("publication")?;
    let key = format!("host:{}:{at_ms}", host.id);
    let channels: BTreeSet<String> = status_channels(&host.host, groups).into_iter().collect();
    // a repetition has the same key, and may be of one that died before it published
    let published = join_all(followed(state, channels).await?.into_iter().map(async |channel| {
        let name = ChannelName::parse(channel)?;
        let Some(namespace) = state.channels.namespace_of(&name) else { return Ok(()) };
        let part = Part { idempotency_key: &key, data: &data };
        let whole = |_: &[Part<'_>]| Ok(data.clone());
        state.publisher.publish_parts(name.as_str(), namespace, vec![part], true, whole).await?;
        anyhow::Ok(())
    }));
    published.await.into_iter().collect()
}
