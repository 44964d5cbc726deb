//! Big channels: a worker for each shard, tasks in a FIFO queue.

use std::sync::Mutex;

use signalbox_connections::shard_of;
use signalbox_publishing::{FanOut, FanOutTask};
use signalbox_queues::FifoMessage;

use super::*;

const SHARDS: u32 = 3;

struct Queue {
    world: World,
    sent: Arc<Mutex<Vec<FifoMessage>>>,
}

impl Queue {
    async fn new(shards: u32) -> Self {
        let mut world = World::paused(json!({"shards": shards})).await;
        let sent = Arc::default();
        world.publisher = world.publisher.clone().with_fan_out(FanOut::Recorded(Arc::clone(&sent)));
        Self { world, sent }
    }

    fn take(&self) -> Vec<FifoMessage> {
        std::mem::take(&mut self.sent.lock().unwrap())
    }

    fn tasks(&self) -> Vec<FanOutTask> {
        self.take().iter().map(|message| serde_json::from_str(&message.body).unwrap()).collect()
    }

    async fn work(&self, task: &FanOutTask) {
        self.world.publisher.work(&self.world.channels, task, false).await.unwrap();
    }

    async fn work_off(&self) {
        loop {
            let tasks = self.tasks();
            if tasks.is_empty() {
                return;
            }
            for task in tasks {
                self.work(&task).await;
            }
        }
    }

    /// A connection in every shard.
    async fn viewers(&self) -> Vec<String> {
        let mut ids = Vec::new();
        for shard in 0..self.world.namespace.shards {
            let id = (0..1000).map(|n| format!("v{n}")).find(|id| shard_of(id, self.world.namespace.shards) == shard);
            let id = id.unwrap();
            self.world.subscribe(&id).await;
            ids.push(id);
        }
        ids
    }
}

#[tokio::test(start_paused = true)]
async fn each_shard_has_its_task_and_its_group_and_every_viewer_its_publications() {
    let queue = Queue::new(SHARDS).await;
    let viewers = queue.viewers().await;
    assert!(queue.world.publish(1).await.delivered);
    let messages = queue.take();
    assert_eq!(messages.len(), SHARDS as usize);
    let distinct =
        |of: fn(&FifoMessage) -> &String| messages.iter().map(of).collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!((distinct(|message| &message.group), distinct(|message| &message.deduplication)), (3, 3));
    assert!(messages.iter().all(|message| message.group.len() <= 128 && message.deduplication.len() <= 128));
    for id in &viewers {
        assert_eq!(queue.world.seen(id).1, Vec::<u64>::new(), "workers post, not the holder");
    }
    for message in &messages {
        queue.work(&serde_json::from_str(&message.body).unwrap()).await;
    }
    queue.world.publish(2).await;
    let later = queue.take();
    assert_eq!(later[0].group, messages[0].group);
    assert_ne!(later[0].deduplication, messages[0].deduplication);
    for message in &later {
        queue.work(&serde_json::from_str(&message.body).unwrap()).await;
    }
    for id in &viewers {
        assert_eq!(queue.world.seen(id), (0, vec![1, 2]));
    }
}

/// P8. Fails when a worker does not look at the mark.
#[tokio::test(start_paused = true)]
async fn a_task_that_comes_twice_is_posted_once() {
    let queue = Queue::new(SHARDS).await;
    let viewers = queue.viewers().await;
    queue.world.publish(1).await;
    let tasks = queue.tasks();
    for task in tasks.iter().chain(&tasks) {
        queue.work(task).await;
    }
    queue.world.publish(2).await;
    let later = queue.tasks();
    for task in later.iter().chain(&tasks).chain(&later) {
        queue.work(task).await;
    }
    for id in &viewers {
        assert_eq!(queue.world.seen(id), (0, vec![1, 2]));
    }
}

/// Its group goes on without a task that was given up. Fails when the next one begins where it was told to.
#[tokio::test(start_paused = true)]
async fn a_task_that_is_lost_is_made_up_for_by_the_next() {
    let queue = Queue::new(SHARDS).await;
    let viewers = queue.viewers().await;
    queue.world.publish(1).await;
    queue.work_off().await;
    queue.world.publish(2).await;
    queue.world.publish(3).await;
    assert_eq!(queue.tasks().len(), 6, "lost");
    queue.world.publish(4).await;
    queue.work_off().await;
    for id in &viewers {
        assert_eq!(queue.world.seen(id), (0, vec![1, 2, 3, 4]));
    }
}

/// P1. Before any mark, too. Fails when a worker takes a missing mark for a shard that has everything.
#[tokio::test(start_paused = true)]
async fn a_first_task_that_is_lost_is_no_silent_gap() {
    let queue = Queue::new(1).await;
    // one shard whose rows workers post to: as a channel is that had more once
    queue.world.tables.table.raise_shards(CHANNEL, SHARDS, now(), HOUR).await.unwrap();
    queue.world.subscribe("early").await;
    queue.world.publish(1).await;
    assert_eq!(queue.tasks().len(), SHARDS as usize, "lost, before anything was noted");
    queue.world.subscribe("late").await;
    queue.world.publish(2).await;
    queue.work_off().await;
    assert_eq!(queue.world.seen("late"), (1, vec![2]), "has everything: it came after the task that was lost");
    let pushes = queue.world.pushes("early");
    assert_eq!((pushes.len(), &pushes[0]["unsubscribe"]["code"]), (1, &json!(2500)));
    let result = queue.world.subscribe_with("early", 2, recover(0, "")).await;
    assert_eq!(result.publications.iter().map(|publication| publication.offset).collect::<Vec<_>>(), [1, 2]);
    queue.world.publish(3).await;
    queue.work_off().await;
    assert_eq!(queue.world.seen("late"), (1, vec![2, 3]));
    assert_eq!(queue.world.pushes("early")[0]["pub"]["offset"], 3);
}

#[tokio::test(start_paused = true)]
async fn a_task_of_a_stream_that_is_no_more_or_of_an_unknown_namespace_is_done() {
    let queue = Queue::new(SHARDS).await;
    let viewers = queue.viewers().await;
    queue.world.publish(1).await;
    queue.work_off().await;
    for channel in [CHANNEL, "unknown:1", "never:published"] {
        let epoch = "another".to_owned();
        let channel = channel.to_owned();
        queue.work(&FanOutTask::Shard { channel: channel.clone(), epoch, shard: 0, after: 0, to: 9 }).await;
        queue.work(&FanOutTask::Deliver { channel }).await;
    }
    for id in &viewers {
        assert_eq!(queue.world.seen(id), (0, vec![1]));
    }
}

/// A namespace gets more shards while viewers are there: those in the old shard are served, and so are those who come.
#[tokio::test(start_paused = true)]
async fn a_channel_whose_shards_grow_serves_everybody() {
    let mut queue = Queue::new(1).await;
    let before = (0..1000).map(|n| format!("v{n}")).find(|id| shard_of(id, 4) == 2).unwrap();
    queue.world.subscribe(&before).await;
    queue.world.publish(1).await;
    assert_eq!(queue.world.seen(&before).1, [1], "one shard: whoever holds the delivery posts");
    assert!(queue.take().is_empty());

    let wider = World::paused(json!({"shards": 4})).await;
    queue.world.namespace = wider.namespace.clone();
    queue.world.channels = wider.channels.clone();
    queue.world.publisher = queue.world.publisher.clone().with_channels(wider.channels.clone());
    let after = (0..1000).map(|n| format!("w{n}")).find(|id| shard_of(id, 4) == 3).unwrap();
    queue.world.subscribe(&after).await;
    queue.world.publish(2).await;
    queue.work_off().await;
    assert_eq!(queue.world.seen(&after), (1, vec![2]));
    // what the holder posted itself is in no mark: its client is asked to recover, and moves to its new shard
    assert_eq!(queue.world.pushes(&before).last().unwrap()["unsubscribe"]["code"], 2500);
    let (info, request) = (world::info(&before, "anna"), recover(1, ""));
    let command = SubscribeCommand { was_in_shard: Some(0), ..queue.world.command(&before, 2, &info, &request) };
    let signalbox_publishing::Begun::Reply(result, catch_up) =
        queue.world.publisher.begin_subscribe(command).await.unwrap()
    else {
        panic!()
    };
    queue.world.reply(&before, &result).await;
    queue.world.publisher.catch_up(*catch_up).await.unwrap();
    assert_eq!(result.publications.len(), 1);
    assert_eq!(queue.world.row(&before).await.unwrap().shard, 2);
    assert_eq!(queue.world.tables.table.subscriber(&before, CHANNEL, 0).await.unwrap(), None);
    queue.world.publish(3).await;
    queue.work_off().await;
    assert_eq!(queue.world.pushes(&before)[0]["pub"]["offset"], 3);
    assert_eq!(queue.world.seen(&after), (1, vec![2, 3]));
}

/// Fails when a row that came between the holder's look at the head and the worker's posts is left behind.
#[tokio::test(start_paused = true)]
async fn a_subscription_that_catches_up_while_workers_post_misses_nothing() {
    let queue = Queue::new(SHARDS).await;
    queue.viewers().await;
    queue.world.connect("new").await;
    let (result, catch_up) = queue.world.begin("new", 1, &plain()).await;
    queue.world.publish(1).await;
    queue.world.reply("new", &result).await;
    let caught_up = async {
        queue.world.publisher.catch_up(catch_up).await.unwrap();
    };
    let workers = async {
        for _ in 0..40 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            queue.work_off().await;
        }
    };
    tokio::join!(caught_up, workers);
    assert_eq!(queue.world.seen("new"), (0, vec![1]));
    queue.world.publish(2).await;
    queue.work_off().await;
    assert_eq!(queue.world.seen("new"), (0, vec![1, 2]));
}

/// Fails when a row that waits asks for workers at every look: in a storm of subscribes that is a storm of tasks.
#[tokio::test(start_paused = true)]
async fn a_row_that_waits_for_workers_asks_for_them_now_and_then() {
    let queue = Queue::new(SHARDS).await;
    queue.world.connect("new").await;
    let (result, catch_up) = queue.world.begin("new", 1, &plain()).await;
    queue.world.publish(1).await;
    queue.world.reply("new", &result).await;
    queue.take();
    queue.world.publisher.catch_up(catch_up).await.unwrap();
    let asked = queue.tasks().len() / SHARDS as usize;
    assert!((1..=4).contains(&asked), "{asked} times within six seconds");
    assert_eq!(queue.world.pushes("new").last().unwrap()["unsubscribe"]["code"], 2500, "no worker came");
}

/// Fails when two hand-overs at the same place are one message to SQS: nobody would take over after the second.
#[tokio::test(start_paused = true)]
async fn every_hand_over_asks_for_a_worker() {
    let mut queue = Queue::new(1).await;
    queue.world.publisher =
        queue.world.publisher.clone().with_timing(Timing { turn: Duration::ZERO, ..Timing::default() });
    queue.world.subscribe("a").await;
    let mut asked = std::collections::BTreeSet::new();
    for n in 0..3 {
        queue.world.posts.script("a", [Scripted::Delay(100)]);
        let (first, second) = tokio::join!(queue.world.publish(2 * n), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            queue.world.publish(2 * n + 1).await
        });
        assert_eq!((first.delivered, second.delivered), (false, false));
        for message in queue.take() {
            let task: FanOutTask = serde_json::from_str(&message.body).unwrap();
            assert_eq!(task, FanOutTask::Deliver { channel: CHANNEL.to_owned() });
            assert!(asked.insert(message.deduplication));
            queue.work(&task).await;
        }
        assert_eq!(queue.world.head().await.holder, None);
    }
    assert_eq!(asked.len(), 3);
    queue.world.assert_complete("a", false).await;
}

#[tokio::test(start_paused = true)]
async fn without_workers_the_holder_posts_to_all_shards() {
    let world = World::paused(json!({"shards": SHARDS})).await;
    for n in 0..9 {
        world.subscribe(&format!("v{n}")).await;
    }
    world.publish(1).await;
    world.publish(2).await;
    for n in 0..9 {
        assert_eq!(world.seen(&format!("v{n}")), (0, vec![1, 2]));
    }
}
