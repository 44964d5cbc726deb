use signalbox_postgres::testing::TestDatabase;

use crate::{count, problem};

#[tokio::test]
async fn migrating_twice_is_a_no_op_and_keeps_the_data() {
    let test = TestDatabase::new().await;
    test.open().record(&[problem("1", 1_000, "web-1")]).await;
    assert_eq!(test.open().migrate().await.unwrap(), [""; 0]);
    assert_eq!(count(&test.look().await, "status_changes").await, 1);
}

#[tokio::test]
async fn two_deploys_at_once_apply_each_migration_once() {
    let test = TestDatabase::new().await;
    let look = test.look().await;
    for _ in 0..3 {
        look.batch_execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await.unwrap();
        let databases: Vec<_> = (0..4).map(|_| test.open()).collect();
        let applied = futures::future::join_all(databases.iter().map(signalbox_postgres::Database::migrate)).await;
        let mut applied: Vec<String> = applied.into_iter().flat_map(Result::unwrap).collect();
        applied.sort();
        applied.dedup();
        assert_eq!(i64::try_from(applied.len()).unwrap(), count(&look, "refinery_schema_history").await, "{applied:?}");
        assert!(applied.contains(&"V1__status".to_owned()), "{applied:?}");
    }
}

#[tokio::test]
async fn a_migration_that_fails_names_itself_and_leaves_everything_as_it_was() {
    let test = TestDatabase::new().await;
    let look = test.look().await;
    look.batch_execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE TABLE problems (in_the_way int)")
        .await
        .unwrap();
    let error = test.open().migrate().await.unwrap_err().to_string();
    assert!(error.contains("V1__status") && error.contains("problems") && error.contains("already exists"), "{error}");
    assert_eq!(count(&look, "refinery_schema_history").await, 0);
    let tables = look.query("SELECT 1 FROM pg_tables WHERE tablename = 'status_events'", &[]).await.unwrap();
    assert!(tables.is_empty());
}

#[tokio::test]
async fn a_deployed_migration_that_was_edited_is_refused() {
    let test = TestDatabase::new().await;
    test.look().await.batch_execute("UPDATE refinery_schema_history SET checksum = '1'").await.unwrap();
    let error = test.open().migrate().await.unwrap_err().to_string();
    assert!(error.contains("V1__status"), "{error}");
}
