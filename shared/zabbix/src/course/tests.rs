use proptest::prelude::*;
use signalbox_messages::{Detail, Maintenance, Recovery, Suppression, Update};

use super::*;
use crate::fixtures;

const OPENED: i64 = 1_000;

fn opening() -> StatusChanged {
    StatusChanged {
        id: "1-problem".to_owned(),
        kind: ChangeKind::Problem,
        event_id: "1".to_owned(),
        problem: true,
        at: OPENED,
        seq: 0,
        exact: false,
        opened_at: OPENED,
        recovery: None,
        update: None,
        suppression: None,
        observed: None,
        detail: Detail { name: "Down".to_owned(), severity: 4, ..Detail::default() },
        sent_at_ms: None,
        accepted_at_ms: 0,
    }
}

fn update(at: i64, seq: u32, severity: u8) -> StatusChanged {
    StatusChanged {
        id: format!("1-update-{at}-{seq}"),
        kind: ChangeKind::Update,
        at,
        seq,
        update: Some(Update { at, action: "changed".to_owned(), message: None, user: None }),
        detail: Detail { severity, ..opening().detail },
        ..opening()
    }
}

fn observed(at: i64, observed: Observed) -> StatusChanged {
    StatusChanged {
        id: format!("1-observed-{at}"),
        kind: ChangeKind::Observed,
        at,
        exact: true,
        observed: Some(observed),
        detail: Detail::default(),
        ..opening()
    }
}

fn recovery(at: i64) -> StatusChanged {
    StatusChanged {
        id: "1-recovery-2".to_owned(),
        kind: ChangeKind::Recovery,
        problem: false,
        at,
        recovery: Some(Recovery { at, event_id: "2".to_owned() }),
        ..opening()
    }
}

/// Its stretches as `from-to severity flags`.
fn drawn(messages: &[StatusChanged]) -> Vec<String> {
    let stretches = Course::of(messages).unwrap().stretches;
    let draw = |Stretch { began_at, ended_at, condition }: &Stretch| {
        let ended_at = ended_at.map_or(String::new(), |at| at.to_string());
        let flags = [(condition.maintenance, 'm'), (condition.suppressed, 's'), (condition.unmonitored, 'u')];
        let flags: String = flags.iter().filter(|(is, _)| *is).map(|(_, flag)| *flag).collect();
        format!("{began_at}-{ended_at} {}{flags}", condition.severity)
    };
    stretches.iter().map(draw).collect()
}

fn maintenance(until: Option<i64>) -> Observed {
    Observed { maintenance: Some(Maintenance { id: "7".to_owned(), until }), ..Observed::default() }
}

fn gone() -> Observed {
    Observed { gone: true, ..Observed::default() }
}

#[test]
fn a_problem_is_one_stretch_until_something_changes() {
    assert_eq!(drawn(&[opening()]), ["1000- 4"]);
    assert_eq!(drawn(&[opening(), recovery(1_060)]), ["1000-1060 4"]);
    assert_eq!(drawn(&[opening(), recovery(OPENED)]), [""; 0], "ended as it began");
    assert_eq!(Course::of(&[opening(), recovery(OPENED)]).unwrap().severity, 4);
    assert_eq!(drawn(&[opening(), update(1_010, 1, 5), recovery(1_060)]), ["1000-1010 4", "1010-1060 5"]);
}

#[test]
fn a_maintenance_ends_with_the_next_observation_or_when_it_was_said_to() {
    let ended = [opening(), observed(1_010, maintenance(None)), observed(1_030, Observed::default()), recovery(1_060)];
    assert_eq!(drawn(&ended), ["1000-1010 4", "1010-1030 4m", "1030-1060 4"]);
    let silent = [opening(), observed(1_010, maintenance(Some(1_040))), recovery(1_060)];
    assert_eq!(drawn(&silent), ["1000-1010 4", "1010-1040 4m", "1040-1060 4"]);
}

#[test]
fn a_suppression_by_hand_is_over_when_it_is_lifted_or_has_run_out() {
    let suppress = |at, seq, suppressed, until| StatusChanged {
        suppression: Some(Suppression { suppressed, until }),
        ..update(at, seq, 4)
    };
    let lifted = [opening(), suppress(1_010, 1, true, Some(9_000)), suppress(1_020, 2, false, None)];
    assert_eq!(drawn(&lifted), ["1000-1010 4", "1010-1020 4s", "1020- 4"]);
    let run_out = [opening(), suppress(1_010, 1, true, Some(1_050)), update(1_020, 2, 5)];
    assert_eq!(drawn(&run_out), ["1000-1010 4", "1010-1020 4s", "1020-1050 5s", "1050- 5"]);
}

/// The end is the first observation of the last run of them: taking the newest would let it grow with every poll.
#[test]
fn one_that_is_gone_ends_when_that_was_found_and_one_that_came_back_was_there_meanwhile() {
    let lost = [opening(), observed(1_010, gone()), observed(1_020, gone())];
    assert_eq!(drawn(&lost), ["1000-1010 4"]);
    assert_eq!(Course::of(&lost).unwrap().recovered_at, None, "nobody has seen it recover");
    let back = [opening(), observed(1_010, gone()), observed(1_020, Observed::default())];
    assert_eq!(drawn(&back), ["1000- 4"]);
    let again = [opening(), observed(1_010, gone()), observed(1_020, Observed::default()), observed(1_030, gone())];
    assert_eq!(drawn(&again), ["1000-1030 4"]);
    let recovered = [opening(), observed(1_010, gone()), recovery(1_060)];
    assert_eq!(drawn(&recovered), ["1000-1060 4"]);
    assert_eq!(Course::of(&recovered).unwrap().recovered_at, Some(1_060));
}

/// The webhook's clock on the wall is an hour off: sorted by time alone, the severity would be 5 from 4610 on.
#[test]
fn of_two_messages_about_one_entry_the_one_with_exact_times_is_taken() {
    let exact = |update| StatusChanged { exact: true, ..update };
    let messages = [
        opening(),
        update(1_010 + 3_600, 1, 5),
        StatusChanged { id: "1-update-poll".to_owned(), ..exact(update(1_010, 1, 5)) },
        exact(update(1_020, 2, 3)),
    ];
    assert_eq!(drawn(&messages), ["1000-1010 4", "1010-1020 5", "1020- 3"]);
}

/// Macros are expanded when Zabbix sends: without the rule the late opening message would make it a disaster from the start.
#[test]
fn a_late_opening_message_does_not_say_how_it_began_if_another_knows_better() {
    let late = StatusChanged { seq: 1, detail: Detail { severity: 5, ..opening().detail }, ..opening() };
    let connector = StatusChanged { id: "1-problem-connector".to_owned(), exact: true, ..opening() };
    assert_eq!(drawn(&[late, update(1_010, 1, 5), connector]), ["1000-1010 4", "1010- 5"]);
}

#[test]
fn what_describes_nothing_and_what_is_no_problem_has_no_course() {
    let bare = StatusChanged { detail: Detail::default(), ..recovery(1_060) };
    assert_eq!(Course::of([&bare]), None);
    assert!(Course::of([&bare, &opening()]).is_some());
    let internal = StatusChanged { kind: ChangeKind::Internal, ..opening() };
    assert_eq!(Course::of([&internal]), None);
    assert_eq!(Course::of([]), None);
}

#[test]
fn the_recorded_story_has_its_acknowledgement_its_severities_and_its_suppression() {
    let names = ["01-problem-high", "02-update-acknowledge-with-message", "03-update-severity-to-disaster"];
    let more = ["04-update-unacknowledge", "06-update-suppress", "07-update-unsuppress", "08-recovery-high"];
    let story: Vec<StatusChanged> =
        names.iter().chain(&more).map(|name| fixtures::message(&format!("v7.0/{name}"))).collect();
    let course = Course::of(&story).unwrap();
    let (opened, acknowledged) = (course.opened_at, course.acknowledged_at.unwrap());
    assert_eq!((acknowledged, course.recovered_at), (story[1].at, Some(story[6].at)));
    assert!(opened < acknowledged && course.severity == 5 && course.subject.host.host == "web-01");
    let conditions: Vec<(u8, bool)> =
        course.stretches.iter().map(|stretch| (stretch.condition.severity, stretch.condition.suppressed)).collect();
    assert_eq!(conditions, [(4, false), (5, false), (5, true), (5, false)]);
}

/// Anything about event 1.
fn message() -> impl Strategy<Value = StatusChanged> {
    let exact = |message: StatusChanged, exact| StatusChanged { exact, ..message };
    let time = || OPENED - 5..OPENED + 60;
    prop_oneof![
        (time(), any::<bool>()).prop_map(move |(opened_at, is)| exact(StatusChanged { opened_at, ..opening() }, is)),
        (time(), 0..4_u32, 0..6_u8, any::<bool>(), any::<bool>()).prop_map(move |(at, seq, severity, is, ack)| {
            let mut message = exact(update(at, seq, severity), is);
            message.detail.acknowledged = ack;
            message
        }),
        (time(), 0..4_u32, any::<bool>(), prop::option::of(time())).prop_map(|(at, seq, suppressed, until)| {
            StatusChanged { suppression: Some(Suppression { suppressed, until }), ..update(at, seq, 4) }
        }),
        (time(), any::<bool>(), any::<bool>(), prop::option::of(prop::option::of(time()))).prop_map(
            |(at, gone, unmonitored, until)| {
                let seen = until.map_or(Observed::default(), maintenance);
                observed(at, Observed { gone, unmonitored, ..seen })
            }
        ),
        time().prop_map(recovery),
    ]
}

proptest! {
    /// Any order and any number of repetitions; and no gap, no overlap, no two equal neighbours.
    #[test]
    fn a_course_is_of_the_set_of_messages_and_has_no_gaps(
        (messages, shuffled) in prop::collection::vec(message(), 1..10).prop_flat_map(|mut messages| {
            // one id is one message
            messages.iter_mut().enumerate().for_each(|(n, message)| message.id = format!("{n}"));
            let again: Vec<_> = messages.iter().chain(&messages).cloned().collect();
            (Just(messages), Just(again).prop_shuffle())
        }),
    ) {
        let course = Course::of(&messages);
        prop_assert_eq!(&course, &Course::of(&shuffled));
        let Some(course) = course else { return Ok(()) };
        for pair in course.stretches.windows(2) {
            prop_assert_eq!(pair[0].ended_at, Some(pair[1].began_at));
            prop_assert_ne!(pair[0].condition, pair[1].condition);
        }
        for stretch in &course.stretches {
            prop_assert!(stretch.ended_at.is_none_or(|ended_at| stretch.began_at < ended_at));
        }
        if let Some(first) = course.stretches.first() {
            prop_assert_eq!(first.began_at, course.opened_at);
        }
    }
}
