//! Recovery and history: what was missed comes whole, or the client is told.

use signalbox_protocol::{ErrorCode, Filter, StreamPosition};
use signalbox_publishing::{Begun, HistoryError, HistoryQuery, Message, REPLY_BYTES};

use super::{
    world::{info, json_text},
    *,
};

fn offsets(result: &SubscribeResult) -> Vec<u64> {
    result.publications.iter().map(|publication| publication.offset).collect()
}

async fn published(world: &World, count: usize) -> String {
    let mut epoch = String::new();
    for n in 1..=count {
        epoch = world.publish(n).await.epoch;
    }
    epoch
}

#[tokio::test(start_paused = true)]
async fn more_than_the_limit_is_not_recovered() {
    let world = World::paused(json!({"history_size": 8})).await;
    let epoch = published(&world, 12).await;
    world.connect("a").await;
    assert_eq!(offsets(&world.subscribe_with("a", 1, recover(4, &epoch)).await), (5..=12).collect::<Vec<_>>());
    let trimmed = world.subscribe_with("a", 2, recover(3, &epoch)).await;
    assert!(trimmed.was_recovering && !trimmed.recovered, "one more than the history has");
    assert_eq!((trimmed.offset, trimmed.publications.len()), (12, 0));

    let (info, request) = (info("a", "anna"), recover(7, &epoch));
    let command = SubscribeCommand { recovery_limit: 4, ..world.command("a", 3, &info, &request) };
    let Begun::Reply(result, _) = world.publisher.begin_subscribe(command).await.unwrap() else { panic!() };
    assert!(!result.recovered, "recovery_max_publication_limit");
}

#[tokio::test(start_paused = true)]
async fn what_has_expired_or_was_removed_is_not_recovered() {
    let world = World::paused(json!({"history_ttl": "60s"})).await;
    let epoch = published(&world, 2).await;
    tokio::time::advance(Duration::from_secs(40)).await;
    world.publish(3).await;
    tokio::time::advance(Duration::from_secs(25)).await;
    world.connect("a").await;
    assert!(!world.subscribe_with("a", 1, recover(1, &epoch)).await.recovered, "2 has expired");
    assert_eq!(offsets(&world.subscribe_with("a", 2, recover(2, &epoch)).await), [3]);

    world.tables.table.remove_history(CHANNEL).await.unwrap();
    assert!(!world.subscribe_with("a", 3, recover(2, &epoch)).await.recovered, "3 was removed");
    let nothing_missed = world.subscribe_with("a", 4, recover(3, &epoch)).await;
    assert!(nothing_missed.recovered && nothing_missed.publications.is_empty());
    world.publish(4).await;
    assert_eq!(offsets(&world.subscribe_with("a", 5, recover(3, &epoch)).await), [4]);
}

/// Flag 2: the application keeps its state by itself, and wants to know before it is subscribed.
#[tokio::test(start_paused = true)]
async fn who_would_rather_not_subscribe_than_not_recover_is_refused_and_has_no_row() {
    let world = World::paused(json!({})).await;
    published(&world, 2).await;
    world.connect("a").await;
    let (info, request) = (info("a", "anna"), SubscribeRequest { flag: 2, ..recover(1, "another") });
    let begun = world.publisher.begin_subscribe(world.command("a", 1, &info, &request)).await.unwrap();
    assert!(matches!(begun, Begun::Refused(ErrorCode::UNRECOVERABLE_POSITION)), "{begun:?}");
    assert_eq!(world.row("a").await, None);
    let (_, own) = world.tables.table.connection_with_subscriptions("a").await.unwrap().unwrap();
    assert!(own.iter().all(|own| !own.active));
}

/// P1. Fails when recovery leaves out a place that its publisher has not written yet.
#[tokio::test(start_paused = true)]
async fn a_place_that_is_not_written_yet_is_waited_for() {
    let world = World::paused(json!({})).await;
    published(&world, 1).await;
    let slow = world.tables.hooked(Arc::new(|request| {
        Box::pin(async move {
            if request.operation == "PutItem" {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Verdict::Send
        })
    }));
    world.connect("a").await;
    let publisher = world.invocation(&slow);
    let data = world::payload(2);
    let (message, options) = (Message::new(&data), PublishOptions::default());
    let (published, result) = tokio::join!(publisher.publish(CHANNEL, &world.namespace, &message, &options), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.subscribe_with("a", 1, recover(0, "")).await
    });
    assert_eq!(published.unwrap().offset, 2);
    let (_, pushed) = world.seen("a");
    assert_eq!([offsets(&result), pushed].concat(), [1, 2]);
}

/// 128 KB is all that a frame takes. Fails when the first publication goes into a reply that has no room for it.
#[tokio::test(start_paused = true)]
async fn a_recovery_goes_on_as_pushes_from_where_the_reply_is_full() {
    let world = World::paused(json!({})).await;
    let big = json_text(&format!("\"{}\"", "x".repeat(60 * 1024)));
    for _ in 0..5 {
        world.publish_with(&big, &PublishOptions::default()).await;
    }
    for (id, reply_bytes, in_reply) in [("whole", REPLY_BYTES, 1), ("half", 1024, 0), ("none", 0, 0)] {
        world.connect(id).await;
        let (info, request) = (info(id, "anna"), recover(0, ""));
        let command = SubscribeCommand { reply_bytes, ..world.command(id, 1, &info, &request) };
        let Begun::Reply(result, catch_up) = world.publisher.begin_subscribe(command).await.unwrap() else { panic!() };
        assert!(result.recovered);
        assert_eq!((result.offset, result.publications.len()), (0, in_reply), "{id}");
        world.reply(id, &result).await;
        world.publisher.catch_up(*catch_up).await.unwrap();
        world.publish(6).await;
        let (_, pushed) = world.seen(id);
        let top = world.head().await.offset;
        assert_eq!([offsets(&result), pushed].concat(), (1..=top).collect::<Vec<_>>(), "{id}");
        assert!(world.posts.frames(id).iter().all(|frame| frame.len() <= 128 * 1024));
    }
}

#[tokio::test(start_paused = true)]
async fn cache_recovery_brings_the_newest_publication_and_no_other() {
    let world = World::paused(json!({"force_recovery_mode": "cache"})).await;
    world.connect("a").await;
    let nothing_there = world.subscribe_with("a", 1, recover(0, "")).await;
    assert!(nothing_there.was_recovering && !nothing_there.recovered, "there is none");
    let epoch = published(&world, 3).await;
    assert_eq!(offsets(&world.subscribe_with("a", 2, recover(1, &epoch)).await), [3]);
    assert_eq!(offsets(&world.subscribe_with("a", 3, recover(3, "another")).await), [3], "whatever the epoch");
    let there_already = world.subscribe_with("a", 4, recover(3, &epoch)).await;
    assert!(there_already.recovered && there_already.publications.is_empty());
    let unasked = world.subscribe_with("a", 5, plain()).await;
    assert!(!unasked.was_recovering && unasked.publications.is_empty());
    // a tombstone on top hides nothing
    world.publish_once(9, "k").await;
    assert!(world.publish_once(9, "k").await.duplicate);
    assert_eq!(offsets(&world.subscribe_with("a", 6, recover(1, &epoch)).await), [4]);
    world.publish(6).await;
    assert_eq!(world.pushes("a").last().unwrap()["pub"]["offset"], 6);

    let auto = World::paused(json!({"force_recovery_mode": "cache", "auto_cache_recover": true})).await;
    published(&auto, 2).await;
    let unasked = auto.subscribe("a").await;
    assert!(unasked.was_recovering && unasked.recovered);
    assert_eq!(offsets(&unasked), [2]);
}

fn tagged(tags: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn only(env: &str) -> SubscribeRequest {
    let filter = Filter { key: "env".to_owned(), cmp: "eq".to_owned(), val: env.to_owned(), ..Filter::default() };
    SubscribeRequest { tf: Some(filter), ..plain() }
}

#[tokio::test(start_paused = true)]
async fn a_tags_filter_keeps_back_what_it_does_not_match_and_offsets_go_on() {
    let world = World::paused(json!({"allow_tags_filter": true})).await;
    world.connect("prod").await;
    world.subscribe_with("prod", 1, only("prod")).await;
    world.subscribe("all").await;
    let envs = ["prod", "test", "", "prod"];
    for env in envs {
        let tags = if env.is_empty() { tagged(&[]) } else { tagged(&[("env", env)]) };
        let data = world::payload(1);
        let message = Message { tags: &tags, ..Message::new(&data) };
        world.publish_message(&message, &PublishOptions::default()).await;
    }
    assert_eq!(world.seen("all").1, [1, 2, 3, 4]);
    assert_eq!(world.seen("prod").1, [1, 4]);
    assert_eq!(world.pushes("prod")[0]["pub"]["tags"], json!({"env": "prod"}));

    let recovered = world.subscribe_with("prod", 2, SubscribeRequest { recover: true, ..only("prod") }).await;
    assert!(recovered.recovered, "what is kept back is not missing");
    assert_eq!(offsets(&recovered), [1, 4]);
    let none = world.subscribe_with("prod", 3, SubscribeRequest { recover: true, ..only("stage") }).await;
    assert!(none.recovered && none.publications.is_empty());
}

#[tokio::test(start_paused = true)]
async fn cache_recovery_with_a_filter_brings_the_newest_that_passes() {
    let world = World::paused(json!({"allow_tags_filter": true, "force_recovery_mode": "cache"})).await;
    for env in ["prod", "prod", "test"] {
        let (tags, data) = (tagged(&[("env", env)]), world::payload(1));
        world.publish_message(&Message { tags: &tags, ..Message::new(&data) }, &PublishOptions::default()).await;
    }
    world.connect("a").await;
    let result = world.subscribe_with("a", 1, SubscribeRequest { recover: true, ..only("prod") }).await;
    assert_eq!(offsets(&result), [2]);
    let none = world.subscribe_with("a", 2, SubscribeRequest { recover: true, ..only("stage") }).await;
    assert!(none.recovered && none.publications.is_empty());
}

async fn page(world: &World, limit: usize, since: Option<u64>, reverse: bool) -> Vec<u64> {
    let epoch = world.head().await.epoch;
    let since = since.map(|offset| StreamPosition { offset, epoch });
    let query = HistoryQuery { limit, since: since.as_ref(), reverse };
    let page = world.publisher.history(CHANNEL, &world.namespace, query).await.unwrap();
    assert_eq!(page.position.offset, world.head().await.offset);
    page.publications.iter().map(|publication| publication.offset).collect()
}

#[tokio::test(start_paused = true)]
async fn history_is_told_in_pages_from_either_end() {
    let world = World::paused(json!({"history_size": 6, "history_ttl": "60s"})).await;
    published(&world, 8).await;
    assert_eq!(page(&world, 100, None, false).await, [3, 4, 5, 6, 7, 8], "as many as are kept");
    assert_eq!(page(&world, 0, None, false).await, Vec::<u64>::new());
    assert_eq!(page(&world, 2, None, false).await, [3, 4]);
    assert_eq!(page(&world, 2, Some(4), false).await, [5, 6]);
    assert_eq!(page(&world, 2, Some(8), false).await, Vec::<u64>::new());
    assert_eq!(page(&world, 2, Some(99), false).await, Vec::<u64>::new());
    assert_eq!(page(&world, 2, None, true).await, [8, 7]);
    assert_eq!(page(&world, 2, Some(7), true).await, [6, 5]);
    assert_eq!(page(&world, 9, Some(4), true).await, [3]);
    assert_eq!(page(&world, 9, Some(0), true).await, Vec::<u64>::new());

    world.tables.table.remove_history(CHANNEL).await.unwrap();
    assert_eq!(page(&world, 9, None, false).await, Vec::<u64>::new());
    world.publish(9).await;
    assert_eq!(page(&world, 9, None, true).await, [9]);
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(page(&world, 9, None, false).await, Vec::<u64>::new(), "expired");
}

#[tokio::test(start_paused = true)]
async fn history_of_another_stream_is_refused() {
    let world = World::paused(json!({})).await;
    published(&world, 1).await;
    let since = StreamPosition { offset: 0, epoch: "another".to_owned() };
    let query = HistoryQuery { limit: 1, since: Some(&since), reverse: false };
    let refused = world.publisher.history(CHANNEL, &world.namespace, query).await;
    assert!(matches!(refused, Err(HistoryError::UnrecoverablePosition)), "{refused:?}");
    let since = StreamPosition { offset: 0, epoch: String::new() };
    let query = HistoryQuery { limit: 1, since: Some(&since), reverse: false };
    assert_eq!(world.publisher.history(CHANNEL, &world.namespace, query).await.unwrap().publications.len(), 1);
}

/// Whoever pages on from the last one would never see what comes in before it.
#[tokio::test(start_paused = true)]
async fn history_waits_for_a_place_that_is_not_written_yet() {
    let world = World::paused(json!({})).await;
    published(&world, 1).await;
    let table = &world.tables.table;
    let slow = table.append(CHANNEL, "slow", now_ms(), Duration::from_secs(10), HOUR).await.unwrap();
    assert_eq!(world.publish(3).await.offset, 3);
    assert_eq!(page(&world, 9, None, false).await, [1, 3]);
    assert_eq!(world.tombstones().await, [slow.head.offset], "nothing can come there any more");
}

#[tokio::test(start_paused = true)]
async fn a_page_of_history_fits_its_frame_with_all_that_comes_with_it() {
    let world = World::paused(json!({})).await;
    let (tags, data) = (tagged(&[("text", &"x".repeat(20 * 1024))]), world::payload(1));
    for _ in 0..10 {
        world.publish_message(&Message { tags: &tags, ..Message::new(&data) }, &PublishOptions::default()).await;
    }
    let (mut seen, mut since) = (Vec::new(), 0);
    while since < 10 {
        let offsets = page(&world, 100, Some(since), false).await;
        assert!((1..=5).contains(&offsets.len()), "{offsets:?}");
        since = *offsets.last().unwrap();
        seen.extend(offsets);
    }
    assert_eq!(seen, (1..=10).collect::<Vec<_>>());
}
