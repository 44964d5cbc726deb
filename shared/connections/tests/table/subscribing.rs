use signalbox_connections::{ServerSubscribed, Subscriber, Unsubscribed};

use super::*;

async fn stored(table: &ConnectionTable, id: &str) -> Option<Subscriber> {
    table.subscriber(id, CHANNEL, 0).await.unwrap()
}

#[tokio::test]
async fn a_row_holds_what_its_subscribe_said() {
    let table = table().await;
    connect(&table, "c1").await;
    let new = NewSubscription {
        conn_info: Some(r#"{"name":"Anna"}"#),
        chan_info: Some(r#"{"role":"owner"}"#),
        expires_at: Some(NOW + 600),
        sub_expires_at: Some(NOW + 300),
        presence: true,
        join_leave: true,
        announced: true,
        delta: true,
        tf: Some(r#"{"key":"a","cmp":"eq","val":"b"}"#),
        shard: 3,
        ..subscription("c1", "room:1", 7)
    };
    let Subscribed::Begun(row_id) = table.subscribe(&new).await.unwrap() else { panic!() };
    let row = table.subscriber("c1", "room:1", 3).await.unwrap().unwrap();
    let expected = Subscriber {
        connection_id: "c1".to_owned(),
        shard: 3,
        row_id: row_id.clone(),
        command_id: 7,
        ready: false,
        epoch: String::new(),
        from: 0,
        base: false,
        behind: false,
        lost: false,
        begun_at: NOW,
        ttl: NOW + 7200,
        expires_at: Some(NOW + 600),
        sub_expires_at: Some(NOW + 300),
        user: "anna".to_owned(),
        client: "client-1".to_owned(),
        conn_info: new.conn_info.map(str::to_owned),
        chan_info: new.chan_info.map(str::to_owned),
        presence: true,
        join_leave: true,
        announced: true,
        delta: true,
        tf: new.tf.map(str::to_owned),
        server: false,
    };
    assert_eq!(row, expected);
    let (_, own) = table.connection_with_subscriptions("c1").await.unwrap().unwrap();
    assert_eq!((own[0].channel.as_str(), own[0].command_id, own[0].active), ("room:1", 7, true));
    assert_eq!((own[0].shard, own[0].row_id.clone(), own[0].expires_at), (3, row_id, Some(NOW + 300)));
}

/// API Gateway runs the commands of a connection in parallel: the later one wins, whichever runs first.
#[tokio::test]
async fn the_later_command_wins_whichever_is_handled_first() {
    let table = table().await;
    connect(&table, "c1").await;
    let first = subscribe(&table, "c1", CHANNEL, 1).await;
    let second = subscribe(&table, "c1", CHANNEL, 3).await;
    assert_ne!(first, second, "a row of its own");
    assert_eq!(table.subscribe(&subscription("c1", CHANNEL, 2)).await.unwrap(), Subscribed::Overtaken);
    assert_eq!(table.unsubscribe("c1", CHANNEL, 2, NOW).await.unwrap(), Unsubscribed::Overtaken);
    assert_eq!(stored(&table, "c1").await.unwrap().row_id, second);

    let ended = table.unsubscribe("c1", CHANNEL, 5, NOW).await.unwrap();
    assert!(matches!(ended, Unsubscribed::Ended(Some(row)) if row.row_id == second));
    assert_eq!(table.subscribe(&subscription("c1", CHANNEL, 4)).await.unwrap(), Subscribed::Overtaken);
    assert_eq!(stored(&table, "c1").await, None);

    // an unsubscribe that comes before everything else
    assert_eq!(table.unsubscribe("c1", "room:1", 9, NOW).await.unwrap(), Unsubscribed::Ended(None));
    assert_eq!(table.subscribe(&subscription("c1", "room:1", 8)).await.unwrap(), Subscribed::Overtaken);
    subscribe(&table, "c1", "room:1", 10).await;
}

#[tokio::test]
async fn a_subscribe_without_a_ready_connection_writes_nothing() {
    let table = table().await;
    assert_eq!(table.subscribe(&subscription("c1", CHANNEL, 1)).await.unwrap(), Subscribed::ConnectionGone);
    table.admit(&admission("c1")).await.unwrap();
    assert_eq!(table.subscribe(&subscription("c1", CHANNEL, 1)).await.unwrap(), Subscribed::ConnectionGone);
    let by_server = table.subscribe_by_server(&subscription("c1", CHANNEL, 0)).await.unwrap();
    assert_eq!(by_server, ServerSubscribed::ConnectionGone);
    assert_eq!(stored(&table, "c1").await, None);
}

/// Fails when our own success, told twice, is taken for somebody else's.
#[tokio::test]
async fn a_command_whose_answer_was_lost_has_succeeded() {
    let tables = Tables::start().await;
    connect(&tables.table, "c1").await;
    for verdict in [Verdict::LoseAnswer, Verdict::DoneBut("TransactionInProgressException")] {
        let hooked = || tables.hooked(nth("TransactWriteItems", 0, verdict)).table;
        let begun = hooked().subscribe(&subscription("c1", CHANNEL, 1)).await.unwrap();
        let row_id = stored(&tables.table, "c1").await.unwrap().row_id;
        assert_eq!(begun, Subscribed::Begun(row_id));
        let hooked = tables.hooked(nth("UpdateItem", 0, Verdict::LoseAnswer)).table;
        let ended = hooked.unsubscribe("c1", CHANNEL, 2, NOW).await.unwrap();
        assert!(matches!(ended, Unsubscribed::Ended(Some(_))), "{ended:?}");
        tables.table.remove("c1").await.unwrap();
        connect(&tables.table, "c1").await;
    }
}

#[tokio::test]
async fn the_server_subscribes_once_and_a_command_does_not_take_it_over() {
    let table = table().await;
    connect(&table, "c1").await;
    let by_server = subscription("c1", CHANNEL, 0);
    let ServerSubscribed::Begun(row_id) = table.subscribe_by_server(&by_server).await.unwrap() else { panic!() };
    assert_eq!(table.subscribe_by_server(&by_server).await.unwrap(), ServerSubscribed::Already);
    assert_eq!(table.subscribe(&subscription("c1", CHANNEL, 3)).await.unwrap(), Subscribed::AlreadySubscribed);
    let row = stored(&table, "c1").await.unwrap();
    assert!(row.server && row.row_id == row_id && row.command_id == 0);

    assert!(table.end_subscription("c1", CHANNEL, None).await.unwrap().is_some());
    subscribe(&table, "c1", CHANNEL, 3).await;
    assert_eq!(table.subscribe_by_server(&by_server).await.unwrap(), ServerSubscribed::Already, "by the command");
    table.unsubscribe("c1", CHANNEL, 4, NOW).await.unwrap();
    assert!(matches!(table.subscribe_by_server(&by_server).await.unwrap(), ServerSubscribed::Begun(_)));
    table.end_subscription("c1", CHANNEL, None).await.unwrap();
    let late = table.subscribe(&subscription("c1", CHANNEL, 3)).await.unwrap();
    assert_eq!(late, Subscribed::Overtaken, "the connection's last command is still known");
}

#[tokio::test]
async fn a_client_may_unsubscribe_from_what_the_server_began() {
    let table = table().await;
    connect(&table, "c1").await;
    table.subscribe_by_server(&subscription("c1", CHANNEL, 0)).await.unwrap();
    assert!(
        matches!(table.unsubscribe("c1", CHANNEL, 1, NOW).await.unwrap(), Unsubscribed::Ended(Some(row)) if row.server)
    );
}

/// P5. Fails when a write names a row by connection and channel alone.
#[tokio::test]
async fn what_is_meant_for_a_replaced_row_does_not_touch_its_successor() {
    let table = table().await;
    connect(&table, "c1").await;
    let old_id = subscribe(&table, "c1", CHANNEL, 1).await;
    let old = stored(&table, "c1").await.unwrap();
    let new_id = subscribe(&table, "c1", CHANNEL, 2).await;
    assert!(!table.mark_lost(row("c1", &old_id)).await.unwrap());
    assert_eq!(table.end_subscription("c1", CHANNEL, Some(&old_id)).await.unwrap(), None);
    assert_eq!(table.end_row(CHANNEL, &old).await.unwrap(), None);
    assert!(!table.make_ready_behind(row("c1", &old_id), "e", 1, false).await.unwrap());
    assert!(!table.touch_expiry(CHANNEL, &old, None).await.unwrap());
    let (_, own) = table.connection_with_subscriptions("c1").await.unwrap().unwrap();
    let stands = stored(&table, "c1").await.unwrap();
    assert_eq!((stands.row_id, stands.lost, stands.ready, own[0].active), (new_id, false, false, true));
}

#[tokio::test]
async fn a_row_that_moves_to_another_shard_is_not_left_in_the_old_one() {
    let table = table().await;
    connect(&table, "c1").await;
    subscribe(&table, "c1", CHANNEL, 1).await;
    let moved = NewSubscription { shard: 2, moved_from: Some(0), ..subscription("c1", CHANNEL, 2) };
    assert!(matches!(table.subscribe(&moved).await.unwrap(), Subscribed::Begun(_)));
    assert_eq!(stored(&table, "c1").await, None);
    assert!(table.subscriber("c1", CHANNEL, 2).await.unwrap().is_some());
    assert_eq!(table.remove("c1").await.unwrap().ended.len(), 1);
    assert_eq!(table.subscriber("c1", CHANNEL, 2).await.unwrap(), None);
}

/// P9.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_all_who_end_a_subscription_one_gets_its_row() {
    let table = table().await;
    connect(&table, "c1").await;
    for step in 1..=10_u32 {
        subscribe(&table, "c1", CHANNEL, step * 10).await;
        let met = stored(&table, "c1").await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..6 {
            let (table, met) = (table.clone(), met.clone());
            tasks.spawn(async move {
                match n % 3 {
                    0 => table.end_subscription("c1", CHANNEL, None).await.unwrap(),
                    1 => table.end_row(CHANNEL, &met).await.unwrap(),
                    _ => match table.unsubscribe("c1", CHANNEL, step * 10 + 1, NOW).await.unwrap() {
                        Unsubscribed::Ended(row) => row,
                        Unsubscribed::Overtaken => None,
                    },
                }
            });
        }
        let rows: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
        assert_eq!(rows.len(), 1, "step {step}");
        let (_, own) = table.connection_with_subscriptions("c1").await.unwrap().unwrap();
        assert!(!own[0].active);
    }
}

#[tokio::test]
async fn a_refreshed_subscription_expires_later_and_says_something_else() {
    let table = table().await;
    connect(&table, "c1").await;
    assert!(!table.refresh_subscription("c1", CHANNEL, Some(NOW + 60), None, DELAY).await.unwrap());
    let expiring = NewSubscription { sub_expires_at: Some(NOW + 30), ..subscription("c1", CHANNEL, 1) };
    table.subscribe(&expiring).await.unwrap();
    assert!(table.refresh_subscription("c1", CHANNEL, Some(NOW + 60), Some("1"), DELAY).await.unwrap());
    let row = stored(&table, "c1").await.unwrap();
    assert_eq!((row.sub_expires_at, row.chan_info.as_deref()), (Some(NOW + 60), Some("1")));
    assert!(table.refresh_subscription("c1", CHANNEL, None, None, DELAY).await.unwrap());
    let row = stored(&table, "c1").await.unwrap();
    assert_eq!((row.sub_expires_at, row.chan_info.as_deref()), (None, Some("1")));
    assert!(table.refresh_subscription("c1", CHANNEL, None, Some("2"), DELAY).await.unwrap());
    assert_eq!(stored(&table, "c1").await.unwrap().chan_info.as_deref(), Some("2"));
    // an earlier expiry than anybody looks at the connection for
    assert!(table.refresh_subscription("c1", CHANNEL, Some(NOW + 10), None, DELAY).await.unwrap());
    assert!(table.connection("c1").await.unwrap().unwrap().due_at_ms <= NOW_MS + 35_000);
    table.unsubscribe("c1", CHANNEL, 2, NOW).await.unwrap();
    assert!(!table.refresh_subscription("c1", CHANNEL, None, None, DELAY).await.unwrap());
}

#[tokio::test]
async fn a_later_expiry_is_noted_on_a_row_and_an_earlier_one_is_not() {
    let table = table().await;
    connect(&table, "c1").await;
    let expiring = NewSubscription { expires_at: Some(NOW + 60), ..subscription("c1", CHANNEL, 1) };
    table.subscribe(&expiring).await.unwrap();
    let met = stored(&table, "c1").await.unwrap();
    assert!(!table.touch_expiry(CHANNEL, &met, Some(NOW + 30)).await.unwrap());
    assert!(table.touch_expiry(CHANNEL, &met, Some(NOW + 90)).await.unwrap());
    assert!(!table.touch_expiry(CHANNEL, &met, Some(NOW + 80)).await.unwrap(), "two fan-outs met it");
    assert_eq!(stored(&table, "c1").await.unwrap().expires_at, Some(NOW + 90));
    assert!(table.touch_expiry(CHANNEL, &met, None).await.unwrap());
    assert_eq!(stored(&table, "c1").await.unwrap().expires_at, None);
}

/// P10: pages, and a count that hands over no rows.
#[tokio::test]
async fn rows_come_in_pages_and_are_counted_without_the_lost_and_the_outlived() {
    let table = table().await;
    for n in 0..7 {
        let id = format!("c{n}");
        connect(&table, &id).await;
        let ttl = if n == 6 { NOW - 1 } else { NOW + 60 };
        table.subscribe(&NewSubscription { ttl, ..subscription(&id, CHANNEL, 1) }).await.unwrap();
    }
    let lost = stored(&table, "c5").await.unwrap();
    table.mark_lost(lost.row(CHANNEL)).await.unwrap();
    let (mut seen, mut start) = (Vec::new(), None);
    loop {
        let (page, next) = table.subscribers(CHANNEL, 0, start, Some(3)).await.unwrap();
        assert!(page.len() <= 3);
        seen.extend(page.into_iter().map(|row| row.connection_id));
        start = next;
        if start.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["c0", "c1", "c2", "c3", "c4", "c5", "c6"]);
    assert_eq!(table.count_subscribers(CHANNEL, 0, NOW).await.unwrap(), 5);
    assert_eq!(table.count_subscribers(CHANNEL, 1, NOW).await.unwrap(), 0);
}

/// A connection that has many subscribes under way at once contends for its own row: none of them may fail for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_subscribes_of_one_connection_at_once_all_begin() {
    let table = table().await;
    connect(&table, "c1").await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..24_u32 {
        let table = table.clone();
        tasks.spawn(async move { subscribe(&table, "c1", &format!("room:{n}"), n + 1).await });
    }
    assert_eq!(tasks.join_all().await.len(), 24);
    assert_eq!(table.connection_with_subscriptions("c1").await.unwrap().unwrap().1.len(), 24);
}

/// Fails when a conflict, or a transaction that is still under way, is taken for an answer.
#[tokio::test]
async fn a_transaction_that_is_under_way_is_asked_for_again_and_not_begun_again() {
    let tables = Tables::start().await;
    connect(&tables.table, "c1").await;
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let seen = tokens.clone();
    let hooked = tables.hooked(Arc::new(move |request| {
        let token = request.body.split(r#""ClientRequestToken":""#).nth(1).and_then(|rest| rest.split('"').next());
        let mut seen = seen.lock().unwrap();
        seen.extend(token.map(str::to_owned));
        let first = seen.len() == 1;
        Box::pin(async move { if first { Verdict::Refuse("TransactionInProgressException") } else { Verdict::Send } })
    }));
    let begun = hooked.table.subscribe(&subscription("c1", CHANNEL, 1)).await.unwrap();
    assert!(matches!(begun, Subscribed::Begun(_)));
    let tokens = tokens.lock().unwrap();
    assert_eq!(tokens.len(), 2);
    assert_eq!(tokens[0], tokens[1], "another token would be another transaction");
}
