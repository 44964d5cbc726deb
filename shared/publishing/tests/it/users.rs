//! What the server does to the connections of a user, and what an expiry does.

use signalbox_protocol::{Disconnect, StreamPosition, Unsubscribed};
use signalbox_publishing::{Refreshed, ServerSubscription, UserTarget};

use super::{world::client_id, *};

fn of(user: &str) -> UserTarget<'_> {
    UserTarget { user, ..UserTarget::default() }
}

fn to<'a>(world: &'a World, channel: &'a str) -> ServerSubscription<'a> {
    ServerSubscription {
        channel,
        namespace: &world.namespace,
        chan_info: None,
        data: None,
        recover_since: None,
        expires_at: None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_is_subscribed_on_all_connections_and_no_other_user_is() {
    let world = World::paused(json!({})).await;
    for (id, user) in [("a1", "anna"), ("a2", "anna"), ("b", "bert"), ("nobody", "")] {
        world.connect_as(id, user, None).await;
    }
    world.publish(1).await;
    let data = world::json_text(r#"{"welcome":true}"#);
    let subscription = ServerSubscription { data: Some(&data), ..to(&world, CHANNEL) };
    world.publisher.subscribe_user(of("anna"), &subscription).await.unwrap();
    world.publish(2).await;
    for id in ["a1", "a2"] {
        let lines = world.posts.lines(id);
        let subscribe = &lines[0]["push"]["subscribe"];
        assert_eq!((&lines[0]["push"]["channel"], &subscribe["offset"]), (&json!(CHANNEL), &json!(1)));
        assert_eq!((&subscribe["recoverable"], &subscribe["data"]), (&json!(true), &json!({"welcome": true})));
        assert_eq!(lines[1]["push"]["pub"]["offset"], 2);
        assert!(world.row(id).await.unwrap().server);
    }
    for id in ["b", "nobody"] {
        assert_eq!(world.posts.lines(id), Vec::<Value>::new());
    }
    let again = world.publisher.subscribe_user(of("anna"), &subscription).await.unwrap_err();
    assert_eq!(again.to_string(), "already subscribed");

    world.publisher.unsubscribe_user(of("anna"), CHANNEL, &Unsubscribed::SERVER).await.unwrap();
    world.publish(3).await;
    for id in ["a1", "a2"] {
        let last = world.posts.lines(id).pop().unwrap();
        assert_eq!(
            last,
            json!({"push": {"channel": CHANNEL, "unsubscribe": {"code": 2000, "reason": "server unsubscribe"}}})
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_side_subscription_recovers_from_where_it_is_told_to() {
    let world = World::paused(json!({})).await;
    world.connect("a").await;
    let epoch = world.publish(1).await.epoch;
    world.publish(2).await;
    let since = StreamPosition { offset: 1, epoch };
    let subscription = ServerSubscription { recover_since: Some(&since), ..to(&world, CHANNEL) };
    world.publisher.subscribe_user(of("anna"), &subscription).await.unwrap();
    world.publish(3).await;
    let lines = world.posts.lines("a");
    let offsets: Vec<_> = lines[1..].iter().map(|line| line["push"]["pub"]["offset"].clone()).collect();
    assert_eq!(offsets, [2, 3]);
}

/// Fails when it gets an `unsubscribe`: the SDKs drop a server-side subscription then, and nothing brings it back.
#[tokio::test(start_paused = true)]
async fn whoever_missed_something_of_a_server_side_subscription_reconnects() {
    let world = World::paused(json!({})).await;
    world.connect("a").await;
    world.publisher.subscribe_user(of("anna"), &to(&world, CHANNEL)).await.unwrap();
    let unavailable = Scripted::Fail(PostError::Unavailable("503".to_owned()));
    world.posts.script("a", std::iter::repeat_n(unavailable, 4));
    world.publish(1).await;
    assert_eq!(world.posts.lines("a").last().unwrap()["push"]["disconnect"]["code"], 3010);
    assert_eq!(world.tables.table.connection("a").await.unwrap(), None);
}

/// Centrifugo's "subscription expired" for those that no `subscribe` began.
#[tokio::test(start_paused = true)]
async fn a_server_side_subscription_that_expires_ends_its_connection() {
    for swept in [true, false] {
        let world = World::paused(json!({})).await;
        world.connect("a").await;
        let subscription = ServerSubscription { expires_at: Some(now() + 60), ..to(&world, CHANNEL) };
        world.publisher.subscribe_user(of("anna"), &subscription).await.unwrap();
        tokio::time::advance(Duration::from_secs(86)).await;
        if swept {
            let until = tokio::time::Instant::now() + Duration::from_secs(30);
            for bucket in 0..signalbox_connections::BUCKETS {
                world.publisher.sweep(bucket, until).await.unwrap();
            }
        } else {
            world.publish(1).await;
        }
        assert_eq!(world.posts.lines("a").last().unwrap()["push"]["disconnect"]["code"], 3006, "swept: {swept}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_too_many_channels_is_disconnected() {
    let world = World::paused_with(json!({}), json!({"channel_limit": 2})).await;
    world.connect("a").await;
    for channel in ["status:1", "status:2"] {
        world.publisher.subscribe_user(of("anna"), &to(&world, channel)).await.unwrap();
    }
    world.publisher.subscribe_user(of("anna"), &to(&world, "status:3")).await.unwrap();
    assert_eq!(world.posts.lines("a").last().unwrap()["push"]["disconnect"]["code"], 3505);
    assert_eq!(world.tables.table.connection("a").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_user_is_disconnected_but_for_whom_is_excepted() {
    let world = World::paused(json!({})).await;
    for (id, user) in [("a1", "anna"), ("a2", "anna"), ("a3", "anna"), ("b", "bert"), ("n1", ""), ("n2", "")] {
        world.connect_as(id, user, None).await;
    }
    let except = [client_id("a2")];
    let target = UserTarget { except: &except, ..of("anna") };
    world.publisher.disconnect_user(target, &Disconnect::FORCE_NO_RECONNECT).await.unwrap();
    let one = client_id("n1");
    let target = UserTarget { client: Some(&one), ..of("") };
    world.publisher.disconnect_user(target, &Disconnect::FORCE_RECONNECT).await.unwrap();
    for (id, code) in
        [("a1", Some(3503)), ("a2", None), ("a3", Some(3503)), ("b", None), ("n1", Some(3011)), ("n2", None)]
    {
        let told = world.posts.lines(id).last().map(|line| line["push"]["disconnect"]["code"].as_u64().unwrap());
        assert_eq!(told, code, "{id}");
        assert_eq!(world.tables.table.connection(id).await.unwrap().is_none(), code.is_some(), "{id}");
    }
}

/// P7. Fails when the first that fails ends the rest, or when nobody hears of it.
#[tokio::test(start_paused = true)]
async fn one_connection_that_cannot_be_told_keeps_the_others_from_nothing() {
    let world = World::paused(json!({})).await;
    for id in ["a", "b", "c"] {
        world.connect(id).await;
    }
    world.posts.script("a", [Scripted::Fail(PostError::Gone)]);
    world.posts.script("b", std::iter::repeat_n(Scripted::Fail(PostError::Unavailable("503".to_owned())), 9));
    world.publisher.disconnect_user(of("anna"), &Disconnect::FORCE_NO_RECONNECT).await.unwrap();
    assert_eq!(world.posts.lines("c").len(), 1);
    assert_eq!(world.posts.deleted(), ["b"], "closed instead");
}

#[tokio::test(start_paused = true)]
async fn an_unsubscribe_is_told_to_who_is_about_to_subscribe_too() {
    let world = World::paused(json!({})).await;
    world.connect("a").await;
    world.publisher.unsubscribe_user(of("anna"), CHANNEL, &Unsubscribed::SERVER).await.unwrap();
    assert_eq!(world.posts.lines("a")[0]["push"]["unsubscribe"]["code"], 2000);
}

#[tokio::test(start_paused = true)]
async fn a_refreshed_user_stays_and_an_expired_one_goes() {
    let world = World::paused(json!({})).await;
    for (id, user) in [("a", "anna"), ("b", "bert"), ("c", "carl"), ("d", "dora")] {
        world.connect_as(id, user, Some(now() + 60)).await;
        world.subscribe_with(id, 1, plain()).await;
    }
    let info = world::json_text(r#"{"name":"Anna"}"#);
    let refresh = async |user, refreshed| world.publisher.refresh_user(of(user), refreshed).await.unwrap();
    refresh("anna", Refreshed::Until(now() + 600, Some(&info))).await;
    refresh("bert", Refreshed::Forever).await;
    refresh("carl", Refreshed::Until(now() - 1, None)).await;
    refresh("dora", Refreshed::Expired).await;
    let stored = world.tables.table.connection("a").await.unwrap().unwrap();
    let client = stored.client().unwrap();
    assert_eq!((client.expires_at, client.info.as_deref()), (Some(now() + 600), Some(r#"{"name":"Anna"}"#)));
    for id in ["c", "d"] {
        assert_eq!(world.posts.lines(id).last().unwrap()["push"]["disconnect"]["code"], 3005, "{id}");
    }
    // the rows still say when the tokens ended that were there at the subscribe: a deliverer looks again
    tokio::time::advance(Duration::from_secs(90)).await;
    world.publish(1).await;
    for (id, expires_at, told) in [("a", Some(600), json!({"expires": true, "ttl": 600})), ("b", None, json!({}))] {
        let pushes = world.pushes(id);
        assert_eq!((pushes.len(), &pushes[0]), (2, &json!({ "refresh": told })), "{id}");
        assert_eq!(pushes[1]["pub"]["offset"], 1, "{id}");
        let noted = world.row(id).await.unwrap().expires_at;
        assert_eq!(noted.is_some(), expires_at.is_some(), "{id}");
    }
}

/// P5. Fails when a deliverer posts to whose token has ended, or ends a subscription within its grace.
#[tokio::test(start_paused = true)]
async fn nothing_is_posted_after_a_token_has_ended_and_its_grace_is_over() {
    for history in [300, 0] {
        let options = if history == 0 {
            json!({"history_size": 0, "history_ttl": "0s", "force_positioning": false, "force_recovery": false})
        } else {
            json!({})
        };
        let client = json!({"expired_close_delay": "10s", "expired_sub_close_delay": "10s"});
        let world = World::paused_with(options, client).await;
        world.connect_as("connection", "anna", Some(now() + 60)).await;
        world.connect_as("subscription", "anna", None).await;
        for id in ["connection", "subscription"] {
            let (info, request) = (world::info(id, "anna"), plain());
            let ends = |this| (id == this).then(|| now() + 60);
            let command = SubscribeCommand {
                expires_at: ends("connection"),
                subscription_expires_at: ends("subscription"),
                ..world.command(id, 1, &info, &request)
            };
            let signalbox_publishing::Begun::Reply(_, catch_up) =
                world.publisher.begin_subscribe(command).await.unwrap()
            else {
                panic!()
            };
            world.publisher.catch_up(*catch_up).await.unwrap();
        }
        tokio::time::advance(Duration::from_secs(68)).await;
        world.publish(1).await;
        tokio::time::advance(Duration::from_secs(3)).await;
        world.publish(2).await;
        world.publish(3).await;
        let told = |id: &str| {
            let lines = world.posts.lines(id);
            assert_eq!(lines.len(), 2, "{lines:?}");
            assert_eq!(lines[0]["push"]["pub"]["data"], json!({"n": 1}), "within the grace");
            lines[1]["push"].clone()
        };
        assert_eq!(told("connection")["disconnect"]["code"], 3005);
        assert_eq!(told("subscription")["unsubscribe"]["code"], 2501);
        assert_eq!(world.tables.table.connection("connection").await.unwrap(), None);
        assert!(world.tables.table.connection("subscription").await.unwrap().is_some());
    }
}
