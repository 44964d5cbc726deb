use std::time::{Duration, Instant};

use signalbox_postgres::{Config, Database, Recorded, testing::Cluster, testing::Servers, testing::client};

use crate::{FIRST, count, problem, recovery};

fn retried(outcomes: &[Recorded]) -> bool {
    outcomes.iter().all(|outcome| matches!(outcome, Recorded::Retry(_)))
}

/// Also without a pooler: the function may be connected to Postgres itself.
#[tokio::test]
async fn while_postgres_is_down_all_records_come_back_and_are_stored_when_it_is_up() {
    let cluster = Cluster::start();
    let servers = Servers::Own(cluster);
    let test = servers.database().await;
    let Servers::Own(cluster) = &servers else { unreachable!() };
    let pooled = test.open().with_work_timeout(Duration::from_secs(3));
    let direct = Database::new(Config::from_url(&test.direct_url).unwrap());
    let down = problem("1", 1_000, "web-1");
    for database in [&pooled, &direct] {
        database.record(std::slice::from_ref(&down)).await;
    }

    cluster.stop_postgres();
    let batch = [recovery(&down, 1_060), problem("2", 1_001, "web-1")];
    for database in [&pooled, &direct] {
        for _ in 0..2 {
            let started = Instant::now();
            let outcomes = database.record(&batch).await;
            assert!(retried(&outcomes), "{outcomes:?}");
            assert!(started.elapsed() < Duration::from_secs(10), "took {:?}", started.elapsed());
        }
    }

    cluster.start_postgres();
    let started = Instant::now();
    let outcomes = direct.record(&batch[..1]).await;
    assert_eq!(outcomes, [FIRST], "at the first attempt");
    // pgbouncer itself waits a second between its attempts
    let outcomes = loop {
        let outcomes = pooled.record(&batch[1..]).await;
        if !retried(&outcomes) || started.elapsed() > Duration::from_secs(15) {
            break outcomes;
        }
    };
    assert_eq!(outcomes, [FIRST]);
    assert_eq!(count(&client(&test.direct_url).await, "status_changes").await, 3);
}

#[tokio::test]
async fn a_connection_that_was_lost_while_idle_is_noticed_and_replaced() {
    let test = signalbox_postgres::testing::TestDatabase::new().await;
    let database = Database::new(Config::from_url(&test.direct_url).unwrap());
    let look = test.look().await;
    for round in 0..3 {
        let outcomes = database.record(&[problem(&format!("{round}"), 1_000, "web-1")]).await;
        assert_eq!(outcomes, [FIRST]);
        let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                      WHERE datname = current_database() AND pid <> pg_backend_pid()";
        look.batch_execute(others).await.unwrap();
    }
    assert!(database.status().await.is_ok());
}

#[tokio::test]
async fn nothing_listens_and_the_answer_comes_at_once() {
    let database = Database::new(Config::from_url("postgres://postgres@127.0.0.1:1/x?sslmode=disable").unwrap());
    let outcomes = database.record(&[problem("1", 1_000, "web-1")]).await;
    assert!(matches!(&outcomes[..], [Recorded::Retry(reason)] if reason.contains("unavailable")), "{outcomes:?}");
    assert!(database.status().await.is_err_and(|error| error.is_unavailable()));
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_after_three_seconds() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let database =
        Database::new(Config::from_url(&format!("postgres://x@127.0.0.1:{port}/x?sslmode=disable")).unwrap());
    let started = Instant::now();
    assert!(database.connect().await.is_err_and(|error| error.is_unavailable()));
    assert!((2..5).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

/// The lock of somebody else's transaction stands in for a database that takes too long.
#[tokio::test]
async fn work_that_takes_too_long_comes_back_and_nothing_of_it_is_stored() {
    let test = signalbox_postgres::testing::TestDatabase::new().await;
    let database = test.open().with_work_timeout(Duration::from_millis(300));
    let mut look = test.look().await;
    let transaction = look.transaction().await.unwrap();
    transaction.batch_execute("LOCK TABLE problems IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let outcomes = database.record(&[problem("1", 1_000, "web-1")]).await;
    assert!(retried(&outcomes), "{outcomes:?}");
    transaction.commit().await.unwrap();
    assert_eq!(count(&look, "status_changes").await, 0);
    assert_eq!(database.record(&[problem("1", 1_000, "web-1")]).await, [FIRST]);
}

#[tokio::test]
async fn a_schema_that_is_not_there_yet_is_a_retry_and_no_refusal() {
    let test = signalbox_postgres::testing::TestDatabase::new().await;
    test.look().await.batch_execute("DROP TABLE problems").await.unwrap();
    let outcomes = test.open().record(&[problem("1", 1_000, "web-1")]).await;
    assert!(matches!(&outcomes[..], [Recorded::Retry(reason)] if reason.contains("42P01")), "{outcomes:?}");
}
