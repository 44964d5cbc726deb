use signalbox_connections::{Appended, FanMark, HELD_SHARDS};

use super::*;

async fn append_at(table: &ConnectionTable, holder: &str, now_ms: i64) -> Appended {
    table.append(CHANNEL, holder, now_ms, LEASE, HOUR).await.unwrap()
}

async fn due(table: &ConnectionTable, until_ms: i64) -> Vec<(String, i64)> {
    let mut found = Vec::new();
    for shard in 0..HELD_SHARDS {
        let (due, _) = table.due_heads(shard, until_ms, None).await.unwrap();
        found.extend(due.into_iter().map(|head| (head.channel, head.due_at_ms)));
    }
    found
}

/// Two round trips stand between a publish and its first post: one of them is this.
#[tokio::test]
async fn an_append_costs_one_request_where_nobody_delivers_and_two_where_somebody_does() {
    let tables = Tables::start().await;
    let counted = Counted::default();
    let table = tables.hooked(counted.hook()).table;
    let first = append_at(&table, "one", NOW_MS).await;
    assert!(first.held);
    assert_eq!((first.head.offset, first.head.delivered, first.head.holder.as_deref()), (1, 0, Some("one")));
    assert_eq!(counted.take(), counts(&[("UpdateItem", 1)]));

    let second = append_at(&table, "two", NOW_MS + 1).await;
    assert!(!second.held);
    assert_eq!((second.head.offset, second.head.epoch, second.head.holder), (2, first.head.epoch, first.head.holder));
    assert_eq!(counted.take(), counts(&[("UpdateItem", 2)]));
}

/// A partition takes 1,000 writes a second, refused ones among them: two a publication would halve what a busy channel can take.
#[tokio::test]
async fn whoever_met_a_deliverer_a_moment_ago_appends_with_one_request_and_finds_out_when_it_has_let_go() {
    let tables = Tables::start().await;
    let counted = Counted::default();
    let table = tables.hooked(counted.hook()).table;
    append_at(&table, "one", NOW_MS).await;
    append_at(&table, "two", NOW_MS).await;
    counted.take();
    let third = append_at(&table, "three", NOW_MS + 1).await;
    assert_eq!((third.held, third.head.offset, third.head.holder.as_deref()), (false, 3, Some("one")));
    assert_eq!(counted.take(), counts(&[("UpdateItem", 1)]));

    assert!(table.release(CHANNEL, "one", 3).await.unwrap());
    counted.take();
    let fourth = append_at(&table, "four", NOW_MS + 2).await;
    assert_eq!((fourth.held, fourth.head.offset, fourth.head.delivered), (true, 4, 3), "nobody else would deliver it");
    assert_eq!(counted.take(), counts(&[("UpdateItem", 2)]));
    assert!(table.release(CHANNEL, "four", 4).await.unwrap());
    counted.take();
    assert!(append_at(&table, "five", NOW_MS + 3).await.held);
    assert_eq!(counted.take(), counts(&[("UpdateItem", 1)]), "it is not expected for ever");
}

/// P6. Fails when whoever expects a deliverer takes a dead one for it.
#[tokio::test]
async fn whoever_expects_a_deliverer_does_not_wait_for_a_dead_one() {
    let table = table().await;
    append_at(&table, "dead", NOW_MS - 9_900).await;
    assert!(!append_at(&table, "two", NOW_MS).await.held);
    assert!(append_at(&table, "three", NOW_MS + 101).await.held, "its lease has run out meanwhile");
}

/// P6. Fails when a lease never runs out, or a dead deliverer's `delivered` is forgotten.
#[tokio::test]
async fn a_lease_that_has_run_out_is_anybodys() {
    let table = table().await;
    append_at(&table, "dead", NOW_MS).await;
    assert_eq!(table.take_hold(CHANNEL, "two", NOW_MS + 10_000, LEASE).await.unwrap(), None, "not yet");
    assert!(!append_at(&table, "two", NOW_MS + 10_000).await.held);
    let third = append_at(&table, "three", NOW_MS + 10_001).await;
    assert!(third.held);
    assert_eq!((third.head.offset, third.head.delivered), (3, 0));
    let taken = table.take_hold(CHANNEL, "four", NOW_MS + 20_002, LEASE).await.unwrap().unwrap();
    assert_eq!((taken.holder.as_deref(), taken.offset, taken.delivered), (Some("four"), 3, 0));
    // whoever was taken for dead cannot do anything any more
    assert_eq!(table.renew(CHANNEL, "three", 3, NOW_MS + 20_003, LEASE).await.unwrap(), None);
    assert!(!table.extend(CHANNEL, "three", NOW_MS + 20_003, LEASE).await.unwrap());
    assert!(!table.release(CHANNEL, "three", 3).await.unwrap());
    table.hand_over(CHANNEL, "three", 3, NOW_MS + 20_003).await.unwrap();
    let head = table.find_head(CHANNEL).await.unwrap().unwrap();
    assert_eq!((head.holder.as_deref(), head.delivered), (Some("four"), 0));
}

#[tokio::test]
async fn nobody_takes_the_delivery_of_a_channel_that_does_not_exist() {
    let table = table().await;
    assert_eq!(table.take_hold(CHANNEL, "one", NOW_MS, LEASE).await.unwrap(), None);
    assert_eq!(table.find_head(CHANNEL).await.unwrap(), None, "and none is made");
}

/// The rule that nothing is left lying depends on. Fails when a release has no condition on the offset.
#[tokio::test]
async fn a_deliverer_lets_go_only_of_what_it_has_delivered_whole() {
    let table = table().await;
    append_at(&table, "one", NOW_MS).await;
    append_at(&table, "two", NOW_MS).await;
    assert!(!table.release(CHANNEL, "one", 1).await.unwrap(), "2 was appended meanwhile");
    let renewed = table.renew(CHANNEL, "one", 1, NOW_MS + 100, LEASE).await.unwrap().unwrap();
    assert_eq!((renewed.offset, renewed.delivered), (2, 1));
    assert!(table.release(CHANNEL, "one", 2).await.unwrap());
    let head = table.find_head(CHANNEL).await.unwrap().unwrap();
    assert_eq!((head.delivered, head.holder, head.pending_since_ms), (2, None, None));
}

/// The second append meets a holder that lets go before the third request. Fails when the appender leaves without another try: nobody
/// would deliver its offset.
#[tokio::test]
async fn an_appender_whose_deliverer_let_go_in_between_delivers() {
    let tables = Tables::start().await;
    let table = tables.table.clone();
    append_at(&table, "one", NOW_MS).await;
    let updates = Arc::new(AtomicUsize::new(0));
    let hooked = tables.hooked(Arc::new(move |_| {
        let (table, n) = (table.clone(), updates.fetch_add(1, Ordering::Relaxed));
        Box::pin(async move {
            if n == 1 {
                // after the refusal of the first update, before the second
                assert!(table.release(CHANNEL, "one", 1).await.unwrap());
            }
            Verdict::Send
        })
    }));
    let second = append_at(&hooked.table, "two", NOW_MS).await;
    assert!(second.held);
    assert_eq!((second.head.offset, second.head.delivered), (2, 1));
}

/// Fails when a repetition by the SDK is taken for another publisher's: its own lease would keep it from delivering.
#[tokio::test]
async fn an_append_whose_answer_was_lost_holds_all_the_same() {
    let tables = Tables::start().await;
    let hooked = tables.hooked(nth("UpdateItem", 0, Verdict::LoseAnswer));
    let appended = append_at(&hooked.table, "one", NOW_MS).await;
    assert!(appended.held);
    assert_eq!((appended.head.offset, appended.head.delivered), (2, 0), "1 is a hole that nobody is going to fill");

    let hooked = tables.hooked(nth("UpdateItem", 0, Verdict::LoseAnswer));
    let taken = hooked.table.take_hold(CHANNEL, "two", NOW_MS + 10_001, LEASE).await.unwrap();
    assert_eq!(taken.unwrap().holder.as_deref(), Some("two"));
}

/// P6: the keeper finds a channel whose deliverer died, and one that was handed over, and no other.
#[tokio::test]
async fn a_channel_is_due_while_anything_is_pending_and_not_afterwards() {
    let table = table().await;
    append_at(&table, "one", NOW_MS).await;
    assert_eq!(due(&table, NOW_MS + 9_999).await, []);
    assert_eq!(due(&table, NOW_MS + 10_000).await, [(CHANNEL.to_owned(), NOW_MS + 10_000)]);
    table.extend(CHANNEL, "one", NOW_MS + 5_000, LEASE).await.unwrap();
    assert_eq!(due(&table, NOW_MS + 14_999).await, []);
    append_at(&table, "two", NOW_MS + 6_000).await;
    assert_eq!(due(&table, NOW_MS + 15_000).await.len(), 1, "an append does not put it off");
    table.hand_over(CHANNEL, "one", 1, NOW_MS + 7_000).await.unwrap();
    assert_eq!(due(&table, NOW_MS + 7_000).await.len(), 1, "at once");
    let head = table.take_hold(CHANNEL, "three", NOW_MS + 8_000, LEASE).await.unwrap().unwrap();
    assert_eq!((head.delivered, head.offset), (1, 2));
    assert!(table.release(CHANNEL, "three", 2).await.unwrap());
    assert_eq!(due(&table, i64::MAX / 2).await, []);
}

/// Decides between a hole and a publication that expired before anybody delivered it. Fails when a round that is over moves the
/// moment beyond what was appended within it.
#[tokio::test]
async fn what_is_pending_is_pending_since_the_round_before_it_began_at_the_latest() {
    let table = table().await;
    let since = async || table.find_head(CHANNEL).await.unwrap().unwrap().pending_since_ms;
    append_at(&table, "one", NOW_MS).await;
    assert_eq!(since().await, Some(NOW_MS));
    append_at(&table, "two", NOW_MS + 50).await;
    assert_eq!(since().await, Some(NOW_MS), "the first is pending still");
    // the round that posted 1 is over: 2 came after the append that began it
    table.renew(CHANNEL, "one", 1, NOW_MS + 100, LEASE).await.unwrap();
    assert_eq!(since().await, Some(NOW_MS));
    append_at(&table, "three", NOW_MS + 150).await;
    table.renew(CHANNEL, "one", 2, NOW_MS + 200, LEASE).await.unwrap();
    assert_eq!(since().await, Some(NOW_MS + 100), "3 came after the renewal before");
    table.hand_over(CHANNEL, "one", 2, NOW_MS + 250).await.unwrap();
    table.take_hold(CHANNEL, "four", NOW_MS + 300, LEASE).await.unwrap();
    assert_eq!(since().await, Some(NOW_MS + 100));
    assert!(table.release(CHANNEL, "four", 3).await.unwrap());
    assert_eq!(since().await, None);
}

#[tokio::test]
async fn everybody_who_asks_for_a_head_gets_the_same_stream() {
    let table = table().await;
    assert_eq!(table.find_head(CHANNEL).await.unwrap(), None);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let table = table.clone();
        tasks.spawn(async move { table.head(CHANNEL, NOW, HOUR).await.unwrap().epoch });
    }
    let epochs: std::collections::BTreeSet<_> = tasks.join_all().await.into_iter().collect();
    assert_eq!(epochs.len(), 1);
    assert_eq!(append_at(&table, "one", NOW_MS).await.head.epoch, *epochs.first().unwrap());
}

#[tokio::test]
async fn a_channels_shards_grow_and_do_not_shrink() {
    let table = table().await;
    table.raise_shards(CHANNEL, 4, NOW, HOUR).await.unwrap();
    let head = table.find_head(CHANNEL).await.unwrap().unwrap();
    assert_eq!((head.shards, head.offset), (4, 0));
    append_at(&table, "one", NOW_MS).await;
    table.raise_shards(CHANNEL, 2, NOW, HOUR).await.unwrap();
    table.raise_shards(CHANNEL, 8, NOW, HOUR).await.unwrap();
    let after = table.find_head(CHANNEL).await.unwrap().unwrap();
    assert_eq!((after.shards, after.offset, after.epoch, after.holder.as_deref()), (8, 1, head.epoch, Some("one")));
}

#[tokio::test]
async fn a_shards_mark_moves_from_where_it_stands_and_from_nowhere_else() {
    let table = table().await;
    let advance =
        async |epoch: &str, from, to| table.advance_fan(CHANNEL, 2, epoch, (from, to), NOW, HOUR).await.unwrap();
    assert_eq!(table.fan_posted(CHANNEL, 2).await.unwrap(), None);
    assert!(advance("e1", 0, 3).await, "there was none");
    assert!(!advance("e1", 0, 3).await, "a task that came twice");
    assert!(!advance("e1", 5, 7).await, "a task whose forerunner was lost");
    assert!(advance("e1", 3, 7).await);
    assert!(advance("e2", 0, 1).await, "another stream");
    assert_eq!(table.fan_posted(CHANNEL, 2).await.unwrap(), Some(FanMark { epoch: "e2".to_owned(), posted: 1 }));
    assert_eq!(table.fan_posted(CHANNEL, 1).await.unwrap(), None, "each shard has its own");
}

/// Under load every offset is taken once, and at every moment one delivers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_at_once_take_each_offset_once_and_one_of_them_delivers() {
    let table = table().await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..40 {
        let table = table.clone();
        tasks.spawn(async move { append_at(&table, &format!("p{n}"), NOW_MS).await });
    }
    let appended = tasks.join_all().await;
    let mut offsets: Vec<_> = appended.iter().map(|appended| appended.head.offset).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, (1..=40).collect::<Vec<_>>());
    assert_eq!(appended.iter().filter(|appended| appended.held).count(), 1);
}
