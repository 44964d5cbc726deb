use std::collections::HashSet;

use signalbox_messages::{ChangeKind, Detail, StatusChanged, Update};
use signalbox_postgres::{HistoryEvent, HistoryFilter, testing::TestDatabase};

use crate::{problem, recovery};

/// Follows the cursors to the end.
async fn all_pages(
    database: &signalbox_postgres::Database,
    filter: &HistoryFilter,
    limit: u16,
    mut between: impl AsyncFnMut(usize),
) -> Vec<HistoryEvent> {
    let (mut events, mut cursor, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = database.history(filter, cursor.as_ref(), limit).await.unwrap();
        assert!(page.events.len() <= usize::from(limit));
        events.extend(page.events);
        between(pages).await;
        pages += 1;
        cursor = page.cursor;
        if cursor.is_none() {
            return events;
        }
    }
}

#[tokio::test]
async fn pages_show_every_event_once_newest_first_while_others_are_recorded() {
    let test = TestDatabase::new().await;
    let (database, recorder) = (test.open(), test.open());
    // many at the same second: the id decides
    let before: Vec<StatusChanged> = (0..103).map(|n| problem(&format!("{n}"), 1_000 + n / 10, "web-1")).collect();
    recorder.record(&before).await;
    let events = all_pages(&database, &HistoryFilter::default(), 10, async |page| {
        let (late, new) =
            (problem(&format!("late{page}"), 1_004, "web-1"), problem(&format!("new{page}"), 9_000, "web-1"));
        recorder.record(&[late, new]).await;
    })
    .await;
    let mut ids: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
    assert!(events.is_sorted_by(|a, b| (a.at, &a.id) > (b.at, &b.id)));
    ids.sort_unstable();
    let distinct: HashSet<&str> = ids.iter().copied().collect();
    assert_eq!(distinct.len(), ids.len(), "an event is on two pages");
    assert!(before.iter().all(|change| distinct.contains(change.id.as_str())), "an event is missing");
}

#[tokio::test]
async fn filters_by_host_group_and_time_combine() {
    let test = TestDatabase::new().await;
    let database = test.open();
    let down = problem("1", 1_000, "web-1");
    let batch = [down.clone(), recovery(&down, 1_500), problem("2", 1_200, "db-1"), problem("3", 2_000, "web-1")];
    database.record(&batch).await;
    let ids = async |filter: HistoryFilter| {
        let events = all_pages(&database, &filter, 1, async |_| {}).await;
        events.into_iter().map(|event| event.id).collect::<Vec<_>>()
    };
    let host = |host: &str| HistoryFilter { host: Some(host.to_owned()), ..HistoryFilter::default() };
    let group = |group: &str| HistoryFilter { group: Some(group.to_owned()), ..HistoryFilter::default() };
    assert_eq!(ids(host("web-1")).await, ["3.problem", "1.recovery", "1.problem"]);
    assert_eq!(ids(host("nowhere")).await, [""; 0]);
    assert_eq!(ids(group("Site A/db-1")).await, ["2.problem"]);
    assert_eq!(ids(group("Site A")).await.len(), 4);
    assert_eq!(ids(HistoryFilter { from: Some(1_200), to: Some(2_000), ..host("web-1") }).await, ["1.recovery"]);
    assert_eq!(
        ids(HistoryFilter { from: Some(1_200), to: Some(1_201), ..HistoryFilter::default() }).await,
        ["2.problem"]
    );
    assert_eq!(ids(HistoryFilter { from: Some(i64::MIN), to: Some(i64::MAX), ..group("Site A") }).await.len(), 4);
}

#[tokio::test]
async fn an_event_carries_what_it_told() {
    let test = TestDatabase::new().await;
    let database = test.open();
    database.record(&crate::fixtures()).await;
    let events = all_pages(&database, &HistoryFilter::default(), 7, async |_| {}).await;
    let update = events.iter().find(|event| event.kind == "update").unwrap();
    assert!(update.update.as_ref().is_some_and(|update| update["action"].is_string()), "{update:?}");
    let recovery = events.iter().find(|event| event.recovery.is_some()).unwrap();
    assert!(!recovery.problem && !recovery.host.host.is_empty() && !recovery.groups.is_empty(), "{recovery:?}");
}

#[tokio::test]
async fn a_page_by_host_reads_its_index_and_not_the_table() {
    let test = TestDatabase::new().await;
    let database = test.open();
    for part in 0..10 {
        let batch: Vec<StatusChanged> =
            (0..500).map(|n| problem(&format!("{part}-{n}"), 1_000 + n, &format!("web-{}", n % 50))).collect();
        database.record(&batch).await;
    }
    let look = test.look().await;
    look.batch_execute("ANALYZE").await.unwrap();
    let plan = look
        .query(
            "EXPLAIN SELECT id FROM status_changes WHERE host = 'web-7' AND (at, id) < (to_timestamp(1400), 'x')
             ORDER BY at DESC, id DESC LIMIT 11",
            &[],
        )
        .await
        .unwrap();
    let plan = plan.iter().map(|row| row.get(0)).collect::<Vec<&str>>().join("\n");
    // all of it is in 1970; the months of today are empty, and an empty table is read whole
    let by_host = plan.contains("using status_changes_other_host_at_id_idx");
    assert!(by_host && !plan.contains("Seq Scan on status_changes_other"), "{plan}");
}

/// Webhook, connector and poller tell the same; without the choice of one row by what it tells, each change would be there up to
/// three times.
#[tokio::test]
async fn a_change_that_several_ways_have_told_is_shown_once_whoever_came_first() {
    let by = |way: &str, message: &StatusChanged| StatusChanged {
        id: format!("{}-{way}", message.id),
        exact: true,
        ..message.clone()
    };
    let down = problem("1", 1_000, "web-1");
    let update = |at: i64, seq: u32| StatusChanged {
        id: format!("1.update.{at}"),
        kind: ChangeKind::Update,
        at,
        seq,
        update: Some(Update { at, action: "commented".to_owned(), message: None, user: None }),
        ..down.clone()
    };
    let up = recovery(&down, 1_060);
    let bare = StatusChanged { detail: Detail::default(), ..by("connector", &up) };
    let counted = [update(1_010, 1), update(1_020, 2)];
    // without a count nobody knows which of them are the same
    let uncounted = [update(1_030, 0), update(1_031, 0)];
    let mut told = vec![bare, down.clone(), by("poll", &down), by("connector", &down), up.clone(), by("poll", &up)];
    told.extend(counted.iter().map(|update| by("poll", update)));
    told.extend(counted);
    told.extend(uncounted);
    for turn in 0..told.len() {
        told.rotate_left(1);
        let test = TestDatabase::new().await;
        let database = test.open();
        for message in &told {
            database.record(std::slice::from_ref(message)).await;
        }
        for host in [None, Some("web-1".to_owned())] {
            let filter = HistoryFilter { host, ..HistoryFilter::default() };
            let events = all_pages(&database, &filter, 2, async |_| {}).await;
            let shown: Vec<(&str, i64)> = events.iter().map(|event| (event.kind.as_str(), event.at)).collect();
            let updates = [1_031, 1_030, 1_020, 1_010].map(|at| ("update", at));
            let expected = [&[("recovery", 1_060)][..], &updates, &[("problem", 1_000)]].concat();
            assert_eq!(shown, expected, "turn {turn}, {filter:?}");
            assert!(events.iter().all(|event| !event.name.is_empty()), "{events:?}");
        }
    }
}
