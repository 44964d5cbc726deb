use signalbox_connections::{Admission, BUCKETS, ConnectionState, OwnSubscription, bucket_of};

use super::*;

#[tokio::test]
async fn a_connection_is_new_then_ready_then_gone() {
    let table = table().await;
    assert_eq!(table.connection("c1").await.unwrap(), None);
    assert_eq!(table.admit(&admission("c1")).await.unwrap(), Admission::Admitted);
    assert_eq!(table.admit(&admission("c1")).await.unwrap(), Admission::Known);
    assert_eq!(table.connection("c1").await.unwrap().unwrap().state, ConnectionState::New);

    let mut anna = anna();
    anna.info = Some(r#"{"name":"Anna"}"#.to_owned());
    anna.expires_at = Some(NOW + 600);
    let accepted = table.authenticate(&authentication("c1", anna.clone())).await.unwrap();
    let stored = table.connection("c1").await.unwrap().unwrap();
    assert_eq!(accepted, Authentication::Accepted(stored.clone()));
    assert_eq!(stored.client(), Some(&anna));
    assert_eq!(table.connections_of("anna", None).await.unwrap().0[0].connection_id, "c1");

    let removed = table.remove("c1").await.unwrap();
    assert_eq!((removed.was_there, removed.client), (true, Some(anna)));
    assert_eq!(table.connection("c1").await.unwrap(), None);
    assert_eq!(table.connections_of("anna", None).await.unwrap().0, []);
}

#[tokio::test]
async fn a_second_connect_is_a_repetition_and_nobody_connects_on_a_connection_that_is_gone() {
    let table = table().await;
    connect(&table, "c1").await;
    let again = authentication("c1", client("anna", "client-2"));
    assert_eq!(table.authenticate(&again).await.unwrap(), Authentication::Repeated);
    assert_eq!(table.connection("c1").await.unwrap().unwrap().client(), Some(&anna()));
    table.remove("c1").await.unwrap();
    assert_eq!(table.authenticate(&again).await.unwrap(), Authentication::Gone);
    assert_eq!(table.connections_of("anna", None).await.unwrap().0, [], "nothing is left behind");
}

#[tokio::test]
async fn a_connect_whose_answer_was_lost_is_accepted() {
    let tables = Tables::start().await;
    for user in ["anna", ""] {
        let id = format!("c-{user}");
        tables.table.admit(&admission(&id)).await.unwrap();
        let hooked = tables.hooked(nth("TransactWriteItems", 0, Verdict::LoseAnswer));
        let accepted = hooked.table.authenticate(&authentication(&id, client(user, "x"))).await.unwrap();
        assert!(matches!(accepted, Authentication::Accepted(_)), "{user}: {accepted:?}");
    }
}

/// Fails when the count takes anonymous connections, dead ones or those of others for the user's.
#[tokio::test]
async fn a_user_has_no_more_connections_than_allowed() {
    let table = table().await;
    let limited = |id: &'static str, user: &'static str| Authenticate {
        user_connection_limit: 2,
        ..authentication(id, client(user, id))
    };
    for id in ["c1", "c2", "c3", "b1", "a1", "a2", "a3"] {
        table.admit(&admission(id)).await.unwrap();
    }
    for (id, user) in [("c1", "anna"), ("c2", "anna"), ("b1", "bert"), ("a1", ""), ("a2", ""), ("a3", "")] {
        let accepted = table.authenticate(&limited(id, user)).await.unwrap();
        assert!(matches!(accepted, Authentication::Accepted(_)), "{id}: {accepted:?}");
    }
    assert_eq!(table.authenticate(&limited("c3", "anna")).await.unwrap(), Authentication::UserLimit);
    assert_eq!(table.connection("c3").await.unwrap().unwrap().state, ConnectionState::New);
    assert!(
        matches!(table.authenticate(&limited("c2", "anna")).await.unwrap(), Authentication::Accepted(_)),
        "a repetition of an accepted connect is not refused by the limit it fills"
    );
    table.remove("c1").await.unwrap();
    assert!(matches!(table.authenticate(&limited("c3", "anna")).await.unwrap(), Authentication::Accepted(_)));
    // two hours later their rows may still be there: TTL removes late
    let late = Authenticate { now_s: NOW + 8000, ..limited("c4", "anna") };
    table.admit(&admission("c4")).await.unwrap();
    assert!(matches!(table.authenticate(&late).await.unwrap(), Authentication::Accepted(_)));
}

#[tokio::test]
async fn an_address_has_no_more_connections_than_allowed() {
    let table = table().await;
    let from =
        |id: &'static str, ip: &'static str| Admit { source_ip: Some(ip), per_address_limit: 2, ..admission(id) };
    assert_eq!(table.admit(&from("c1", "192.0.2.1")).await.unwrap(), Admission::Admitted);
    assert_eq!(table.admit(&from("c2", "192.0.2.1")).await.unwrap(), Admission::Admitted);
    assert_eq!(table.admit(&from("c2", "192.0.2.1")).await.unwrap(), Admission::Known);
    assert_eq!(table.admit(&from("c3", "192.0.2.1")).await.unwrap(), Admission::AddressLimit);
    assert_eq!(table.connection("c3").await.unwrap(), None);
    assert_eq!(table.admit(&from("c4", "192.0.2.2")).await.unwrap(), Admission::Admitted);
    table.remove("c1").await.unwrap();
    assert_eq!(table.admit(&from("c3", "192.0.2.1")).await.unwrap(), Admission::Admitted, "also without a connect");
}

#[tokio::test]
async fn a_user_of_any_length_is_listed() {
    let table = table().await;
    let (long, other) = ("ä".repeat(4000), format!("{}b", "ä".repeat(3999)));
    connect_as(&table, "c1", client(&long, "1")).await;
    connect_as(&table, "c2", client(&other, "2")).await;
    let (listed, _) = table.connections_of(&long, None).await.unwrap();
    assert_eq!(listed.iter().map(|connection| connection.connection_id.as_str()).collect::<Vec<_>>(), ["c1"]);
    assert!(table.remove("c1").await.unwrap().was_there);
    assert_eq!(table.connections_of(&long, None).await.unwrap().0, []);
}

#[tokio::test]
async fn anonymous_connections_are_nobodys() {
    let table = table().await;
    connect_as(&table, "c1", client("", "1")).await;
    assert_eq!(table.connections_of("", None).await.unwrap().0, []);
    assert!(table.remove("c1").await.unwrap().was_there);
}

async fn due_by(table: &ConnectionTable, id: &str, at_ms: i64) -> bool {
    let (due, _) = table.due_connections(bucket_of(id), at_ms, None).await.unwrap();
    due.iter().any(|connection| connection.id == id)
}

/// A connection nobody looks at outlives its token, or is cut with thousands of others.
#[tokio::test]
async fn a_connection_is_due_when_it_is_stale_expired_or_old() {
    let table = table().await;
    table.admit(&admission("c1")).await.unwrap();
    assert!(!due_by(&table, "c1", NOW_MS + 9_999).await);
    assert!(due_by(&table, "c1", NOW_MS + 10_000).await, "never connected");

    let connection = connect_as(&table, "c1", client("", "1")).await;
    let reconnect = connection.reconnect_at.unwrap();
    assert!((NOW + 90 * 60..=NOW + 115 * 60).contains(&reconnect));
    assert!(!due_by(&table, "c1", reconnect * 1000 - 1).await);
    assert!(due_by(&table, "c1", reconnect * 1000).await, "old");

    let expiring = Client { expires_at: Some(NOW + 60), ..client("", "2") };
    connect_as(&table, "c2", expiring).await;
    assert!(!due_by(&table, "c2", NOW_MS + 84_999).await);
    assert!(due_by(&table, "c2", NOW_MS + 85_000).await, "expired, and the 25 s over");
}

#[tokio::test]
async fn a_refresh_is_noted_and_never_makes_a_connection_due_too_late() {
    let table = table().await;
    assert!(!table.refresh("c1", Some(NOW + 60), None, DELAY).await.unwrap(), "nobody is there");
    table.admit(&admission("c1")).await.unwrap();
    assert!(!table.refresh("c1", Some(NOW + 60), None, DELAY).await.unwrap(), "not ready");
    connect_as(&table, "c1", client("", "1")).await;

    assert!(table.refresh("c1", Some(NOW + 60), Some(r#"{"a":1}"#), DELAY).await.unwrap());
    let refreshed = table.connection("c1").await.unwrap().unwrap();
    let client = refreshed.client().unwrap();
    assert_eq!((client.expires_at, client.info.as_deref()), (Some(NOW + 60), Some(r#"{"a":1}"#)));
    assert_eq!(refreshed.due_at_ms, NOW_MS + 85_000, "earlier than it was");

    assert!(table.refresh("c1", Some(NOW + 3600), None, DELAY).await.unwrap());
    let later = table.connection("c1").await.unwrap().unwrap();
    assert_eq!(later.client().unwrap().info.as_deref(), Some(r#"{"a":1}"#), "info stays as it was");
    assert!(later.due_at_ms <= NOW_MS + 3_625_000);

    assert!(table.refresh("c1", None, None, DELAY).await.unwrap());
    assert_eq!(table.connection("c1").await.unwrap().unwrap().client().unwrap().expires_at, None);
}

/// Fails when the keeper's reschedule hides a subscription that came while it looked.
#[tokio::test]
async fn a_subscription_that_expires_makes_its_connection_due() {
    let table = table().await;
    connect(&table, "c1").await;
    let expiring =
        NewSubscription { sub_expires_at: Some(NOW + 30), sub_close_delay: DELAY, ..subscription("c1", CHANNEL, 1) };
    // the keeper has read the connection before the subscribe, and writes after it …
    let (connection, subscriptions) = table.connection_with_subscriptions("c1").await.unwrap().unwrap();
    table.subscribe(&expiring).await.unwrap();
    assert!(due_by(&table, "c1", NOW_MS + 55_000).await);
    assert!(table.reschedule("c1", connection.due_at(&subscriptions, DELAY, DELAY)).await.unwrap());
    // … so it reads again
    let (connection, subscriptions) = table.connection_with_subscriptions("c1").await.unwrap().unwrap();
    assert_eq!(connection.due_at(&subscriptions, DELAY, DELAY), NOW_MS + 55_000);
    assert!(table.reschedule("c1", NOW_MS + 55_000).await.unwrap());
    assert!(due_by(&table, "c1", NOW_MS + 55_000).await);
    assert!(!table.reschedule("c9", NOW_MS).await.unwrap(), "nobody is there");
    assert_eq!(table.connection("c9").await.unwrap(), None, "and nobody is made");
}

#[tokio::test]
async fn the_earliest_of_all_that_expires_decides_when_a_connection_is_due() {
    let table = table().await;
    let connection = connect_as(&table, "c1", Client { expires_at: Some(NOW + 300), ..anna() }).await;
    let own = |active, expires_at| OwnSubscription {
        channel: CHANNEL.to_owned(),
        command_id: 1,
        active,
        server: false,
        shard: 0,
        row_id: String::new(),
        expires_at,
    };
    let ended = own(false, Some(NOW + 10));
    assert_eq!(connection.due_at(&[own(true, None), ended.clone()], DELAY, DELAY), NOW_MS + 325_000);
    assert_eq!(connection.due_at(&[own(true, Some(NOW + 100)), ended], DELAY, DELAY), NOW_MS + 125_000);
    let forever = connect_as(&table, "c2", anna()).await;
    assert_eq!(forever.due_at(&[], DELAY, DELAY), forever.reconnect_at.unwrap() * 1000);
}

#[tokio::test]
async fn the_buckets_together_hold_every_connection_with_its_user() {
    let table = table().await;
    for n in 0..20 {
        connect_as(&table, &format!("c{n}"), client("anna", &format!("client-{n}"))).await;
    }
    table.admit(&admission("new")).await.unwrap();
    let mut seen = Vec::new();
    for bucket in 0..BUCKETS {
        let (connections, next) = table.bucket_connections(bucket, None).await.unwrap();
        assert!(next.is_none());
        for connection in connections {
            assert_eq!(bucket_of(&connection.id), bucket);
            let user = (connection.id != "new").then(|| "anna".to_owned());
            assert_eq!(connection.user, user, "{}", connection.id);
            assert_eq!(connection.client.is_some(), user.is_some());
            seen.push(connection.id);
        }
    }
    assert_eq!(seen.len(), 21);
}

#[tokio::test]
async fn connecting_costs_so_many_requests() {
    let tables = Tables::start().await;
    let counted = Counted::default();
    let table = tables.hooked(counted.hook()).table;
    table.admit(&admission("c1")).await.unwrap();
    assert_eq!(counted.take(), counts(&[("PutItem", 1)]));
    table.authenticate(&authentication("c1", anna())).await.unwrap();
    assert_eq!(counted.take(), counts(&[("TransactWriteItems", 1)]));
    table.connection_with_subscriptions("c1").await.unwrap();
    assert_eq!(counted.take(), counts(&[("Query", 1)]));
    subscribe(&table, "c1", CHANNEL, 1).await;
    assert_eq!(counted.take(), counts(&[("TransactWriteItems", 1)]));
    table.remove("c1").await.unwrap();
    let removal = [("BatchWriteItem", 2), ("DeleteItem", 1), ("Query", 1), ("UpdateItem", 1)];
    assert_eq!(counted.take(), counts(&removal));
}
