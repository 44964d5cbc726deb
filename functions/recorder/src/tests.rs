use aws_lambda_events::sqs::SqsEvent;
use signalbox_lambda::sqs::{DeadLetters, process};
use signalbox_postgres::testing::TestDatabase;

use super::*;

fn decoded(event: &str) -> Vec<Record<BusEvent<StatusChanged>>> {
    let event: SqsEvent = serde_json::from_str(event).unwrap();
    let record = |message: aws_lambda_events::sqs::SqsMessage| {
        let body = serde_json::from_str(&message.body?).ok()?;
        Some(Record { message_id: message.message_id?, receives: 1, body })
    };
    event.records.into_iter().filter_map(record).collect()
}

#[tokio::test]
async fn a_batch_from_the_queue_is_stored_and_its_replay_is_harmless() {
    let test = TestDatabase::new().await;
    let state = State { database: test.open() };
    for _ in 0..2 {
        let records = decoded(include_str!("../../../events/recorder/batch.json"));
        assert!(records.len() > 1);
        let outcomes = handle(&state, records.clone()).await.unwrap();
        assert_eq!(outcomes, vec![Outcome::Stored; records.len()]);
        let events =
            state.database.history(&signalbox_postgres::HistoryFilter::default(), None, 500).await.unwrap().events;
        assert_eq!(events.len(), records.len());
    }
}

#[tokio::test]
async fn garbage_in_a_batch_fails_alone_and_its_neighbours_are_stored() {
    let test = TestDatabase::new().await;
    let state = State { database: test.open() };
    let event: SqsEvent =
        serde_json::from_str(include_str!("../../../events/recorder/batch-with-garbage.json")).unwrap();
    let good = decoded(include_str!("../../../events/recorder/batch-with-garbage.json")).len();
    let all = event.records.len();
    let response = process(event, &DeadLetters::Redrive, |records| handle(&state, records)).await;
    assert_eq!(response.batch_item_failures.len(), all - good);
    let events = state.database.history(&signalbox_postgres::HistoryFilter::default(), None, 500).await.unwrap().events;
    assert_eq!(events.len(), good);
}

#[tokio::test]
async fn what_can_never_be_stored_says_why() {
    let test = TestDatabase::new().await;
    let state = State { database: test.open() };
    let mut records = decoded(include_str!("../../../events/recorder/batch.json"));
    let mut poison = records[0].clone();
    poison.body.detail.id = "poison".to_owned();
    poison.body.detail.detail.severity = 77;
    let mut foreign = records[0].clone();
    foreign.body.detail_type = "SomethingElse".to_owned();
    records.insert(0, foreign);
    records.insert(2, poison);
    let outcomes = handle(&state, records).await.unwrap();
    assert!(matches!(&outcomes[0], Outcome::Never(reason) if reason.contains("SomethingElse")), "{outcomes:?}");
    assert!(matches!(&outcomes[2], Outcome::Never(reason) if reason.contains("severity")), "{outcomes:?}");
    assert!([&outcomes[1], &outcomes[3]].iter().all(|outcome| **outcome == Outcome::Stored), "{outcomes:?}");
}

#[tokio::test]
async fn without_the_database_every_record_comes_back() {
    let config = Config::from_url("postgres://nobody@127.0.0.1:1/none?sslmode=disable").unwrap();
    let state = State { database: Database::new(config) };
    let outcomes = handle(&state, decoded(include_str!("../../../events/recorder/batch.json"))).await.unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Retry(_))), "{outcomes:?}");
}
