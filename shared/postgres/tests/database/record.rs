use std::sync::LazyLock;

use proptest::{prelude::*, test_runner::TestRunner};
use signalbox_messages::{ChangeKind, StatusChanged, Suppression, Update};
use signalbox_postgres::{Recorded, testing::TestDatabase};

use crate::{AGAIN, FIRST, count, dump, fixtures, model, problem, recovery, stored_problems};

#[tokio::test]
async fn a_batch_is_stored_and_its_problems_hosts_and_groups_follow() {
    let test = TestDatabase::new().await;
    let (down, disk) = (problem("1", 1_000, "web-1"), problem("2", 1_001, "db-1"));
    let batch = [down.clone(), disk.clone(), recovery(&down, 1_060)];
    assert_eq!(test.open().record(&batch).await, [FIRST, FIRST, FIRST]);

    let look = test.look().await;
    assert_eq!(count(&look, "status_changes").await, 3);
    let row = look.query_one(
        "SELECT state, version, extract(epoch FROM resolved_at)::bigint FROM problems WHERE event_id = '1'",
        &[],
    );
    let row = row.await.unwrap();
    assert_eq!((row.get(0), row.get(1), row.get(2)), ("resolved", 2_i64, 1_060_i64));
    let hosts = look.query("SELECT host, name FROM hosts ORDER BY host", &[]).await.unwrap();
    assert_eq!(hosts.iter().map(|row| row.get(1)).collect::<Vec<&str>>(), ["The db-1", "The web-1"]);
    assert_eq!(count(&look, "host_groups").await, 3);
    assert_eq!(count(&look, "host_group_members").await, 4);

    let open = test.open().status().await.unwrap();
    assert_eq!(open.problems.iter().map(|problem| problem.event_id.as_str()).collect::<Vec<_>>(), ["2"]);
    assert_eq!((open.by_severity[&4], open.by_severity[&5], open.internal), (1, 0, 0));
}

#[tokio::test]
async fn replaying_a_batch_changes_nothing() {
    let test = TestDatabase::new().await;
    let database = test.open();
    let batch = fixtures();
    let first = database.record(&batch).await;
    assert!(first.iter().all(|outcome| matches!(outcome, Recorded::Stored { .. })), "{first:?}");
    let before = dump(&test.look().await).await;
    for _ in 0..2 {
        let again = database.record(&batch).await;
        assert!(again.iter().all(|outcome| *outcome == AGAIN), "{again:?}");
    }
    // a retry of Zabbix: same notification, accepted later
    let retried: Vec<StatusChanged> = batch
        .iter()
        .map(|change| StatusChanged { accepted_at_ms: change.accepted_at_ms + 5_000, ..change.clone() })
        .collect();
    assert!(database.record(&retried).await.iter().all(|outcome| *outcome == AGAIN));
    assert_eq!(dump(&test.look().await).await, before);
}

#[tokio::test]
async fn a_message_twice_in_one_batch_is_recorded_once() {
    let test = TestDatabase::new().await;
    let down = problem("1", 1_000, "web-1");
    let batch = [down.clone(), down.clone(), recovery(&down, 1_060), down];
    assert_eq!(test.open().record(&batch).await, [FIRST, AGAIN, FIRST, AGAIN]);
    assert_eq!(count(&test.look().await, "status_changes").await, 2);
}

#[tokio::test]
async fn messages_in_reverse_order_one_by_one_end_as_the_model_says() {
    let test = TestDatabase::new().await;
    let database = test.open();
    let messages = fixtures();
    for message in messages.iter().rev() {
        assert!(matches!(database.record(std::slice::from_ref(message)).await[..], [Recorded::Stored { .. }]));
    }
    assert_eq!(stored_problems(&test.look().await).await, model(&messages));
}

#[tokio::test]
async fn the_newest_message_says_where_a_host_belongs_whenever_it_comes() {
    let older = problem("1", 1_000, "web-1");
    let mut newer = problem("2", 2_000, "web-1");
    newer.detail.host.name = "Renamed".to_owned();
    newer.detail.groups = vec!["Site B".to_owned()];
    for order in [[&older, &newer], [&newer, &older]] {
        let test = TestDatabase::new().await;
        let database = test.open();
        for message in order {
            database.record(std::slice::from_ref(message)).await;
        }
        let look = test.look().await;
        let row = look.query_one(
            "SELECT h.name, array_agg(group_name) FROM hosts h JOIN host_group_members ON host_id = id GROUP BY 1",
            &[],
        );
        let row = row.await.unwrap();
        assert_eq!((row.get(0), row.get(1)), ("Renamed", vec!["Site B"]));
    }
}

/// Each a thing that Postgres, or we, can never store, and a part of the reason.
fn poisons() -> Vec<(StatusChanged, &'static str)> {
    let fine = |event_id: &str| problem(event_id, 1_000, "web-1");
    let mut severity = fine("p1");
    severity.detail.severity = 9;
    let mut time = fine("p2");
    time.at = i64::MAX;
    let mut nul = fine("p3");
    nul.detail.opdata = Some("value\0".to_owned());
    let mut long = fine("p4");
    // does not compress, so the index entry is too large
    long.detail.host.host =
        (0..20_000_u64).map(|n| char::from(b'a' + u8::try_from(n * n * 7_919 % 10_007 % 26).unwrap())).collect();
    let mut nobody = fine("p5");
    nobody.event_id = String::new();
    vec![
        (severity, "status_changes_severity_check"),
        (time, "SQLSTATE 22008"),
        (nul, "detail.opdata contains U+0000"),
        (long, "SQLSTATE 54000"),
        (nobody, "event_id"),
    ]
}

#[tokio::test]
async fn a_record_that_can_never_be_stored_is_named_and_its_neighbours_are_stored() {
    let test = TestDatabase::new().await;
    let database = test.open();
    for (round, (poison, reason)) in poisons().into_iter().enumerate() {
        let mut batch: Vec<StatusChanged> =
            (0..9).map(|n| problem(&format!("{round}-{n}"), 1_000 + n, "web-1")).collect();
        batch.insert(4, poison.clone());
        let outcomes = database.record(&batch).await;
        for (index, outcome) in outcomes.iter().enumerate() {
            match outcome {
                Recorded::Never(cause) if index == 4 => {
                    assert!(cause.contains(reason), "{cause} does not say {reason}");
                }
                outcome => assert_eq!((index, outcome), (index, &FIRST)),
            }
        }
        assert!(matches!(&database.record(&[poison]).await[..], [Recorded::Never(_)]), "alone, too");
    }
    assert_eq!(count(&test.look().await, "status_changes").await, 45);
    assert_eq!(count(&test.look().await, "problems").await, 45);
}

#[tokio::test]
async fn a_batch_of_nothing_but_poison_is_refused_record_by_record() {
    let test = TestDatabase::new().await;
    let batch: Vec<StatusChanged> = poisons().into_iter().map(|(poison, _)| poison).collect();
    let outcomes = test.open().record(&batch).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Recorded::Never(_))), "{outcomes:?}");
    assert_eq!(test.open().record(&[]).await, []);
}

#[tokio::test]
async fn recorders_at_once_on_overlapping_batches_end_as_the_model_says() {
    let test = TestDatabase::new().await;
    let messages: Vec<StatusChanged> = (0..40)
        .flat_map(|n| {
            let down = problem(&format!("{}", n % 20), 1_000 + n % 20, &format!("web-{}", n % 5));
            let up = recovery(&down, 2_000 + n);
            // ten recoveries of one problem with different ids
            [down, StatusChanged { id: format!("r{n}"), ..up }]
        })
        .collect();
    let recorders: Vec<_> = (0..6).map(|_| test.open()).collect();
    let work = recorders.iter().enumerate().map(|(index, database)| {
        let mut mine = messages.clone();
        // everybody has everything, each in another order
        mine.rotate_left(index * 13 % messages.len());
        if index % 2 == 1 {
            mine.reverse();
        }
        async move {
            let mut first = 0;
            for batch in mine.chunks(10) {
                for outcome in database.record(batch).await {
                    match outcome {
                        Recorded::Stored { first: true } => first += 1,
                        Recorded::Stored { first: false } => {}
                        refused => panic!("{refused:?}"),
                    }
                }
            }
            first
        }
    });
    let firsts: Vec<i64> = futures::future::join_all(work).await;
    let look = test.look().await;
    assert_eq!(firsts.iter().sum::<i64>(), 60, "each message is the first for exactly one recorder: {firsts:?}");
    assert_eq!(count(&look, "status_changes").await, 60);
    assert_eq!(stored_problems(&look).await, model(&messages).into_iter().collect::<Vec<_>>());
}

/// Different messages about the same problems: nothing but the rows of the problems keeps these recorders apart.
#[tokio::test]
async fn recorders_at_once_on_the_same_problems_lose_nothing_of_each_other() {
    let test = TestDatabase::new().await;
    let recorders: Vec<_> = (0..4).map(|_| test.open()).collect();
    let mut all = Vec::new();
    for round in 0..15 {
        let opened: Vec<_> = (0..3).map(|n| problem(&format!("{round}-{n}"), 1_000, "web-1")).collect();
        recorders[0].record(&opened).await;
        let update = |of: &StatusChanged, at: i64| StatusChanged {
            id: format!("{}.update.{at}", of.event_id),
            kind: ChangeKind::Update,
            at,
            update: Some(Update { at, action: "commented".to_owned(), message: None, user: None }),
            ..of.clone()
        };
        let suppress = |of: &StatusChanged| StatusChanged {
            suppression: Some(Suppression { suppressed: true, until: None }),
            ..update(of, 1_010)
        };
        let told: Vec<Vec<StatusChanged>> = vec![
            opened.iter().map(|of| update(of, 1_030)).collect(),
            opened.iter().rev().map(suppress).collect(),
            opened.iter().map(|of| recovery(of, 1_020)).collect(),
            opened.iter().rev().map(|of| StatusChanged { opened_at: 900, ..update(of, 1_001) }).collect(),
        ];
        let work = recorders.iter().zip(&told).map(|(database, batch)| database.record(batch));
        for outcomes in futures::future::join_all(work).await {
            assert_eq!(outcomes, [FIRST, FIRST, FIRST]);
        }
        all.extend(opened);
        all.extend(told.into_iter().flatten());
    }
    assert_eq!(stored_problems(&test.look().await).await, model(&all));
}

/// However messages are split into batches and repeated, the rows are what the model says.
#[test]
fn any_split_with_any_repetition_ends_as_the_model_says() {
    static MESSAGES: LazyLock<Vec<StatusChanged>> = LazyLock::new(fixtures);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let test = runtime.block_on(TestDatabase::new());
    let (database, look) = (test.open(), runtime.block_on(test.look()));
    let batches = prop::collection::vec(prop::collection::vec(0..MESSAGES.len(), 1..12), 1..8);
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() });
    runner
        .run(&batches, |batches| {
            runtime.block_on(async {
                let tables = "status_change_ids, status_changes, problems, problem_subjects, problem_intervals, problem_times,\
                              hosts, host_groups, host_group_members";
                look.batch_execute(&format!("TRUNCATE {tables}")).await.unwrap();
                let mut told = Vec::new();
                for batch in batches {
                    let batch: Vec<StatusChanged> = batch.into_iter().map(|index| MESSAGES[index].clone()).collect();
                    let outcomes = database.record(&batch).await;
                    assert!(outcomes.iter().all(|outcome| matches!(outcome, Recorded::Stored { .. })), "{outcomes:?}");
                    told.extend(batch);
                }
                assert_eq!(stored_problems(&look).await, model(&told));
            });
            Ok(())
        })
        .unwrap();
}
