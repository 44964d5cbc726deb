use signalbox_connections::{LogEntry, LogItem, LogPage, LogState, LogWrite, PublishKey, Version, WritePublication};

use super::*;

const MINUTE: Duration = Duration::from_mins(1);

fn item(n: u64) -> LogItem {
    LogItem { data: format!(r#"{{"n":{n}}}"#), ..LogItem::default() }
}

fn keyed<'a>(keys: &'a [&'a str]) -> PublishKey<'a> {
    PublishKey { idempotency_keys: keys, version: None }
}

fn versioned(version: u64, epoch: &str) -> PublishKey<'_> {
    PublishKey { idempotency_keys: &[], version: Some(Version { version, epoch }) }
}

async fn write_at(table: &ConnectionTable, head: &Head, key: PublishKey<'_>, now_s: i64) -> LogWrite {
    let item = &item(head.offset);
    let write = WritePublication { channel: CHANNEL, head, item, key, now_s, history_ttl: MINUTE, meta_ttl: HOUR };
    table.write_publication(&write).await.unwrap()
}

async fn write(table: &ConnectionTable, head: &Head, key: PublishKey<'_>) -> LogWrite {
    write_at(table, head, key, NOW).await
}

/// Appends and writes at the offset that it took.
async fn publish(table: &ConnectionTable, key: PublishKey<'_>) -> (u64, LogWrite) {
    let head = append(table, "holder").await;
    (head.offset, write(table, &head, key).await)
}

async fn log(table: &ConnectionTable) -> Vec<LogEntry> {
    let head = table.find_head(CHANNEL).await.unwrap().unwrap();
    table.log(CHANNEL, &head.epoch, 0, head.offset, 0).await.unwrap()
}

async fn tombstones(table: &ConnectionTable) -> Vec<u64> {
    let log = log(table).await;
    let top = table.find_head(CHANNEL).await.unwrap().unwrap().offset;
    assert_eq!(log.len() as u64, top, "a place was left empty: {log:?}");
    log.into_iter().filter(|entry| entry.state == LogState::Tombstone).map(|entry| entry.offset).collect()
}

#[tokio::test]
async fn a_publication_is_kept_as_it_was_published() {
    let table = table().await;
    let head = append(&table, "holder").await;
    let item = LogItem {
        data: r#"{"a":"ä"}"#.to_owned(),
        tags: Some(r#"{"env":"prod"}"#.to_owned()),
        info: Some(r#"{"user":"anna","client":"c"}"#.to_owned()),
        delta: true,
        transient: true,
    };
    let key = PublishKey::default();
    let write = WritePublication {
        channel: CHANNEL,
        head: &head,
        item: &item,
        key,
        now_s: NOW,
        history_ttl: MINUTE,
        meta_ttl: HOUR,
    };
    assert_eq!(table.write_publication(&write).await.unwrap(), LogWrite::Written);
    assert_eq!(log(&table).await, [LogEntry { offset: 1, state: LogState::Publication(item) }]);
}

#[tokio::test]
async fn a_write_costs_one_request_with_or_without_a_key() {
    let tables = Tables::start().await;
    let counted = Counted::default();
    let table = tables.hooked(counted.hook()).table;
    let head = append(&tables.table, "holder").await;
    write(&table, &head, PublishKey::default()).await;
    assert_eq!(counted.take(), counts(&[("PutItem", 1)]));
    let head = append(&tables.table, "holder").await;
    let both = PublishKey { idempotency_keys: &["k"], version: Some(Version { version: 1, epoch: "" }) };
    write(&table, &head, both).await;
    assert_eq!(counted.take(), counts(&[("TransactWriteItems", 1)]));
}

/// Fails when a publisher that was taken for dead writes over the tombstone: nobody would ever post it.
#[tokio::test]
async fn a_publisher_whose_place_was_filled_is_told() {
    let table = table().await;
    for key in [PublishKey::default(), keyed(&["k"]), versioned(1, "")] {
        let head = append(&table, "slow").await;
        assert_eq!(table.fill_hole(CHANNEL, &head, head.offset, NOW_MS, MINUTE).await.unwrap(), LogState::Tombstone);
        assert_eq!(write(&table, &head, key).await, LogWrite::Filled, "{key:?}");
        // and neither key nor version is taken by what was not published
        let (_, again) = publish(&table, key).await;
        assert_eq!(again, LogWrite::Written, "{key:?}");
    }
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_written() {
    let tables = Tables::start().await;
    for (operation, key) in [
        ("PutItem", PublishKey::default()),
        ("TransactWriteItems", keyed(&["k"])),
        ("TransactWriteItems", versioned(1, "")),
    ] {
        let head = append(&tables.table, "holder").await;
        let hooked = tables.hooked(nth(operation, 0, Verdict::LoseAnswer));
        assert_eq!(write(&hooked.table, &head, key).await, LogWrite::Written, "{key:?}");
        let last = log(&tables.table).await.pop().unwrap();
        assert_eq!((last.offset, last.state), (head.offset, LogState::Publication(item(head.offset))));
    }
}

/// P3.
#[tokio::test]
async fn the_same_key_publishes_once_within_five_minutes() {
    let table = table().await;
    assert_eq!(publish(&table, keyed(&["k"])).await, (1, LogWrite::Written));
    assert_eq!(publish(&table, keyed(&["k"])).await, (2, LogWrite::Duplicate(1)));
    assert_eq!(publish(&table, keyed(&["other"])).await, (3, LogWrite::Written));
    assert_eq!(publish(&table, keyed(&[""])).await, (4, LogWrite::Written), "an empty key is none");
    assert_eq!(publish(&table, keyed(&[""])).await, (5, LogWrite::Written));
    assert_eq!(tombstones(&table).await, [2]);
    assert_eq!(table.offset_of(CHANNEL, "k", NOW + 300).await.unwrap(), Some(1));
    assert_eq!(table.offset_of(CHANNEL, "k", NOW + 301).await.unwrap(), None, "its item may still be there");
    assert_eq!(table.offset_of("room:1", "k", NOW).await.unwrap(), None, "keys are a channel's own");
    let head = append(&table, "holder").await;
    assert_eq!(write_at(&table, &head, keyed(&["k"]), NOW + 301).await, LogWrite::Written);
    let long = "k".repeat(5000);
    assert_eq!(publish(&table, keyed(&[&long])).await.1, LogWrite::Written);
    assert_eq!(publish(&table, keyed(&[&long])).await.1, LogWrite::Duplicate(7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_all_who_publish_under_one_key_at_once_one_does() {
    let table = table().await;
    for round in 0..5 {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let table = table.clone();
            tasks.spawn(async move { publish(&table, keyed(&[&format!("k{round}")])).await });
        }
        let done = tasks.join_all().await;
        let written: Vec<_> = done.iter().filter(|(_, write)| *write == LogWrite::Written).collect();
        assert_eq!(written.len(), 1, "{done:?}");
        let others = done.iter().filter(|(_, write)| *write == LogWrite::Duplicate(written[0].0)).count();
        assert_eq!(others, 7, "{done:?}");
    }
    assert_eq!(tombstones(&table).await.len(), 35);
}

/// P4.
#[tokio::test]
async fn a_version_is_not_published_after_the_same_or_a_newer_one() {
    let table = table().await;
    assert_eq!(publish(&table, versioned(5, "")).await, (1, LogWrite::Written));
    assert_eq!(publish(&table, versioned(5, "")).await, (2, LogWrite::Superseded(2)));
    assert_eq!(publish(&table, versioned(4, "")).await, (3, LogWrite::Superseded(3)));
    assert_eq!(publish(&table, versioned(6, "")).await, (4, LogWrite::Written));
    assert_eq!(publish(&table, PublishKey::default()).await, (5, LogWrite::Written), "without a version it is none's");
    // another epoch of the versions begins anew; an empty one goes with any
    assert_eq!(publish(&table, versioned(1, "b")).await, (6, LogWrite::Written));
    assert_eq!(publish(&table, versioned(1, "b")).await, (7, LogWrite::Superseded(7)));
    assert_eq!(publish(&table, versioned(1, "")).await, (8, LogWrite::Superseded(8)));
    assert_eq!(tombstones(&table).await, [2, 3, 7, 8]);
    // versions are remembered for as long as the stream
    let head = append(&table, "holder").await;
    assert_eq!(write_at(&table, &head, versioned(1, "b"), NOW + 3601).await, LogWrite::Written);
}

/// P4: viewers take the last one they get for the newest. Version 1 has offset 1, is slow, and version 2 is written at 2 before it.
/// Fails when 1 is written then, or when an older version at a later offset is.
#[tokio::test]
async fn versions_stand_in_the_log_in_their_order() {
    let table = table().await;
    let (slow, fast) = (append(&table, "slow").await, append(&table, "fast").await);
    assert_eq!(write(&table, &fast, versioned(2, "")).await, LogWrite::Written);
    assert_eq!(write(&table, &slow, versioned(1, "")).await, LogWrite::Superseded(1));
    // the newer one has the earlier offset: it takes another
    let (early, late) = (append(&table, "early").await, append(&table, "late").await);
    assert_eq!(write(&table, &late, versioned(3, "")).await, LogWrite::Written);
    assert_eq!(write(&table, &early, versioned(4, "")).await, LogWrite::Filled);
    assert_eq!(publish(&table, versioned(4, "")).await, (5, LogWrite::Written));
    assert_eq!(tombstones(&table).await, [1, 3]);
}

/// Found in the model: a key that is known must win over everything else that is wrong, or its publisher takes offsets for ever.
#[tokio::test]
async fn a_duplicate_is_a_duplicate_whatever_its_version() {
    let table = table().await;
    let both = |version| PublishKey { idempotency_keys: &["k"], version: Some(Version { version, epoch: "" }) };
    assert_eq!(publish(&table, both(1)).await, (1, LogWrite::Written));
    publish(&table, versioned(9, "")).await;
    assert_eq!(publish(&table, both(1)).await, (3, LogWrite::Duplicate(1)));
    let filled = append(&table, "slow").await;
    table.fill_hole(CHANNEL, &filled, filled.offset, NOW_MS, MINUTE).await.unwrap();
    assert_eq!(write(&table, &filled, both(1)).await, LogWrite::Duplicate(1));
}

/// P1. Fails when what expired before it was delivered is taken for a hole: nobody would be told.
#[tokio::test]
async fn a_place_that_may_have_expired_is_not_taken_for_a_hole() {
    let table = table().await;
    let head = append(&table, "dead").await;
    let late = NOW_MS + 60_000;
    // as the TTL would have it after a minute without a deliverer: nothing is there
    assert_eq!(table.fill_hole(CHANNEL, &head, 1, late, MINUTE).await.unwrap(), LogState::Expired);
    assert_eq!(table.fill_hole(CHANNEL, &head, 1, NOW_MS, MINUTE).await.unwrap(), LogState::Expired, "it stands");
    let head = append(&table, "dead").await;
    assert_eq!(
        table.fill_hole(CHANNEL, &head, 2, late - 1_001, MINUTE).await.unwrap(),
        LogState::Tombstone,
        "pending for less than that"
    );
    let released = Head { delivered: 2, pending_since_ms: None, ..head };
    assert_eq!(table.fill_hole(CHANNEL, &released, 2, NOW_MS, MINUTE).await.unwrap(), LogState::Tombstone, "it stands");
}

#[tokio::test]
async fn a_place_that_is_taken_at_the_last_moment_is_not_filled() {
    let table = table().await;
    let head = append(&table, "slow").await;
    write(&table, &head, PublishKey::default()).await;
    let stands = table.fill_hole(CHANNEL, &head, 1, NOW_MS, MINUTE).await.unwrap();
    assert_eq!(stands, LogState::Publication(item(1)));
    table.write_tombstone(CHANNEL, &head.epoch, 1, NOW, MINUTE).await.unwrap();
    assert_eq!(log(&table).await.len(), 1);
    assert_eq!(tombstones(&table).await, Vec::<u64>::new());
}

#[tokio::test]
async fn a_part_of_the_history_is_read_forwards_and_backwards() {
    let table = table().await;
    for n in 1..=9 {
        let head = append(&table, "holder").await;
        if n % 3 == 0 {
            table.write_tombstone(CHANNEL, &head.epoch, n, NOW, MINUTE).await.unwrap();
        } else {
            write_at(&table, &head, PublishKey::default(), NOW + i64::try_from(n).unwrap()).await;
        }
    }
    let epoch = table.find_head(CHANNEL).await.unwrap().unwrap().epoch;
    let whole = LogPage {
        channel: CHANNEL,
        epoch: &epoch,
        after: 0,
        to: 9,
        reverse: false,
        limit: 100,
        max_bytes: usize::MAX,
        now_s: NOW,
    };
    let offsets = async |page: LogPage<'_>| {
        let entries = table.log_page(&page).await.unwrap();
        assert!(entries.iter().all(|entry| entry.publication() == Some(&item(entry.offset))));
        entries.into_iter().map(|entry| entry.offset).collect::<Vec<_>>()
    };
    assert_eq!(offsets(whole).await, [1, 2, 4, 5, 7, 8]);
    assert_eq!(offsets(LogPage { reverse: true, ..whole }).await, [8, 7, 5, 4, 2, 1]);
    assert_eq!(offsets(LogPage { after: 2, to: 7, ..whole }).await, [4, 5, 7]);
    assert_eq!(offsets(LogPage { limit: 3, ..whole }).await, [1, 2, 4]);
    assert_eq!(offsets(LogPage { limit: 1, reverse: true, ..whole }).await, [8]);
    assert_eq!(offsets(LogPage { limit: 0, ..whole }).await, Vec::<u64>::new());
    assert_eq!(offsets(LogPage { after: 9, ..whole }).await, Vec::<u64>::new());
    assert_eq!(offsets(LogPage { max_bytes: 15, ..whole }).await, [1, 2], "of 7 bytes each");
    assert_eq!(offsets(LogPage { max_bytes: 1, ..whole }).await, [1], "one in any case");
    assert_eq!(offsets(LogPage { now_s: NOW + 65, ..whole }).await, [5, 7, 8], "the others have expired");
    assert_eq!(offsets(LogPage { epoch: "other", ..whole }).await, Vec::<u64>::new());
    let there = table.log(CHANNEL, &epoch, 3, 8, NOW + 65).await.unwrap();
    assert_eq!(there.iter().map(|entry| entry.offset).collect::<Vec<_>>(), [5, 7, 8]);
}

/// More than DynamoDB reads at once (1 MB).
#[tokio::test]
async fn a_history_of_many_pages_is_read_whole() {
    let table = table().await;
    for _ in 0..12 {
        let head = append(&table, "holder").await;
        let item = &LogItem { data: format!("\"{}\"", "x".repeat(120 * 1024)), ..LogItem::default() };
        let key = PublishKey::default();
        let write = WritePublication {
            channel: CHANNEL,
            head: &head,
            item,
            key,
            now_s: NOW,
            history_ttl: MINUTE,
            meta_ttl: HOUR,
        };
        table.write_publication(&write).await.unwrap();
    }
    assert_eq!(log(&table).await.len(), 12);
}

#[tokio::test]
async fn a_history_that_was_removed_leaves_the_stream_as_it_is() {
    let table = table().await;
    assert_eq!(table.remove_history(CHANNEL).await.unwrap(), None, "there is none");
    assert_eq!(table.find_head(CHANNEL).await.unwrap(), None, "and none is made");
    publish(&table, PublishKey::default()).await;
    let before = table.find_head(CHANNEL).await.unwrap().unwrap();
    let after = table.remove_history(CHANNEL).await.unwrap().unwrap();
    assert_eq!(after, Head { removed: 1, ..before });
    assert_eq!(log(&table).await.len(), 1, "what is pending is still delivered");
}
