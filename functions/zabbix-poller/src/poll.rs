use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use signalbox_connections::KnownHost;
use signalbox_lambda::now_ms;
use signalbox_messages::{HostChanged, ZabbixSeen};
use signalbox_zabbix::api::Event;
use signalbox_zabbix::poll::{Known, Snapshot, differences, host_differences};
use signalbox_zabbix_api::{ApiError, Session, Source};
use tracing::{info, warn};

use crate::State;

/// Event ids are given out before they can be read, so a lower one may appear after a higher (Zabbix notes, 4): so many
/// are read again.
const OVERLAP: u64 = 100;

/// Events of one answer, and answers of one poll: after a long outage the next polls go on.
const EVENTS: usize = 1_000;
const ANSWERS: usize = 10;

/// Items that are read side by side.
const AT_ONCE: usize = 16;

/// What one invocation remembers from poll to poll. No longer: should a message be lost after all, the next minute
/// tells it again.
#[derive(Debug, Default)]
pub(crate) struct Minute {
    /// Ids of messages that are on the bus, and may not be in the table yet.
    told: BTreeSet<String>,
    /// Problems that have been looked up and are over: nothing more is told of them.
    over: BTreeMap<String, Known>,
    hosts_are_told: bool,
    /// What the last good poll found.
    pub(crate) last_good: Option<ZabbixSeen>,
}

/// Why a poll came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Zabbix's, or the way to it.
    #[error(transparent)]
    Zabbix(#[from] ApiError),
    /// The table's or the bus's.
    #[error(transparent)]
    Ours(#[from] anyhow::Error),
}

/// What was last found: by this minute's last good poll, else by another minute's last one.
pub(crate) async fn last_seen(state: &State, minute: &Minute) -> anyhow::Result<Option<ZabbixSeen>> {
    match &minute.last_good {
        Some(last) => Ok(Some(last.clone())),
        None => state.status.zabbix_seen().await,
    }
}

/// One poll: asks, compares, tells. The cursor goes on when all is on the bus.
pub(crate) async fn poll(state: &State, minute: &mut Minute, at_ms: i64) -> Result<ZabbixSeen, Failure> {
    // before Zabbix is asked: what is known has to be the older of the two
    let mut known = state.status.open_problems().await?;
    let cursor = state.status.event_cursor().await?;
    let session = state.zabbix.session().await?;
    let sign = server_sign(&session).await?;
    let before = last_seen(state, minute).await?;

    let mut snapshot = Snapshot { at_ms, ..Snapshot::default() };
    // the events first, if there is no cursor yet: what begins and ends after them is found by the next poll
    let newest = if cursor.is_none() { Some(session.newest_event().await?) } else { None };
    for source in Source::ALL {
        snapshot.open.extend(by_id(session.problems(source).await?));
    }
    let next = match (newest, cursor) {
        (Some(newest), _) => newest,
        (None, cursor) => news(&session, cursor.unwrap_or(0), &mut snapshot).await?,
    };

    look_up(state, minute, &snapshot, &mut known).await?;
    snapshot.events.extend(by_id(session.events(&snapshot.missing(&known)).await?));
    let signed = session.events(&snapshot.unsigned(&known)).await?;
    snapshot.sign(signed);
    snapshot.events.extend(by_id(session.events(&snapshot.recoveries()).await?));
    let trigger_ids = snapshot.trigger_ids();
    let triggers = session.triggers(&trigger_ids).await?;
    snapshot.triggers = triggers.into_iter().map(|trigger| (trigger.triggerid.clone(), trigger)).collect();
    snapshot.monitored = session.monitored(&trigger_ids).await?;

    let mut messages = differences(&snapshot, &known, now_ms());
    messages.retain(|message| !minute.told.contains(&message.id));
    // empty lists look like a Zabbix in which all has gone
    let has_gone = messages.iter().any(|message| message.observed.as_ref().is_some_and(|observed| observed.gone));
    if has_gone || (next == 0 && cursor.is_some_and(|cursor| cursor > 0)) {
        session.sees_a_host().await?;
    }
    state.bus.put_all(&messages).await.context("tell the differences")?;
    if !messages.is_empty() {
        metrics::counter!("Told").increment(messages.len() as u64);
        info!(messages = messages.len(), "told what a poll found");
    }
    minute.told.extend(messages.into_iter().map(|message| message.id));
    if cursor != Some(next) {
        state.status.set_event_cursor(next).await?;
    }
    if !minute.hosts_are_told {
        tell_hosts(state, &session, at_ms).await?;
        minute.hosts_are_told = true;
    }
    Ok(ZabbixSeen {
        at_ms,
        failure: None,
        good_at_ms: Some(at_ms),
        server_seen_at: sign.map(|sign| seen_at(sign, before.as_ref(), at_ms, session.ahead_ms().unwrap_or(0))),
        server_sign: sign,
        ahead_ms: session.ahead_ms(),
        version: Some(session.version().to_string()),
        problems: Some(snapshot.open.len()),
    })
}

fn by_id(events: Vec<Event>) -> impl Iterator<Item = (String, Event)> {
    events.into_iter().map(|event| (event.eventid.clone(), event))
}

/// Reads what is new into the snapshot; answers where the next poll goes on.
async fn news(session: &Session<'_>, cursor: u64, snapshot: &mut Snapshot) -> Result<u64, Failure> {
    let mut newest = cursor;
    let mut complete_to = u64::MAX;
    let mut is_empty = true;
    for source in Source::ALL {
        let mut from = cursor.saturating_sub(OVERLAP) + 1;
        for answer in 1.. {
            let events = session.events_from(source, from, EVENTS).await?;
            let last = events.iter().filter_map(|event| event.eventid.parse::<u64>().ok()).max();
            let is_last = events.len() < EVENTS;
            snapshot.events.extend(by_id(events));
            let Some(last) = last.filter(|last| *last >= from) else { break };
            is_empty = false;
            newest = newest.max(last);
            if is_last {
                break;
            }
            if answer == ANSWERS {
                complete_to = complete_to.min(last);
                break;
            }
            from = last + 1;
        }
    }
    if is_empty && cursor > 0 {
        // not even those of the overlap: the housekeeper had them, or this is another Zabbix, whose ids begin at 1
        return Ok(session.newest_event().await?.min(cursor));
    }
    Ok(newest.min(complete_to))
}

/// Adds what is known of problems that are not known to be open.
async fn look_up(
    state: &State,
    minute: &mut Minute,
    snapshot: &Snapshot,
    known: &mut BTreeMap<String, Known>,
) -> anyhow::Result<()> {
    known.extend(minute.over.clone());
    let strangers = stream::iter(snapshot.strangers(known))
        .map(|id| async move {
            let problem = state.status.problem(&id).await?;
            anyhow::Ok(problem.map(|problem| (id, Known::from(&problem))))
        })
        .buffer_unordered(AT_ONCE);
    let found: Vec<_> = strangers.try_collect().await?;
    for (id, problem) in found.into_iter().flatten() {
        if problem.is_over() {
            minute.over.insert(id.clone(), problem.clone());
        }
        known.insert(id, problem);
    }
    Ok(())
}

/// By our clock. The server's, the frontend's and that of a proxy before it may each be minutes off, so none of them is believed for
/// longer than one poll: a sign that is newer than the last one has just been given, one that is the same is as old as it was.
fn seen_at(sign: i64, before: Option<&ZabbixSeen>, at_ms: i64, ahead_ms: i64) -> i64 {
    let now = at_ms.div_euclid(1_000);
    match before.and_then(|before| before.server_sign.zip(before.server_seen_at)) {
        Some((last, seen_at)) if last == sign => seen_at,
        Some((last, _)) if last < sign => now,
        _ => now.min(sign - ahead_ms.div_euclid(1_000)),
    }
}

/// The server's last sign of life by its own clock, unix seconds: the API answers also when the server is dead (Zabbix
/// notes, 4).
async fn server_sign(session: &Session<'_>) -> Result<Option<i64>, ApiError> {
    match session.ha_nodes().await {
        Ok(nodes) => Ok(nodes.iter().map(|node| node.lastaccess).max()),
        // super admins alone may; a value of the server's own items does as well
        Err(ApiError::NotPermitted { .. } | ApiError::Refused { .. }) => match session.newest_own_value().await {
            Err(ApiError::NotPermitted { .. } | ApiError::Refused { .. }) => Ok(None),
            newest => newest,
        },
        Err(error) => Err(error),
    }
}

/// Once a minute: an interface takes 45 s to be found unavailable, and a host that is disabled shows in its problems at
/// once.
async fn tell_hosts(state: &State, session: &Session<'_>, at_ms: i64) -> Result<(), Failure> {
    let known = state.status.hosts().await?;
    let hosts = match session.hosts().await {
        Err(ApiError::NotPermitted { method }) => {
            warn!(method, "the token's user may not see the hosts");
            return Ok(());
        }
        hosts => hosts?,
    };
    if hosts.is_empty() && !known.is_empty() {
        return Err(ApiError::NothingVisible.into());
    }
    let known = known
        .into_iter()
        .map(|(id, KnownHost { host, groups, state })| (id, HostChanged { at_ms, host, groups, state }));
    let changes = host_differences(&hosts, &known.collect(), at_ms);
    state.bus.put_all(&changes).await.context("tell of the hosts")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would fail if a sign's age were read off any clock but ours.
    #[test]
    fn a_server_whose_signs_go_on_is_alive_and_one_whose_sign_stays_is_silent_whatever_the_clocks_say() {
        let seen = |sign, at| ZabbixSeen { server_sign: Some(sign), server_seen_at: Some(at), ..ZabbixSeen::default() };
        for ahead in [-600_000, 0, 600_000] {
            assert_eq!(seen_at(4_000, Some(&seen(3_995, 990)), 1_000_000, ahead), 1_000);
            assert_eq!(seen_at(4_000, Some(&seen(4_000, 960)), 1_000_000, ahead), 960);
        }
        // the first one, and one of a clock that was set back, are as old as the frontend's clock makes them
        assert_eq!(seen_at(1_580, None, 1_000_000, 600_000), 980);
        assert_eq!(seen_at(1_580, Some(&seen(9_000, 995)), 1_000_000, 600_000), 980);
        assert_eq!(seen_at(1_580, None, 1_000_000, 0), 1_000, "never ahead of us");
    }
}
