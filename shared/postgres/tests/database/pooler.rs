use signalbox_postgres::testing::{TestDatabase, client};

use crate::problem;

/// What all other tests rely on: they run through a pooler that gives each transaction another server, so a prepared statement
/// anywhere in this crate would fail them.
#[tokio::test]
async fn a_prepared_statement_does_not_survive_the_pooler() {
    let test = TestDatabase::new().await;
    if test.pooled_url == test.direct_url {
        eprintln!("no pgbouncer: clippy's disallowed-methods alone stands between this crate and prepared statements");
        return;
    }
    let pid = async |client: &tokio_postgres::Client| -> i32 {
        client.query_typed("SELECT pg_backend_pid()", &[]).await.unwrap()[0].get(0)
    };
    // in a transaction, so that the server that gets to know the statement is known
    let one = client(&test.pooled_url).await;
    one.batch_execute("BEGIN").await.unwrap();
    let knows = pid(&one).await;
    let prepared = one.prepare("SELECT 1").await.unwrap();
    one.batch_execute("COMMIT").await.unwrap();
    // others take servers until that one is taken: how many the pooler has open by now is its own affair
    let mut others = Vec::new();
    loop {
        assert!(others.len() < 10, "no other client got server {knows}");
        let other = client(&test.pooled_url).await;
        other.batch_execute("BEGIN").await.unwrap();
        let server = pid(&other).await;
        others.push(other);
        if server == knows {
            break;
        }
    }
    let holder = others.pop().unwrap();
    for other in others {
        other.batch_execute("COMMIT").await.unwrap();
    }
    let error = one
        .query(&prepared, &[])
        .await
        .expect_err("a prepared statement worked: the pooler is not in transaction mode");
    assert_eq!(error.code().map(tokio_postgres::error::SqlState::code), Some("26000"), "{error:?}");
    assert!(one.query_typed("SELECT 1", &[]).await.is_ok(), "an unnamed one does");
    holder.batch_execute("COMMIT").await.unwrap();
}

/// The same, with what this crate does: here is a statement that was prepared found out.
#[tokio::test]
async fn everything_works_while_the_servers_behind_the_pooler_change() {
    let test = TestDatabase::new().await;
    // three transactions at once make the pooler open three servers, which then take turns
    let others = [client(&test.pooled_url).await, client(&test.pooled_url).await, client(&test.pooled_url).await];
    for statement in ["BEGIN; SELECT 1", "ROLLBACK"] {
        for other in &others {
            other.batch_execute(statement).await.unwrap();
        }
    }
    let mut servers = std::collections::HashSet::new();
    for _ in 0..6 {
        servers.insert(others[0].query_typed("SELECT pg_backend_pid()", &[]).await.unwrap()[0].get::<_, i32>(0));
    }
    assert!(servers.len() > 1 || test.pooled_url == test.direct_url, "the servers do not take turns");
    let database = test.open();
    let filter = signalbox_postgres::HistoryFilter::default();
    for round in 0..12 {
        let outcomes = database.record(&[problem(&format!("{round}"), 1_000, "web-1")]).await;
        assert_eq!(outcomes, [crate::FIRST]);
        assert_eq!(database.status().await.unwrap().problems.len(), round + 1);
        assert_eq!(database.history(&filter, None, 500).await.unwrap().events.len(), round + 1);
        assert_eq!(database.migrate().await.unwrap(), [""; 0]);
    }
}
