use signalbox_connections::REGISTRY_SHARDS;

use super::*;

async fn listed(table: &ConnectionTable, prefix: &str, now_s: i64) -> Vec<String> {
    let mut names = Vec::new();
    for shard in 0..REGISTRY_SHARDS {
        let mut start = None;
        loop {
            let (page, next) = table.channels(shard, prefix, now_s, start).await.unwrap();
            names.extend(page);
            start = next;
            if start.is_none() {
                break;
            }
        }
    }
    names.sort();
    names
}

#[tokio::test]
async fn channels_are_listed_by_prefix_for_three_hours_after_they_were_noted() {
    let table = table().await;
    for channel in ["room:1", "room:2", "status:all", "$room:3"] {
        table.note_channel(channel, NOW).await.unwrap();
    }
    assert_eq!(listed(&table, "", NOW).await, ["$room:3", "room:1", "room:2", "status:all"]);
    assert_eq!(listed(&table, "room:", NOW).await, ["room:1", "room:2"]);
    assert_eq!(listed(&table, "none", NOW).await, Vec::<String>::new());
    assert_eq!(listed(&table, "room:1", NOW + 3 * 3600).await, ["room:1"]);
    // a connection lives two hours and ten minutes at most
    assert_eq!(listed(&table, "", NOW + 3 * 3600 + 1).await, Vec::<String>::new());
}

/// A storm of subscribes to one channel must not be a storm of writes of one item.
#[tokio::test]
async fn an_environment_notes_a_channel_every_ten_minutes_at_most() {
    let tables = Tables::start().await;
    let counted = Counted::default();
    let table = tables.hooked(counted.hook()).table;
    for second in [0, 1, 599] {
        table.note_channel("room:1", NOW + second).await.unwrap();
        table.clone().note_channel("room:1", NOW + second).await.unwrap();
    }
    assert_eq!(counted.take(), counts(&[("PutItem", 1)]));
    table.note_channel("room:1", NOW + 600).await.unwrap();
    table.note_channel("room:2", NOW + 600).await.unwrap();
    assert_eq!(counted.take(), counts(&[("PutItem", 2)]));
    assert_eq!(listed(&table, "room:1", NOW + 600 + 3 * 3600).await, ["room:1"]);
}

/// Fails when a channel is taken for noted although it was not written.
#[tokio::test]
async fn a_channel_that_could_not_be_noted_is_noted_with_the_next_subscribe() {
    let tables = Tables::start().await;
    tables.hook(Some(Arc::new(|_| Box::pin(async { Verdict::Fail }))));
    tables.table.note_channel("room:1", NOW).await.unwrap_err();
    tables.hook(None);
    tables.table.note_channel("room:1", NOW).await.unwrap();
    assert_eq!(listed(&tables.table, "", NOW).await, ["room:1"]);
}
