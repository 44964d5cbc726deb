use std::collections::{BTreeMap, BTreeSet};

use proptest::{prelude::*, test_runner::TestRunner};
use signalbox_messages::{
    ChangeKind, Detail, Host, Maintenance, Observed, Recovery, StatusChanged, Suppression, Tag, Update,
};
use signalbox_postgres::{
    Availability, By, Database, Durations, Planned, ReportCursor, ReportPage, Response, Scope, testing::TestDatabase,
};

use crate::{problem, recovery};

fn scope(from: i64, to: i64) -> Scope {
    Scope { from, to, severity: 4, host: None, group: None }
}

async fn down(database: &Database, scope: &Scope, by: &By, planned: Planned) -> Vec<(String, i64)> {
    let rows = database.availability(scope, by, planned, None, 500).await.unwrap().rows;
    rows.into_iter().map(|row| (row.key, row.down_seconds)).collect()
}

fn observed(of: &StatusChanged, at: i64, observed: Observed) -> StatusChanged {
    StatusChanged {
        id: format!("{}.observed.{at}", of.event_id),
        kind: ChangeKind::Observed,
        at,
        exact: true,
        observed: Some(observed),
        detail: Detail::default(),
        ..of.clone()
    }
}

#[tokio::test]
async fn overlapping_problems_count_once_and_what_is_outside_of_the_window_does_not() {
    let test = TestDatabase::new().await;
    let database = test.open();
    let (one, two, three) = (problem("1", 1_000, "web-1"), problem("2", 1_050, "web-1"), problem("3", 1_090, "db-1"));
    let minor = StatusChanged {
        detail: Detail { severity: 3, ..problem("4", 1_000, "db-1").detail },
        ..problem("4", 1_000, "db-1")
    };
    database.record(&[recovery(&one, 1_100), one, recovery(&two, 1_200), two, three, minor]).await;
    let by_host = async |from, to| down(&database, &scope(from, to), &By::Host, Planned::Exclude).await;
    let rows = |web: i64, db: i64| vec![("web-1".to_owned(), web), ("db-1".to_owned(), db)];
    assert_eq!(by_host(1_000, 1_250).await, rows(200, 160), "the open one counts to the end");
    assert_eq!(by_host(1_150, 1_190).await, [("db-1".to_owned(), 40), ("web-1".to_owned(), 40)], "opened before");
    assert_eq!(by_host(0, 1_000).await, [("db-1".to_owned(), 0), ("web-1".to_owned(), 0)]);
    let groups = down(&database, &scope(1_000, 1_250), &By::Group, Planned::Exclude).await;
    assert_eq!(groups[0], ("Site A".to_owned(), 250), "any of its hosts: {groups:?}");
    let rows = database.availability(&scope(1_000, 1_250), &By::Host, Planned::Exclude, None, 1).await.unwrap().rows;
    assert_eq!(rows, [Availability { key: "web-1".to_owned(), down_seconds: 200, availability: 0.2 }]);
}

#[tokio::test]
async fn maintenance_is_excluded_or_included_and_what_is_not_monitored_never_counts() {
    let test = TestDatabase::new().await;
    let database = test.open();
    let down_at = problem("1", 1_000, "web-1");
    let maintenance = Observed { maintenance: Some(Maintenance::default()), ..Observed::default() };
    let unmonitored = Observed { unmonitored: true, ..Observed::default() };
    let gone = Observed { gone: true, ..Observed::default() };
    let found = [
        observed(&down_at, 1_010, maintenance),
        observed(&down_at, 1_030, Observed::default()),
        observed(&down_at, 1_040, unmonitored),
        observed(&down_at, 1_070, gone.clone()),
        observed(&down_at, 1_080, gone),
    ];
    // one by one and backwards: each changes what is known
    for message in found.iter().rev().chain([&down_at]) {
        database.record(std::slice::from_ref(message)).await;
    }
    for (planned, seconds) in [(Planned::Exclude, 20), (Planned::Include, 40)] {
        let rows = down(&database, &scope(0, 5_000), &By::Host, planned).await;
        assert_eq!(rows, [("web-1".to_owned(), seconds)], "{planned:?}");
    }
    let timeline = Scope { host: Some("web-1".to_owned()), ..scope(1_030, 1_060) };
    let page = database.timeline(&timeline, None, 1).await.unwrap();
    let next = database.timeline(&timeline, page.cursor.as_ref(), 1).await.unwrap();
    let shown: Vec<(i64, Option<i64>, bool)> =
        page.rows.iter().chain(&next.rows).map(|row| (row.from, row.to, row.unmonitored)).collect();
    assert_eq!(shown, [(1_030, Some(1_040), false), (1_040, Some(1_070), true)]);
    assert_eq!((page.rows[0].name.as_str(), next.cursor), ("Trouble 1", None));
}

#[tokio::test]
async fn pages_of_a_report_show_every_key_once_worst_first() {
    let test = TestDatabase::new().await;
    let database = test.open();
    let problems: Vec<StatusChanged> =
        (0..30).map(|n| problem(&format!("{n}"), 1_000 - n / 3, &format!("web-{n}"))).collect();
    database.record(&problems).await;
    let (mut rows, mut cursor): (Vec<Availability>, Option<ReportCursor>) = (Vec::new(), None);
    loop {
        let page: ReportPage<Availability> =
            database.availability(&scope(0, 2_000), &By::Host, Planned::Exclude, cursor.as_ref(), 7).await.unwrap();
        rows.extend(page.rows);
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert!(rows.is_sorted_by(|a, b| (b.down_seconds, &a.key) < (a.down_seconds, &b.key)), "{rows:?}");
    assert_eq!(rows.iter().map(|row| &row.key).collect::<BTreeSet<_>>().len(), 30);
}

/// Time is in slots, so that the model can be a set of them; short and long ones in turn, so that intervals are shorter as well as
/// longer than a day, and all of them together a long span of sums with days before and after it.
const SHORT: i64 = 20_000;
const LONG: i64 = 300_000;
const SLOTS: usize = 24;
const BASE: i64 = 1_600_000_000;

fn time(slot: usize) -> i64 {
    let slot = i64::try_from(slot).unwrap();
    BASE + slot / 2 * (SHORT + LONG) + slot % 2 * SHORT
}

#[derive(Debug, Clone)]
enum Change {
    Severity(u8),
    Acknowledge(bool),
    Suppress(Option<usize>),
    Unsuppress,
    Seen { maintenance: bool, unmonitored: bool },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Open,
    Recovered(usize),
    Gone(usize),
}

/// What really happened.
#[derive(Debug, Clone)]
struct Story {
    host: usize,
    opened: usize,
    severity: u8,
    /// At most one observation in a slot.
    changes: BTreeMap<usize, Vec<Change>>,
    end: End,
}

/// One second of a slot, as it really was.
#[derive(Debug, Clone, Copy)]
struct Moment {
    severity: u8,
    planned: bool,
    unmonitored: bool,
}

impl Story {
    fn ended(&self) -> usize {
        match self.end {
            End::Open => SLOTS,
            End::Recovered(slot) | End::Gone(slot) => slot,
        }
    }

    /// The slots in which it was there.
    fn moments(&self) -> BTreeMap<usize, Moment> {
        let (mut severity, mut by_hand) = (self.severity, None);
        let (mut maintenance, mut unmonitored) = (false, false);
        let mut moments = BTreeMap::new();
        for slot in self.opened..self.ended() {
            for change in self.changes.get(&slot).into_iter().flatten() {
                match change {
                    Change::Severity(new) => severity = *new,
                    Change::Acknowledge(_) => {}
                    Change::Suppress(until) => by_hand = Some(until.unwrap_or(usize::MAX)),
                    Change::Unsuppress => by_hand = None,
                    Change::Seen { maintenance: in_it, unmonitored: off } => {
                        (maintenance, unmonitored) = (*in_it, *off);
                    }
                }
            }
            let planned = maintenance || by_hand.is_some_and(|until| slot < until);
            moments.insert(slot, Moment { severity, planned, unmonitored });
        }
        moments
    }

    fn acknowledged(&self) -> Option<usize> {
        let mut changes = self.changes.iter().filter(|(slot, _)| **slot < self.ended());
        changes.find_map(|(slot, changes)| {
            changes.iter().any(|change| matches!(change, Change::Acknowledge(true))).then_some(*slot)
        })
    }

    fn worst(&self) -> u8 {
        self.moments().values().map(|moment| moment.severity).max().unwrap()
    }

    fn keys(&self, by: &By) -> Vec<String> {
        match by {
            By::Host => vec![format!("host-{}", self.host)],
            By::Group => vec!["Site".to_owned(), format!("Site/{}", self.host % 2)],
            By::Tag(_) => vec![format!("service-{}", self.host % 3)],
        }
    }

    /// What webhook, connector and poller say of it, each in its own way; `heard` chooses who is heard, somebody always.
    fn messages(&self, event_id: &str, heard: &mut impl FnMut() -> u8) -> Vec<StatusChanged> {
        let host = Host { id: format!("10{}", self.host), host: format!("host-{}", self.host), name: String::new() };
        let opening = StatusChanged {
            id: format!("{event_id}-problem"),
            kind: ChangeKind::Problem,
            event_id: event_id.to_owned(),
            problem: true,
            at: time(self.opened),
            seq: 0,
            exact: false,
            opened_at: time(self.opened),
            recovery: None,
            update: None,
            suppression: None,
            observed: None,
            detail: Detail {
                name: "Down".to_owned(),
                severity: self.severity,
                host: host.clone(),
                groups: vec!["Site".to_owned(), format!("Site/{}", self.host % 2)],
                tags: vec![Tag { tag: "service".to_owned(), value: format!("service-{}", self.host % 3) }],
                ..Detail::default()
            },
            sent_at_ms: None,
            accepted_at_ms: 0,
        };
        let of_connector = |message: &StatusChanged, detail| StatusChanged {
            id: format!("{}-connector", message.id),
            exact: true,
            detail,
            ..message.clone()
        };
        let of_poll = |message: &StatusChanged| StatusChanged {
            id: format!("{}-poll", message.id),
            exact: true,
            ..message.clone()
        };
        let mut messages = Vec::new();
        let mut tell = |ways: Vec<StatusChanged>| {
            let who = heard();
            let chosen: Vec<_> =
                ways.iter().enumerate().filter(|(way, _)| who >> way & 1 == 1).map(|(_, m)| m.clone()).collect();
            messages.extend(if chosen.is_empty() { vec![ways[0].clone()] } else { chosen });
        };
        let unidentified = Detail { host: Host { id: String::new(), ..host }, ..opening.detail.clone() };
        tell(vec![opening.clone(), of_connector(&opening, unidentified), of_poll(&opening)]);
        let (mut now, mut seq) = (opening.detail.clone(), 0);
        for (slot, changes) in self.changes.iter().filter(|(slot, _)| **slot < self.ended()) {
            for change in changes {
                let suppress = |suppressed, until: &Option<usize>| Suppression { suppressed, until: until.map(time) };
                let mut suppression = None;
                match change {
                    Change::Severity(severity) => now.severity = *severity,
                    Change::Acknowledge(is) => now.acknowledged = *is,
                    Change::Suppress(until) => suppression = Some(suppress(true, until)),
                    Change::Unsuppress => suppression = Some(suppress(false, &None)),
                    Change::Seen { maintenance, unmonitored } => {
                        let maintenance = maintenance.then(Maintenance::default);
                        let seen = Observed { maintenance, unmonitored: *unmonitored, ..Observed::default() };
                        tell(vec![observed(&opening, time(*slot), seen)]);
                        continue;
                    }
                }
                seq += 1;
                let update = Update { at: time(*slot), action: "changed".to_owned(), message: None, user: None };
                let told = StatusChanged {
                    id: format!("{event_id}-update-{seq}"),
                    kind: ChangeKind::Update,
                    at: time(*slot),
                    seq,
                    update: Some(update),
                    suppression,
                    detail: now.clone(),
                    ..opening.clone()
                };
                tell(vec![told.clone(), of_poll(&told)]);
            }
        }
        match self.end {
            End::Open => {}
            End::Gone(slot) => {
                tell(vec![observed(&opening, time(slot), Observed { gone: true, ..Observed::default() })]);
            }
            End::Recovered(slot) => {
                let over = StatusChanged {
                    id: format!("{event_id}-recovery"),
                    kind: ChangeKind::Recovery,
                    problem: false,
                    at: time(slot),
                    recovery: Some(Recovery { at: time(slot), event_id: format!("9{event_id}") }),
                    detail: now,
                    ..opening.clone()
                };
                tell(vec![over.clone(), of_connector(&over, Detail::default()), of_poll(&over)]);
            }
        }
        messages
    }
}

fn story() -> impl Strategy<Value = Story> {
    let change = prop_oneof![
        (0..6_u8).prop_map(Change::Severity),
        any::<bool>().prop_map(Change::Acknowledge),
        prop::option::of(0..SLOTS).prop_map(Change::Suppress),
        Just(Change::Unsuppress),
        (any::<bool>(), any::<bool>()).prop_map(|(maintenance, unmonitored)| Change::Seen { maintenance, unmonitored }),
    ];
    let changes = prop::collection::vec((0..SLOTS, change), 0..5);
    (0..4_usize, 0..SLOTS - 4, 0..6_u8, changes, 1..10_usize, 0..3_u8).prop_map(
        |(host, opened, severity, told, lasts, end)| {
            let ended = (opened + lasts).min(SLOTS - 1);
            let end = match end {
                0 => End::Open,
                1 => End::Gone(ended),
                _ => End::Recovered(ended),
            };
            let mut changes: BTreeMap<usize, Vec<Change>> = BTreeMap::new();
            for (slot, change) in told.into_iter().filter(|(slot, _)| *slot >= opened) {
                let of_slot = changes.entry(slot).or_default();
                let seen = matches!(change, Change::Seen { .. });
                if !seen || !of_slot.iter().any(|change| matches!(change, Change::Seen { .. })) {
                    of_slot.push(change);
                }
            }
            Story { host, opened, severity, changes, end }
        },
    )
}

/// Seconds by key, as sets of slots.
fn expected(
    stories: &[Story],
    by: &By,
    severity: u8,
    planned: Planned,
    window: (usize, usize),
) -> BTreeMap<String, i64> {
    let mut slots: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for story in stories {
        let counted = story.moments().into_iter().filter(|(slot, moment)| {
            (window.0..window.1).contains(slot)
                && moment.severity >= severity
                && !moment.unmonitored
                && (planned == Planned::Include || !moment.planned)
        });
        let counted: BTreeSet<usize> = counted.map(|(slot, _)| slot).collect();
        for key in story.keys(by) {
            slots.entry(key).or_default().extend(&counted);
        }
    }
    let seconds = |slots: &BTreeSet<usize>| slots.iter().map(|slot| time(slot + 1) - time(*slot)).sum();
    slots.into_iter().map(|(key, slots)| (key, seconds(&slots))).collect()
}

/// With `interpolated` the percentiles lie between two; without, they are one of the durations.
fn figures(mut seconds: Vec<f64>, interpolated: bool) -> Durations {
    seconds.sort_by(f64::total_cmp);
    let count = seconds.len();
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few")]
    let percentile = |part: f64| {
        let place = part * (count as f64 - 1.0);
        if !interpolated {
            return seconds[(part * count as f64).ceil() as usize - 1];
        }
        let (low, high) = (seconds[place.floor() as usize], seconds[place.ceil() as usize]);
        low + (high - low) * place.fract()
    };
    let some = count > 0;
    #[expect(clippy::cast_precision_loss, reason = "a few")]
    Durations {
        count: i64::try_from(count).unwrap(),
        mean_seconds: some.then(|| seconds.iter().sum::<f64>() / count as f64),
        median_seconds: some.then(|| percentile(0.5)),
        p90_seconds: some.then(|| percentile(0.9)),
    }
}

fn expected_response(stories: &[Story], by: &By, severity: u8, window: (usize, usize)) -> Vec<Response> {
    let mut of: BTreeMap<String, Vec<&Story>> =
        stories.iter().flat_map(|story| story.keys(by)).map(|key| (key, Vec::new())).collect();
    for story in
        stories.iter().filter(|story| (window.0..window.1).contains(&story.opened) && story.worst() >= severity)
    {
        for key in story.keys(by) {
            of.entry(key).or_default().push(story);
        }
    }
    let exact = exact(by, window);
    #[expect(clippy::cast_precision_loss, reason = "a few")]
    let seconds = |story: &Story, slot: usize| (time(slot) - time(story.opened)) as f64;
    let rows = of.into_iter().map(|(key, stories)| Response {
        key: Some(key),
        problems: i64::try_from(stories.len()).unwrap(),
        acknowledge: figures(
            stories.iter().filter_map(|story| Some(seconds(story, story.acknowledged()?))).collect(),
            exact,
        ),
        recover: figures(
            stories
                .iter()
                .filter_map(|story| match story.end {
                    End::Recovered(slot) => Some(seconds(story, slot)),
                    _ => None,
                })
                .collect(),
            exact,
        ),
    });
    rows.collect()
}

/// Percentiles of long windows are those of histograms, but of hosts.
fn exact(by: &By, window: (usize, usize)) -> bool {
    *by == By::Host || time(window.1) - time(window.0) <= 8 * 86_400
}

fn close(told: &Durations, model: &Durations, exact: bool) -> bool {
    let near = |a: Option<f64>, b: Option<f64>, part: f64| match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= b * part + 1e-6,
        (a, b) => a == b,
    };
    let part = if exact { 0.0 } else { 0.01 };
    told.count == model.count
        && near(told.mean_seconds, model.mean_seconds, 0.0)
        && near(told.median_seconds, model.median_seconds, part)
        && near(told.p90_seconds, model.p90_seconds, part)
}

/// Whatever happened, by whichever ways it was told, however often and in whatever order: the sums are those of the slots.
#[test]
fn any_history_in_any_order_gives_the_seconds_that_it_had() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let test = runtime.block_on(TestDatabase::new());
    let (database, look) = (test.open(), runtime.block_on(test.look()));
    let by = prop::sample::select(vec![By::Host, By::Group, By::Tag("service".to_owned())]);
    let planned = prop::sample::select(vec![Planned::Exclude, Planned::Include]);
    let window = prop_oneof![
        (0..SLOTS - 1).prop_flat_map(|from| (Just(from), from + 1..SLOTS)),
        (0..3_usize, SLOTS - 3..SLOTS),
    ];
    let asked = prop::collection::vec((by, planned, window, 0..6_u8), 1..4);
    let inputs = (prop::collection::vec(story(), 1..8), asked, any::<u64>(), 1..9_usize);
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() });
    let run = runner.run(&inputs, |(stories, asked, seed, batch)| {
        runtime.block_on(async {
            let tables =
                "status_change_ids, status_changes, problems, problem_subjects, problem_intervals, problem_times, rollup_keys, \
                 rollup_spans, rollup_down, rollup_times";
            look.batch_execute(&format!("TRUNCATE {tables}")).await.unwrap();
            let mut seed = seed | 1;
            let mut random = move || {
                // xorshift: enough to shuffle with
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                seed
            };
            let mut heard = || u8::try_from(random() % 8).unwrap();
            let mut messages: Vec<StatusChanged> = Vec::new();
            for (n, story) in stories.iter().enumerate() {
                messages.extend(story.messages(&format!("{n}"), &mut heard));
            }
            let again: Vec<_> = messages.iter().filter(|_| heard() == 0).cloned().collect();
            messages.extend(again);
            messages.sort_by_cached_key(|_| (heard(), heard(), heard(), heard()));
            for batch in messages.chunks(batch) {
                // sums are made of what is known then; what comes after takes them back
                if heard() == 0 {
                    database.sum_up(time(SLOTS) + 7 * 86_400, None).await.unwrap();
                }
                for outcome in database.record(batch).await {
                    assert!(matches!(outcome, signalbox_postgres::Recorded::Stored { .. }), "{outcome:?}");
                }
            }
            if heard() < 4 {
                database.sum_up(time(SLOTS) + 7 * 86_400, None).await.unwrap();
            }
            for (by, planned, window, severity) in asked {
                let scope = Scope { severity, ..scope(time(window.0), time(window.1)) };
                let told: BTreeMap<_, _> = down(&database, &scope, &by, planned).await.into_iter().collect();
                assert_eq!(
                    told,
                    expected(&stories, &by, severity, planned, window),
                    "{by:?} {planned:?} {window:?} {severity}"
                );
                let rows = database.response(&scope, Some(&by), None, 500).await.unwrap().rows;
                let model = expected_response(&stories, &by, severity, window);
                let exact = exact(&by, window);
                assert_eq!(rows.len(), model.len(), "{rows:?} {model:?}");
                for (row, model) in rows.iter().zip(&model) {
                    assert_eq!((&row.key, row.problems), (&model.key, model.problems));
                    assert!(
                        close(&row.acknowledge, &model.acknowledge, exact) && close(&row.recover, &model.recover, exact),
                        "{row:?} {model:?}"
                    );
                }
            }
        });
        Ok(())
    });
    run.unwrap();
}
