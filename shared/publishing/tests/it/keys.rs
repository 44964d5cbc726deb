//! Publications that must not come twice, or too late.

use signalbox_publishing::Version;

use super::*;

fn version(version: u64, epoch: &'static str) -> PublishOptions<'static> {
    PublishOptions { version: Some(Version { version, epoch }), ..PublishOptions::default() }
}

/// P4.
#[tokio::test(start_paused = true)]
async fn an_older_version_is_suppressed_and_answered_with_the_top() {
    let world = World::paused(json!({})).await;
    world.subscribe("a").await;
    let publish = async |options: PublishOptions<'_>| {
        let published = world.publish_with(&world::payload(1), &options).await;
        (published.offset, published.suppressed, published.duplicate)
    };
    assert_eq!(publish(version(2, "")).await, (1, false, false));
    assert_eq!(publish(version(2, "")).await, (2, true, false));
    assert_eq!(publish(version(1, "")).await, (3, true, false));
    assert_eq!(publish(version(3, "")).await, (4, false, false));
    assert_eq!(publish(version(1, "other")).await, (5, false, false));
    assert_eq!(world.seen("a").1, [1, 4, 5]);
    world.assert_complete("a", false).await;
}

/// P3 and P4 without a place in a log.
#[tokio::test(start_paused = true)]
async fn what_skips_the_history_is_posted_once_and_takes_no_offset() {
    let world = World::paused(json!({})).await;
    world.subscribe("a").await;
    let skip = PublishOptions { skip_history: true, ..PublishOptions::default() };
    let keyed = PublishOptions { idempotency_keys: &["k"], ..skip };
    let versioned = |n| PublishOptions { skip_history: true, ..version(n, "") };
    let publish = async |options: PublishOptions<'_>| {
        let published = world.publish_with(&world::payload(1), &options).await;
        (published.offset, published.suppressed, published.duplicate)
    };
    assert_eq!(publish(skip).await, (0, false, false));
    assert_eq!(publish(keyed).await, (0, false, false));
    assert_eq!(publish(keyed).await, (0, false, true));
    assert_eq!(publish(versioned(2)).await, (0, false, false));
    assert_eq!(publish(versioned(2)).await, (0, true, false));
    assert_eq!(publish(versioned(1)).await, (0, true, false));
    // and the same document through the history
    assert_eq!(publish(version(2, "")).await, (1, true, false));
    assert_eq!(publish(version(3, "")).await, (2, false, false));
    let publications: Vec<_> = world.pushes("a").into_iter().map(|push| push["pub"].clone()).collect();
    assert_eq!(publications.len(), 4, "{publications:?}");
    assert!(publications[..3].iter().all(|publication| publication.get("offset").is_none()));
    assert_eq!(publications[3]["offset"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_known_key_takes_no_new_offset_from_a_caller_who_knows_that_it_repeats_itself() {
    let world = World::paused(json!({})).await;
    world.subscribe("a").await;
    let data = world::payload(1);
    let message = signalbox_publishing::Message::new(&data);
    let again = async || world.publisher.publish_again(CHANNEL, &world.namespace, &message, "k").await.unwrap();
    let first = again().await;
    assert_eq!((first.offset, first.duplicate, first.delivered), (1, false, true));
    let second = again().await;
    assert_eq!((second.offset, second.duplicate, second.delivered, &second.epoch), (1, true, true, &first.epoch));
    assert_eq!(world.head().await.offset, 1);
    // five minutes later it is forgotten
    tokio::time::advance(Duration::from_secs(302)).await;
    assert_eq!(again().await.offset, 2);
}

/// What is suppressed takes an offset, and no publication's place. Fails when offsets are counted where publications are meant.
#[tokio::test(start_paused = true)]
async fn a_publication_that_is_not_published_evicts_none_from_the_history() {
    let world = World::paused(json!({"history_size": 3})).await;
    let history = async |limit, reverse, since| {
        let query = signalbox_publishing::HistoryQuery { limit, reverse, since };
        let page = world.publisher.history(CHANNEL, &world.namespace, query).await.unwrap();
        page.publications.iter().map(|publication| publication.offset).collect::<Vec<_>>()
    };
    for _ in 0..6 {
        world.publish_once(1, "k").await;
    }
    assert_eq!(world.head().await.offset, 6);
    assert_eq!(history(10, false, None).await, [1]);
    for n in 7..=9 {
        world.publish(n).await;
        world.publish_once(1, "k").await;
    }
    // 7, 9 and 11 are published, and 1 is the fourth newest
    assert_eq!(history(10, false, None).await, [7, 9, 11]);
    assert_eq!(history(2, false, None).await, [7, 9]);
    assert_eq!(history(10, true, None).await, [11, 9, 7]);
    let since = signalbox_protocol::StreamPosition { offset: 9, epoch: String::new() };
    assert_eq!(history(10, false, Some(&since)).await, [11]);
    assert_eq!(history(10, true, Some(&since)).await, [7]);
    // the same holds for who recovers
    for (since, recovered) in [(12, vec![]), (7, vec![9, 11]), (2, vec![7, 9, 11])] {
        let id = format!("since {since}");
        world.connect(&id).await;
        let result = world.subscribe_with(&id, 1, recover(since, "")).await;
        assert!(result.recovered, "{since}");
        assert_eq!(result.publications.iter().map(|publication| publication.offset).collect::<Vec<_>>(), recovered);
    }
    world.connect("too late").await;
    assert!(!world.subscribe_with("too late", 1, recover(0, "")).await.recovered, "1 is history no more");
}

/// A cache of one document, and an older version that comes late.
#[tokio::test(start_paused = true)]
async fn an_older_version_leaves_the_cached_document_where_it_is() {
    let options = json!({"history_size": 1, "force_recovery_mode": "cache", "auto_cache_recover": true});
    let world = World::paused(options).await;
    world.publish_with(&world::payload(5), &version(5, "")).await;
    for _ in 0..3 {
        assert!(world.publish_with(&world::payload(4), &version(4, "")).await.suppressed);
    }
    world.connect("new").await;
    let result = world.subscribe_with("new", 1, plain()).await;
    assert_eq!(result.publications.iter().map(|publication| publication.offset).collect::<Vec<_>>(), [1]);
    let epoch = world.head().await.epoch;
    for offset in [1, 4] {
        let id = format!("has it, at {offset}");
        world.connect(&id).await;
        let result = world.subscribe_with(&id, 1, recover(offset, &epoch)).await;
        assert!(result.recovered && result.publications.is_empty(), "{offset}");
    }
}

/// Fails when such a row is posted to only after its reply was: what was published meanwhile was lost, with both calls answered well.
#[tokio::test(start_paused = true)]
async fn without_history_everything_arrives_from_the_subscribe_reply_on() {
    let world = World::paused(
        json!({"history_size": 0, "history_ttl": "0s", "force_positioning": false, "force_recovery": false}),
    )
    .await;
    world.connect("a").await;
    let (result, catch_up) = world.begin("a", 1, &plain()).await;
    world.reply("a", &result).await;
    world.publish(1).await;
    world.publisher.catch_up(catch_up).await.unwrap();
    world.publish(2).await;
    let data: Vec<_> = world.pushes("a").into_iter().map(|push| push["pub"]["data"].clone()).collect();
    assert_eq!(data, [json!({"n": 1}), json!({"n": 2})]);
}

/// Fails when only rows that are ready are posted to: their subscribers have been told that they are subscribed before.
#[tokio::test(start_paused = true)]
async fn what_skips_the_history_arrives_from_the_subscribe_reply_on() {
    let world = World::paused(json!({})).await;
    world.connect("a").await;
    let (result, catch_up) = world.begin("a", 1, &plain()).await;
    world.reply("a", &result).await;
    let skip = PublishOptions { skip_history: true, ..PublishOptions::default() };
    world.publish_with(&world::payload(1), &skip).await;
    world.publisher.catch_up(catch_up).await.unwrap();
    world.publish(2).await;
    let data: Vec<_> = world.pushes("a").into_iter().map(|push| push["pub"]["data"].clone()).collect();
    assert_eq!(data, [json!({"n": 1}), json!({"n": 2})]);
}

/// A channel without history: a post that fails is nobody's gap.
#[tokio::test(start_paused = true)]
async fn what_has_no_history_is_dropped_where_it_does_not_arrive() {
    let world = World::paused(
        json!({"history_size": 0, "history_ttl": "0s", "force_positioning": false, "force_recovery": false}),
    )
    .await;
    for id in ["a", "b"] {
        world.subscribe(id).await;
    }
    world.posts.script("a", std::iter::repeat_n(Scripted::Fail(PostError::Unavailable("429".to_owned())), 4));
    world.posts.script("b", [Scripted::Delay(5_000)]);
    world.publish(1).await;
    world.publish(2).await;
    for id in ["a", "b"] {
        let pushes = world.pushes(id);
        assert_eq!(pushes.len(), 1, "{pushes:?}");
        assert_eq!(pushes[0]["pub"]["data"], json!({"n": 2}));
        assert!(world.row(id).await.is_some());
    }
    world.posts.script("a", [Scripted::Fail(PostError::Gone)]);
    world.publish(3).await;
    assert!(world.row("a").await.is_none());
}
