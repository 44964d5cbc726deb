//! What a deliverer may do while it is not sure of its lease.

use std::sync::atomic::{AtomicBool, Ordering};

use signalbox_publishing::Message;

use super::*;

/// Requests on the head that only a deliverer makes while it posts.
fn extends(request: &signalbox_connections::testing::Request) -> bool {
    request.operation == "UpdateItem" && request.body.contains("SET lease_until = :until, due_at = :until")
}

/// More connections than are posted to at once take long, and `DynamoDB` does not answer: the lease runs out in the middle of a round. Fails when the rows whose turn
/// has not come are told that they missed something: whoever comes next serves them.
#[tokio::test(start_paused = true)]
async fn rows_whose_turn_had_not_come_when_the_lease_ran_out_keep_their_subscriptions() {
    let world = World::paused(json!({})).await;
    let viewers: Vec<_> = (0..140).map(|n| format!("v{n:03}")).collect();
    for id in &viewers {
        world.connect(id).await;
        let (_, catch_up) = world.begin(id, 1, &plain()).await;
        world.publisher.catch_up(catch_up).await.unwrap();
    }
    // its renewals never come through
    let hooked = world.tables.hooked(Arc::new(|request| {
        Box::pin(async move { if extends(&request) { std::future::pending().await } else { Verdict::Send } })
    }));
    for id in &viewers {
        world.posts.script(id, [Scripted::Delay(1_900)]);
    }
    let slow = world.invocation(&hooked).with_timing(Timing { lease: Duration::from_secs(3), ..Timing::default() });
    let data = world::payload(1);
    let (message, options) = (Message::new(&data), PublishOptions::default());
    let killed =
        tokio::time::timeout(Duration::from_secs(30), slow.publish(CHANNEL, &world.namespace, &message, &options));
    assert!(killed.await.is_err(), "it waits for its lease, and for nothing else");
    let told = |id: &String| world.pushes(id).iter().any(|push| push.get("unsubscribe").is_some());
    assert_eq!(viewers.iter().filter(|id| told(id)).count(), 0);
    // whoever comes next serves everybody
    world.publish(2).await;
    for id in &viewers {
        let mut offsets: Vec<_> = world.pushes(id).iter().map(|push| push["pub"]["offset"].as_u64().unwrap()).collect();
        offsets.dedup();
        assert_eq!(offsets, [1, 2], "{id}");
    }
}

/// Another has taken over while this one was posting. Fails when it goes on, or says that it has delivered.
#[tokio::test(start_paused = true)]
async fn a_deliverer_that_was_taken_over_stops() {
    let world = World::paused(json!({})).await;
    for id in ["a", "b"] {
        world.subscribe(id).await;
    }
    let taken = Arc::new(AtomicBool::new(false));
    let (table, inner) = (world.tables.table.clone(), taken.clone());
    let hooked = world.tables.hooked(Arc::new(move |request| {
        let (table, taken) = (table.clone(), inner.clone());
        Box::pin(async move {
            if extends(&request) && !taken.swap(true, Ordering::Relaxed) {
                // as its lease has run out by the other's clock
                let later = now_ms() + 60_000;
                assert!(table.take_hold(CHANNEL, "other", later, Duration::from_secs(10)).await.unwrap().is_some());
            }
            Verdict::Send
        })
    }));
    let timing = Timing { lease: Duration::from_secs(4), lease_margin: Duration::from_secs(3), ..Timing::default() };
    let publisher = world.invocation(&hooked).with_timing(timing);
    world.posts.script("a", [Scripted::Delay(1_500)]);
    let data = world::payload(1);
    let (message, options) = (Message::new(&data), PublishOptions::default());
    let published = publisher.publish(CHANNEL, &world.namespace, &message, &options).await.unwrap();
    assert!(taken.load(Ordering::Relaxed));
    assert!(!published.delivered);
    let head = world.head().await;
    assert_eq!((head.holder.as_deref(), head.delivered), (Some("other"), 0), "what it has not is not noted");
}

/// Fails when a failed round keeps its lease: everybody would wait for it to run out.
#[tokio::test(start_paused = true)]
async fn a_deliverer_that_fails_lets_go() {
    let world = World::paused(json!({})).await;
    world.subscribe("a").await;
    let hooked = world.tables.hooked(Arc::new(|request| {
        let rows = request.operation == "Query" && request.body.contains(&format!("ch#{CHANNEL}#0"));
        Box::pin(async move { if rows { Verdict::Fail } else { Verdict::Send } })
    }));
    let data = world::payload(1);
    let (message, options) = (Message::new(&data), PublishOptions::default());
    let failed = world.invocation(&hooked).publish(CHANNEL, &world.namespace, &message, &options).await;
    assert!(failed.is_err());
    assert_eq!(world.head().await.holder, None);
    world.publish(2).await;
    assert_eq!(world.seen("a").1, [1, 2], "what was written is delivered");
}

/// P10: pages, one after the other. A round over many rows asks for them page by page, and its requests are few.
#[tokio::test(start_paused = true)]
async fn a_publication_costs_so_many_requests() {
    let world = World::paused(json!({})).await;
    for n in 0..20 {
        world.subscribe(&format!("v{n}")).await;
    }
    let counts: Arc<std::sync::Mutex<std::collections::BTreeMap<String, usize>>> = Arc::default();
    let inner = counts.clone();
    let hooked = world.tables.hooked(Arc::new(move |request| {
        *inner.lock().unwrap().entry(request.operation).or_default() += 1;
        Box::pin(async { Verdict::Send })
    }));
    let publisher = world.invocation(&hooked);
    let data = world::payload(1);
    let (message, options) = (Message::new(&data), PublishOptions::default());
    publisher.publish(CHANNEL, &world.namespace, &message, &options).await.unwrap();
    let counted = std::mem::take(&mut *counts.lock().unwrap());
    // append and hold; write and read the rows; release
    let expected = [("PutItem", 1), ("Query", 1), ("UpdateItem", 2)];
    assert_eq!(counted.iter().map(|(name, count)| (name.as_str(), *count)).collect::<Vec<_>>(), expected);
}
