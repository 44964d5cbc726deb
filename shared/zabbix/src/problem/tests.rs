use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::fixtures;

/// Merged from nothing, in this order.
fn merged<'a>(messages: impl IntoIterator<Item = &'a StatusChanged>) -> Problem {
    let mut messages = messages.into_iter();
    let mut problem = Problem::first(messages.next().unwrap());
    for message in messages {
        problem.merge(message);
    }
    problem
}

/// Without the version, which depends on the way.
fn state(mut problem: Problem) -> Problem {
    problem.set_version(0);
    problem
}

/// The recorded requests of each folder by event id.
fn recorded() -> Vec<Vec<StatusChanged>> {
    let mut stories = BTreeMap::<_, Vec<_>>::new();
    for folder in ["recommended", "v6.0", "v7.0"] {
        for fixture in fixtures::all(folder) {
            let message = fixture.message();
            stories
                .entry((folder, fixture.name.starts_with("v7"), message.event_id.clone()))
                .or_default()
                .push(message);
        }
    }
    stories.into_values().collect()
}

fn unix(time: &str) -> i64 {
    format!("2026-11-21T{time}Z").parse::<jiff::Timestamp>().unwrap().as_second()
}

#[test]
fn the_story_of_a_problem_ends_resolved_with_all_that_was_said() {
    let story: Vec<StatusChanged> = recorded()
        .into_iter()
        .find(|story| story.len() == 8)
        .expect("event 19 of the 7.0 run: problem, 6 updates, recovery");
    let mut problem = Problem::first(&story[0]);
    for message in &story[1..] {
        assert_eq!(problem.merge(message), Merged::Changed, "each tells something new");
    }
    assert_eq!(
        serde_json::to_value(problem.view()).unwrap(),
        json!({
            "event_id": "19", "version": 8, "kind": "problem", "state": "resolved",
            "name": "Web application down on Web 01 – Schaufenster", "severity": 5,
            "opened_at": unix("08:16:45"), "resolved_at": unix("08:17:32"),
            "acknowledged": false, "suppressed": false, "opdata": "status=0",
            "host": {"id": "10680", "host": "web-01", "name": "Web 01 – Schaufenster"},
            "groups": ["Site A/Web servers"],
            "tags": [
                {"tag": "component", "value": "app"}, {"tag": "env", "value": "prod"},
                {"tag": "scope", "value": "availability"}, {"tag": "service", "value": "shop"}, {"tag": "site", "value": "A"},
            ],
            "trigger_id": "25212", "url": "https://wiki.example.org/runbook/web",
            "last_update": {"at": unix("08:17:28"), "action": "unsuppressed", "user": "Inaccessible user"},
        })
    );
}

#[test]
fn a_problem_survives_its_storage() {
    for story in recorded() {
        let problem = merged(&story);
        let stored = serde_json::to_string(&problem).unwrap();
        assert_eq!(serde_json::from_str::<Problem>(&stored).unwrap(), problem);
        let view = problem.view();
        assert_eq!(serde_json::from_value::<ProblemView>(serde_json::to_value(&view).unwrap()).unwrap(), view);
    }
}

#[test]
fn a_late_problem_message_undoes_neither_severity_nor_acknowledgement() {
    let opening = fixtures::message("v7.0/01-problem-high");
    let changed = fixtures::message("v7.0/03-update-severity-to-disaster");
    let mut problem = Problem::first(&changed);
    assert_eq!(problem.merge(&opening), Merged::Known);
    assert_eq!((problem.view().severity, problem.view().acknowledged, problem.version()), (5, true, 1));

    // also when the value came from a host whose clock is an hour ahead
    let mut ahead = opening;
    ahead.at += 3_600;
    ahead.opened_at += 3_600;
    assert_eq!(problem.merge(&ahead), Merged::Known);
}

#[test]
fn a_recovery_before_its_problem_leaves_it_resolved() {
    let mut problem = Problem::first(&fixtures::message("v7.0/08-recovery-high"));
    assert_eq!(problem.merge(&fixtures::message("v7.0/01-problem-high")), Merged::Known);
    assert!(!problem.is_open());
    assert_eq!(problem.resolved_at(), Some(unix("08:17:32")));
}

#[test]
fn a_manual_close_reads_the_same_whichever_message_comes_first() {
    let recovery = fixtures::message("v7.0/18-manual-close-recovery");
    let update = fixtures::message("v7.0/19-manual-close-update");
    let mut recovery_first = Problem::first(&recovery);
    assert_eq!(recovery_first.merge(&update), Merged::Changed, "who closed it and why");
    assert!(!recovery_first.is_open());
    let mut update_first = Problem::first(&update);
    assert!(!update_first.is_open(), "its EVENT.VALUE is 0");
    assert_eq!(update_first.merge(&recovery), Merged::Known);
    assert_eq!(state(recovery_first), state(update_first));
}

#[test]
fn what_is_over_never_opens_again() {
    let recovery = fixtures::message("v7.0/08-recovery-high");
    let mut late = fixtures::message("v7.0/06-update-suppress");
    late.at += 86_400;
    let mut problem = Problem::first(&recovery);
    problem.merge(&late);
    assert_eq!(problem.view().state, ProblemState::Resolved);
    assert_eq!(problem.resolved_at(), Some(unix("08:17:32")));
}

#[test]
fn suppression_lasts_through_other_updates_and_ends_with_an_unsuppress() {
    let mut problem =
        merged(&[fixtures::message("v7.0/01-problem-high"), fixtures::message("v7.0/06-update-suppress")]);
    assert_eq!((problem.view().suppressed, problem.view().suppressed_until), (true, Some(unix("09:17:23"))));
    let mut comment = fixtures::message("v7.0/05-update-message-only");
    comment.at += 100;
    problem.merge(&comment);
    assert!(problem.view().suppressed);
    let mut unsuppress = fixtures::message("v7.0/07-update-unsuppress");
    unsuppress.at += 200;
    problem.merge(&unsuppress);
    assert_eq!((problem.view().suppressed, problem.view().suppressed_until), (false, None));
}

#[test]
fn an_internal_problem_is_marked_so_and_ends() {
    let mut problem = Problem::first(&fixtures::message("v7.0/20-internal-trigger-unknown"));
    let view = problem.view();
    assert_eq!((view.kind, view.state, view.error.is_some()), (ProblemKind::Internal, ProblemState::Open, true));
    assert_eq!(problem.merge(&fixtures::message("v7.0/21-internal-trigger-normal")), Merged::Changed);
    let view = problem.view();
    assert_eq!((view.kind, view.state, view.error), (ProblemKind::Internal, ProblemState::Resolved, None));
}

#[test]
fn problems_of_one_trigger_do_not_meet() {
    let (one, other) =
        (fixtures::message("v7.0/16-problem-multiple-1"), fixtures::message("v7.0/17-problem-multiple-2"));
    assert_eq!(one.detail.trigger_id, other.detail.trigger_id);
    let mut problem = Problem::first(&one);
    assert_eq!(problem.merge(&other), Merged::Known);
    assert_eq!(problem, Problem::first(&one));
}

#[test]
fn a_time_read_too_late_gives_way_to_the_earlier_one() {
    let mut late = fixtures::message("v7.0/08-recovery-high");
    late.opened_at += 900;
    late.recovery.as_mut().unwrap().at += 900;
    let mut problem = Problem::first(&late);
    assert_eq!(problem.merge(&fixtures::message("v7.0/08-recovery-high")), Merged::Changed);
    assert_eq!((problem.view().opened_at, problem.resolved_at()), (unix("08:16:45"), Some(unix("08:17:32"))));
}

/// Messages about one event id from small ranges, so that times, counts and contents often tie.
fn any_message() -> impl Strategy<Value = StatusChanged> {
    let kind = prop::sample::select(vec![
        ChangeKind::Problem,
        ChangeKind::Update,
        ChangeKind::Recovery,
        ChangeKind::Internal,
        ChangeKind::Observed,
    ]);
    let recovery = prop::option::of((0..3_i64, 0..3_u8));
    let update = prop::option::of((0..3_i64, 0..3_u8, prop::option::of(0..2_u8)));
    let suppression = prop::option::of((any::<bool>(), prop::option::of(0..3_i64)));
    let observed =
        prop::option::of((prop::option::of(0..2_u8), any::<bool>(), any::<bool>(), prop::option::of(0..2_u8)));
    let times = (0..3_i64, 0..2_u32, 0..3_i64, any::<bool>());
    let detail = (0..2_u8, 0..3_u8, any::<bool>(), prop::option::of(0..2_u8));
    (kind, any::<bool>(), times, recovery, update, (suppression, observed), detail).prop_map(
        |(kind, problem, times, recovery, update, (suppression, observed), detail)| {
            let (at, seq, opened_at, exact) = times;
            let (name, severity, acknowledged, opdata) = detail;
            StatusChanged {
                id: "1-x".into(),
                kind,
                event_id: "1".into(),
                problem,
                at,
                seq,
                exact,
                opened_at,
                recovery: recovery.map(|(at, id)| Recovery { at, event_id: id.to_string() }),
                update: update.map(|(at, action, message)| Update {
                    at,
                    action: action.to_string(),
                    message: message.map(|m| m.to_string()),
                    user: None,
                }),
                suppression: suppression.map(|(suppressed, until)| Suppression { suppressed, until }),
                observed: observed.map(|(maintenance, unmonitored, gone, place)| Observed {
                    maintenance: maintenance.map(|id| Maintenance { id: id.to_string(), until: None }),
                    unmonitored,
                    gone,
                    place: place.map(|group| Place { host: Host::default(), groups: vec![group.to_string()] }),
                    ..Observed::default()
                }),
                detail: Detail {
                    // some messages describe nothing
                    name: "x".repeat(name.into()),
                    severity,
                    acknowledged,
                    opdata: opdata.map(|o| o.to_string()),
                    ..Detail::default()
                },
                sent_at_ms: None,
                accepted_at_ms: 0,
            }
        },
    )
}

/// A story and some order of its messages in which each comes at least once.
fn reordered(stories: Vec<Vec<StatusChanged>>) -> impl Strategy<Value = (Vec<StatusChanged>, Vec<StatusChanged>)> {
    prop::sample::select(stories).prop_flat_map(|story| {
        let repeated = prop::collection::vec(prop::sample::select(story.clone()), 0..6);
        (Just(story.clone()), repeated).prop_flat_map(|(story, repeated)| {
            let all: Vec<_> = story.iter().cloned().chain(repeated).collect();
            (Just(story), Just(all).prop_shuffle())
        })
    })
}

/// What an observation tells of `v7.0/01-problem-high`, so many seconds after it was opened.
fn observation(after: i64, observed: Observed) -> StatusChanged {
    let opening = fixtures::message("v7.0/01-problem-high");
    StatusChanged {
        kind: ChangeKind::Observed,
        at: opening.at + after,
        exact: true,
        observed: Some(observed),
        detail: Detail::default(),
        sent_at_ms: None,
        ..opening
    }
}

#[test]
fn what_only_a_poll_sees_lasts_until_the_next_observation_and_ends_with_the_problem() {
    let maintenance = Maintenance { id: "7".to_owned(), until: Some(9) };
    let mut problem = Problem::first(&fixtures::message("v7.0/01-problem-high"));
    let in_maintenance = Observed { maintenance: Some(maintenance.clone()), ..Observed::default() };
    assert_eq!(problem.merge(&observation(10, in_maintenance)), Merged::Changed);
    assert_eq!(problem.view().maintenance, Some(maintenance));
    assert_eq!((problem.view().name.is_empty(), problem.view().severity), (false, 4), "it describes nothing");
    assert_eq!(problem.merge(&observation(5, Observed::default())), Merged::Known, "an earlier one");
    assert_eq!(problem.merge(&observation(20, Observed::default())), Merged::Changed);
    assert_eq!(problem.view().maintenance, None);
    assert_eq!(problem.merge(&observation(25, Observed::default())), Merged::Noted, "nothing new but the time");
    problem.merge(&observation(30, Observed { unmonitored: true, ..Observed::default() }));
    assert!(problem.view().unmonitored && problem.is_open());
    problem.merge(&fixtures::message("v7.0/08-recovery-high"));
    assert!(!problem.view().unmonitored && !problem.is_open());
}

#[test]
fn what_was_gone_may_come_back_and_what_is_over_may_not() {
    let mut problem = Problem::first(&fixtures::message("v7.0/01-problem-high"));
    let gone = || Observed { gone: true, ..Observed::default() };
    assert_eq!(problem.merge(&observation(10, gone())), Merged::Changed);
    let view = problem.view();
    assert_eq!((view.state, view.gone, view.resolved_at), (ProblemState::Resolved, true, Some(unix("08:16:55"))));
    assert_eq!(problem.merge(&observation(20, Observed::default())), Merged::Changed);
    assert!(problem.is_open());
    problem.merge(&observation(30, gone()));
    assert_eq!(problem.merge(&fixtures::message("v7.0/08-recovery-high")), Merged::Changed, "it did recover");
    assert!(!problem.view().gone);
    assert_eq!(problem.resolved_at(), Some(unix("08:17:32")));
    assert_eq!(problem.merge(&observation(40, Observed::default())), Merged::Noted);
    assert!(!problem.is_open());
}

#[test]
fn who_knows_more_updates_is_right_whatever_the_clocks_say() {
    let mut known = fixtures::message("v7.0/03-update-severity-to-disaster");
    known.seq = 2;
    let mut later = fixtures::message("v7.0/04-update-unacknowledge");
    (later.seq, later.at) = (3, known.at - 3_600);
    let mut problem = Problem::first(&later);
    problem.merge(&known);
    assert_eq!((problem.view().acknowledged, problem.updates_told()), (false, 3));
}

#[test]
fn zabbix_s_own_times_go_before_those_of_a_clock_on_the_wall() {
    let wall = fixtures::message("v7.0/08-recovery-high");
    let mut exact = wall.clone();
    exact.exact = true;
    exact.opened_at += 1;
    exact.recovery.as_mut().unwrap().at += 1;
    for story in [[&wall, &exact], [&exact, &wall]] {
        let problem = merged(story);
        assert_eq!((problem.view().opened_at, problem.resolved_at()), (exact.opened_at, Some(unix("08:17:33"))));
    }
}

#[test]
fn a_recovery_that_describes_nothing_leaves_what_is_known() {
    let opening = fixtures::message("v7.0/01-problem-high");
    let recovery = fixtures::message("v7.0/08-recovery-high");
    let bare = StatusChanged { detail: Detail::default(), exact: true, opened_at: recovery.at, ..recovery };
    let mut first = Problem::first(&bare);
    assert!(!first.is_described());
    first.merge(&opening);
    let mut last = Problem::first(&opening);
    last.merge(&bare);
    assert_eq!(state(first.clone()), state(last));
    let view = first.view();
    assert_eq!((view.opened_at, view.severity, view.state), (opening.opened_at, 4, ProblemState::Resolved));
}

/// Would fail if a message that has the host as it was called then could bring the old name back.
#[test]
fn a_host_renamed_while_its_problem_lasts_keeps_its_new_name_whatever_comes_late() {
    let host = Host { id: "10680".to_owned(), host: "web-01".to_owned(), name: "Web 01, renamed".to_owned() };
    let place = Place { host, groups: vec!["Site C".to_owned()] };
    let renamed = observation(60, Observed { place: Some(place.clone()), ..Observed::default() });
    let story = [
        fixtures::message("v7.0/01-problem-high"),
        renamed,
        fixtures::message("v7.0/03-update-severity-to-disaster"),
        fixtures::message("v7.0/08-recovery-high"),
    ];
    for problem in [merged(&story), merged(story.iter().rev())] {
        let view = problem.view();
        assert_eq!((view.host, view.groups, view.severity), (place.host.clone(), place.groups.clone(), 5));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    /// Fails if the last to arrive wins a register (tried: `keep_max` that always replaces), if state followed `kind`
    /// instead of EVENT.VALUE, or if the opening's stamp could beat an update's.
    #[test]
    fn the_recorded_messages_in_any_order_and_repetition_end_in_the_same_state((story, shuffled) in reordered(recorded())) {
        let (expected, problem) = (merged(&story), merged(&shuffled));
        prop_assert_eq!(problem.is_open(), story.iter().all(|message| message.problem));
        prop_assert!(problem.version() <= story.len() as u64 + 1);
        prop_assert_eq!(state(problem), state(expected));
    }

    /// Fails if a register has no tie-break on content (tried: comparing stamps only), or takes part only when an earlier
    /// one did not change (tried: `||` in `join`).
    #[test]
    fn any_messages_in_any_order_and_repetition_end_in_the_same_state(
        (story, shuffled) in prop::collection::vec(any_message(), 1..8).prop_flat_map(|story| reordered(vec![story])),
    ) {
        prop_assert_eq!(state(merged(&shuffled)), state(merged(&story)));
    }

    /// Fails if the version counts messages instead of changes (tried: `+= 1` for each), or if `>` becomes `>=`.
    #[test]
    fn a_message_known_already_changes_nothing(story in prop::collection::vec(any_message(), 1..8), again in any::<prop::sample::Index>()) {
        let problem = merged(&story);
        let mut repeated = problem.clone();
        prop_assert_eq!(repeated.merge(again.get(&story)), Merged::Known);
        prop_assert_eq!(repeated, problem);
    }

    /// Fails if merge says "nothing new" for a change, or counts it twice: viewers drop a state whose version they know.
    #[test]
    fn the_version_grows_by_one_exactly_when_something_changed(story in prop::collection::vec(any_message(), 2..8)) {
        let mut problem = Problem::first(&story[0]);
        for message in &story[1..] {
            let before = problem.clone();
            let merged = problem.merge(message);
            let changed = merged == Merged::Changed;
            let view = |problem: &Problem| state(problem.clone()).view();
            prop_assert_eq!(changed, view(&problem) != view(&before));
            prop_assert_eq!(merged == Merged::Known, state(problem.clone()) == state(before.clone()));
            prop_assert_eq!(problem.version(), before.version() + u64::from(changed));
        }
    }

    /// The laws themselves. Associativity fails if a register prefers by arrival; commutativity if ties go to the left.
    #[test]
    fn join_is_commutative_associative_and_idempotent(
        a in prop::collection::vec(any_message(), 1..4),
        b in prop::collection::vec(any_message(), 1..4),
        c in prop::collection::vec(any_message(), 1..4),
    ) {
        let join = |a: &Problem, b: &Problem| { let mut joined = a.clone(); joined.join(b.clone()); joined };
        let [a, b, c] = [a, b, c].map(|story| state(merged(&story)));
        prop_assert_eq!(join(&a, &b), join(&b, &a));
        prop_assert_eq!(join(&join(&a, &b), &c), join(&a, &join(&b, &c)));
        prop_assert_eq!(join(&a, &a), a);
    }

    /// Fails if a message about a closed problem can reopen it.
    #[test]
    fn once_over_always_over(story in prop::collection::vec(any_message(), 1..8)) {
        let mut problem = Problem::first(&story[0]);
        let mut over = !story[0].problem;
        for message in &story[1..] {
            problem.merge(message);
            over |= !message.problem;
            let gone = problem.view().gone;
            prop_assert!(!(over && gone), "over is more than gone");
            prop_assert_eq!(problem.is_open(), !over && !gone);
            prop_assert_eq!(problem.resolved_at().is_some(), over || gone);
        }
    }
}
