//! What a poll finds: the snapshot of Zabbix compared with what is known, and the differences told as messages.
//!
//! The messages are those of the other ways in ([`StatusChanged`]), so they may meet a webhook's in any order and any
//! number. A poll says nothing about what is known, heals whatever a webhook missed, and is the only one to see what
//! Zabbix tells nobody ([`Observed`]). The same difference found twice (the first poll's messages may still be on their
//! way) has the same message id.
//!
//! How to poll, in this order, because what is known has to be older than what it is compared with:
//!
//! 1. what is known to be open;
//! 2. `problem.get` of source 0 and 3 into [`Snapshot::open`], `event.get` from the cursor on into
//!    [`Snapshot::events`];
//! 3. [`Snapshot::strangers`] looked up where every problem is kept;
//! 4. `event.get` for [`Snapshot::missing`] and [`Snapshot::unsigned`], then for [`Snapshot::recoveries`];
//! 5. `trigger.get` for [`Snapshot::trigger_ids`], all of them and those that are monitored;
//! 6. [`differences`].

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};
use signalbox_messages::{
    ChangeKind, Detail, Host, HostChanged, HostState, Maintenance, Observed, Place, Recovery, StatusChanged, Tag,
    Unavailable, Update,
};

use crate::action;
use crate::api::{Acknowledge, Event, HostName, Trigger};
use crate::payload::meaningful;
use crate::webhook::{MAX_GROUP_BYTES, MAX_TAG_BYTES, is_web, within};
use crate::{LastUpdate, Problem, ProblemState, ProblemView};

/// What is known of one problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// As the world sees it.
    pub view: ProblemView,
    /// [`Problem::updates_told`].
    pub updates_told: u32,
}

impl From<&Problem> for Known {
    fn from(problem: &Problem) -> Self {
        Self { view: problem.view(), updates_told: problem.updates_told() }
    }
}

impl Known {
    fn is_open(&self) -> bool {
        self.view.state == ProblemState::Open
    }

    /// Over for certain, and it is known what it was.
    pub fn is_over(&self) -> bool {
        !self.is_open() && !self.view.gone && self.is_described()
    }

    /// By a poll or by a webhook, which name the trigger; a connector does not.
    fn was_seen(&self) -> bool {
        self.view.trigger_id.is_some()
    }

    fn is_described(&self) -> bool {
        !self.view.name.is_empty()
    }

    fn observed(&self) -> Observed {
        let ProblemView { maintenance, unmonitored, unknown, cause, gone, host, groups, .. } = self.view.clone();
        Observed { maintenance, unmonitored, unknown, cause, gone, place: Some(Place { host, groups }) }
    }
}

/// What Zabbix's API said in one poll.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// When the poll began, unix milliseconds of the poller's clock: the time of what it observes.
    pub at_ms: i64,
    /// The open problems by event id.
    pub open: BTreeMap<String, Event>,
    /// Other events by event id: what is new since the last poll, and what was asked for.
    pub events: BTreeMap<String, Event>,
    /// By trigger id. One that is absent here has been deleted or is out of sight.
    pub triggers: BTreeMap<String, Trigger>,
    /// Ids of the triggers that are enabled, like their items and hosts.
    pub monitored: BTreeSet<String>,
}

impl Snapshot {
    /// Event ids that have to be looked up, for what is known to be open does not have them: new ones, ones that were
    /// gone, and problems that began and ended since the last poll.
    pub fn strangers(&self, known: &BTreeMap<String, Known>) -> Vec<String> {
        let seen = self.open.values().chain(self.ended());
        seen.map(|event| &event.eventid).filter(|id| !known.contains_key(*id)).cloned().collect()
    }

    /// Event ids that are known to be open and that Zabbix does not list: how they ended has to be asked for.
    pub fn missing(&self, known: &BTreeMap<String, Known>) -> Vec<String> {
        let missing = known.iter().filter(|(id, known)| known.is_open() && !self.open.contains_key(*id));
        missing.map(|(id, _)| id.clone()).collect()
    }

    /// Event ids of open problems with entries that nobody has told: `problem.get` does not say who made them,
    /// `event.get` does.
    pub fn unsigned(&self, known: &BTreeMap<String, Known>) -> Vec<String> {
        let told = |id: &String| known.get(id).map_or(0, |known| known.updates_told as usize);
        let open = self.open.iter().filter(|(id, event)| event.acknowledges.len() > told(id));
        open.map(|(id, _)| id.clone()).collect()
    }

    /// Takes over who made the entries, from the answer of `event.get` for [`Snapshot::unsigned`].
    pub fn sign(&mut self, events: Vec<Event>) {
        for event in events {
            if let Some(open) = self.open.get_mut(&event.eventid) {
                for did in &mut open.acknowledges {
                    let signed = event.acknowledges.iter().find(|signed| signed.acknowledgeid == did.acknowledgeid);
                    if let Some(signed) = signed {
                        *did = signed.clone();
                    }
                }
            }
        }
    }

    /// Ids of the events that ended a problem, if they are not here: only they know when.
    pub fn recoveries(&self) -> Vec<String> {
        let ids: BTreeSet<&String> = self.ended().filter_map(|event| event.r_eventid.as_ref()).collect();
        ids.into_iter().filter(|id| !self.events.contains_key(*id)).cloned().collect()
    }

    /// Ids of the triggers of all problems of the snapshot, those too that are not listed though nothing has ended them.
    pub fn trigger_ids(&self) -> Vec<String> {
        let problems = self.events.values().filter(|event| event.value);
        let ids: BTreeSet<&String> = self.open.values().chain(problems).map(|event| &event.objectid).collect();
        ids.into_iter().cloned().collect()
    }

    /// Whether a problem that is not listed, and that nothing has ended, is gone. Its event stays for a while when its trigger is
    /// deleted; with a trigger that is there the list was wrong. Without an event it has been deleted, or the poller's user may
    /// not see it: a connector streams such ones too, so what nobody but a connector told of is not gone for that.
    fn has_lost(&self, known: &Known) -> bool {
        match self.events.get(&known.view.event_id) {
            Some(event) => !self.triggers.contains_key(&event.objectid),
            None => known.was_seen(),
        }
    }

    /// Problems that are over. One without a recovery that is not listed either began after the list was made.
    fn ended(&self) -> impl Iterator<Item = &Event> {
        let problems = self.events.values().filter(|event| event.value && event.r_eventid.is_some());
        problems.filter(|event| !self.open.contains_key(&event.eventid))
    }
}

/// The messages after which what is known is what Zabbix says, in the order in which it happened; none if it is
/// already.
///
/// `known` has what is known of the problems of the snapshot and of all that are open; `now_ms` is the messages'
/// `accepted_at_ms`. What has ended for certain is left alone. A problem whose trigger is not to be seen is gone, and
/// one of which nothing is known is then not told at all.
pub fn differences(snapshot: &Snapshot, known: &BTreeMap<String, Known>, now_ms: i64) -> Vec<StatusChanged> {
    let mut messages = Vec::new();
    let ended: BTreeMap<&String, &Event> = snapshot.ended().map(|event| (&event.eventid, event)).collect();
    for event in snapshot.open.values().chain(ended.values().copied()) {
        let known = known.get(&event.eventid);
        if !known.is_some_and(Known::is_over) {
            messages.extend(Story::new(snapshot, event, known, now_ms).told());
        }
    }
    for (id, known) in known.iter().filter(|(_, known)| known.is_open()) {
        if !snapshot.open.contains_key(id) && !ended.contains_key(id) && snapshot.has_lost(known) {
            messages.push(gone(known, snapshot.at_ms, now_ms));
        }
    }
    messages.sort_by_key(|message| message.at);
    messages
}

fn gone(known: &Known, at_ms: i64, now_ms: i64) -> StatusChanged {
    let Observed { cause, place, .. } = known.observed();
    let observed = Observed { gone: true, cause, place, ..Observed::default() };
    observation(&known.view.event_id, known.view.opened_at, known.view.version, observed, at_ms, now_ms)
}

/// Its id has the version from which it differed: a maintenance that comes, goes and comes again is three differences.
fn observation(
    event_id: &str,
    opened_at: i64,
    version: u64,
    observed: Observed,
    at_ms: i64,
    now_ms: i64,
) -> StatusChanged {
    StatusChanged {
        id: format!("{event_id}-observed-{version}-{}", digest(&observed)),
        kind: ChangeKind::Observed,
        event_id: event_id.to_owned(),
        problem: true,
        at: at_ms.div_euclid(1_000),
        seq: 0,
        exact: false,
        opened_at,
        recovery: None,
        update: None,
        suppression: None,
        observed: Some(observed),
        detail: Detail::default(),
        sent_at_ms: Some(at_ms),
        accepted_at_ms: now_ms,
    }
}

fn digest(observed: &Observed) -> String {
    hex::encode(&Sha256::digest(serde_json::to_vec(observed).unwrap_or_default())[..4])
}

/// One problem of the snapshot beside what is known of it.
struct Story<'a> {
    event: &'a Event,
    known: Option<&'a Known>,
    trigger: Option<&'a Trigger>,
    entries: Vec<Entry<'a>>,
    recovery: Option<Recovery>,
    monitored: bool,
    at_ms: i64,
    now_ms: i64,
}

/// An entry of the update history, and the problem as it was after it.
struct Entry<'a> {
    did: &'a Acknowledge,
    /// From 1.
    seq: u32,
    severity: u8,
    acknowledged: bool,
}

impl<'a> Story<'a> {
    fn new(snapshot: &'a Snapshot, event: &'a Event, known: Option<&'a Known>, now_ms: i64) -> Self {
        let recovery = event.r_eventid.as_ref().map(|id| Recovery {
            // a housekeeper may have removed the event that ended it: then it was over by now
            at: snapshot.events.get(id).map_or(snapshot.at_ms.div_euclid(1_000), |recovery| recovery.clock),
            event_id: id.clone(),
        });
        Self {
            event,
            // of what a connector's recovery told alone nothing can be compared
            known: known.filter(|known| known.is_described()),
            trigger: snapshot.triggers.get(&event.objectid),
            entries: entries(event, known.map_or(0, |known| known.updates_told)),
            recovery,
            monitored: snapshot.monitored.contains(&event.objectid),
            at_ms: snapshot.at_ms,
            now_ms,
        }
    }

    fn told(&self) -> Vec<StatusChanged> {
        let is_gone = self.trigger.is_none() && self.recovery.is_none();
        if is_gone {
            let open = self.known.filter(|known| known.is_open());
            return open.map(|known| gone(known, self.at_ms, self.now_ms)).into_iter().collect();
        }
        let mut messages = Vec::new();
        if !self.opening_is_known() {
            messages.push(self.opening());
        }
        messages.extend(self.untold().map(|entry| self.update(entry)));
        match &self.recovery {
            Some(recovery) => messages.push(self.recovered(recovery)),
            None => messages.extend(self.observation()),
        }
        messages
    }

    fn is_internal(&self) -> bool {
        self.event.source == 3
    }

    /// Also false where a webhook's clock on the wall was read in the wrong zone, and where a connector did not know
    /// the trigger: the opening tells both.
    fn opening_is_known(&self) -> bool {
        self.known.is_some_and(|known| {
            let view = &known.view;
            view.opened_at == self.event.clock
                && view.trigger_id.is_some()
                && (self.entries.last().is_some() || self.describes(view))
        })
    }

    /// Whether severity and acknowledgement are as they are now.
    fn describes(&self, view: &ProblemView) -> bool {
        self.is_internal() || (view.severity, view.acknowledged) == (self.event.severity, self.event.acknowledged)
    }

    /// Entries beyond those that are known to be told. The last one also when what it did is not what is known: a
    /// webhook's message knows how many entries there are and tells one of them, so the others may have been lost; the
    /// same with the last one that suppressed or unsuppressed.
    fn untold(&self) -> impl Iterator<Item = &Entry<'a>> {
        let told = self.known.map_or(0, |known| known.updates_told);
        let last = self.entries.len();
        let suppressing = self.entries.iter().rposition(|entry| entry.did.suppression().is_some());
        let (last_differs, suppression_differs) = match self.known {
            None => (false, false),
            Some(Known { view, .. }) => (
                !self.describes(view) || self.entries.last().is_some_and(|entry| !is_told(entry.did, view)),
                suppressing.and_then(|index| self.entries[index].did.suppression()).is_some_and(|suppression| {
                    (suppression.suppressed, suppression.until) != (view.suppressed, view.suppressed_until)
                }),
            ),
        };
        self.entries.iter().enumerate().filter_map(move |(index, entry)| {
            let again = (index + 1 == last && last_differs) || (Some(index) == suppressing && suppression_differs);
            (entry.seq > told || again).then_some(entry)
        })
    }

    fn opening(&self) -> StatusChanged {
        let first_change = self.entries.iter().find(|entry| entry.did.did(action::SEVERITY));
        let severity = first_change.map_or(self.event.severity, |entry| entry.did.old_severity);
        // without an entry nothing has changed it since
        let acknowledged = self.entries.is_empty() && self.event.acknowledged;
        let kind = if self.is_internal() { ChangeKind::Internal } else { ChangeKind::Problem };
        let what = if self.is_internal() { "internal-unknown" } else { "problem" };
        self.message(&format!("{what}-poll"), kind, self.event.clock, self.detail(severity, acknowledged))
    }

    fn update(&self, entry: &Entry) -> StatusChanged {
        let Entry { did, seq, severity, acknowledged } = entry;
        let what = format!("update-{}-poll", did.acknowledgeid);
        let message = self.message(&what, ChangeKind::Update, did.clock, self.detail(*severity, *acknowledged));
        StatusChanged {
            seq: *seq,
            update: Some(Update {
                at: did.clock,
                action: did.words(),
                message: meaningful(&did.message),
                user: did.user().as_deref().and_then(meaningful),
            }),
            suppression: did.suppression(),
            ..message
        }
    }

    fn recovered(&self, recovery: &Recovery) -> StatusChanged {
        let kind = if self.is_internal() { ChangeKind::Internal } else { ChangeKind::Recovery };
        let what = match kind {
            ChangeKind::Internal => "internal-normal-poll".to_owned(),
            _ => format!("recovery-{}-poll", recovery.event_id),
        };
        let detail = Detail { error: None, ..self.detail(self.event.severity, self.event.acknowledged) };
        StatusChanged {
            problem: false,
            seq: self.entries.last().map_or(0, |entry| entry.seq),
            recovery: Some(recovery.clone()),
            ..self.message(&what, kind, recovery.at, detail)
        }
    }

    fn message(&self, what: &str, kind: ChangeKind, at: i64, detail: Detail) -> StatusChanged {
        let event_id = &self.event.eventid;
        StatusChanged {
            id: format!("{event_id}-{what}"),
            kind,
            event_id: event_id.clone(),
            problem: true,
            at,
            seq: 0,
            exact: true,
            opened_at: self.event.clock,
            recovery: None,
            update: None,
            suppression: None,
            observed: None,
            detail,
            sent_at_ms: None,
            accepted_at_ms: self.now_ms,
        }
    }

    /// `None` if it is as it is known.
    fn observation(&self) -> Option<StatusChanged> {
        let place = Some(self.place());
        let maintenance = self.event.suppression_data.iter().filter_map(|data| {
            let until = Some(data.suppress_until).filter(|until| *until > 0);
            // of several the one that lasts longest
            data.maintenanceid.clone().map(|id| (until.is_none(), until, Maintenance { id, until }))
        });
        let unknown = self.trigger.filter(|trigger| trigger.state && !self.is_internal());
        let observed = Observed {
            maintenance: maintenance.max().map(|(_, _, maintenance)| maintenance),
            unmonitored: !self.monitored,
            unknown: unknown.map(|trigger| meaningful(&trigger.error).unwrap_or_else(|| "unknown".to_owned())),
            cause: self.event.cause_eventid.clone(),
            gone: false,
            place: place.clone(),
        };
        let known = self.known.map_or_else(|| Observed { place, ..Observed::default() }, Known::observed);
        let version = self.known.map_or(0, |known| known.view.version);
        let event = self.event;
        (observed != known)
            .then(|| observation(&event.eventid, event.clock, version, observed, self.at_ms, self.now_ms))
    }

    fn detail(&self, severity: u8, acknowledged: bool) -> Detail {
        let event = self.event;
        let named = self.trigger.and_then(|trigger| meaningful(&trigger.description));
        let event_name = meaningful(&event.name);
        let (name, severity, error) = if self.is_internal() {
            (named.or_else(|| event_name.clone()), self.trigger.map_or(0, |trigger| trigger.priority), event_name)
        } else {
            (event_name.or(named), severity, None)
        };
        let Place { host, groups } = self.place();
        let tags: BTreeSet<Tag> = event.tags.iter().filter_map(tag).collect();
        Detail {
            name: name.unwrap_or_else(|| format!("problem {}", event.eventid)),
            severity: severity.min(5),
            acknowledged,
            opdata: meaningful(&event.opdata),
            error,
            host,
            groups,
            tags: within(tags.into_iter().collect(), MAX_TAG_BYTES),
            trigger_id: Some(event.objectid.clone()),
            // `trigger.get` does not expand its macros; a webhook's is expanded
            url: self
                .trigger
                .and_then(|trigger| meaningful(&trigger.url))
                .filter(|url| is_web(url) && !url.contains('{')),
        }
    }

    /// Of several hosts the one that is known already: a webhook tells the first of the trigger's expression.
    fn place(&self) -> Place {
        let hosts = self.trigger.map_or(&self.event.hosts, |trigger| &trigger.hosts);
        let known = self.known.map(|known| Place { host: known.view.host.clone(), groups: known.view.groups.clone() });
        let known = known.unwrap_or_default();
        let is_known = |host: &&HostName| host.hostid == known.host.id || host.host == known.host.host;
        let host = hosts.iter().find(is_known).or_else(|| hosts.first()).map(host);
        let groups: Option<BTreeSet<String>> =
            self.trigger.map(|trigger| trigger.hostgroups.iter().filter_map(|group| meaningful(&group.name)).collect());
        Place {
            host: host.unwrap_or(known.host),
            groups: groups.map_or(known.groups, |groups| within(groups.into_iter().collect(), MAX_GROUP_BYTES)),
        }
    }
}

/// What of the hosts is another than is known, as messages; of hosts that nobody knows only what is out of the
/// ordinary.
///
/// `known` is by host id. Its groups are those of a host's problems, whose triggers may have other hosts too: only one
/// that is not among them is a difference.
pub fn host_differences(
    hosts: &[crate::api::Host],
    known: &BTreeMap<String, HostChanged>,
    at_ms: i64,
) -> Vec<HostChanged> {
    let mut seen = BTreeSet::new();
    let mut differences = Vec::new();
    for listed in hosts {
        let now = host_changed(listed, at_ms);
        seen.insert(&listed.hostid);
        let differs = known.get(&listed.hostid).map_or(!now.state.is_ordinary(), |known| {
            (&now.host, &now.state) != (&known.host, &known.state)
                || now.groups.iter().any(|group| !known.groups.contains(group))
        });
        if differs {
            differences.push(now);
        }
    }
    for (_, known) in known.iter().filter(|(id, known)| !seen.contains(id) && !known.state.gone) {
        let state = HostState { gone: true, ..HostState::default() };
        differences.push(HostChanged { at_ms, state, ..known.clone() });
    }
    differences
}

fn host_changed(listed: &crate::api::Host, at_ms: i64) -> HostChanged {
    const NOT_AVAILABLE: u8 = 2;
    let interfaces = listed.interfaces.iter().filter(|interface| interface.available == NOT_AVAILABLE);
    let mut unavailable: Vec<Unavailable> = interfaces
        .map(|interface| Unavailable {
            interface: match interface.kind {
                1 => "agent",
                2 => "snmp",
                3 => "ipmi",
                4 => "jmx",
                _ => "other",
            }
            .to_owned(),
            error: meaningful(&interface.error).unwrap_or_default(),
        })
        .collect();
    if listed.active_available == NOT_AVAILABLE {
        unavailable.push(Unavailable { interface: "active".to_owned(), error: String::new() });
    }
    unavailable.sort();
    unavailable.dedup();
    let name = HostName { hostid: listed.hostid.clone(), host: listed.host.clone(), name: listed.name.clone() };
    let groups: BTreeSet<String> = listed.hostgroups.iter().filter_map(|group| meaningful(&group.name)).collect();
    HostChanged {
        at_ms,
        host: host(&name),
        groups: within(groups.into_iter().collect(), MAX_GROUP_BYTES),
        state: HostState {
            disabled: listed.status,
            maintenance: listed.maintenanceid.clone().filter(|_| listed.maintenance_status),
            unavailable,
            gone: false,
        },
    }
}

/// The update history in its order, each entry with what it left behind. `told` are known to be told: if that is more
/// than there are, a webhook's count was wrong, and theirs begins higher so that the last is the last.
fn entries(event: &Event, told: u32) -> Vec<Entry<'_>> {
    let mut history: Vec<&Acknowledge> = event.acknowledges.iter().collect();
    history.sort_by_key(|did| (did.clock, did.acknowledgeid.parse::<u64>().unwrap_or(u64::MAX)));
    let before = told.saturating_sub(u32::try_from(history.len()).unwrap_or(u32::MAX));
    let first_change = history.iter().find(|did| did.did(action::SEVERITY));
    let mut severity = first_change.map_or(event.severity, |did| did.old_severity);
    let mut acknowledged = false;
    let mut entries: Vec<Entry> = (before + 1..)
        .zip(history)
        .map(|(seq, did)| {
            if did.did(action::SEVERITY) {
                severity = did.new_severity;
            }
            acknowledged |= did.did(action::ACKNOWLEDGE);
            acknowledged &= !did.did(action::UNACKNOWLEDGE);
            Entry { did, seq, severity, acknowledged }
        })
        .collect();
    if let Some(last) = entries.last_mut() {
        // Zabbix's own word for how it is now
        (last.severity, last.acknowledged) = (event.severity, event.acknowledged);
    }
    entries
}

/// Whether an entry is the last update that is known. Not by its user, whom a webhook's user may not be able to read,
/// nor by the end of a suppression in its words, which has the server's zone.
fn is_told(did: &Acknowledge, view: &ProblemView) -> bool {
    let words = |action: &str| match action.split_once(" until ") {
        Some((before, after)) => format!("{before}{}", after.get("2026.11.21 09:17:23".len()..).unwrap_or_default()),
        None => action.to_owned(),
    };
    view.last_update.as_ref().is_some_and(|LastUpdate { at, action, message, .. }| {
        *at == did.clock && *message == meaningful(&did.message) && words(action) == words(&did.words())
    })
}

fn host(host: &HostName) -> Host {
    let (technical, visible) = (meaningful(&host.host), meaningful(&host.name));
    Host {
        id: host.hostid.clone(),
        host: technical.clone().or_else(|| visible.clone()).unwrap_or_default(),
        name: visible.or(technical).unwrap_or_default(),
    }
}

fn tag(tag: &Tag) -> Option<Tag> {
    Some(Tag { tag: meaningful(&tag.tag)?, value: meaningful(&tag.value).unwrap_or_default() })
}

#[cfg(test)]
mod tests;
