use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};
use signalbox_messages::Suppression;

use super::*;
use crate::api::{HostGroup, SuppressionData};
use crate::{Merged, ProblemKind, fixtures};

/// A Zabbix as small as its API allows: what it is asked it answers as the real one does (Zabbix notes, 4).
#[derive(Debug, Clone, Default)]
struct Zabbix {
    /// Unix seconds.
    now: i64,
    newest: u64,
    triggers: BTreeMap<String, SimulatedTrigger>,
    /// Every event there has ever been.
    events: BTreeMap<u64, Event>,
    /// Open problems of deleted triggers that the housekeeper has not found yet.
    forgotten: BTreeSet<String>,
    next_acknowledge: u64,
}

#[derive(Debug, Clone, Default)]
struct SimulatedTrigger {
    deleted: bool,
    disabled: bool,
    unknown: bool,
    maintenance: Option<(u8, i64)>,
    host: u8,
    group: u8,
}

#[derive(Debug, Clone)]
enum Step {
    Open { trigger: u8, severity: u8 },
    Recover { trigger: u8 },
    Flap { trigger: u8 },
    Internal { trigger: u8 },
    InternalOver { trigger: u8 },
    Update { trigger: u8, action: u32, severity: u8, until: i64 },
    Rank { trigger: u8, cause: u8 },
    Maintenance { trigger: u8, maintenance: Option<(u8, i64)> },
    Disable { trigger: u8, disabled: bool },
    Unknown { trigger: u8, unknown: bool },
    Rename { trigger: u8, host: u8, group: u8 },
    Delete { trigger: u8 },
    Housekeeper,
    Wait { seconds: i64 },
    Poll { lost: bool },
}

fn any_step() -> impl Strategy<Value = Step> {
    let trigger = || 0..3_u8;
    prop_oneof![
        4 => (trigger(), 0..6_u8).prop_map(|(trigger, severity)| Step::Open { trigger, severity }),
        3 => trigger().prop_map(|trigger| Step::Recover { trigger }),
        2 => trigger().prop_map(|trigger| Step::Flap { trigger }),
        1 => trigger().prop_map(|trigger| Step::Internal { trigger }),
        1 => trigger().prop_map(|trigger| Step::InternalOver { trigger }),
        6 => (trigger(), 1..128_u32, 0..6_u8, prop::sample::select(vec![0, 2_000_000_000]))
            .prop_map(|(trigger, action, severity, until)| Step::Update { trigger, action, severity, until }),
        1 => (trigger(), trigger()).prop_map(|(trigger, cause)| Step::Rank { trigger, cause }),
        2 => (trigger(), prop::option::of((1..3_u8, 5..7_i64)))
            .prop_map(|(trigger, maintenance)| Step::Maintenance { trigger, maintenance }),
        1 => (trigger(), any::<bool>()).prop_map(|(trigger, disabled)| Step::Disable { trigger, disabled }),
        1 => (trigger(), any::<bool>()).prop_map(|(trigger, unknown)| Step::Unknown { trigger, unknown }),
        1 => (trigger(), 0..2_u8, 0..2_u8).prop_map(|(trigger, host, group)| Step::Rename { trigger, host, group }),
        1 => trigger().prop_map(|trigger| Step::Delete { trigger }),
        1 => Just(Step::Housekeeper),
        2 => (0..3_i64).prop_map(|seconds| Step::Wait { seconds }),
        4 => prop::bool::weighted(0.2).prop_map(|lost| Step::Poll { lost }),
    ]
}

impl Zabbix {
    fn new() -> Self {
        let triggers = (0..3).map(|id: u8| (format!("{}", 100 + id), SimulatedTrigger::default())).collect();
        Self { now: 1_795_249_000, triggers, ..Self::default() }
    }

    fn key(trigger: u8) -> String {
        (100 + trigger).to_string()
    }

    fn event(&mut self, source: u8, trigger: u8, value: bool, severity: u8) -> String {
        self.newest += 1;
        let eventid = self.newest.to_string();
        let event = Event {
            eventid: eventid.clone(),
            source,
            objectid: Self::key(trigger),
            clock: self.now,
            value,
            name: "Latency 812 ms".to_owned(),
            severity,
            tags: vec![Tag { tag: "scope".to_owned(), value: String::new() }],
            ..Event::default()
        };
        self.events.insert(self.newest, event);
        eventid
    }

    fn opened(&mut self, source: u8, trigger: u8) -> Option<&mut Event> {
        let key = Self::key(trigger);
        if self.triggers[&key].deleted {
            return None;
        }
        self.events
            .values_mut()
            .rev()
            .find(|event| event.value && event.source == source && event.objectid == key && event.r_eventid.is_none())
    }

    fn end(&mut self, source: u8, trigger: u8) {
        if self.opened(source, trigger).is_some() {
            let recovery = self.event(source, trigger, false, 0);
            if let Some(problem) = self.opened(source, trigger) {
                problem.r_eventid = Some(recovery);
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Open { trigger, severity } => {
                if !self.triggers[&Self::key(trigger)].deleted {
                    self.event(0, trigger, true, severity);
                }
            }
            Step::Internal { trigger } => {
                if !self.triggers[&Self::key(trigger)].deleted {
                    self.event(3, trigger, true, 0);
                }
            }
            Step::Recover { trigger } => self.end(0, trigger),
            Step::InternalOver { trigger } => self.end(3, trigger),
            Step::Flap { trigger } => {
                self.step(&Step::Open { trigger, severity: 3 });
                self.step(&Step::Update { trigger, action: 6, severity: 0, until: 0 });
                self.end(0, trigger);
            }
            Step::Update { trigger, action, severity, until } => {
                self.next_acknowledge += 1;
                let (id, clock) = (self.next_acknowledge.to_string(), self.now);
                if let Some(problem) = self.opened(0, trigger) {
                    // one update cannot do both
                    let action = action & !1;
                    let action = if action & 32 != 0 { action & !64 } else { action };
                    let action = if action & 2 != 0 { action & !16 } else { action };
                    let did = Acknowledge {
                        acknowledgeid: id,
                        clock,
                        message: if action & 4 == 0 { String::new() } else { "looking".to_owned() },
                        action,
                        old_severity: if action & 8 == 0 { 0 } else { problem.severity },
                        new_severity: if action & 8 == 0 { 0 } else { severity },
                        suppress_until: if action & 32 == 0 { 0 } else { until },
                        ..Acknowledge::default()
                    };
                    if action & 8 != 0 {
                        problem.severity = severity;
                    }
                    problem.acknowledged = (problem.acknowledged || action & 2 != 0) && action & 16 == 0;
                    problem.suppression_data.retain(|data| data.maintenanceid.is_some() || action & 64 == 0);
                    if action & 32 != 0 {
                        problem.suppression_data.push(SuppressionData { maintenanceid: None, suppress_until: until });
                    }
                    // newest first, as the recorded answers have them
                    problem.acknowledges.insert(0, did);
                }
            }
            Step::Rank { trigger, cause } => {
                let cause = self.opened(0, cause).map(|event| event.eventid.clone());
                if let Some(problem) = self.opened(0, trigger) {
                    problem.cause_eventid = cause.filter(|cause| *cause != problem.eventid);
                }
            }
            Step::Maintenance { trigger, maintenance } => self.trigger(trigger).maintenance = maintenance,
            Step::Disable { trigger, disabled } => self.trigger(trigger).disabled = disabled,
            Step::Unknown { trigger, unknown } => self.trigger(trigger).unknown = unknown,
            Step::Rename { trigger, host, group } => {
                let trigger = self.trigger(trigger);
                (trigger.host, trigger.group) = (host, group);
            }
            Step::Delete { trigger } => {
                self.trigger(trigger).deleted = true;
                self.forgotten.insert(Self::key(trigger));
            }
            Step::Housekeeper => self.forgotten.clear(),
            Step::Wait { seconds } => self.now += seconds,
            Step::Poll { .. } => {}
        }
    }

    fn trigger(&mut self, trigger: u8) -> &mut SimulatedTrigger {
        self.triggers.get_mut(&Self::key(trigger)).unwrap()
    }

    /// `problem.get`
    fn problems(&self) -> BTreeMap<String, Event> {
        let open = self.events.values().filter(|event| event.value && event.r_eventid.is_none());
        let listed =
            open.filter(|event| !self.triggers[&event.objectid].deleted || self.forgotten.contains(&event.objectid));
        listed.map(|event| (event.eventid.clone(), self.told(event))).collect()
    }

    /// `event.get`
    fn events(&self, which: impl Fn(&Event) -> bool) -> BTreeMap<String, Event> {
        let seen = self.events.values().filter(|event| !self.triggers[&event.objectid].deleted && which(event));
        seen.map(|event| (event.eventid.clone(), self.told(event))).collect()
    }

    fn told(&self, event: &Event) -> Event {
        let mut event = event.clone();
        if let Some((id, until)) = self.triggers[&event.objectid].maintenance {
            let data = SuppressionData { maintenanceid: Some(id.to_string()), suppress_until: until };
            event.suppression_data.push(data);
        }
        event
    }

    /// `trigger.get`
    fn triggers(&self, ids: &[String]) -> BTreeMap<String, Trigger> {
        let seen = ids.iter().filter(|id| !self.triggers[*id].deleted);
        seen.map(|id| (id.clone(), self.triggers[id].told(id))).collect()
    }
}

impl SimulatedTrigger {
    fn told(&self, id: &str) -> Trigger {
        Trigger {
            triggerid: id.to_owned(),
            description: "Latency".to_owned(),
            priority: 3,
            state: self.unknown,
            error: "division by zero".to_owned(),
            hosts: vec![HostName { hostid: "7".to_owned(), host: "web-01".to_owned(), name: self.host.to_string() }],
            hostgroups: vec![HostGroup { name: self.group.to_string() }],
            ..Trigger::default()
        }
    }
}

/// Polls as the module says; what is told is merged in this order and once more backwards.
#[derive(Debug, Default)]
struct Poller {
    cursor: u64,
    problems: BTreeMap<String, Problem>,
}

impl Poller {
    fn poll(&mut self, zabbix: &Zabbix) -> Vec<StatusChanged> {
        let open = self.problems.iter().filter(|(_, problem)| problem.is_open() && problem.is_described());
        let mut known: BTreeMap<String, Known> = open.map(|(id, problem)| (id.clone(), problem.into())).collect();
        let mut snapshot = Snapshot { at_ms: zabbix.now * 1_000, open: zabbix.problems(), ..Snapshot::default() };
        let from = self.cursor.saturating_sub(5);
        snapshot.events = zabbix.events(|event| event.eventid.parse::<u64>().unwrap() > from);
        for id in snapshot.strangers(&known) {
            if let Some(problem) = self.problems.get(&id) {
                known.insert(id, problem.into());
            }
        }
        let missing = snapshot.missing(&known);
        snapshot.events.extend(zabbix.events(|event| missing.contains(&event.eventid)));
        let unsigned = snapshot.unsigned(&known);
        snapshot.sign(zabbix.events(|event| unsigned.contains(&event.eventid)).into_values().collect());
        let recoveries = snapshot.recoveries();
        snapshot.events.extend(zabbix.events(|event| recoveries.contains(&event.eventid)));
        let ids = snapshot.trigger_ids();
        snapshot.triggers = zabbix.triggers(&ids);
        snapshot.monitored = ids.into_iter().filter(|id| !zabbix.triggers[id].disabled).collect();
        differences(&snapshot, &known, 5)
    }

    fn take(&mut self, messages: &[StatusChanged], zabbix: &Zabbix) {
        for message in messages.iter().chain(messages.iter().rev()) {
            match self.problems.get_mut(&message.event_id) {
                Some(problem) => {
                    problem.merge(message);
                }
                None => {
                    self.problems.insert(message.event_id.clone(), Problem::first(message));
                }
            }
        }
        self.cursor = zabbix.newest;
    }

    /// What is known is what Zabbix knows.
    fn check(&self, zabbix: &Zabbix) -> Result<(), TestCaseError> {
        for event in zabbix.events.values().filter(|event| event.value) {
            let trigger = &zabbix.triggers[&event.objectid];
            let Some(problem) = self.problems.get(&event.eventid) else {
                prop_assert!(trigger.deleted, "{} is not known", event.eventid);
                continue;
            };
            let view = problem.view();
            prop_assert_eq!(view.opened_at, event.clock);
            if trigger.deleted {
                // how it ended can have been deleted with it
                prop_assert_eq!(view.state, ProblemState::Resolved);
                continue;
            }
            prop_assert!(!view.gone);
            let recovery = event.r_eventid.as_ref().map(|id| zabbix.events[&id.parse::<u64>().unwrap()].clock);
            prop_assert_eq!(view.resolved_at, recovery);
            prop_assert_eq!(view.state == ProblemState::Open, recovery.is_none());
            if event.source == 3 {
                prop_assert_eq!(view.kind, ProblemKind::Internal);
                prop_assert_eq!(view.error.is_some(), recovery.is_none());
                continue;
            }
            prop_assert_eq!((view.severity, view.acknowledged), (event.severity, event.acknowledged));
            prop_assert_eq!(problem.updates_told() as usize, event.acknowledges.len());
            let suppression = event.acknowledges.iter().find_map(Acknowledge::suppression);
            let suppression = suppression.unwrap_or(Suppression { suppressed: false, until: None });
            prop_assert_eq!((view.suppressed, view.suppressed_until), (suppression.suppressed, suppression.until));
            let last = event.acknowledges.first().map(Acknowledge::words);
            prop_assert_eq!(view.last_update.map(|update| update.action), last);
            if recovery.is_none() {
                let maintenance =
                    trigger.maintenance.map(|(id, until)| Maintenance { id: id.to_string(), until: Some(until) });
                prop_assert_eq!(view.maintenance, maintenance);
                prop_assert_eq!((view.unmonitored, view.unknown.is_some()), (trigger.disabled, trigger.unknown));
                prop_assert_eq!(view.cause, event.cause_eventid.clone());
                prop_assert_eq!(
                    (view.host.name, view.groups),
                    (trigger.host.to_string(), vec![trigger.group.to_string()])
                );
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    /// Would fail if a difference were not told, or were told for ever: without the cursor (a flap is in no list),
    /// without the place in an observation (a rename), or if what is missing were taken for over, or for gone, without
    /// asking how it ended.
    #[test]
    fn whatever_happens_between_polls_what_is_known_ends_as_what_is_so(steps in prop::collection::vec(any_step(), 1..60)) {
        let (mut zabbix, mut poller) = (Zabbix::new(), Poller::default());
        for step in &steps {
            zabbix.step(step);
            if let Step::Poll { lost } = step {
                zabbix.now += 1;
                let messages = poller.poll(&zabbix);
                // the cursor goes on only when all were taken
                if !lost {
                    poller.take(&messages, &zabbix);
                    poller.check(&zabbix)?;
                }
            }
        }
        zabbix.now += 1;
        let messages = poller.poll(&zabbix);
        let ids: BTreeSet<&String> = messages.iter().map(|message| &message.id).collect();
        prop_assert_eq!(ids.len(), messages.len(), "an id is one fact");
        zabbix.now += 1;
        let again = poller.poll(&zabbix);
        let again: BTreeSet<&String> = again.iter().map(|message| &message.id).collect();
        prop_assert_eq!(&again, &ids, "a repetition is one");
        poller.take(&messages, &zabbix);
        poller.check(&zabbix)?;
        zabbix.now += 1;
        let nothing = poller.poll(&zabbix);
        prop_assert!(nothing.is_empty(), "{:?}", nothing);
    }
}

fn recorded<T: serde::de::DeserializeOwned>(name: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/api/{name}.json"));
    let mut answer: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    serde_json::from_value(answer["response"]["body"]["result"].take()).unwrap()
}

/// The recorded problem 19 of 7.0: acknowledged, raised, unacknowledged, commented twice, suppressed, unsuppressed,
/// recovered.
fn story_of_19() -> Snapshot {
    let triggers: Vec<Trigger> = recorded("v7.0/trigger.get-all");
    let recoveries: Vec<Event> = recorded("v7.0/event.get-recoveries");
    let events: Vec<Event> = recorded("v7.0/event.get-one-resolved-with-updates");
    Snapshot {
        at_ms: 1_795_249_060_000,
        events: recoveries.into_iter().chain(events).map(|event| (event.eventid.clone(), event)).collect(),
        monitored: triggers.iter().map(|trigger| trigger.triggerid.clone()).collect(),
        triggers: triggers.into_iter().map(|trigger| (trigger.triggerid.clone(), trigger)).collect(),
        ..Snapshot::default()
    }
}

fn merged<'a>(messages: impl IntoIterator<Item = &'a StatusChanged>) -> Problem {
    let mut messages = messages.into_iter();
    let mut problem = Problem::first(messages.next().unwrap());
    for message in messages {
        problem.merge(message);
    }
    problem
}

/// Would fail if seq, times or words of a poll were others than a webhook's: the two would tell a change twice.
#[test]
fn a_poll_tells_the_recorded_story_as_the_webhooks_did() {
    let polled: Vec<StatusChanged> = differences(&story_of_19(), &BTreeMap::new(), 0);
    let polled: Vec<&StatusChanged> = polled.iter().filter(|message| message.event_id == "19").collect();
    let webhooks: Vec<StatusChanged> = fixtures::all("v7.0")
        .iter()
        .map(fixtures::Fixture::message)
        .filter(|message| message.event_id == "19")
        .collect();
    // the webhook's own user's comment makes no webhook (Zabbix notes, 3.1), so they have one update less
    assert_eq!((polled.len(), webhooks.len()), (9, 8));
    let without_user = |problem: &Problem| {
        let mut view = problem.view();
        view.last_update.iter_mut().for_each(|update| update.user = None);
        view.version = 0;
        view.opdata = None; // as it read when each was sent
        view
    };
    let by_poll = merged(polled.iter().copied());
    assert_eq!(without_user(&by_poll), without_user(&merged(&webhooks)));
    assert_eq!(by_poll.view().last_update.unwrap().user.as_deref(), Some("Zabbix Administrator (Admin)"));
    for webhook in &webhooks {
        let same = polled.iter().find(|polled| {
            let update =
                |message: &StatusChanged| message.update.as_ref().map(|update| (update.at, update.action.clone()));
            polled.kind == webhook.kind && update(polled) == update(webhook)
        });
        let same = same.unwrap_or_else(|| panic!("{webhook:?}"));
        assert_eq!((same.seq, same.at), (webhook.seq, webhook.at), "{}", webhook.id);
        assert_eq!(
            (same.detail.severity, same.detail.acknowledged),
            (webhook.detail.severity, webhook.detail.acknowledged)
        );
        assert_eq!(same.suppression, webhook.suppression);
    }
    let both = polled.into_iter().chain(&webhooks).rev();
    assert_eq!(without_user(&merged(both)), without_user(&by_poll));
}

/// A snapshot with the recorded problem that is suppressed by hand, number 19 while it was open.
fn suppressed_19() -> Snapshot {
    let problems: Vec<Event> = recorded("v7.0/problem.get-suppressed-manually");
    let open = problems.into_iter().map(|problem| (problem.eventid.clone(), problem)).collect();
    Snapshot { open, events: BTreeMap::new(), ..story_of_19() }
}

fn known_of(messages: &[StatusChanged]) -> BTreeMap<String, Known> {
    BTreeMap::from([("19".to_owned(), Known::from(&merged(messages)))])
}

#[test]
fn what_the_webhooks_told_is_not_told_again() {
    let webhooks: Vec<StatusChanged> = ["01-problem-high", "02-update-acknowledge-with-message", "06-update-suppress"]
        .map(|name| fixtures::message(&format!("v7.0/{name}")))
        .into();
    assert_eq!(differences(&suppressed_19(), &known_of(&webhooks), 0), Vec::new());
}

/// The poller's user may not see a host group that is newer than its rights, and the connector streams it all the same.
/// Would fail if a problem that is not listed were always taken for gone.
#[test]
fn what_a_connector_alone_has_told_is_not_gone_because_the_poller_may_not_see_it() {
    let mut streamed = fixtures::message("v7.0/01-problem-high");
    streamed.detail.trigger_id = None;
    let nothing = Snapshot { open: BTreeMap::new(), events: BTreeMap::new(), ..story_of_19() };
    assert_eq!(differences(&nothing, &known_of(&[streamed.clone()]), 0), Vec::new());
    let seen = fixtures::message("v7.0/01-problem-high");
    let told = differences(&nothing, &known_of(&[streamed, seen]), 0);
    assert!(matches!(&told[..], [told] if told.observed.as_ref().is_some_and(|observed| observed.gone)), "{told:?}");
}

/// Its event outlives a trigger by up to a minute, and `problem.get` may be answered by a proxy that knows no better.
#[test]
fn what_is_not_listed_is_gone_if_its_trigger_is_and_not_if_the_list_is_wrong() {
    let mut streamed = fixtures::message("v7.0/01-problem-high");
    streamed.detail.trigger_id = None;
    let mut event = suppressed_19().open.remove("19").unwrap();
    event.r_eventid = None;
    let mut snapshot = Snapshot { open: BTreeMap::new(), ..story_of_19() };
    snapshot.events = BTreeMap::from([("19".to_owned(), event.clone())]);
    assert!(snapshot.trigger_ids().contains(&event.objectid));
    assert_eq!(differences(&snapshot, &known_of(&[streamed.clone()]), 0), Vec::new());
    snapshot.triggers.clear();
    let told = differences(&snapshot, &known_of(&[streamed]), 0);
    assert!(matches!(&told[..], [told] if told.observed.as_ref().is_some_and(|observed| observed.gone)), "{told:?}");
}

/// Would fail if a poll's `{TRIGGER.ID}` took the place of the link that a webhook has brought.
#[test]
fn a_link_with_macros_is_no_link() {
    let mut snapshot = suppressed_19();
    let trigger = snapshot.open["19"].objectid.clone();
    snapshot.triggers.get_mut(&trigger).unwrap().url = "https://wiki.example.org/{TRIGGER.ID}".to_owned();
    assert!(differences(&snapshot, &BTreeMap::new(), 0).iter().all(|told| told.detail.url.is_none()));
}

/// Each webhook counts the entries of the history; would fail if the count alone were believed.
#[test]
fn a_webhook_that_was_lost_is_told_though_a_later_message_knew_of_its_entry() {
    let webhooks = [fixtures::message("v7.0/01-problem-high"), {
        let mut delayed = fixtures::message("v7.0/06-update-suppress");
        // it tells of six entries, and of the last one nothing
        (delayed.suppression, delayed.update) = (None, None);
        delayed
    }];
    let mut known = merged(&webhooks);
    let told = differences(&suppressed_19(), &BTreeMap::from([("19".to_owned(), Known::from(&known))]), 0);
    assert_eq!(told.iter().map(|message| message.id.as_str()).collect::<Vec<_>>(), ["19-update-6-poll"]);
    assert_eq!(known.merge(&told[0]), Merged::Changed);
    assert_eq!(known.view().suppressed_until, Some(1_795_252_643));
}

/// A comment can imitate a line of the history, and the webhook counts it.
#[test]
fn a_count_that_is_too_high_is_outbid() {
    let mut wrong = fixtures::message("v7.0/02-update-acknowledge-with-message");
    wrong.seq = 40;
    let opening = fixtures::message("v7.0/01-problem-high");
    let mut known = merged([&opening, &wrong]);
    let told = differences(&suppressed_19(), &BTreeMap::from([("19".to_owned(), Known::from(&known))]), 0);
    for message in &told {
        known.merge(message);
    }
    assert_eq!((known.view().severity, known.view().acknowledged, known.view().suppressed), (5, false, true));
    assert_eq!(differences(&suppressed_19(), &BTreeMap::from([("19".to_owned(), Known::from(&known))]), 0), Vec::new());
}

#[test]
fn a_time_that_a_webhook_read_in_another_zone_is_mended() {
    let mut opening = fixtures::message("v7.0/01-problem-high");
    opening.opened_at += 3_600;
    opening.at += 3_600;
    let mut known = merged([&opening]);
    for message in differences(&suppressed_19(), &known_of(&[opening]), 0) {
        known.merge(&message);
    }
    assert_eq!(known.view().opened_at, 1_795_249_005);
}

#[test]
fn a_problem_in_maintenance_is_told_with_it_and_of_a_symptom_the_cause() {
    for (file, id) in [("problem.get-in-maintenance", "69"), ("problem.get-symptom", "65")] {
        let problems: Vec<Event> = recorded(&format!("v7.0/{file}"));
        let open = problems.into_iter().map(|problem| (problem.eventid.clone(), problem)).collect();
        let snapshot = Snapshot { open, events: BTreeMap::new(), ..story_of_19() };
        let told = differences(&snapshot, &BTreeMap::new(), 0);
        let view = merged(&told).view();
        assert_eq!(view.event_id, id);
        if id == "69" {
            let maintenance = Maintenance { id: "2".to_owned(), until: Some(1_795_256_400) };
            assert_eq!((view.maintenance, view.suppressed), (Some(maintenance), false), "not by hand");
        } else {
            assert_eq!(view.cause.as_deref(), Some("45"));
            assert_eq!(view.last_update.unwrap().action, "ranked as symptom");
        }
    }
}

#[test]
fn names_of_any_script_and_with_control_characters_are_told_as_text() {
    let mut snapshot = suppressed_19();
    let problem = snapshot.open.get_mut("19").unwrap();
    problem.name = "\0 \u{202e}Störung 障害 {EVENT.NAME} ".to_owned();
    problem.tags = vec![Tag { tag: "*UNKNOWN*".to_owned(), value: "x".to_owned() }];
    let trigger = snapshot.triggers.get_mut("25212").unwrap();
    trigger.url = "javascript:alert(1)".to_owned();
    trigger.hosts = vec![serde_json::from_value(json!({ "hostid": "1", "host": "ホスト", "name": "" })).unwrap()];
    let view = merged(&differences(&snapshot, &BTreeMap::new(), 0)).view();
    assert_eq!(view.name, "\u{202e}Störung 障害 {EVENT.NAME}");
    assert_eq!((view.host.name.as_str(), view.url, view.tags.len()), ("ホスト", None, 0));
    snapshot.open.get_mut("19").unwrap().name = String::new();
    let view = merged(&differences(&snapshot, &BTreeMap::new(), 0)).view();
    assert!(!view.name.is_empty(), "a problem without a name would be shown to nobody");
}

/// Would fail if a host that is as hosts are were told in every poll, or what ended were told never.
#[test]
fn of_a_host_is_told_what_differs_and_nothing_twice() {
    for version in ["v6.0", "v7.0"] {
        let of = |name: &str| recorded::<crate::api::Host>(&format!("{version}/{name}"));
        let mut known = BTreeMap::new();
        let mut poll = |hosts: &[crate::api::Host], at_ms| {
            let told = host_differences(hosts, &known, at_ms);
            known.extend(told.iter().map(|changed| (changed.host.id.clone(), changed.clone())));
            told
        };
        let hosts = of("host.get");
        let told = poll(&hosts, 1);
        let [web02] = &told[..] else { panic!("{told:?}") };
        assert_eq!(web02.host.host, "web-02");
        assert_eq!(web02.state.unavailable[0].interface, "agent");
        assert!(web02.state.unavailable[0].error.contains("Connection refused"));
        assert!(poll(&hosts, 2).is_empty());

        let with = |changed: crate::api::Host| -> Vec<crate::api::Host> {
            let others = hosts.iter().filter(|host| host.hostid != changed.hostid).cloned();
            others.chain([changed.clone()]).collect()
        };
        let disabled = with(of("host.get-disabled").remove(0));
        let told = poll(&disabled, 3);
        assert!(told.len() == 1 && told[0].state.disabled, "{told:?}");
        let told = poll(&hosts, 4);
        assert!(told.len() == 1 && told[0].state.is_ordinary(), "{told:?}");
        let told = poll(&with(of("host.get-in-maintenance").remove(0)), 5);
        assert!(told.len() == 1 && told[0].state.maintenance.is_some(), "{told:?}");
        assert_eq!(poll(&hosts, 6).len(), 1);
        let told = poll(&hosts[..1], 7);
        assert!(told.iter().all(|changed| changed.state.gone) && !told.is_empty(), "{told:?}");
        assert!(poll(&hosts[..1], 8).is_empty());
        assert!(poll(&hosts, 9).iter().all(|changed| !changed.state.gone));
    }
}
