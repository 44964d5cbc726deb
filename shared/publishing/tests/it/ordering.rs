use signalbox_connections::{LogItem, NewSubscription, PublishKey, Subscribed, Unsubscribed, WritePublication};
use signalbox_publishing::Begun;

use super::{
    world::{info, json_text},
    *,
};

#[tokio::test]
async fn a_publication_reaches_every_subscriber_once_and_in_order() {
    let world = World::new().await;
    for id in ["a", "b"] {
        world.subscribe(id).await;
    }
    for n in 0..3 {
        assert_eq!(world.publish(n).await.offset, n as u64 + 1);
    }
    for id in ["a", "b"] {
        assert_eq!(world.seen(id), (0, vec![1, 2, 3]));
    }
}

/// Fails when a non-holder posts, when the deliverer reads the rows before the append, when it lets go without the condition
/// on the offset, or when a row is made ready without the condition on the top.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishers_and_subscribers_at_once_leave_no_gap_no_swap_and_no_repetition() {
    let world = Arc::new(World::new().await);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..40 {
        let world = world.clone();
        tasks.spawn(async move {
            tokio::time::sleep(Duration::from_millis(fastrand_like(n) % 120)).await;
            world.publish(n).await;
        });
    }
    for n in 0..6 {
        let world = world.clone();
        tasks.spawn(async move {
            tokio::time::sleep(Duration::from_millis(fastrand_like(n + 100) % 120)).await;
            world.subscribe(&format!("s{n}")).await;
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(world.head().await.offset, 40);
    assert!(world.tombstones().await.is_empty(), "nobody died");
    for n in 0..6 {
        world.assert_complete(&format!("s{n}"), false).await;
    }
}

/// Fails when the deliverer lets go without looking whether something was appended while it posted.
#[tokio::test]
async fn what_is_appended_while_the_deliverer_posts_is_delivered_by_it() {
    let world = World::new().await;
    world.subscribe("a").await;
    world.posts.script("a", [Scripted::Delay(200)]);
    let (first, second) = tokio::join!(world.publish(1), async {
        tokio::time::sleep(Duration::from_millis(80)).await;
        world.publish(2).await
    });
    assert_eq!((first.delivered, second.delivered), (true, false));
    assert_eq!(world.seen("a"), (0, vec![1, 2]));
}

/// Fails when the row becomes ready though something was appended while it caught up.
#[tokio::test]
async fn what_is_appended_while_a_subscription_catches_up_is_pushed_before_it_is_ready() {
    let world = World::new().await;
    world.connect("a").await;
    let (result, catch_up) = world.begin("a", 1, &plain()).await;
    world.publish(1).await;
    world.reply("a", &result).await;
    world.posts.script("a", [Scripted::Delay(200)]);
    let (caught_up, _) = tokio::join!(world.publisher.catch_up(catch_up), async {
        tokio::time::sleep(Duration::from_millis(80)).await;
        world.publish(2).await
    });
    caught_up.unwrap();
    world.publish(3).await;
    assert_eq!(world.seen("a"), (0, vec![1, 2, 3]));
}

/// Fails when a publisher leaves its publication to a deliverer that let go in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_publishers_are_done_everything_is_delivered() {
    let world = Arc::new(World::new().await);
    for step in 0..50_u32 {
        let (first, second) = (world.clone(), world.clone());
        let one = tokio::spawn(async move { first.publish(1).await });
        let two = tokio::spawn(async move {
            // the second arrives ever later in the first's delivery, until after its end
            tokio::time::sleep(Duration::from_micros(200) * step).await;
            second.publish(2).await
        });
        one.await.unwrap();
        two.await.unwrap();
        let head = world.head().await;
        assert_eq!((head.delivered, head.holder), (head.offset, None));
    }
}

/// P6: invocations die at any await. Fails when a lease never runs out, when a hole is not filled, or when the publisher of a
/// filled place keeps it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishers_that_die_anywhere_cost_nothing_that_was_written() {
    let world = Arc::new(World::new().await);
    world.subscribe("a").await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..24_usize {
        let world = world.clone();
        tasks.spawn(async move {
            tokio::time::sleep(Duration::from_millis(fastrand_like(n) % 60)).await;
            let life = Duration::from_micros(fastrand_like(n + 7) % 25_000);
            // dropping the future is what a kill does: nothing after that await happens
            let _ = tokio::time::timeout(life, world.publish(n)).await;
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    // whoever retries finds the delivery free once the lease has run out
    tokio::time::sleep(Duration::from_millis(1600)).await;
    world.publish(1000).await;
    world.assert_complete("a", true).await;
}

#[tokio::test]
async fn the_same_idempotency_key_publishes_once() {
    let world = World::new().await;
    world.subscribe("a").await;
    let first = world.publish_once(1, "19:1").await;
    let again = world.publish_once(1, "19:1").await;
    assert_eq!((again.offset, again.duplicate), (first.offset, true));
    world.publish_once(2, "19:2").await;
    let (_, offsets) = world.seen("a");
    assert_eq!(offsets, [1, 3], "the place the repetition took is a tombstone");
    world.assert_complete("a", false).await;
}

/// Fails when a repetition returns before it knows that what it repeats was delivered.
#[tokio::test]
async fn a_retry_delivers_what_a_dead_publisher_only_wrote() {
    let world = World::new().await;
    world.subscribe("a").await;
    let table = &world.tables.table;
    let dead = table.append(CHANNEL, "dead", now_ms(), Duration::from_millis(900), HOUR).await.unwrap();
    let item = &LogItem { data: r#"{"n":1}"#.to_owned(), ..LogItem::default() };
    let key = PublishKey { idempotency_keys: &["key"], version: None };
    let write = WritePublication {
        channel: CHANNEL,
        head: &dead.head,
        item,
        key,
        now_s: now(),
        history_ttl: HOUR,
        meta_ttl: HOUR,
    };
    table.write_publication(&write).await.unwrap();

    assert!(world.publish_once(1, "key").await.duplicate);
    assert_eq!(world.seen("a"), (0, vec![1]));
}

/// Found when MiniStack was restarted between a post and its release: the next publication found a holder, left it to that, and
/// nothing came after it.
#[tokio::test]
async fn a_publication_left_to_a_dead_deliverer_is_delivered_when_its_publisher_insists() {
    let world = World::new().await;
    world.subscribe("a").await;
    let lease = Duration::from_millis(900);
    let dead = world.tables.table.append(CHANNEL, "dead", now_ms(), lease, HOUR).await.unwrap();
    let published = world.publish(2).await;
    assert_eq!((published.offset, published.delivered), (dead.head.offset + 1, false));
    world.publisher.ensure_delivered(CHANNEL, &world.namespace, published.offset).await.unwrap();
    assert_eq!(world.seen("a"), (0, vec![2]), "1 was never written");
}

#[tokio::test]
async fn a_connection_that_is_gone_is_removed_and_the_others_are_not() {
    let world = World::new().await;
    for id in ["a", "b", "c"] {
        world.subscribe(id).await;
    }
    world.posts.script("b", [Scripted::Fail(PostError::Gone)]);
    world.publish(1).await;
    world.publish(2).await;
    assert_eq!(world.tables.table.connection("b").await.unwrap(), None);
    assert_eq!(world.seen("b").1, Vec::<u64>::new());
    for id in ["a", "c"] {
        assert_eq!(world.seen(id), (0, vec![1, 2]));
    }
}

#[tokio::test]
async fn a_post_that_fails_for_a_while_is_repeated_in_order() {
    let world = World::new().await;
    world.subscribe("a").await;
    let unavailable = || Scripted::Fail(PostError::Unavailable("429".to_owned()));
    world.posts.script("a", [unavailable(), unavailable()]);
    world.publish(1).await;
    world.publish(2).await;
    assert_eq!(world.seen("a"), (0, vec![1, 2]));
}

/// A post without an answer may have arrived. Fails when it is posted again: the SDKs do not look at offsets.
#[tokio::test]
async fn what_may_have_arrived_is_not_posted_twice() {
    let world = World::new().await;
    world.subscribe("a").await;
    world.posts.script("a", [Scripted::Fail(PostError::Unanswered("504".to_owned()))]);
    world.publish(1).await;
    let lines = world.posts.lines("a");
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[1]["push"]["unsubscribe"]["code"], 2500);
    let result = world.subscribe_with("a", 2, recover(0, "")).await;
    assert_eq!(result.publications.iter().map(|publication| publication.offset).collect::<Vec<_>>(), [1]);
}

/// P1: missed publications are told, never silent. Fails when the row stays ready after its posts were given up.
#[tokio::test]
async fn a_connection_that_missed_publications_is_told_to_recover() {
    let world = World::new().await;
    world.subscribe("a").await;
    world.posts.script("a", std::iter::repeat_n(Scripted::Fail(PostError::Unavailable("503".to_owned())), 4));
    world.publish(1).await;
    world.publish(2).await;
    let lines = world.posts.lines("a");
    assert_eq!(lines[1], json!({"push":{"channel":CHANNEL,"unsubscribe":{"code":2500,"reason":"insufficient state"}}}));
    assert_eq!(lines.len(), 2, "nothing is posted to a subscription that has ended");

    let result = world.subscribe_with("a", 2, recover(0, "")).await;
    assert!(result.recovered);
    assert_eq!(result.publications.iter().map(|publication| publication.offset).collect::<Vec<_>>(), [1, 2]);

    // not even the unsubscribe gets through: the socket is closed, so that the SDK reconnects
    world.posts.script("a", std::iter::repeat_n(Scripted::Fail(PostError::Unavailable("503".to_owned())), 8));
    world.publish(3).await;
    assert_eq!(world.posts.deleted(), ["a"]);
    assert_eq!(world.tables.table.connection("a").await.unwrap(), None);
}

/// A late post would be a swap. Fails when a row's posts may outlive the lease.
#[tokio::test]
async fn a_connection_that_hangs_is_given_up_and_the_others_are_served() {
    let world = World::new().await;
    for id in ["a", "b"] {
        world.subscribe(id).await;
    }
    world.posts.script("b", [Scripted::Delay(5_000)]);
    let began = std::time::Instant::now();
    world.publish(1).await;
    world.publish(2).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(world.seen("a"), (0, vec![1, 2]));
    let lines = world.posts.lines("b");
    assert_eq!(lines[1]["push"]["unsubscribe"]["code"], 2500, "{lines:?}");
    assert_eq!(lines.len(), 2);
}

/// An invocation that dies between the reply and `make_ready`, or between marking a row and telling its connection, leaves a
/// client that waits in vain. Fails when deliverers pass over such rows.
#[tokio::test]
async fn rows_whose_invocation_died_are_told_to_begin_again_by_the_next_delivery() {
    let world = World::new().await;
    let table = &world.tables.table;
    for id in ["unready", "beginning", "lost", "other stream", "fine"] {
        world.subscribe(id).await;
    }
    let begin = async |connection_id, begun| {
        let client = &info(connection_id, "anna").client;
        let new = NewSubscription {
            connection_id,
            channel: CHANNEL,
            command_id: 2,
            now_s: begun,
            ttl: now() + 60,
            user: "anna",
            client,
            ..NewSubscription::default()
        };
        assert!(matches!(table.subscribe(&new).await.unwrap(), Subscribed::Begun(_)));
    };
    begin("unready", now() - 60).await;
    begin("beginning", now()).await;
    begin("other stream", now()).await;
    assert!(table.mark_lost(world.row("lost").await.unwrap().row(CHANNEL)).await.unwrap());
    let other = world.row("other stream").await.unwrap();
    assert!(table.make_ready_behind(other.row(CHANNEL), "gone", 50, false).await.unwrap());
    world.publish(1).await;
    world.publish(2).await;
    for (id, told) in [("unready", true), ("beginning", false), ("lost", true), ("other stream", true), ("fine", false)]
    {
        let pushes: Vec<_> = world.posts.lines(id).into_iter().filter(|line| line.get("push").is_some()).collect();
        let ends = pushes.iter().filter(|line| line["push"]["unsubscribe"]["code"] == 2500).count();
        assert_eq!(ends, usize::from(told), "{id}: {pushes:?}");
        assert_eq!(world.row(id).await.is_none(), told, "{id}");
    }
    assert_eq!(world.seen("fine"), (0, vec![1, 2]));
}

/// Fails when a holder goes on for as long as somebody publishes: an invocation has a time-out.
#[tokio::test]
async fn a_deliverer_hands_over_on_a_channel_that_is_never_quiet() {
    let mut world = World::new().await;
    world.publisher = world.publisher.clone().with_timing(Timing { turn: Duration::ZERO, ..SHORT });
    world.subscribe("a").await;
    world.posts.script("a", [Scripted::Delay(150), Scripted::Delay(150)]);
    let (first, second) = tokio::join!(world.publish(1), async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        let second = world.publish(2).await;
        assert!(!second.delivered);
        world.publisher.ensure_delivered(CHANNEL, &world.namespace, second.offset).await.unwrap();
        second
    });
    assert_eq!((first.delivered, second.offset), (false, 2));
    assert_eq!(world.seen("a"), (0, vec![1, 2]));
}

#[tokio::test]
async fn a_subscribe_that_came_since_keeps_its_row_when_the_older_one_is_ended() {
    let world = World::new().await;
    world.subscribe("a").await;
    let older = world.row("a").await.unwrap();
    world.subscribe_with("a", 2, plain()).await;
    assert_eq!(world.tables.table.end_row(CHANNEL, &older).await.unwrap(), None);
    let newer = world.row("a").await.unwrap();
    assert!(world.tables.table.end_row(CHANNEL, &newer).await.unwrap().is_some());
    assert!(world.row("a").await.is_none());
}

#[tokio::test]
async fn recovery_is_whole_or_it_is_none() {
    let world = World::new().await;
    let epoch = world.publish(1).await.epoch;
    for n in 2..=5 {
        world.publish(n).await;
    }
    let offsets = |result: &SubscribeResult| result.publications.iter().map(|p| p.offset).collect::<Vec<_>>();

    world.connect("a").await;
    let result = world.subscribe_with("a", 1, recover(3, &epoch)).await;
    assert!(result.was_recovering && result.recovered);
    assert_eq!((result.offset, offsets(&result)), (3, vec![4, 5]));

    let nothing_missed = world.subscribe_with("a", 2, recover(5, &epoch)).await;
    assert!(nothing_missed.recovered && nothing_missed.publications.is_empty());

    for (command, request) in [(3, recover(3, "other")), (4, recover(6, &epoch))] {
        let result = world.subscribe_with("a", command, request).await;
        assert!(result.was_recovering && !result.recovered);
        assert_eq!((result.offset, result.epoch, result.publications.len()), (5, epoch.clone(), 0));
    }
}

#[tokio::test]
async fn a_recovery_larger_than_a_frame_continues_as_pushes() {
    let world = World::new().await;
    let big = json_text(&format!("\"{}\"", "x".repeat(60 * 1024)));
    for _ in 0..5 {
        world.publish_with(&big, &PublishOptions::default()).await;
    }
    world.connect("a").await;
    let result = world.subscribe_with("a", 1, recover(0, "")).await;
    assert!(result.recovered && !result.publications.is_empty());
    let in_reply: Vec<u64> = result.publications.iter().map(|publication| publication.offset).collect();
    let (position, pushed) = world.seen("a");
    assert_eq!(position, 0);
    assert_eq!([in_reply, pushed].concat(), [1, 2, 3, 4, 5]);
    assert!(world.posts.frames("a").iter().all(|frame| frame.len() <= 128 * 1024));
}

/// Fails when a row that was made ready behind the top waits for the next publication.
#[tokio::test]
async fn a_row_behind_the_top_is_brought_up_to_date() {
    let world = World::new().await;
    world.connect("a").await;
    let (result, catch_up) = world.begin("a", 1, &plain()).await;
    world.reply("a", &result).await;
    for n in 1..=3 {
        world.publish(n).await;
    }
    assert_eq!(world.seen("a").1, Vec::<u64>::new(), "not ready");
    world.publisher.catch_up(catch_up).await.unwrap();
    assert_eq!(world.seen("a").1, [1, 2, 3]);
    world.publish(4).await;
    assert_eq!(world.seen("a").1, [1, 2, 3, 4]);
}

#[tokio::test]
async fn the_later_command_of_a_connection_wins_whatever_order_lambda_runs_them_in() {
    let world = World::new().await;
    let table = &world.tables.table;
    world.connect("a").await;
    // unsubscribe 5 is handled before subscribe 4
    assert_eq!(table.unsubscribe("a", CHANNEL, 5, now() + 60).await.unwrap(), Unsubscribed::Ended(None));
    let (info, request) = (info("a", "anna"), plain());
    let command = world.command("a", 4, &info, &request);
    assert!(matches!(world.publisher.begin_subscribe(command).await.unwrap(), Begun::Refused(_)));
    world.publish(1).await;
    assert_eq!(world.posts.lines("a"), Vec::<Value>::new());

    world.subscribe_with("a", 6, request.clone()).await;
    let older = table.unsubscribe("a", CHANNEL, 5, now() + 60).await.unwrap();
    assert_eq!(older, Unsubscribed::Overtaken, "an older unsubscribe is a no-op");
    world.publish(2).await;
    assert_eq!(world.seen("a").1, [2]);
}

#[tokio::test]
async fn a_subscribe_of_a_removed_connection_leaves_no_row() {
    let world = World::new().await;
    world.subscribe("a").await;
    let removed = world.tables.table.remove("a").await.unwrap();
    assert_eq!((removed.was_there, removed.ended.len()), (true, 1));
    assert_eq!(removed.ended[0].channel, CHANNEL);
    assert!(!world.tables.table.remove("a").await.unwrap().was_there, "leave fires once");
    let (info, request) = (info("a", "anna"), plain());
    let command = world.command("a", 2, &info, &request);
    assert!(matches!(world.publisher.begin_subscribe(command).await.unwrap(), Begun::ConnectionGone));
    assert!(world.tables.table.subscribers(CHANNEL, 0, None, None).await.unwrap().0.is_empty());
}

#[tokio::test]
async fn a_channel_without_history_is_posted_to_whoever_is_there() {
    let mut world = World::new().await;
    world.namespace = Namespace::default();
    world.subscribe("a").await;
    assert_eq!(world.publish(1).await.offset, 0);
    assert_eq!(world.posts.lines("a")[1], json!({"push":{"channel":CHANNEL,"pub":{"data":{"n":1}}}}));
}

/// A spread of delays that is the same in every run.
fn fastrand_like(n: usize) -> u64 {
    (n as u64 + 1).wrapping_mul(6_364_136_223_846_793_005).rotate_left(23)
}
