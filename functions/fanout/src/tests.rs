use std::sync::Mutex;

use aws_lambda_events::sqs::SqsEvent;
use signalbox_connections::testing::{Tables, Verdict};
use signalbox_lambda::sqs::{DeadLetters, process};
use signalbox_publishing::Recorded;

use super::*;

const BATCH: &str = include_str!("../../../events/fanout/batch.json");
const CHANNELS: &str = include_str!("../../../channels.json");

async fn world() -> (Tables, State) {
    let tables = Tables::start().await;
    let channels = Arc::new(ChannelsConfig::parse(CHANNELS).unwrap());
    let publisher = Publisher::new(tables.table.clone(), Gateway::Recorded(Arc::new(Recorded::default())))
        .with_channels(Arc::clone(&channels));
    (tables, State { publisher, channels, dead_letters: None })
}

fn event(text: &str) -> SqsEvent {
    serde_json::from_str(text).unwrap()
}

fn records(text: &str) -> Vec<Record<Task>> {
    let record = |message: aws_lambda_events::sqs::SqsMessage| Record {
        message_id: message.message_id.unwrap(),
        receives: 1,
        body: serde_json::from_str(&message.body.unwrap()).unwrap(),
    };
    event(text).records.into_iter().map(record).collect()
}

fn is_retry(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Retry(_))
}

#[tokio::test]
async fn tasks_are_what_the_publisher_sends() {
    let tasks: Vec<_> = records(BATCH).into_iter().map(|record| record.body).collect();
    let shard = |shard, after, to| {
        let (channel, epoch) = ("status:all".to_owned(), "kAbM".to_owned());
        Task::Known(FanOutTask::Shard { channel, epoch, shard, after, to })
    };
    let deliver = Task::Known(FanOutTask::Deliver { channel: "status:all".to_owned() });
    assert_eq!(tasks, [shard(0, 0, 1), shard(0, 1, 2), shard(1, 0, 1), deliver]);
    let (Task::Known(known), sent) = (&tasks[0], include_str!("../../../events/fanout/shard.json")) else { panic!() };
    let sent = event(sent).records[0].body.clone().unwrap();
    assert_eq!(serde_json::to_string(known).unwrap(), sent);
}

#[tokio::test]
async fn a_batch_is_done_whole() {
    let (_tables, state) = world().await;
    let response = process(event(BATCH), &DeadLetters::Redrive, |records| handle(&state, records)).await;
    assert!(response.batch_item_failures.is_empty(), "{response:?}");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_fails_those_of_its_group_behind_it_and_no_other() {
    let (tables, state) = world().await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    tables.hook(Some(Arc::new(move |request| {
        let seen = seen.clone();
        Box::pin(async move {
            let mark = request.operation == "GetItem" && request.body.contains("fan#status:all#0");
            if mark {
                seen.lock().unwrap().push(request.body);
            }
            if mark { Verdict::Refuse("ValidationException") } else { Verdict::Send }
        })
    })));
    let outcomes = handle(&state, records(BATCH)).await.unwrap();
    assert_eq!(outcomes.iter().map(is_retry).collect::<Vec<_>>(), [true, true, false, false], "{outcomes:?}");
    assert!(matches!(&outcomes[1], Outcome::Retry(why) if why.contains("before it failed")), "{outcomes:?}");
    assert_eq!(asked.lock().unwrap().len(), 1 + TRIES.len(), "the first is tried again, the second not at all");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_once_is_done() {
    let (tables, state) = world().await;
    let failed = Arc::new(Mutex::new(false));
    tables.hook(Some(Arc::new(move |request| {
        let failed = failed.clone();
        Box::pin(async move {
            if request.operation == "GetItem" && !std::mem::replace(&mut *failed.lock().unwrap(), true) {
                return Verdict::Refuse("ValidationException");
            }
            Verdict::Send
        })
    })));
    let outcomes = handle(&state, records(include_str!("../../../events/fanout/shard.json"))).await.unwrap();
    assert_eq!(outcomes, [Outcome::Stored]);
}

#[tokio::test]
async fn a_task_of_another_version_never_holds_up_its_neighbours() {
    let (_tables, state) = world().await;
    let mut batch = records(include_str!("../../../events/fanout/unknown-task.json"));
    batch.extend(records(BATCH));
    let outcomes = handle(&state, batch).await.unwrap();
    assert!(matches!(&outcomes[0], Outcome::Never(why) if why.contains("not a task")), "{outcomes:?}");
    assert!(outcomes[1..].iter().all(|outcome| *outcome == Outcome::Stored), "{outcomes:?}");
}

#[tokio::test]
async fn a_task_that_was_made_up_for_is_not_done_again() {
    let (tables, state) = world().await;
    let meta_ttl = Duration::from_hours(1);
    tables.table.advance_fan("status:all", 0, "kAbM", (0, 5), 0, meta_ttl).await.unwrap();
    let queried = Arc::new(Mutex::new(0));
    let counted = queried.clone();
    tables.hook(Some(Arc::new(move |request| {
        let counted = counted.clone();
        Box::pin(async move {
            if request.operation != "GetItem" {
                *counted.lock().unwrap() += 1;
            }
            Verdict::Send
        })
    })));
    let outcomes = handle(&state, records(include_str!("../../../events/fanout/shard.json"))).await.unwrap();
    assert_eq!(outcomes, [Outcome::Stored]);
    assert_eq!(*queried.lock().unwrap(), 0);
}
