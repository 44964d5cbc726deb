//! Who is in a channel, and who came and went.

use signalbox_protocol::{Disconnect, Unsubscribed};

use super::{world::client_id, *};

async fn world(shards: u32) -> World {
    let options = json!({
        "presence": true, "join_leave": true, "force_push_join_leave": true, "shards": shards, "history_size": 10,
        "allow_presence_for_subscriber": true,
    });
    World::paused(options).await
}

/// Joins and leaves that a connection got, by client.
fn told(world: &World, id: &str) -> Vec<String> {
    let pushes = world.posts.lines(id).into_iter().filter_map(|line| {
        let push = &line["push"];
        let name = |what: &str| push[what]["info"]["client"].as_str().map(|client| format!("{what} {client}"));
        name("join").or_else(|| name("leave"))
    });
    pushes.collect()
}

#[tokio::test(start_paused = true)]
async fn everybody_is_present_whatever_their_shard() {
    let world = world(4).await;
    for n in 0..12 {
        let id = format!("c{n}");
        world.connect_as(&id, if n < 8 { "anna" } else { "bert" }, None).await;
        let info = world::info(&id, if n < 8 { "anna" } else { "bert" });
        let request = plain();
        let command = world.command(&id, 1, &info, &request);
        let signalbox_publishing::Begun::Reply(_, catch_up) = world.publisher.begin_subscribe(command).await.unwrap()
        else {
            panic!()
        };
        world.publisher.catch_up(*catch_up).await.unwrap();
    }
    let present = world.publisher.presence(CHANNEL).await.unwrap();
    assert_eq!(present.len(), 12);
    assert_eq!(present[&client_id("c9")].user, "bert");
    let stats = world.publisher.presence_stats(CHANNEL).await.unwrap();
    assert_eq!((stats.num_clients, stats.num_users), (12, 2));
    let mut shards = std::collections::BTreeSet::new();
    for n in 0..12 {
        shards.insert(world.row(&format!("c{n}")).await.unwrap().shard);
    }
    assert!(shards.len() > 1, "they are spread");
    let occupied = world.publisher.occupied_channels("status:", |_| true).await.unwrap();
    assert_eq!(occupied.into_iter().collect::<Vec<_>>(), [(CHANNEL.to_owned(), 12)]);
    let occupancy = world.publisher.occupancy().await.unwrap();
    assert_eq!((occupancy.clients, occupancy.users, occupancy.subscriptions, occupancy.channels), (12, 2, 12, 1));
}

#[tokio::test(start_paused = true)]
async fn who_has_gone_expired_or_was_lost_is_not_present() {
    let world = world(1).await;
    for id in ["here", "gone", "lost", "expired"] {
        world.connect(id).await;
        let info = world::info(id, "anna");
        let request = plain();
        let command = SubscribeCommand {
            subscription_expires_at: (id == "expired").then(|| now() + 60),
            ..world.command(id, 1, &info, &request)
        };
        let signalbox_publishing::Begun::Reply(result, catch_up) =
            world.publisher.begin_subscribe(command).await.unwrap()
        else {
            panic!()
        };
        assert_eq!((result.expires, result.ttl), (id == "expired", if id == "expired" { 60 } else { 0 }));
        world.publisher.catch_up(*catch_up).await.unwrap();
    }
    assert_eq!(world.publisher.presence_stats(CHANNEL).await.unwrap().num_clients, 4);
    world.publisher.disconnected("gone").await.unwrap();
    world.tables.table.mark_lost(world.row("lost").await.unwrap().row(CHANNEL)).await.unwrap();
    tokio::time::advance(Duration::from_secs(86)).await;
    let present = world.publisher.presence(CHANNEL).await.unwrap();
    assert_eq!(present.keys().collect::<Vec<_>>(), [&client_id("here")]);
}

/// Fails when a row is believed that says an earlier end than its connection has, or when a later one is looked up each time.
#[tokio::test(start_paused = true)]
async fn whose_token_has_ended_is_not_present_and_whose_was_renewed_is() {
    let world = world(1).await;
    let delay = world.channels.client.expired_close_delay;
    for (id, user) in [("ended", "anna"), ("renewed", "bert"), ("for-ever", "carl")] {
        world.connect_as(id, user, Some(now() + 60)).await;
        world.subscribe_with(id, 1, plain()).await;
    }
    tokio::time::advance(Duration::from_secs(84)).await;
    assert_eq!(world.publisher.presence_stats(CHANNEL).await.unwrap().num_clients, 3, "within the grace");
    assert!(world.tables.table.refresh("renewed", Some(now() + 60), None, delay).await.unwrap());
    assert!(world.tables.table.refresh("for-ever", None, None, delay).await.unwrap());
    tokio::time::advance(Duration::from_secs(2)).await;

    let present = async || world.publisher.presence(CHANNEL).await.unwrap().into_keys().collect::<Vec<_>>();
    assert_eq!(present().await, [client_id("for-ever"), client_id("renewed")]);
    assert_eq!(world.publisher.presence_stats(CHANNEL).await.unwrap().num_clients, 2);
    let noted = [world.row("renewed").await.unwrap().expires_at, world.row("for-ever").await.unwrap().expires_at];
    assert_eq!(noted, [Some(now() + 58), None]);
    assert!(world.tables.table.connection("ended").await.unwrap().is_some(), "who asks ends nobody");

    tokio::time::advance(Duration::from_secs(90)).await;
    assert_eq!(present().await, [client_id("for-ever")]);
}

/// P9. However many notice that a connection is gone, its leave goes out once.
#[tokio::test(start_paused = true)]
async fn a_join_and_a_leave_are_told_once_whoever_notices() {
    let world = world(1).await;
    world.subscribe("watcher").await;
    world.subscribe("guest").await;
    assert_eq!(told(&world, "watcher"), ["join client-watcher", "join client-guest"]);
    assert_eq!(told(&world, "guest"), ["join client-guest"], "its own");

    world.posts.script("guest", [Scripted::Fail(PostError::Gone), Scripted::Fail(PostError::Gone)]);
    let (_, _, disconnected, ()) = tokio::join!(
        world.publish(1),
        world.publish(2),
        world.publisher.disconnected("guest"),
        world.publisher.remove_gone("guest"),
    );
    disconnected.unwrap();
    world.publisher.disconnected("guest").await.unwrap();
    let leaves = told(&world, "watcher").into_iter().filter(|told| told.starts_with("leave")).collect::<Vec<_>>();
    assert_eq!(leaves, ["leave client-guest"]);
}

#[tokio::test(start_paused = true)]
async fn every_way_to_end_a_subscription_is_a_leave() {
    let world = world(1).await;
    world.subscribe("watcher").await;
    for id in ["asks", "ended", "disconnected"] {
        world.subscribe(id).await;
    }
    world.publisher.unsubscribed("asks", CHANNEL, 2, now() + 60).await.unwrap();
    assert!(world.publisher.unsubscribe("ended", CHANNEL, Unsubscribed::SERVER).await.unwrap());
    assert!(!world.publisher.unsubscribe("ended", CHANNEL, Unsubscribed::SERVER).await.unwrap());
    world.publisher.disconnect("disconnected", &Disconnect::FORCE_NO_RECONNECT).await.unwrap();
    let leaves = told(&world, "watcher").split_off(4);
    assert_eq!(leaves, ["leave client-asks", "leave client-ended", "leave client-disconnected"]);
    assert_eq!(
        world.posts.lines("ended").last().unwrap(),
        &json!({"push": {"channel": CHANNEL, "unsubscribe": {"code": 2000, "reason": "server unsubscribe"}}})
    );
    assert_eq!(
        world.posts.lines("disconnected").last().unwrap(),
        &json!({"push": {"disconnect": {"code": 3503, "reason": "force disconnect"}}})
    );
    // an unsubscribe that a later subscribe has overtaken ends nothing
    world.subscribe_with("asks", 4, plain()).await;
    world.publisher.unsubscribed("asks", CHANNEL, 3, now() + 60).await.unwrap();
    assert!(world.row("asks").await.is_some());
}

/// Fails when a leave goes out for somebody of whom nobody was told that they came.
#[tokio::test(start_paused = true)]
async fn nobody_leaves_who_has_not_joined() {
    let world = world(1).await;
    world.subscribe("watcher").await;
    world.connect("early").await;
    let (_, catch_up) = world.begin("early", 1, &plain()).await;
    world.publisher.disconnected("early").await.unwrap();
    world.publisher.catch_up(catch_up).await.unwrap();
    assert_eq!(told(&world, "watcher"), ["join client-watcher"]);

    // one that was lost after it had joined does leave
    world.subscribe("guest").await;
    world.posts.script("guest", std::iter::repeat_n(Scripted::Fail(PostError::Unavailable("503".to_owned())), 4));
    world.publish(1).await;
    assert_eq!(told(&world, "watcher"), ["join client-watcher", "join client-guest", "leave client-guest"]);
}

#[tokio::test(start_paused = true)]
async fn joins_are_for_those_who_want_them() {
    let world =
        World::paused(json!({"presence": true, "join_leave": true, "allow_presence_for_subscriber": true})).await;
    world.subscribe("silent").await;
    world.connect("curious").await;
    world.subscribe_with("curious", 1, SubscribeRequest { join_leave: true, ..plain() }).await;
    world.subscribe("third").await;
    assert_eq!(told(&world, "silent"), Vec::<String>::new());
    assert_eq!(told(&world, "curious"), ["join client-curious", "join client-third"]);
}
