use signalbox_connections::next::{Admission, Connection, ConnectionState, MadeReady, Removed, Unsubscribed};

use super::*;

#[tokio::test]
async fn a_connection_is_new_then_ready_then_gone() {
    let table = table().await;
    assert_eq!(table.connection("c1").await.unwrap(), None);
    assert_eq!(table.admit(&admission("c1")).await.unwrap(), Admission::Admitted);
    assert_eq!(table.admit(&admission("c1")).await.unwrap(), Admission::Known);
    assert_eq!(table.connection("c1").await.unwrap().unwrap().state, ConnectionState::New);
    let accepted = table.authenticate(&authentication("c1", anna())).await.unwrap();
    let stored: Connection = table.connection("c1").await.unwrap().unwrap();
    assert_eq!(accepted, Authentication::Accepted(stored.clone()));
    assert_eq!(stored.client(), Some(&anna()));

    let row_id = subscribe(&table, "c1", CHANNEL, 1).await;
    let head = table.head(CHANNEL, NOW, HOUR).await.unwrap();
    assert_eq!(table.make_ready(row("c1", &row_id), &head.epoch, 0, false).await.unwrap(), MadeReady::Ready);
    assert_eq!(table.connections_of("anna", None).await.unwrap().0[0].connection_id, "c1");
    assert!(table.append(CHANNEL, "me", NOW * 1000, DELAY, HOUR).await.unwrap().held);

    let removed = table.remove("c1").await.unwrap();
    assert_eq!((removed.was_there, removed.client, removed.ended.len()), (true, Some(anna()), 1));
    assert_eq!(table.remove("c1").await.unwrap(), Removed::default());
    assert_eq!(table.connections_of("anna", None).await.unwrap().0, []);
    assert_eq!(table.connection("c1").await.unwrap(), None);
    assert_eq!(table.unsubscribe("c1", CHANNEL, 2, NOW).await.unwrap(), Unsubscribed::Ended(None));
}
