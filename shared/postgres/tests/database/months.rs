use signalbox_messages::StatusChanged;
use signalbox_postgres::{By, HistoryFilter, Planned, Scope, Upkeep, testing::TestDatabase};
use tokio_postgres::Client;

use crate::{AGAIN, FIRST, count, model, problem, recovery, stored_problems};

fn unix(date: &str) -> i64 {
    let date =
        time::OffsetDateTime::parse(&format!("{date}T00:00:00Z"), &time::format_description::well_known::Rfc3339);
    date.unwrap().unix_timestamp()
}

/// Rows of each partition that has any.
async fn rows_of_months(look: &Client) -> Vec<(String, i64)> {
    let query = "SELECT tableoid::regclass::text, count(*) FROM status_changes GROUP BY 1 ORDER BY 1";
    look.query(query, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test]
async fn months_are_made_ahead_with_what_has_come_for_them_and_once() {
    let test = TestDatabase::new().await;
    let (database, look) = (test.open(), test.look().await);
    database
        .record(&[problem("1", unix("2040-12-31") + 86_399, "web-1"), problem("2", unix("2041-01-01"), "web-1")])
        .await;
    assert_eq!(rows_of_months(&look).await, [("status_changes_other".to_owned(), 2)]);
    let (one, two) = (test.open(), test.open());
    let now = unix("2040-12-15");
    // two schedules at once
    let (left, right) = tokio::join!(one.keep_months(now, None), two.keep_months(now, None));
    let mut made = [left.unwrap().made, right.unwrap().made].concat();
    made.sort();
    assert_eq!(made, ["2040-12", "2041-01", "2041-02"]);
    assert_eq!(
        rows_of_months(&look).await,
        [("status_changes_2040_12".to_owned(), 1), ("status_changes_2041_01".to_owned(), 1)]
    );
    assert_eq!(database.keep_months(now, None).await.unwrap(), Upkeep::default());
    assert_eq!(database.history(&HistoryFilter::default(), None, 10).await.unwrap().events.len(), 2);
}

/// The month alone does not decide: a course needs all messages of its problem, so what an open one is made of stays.
#[tokio::test]
async fn a_month_is_dropped_when_it_is_old_but_for_problems_that_reach_into_what_is_kept() {
    let test = TestDatabase::new().await;
    let (database, look) = (test.open(), test.look().await);
    // without the months of today
    database.keep_months(unix("2040-01-15"), Some(1)).await.unwrap();
    let at = unix("2040-01-10");
    let (over, open, long) = (problem("1", at, "web-1"), problem("2", at, "db-1"), problem("3", at, "db-2"));
    let batch =
        [over.clone(), recovery(&over, at + 60), open.clone(), long.clone(), recovery(&long, unix("2040-02-20"))];
    assert_eq!(database.record(&batch).await, [FIRST; 5]);
    assert_eq!(
        database.keep_months(unix("2040-02-28"), Some(1)).await.unwrap().dropped,
        [""; 0],
        "January is one month back"
    );
    let upkeep = database.keep_months(unix("2040-03-01"), Some(1)).await.unwrap();
    assert_eq!((upkeep.dropped, upkeep.forgotten), (vec!["2040-01".to_owned()], 1));
    assert_eq!(
        rows_of_months(&look).await,
        [("status_changes_2040_02".to_owned(), 1), ("status_changes_other".to_owned(), 2)]
    );
    for (table, rows) in [("problems", 2), ("problem_times", 2), ("problem_intervals", 2), ("status_change_ids", 3)] {
        assert_eq!(count(&look, table).await, rows, "{table}");
    }
    // what is open goes on as if nothing had happened, and is gone a month after it has ended
    assert_eq!(database.record(&[open.clone(), recovery(&open, unix("2040-03-02"))]).await, [AGAIN, FIRST]);
    let scope = Scope { from: at, to: unix("2040-04-01"), severity: 4, host: Some("db-1".to_owned()), group: None };
    let rows = database.availability(&scope, &By::Host, Planned::Exclude, None, 10).await.unwrap().rows;
    assert_eq!(rows[0].down_seconds, unix("2040-03-02") - at);
    let upkeep = database.keep_months(unix("2040-05-01"), Some(1)).await.unwrap();
    assert_eq!((upkeep.dropped, upkeep.forgotten), (vec!["2040-02".to_owned(), "2040-03".to_owned()], 2));
    for table in ["status_changes", "problems", "problem_times", "problem_intervals", "status_change_ids"] {
        assert_eq!(count(&look, table).await, 0, "{table}");
    }
}

/// The key of the partitioned table holds the time: on its own it would take a message that names no recovery, and so has the time
/// at which it was sent, again with every retry.
#[tokio::test]
async fn a_retry_with_another_time_is_the_same_message_also_in_another_month() {
    let test = TestDatabase::new().await;
    let database = test.open();
    let told = problem("1", unix("2040-01-31"), "web-1");
    let retried = StatusChanged { at: unix("2040-02-01"), ..told.clone() };
    assert_eq!(database.record(&[told]).await, [FIRST]);
    assert_eq!(database.record(&[retried]).await, [AGAIN]);
    assert_eq!(count(&test.look().await, "status_changes").await, 1);
}

const V1: &str = include_str!("../../migrations/V1__status.sql");
const V2: &str = include_str!("../../migrations/V2__availability.sql");
const V4: &str = include_str!("../../migrations/V4__rollup.sql");

/// What V1's recorder does with a message.
async fn record_as_v1(look: &Client, message: &StatusChanged) {
    let json = serde_json::to_value(message).unwrap();
    let insert = "
        INSERT INTO status_events (id, event_id, kind, problem, at, host_id, host, groups, name, severity, payload, accepted_at)
        SELECT p ->> 'id', p ->> 'event_id', p ->> 'kind', (p ->> 'problem')::boolean, to_timestamp((p ->> 'at')::bigint),
               p #>> '{detail,host,id}', p #>> '{detail,host,host}', ARRAY(SELECT jsonb_array_elements_text(p #> '{detail,groups}')),
               p #>> '{detail,name}', (p #>> '{detail,severity}')::smallint, p, now()
        FROM (SELECT $1::jsonb AS p) AS t
        ON CONFLICT (id) DO NOTHING";
    let problem = signalbox_zabbix::Problem::first(message);
    let view = problem.view();
    look.execute(insert, &[&json]).await.unwrap();
    look.execute(
        "INSERT INTO problems (event_id, version, kind, state, severity, host_id, opened_at, body)
         VALUES ($1, 1, 'problem', 'open', 4, $2, to_timestamp($3::bigint), $4) ON CONFLICT DO NOTHING",
        &[&view.event_id, &view.host.id, &view.opened_at, &serde_json::to_value(&problem).unwrap()],
    )
    .await
    .unwrap();
}

/// Old code runs against the new schema: what it records before, while and after the migration is in the record, once.
#[tokio::test]
async fn what_v1_has_recorded_and_still_records_is_carried_over() {
    let test = TestDatabase::new().await;
    let (database, look) = (test.open(), test.look().await);
    look.batch_execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await.unwrap();
    look.batch_execute(V1).await.unwrap();
    let row = look.query_one("SELECT extract(epoch FROM now())::bigint", &[]).await.unwrap();
    let now: i64 = row.get(0);
    let before = [problem("1", now - 86_400 * 40, "web-1"), problem("2", 1_000, "web-2")];
    for message in &before {
        record_as_v1(&look, message).await;
    }
    look.batch_execute(V2).await.unwrap();
    look.batch_execute(V4).await.unwrap();
    let since = problem("3", now - 100, "web-3");
    record_as_v1(&look, &since).await;
    let partitions = rows_of_months(&look).await;
    assert_eq!(partitions.iter().map(|(_, rows)| rows).sum::<i64>(), 3);
    assert_eq!(partitions.last().unwrap(), &("status_changes_other".to_owned(), 1), "1970 alone: {partitions:?}");
    assert_eq!(database.keep_months(now, None).await.unwrap().derived, 3);
    assert_eq!((count(&look, "problem_intervals").await, count(&look, "problems_to_derive").await), (3, 0));
    // the queue repeats to the new code what the old code has taken, and the other way round
    assert_eq!(database.record(&[before[0].clone(), since.clone()]).await, [AGAIN, AGAIN]);
    let new = problem("4", now, "web-4");
    assert_eq!(database.record(&[new.clone(), recovery(&since, now)]).await, [FIRST, FIRST]);
    record_as_v1(&look, &new).await;
    assert_eq!(count(&look, "status_changes").await, 5);
    let all = [before.to_vec(), vec![since.clone(), recovery(&since, now), new]].concat();
    assert_eq!(stored_problems(&look).await, model(&all));
}
