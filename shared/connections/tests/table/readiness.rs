use signalbox_connections::MadeReady;

use super::*;

/// A connection with a row that is not ready, in a channel whose top is `top`.
async fn waiting(table: &ConnectionTable, id: &str, top: u64) -> (String, Head) {
    connect(table, id).await;
    let row_id = subscribe(table, id, CHANNEL, 1).await;
    let mut head = table.head(CHANNEL, NOW, HOUR).await.unwrap();
    while head.offset < top {
        head = append(table, "holder").await;
    }
    (row_id, head)
}

#[tokio::test]
async fn a_row_is_ready_when_nothing_was_appended_meanwhile() {
    let table = table().await;
    let (row_id, head) = waiting(&table, "c1", 2).await;
    assert_eq!(table.make_ready(row("c1", &row_id), &head.epoch, 2, true).await.unwrap(), MadeReady::Ready);
    let ready = table.subscriber("c1", CHANNEL, 0).await.unwrap().unwrap();
    assert_eq!((ready.ready, ready.behind, ready.from, ready.base, ready.epoch), (true, false, 2, true, head.epoch));
}

/// P1. Fails when the row is taken for up to date although the deliverer of what came meanwhile may have missed it.
#[tokio::test]
async fn a_row_stays_behind_when_something_was_appended_meanwhile() {
    let table = table().await;
    let (row_id, head) = waiting(&table, "c1", 2).await;
    let now = append(&table, "other").await;
    let made = table.make_ready(row("c1", &row_id), &head.epoch, 2, false).await.unwrap();
    assert_eq!(made, MadeReady::Behind(Some(now)));
    let behind = table.subscriber("c1", CHANNEL, 0).await.unwrap().unwrap();
    assert_eq!((behind.ready, behind.behind, behind.from), (true, true, 2));
    // whoever delivers brings it up to date
    assert!(table.caught_up(CHANNEL, &behind, 3, true).await.unwrap());
    let ready = table.subscriber("c1", CHANNEL, 0).await.unwrap().unwrap();
    assert_eq!((ready.ready, ready.behind, ready.from, ready.base), (true, false, 3, true));
    assert!(!table.caught_up(CHANNEL, &behind, 4, true).await.unwrap(), "noted once");
}

#[tokio::test]
async fn a_row_stays_behind_when_the_stream_began_anew() {
    let table = table().await;
    let (row_id, _) = waiting(&table, "c1", 2).await;
    let made = table.make_ready(row("c1", &row_id), "another", 2, false).await.unwrap();
    assert!(matches!(made, MadeReady::Behind(Some(_))));
}

/// P2. A round that posts up to 3 meets a row that has everything up to 5. Fails when the row goes back to 3, and gets 4 and 5 again.
#[tokio::test]
async fn a_row_never_goes_back() {
    let table = table().await;
    let (row_id, head) = waiting(&table, "c1", 5).await;
    append(&table, "other").await;
    table.make_ready(row("c1", &row_id), &head.epoch, 5, true).await.unwrap();
    let behind = table.subscriber("c1", CHANNEL, 0).await.unwrap().unwrap();
    assert!(table.caught_up(CHANNEL, &behind, 3, false).await.unwrap());
    let ready = table.subscriber("c1", CHANNEL, 0).await.unwrap().unwrap();
    assert_eq!((ready.behind, ready.from, ready.base), (false, 5, true));
}

/// P2. The SDK repeats a write whose answer was lost, and a deliverer was there in between. Fails when the repetition takes back what
/// the deliverer has noted: the row would get the same once more.
#[tokio::test]
async fn a_repeated_write_does_not_take_back_what_a_deliverer_noted() {
    let tables = Tables::start().await;
    let table = tables.table.clone();
    let (row_id, head) = waiting(&table, "c1", 2).await;
    append(&table, "other").await;
    let updates = Arc::new(AtomicUsize::new(0));
    let hooked = tables.hooked(Arc::new(move |request| {
        let (table, update) = (table.clone(), request.operation == "UpdateItem");
        let n = if update { updates.fetch_add(1, Ordering::Relaxed) } else { usize::MAX };
        Box::pin(async move {
            match n {
                0 => Verdict::LoseAnswer,
                1 => {
                    let behind = table.subscriber("c1", CHANNEL, 0).await.unwrap().unwrap();
                    assert!(table.caught_up(CHANNEL, &behind, 3, false).await.unwrap());
                    Verdict::Send
                }
                _ => Verdict::Send,
            }
        })
    }));
    let made = hooked.table.make_ready(row("c1", &row_id), &head.epoch, 2, false).await.unwrap();
    assert_eq!(made, MadeReady::Ready);
    let ready = tables.table.subscriber("c1", CHANNEL, 0).await.unwrap().unwrap();
    assert_eq!((ready.behind, ready.from), (false, 3));
}

#[tokio::test]
async fn a_row_that_is_gone_replaced_or_lost_is_not_made_ready() {
    let table = table().await;
    let (first, head) = waiting(&table, "c1", 0).await;
    let second = subscribe(&table, "c1", CHANNEL, 2).await;
    assert_eq!(table.make_ready(row("c1", &first), &head.epoch, 0, false).await.unwrap(), MadeReady::Gone);
    assert!(table.mark_lost(row("c1", &second)).await.unwrap());
    assert_eq!(table.make_ready(row("c1", &second), &head.epoch, 0, false).await.unwrap(), MadeReady::Gone);
    assert!(!table.make_ready_behind(row("c1", &second), &head.epoch, 0, false).await.unwrap());
    table.end_subscription("c1", CHANNEL, None).await.unwrap();
    assert_eq!(table.make_ready(row("c1", &second), &head.epoch, 0, false).await.unwrap(), MadeReady::Gone);
}

#[tokio::test]
async fn a_row_that_is_lost_is_not_ready_any_more() {
    let table = table().await;
    let (row_id, head) = waiting(&table, "c1", 0).await;
    table.make_ready(row("c1", &row_id), &head.epoch, 0, false).await.unwrap();
    assert!(table.mark_lost(row("c1", &row_id)).await.unwrap());
    let lost = table.subscriber("c1", CHANNEL, 0).await.unwrap().unwrap();
    assert_eq!((lost.ready, lost.lost), (false, true));
}

/// A storm: everybody subscribes to a channel while it is published to. Fails, by its counts, when a subscribe takes part in a
/// transaction on the head: publishers and subscribers would keep each other waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_and_publishers_do_not_contend_for_the_head() {
    let tables = Tables::start().await;
    let mut rows = Vec::new();
    for n in 0..40 {
        rows.push((format!("c{n}"), waiting(&tables.table, &format!("c{n}"), 0).await.0));
    }
    let counted = Counted::default();
    let table = tables.hooked(counted.hook()).table;
    let mut tasks = tokio::task::JoinSet::new();
    for (id, row_id) in rows {
        let table = table.clone();
        tasks.spawn(async move {
            let head = table.find_head(CHANNEL).await.unwrap().unwrap();
            table.make_ready(row(&id, &row_id), &head.epoch, head.offset, false).await.unwrap();
        });
    }
    for n in 0..40 {
        let table = table.clone();
        tasks.spawn(async move {
            table.append(CHANNEL, &format!("p{n}"), NOW_MS, LEASE, HOUR).await.unwrap();
        });
    }
    tasks.join_all().await;
    let counts = counted.take();
    assert!(counts.iter().all(|(operation, _)| operation != "TransactWriteItems"), "{counts:?}");
    let updates = counts.iter().find(|(operation, _)| operation == "UpdateItem").unwrap().1;
    assert!(updates <= 40 * 2 + 40 * 2, "no write had to be tried again: {counts:?}");
}
