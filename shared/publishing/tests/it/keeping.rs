//! What the keeper does, minute by minute.

use signalbox_connections::{Admission, Admit, BUCKETS, HELD_SHARDS, bucket_of};
use signalbox_publishing::Swept;
use tokio::time::Instant;

use super::*;

async fn heal(world: &World) -> usize {
    let mut healed = 0;
    for shard in 0..HELD_SHARDS {
        healed += world.publisher.heal(shard, Instant::now() + Duration::from_secs(45)).await.unwrap();
    }
    healed
}

async fn sweep(world: &World) -> Swept {
    let mut swept = Swept::default();
    for bucket in 0..BUCKETS {
        let one = world.publisher.sweep(bucket, Instant::now() + Duration::from_secs(45)).await.unwrap();
        swept.stale += one.stale;
        swept.expired += one.expired;
        swept.unsubscribed += one.unsubscribed;
        swept.reconnected += one.reconnected;
        swept.gone += one.gone;
        swept.oldest = swept.oldest.max(one.oldest);
        swept.unfinished |= one.unfinished;
    }
    swept
}

async fn seconds(count: u64) {
    tokio::time::advance(Duration::from_secs(count)).await;
}

/// P6. Fails when a lease that has run out is found by the next publisher alone.
#[tokio::test(start_paused = true)]
async fn a_channel_whose_deliverer_died_is_healed() {
    let world = World::paused(json!({})).await;
    world.subscribe("a").await;
    world.posts.script("a", [Scripted::Delay(1_000)]);
    // dropped in the middle of its post
    let killed = tokio::time::timeout(Duration::from_millis(500), world.publish(1)).await;
    assert!(killed.is_err());
    assert!(!world.publish(2).await.delivered, "somebody holds it, as far as anybody knows");
    assert_eq!(heal(&world).await, 0, "its lease has not run out");
    assert_eq!(world.seen("a").1, Vec::<u64>::new());
    seconds(11).await;
    assert_eq!(heal(&world).await, 1);
    assert_eq!(world.seen("a").1, [1, 2]);
    assert_eq!(heal(&world).await, 0);
    let head = world.head().await;
    assert_eq!((head.holder, head.delivered), (None, 2));
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_was_handed_over_is_healed_at_once() {
    let mut world = World::paused(json!({})).await;
    world.publisher = world.publisher.clone().with_timing(Timing { turn: Duration::ZERO, ..Timing::default() });
    world.subscribe("a").await;
    world.posts.script("a", [Scripted::Delay(100)]);
    tokio::join!(world.publish(1), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.publish(2).await
    });
    assert_eq!(world.seen("a").1, [1]);
    assert_eq!(heal(&world).await, 1);
    assert_eq!(world.seen("a").1, [1, 2]);
}

/// P1. Nobody was there to deliver for longer than publications are kept. Fails when what TTL has removed is taken for holes.
#[tokio::test(start_paused = true)]
async fn who_missed_what_expired_undelivered_is_told() {
    let world = World::paused(json!({"history_ttl": "30s"})).await;
    world.subscribe("a").await;
    world.posts.script("a", [Scripted::Delay(1_000)]);
    let killed = tokio::time::timeout(Duration::from_millis(500), world.publish(1)).await;
    assert!(killed.is_err());
    seconds(60).await;
    let epoch = world.head().await.epoch;
    world.tables.delete(&format!("log#{CHANNEL}#{epoch}"), &format!("{:020}", 1)).await;
    assert_eq!(heal(&world).await, 1);
    let pushes = world.pushes("a");
    assert_eq!((pushes.len(), &pushes[0]["unsubscribe"]["code"]), (1, &json!(2500)));
    let result = world.subscribe_with("a", 2, recover(0, &epoch)).await;
    assert!(!result.recovered);
    assert_eq!(result.offset, 1);
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_never_connects_is_closed() {
    let world = World::paused(json!({})).await;
    let stale_after = world.channels.client.stale_close_delay;
    let admit = Admit { id: "silent", now_s: now(), source_ip: None, stale_after, per_address_limit: 0 };
    assert_eq!(world.tables.table.admit(&admit).await.unwrap(), Admission::Admitted);
    assert_eq!(sweep(&world).await, Swept::default());
    seconds(11).await;
    let swept = sweep(&world).await;
    assert_eq!((swept.stale, swept.gone), (1, 0));
    assert_eq!(world.posts.lines("silent"), [json!({"push": {"disconnect": {"code": 3502, "reason": "stale"}}})]);
    assert_eq!(world.posts.deleted(), ["silent"]);
    assert_eq!(world.tables.table.connection("silent").await.unwrap(), None);
    assert_eq!(sweep(&world).await, Swept::default());
}

/// P5. The grace is the configuration's. Fails when a refreshed connection is ended, or one that was not is left alone.
#[tokio::test(start_paused = true)]
async fn a_connection_whose_token_ended_is_ended_after_its_grace_and_a_refreshed_one_is_not() {
    let client = json!({"expired_close_delay": "5s", "expired_sub_close_delay": "5s"});
    let world = World::paused_with(json!({}), client).await;
    for id in ["ends", "refreshed"] {
        world.connect_as(id, "anna", Some(now() + 60)).await;
        world.subscribe_with(id, 1, plain()).await;
    }
    seconds(30).await;
    sweep(&world).await;
    let delay = world.channels.client.expired_close_delay;
    assert!(world.tables.table.refresh("refreshed", Some(now() + 600), None, delay).await.unwrap());
    seconds(33).await;
    assert_eq!(sweep(&world).await, Swept::default(), "63 s: within the grace");
    seconds(3).await;
    let swept = sweep(&world).await;
    assert_eq!(swept.expired, 1);
    assert_eq!(world.posts.lines("ends").last().unwrap()["push"]["disconnect"]["code"], 3005);
    assert_eq!(world.posts.deleted(), ["ends"]);
    assert!(world.tables.table.connection("refreshed").await.unwrap().is_some());
    assert_eq!(sweep(&world).await, Swept::default(), "it is looked at again when it ends");
    seconds(600).await;
    assert_eq!(sweep(&world).await.expired, 1);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_whose_token_ended_is_ended_after_its_grace_and_a_refreshed_one_is_not() {
    let world = World::paused(json!({})).await;
    let delay = world.channels.client.expired_sub_close_delay;
    for id in ["ends", "refreshed"] {
        world.connect(id).await;
        let (info, request) = (world::info(id, "anna"), plain());
        let command =
            SubscribeCommand { subscription_expires_at: Some(now() + 60), ..world.command(id, 1, &info, &request) };
        let signalbox_publishing::Begun::Reply(_, catch_up) = world.publisher.begin_subscribe(command).await.unwrap()
        else {
            panic!()
        };
        world.publisher.catch_up(*catch_up).await.unwrap();
    }
    let table = &world.tables.table;
    assert!(table.refresh_subscription("refreshed", CHANNEL, Some(now() + 600), None, delay).await.unwrap());
    seconds(84).await;
    assert_eq!(sweep(&world).await.unsubscribed, 0);
    seconds(3).await;
    assert_eq!(sweep(&world).await.unsubscribed, 1);
    let pushes = world.pushes("ends");
    assert_eq!(pushes, [json!({"channel": CHANNEL, "unsubscribe": {"code": 2501, "reason": "subscription expired"}})]);
    assert!(table.connection("ends").await.unwrap().is_some(), "the connection stays");
    assert!(world.row("ends").await.is_none() && world.row("refreshed").await.is_some());
    seconds(600).await;
    assert_eq!(sweep(&world).await.unsubscribed, 1);
}

/// Before API Gateway cuts them at two hours, and not all of them at once.
#[tokio::test(start_paused = true)]
async fn connections_are_sent_away_to_come_back_one_by_one_before_two_hours_are_over() {
    let world = World::paused(json!({})).await;
    for n in 0..20 {
        world.connect(&format!("c{n}")).await;
    }
    seconds(90 * 60 - 1).await;
    assert_eq!(sweep(&world).await.reconnected, 0);
    let (mut minutes, mut reconnected) = (Vec::new(), 0);
    for _ in 0..26 {
        seconds(60).await;
        let now = sweep(&world).await.reconnected;
        reconnected += now;
        minutes.push(now);
    }
    assert_eq!(reconnected, 20, "{minutes:?}");
    assert!(minutes.iter().all(|count| *count < 10), "{minutes:?}");
    assert_eq!(world.posts.lines("c0").last().unwrap()["push"]["disconnect"]["code"], 3011);
    assert_eq!(world.posts.deleted().len(), 20);
}

/// P6. The invocation dies between the reply and the moment at which its row is ready, and nothing is published for a long time. Fails
/// when only a deliverer looks for such rows: the client would wait for hours.
#[tokio::test(start_paused = true)]
async fn a_subscribe_that_died_after_its_reply_is_told_to_begin_again_on_a_quiet_channel() {
    let world = World::paused(json!({})).await;
    world.connect("a").await;
    let (result, dead) = world.begin("a", 1, &plain()).await;
    world.reply("a", &result).await;
    drop(dead);
    world.publish(1).await;
    sweep(&world).await;
    assert_eq!(world.pushes("a"), Vec::<Value>::new(), "it may be under way");
    seconds(16).await;
    sweep(&world).await;
    assert_eq!(world.pushes("a")[0]["unsubscribe"]["code"], 2500);
    assert_eq!(world.row("a").await, None);
    let result = world.subscribe_with("a", 2, recover(0, "")).await;
    assert_eq!(result.publications.len(), 1);
}

/// The same one write later: the row is ready behind its position, and what it lacks was delivered to the others.
#[tokio::test(start_paused = true)]
async fn a_row_that_was_left_behind_is_brought_up_to_date_on_a_quiet_channel() {
    let world = World::paused(json!({})).await;
    world.connect("a").await;
    let (result, _) = world.begin("a", 1, &plain()).await;
    world.reply("a", &result).await;
    world.publish(1).await;
    let row = world.row("a").await.unwrap();
    let table = &world.tables.table;
    assert!(table.make_ready_behind(row.row(CHANNEL), &result.epoch, 0, false).await.unwrap());
    sweep(&world).await;
    seconds(16).await;
    sweep(&world).await;
    assert_eq!(world.seen("a").1, [1]);
    let row = world.row("a").await.unwrap();
    assert_eq!((row.behind, row.from), (false, 1));
    world.publish(2).await;
    assert_eq!(world.seen("a").1, [1, 2]);
}

/// One that marked a row and died before it told the connection.
#[tokio::test(start_paused = true)]
async fn a_row_that_was_lost_and_not_told_is_told_on_a_quiet_channel() {
    let world = World::paused(json!({})).await;
    world.subscribe("a").await;
    world.tables.table.mark_lost(world.row("a").await.unwrap().row(CHANNEL)).await.unwrap();
    seconds(16).await;
    sweep(&world).await;
    assert_eq!(world.pushes("a")[0]["unsubscribe"]["code"], 2500);
}

/// Fails when the look at one subscribe puts off the look at the next: the keeper reads the connection, a subscribe begins, the
/// keeper notes when to look next.
#[tokio::test(start_paused = true)]
async fn a_subscribe_that_begins_while_the_keeper_looks_is_looked_at_too() {
    let world = Arc::new(World::paused(json!({})).await);
    world.subscribe("a").await;
    let begun = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let inner = world.clone();
    let hooked = world.tables.hooked(Arc::new(move |request| {
        let reschedules = request.operation == "UpdateItem" && request.body.contains("attribute_exists(due_at)");
        let (world, begun) = (inner.clone(), begun.clone());
        Box::pin(async move {
            if reschedules && !begun.swap(true, std::sync::atomic::Ordering::Relaxed) {
                let (info, request) = (world::info("a", "anna"), plain());
                let command = SubscribeCommand { channel: "status:other", ..world.command("a", 2, &info, &request) };
                let begun = world.publisher.begin_subscribe(command).await.unwrap();
                assert!(matches!(begun, signalbox_publishing::Begun::Reply(..)));
            }
            Verdict::Send
        })
    }));
    seconds(16).await;
    let keeper = world.invocation(&hooked);
    keeper.sweep(bucket_of("a"), Instant::now() + HOUR).await.unwrap();
    seconds(17).await;
    sweep(&world).await;
    let last = world.posts.lines("a").pop().unwrap();
    assert_eq!(
        (&last["push"]["channel"], &last["push"]["unsubscribe"]["code"]),
        (&json!("status:other"), &json!(2500))
    );
}

#[tokio::test(start_paused = true)]
async fn a_subscribe_that_came_through_is_looked_at_once_and_left_alone() {
    let world = World::paused(json!({})).await;
    world.subscribe("a").await;
    seconds(16).await;
    assert_eq!(Swept { oldest: 0, ..sweep(&world).await }, Swept::default());
    let due = world.tables.table.connection("a").await.unwrap().unwrap().due_at_ms;
    assert!(due > now_ms() + 80 * 60 * 1000, "not before it is to reconnect");
    world.publish(1).await;
    assert_eq!(world.seen("a").1, [1]);
}

/// API Gateway closes a socket after ten minutes of silence.
#[tokio::test(start_paused = true)]
async fn every_connection_gets_its_ping_and_those_that_are_gone_are_removed() {
    let world = World::paused(json!({"join_leave": true, "force_push_join_leave": true})).await;
    for id in ["a", "b", "c"] {
        world.subscribe(id).await;
    }
    world.posts.script("b", [Scripted::Fail(PostError::Gone)]);
    world.posts.script("c", [Scripted::Fail(PostError::Unavailable("429".to_owned()))]);
    let (mut kept, mut gone) = (0, 0);
    for bucket in 0..BUCKETS {
        let until = Instant::now() + Duration::from_secs(45);
        let (here, left) = world.publisher.keep_alive(bucket, until).await.unwrap();
        kept += here;
        gone += left;
    }
    assert_eq!((kept, gone), (2, 1));
    let lines = world.posts.lines("a");
    assert_eq!(lines.iter().filter(|line| **line == json!({})).count(), 1);
    assert!(lines.iter().any(|line| line["push"]["leave"]["info"]["client"] == "client-b"), "{lines:?}");
    assert!(world.tables.table.connection("c").await.unwrap().is_some(), "one ping may fail");
}

/// P6 and P9: whoever removed it died on the way.
#[tokio::test(start_paused = true)]
async fn a_removal_that_was_not_finished_is() {
    let world = World::paused(json!({"join_leave": true, "force_push_join_leave": true})).await;
    world.subscribe("watcher").await;
    world.subscribe("a").await;
    let dying = world.tables.hooked(Arc::new(|request| {
        Box::pin(
            async move { if request.operation == "UpdateItem" { Verdict::Send } else { std::future::pending().await } },
        )
    }));
    let invocation = world.invocation(&dying);
    assert!(tokio::time::timeout(Duration::from_secs(1), invocation.disconnected("a")).await.is_err());
    assert!(world.row("a").await.is_some());
    assert_eq!(sweep(&world).await.gone, 1);
    assert_eq!(world.row("a").await, None);
    assert_eq!(world.posts.deleted(), ["a"], "its socket may be open, and nobody knows it any more");
    let leaves = world.posts.lines("watcher").iter().filter(|line| line["push"].get("leave").is_some()).count();
    assert_eq!(leaves, 1);
}
