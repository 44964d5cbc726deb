use std::collections::BTreeSet;

use signalbox_connections::{Removed, bucket_of};

use super::*;

async fn subscribed_to(table: &ConnectionTable, id: &str, channels: usize) {
    connect(table, id).await;
    for n in 0..channels {
        subscribe(table, id, &format!("room:{n}"), u32::try_from(n).unwrap() + 1).await;
    }
}

async fn assert_nothing_is_left(table: &ConnectionTable, id: &str, channels: usize) {
    assert_eq!(table.connection_with_subscriptions(id).await.unwrap(), None);
    assert_eq!(table.connections_of("anna", None).await.unwrap().0, []);
    for n in 0..channels {
        assert_eq!(table.subscriber(id, &format!("room:{n}"), 0).await.unwrap(), None, "room:{n}");
    }
    let (bucket, _) = table.bucket_connections(bucket_of(id), None).await.unwrap();
    assert!(bucket.is_empty());
}

#[tokio::test]
async fn a_removal_returns_every_subscription_as_it_was_and_leaves_nothing() {
    let table = table().await;
    subscribed_to(&table, "c1", 30).await;
    table.unsubscribe("c1", "room:3", 40, NOW + 7200).await.unwrap();
    let removed = table.remove("c1").await.unwrap();
    assert_eq!((removed.was_there, removed.client, removed.ended.len()), (true, Some(anna()), 29));
    assert!(removed.ended.iter().all(|ended| ended.subscriber.user == "anna" && ended.channel != "room:3"));
    assert_nothing_is_left(&table, "c1", 30).await;
    assert_eq!(table.remove("c1").await.unwrap(), Removed::default());
    assert_eq!(table.remove("never there").await.unwrap(), Removed::default());
}

/// P9: whoever gets a row emits its leave. Fails when a row is deleted in a batch, which does not tell what it deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removals_at_the_same_time_share_the_subscriptions_between_them() {
    let table = table().await;
    subscribed_to(&table, "c1", 40).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let table = table.clone();
        tasks.spawn(async move { table.remove("c1").await.unwrap() });
    }
    let removals = tasks.join_all().await;
    assert_eq!(removals.iter().filter(|removed| removed.was_there).count(), 1);
    let ended: Vec<_> = removals.iter().flat_map(|removed| &removed.ended).map(|ended| &ended.channel).collect();
    assert_eq!(ended.len(), 40, "each once");
    assert_eq!(ended.iter().collect::<BTreeSet<_>>().len(), 40, "all of them");
    assert_nothing_is_left(&table, "c1", 40).await;
}

/// P6 and P9. Fails when the connection's own items go before the rows they lead to, or the connection before either.
#[tokio::test]
async fn a_removal_that_dies_at_any_request_is_found_and_finished() {
    let tables = Tables::start().await;
    let table = &tables.table;
    for done in [false, true] {
        let mut k = 0;
        loop {
            subscribed_to(table, "c1", 3).await;
            let first = killed_at(&tables, k, done, |table| async move { table.remove("c1").await.unwrap() }).await;
            let whole = first.is_some();
            if !whole {
                // as the keeper finds it: in the index, by a look at what is due
                let (due, _) = table.due_connections(bucket_of("c1"), NOW_MS + 9_000, None).await.unwrap();
                let rows = table.connection_with_subscriptions("c1").await.unwrap();
                assert!(
                    !due.is_empty() || rows.is_some() || nothing_left(table).await,
                    "killed at {k}: lost from sight"
                );
            }
            let second = table.remove("c1").await.unwrap();
            let mut channels: Vec<_> = first.iter().flat_map(|first| &first.ended).chain(&second.ended).collect();
            channels.sort_by_key(|ended| &ended.channel);
            channels.dedup_by_key(|ended| &ended.channel);
            assert_eq!(
                channels.len(),
                first.map_or(0, |first| first.ended.len()) + second.ended.len(),
                "each at most once"
            );
            assert_nothing_is_left(table, "c1", 3).await;
            if whole {
                assert!(k > 5, "a removal of three has more requests than {k}");
                break;
            }
            k += 1;
        }
    }
}

async fn nothing_left(table: &ConnectionTable) -> bool {
    table.bucket_connections(bucket_of("c1"), None).await.unwrap().0.is_empty()
}

/// Fails when the connection's row is not the first thing a removal writes, or a subscribe does not look at it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscribe_that_meets_a_removal_leaves_no_row_behind() {
    let table = table().await;
    let mut begun = 0;
    for round in 0..40_u32 {
        let id = format!("c{round}");
        connect(&table, &id).await;
        let (one, other) = (table.clone(), table.clone());
        let (first, second) = (id.clone(), id.clone());
        let subscribing = tokio::spawn(async move {
            let mut begun = 0;
            for n in 0..6 {
                let channel = format!("room:{n}");
                let new = subscription(&first, &channel, n + 1);
                begun += usize::from(matches!(one.subscribe(&new).await.unwrap(), Subscribed::Begun(_)));
            }
            begun
        });
        let removing = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_micros(500) * (round % 20)).await;
            other.remove(&second).await.unwrap()
        });
        begun += subscribing.await.unwrap();
        removing.await.unwrap();
        for n in 0..6 {
            let left = table.subscriber(&id, &format!("room:{n}"), 0).await.unwrap();
            assert_eq!(left, None, "round {round}");
        }
    }
    assert!((1..240).contains(&begun), "they never met: {begun}");
}

#[tokio::test]
async fn nobody_subscribes_or_connects_on_a_connection_that_is_being_removed() {
    let tables = Tables::start().await;
    subscribed_to(&tables.table, "c1", 2).await;
    killed_at(&tables, 1, false, |table| async move { table.remove("c1").await }).await;
    let table = &tables.table;
    assert_eq!(table.connection("c1").await.unwrap(), None);
    let new = subscription("c1", CHANNEL, 9);
    assert_eq!(table.subscribe(&new).await.unwrap(), Subscribed::ConnectionGone);
    let again = table.authenticate(&authentication("c1", anna())).await.unwrap();
    assert_eq!(again, Authentication::Gone);
    assert!(!table.refresh("c1", None, None, DELAY).await.unwrap());
    let second = table.remove("c1").await.unwrap();
    assert_eq!((second.was_there, second.ended.len()), (false, 2), "began before, finished here");
}
