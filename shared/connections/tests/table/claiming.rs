//! Keys and versions of publications that have no place in a log.

use signalbox_connections::{LogItem, LogWrite, PublishKey, Version, WritePublication};

use super::*;

fn keyed<'a>(keys: &'a [&'a str]) -> PublishKey<'a> {
    PublishKey { idempotency_keys: keys, version: None }
}

fn versioned(version: u64, epoch: &str) -> PublishKey<'_> {
    PublishKey { idempotency_keys: &[], version: Some(Version { version, epoch }) }
}

async fn claim(table: &ConnectionTable, key: PublishKey<'_>) -> LogWrite {
    table.claim(CHANNEL, &key, NOW, HOUR).await.unwrap()
}

#[tokio::test]
async fn a_key_is_claimed_once_within_five_minutes() {
    let table = table().await;
    assert_eq!(claim(&table, keyed(&["k"])).await, LogWrite::Written);
    assert_eq!(claim(&table, keyed(&["k"])).await, LogWrite::Duplicate(0));
    assert_eq!(claim(&table, keyed(&["other"])).await, LogWrite::Written);
    assert_eq!(claim(&table, keyed(&[""])).await, LogWrite::Written, "an empty key is none");
    assert_eq!(claim(&table, keyed(&[""])).await, LogWrite::Written);
    assert_eq!(table.claim("room:1", &keyed(&["k"]), NOW, HOUR).await.unwrap(), LogWrite::Written, "a channel's own");
    assert_eq!(table.claim(CHANNEL, &keyed(&["k"]), NOW + 300, HOUR).await.unwrap(), LogWrite::Duplicate(0));
    assert_eq!(table.claim(CHANNEL, &keyed(&["k"]), NOW + 301, HOUR).await.unwrap(), LogWrite::Written);
}

/// P4.
#[tokio::test]
async fn a_version_is_not_claimed_after_the_same_or_a_newer_one() {
    let table = table().await;
    assert_eq!(claim(&table, versioned(5, "")).await, LogWrite::Written);
    assert_eq!(claim(&table, versioned(5, "")).await, LogWrite::Superseded(0));
    assert_eq!(claim(&table, versioned(4, "")).await, LogWrite::Superseded(0));
    assert_eq!(claim(&table, versioned(6, "")).await, LogWrite::Written);
    assert_eq!(claim(&table, versioned(1, "b")).await, LogWrite::Written, "another epoch begins anew");
    assert_eq!(claim(&table, versioned(1, "b")).await, LogWrite::Superseded(0));
    assert_eq!(claim(&table, versioned(1, "")).await, LogWrite::Superseded(0), "an empty one goes with any");
    let later = table.claim(CHANNEL, &versioned(1, "b"), NOW + 3601, HOUR).await.unwrap();
    assert_eq!(later, LogWrite::Written, "versions are remembered for as long as the stream");
}

/// Fails when our own write, repeated by the SDK, is taken for somebody else's: the publication would go to nobody.
#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_ours() {
    let tables = Tables::start().await;
    for key in [keyed(&["k"]), versioned(1, "")] {
        let hooked = tables.hooked(nth("PutItem", 0, Verdict::LoseAnswer));
        assert_eq!(claim(&hooked.table, key).await, LogWrite::Written, "{key:?}");
        assert_ne!(claim(&tables.table, key).await, LogWrite::Written, "{key:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_all_who_claim_a_key_at_once_one_does() {
    let table = table().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let table = table.clone();
        tasks.spawn(async move { claim(&table, keyed(&["k"])).await });
    }
    let claimed = tasks.join_all().await;
    assert_eq!(claimed.iter().filter(|claimed| **claimed == LogWrite::Written).count(), 1, "{claimed:?}");
}

/// `skip_history` in a channel that has one: the same document goes both ways.
#[tokio::test]
async fn claims_and_publications_in_the_log_know_each_others_keys_and_versions() {
    let table = table().await;
    let publish = async |key: PublishKey<'_>| {
        let head = &append(&table, "holder").await;
        let item = &LogItem { data: "1".to_owned(), ..LogItem::default() };
        let write =
            WritePublication { channel: CHANNEL, head, item, key, now_s: NOW, history_ttl: HOUR, meta_ttl: HOUR };
        table.write_publication(&write).await.unwrap()
    };
    assert_eq!(publish(keyed(&["a"])).await, LogWrite::Written);
    assert_eq!(claim(&table, keyed(&["a"])).await, LogWrite::Duplicate(0));
    assert_eq!(claim(&table, keyed(&["b"])).await, LogWrite::Written);
    assert_eq!(publish(keyed(&["b"])).await, LogWrite::Duplicate(0));
    assert_eq!(publish(versioned(2, "")).await, LogWrite::Written);
    assert_eq!(claim(&table, versioned(2, "")).await, LogWrite::Superseded(0));
    assert_eq!(claim(&table, versioned(3, "")).await, LogWrite::Written);
    assert!(matches!(publish(versioned(3, "")).await, LogWrite::Superseded(_)));
    assert_eq!(publish(versioned(4, "")).await, LogWrite::Written);
}
